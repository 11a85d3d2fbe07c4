// Completion: what could stand at the cursor, from the tokens before it, the names that are known
// and the construct table.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "compiler/base/json.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/ir/builtins.hpp"
#include "compiler/lsp/features.hpp"
#include "compiler/sema/constructs.hpp"

namespace kflow::lsp {
namespace {

// Numbers of the protocol.
constexpr int item_method = 2;
constexpr int item_function = 3;
constexpr int item_field = 5;
constexpr int item_variable = 6;
constexpr int item_module = 9;
constexpr int item_property = 10;
constexpr int item_keyword = 14;
constexpr int item_constant = 21;
constexpr int item_struct = 22;
constexpr int item_enum_member = 20;

constexpr std::string_view declarations[] = {"import", "const",    "fn",     "secret", "type",
                                             "retry",  "model",    "mcp",    "agent",  "team",
                                             "tool",   "workflow", "extern", "test"};
constexpr std::string_view statements[] = {"step",     "let",  "set",   "if",      "match",
                                           "parallel", "for",  "loop",  "try",     "return",
                                           "fail",     "emit", "break", "continue"};
constexpr std::string_view test_statements[] = {"mock", "run", "signal", "expect", "let", "for"};
constexpr std::string_view types[] = {"bool",   "int",      "uint",      "double", "string",
                                      "bytes",  "duration", "timestamp", "any",    "file",
                                      "secret", "map",      "null"};
constexpr std::string_view macros[] = {"all",    "exists",        "existsOne",    "filter", "map",
                                       "sortBy", "transformList", "transformMap", "optMap"};

class Completion {
 public:
  Completion(const Analysis& a, uint32_t offset) : a_(a), offset_(offset) {
    const auto& nodes = a.tree().nodes();
    for (uint32_t i = 0; i < nodes.size(); ++i) {
      const Cursor c(&a.tree(), i);
      if (!syntax::is_leaf(c.kind()) || syntax::is_trivia(c.kind()) || c.begin() == c.end())
        continue;
      if (c.end() > offset || c.text().ends_with(placeholder)) break;
      tokens_.push_back(c);
    }
    // The word that is being typed is no token before the cursor.
    if (!tokens_.empty() && tokens_.back().end() == offset &&
        (tokens_.back().is(Node::identifier) || tokens_.back().is(Node::keyword)))
      tokens_.pop_back();
  }

  std::string run() {
    json_.begin_object();
    json_.key("isIncomplete"), json_.boolean(false);
    json_.key("items"), json_.begin_array();
    if (!inside_text()) fill();
    json_.end_array();
    json_.end_object();
    return json_.take();
  }

 private:
  std::string_view back(size_t n = 0) const {
    return n < tokens_.size() ? tokens_[tokens_.size() - 1 - n].text() : std::string_view();
  }

  // In a comment, or in a string outside of its `${}`.
  bool inside_text() const {
    const auto& nodes = a_.tree().nodes();
    for (const syntax::NodeData& n : nodes) {
      if (!syntax::is_leaf(n.kind) || n.begin >= offset_ || n.end < offset_) continue;
      if (n.kind == Node::comment || n.kind == Node::doc_comment) return true;
      const bool string = n.kind == Node::string_literal || n.kind == Node::string_text ||
                          n.kind == Node::bytes_literal;
      if (string && n.end > offset_) {
        // A `${` that is not closed yet has made one literal of all the rest.
        const std::string_view before = a_.tree().text().substr(n.begin, offset_ - n.begin);
        const size_t hole = before.rfind("${");
        return hole == std::string_view::npos || before.find('}', hole) != std::string_view::npos;
      }
    }
    return false;
  }

  void item(std::string_view label, int kind, const std::string& detail, const std::string& doc,
            const std::string& insert = "") {
    if (!seen_.insert(std::string(label)).second) return;
    json_.begin_object();
    json_.key("label"), json_.string(label);
    json_.key("kind"), json_.integer(kind);
    if (!detail.empty()) json_.key("detail"), json_.string(detail);
    if (!doc.empty()) {
      json_.key("documentation"), json_.begin_object();
      json_.key("kind"), json_.string("markdown");
      json_.key("value"), json_.string(doc);
      json_.end_object();
    }
    if (!insert.empty()) json_.key("insertText"), json_.string(insert);
    json_.end_object();
  }

