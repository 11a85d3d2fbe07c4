// Compiling a document, and finding things in it.
#include "compiler/lsp/analysis.hpp"

#include <algorithm>

#include "compiler/lower/lower.hpp"
#include "compiler/sema/constructs.hpp"
#include "compiler/sema/lints.hpp"
#include "stdlib/stdlib.hpp"

namespace kflow::lsp {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool holds(source::Span span, uint32_t offset) {
  return span.begin <= offset && offset <= span.end;
}

// The checker sees the body of a function where it is called; what its parameters are can be told
// from the text.
void index_functions(const sema::Module& module, sema::Index& index) {
  for (const auto& [name, f] : module.functions) {
    const Cursor body = f.node.expression();
    if (!body) continue;
    const auto& nodes = f.node.tree().nodes();
    for (const sema::ParamInfo& p : f.params) {
      index.names.push_back({p.span, p.name, p.type});
      for (uint32_t i = body.index(); i < body.index() + nodes[body.index()].size; ++i) {
        const Cursor c(&f.node.tree(), i);
        if (!c.is(Node::reference) || c.child(Node::arguments)) continue;
        const Cursor word = c.child(Node::identifier);
        if (!word || word.text() != p.name) continue;
        index.uses.push_back({word.span(), p.span});
        index.types.push_back({word.span(), p.type});
      }
    }
  }
}

}  // namespace

std::unique_ptr<Analysis> analyse(const std::string& path, const std::string& text,
                                  const std::map<std::string, std::string>& open, bool quick) {
  auto out = std::make_unique<Analysis>();
  out->document.set(text);
  out->sources = std::make_unique<source::Manager>(stdlib::find_module);
  const source::FileId root = out->sources->add(path, path, text);
  for (const auto& [other, content] : open) {
    if (other != path) out->sources->add(other, other, content);
  }
  out->model = std::make_unique<sema::Model>(
      sema::Model{.sources = *out->sources, .sink = out->sink, .index = &out->index});
  for (const std::string_view name : stdlib::module_names())
    out->model->std_modules.push_back("std/" + std::string(name));
  sema::declare(*out->model, root);
  index_functions(out->module(), out->index);
  if (quick) return out;
  out->whole = true;
  lower::lower(*out->model);
  if (!out->sink.has_errors()) sema::lint(*out->model, *out->model->modules[0]);
  sema::apply_suppressions(*out->model, *out->model->modules[0]);
  return out;
}

void Analysis::look_into(uint32_t offset) {
  if (whole) return;
  const Cursor root = tree().root();
  for (Cursor c = root.first(); c; c = root.next(c)) {
    // Between two declarations that touch both are meant.
    if (c.begin() > offset) break;
    if (c.end() < offset || !seen.insert(c.begin()).second) continue;
    lower::look_into(*model, offset);
  }
}

source::Span Analysis::name_of(source::Span use) const {
  const std::string_view text = (*sources)[use.file].text();
  uint32_t end = use.begin;
  while (end < use.end && (is_word(text[end]) || text[end] == '.')) ++end;
  uint32_t begin = end;
  while (begin > use.begin && text[begin - 1] != '.') --begin;
  return {use.file, begin, end};
}

std::optional<source::Span> Analysis::definition_at(uint32_t offset) const {
  std::optional<source::Span> best;
  uint32_t size = UINT32_MAX;
  for (const sema::Index::Use& use : index.uses) {
    if (use.at.file != file()) continue;
    const source::Span name = name_of(use.at);
    if (!holds(name, offset) || name.end - name.begin >= size) continue;
    best = use.definition;
    size = name.end - name.begin;
  }
  if (best) return best;
  for (const sema::Index::Name& name : index.names) {
    if (name.at.file == file() && holds(name.at, offset)) return name.at;
  }
  for (const auto& [name, at] : module().names) {
    if (at.file == file() && holds(at, offset)) return at;
  }
  return std::nullopt;
}

std::optional<schema::TypeId> Analysis::type_at(uint32_t offset) const {
  std::optional<schema::TypeId> best;
  uint32_t size = UINT32_MAX;
  for (const sema::Index::Typed& t : index.types) {
    if (t.at.file != file() || !holds(t.at, offset) || t.at.end - t.at.begin > size) continue;
    best = t.type;
    size = t.at.end - t.at.begin;
  }
  for (const sema::Index::Name& name : index.names) {
    if (name.at.file == file() && holds(name.at, offset)) return name.type;
  }
  return best;
}

std::vector<Cursor> Analysis::path_to(uint32_t offset) const {
  std::vector<Cursor> out;
  Cursor at = tree().root();
  while (at) {
    out.push_back(at);
    if (syntax::is_leaf(at.kind())) break;
    Cursor next;
    for (Cursor c = at.first(); c; c = at.next(c)) {
      if (c.begin() > offset || c.end() < offset) continue;
      // Between two tokens the word is meant.
      const std::string_view text = tree().text();
      const bool better = next && c.begin() == offset && offset > 0 && offset < text.size() &&
                          is_word(text[offset]) && !is_word(text[offset - 1]);
      if (!next || better) next = c;
    }
    at = next;
  }
  return out;
}

Cursor Analysis::token_at(uint32_t offset) const {
  const auto path = path_to(offset);
  return !path.empty() && syntax::is_leaf(path.back().kind()) ? path.back() : Cursor();
}

std::string_view construct_of(const std::vector<Cursor>& path) {
  for (size_t i = path.size(); i-- > 1;) {
    const Cursor owner = path[i - 1];
    const bool block =
        path[i].is(Node::block) || path[i].is(Node::options) || path[i].is(Node::map);
    if (!block) continue;
    switch (owner.kind()) {
      case Node::step_stmt:
        return "step";
      case Node::parallel_stmt:
        return "parallel";
      case Node::for_stmt:
        return "for";
      case Node::loop_stmt:
        return "loop";
      case Node::try_stmt:
        return "try";
      case Node::extern_decl:
        return "extern";
      case Node::callable_decl:
      case Node::agent_decl:
      case Node::config_decl:
        return owner.child(Node::keyword).text();
      case Node::option:
      case Node::map_entry: {
        for (const sema::OptionRow& row : sema::all_options()) {
          if (row.kind == sema::OptionKind::block && row.name == owner.name()) return row.detail;
        }
        return "";
      }
      default:
        return "";
    }
  }
  return "";
}

}  // namespace kflow::lsp
