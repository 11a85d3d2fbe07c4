// Analysis: everything known about one state of a document.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/lsp/document.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::lsp {

using syntax::Cursor;
using syntax::Node;

/// Made once for a text; refers to nothing outside. One thread at a time.
struct Analysis {
  std::unique_ptr<source::Manager> sources;
  diagnostics::Sink sink;
  sema::Index index;
  std::unique_ptr<sema::Model> model;
  Document document{""};
  /// Of a whole one every declaration was looked into, and the lints have run; else those that
  /// `look_into` was told of.
  bool whole = false;
  std::set<uint32_t> seen;  ///< where the declarations that were looked into begin

  /// Before something is asked about a place.
  void look_into(uint32_t offset);

  source::FileId file() const { return model->modules[0]->file; }
  const sema::Module& module() const { return *model->modules[0]; }
  const syntax::Tree& tree() const { return module().tree; }
  std::string display(schema::TypeId type) const { return model->types.display(type); }

  /// The name that a use is written as: `search` of `hackernews.search(…)`.
  source::Span name_of(source::Span use) const;
  /// What the name at an offset means: the place of its definition, there and in other files.
  std::optional<source::Span> definition_at(uint32_t offset) const;
  std::optional<schema::TypeId> type_at(uint32_t offset) const;
  /// The innermost token at an offset; a word rather than what stands behind it.
  Cursor token_at(uint32_t offset) const;
  /// From the file down to the token.
  std::vector<Cursor> path_to(uint32_t offset) const;
};

/// `open`: texts of documents that editors hold, by path; they stand for the files.
/// Of a `quick` one only the declarations are known, until it is told to look into one: it takes a
/// fraction of the time, and has no diagnostics to speak of.
std::unique_ptr<Analysis> analyse(const std::string& path, const std::string& text,
                                  const std::map<std::string, std::string>& open,
                                  bool quick = false);

/// The construct of the option table that an option stands in, or "".
std::string_view construct_of(const std::vector<Cursor>& path);

}  // namespace kflow::lsp
