// Hover, definitions, references, fixes.
#include "compiler/lsp/features.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compiler/base/json.hpp"
#include "compiler/ir/builtins.hpp"
#include "compiler/sema/constructs.hpp"

namespace kflow::lsp {
namespace {

std::string signature(const Analysis& a, const sema::CallableInfo& c) {
  std::vector<std::string> params;
  for (const sema::ParamInfo& p : c.params)
    params.push_back(p.name + (p.optional ? "?: " : ": ") + a.display(p.type));
  static constexpr std::string_view kinds[] = {"workflow", "tool", "extern tool",
                                               "agent",    "team", "tool"};
  return fmt::format("{} {}({}) -> {}", kinds[static_cast<size_t>(c.kind)], c.name,
                     fmt::join(params, ", "), a.display(c.result));
}

std::string signature(const ir::Builtin& b) {
  std::vector<std::string> params;
  for (const ir::BuiltinParam& p : b.params)
    params.push_back(fmt::format("{}{}: {}", p.name, p.required ? "" : "?", p.type));
  return fmt::format("step {}({}) -> {}", b.name, fmt::join(params, ", "), b.result);
}

std::string markdown(std::string_view code, std::string_view text) {
  std::string out = code.empty() ? "" : fmt::format("```kflow\n{}\n```", code);
  if (!text.empty()) out += (out.empty() ? "" : "\n\n") + std::string(text);
  return out;
}

std::string hover_json(const Analysis& a, Cursor at, const std::string& text) {
  JsonWriter json;
  json.begin_object();
  json.key("contents"), json.begin_object();
  json.key("kind"), json.string("markdown");
  json.key("value"), json.string(text);
  json.end_object();
  json.key("range"), json.raw(range_json(a.document.range(at.begin(), at.end())));
  json.end_object();
  return json.take();
}

// The declaration or statement whose name stands at a place of any file of the analysis.
Cursor declared_at(const Analysis& a, source::Span at) {
  for (const auto& module : a.model->modules) {
    if (module->file != at.file) continue;
    Cursor node = module->tree.root();
    Cursor best;
    while (node && !syntax::is_leaf(node.kind())) {
      if (!node.is(Node::file) && !node.is(Node::block) && !node.is(Node::params)) best = node;
      Cursor next;
      for (Cursor c = node.first(); c; c = node.next(c)) {
        if (c.begin() <= at.begin && at.end <= c.end()) next = c;
      }
      node = next;
    }
    return best.is(Node::step_binding) || best.is(Node::callee) ? Cursor() : best;
  }
  return {};
}

std::string doc_of(const Analysis& a, source::Span definition) {
  for (const auto& module : a.model->modules) {
    if (module->file != definition.file) continue;
    Cursor node = module->tree.root();
    std::string doc;
    while (node && !syntax::is_leaf(node.kind())) {
      Cursor next;
      for (Cursor c = node.first(); c; c = node.next(c)) {
        if (c.begin() <= definition.begin && definition.end <= c.end()) next = c;
      }
      if (next && !next.is(Node::block) && !syntax::is_leaf(next.kind())) {
        if (std::string d = next.doc(); !d.empty()) doc = std::move(d);
      } else if (next.is(Node::block)) {
        doc.clear();
      }
      node = next;
    }
    return doc;
  }
  return "";
}

const sema::CallableInfo* callable_at(const Analysis& a, source::Span definition) {
  for (const sema::CallableInfo& c : a.model->callables) {
    if (c.span == definition) return &c;
  }
  return nullptr;
}

std::string option_hover(const std::vector<Cursor>& path, Cursor token) {
  const Cursor owner = path.size() > 1 ? path[path.size() - 2] : Cursor();
  if (!owner || (!owner.is(Node::option) && !owner.is(Node::map_entry))) return "";
  const Cursor name = owner.child(Node::identifier);
  if (!name || name.index() != token.index()) return "";
  const std::string_view construct = construct_of(path);
  const sema::OptionRow* row = sema::find_option(construct, token.text());
  if (row == nullptr) return "";
  std::string takes(row->detail);
  if (row->kind == sema::OptionKind::symbol) std::replace(takes.begin(), takes.end(), ' ', '|');
  return markdown(
      fmt::format("{}: {}", row->name, takes.empty() ? "…" : takes),
      fmt::format("{} — option of `{}`{}", row->doc, construct, row->required ? ", required" : ""));
}

}  // namespace

std::string range_json(const Range& range) {
  return fmt::format(
      R"({{"start":{{"line":{},"character":{}}},"end":{{"line":{},"character":{}}}}})",
      range.start.line, range.start.character, range.end.line, range.end.character);
}

std::string diagnostics_json(const Analysis& a) {
  JsonWriter json;
  json.begin_array();
  for (const diagnostics::Diagnostic* d : a.sink.sorted()) {
    if (d->span.file != a.file()) continue;
    const diagnostics::KindInfo& kind = diagnostics::info(d->kind);
    json.begin_object();
    json.key("range"), json.raw(range_json(a.document.range(d->span.begin, d->span.end)));
    json.key("severity"), json.integer(kind.severity == diagnostics::Severity::error ? 1 : 2);
    json.key("code"), json.string(diagnostics::code_text(d->kind));
    json.key("source"), json.string("kflow");
    std::string message = d->message;
    if (!d->label.empty()) message += "\n" + d->label;
    if (!d->suggestions.empty())
      message += fmt::format("\ndid you mean `{}`?", fmt::join(d->suggestions, "`, `"));
    for (const std::string& note : d->notes) message += "\n" + note;
    json.key("message"), json.string(message);
    json.key("relatedInformation"), json.begin_array();
    for (const diagnostics::Label& label : d->secondary) {
      if (label.span.file != a.file()) continue;
      json.begin_object();
      json.key("location"), json.begin_object();
      json.key("uri"), json.string(uri_of((*a.sources)[label.span.file].path()));
      json.key("range"), json.raw(range_json(a.document.range(label.span.begin, label.span.end)));
      json.end_object();
      json.key("message"), json.string(label.text);
      json.end_object();
    }
    json.end_array();
    json.end_object();
  }
  json.end_array();
  return json.take();
}

std::string hover(const Analysis& a, uint32_t offset) {
  const auto path = a.path_to(offset);
  const Cursor token = path.empty() ? Cursor() : path.back();
  if (!token || !token.is(Node::identifier)) return "null";
  if (const std::string text = option_hover(path, token); !text.empty())
    return hover_json(a, token, text);
  const auto definition = a.definition_at(offset);
  if (definition) {
    const std::string doc = doc_of(a, *definition);
    if (const sema::CallableInfo* c = callable_at(a, *definition))
      return hover_json(a, token, markdown(signature(a, *c), c->description()));
    const std::string name((*a.sources)[definition->file].text().substr(
        definition->begin, definition->end - definition->begin));
    const Cursor declared = declared_at(a, *definition);
    if (declared.is(Node::fn_decl) || declared.is(Node::type_decl) ||
        declared.is(Node::const_decl) || declared.is(Node::config_decl)) {
      std::string text(declared.text());
      if (text.size() > 600)
        text.resize(text.find('\n') == std::string::npos ? 600 : text.find('\n'));
      return hover_json(a, token, markdown(text, doc));
    }
    if (const auto type = a.type_at(offset))
      return hover_json(a, token, markdown(name + ": " + a.display(*type), doc));
  }
  // `http.get` of a step.
  if (path.size() > 1 && path[path.size() - 2].is(Node::callee)) {
    if (const ir::Builtin* b = ir::find_builtin(path[path.size() - 2].text()))
      return hover_json(a, token, markdown(signature(*b), b->doc));
  }
  const bool select = path.size() > 1 && (path[path.size() - 2].is(Node::select) ||
                                          path[path.size() - 2].is(Node::reference));
  if (const auto type = select ? a.type_at(offset) : std::nullopt)
    return hover_json(a, token, markdown(std::string(token.text()) + ": " + a.display(*type), ""));
  return "null";
}

std::optional<std::pair<std::string, uint32_t>> target_of(const Analysis& a, uint32_t offset) {
  const auto definition = a.definition_at(offset);
  if (!definition) return std::nullopt;
  return std::pair((*a.sources)[definition->file].path(), definition->begin);
}

std::optional<Location> definition(const Analysis& a, uint32_t offset) {
  const auto at = a.definition_at(offset);
  if (!at) return std::nullopt;
  const source::File& file = (*a.sources)[at->file];
  if (!file.path().starts_with('/') && at->file != a.file()) return std::nullopt;
  const Document document{std::string(file.text())};
  return Location{file.path(), document.range(at->begin, at->end)};
}

std::vector<Location> references(const Analysis& a, const std::string& path, uint32_t offset,
                                 bool declaration) {
  std::vector<source::Span> found;
  for (const sema::Index::Use& use : a.index.uses) {
    if (use.at.file == a.file() && use.definition.begin == offset &&
        (*a.sources)[use.definition.file].path() == path)
      found.push_back(a.name_of(use.at));
    if (declaration && use.definition.file == a.file() && use.definition.begin == offset &&
        (*a.sources)[use.definition.file].path() == path)
      found.push_back(use.definition);
  }
  if (declaration && (*a.sources)[a.file()].path() == path) {
    if (const auto self = a.definition_at(offset); self && self->begin == offset)
      found.push_back(*self);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::vector<Location> out;
  for (const source::Span span : found)
    out.push_back({(*a.sources)[a.file()].path(), a.document.range(span.begin, span.end)});
  return out;
}

std::string locations_json(const std::vector<Location>& all) {
  JsonWriter json;
  json.begin_array();
  for (const Location& l : all) {
    json.begin_object();
    json.key("uri"), json.string(uri_of(l.path));
    json.key("range"), json.raw(range_json(l.range));
    json.end_object();
  }
  json.end_array();
  return json.take();
}

std::string code_actions(const Analysis& a, const std::string& uri, const Range& range) {
  const uint32_t begin = a.document.offset(range.start);
  const uint32_t end = a.document.offset(range.end);
  JsonWriter json;
  json.begin_array();
  for (const diagnostics::Diagnostic* d : a.sink.sorted()) {
    if (d->span.file != a.file() || d->span.begin > end || d->span.end < begin) continue;
    if (d->fixes.empty()) continue;
    json.begin_object();
    const std::string& first = d->fixes.front().text;
    json.key("title"), json.string(first.empty() ? "remove it" : "write `" + first + "`");
    json.key("kind"), json.string("quickfix");
    json.key("isPreferred"), json.boolean(true);
    json.key("edit"), json.begin_object();
    json.key("changes"), json.begin_object();
    json.key(uri), json.begin_array();
    for (const diagnostics::Fix& fix : d->fixes) {
      if (fix.span.file != a.file()) continue;
      json.begin_object();
      json.key("range"), json.raw(range_json(a.document.range(fix.span.begin, fix.span.end)));
      json.key("newText"), json.string(fix.text);
      json.end_object();
    }
    json.end_array();
    json.end_object();
    json.end_object();
    json.end_object();
  }
  json.end_array();
  return json.take();
}

}  // namespace kflow::lsp