  void fill() {
    const std::string_view last = back();
    if (last == "." || last == ".?") return members();
    if (last == "@") {
      for (const char* name : {"range", "length", "pattern", "format", "check", "was", "alias"})
        item(name, item_function, "annotation", "");
      return;
    }
    const size_t opener = innermost();
    const std::string_view bracket = opener < tokens_.size() ? tokens_[opener].text() : "";
    if (bracket.empty()) {
      if (tokens_.empty() || !continues(tokens_.size() - 1)) {
        for (const std::string_view word : declarations)
          item(word, item_keyword, "declaration", "");
        return;
      }
    }
    if (last == "->" || (last == "|" && !is_expression_side())) return type_names();
    if (last == "step" || last == "mock") return callables();
    if (last == "=" && (statement_word() == "step" || statement_word() == "run"))
      return callables();
    if (last == ":") return after_colon(opener);
    if (bracket == "{" && at_item_start(opener)) return block_items(opener);
    if (bracket == "(" && (last == "(" || last == ",")) arguments(opener);
    if (bracket == "[" && is_reference_list(opener)) return callables();
    values();
  }

  // The last bracket before the cursor that is not closed; the number of tokens: none.
  size_t innermost() const {
    int depth = 0;
    for (size_t i = tokens_.size(); i-- > 0;) {
      const std::string_view t = tokens_[i].text();
      if (t == ")" || t == "]" || t == "}") ++depth;
      if (t == "(" || t == "[" || t == "{" || t == "${" || t == "[?") {
        if (depth == 0) return i;
        --depth;
      }
    }
    return tokens_.size();
  }

  // Whether an expression or a declaration goes on behind this token.
  bool continues(size_t at) const {
    const Cursor c = tokens_[at];
    const std::string_view t = c.text();
    if (c.is(Node::op) || c.is(Node::keyword)) return true;
    return t == "=" || t == ":" || t == "->" || t == "," || t == "(" || t == "|" || t == "?" ||
           t == "@" || t == ".";
  }
  bool at_item_start(size_t opener) const {
    if (opener + 1 == tokens_.size()) return true;
    const std::string_view last = back();
    return last == "," || !continues(tokens_.size() - 1);
  }
  bool is_expression_side() const {
    const std::string_view word = statement_word();
    return word == "let" || word == "return" || word == "if";
  }
  // The keyword that the statement around the cursor begins with.
  std::string_view statement_word() const {
    for (size_t i = tokens_.size(); i-- > 0;) {
      if (tokens_[i].is(Node::keyword)) return tokens_[i].text();
      if (tokens_[i].text() == "{" || tokens_[i].text() == "}") return "";
    }
    return "";
  }

  // What the block that opens at a token belongs to: `step`, `agent`, `retry` …
  std::string construct(size_t opener) const {
    if (opener > 1 && opener < tokens_.size() && tokens_[opener - 1].text() == ":") {
      const std::string_view option = tokens_[opener - 2].text();
      for (const sema::OptionRow& row : sema::all_options()) {
        if (row.kind == sema::OptionKind::block && row.name == option)
          return std::string(row.detail);
      }
      return option == "session" ? "session" : "";
    }
    int depth = 0;
    for (size_t i = opener; i-- > 0;) {
      const std::string_view t = tokens_[i].text();
      if (t == ")" || t == "]" || t == "}") ++depth;
      if (t == "(" || t == "[" || t == "{") {
        if (depth-- == 0) return "";
      }
      if (depth == 0 && tokens_[i].is(Node::keyword) && t != "in" && t != "as") {
        if (t == "tool" && i > 0 && tokens_[i - 1].text() == "extern") return "extern";
        return std::string(t);
      }
    }
    return "";
  }

