// Symbols, folds, colours and hints, read off the tree.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compiler/base/json.hpp"
#include "compiler/lsp/features.hpp"

namespace kflow::lsp {
namespace {

// ---- symbols; the numbers are the protocol's

constexpr int symbol_module = 2;
constexpr int symbol_field = 8;
constexpr int symbol_enum = 10;
constexpr int symbol_function = 12;
constexpr int symbol_variable = 13;
constexpr int symbol_constant = 14;
constexpr int symbol_key = 20;
constexpr int symbol_struct = 23;
constexpr int symbol_event = 24;
constexpr int symbol_class = 5;
constexpr int symbol_method = 6;

int symbol_of(Cursor c) {
  switch (c.kind()) {
    case Node::import_decl:
      return symbol_module;
    case Node::const_decl:
      return symbol_constant;
    case Node::fn_decl:
      return symbol_function;
    case Node::secret_decl:
      return symbol_key;
    case Node::type_decl:
      return c.child(Node::record_type) ? symbol_struct : symbol_enum;
    case Node::config_decl:
    case Node::agent_decl:
      return symbol_class;
    case Node::callable_decl:
    case Node::extern_decl:
      return symbol_function;
    case Node::test_decl:
      return symbol_event;
    case Node::field:
      return symbol_field;
    case Node::step_stmt:
    case Node::run_stmt:
      return symbol_method;
    case Node::let_stmt:
    case Node::branch_stmt:
    case Node::loop_stmt:
      return symbol_variable;
    default:
      return 0;
  }
}

Cursor name_of(Cursor c) {
  if (c.is(Node::step_stmt)) {
    const Cursor binding = c.child(Node::step_binding);
    return binding ? binding.child(Node::identifier) : Cursor();
  }
  if (c.is(Node::test_decl) || c.is(Node::import_decl)) return c.child(Node::string_literal);
  return c.child(Node::identifier);
}

void symbols(const Analysis& a, Cursor node, JsonWriter& json, int depth) {
  for (Cursor c = node.first(); c; c = node.next(c)) {
    if (syntax::is_leaf(c.kind())) continue;
    const int kind = symbol_of(c);
    const Cursor name = kind == 0 ? Cursor() : name_of(c);
    if (!name || name.begin() == name.end()) {
      if (!syntax::is_expression(c.kind()) && depth < 60) symbols(a, c, json, depth + 1);
      continue;
    }
    json.begin_object();
    json.key("name"), json.string(name.text());
    if (const Cursor word = c.child(Node::keyword)) json.key("detail"), json.string(word.text());
    json.key("kind"), json.integer(kind);
    json.key("range"), json.raw(range_json(a.document.range(c.begin(), c.end())));
    json.key("selectionRange"), json.raw(range_json(a.document.range(name.begin(), name.end())));
    json.key("children"), json.begin_array();
    symbols(a, c, json, depth + 1);
    json.end_array();
    json.end_object();
  }
}

// ---- colours

enum Token : int {
  keyword,
  type,
  function,
  variable,
  property,
  string,
  number,
  op,
  comment,
  count
};
constexpr std::array<std::string_view, count> token_names{"keyword",  "type",     "function",
                                                          "variable", "property", "string",
                                                          "number",   "operator", "comment"};

int token_of(Cursor parent, Cursor leaf) {
  switch (leaf.kind()) {
    case Node::comment:
    case Node::doc_comment:
      return comment;
    case Node::keyword:
      return keyword;
    case Node::op:
      return op;
    case Node::null_literal:
    case Node::bool_literal:
      return keyword;
    case Node::int_literal:
    case Node::uint_literal:
    case Node::double_literal:
    case Node::duration_literal:
      return number;
    case Node::string_literal:
    case Node::bytes_literal:
    case Node::string_open:
    case Node::string_text:
    case Node::string_close:
      return string;
    case Node::identifier:
      break;
    default:
      return -1;
  }
  switch (parent.kind()) {
    case Node::name_type:
    case Node::type_decl:
      return type;
    case Node::callee:
    case Node::fn_decl:
    case Node::callable_decl:
    case Node::extern_decl:
    case Node::agent_decl:
      return function;
    case Node::option:
    case Node::field:
    case Node::map_entry:
    case Node::named_argument:
    case Node::annotation:
      return property;
    case Node::select:
      return parent.child(Node::arguments) ? function : property;
    case Node::reference:
      return parent.child(Node::arguments) ? function : variable;
    default:
      return variable;
  }
}

struct Coloured {
  Place at;
  uint32_t length = 0;
  int kind = 0;
};

// A token of several lines is one of each.
void add(const Analysis& a, uint32_t begin, uint32_t end, int kind, std::vector<Coloured>& out) {
  const std::string& text = a.document.text();
  while (begin < end) {
    const size_t line = std::min<size_t>(text.find('\n', begin), end);
    const Place from = a.document.place(begin);
    const Place to = a.document.place(static_cast<uint32_t>(line));
    if (to.line == from.line && to.character > from.character)
      out.push_back({from, to.character - from.character, kind});
    begin = static_cast<uint32_t>(line) + 1;
  }
}

}  // namespace

std::string document_symbols(const Analysis& a) {
  JsonWriter json;
  json.begin_array();
  symbols(a, a.tree().root(), json, 0);
  json.end_array();
  return json.take();
}

std::string folding_ranges(const Analysis& a) {
  JsonWriter json;
  json.begin_array();
  const auto fold = [&](uint32_t begin, uint32_t end, bool comment) {
    const uint32_t first = a.document.place(begin).line;
    uint32_t last = a.document.place(end).line;
    if (!comment && last > first) --last;  // the closing bracket stays to be seen
    if (last <= first) return;
    json.begin_object();
    json.key("startLine"), json.integer(first);
    json.key("endLine"), json.integer(last);
    if (comment) json.key("kind"), json.string("comment");
    json.end_object();
  };
  uint32_t comment_begin = UINT32_MAX;
  uint32_t comment_end = 0;
  for (const syntax::NodeData& n : a.tree().nodes()) {
    switch (n.kind) {
      case Node::block:
      case Node::options:
      case Node::record_type:
      case Node::list:
      case Node::map:
      case Node::arguments:
      case Node::params:
      case Node::match_stmt:
        fold(n.begin, n.end, false);
        break;
      case Node::comment:
      case Node::doc_comment:
        if (comment_begin == UINT32_MAX) comment_begin = n.begin;
        comment_end = n.end;
        continue;
      case Node::whitespace:
        continue;
      default:
        break;
    }
    if (comment_begin != UINT32_MAX && syntax::is_leaf(n.kind)) {
      fold(comment_begin, comment_end, true);
      comment_begin = UINT32_MAX;
    }
  }
  json.end_array();
  return json.take();
}

std::string semantic_legend() {
  JsonWriter json;
  json.begin_object();
  json.key("tokenTypes"), json.begin_array();
  for (const std::string_view name : token_names) json.string(name);
  json.end_array();
  json.key("tokenModifiers"), json.begin_array();
  json.end_array();
  json.end_object();
  return json.take();
}

std::string semantic_tokens(const Analysis& a) {
  std::vector<Coloured> all;
  const auto& nodes = a.tree().nodes();
  std::vector<uint32_t> open;  // of the nodes around, with where they end
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    while (!open.empty() && i >= open.back() + nodes[open.back()].size) open.pop_back();
    if (!syntax::is_leaf(nodes[i].kind)) {
      open.push_back(i);
      continue;
    }
    const Cursor parent(&a.tree(), open.empty() ? 0 : open.back());
    const int kind = token_of(parent, Cursor(&a.tree(), i));
    if (kind >= 0) add(a, nodes[i].begin, nodes[i].end, kind, all);
  }
  std::string out = "{\"data\":[";
  Place before;
  bool first = true;
  for (const Coloured& c : all) {
    const uint32_t line = c.at.line - before.line;
    const uint32_t character = line == 0 ? c.at.character - before.character : c.at.character;
    out += fmt::format("{}{},{},{},{},0", first ? "" : ",", line, character, c.length, c.kind);
    before = c.at;
    first = false;
  }
  return out + "]}";
}

