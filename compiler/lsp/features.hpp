// What editors ask about places: each answer is the JSON of the protocol's result.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compiler/lsp/analysis.hpp"

namespace kflow::lsp {

/// A place in a file.
struct Location {
  std::string path;
  Range range;
};

// ---- symbols.cpp: of the text alone
std::string document_symbols(const Analysis& a);
std::string folding_ranges(const Analysis& a);
/// Relative, as the protocol wants them.
std::string semantic_tokens(const Analysis& a);
/// Names of the types and modifiers that `semantic_tokens` counts.
std::string semantic_legend();
std::string inlay_hints(const Analysis& a, const Range& range);

// ---- features.cpp
std::string diagnostics_json(const Analysis& a);
std::string hover(const Analysis& a, uint32_t offset);
/// The place of a definition; none without one. Of the standard library: none, it has no file.
std::optional<Location> definition(const Analysis& a, uint32_t offset);
/// All places in `a` of what is declared at `target` (a path and an offset), the declaration
/// included if wanted.
std::vector<Location> references(const Analysis& a, const std::string& path, uint32_t offset,
                                 bool declaration);
/// The declaration's file and offset, for looking in other files.
std::optional<std::pair<std::string, uint32_t>> target_of(const Analysis& a, uint32_t offset);
std::string code_actions(const Analysis& a, const std::string& uri, const Range& range);
std::string locations_json(const std::vector<Location>& all);

// ---- completion.cpp
/// `a` is of the text with `placeholder` put in at the cursor, so that it parses.
inline constexpr std::string_view placeholder = "kflow_cursor_";
std::string completion(const Analysis& a, uint32_t offset);

/// `{"start": …, "end": …}`
std::string range_json(const Range& range);

}  // namespace kflow::lsp