  bool in_test(size_t opener) const {
    for (size_t at = opener; at < tokens_.size();) {
      if (construct(at) == "test") return true;
      int depth = 0;
      size_t outer = tokens_.size();
      for (size_t i = at; i-- > 0;) {
        const std::string_view t = tokens_[i].text();
        if (t == ")" || t == "]" || t == "}") ++depth;
        if (t == "(" || t == "[" || t == "{") {
          if (depth == 0) {
            outer = i;
            break;
          }
          --depth;
        }
      }
      at = outer;
    }
    return false;
  }

  void block_items(size_t opener) {
    const std::string owner = construct(opener);
    if (owner == "type" || owner == "session") return;
    std::set<std::string_view> given;
    for (size_t i = opener + 1; i + 1 < tokens_.size(); ++i) {
      if (tokens_[i + 1].text() == ":") given.insert(tokens_[i].text());
    }
    for (const sema::OptionRow& row : sema::all_options()) {
      if (row.construct != owner || given.contains(row.name)) continue;
      item(row.name, item_property, std::string(row.detail), std::string(row.doc),
           std::string(row.name) + ": ");
    }
    static const std::set<std::string_view> no_statements{
        "step",   "agent",       "team",   "model",        "retry", "mcp",
        "extern", "concurrency", "budget", "tool_options", ""};
    if (no_statements.contains(owner)) {
      if (owner.empty()) values();
      return;
    }
    if (in_test(opener)) {
      for (const std::string_view word : test_statements) item(word, item_keyword, "statement", "");
      return;
    }
    for (const std::string_view word : statements) item(word, item_keyword, "statement", "");
    if (owner == "parallel") item("branch", item_keyword, "statement", "");
  }

  void after_colon(size_t opener) {
    const std::string owner = opener < tokens_.size() ? construct(opener) : "";
    const std::string_view option = back(1);
    if (const sema::OptionRow* row = sema::find_option(owner, option)) return option_values(*row);
    const std::string_view word = statement_word();
    const std::string_view bracket = opener < tokens_.size() ? tokens_[opener].text() : "";
    const bool parameter =
        bracket == "(" && opener > 0 && (opener < 2 || tokens_[opener - 2].is(Node::keyword));
    const bool binding = (word == "step" || word == "let") && bracket == "{" && back(2) == word;
    if (owner == "type" || owner == "session" || parameter || binding || word == "const")
      return type_names();
    values();
  }

  void option_values(const sema::OptionRow& row) {
    if (row.kind == sema::OptionKind::symbol || row.kind == sema::OptionKind::call) {
      std::string_view rest = row.detail;
      while (!rest.empty()) {
        const std::string_view word = rest.substr(0, rest.find(' '));
        if (!word.empty()) item(word, item_enum_member, std::string(row.name), "");
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
      }
      if (row.name != "undo") return;
    }
    if (row.name == "retry") {
      for (const auto& [name, policy] : a_.module().retries)
        item(name, item_constant, "retry policy", "");
      return;
    }
    if (row.name == "model" || row.name == "fallback") {
      for (const auto& [name, node] : a_.module().models)
        item(name, item_constant, "model", node.doc());
      return;
    }
    if (row.name == "api_key" || row.name == "bearer") {
      for (const std::string& name : a_.module().secrets) item(name, item_constant, "secret", "");
      return;
    }
    if (row.name == "undo" || row.name == "on_failure" || row.name == "on_cancel")
      return callables();
    if (row.detail == "bool") {
      item("true", item_keyword, "", "");
      item("false", item_keyword, "", "");
      return;
    }
    values();
  }

  bool is_reference_list(size_t opener) const {
    if (opener < 2 || tokens_[opener - 1].text() != ":") return false;
    const std::string_view option = tokens_[opener - 2].text();
    return option == "tools" || option == "members" || option == "guard" || option == "confirm";
  }

  void type_names() {
    for (const std::string_view name : types) item(name, item_struct, "type", "");
    for (const auto& [name, type] : a_.module().types)
      item(name, item_struct, "type", a_.model->types[type].doc);
    for (const auto& [name, module] : a_.module().imports) item(name, item_module, "module", "");
  }