std::string inlay_hints(const Analysis& a, const Range& range) {
  JsonWriter json;
  json.begin_array();
  const uint32_t begin = a.document.offset(range.start);
  const uint32_t end = a.document.offset(range.end);
  std::vector<uint32_t> seen;
  for (const sema::Index::Name& name : a.index.names) {
    if (name.at.file != a.file() || name.at.begin < begin || name.at.end > end) continue;
    if (std::find(seen.begin(), seen.end(), name.at.end) != seen.end()) continue;
    seen.push_back(name.at.end);
    // Only of names whose type is not written.
    const auto path = a.path_to(name.at.begin);
    const Cursor owner = path.size() > 1 ? path[path.size() - 2] : Cursor();
    const bool hinted = owner && (owner.is(Node::let_stmt) || owner.is(Node::step_binding) ||
                                  owner.is(Node::for_stmt));
    if (!hinted || owner.token(":")) continue;
    std::string text = ": " + a.display(name.type);
    if (text.size() > 60) text = text.substr(0, text.find_last_of(' ', 57)) + " …";
    json.begin_object();
    const Range at = a.document.range(name.at.end, name.at.end);
    json.key("position"), json.begin_object();
    json.key("line"), json.integer(at.start.line);
    json.key("character"), json.integer(at.start.character);
    json.end_object();
    json.key("label"), json.string(text);
    json.key("kind"), json.integer(1);
    json.end_object();
  }
  json.end_array();
  return json.take();
}

}  // namespace kflow::lsp
