// The formatter: one layout for every file (language.md §11), made from the lossless tree.
#pragma once

#include <string>
#include <string_view>

#include "compiler/base/result.hpp"
#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/source/source.hpp"
#include "compiler/syntax/tree.hpp"

namespace kflow::format {

/// The file laid out anew. It parses to the same tree, with the same comments between the same
/// tokens: this is looked at each time, and what would differ is an error (`internal`). So is a
/// file that does not parse (`invalid_argument`; the sink says why).
Result<std::string> format(const source::File& file, diagnostics::Sink& sink);

/// Whether two trees are the same but for layout: whitespace, optional commas, the first `|` of a
/// union, the indentation of text blocks. "" if so, else where they part.
std::string difference_but_for_layout(const syntax::Tree& a, const syntax::Tree& b);

/// A unified diff with three lines of context; "" if the texts are equal.
std::string unified_diff(std::string_view name, std::string_view before, std::string_view after);

}  // namespace kflow::format