  std::string signature(const sema::CallableInfo& c) const {
    std::vector<std::string> params;
    for (const sema::ParamInfo& p : c.params) params.push_back(p.name + ": " + a_.display(p.type));
    return fmt::format("({}) -> {}", fmt::join(params, ", "), a_.display(c.result));
  }
  void callable(std::string_view label, const sema::CallableInfo& c) {
    item(label, item_function, signature(c), c.description());
  }
  void callables() {
    for (const auto& [name, index] : a_.module().callables)
      callable(name, a_.model->callables[index]);
    for (const auto& [name, module] : a_.module().imports) {
      item(name, item_module, "module", "");
      if (module == UINT32_MAX) continue;
      for (const auto& [inner, index] : a_.model->modules[module]->callables) {
        if (!sema::is_private(inner)) callable(name + "." + inner, a_.model->callables[index]);
      }
    }
    for (const ir::Builtin& b : ir::all_builtins()) builtin(b.name, b);
  }
  void builtin(std::string_view label, const ir::Builtin& b) {
    std::vector<std::string> params;
    for (const ir::BuiltinParam& p : b.params)
      params.push_back(fmt::format("{}: {}", p.name, p.type));
    item(label, item_function, fmt::format("({}) -> {}", fmt::join(params, ", "), b.result),
         std::string(b.doc));
  }

  // Behind a dot: fields of what stands before it, or what a module or a group of built-ins has.
  void members() {
    const Cursor before = tokens_.size() > 1 ? tokens_[tokens_.size() - 2] : Cursor();
    if (!before) return;
    const std::string space(before.text());
    const bool lone = tokens_.size() < 3 || (back(2) != "." && back(2) != ".?");
    if (lone && before.is(Node::identifier)) {
      if (const auto it = a_.module().imports.find(space);
          it != a_.module().imports.end() && it->second != UINT32_MAX) {
        const sema::Module& other = *a_.model->modules[it->second];
        for (const auto& [name, index] : other.callables) {
          if (!sema::is_private(name)) callable(name, a_.model->callables[index]);
        }
        for (const auto& [name, f] : other.functions) {
          if (!sema::is_private(name)) item(name, item_function, "fn", f.node.doc());
        }
        for (const auto& [name, type] : other.types) {
          if (!sema::is_private(name)) item(name, item_struct, "type", a_.model->types[type].doc);
        }
        for (const auto& [name, c] : other.consts) {
          if (!sema::is_private(name)) item(name, item_constant, a_.display(c.type), "");
        }
        return;
      }
      if (const auto it = a_.module().servers.find(space); it != a_.module().servers.end()) {
        for (const std::string& tool : a_.model->servers[it->second].tools)
          item(tool, item_function, "MCP tool", "");
        return;
      }
      for (const ir::Builtin& b : ir::all_builtins()) {
        if (b.name.starts_with(space + ".")) builtin(b.name.substr(space.size() + 1), b);
      }
      if (a_.module().callables.contains(space))
        item("start", item_function, "starts it beside this run", "");
      for (const std::string& name : cel::function_names()) {
        if (name.starts_with(space + "."))
          item(name.substr(space.size() + 1), item_function, "", "");
      }
    }
    std::optional<schema::TypeId> type;
    for (const sema::Index::Typed& t : a_.index.types) {
      if (t.at.file == a_.file() && t.at.end == before.end()) type = t.type;
    }
    if (!type) return;
    const schema::TypeTable& table = a_.model->types;
    const schema::Type& t = table[table.without_null(*type)];
    std::vector<schema::TypeId> records;
    if (t.kind == schema::TypeKind::record) records.push_back(table.without_null(*type));
    if (t.kind == schema::TypeKind::record_union) records = t.arms;
    for (const schema::TypeId r : records) {
      for (const schema::Field& f : table[r].fields)
        item(f.name, item_field, a_.display(f.type), f.doc);
    }
    if (t.kind == schema::TypeKind::list || t.kind == schema::TypeKind::map ||
        t.kind == schema::TypeKind::any) {
      for (const std::string_view name : macros) item(name, item_method, "macro", "");
    }
    if (records.empty()) {
      for (const std::string& name : cel::function_names()) {
        const cel::Function* f = cel::find_function(name, true);
        if (f != nullptr && name.find('.') == std::string::npos)
          item(name, item_method, "", std::string(f->doc));
      }
    }
  }

  // `callee(` and `callee(a, `: names of parameters that are not given yet.
  void arguments(size_t opener) {
    std::string name;
    for (size_t i = opener; i-- > 0;) {
      if (!tokens_[i].is(Node::identifier) && tokens_[i].text() != ".") break;
      name = std::string(tokens_[i].text()) + name;
    }
    std::set<std::string_view> given;
    for (size_t i = opener + 1; i + 1 < tokens_.size(); ++i) {
      if (tokens_[i + 1].text() == ":") given.insert(tokens_[i].text());
    }
    if (const auto index = sema::find_callable(*a_.model, a_.module(), name)) {
      for (const sema::ParamInfo& p : a_.model->callables[*index].params) {
        if (!given.contains(p.name))
          item(p.name + ":", item_variable, a_.display(p.type), p.doc, p.name + ": ");
      }
    } else if (const ir::Builtin* b = ir::find_builtin(name)) {
      for (const ir::BuiltinParam& p : b->params) {
        if (!given.contains(p.name))
          item(std::string(p.name) + ":", item_variable, std::string(p.type), "",
               std::string(p.name) + ": ");
      }
    }
  }

  // Names that an expression can read here, nearest declaration first.
  void values() {
    const auto path = a_.path_to(offset_);
    uint32_t begin = 0;
    for (const Cursor c : path) {
      if (c.is(Node::callable_decl) || c.is(Node::agent_decl) || c.is(Node::test_decl) ||
          c.is(Node::fn_decl))
        begin = c.begin();
    }
    const uint32_t end = path.size() > 1 ? path[1].end() : offset_;
    for (const sema::Index::Name& name : a_.index.names) {
      const bool here = name.at.file == a_.file() && name.at.begin >= begin && name.at.begin < end;
      if (here && begin > 0 && !name.name.starts_with(placeholder))
        item(name.name, item_variable, a_.display(name.type), "");
    }
    if (begin > 0) written_names(begin, end);
    for (const auto& [name, c] : a_.module().consts)
      item(name, item_constant, a_.display(c.type), c.node.doc());
    for (const auto& [name, f] : a_.module().functions)
      item(name, item_function, "fn", f.node.doc());
    for (const std::string_view name : {"run", "session", "user"})
      item(name, item_variable, "", "");
    for (const std::string& name : cel::function_names()) {
      const cel::Function* f = cel::find_function(name, false);
      if (f != nullptr) item(name, item_function, "", std::string(f->doc));
    }
    for (const std::string_view word : {"true", "false", "null"}) item(word, item_keyword, "", "");
    for (const auto& [name, module] : a_.module().imports) item(name, item_module, "module", "");
  }

  // Those of a body that could not be checked, since it does not parse yet.
  void written_names(uint32_t begin, uint32_t end) {
    const auto& nodes = a_.tree().nodes();
    for (uint32_t i = 0; i < nodes.size(); ++i) {
      const Node kind = nodes[i].kind;
      const bool defines = kind == Node::step_binding || kind == Node::let_stmt ||
                           kind == Node::for_stmt || kind == Node::run_stmt || kind == Node::param;
      if (!defines || nodes[i].begin < begin || nodes[i].end > end) continue;
      for (const Cursor name : Cursor(&a_.tree(), i).children(Node::identifier)) {
        if (!name.text().ends_with(placeholder)) item(name.text(), item_variable, "", "");
      }
    }
  }

  const Analysis& a_;
  uint32_t offset_;
  std::vector<Cursor> tokens_;  // before the cursor
  std::set<std::string> seen_;
  JsonWriter json_;
};

}  // namespace

std::string completion(const Analysis& a, uint32_t offset) { return Completion(a, offset).run(); }

}  // namespace kflow::lsp
