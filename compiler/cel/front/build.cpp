// Tree → Ast: precedence, literals, macros.
#include <algorithm>
#include <charconv>

#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::cel {
namespace {

using syntax::Cursor;
using syntax::Node;

struct BinaryOp {
  OpCode code;
  int precedence;
  bool right = false;
};

std::optional<BinaryOp> binary_op(std::string_view text) {
  if (text == "||") return BinaryOp{OpCode::or_, 2};
  if (text == "&&") return BinaryOp{OpCode::and_, 3};
  if (text == "??") return BinaryOp{OpCode::coalesce, 1, true};
  if (text == "==") return BinaryOp{OpCode::equal, 4};
  if (text == "!=") return BinaryOp{OpCode::not_equal, 4};
  if (text == "<") return BinaryOp{OpCode::less, 4};
  if (text == "<=") return BinaryOp{OpCode::less_equal, 4};
  if (text == ">") return BinaryOp{OpCode::greater, 4};
  if (text == ">=") return BinaryOp{OpCode::greater_equal, 4};
  if (text == "in") return BinaryOp{OpCode::in, 4};
  if (text == "+") return BinaryOp{OpCode::add, 5};
  if (text == "-") return BinaryOp{OpCode::subtract, 5};
  if (text == "*") return BinaryOp{OpCode::multiply, 6};
  if (text == "/") return BinaryOp{OpCode::divide, 6};
  if (text == "%") return BinaryOp{OpCode::modulo, 6};
  return std::nullopt;
}

// Called on a value, with variables first.
struct MacroRow {
  std::string_view name;
  OpCode op;
  size_t variables;
  size_t expressions;
  bool filter_allowed;
};
constexpr MacroRow macro_rows[] = {{"all", OpCode::all, 1, 1, false},
                                   {"exists", OpCode::exists, 1, 1, false},
                                   {"exists_one", OpCode::exists_one, 1, 1, false},
                                   {"existsOne", OpCode::exists_one, 1, 1, false},
                                   {"filter", OpCode::filter, 1, 1, false},
                                   {"map", OpCode::map_list, 1, 1, true},
                                   {"sortBy", OpCode::sort_by, 1, 1, false},
                                   {"optMap", OpCode::opt_map, 1, 1, false},
                                   {"optFlatMap", OpCode::opt_flat_map, 1, 1, false},
                                   {"all", OpCode::all, 2, 1, false},
                                   {"exists", OpCode::exists, 2, 1, false},
                                   {"exists_one", OpCode::exists_one, 2, 1, false},
                                   {"existsOne", OpCode::exists_one, 2, 1, false},
                                   {"transformList", OpCode::map_list, 2, 1, true},
                                   {"transformMap", OpCode::transform_map, 2, 1, true},
                                   {"transformMapEntry", OpCode::transform_map_entry, 2, 1, true}};

class Builder {
 public:
  Builder(const BuildOptions& options) : options_(options) {}
  Ast ast;

  uint32_t build(Cursor c) {
    if (!c) return poison(0, 0);
    switch (c.kind()) {
      case Node::null_literal:
        return literal(c, Value());
      case Node::bool_literal:
        return literal(c, Value::boolean(c.text() == "true"));
      case Node::int_literal:
      case Node::uint_literal:
      case Node::double_literal:
        return number(c, false);
      case Node::duration_literal: {
        const auto d = parse_duration_literal(c.text());
        if (!d) return error(c, "this duration is longer than 292 years");
        return literal(c, Value::duration(*d));
      }
      case Node::string_literal:
      case Node::bytes_literal:
      case Node::string:
        return string(c);
      case Node::paren:
        return build(c.expression());
      case Node::list:
        return list(c);
      case Node::map:
        return map(c);
      case Node::reference:
        return reference(c);
      case Node::postfix:
        return postfix(c);
      case Node::message_literal:
        return message(c);
      case Node::unary:
        return unary(c);
      case Node::chain:
        return chain(c);
      case Node::ternary:
        return ternary(c);
      default:
        return poison(c.begin(), c.end());
    }
  }

 private:
  uint32_t add(Expr e) {
    uint32_t deepest = 0;
    for (const uint32_t arg : e.args) deepest = std::max(deepest, depth_[arg]);
    if (deepest + 1 > max_expression_depth) {
      if (!too_deep_)
        ast.errors.push_back({e.begin, e.end, "this expression is too long or nested too deeply"});
      too_deep_ = true;
      return poison(e.begin, e.end);
    }
    depth_.push_back(deepest + 1);
    ast.exprs.push_back(std::move(e));
    return static_cast<uint32_t>(ast.exprs.size() - 1);
  }
  uint32_t poison(uint32_t begin, uint32_t end) { return add({.begin = begin, .end = end}); }
  uint32_t error(uint32_t begin, uint32_t end, std::string message) {
    ast.errors.push_back({begin, end, std::move(message)});
    return poison(begin, end);
  }
  uint32_t error(Cursor c, std::string message) {
    return error(c.begin(), c.end(), std::move(message));
  }
  uint32_t literal(Cursor c, Value v) {
    return add(
        {.kind = ExprKind::literal, .literal = std::move(v), .begin = c.begin(), .end = c.end()});
  }
  uint32_t op(OpCode code, std::vector<uint32_t> args, uint32_t begin, uint32_t end,
              uint8_t flags = 0) {
    return add({.kind = ExprKind::op,
                .op = code,
                .flags = flags,
                .args = std::move(args),
                .begin = begin,
                .end = end});
  }

  // ---- literals

  uint32_t number(Cursor c, bool negative) {
    std::string text(c.text());
    const auto bad = [&] { return error(c, "the number `" + text + "` is out of range"); };
    if (c.kind() == Node::double_literal) {
      double d = 0;
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), d);
      if (code == std::errc::result_out_of_range) {
        const size_t e = text.find_first_of("eE");
        if (e == std::string::npos || text[e + 1] != '-') return bad();
        d = 0;
      }
      return literal(c, Value::number(negative ? -d : d));
    }
    const bool is_unsigned = c.kind() == Node::uint_literal;
    std::string_view digits = text;
    if (is_unsigned) digits.remove_suffix(1);
    const bool hex = digits.starts_with("0x");
    if (hex) digits.remove_prefix(2);
    uint64_t v = 0;
    const auto [end, code] =
        std::from_chars(digits.data(), digits.data() + digits.size(), v, hex ? 16 : 10);
    if (code != std::errc()) return bad();
    if (is_unsigned) return literal(c, Value::unsigned_integer(v));
    const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
    if (v > limit) return bad();
    return literal(c, Value::integer(static_cast<int64_t>(negative ? ~v + 1 : v)));
  }

  uint32_t string(Cursor c) {
    const syntax::DecodedString decoded = syntax::decode_string(c, !options_.strict);
    for (const auto& e : decoded.errors) ast.errors.push_back({e.begin, e.end, e.message});
    if (!decoded.errors.empty()) return poison(c.begin(), c.end());
    if (c.kind() != Node::string) {
      std::string text;
      for (const auto& segment : decoded.segments) text += segment.text;
      if (decoded.bytes) return literal(c, Value::bytes(text));
      return literal(c, Value::string(std::move(text)));
    }
    std::vector<uint32_t> parts;
    for (const auto& segment : decoded.segments) {
      if (segment.hole) {
        parts.push_back(build(segment.expression));
      } else if (!segment.text.empty()) {
        parts.push_back(literal(c, Value::string(segment.text)));
      }
    }
    return op(OpCode::interpolate, std::move(parts), c.begin(), c.end());
  }

  uint32_t list(Cursor c) {
    Expr e{.kind = ExprKind::op, .op = OpCode::list, .begin = c.begin(), .end = c.end()};
    for (const Cursor item : c.children(Node::list_item)) {
      e.args.push_back(build(item.expression()));
      e.marks.push_back(static_cast<bool>(item.token("?")));
    }
    return add(std::move(e));
  }

  uint32_t map(Cursor c) {
    Expr e{.kind = ExprKind::op, .op = OpCode::map, .begin = c.begin(), .end = c.end()};
    Cursor previous;
    for (const Cursor entry : c.children(Node::map_entry)) {
      if (previous && !options_.strict && !comma_between(c, previous, entry)) {
        ast.errors.push_back(
            {entry.begin(), entry.begin() + 1, "expected `,` between the entries of a map"});
      }
      previous = entry;
      const Cursor key = entry.child(Node::identifier);
      const Cursor first = entry.expression();
      uint32_t key_id = 0;
      Cursor value = first;
      if (key) {
        key_id = literal(key, Value::string(key.text()));
      } else {
        const bool bare = !options_.strict && first.is(Node::reference) &&
                          !first.child(Node::arguments) && !first.token(".");
        key_id = bare ? literal(first, Value::string(first.name())) : build(first);
        value = first ? next_expression(entry, first) : Cursor();
      }
      e.args.push_back(key_id);
      e.args.push_back(build(value));
      const bool mark = static_cast<bool>(entry.token("?"));
      e.marks.push_back(mark);
      e.marks.push_back(mark);
    }
    return add(std::move(e));
  }
  static bool comma_between(Cursor parent, Cursor a, Cursor b) {
    for (Cursor c = parent.next(a); c && c.begin() < b.begin(); c = parent.next(c)) {
      if (c.is(Node::punctuation) || c.is(Node::missing) || c.is(Node::error)) return true;
    }
    return false;
  }
  static Cursor next_expression(Cursor parent, Cursor after) {
    for (Cursor c = parent.next(after); c; c = parent.next(c)) {
      if (syntax::is_expression(c.kind())) return c;
    }
    return {};
  }

  // Only a name that nothing has: the fields are looked at for their own errors.
  uint32_t message(Cursor c) {
    std::string name = c.token(".") && c.first().is(Node::punctuation) ? "." : "";
    for (const Cursor part : c.children(Node::identifier)) {
      if (!name.empty() && name != ".") name += '.';
      name += part.text();
    }
    Expr e{.kind = ExprKind::op,
           .op = OpCode::undeclared,
           .text = name + "{}",
           .begin = c.begin(),
           .end = c.end()};
    for (const Cursor field : c.children(Node::map_entry)) {
      if (!field.child(Node::identifier)) continue;
      build(field.expression());
    }
    return add(std::move(e));
  }

  // ---- names, selects, calls

  std::vector<Cursor> argument_nodes(Cursor arguments) {
    std::vector<Cursor> out;
    for (Cursor c = arguments.first(); c; c = arguments.next(c)) {
      if (c.is(Node::named_argument)) {
        error(c, "arguments of functions have no names");
        out.push_back(c.expression() ? c.expression() : c);
      } else if (syntax::is_expression(c.kind())) {
        out.push_back(c);
      }
    }
    return out;
  }

  uint32_t reference(Cursor c) {
    const std::string name(c.name());
    const bool root = static_cast<bool>(c.token("."));
    const Cursor arguments = c.child(Node::arguments);
    if (arguments) return global_call(c, name, root, arguments);
    return add({.kind = ExprKind::name,
                .flags = root ? root_name : uint8_t{0},
                .text = name,
                .begin = c.begin(),
                .end = c.end()});
  }

  // The full name of a function within the namespace; "" if there is none.
  std::string function_named(std::string_view name, bool root) const {
    std::string out;
    each_candidate(root ? "" : options_.container, name, [&](std::string_view candidate) {
      if (find_function(candidate, false) == nullptr) return false;
      out = candidate;
      return true;
    });
    return out;
  }

  uint32_t global_call(Cursor c, const std::string& name, bool root, Cursor arguments) {
    const std::vector<Cursor> args = argument_nodes(arguments);
    if (name == "has" && !root && args.size() == 1 && options_.macros) {
      const uint32_t target = build(args[0]);
      Expr& e = ast.exprs[target];
      if (e.kind == ExprKind::poison) return target;
      if (e.kind != ExprKind::select) return error(c, "`has` takes a field: has(x.field)");
      e.flags = static_cast<uint8_t>((e.flags & ~op_flag::optional) | op_flag::test);
      return target;
    }
    std::vector<uint32_t> ids;
    for (const Cursor arg : args) ids.push_back(build(arg));
    const std::string full = function_named(name, root);
    return add({.kind = ExprKind::call,
                .text = full.empty() ? (root ? "." : "") + name : full,
                .args = std::move(ids),
                .begin = c.begin(),
                .end = c.end()});
  }

  uint32_t postfix(Cursor c) {
    Cursor at = c.first();
    uint32_t operand = build(at);
    while ((at = c.next(at))) {
      const uint32_t begin = c.begin();
      if (at.is(Node::select)) {
        operand = select(operand, at, begin);
      } else if (at.is(Node::index)) {
        const uint8_t flags = at.token("[?") ? op_flag::optional : uint8_t{0};
        operand = op(OpCode::index, {operand, build(at.expression())}, begin, at.end(), flags);
      }
    }
    return operand;
  }

  uint32_t select(uint32_t operand, Cursor at, uint32_t begin) {
    std::string name(at.name());
    if (name.empty()) return poison(begin, at.end());
    const bool quoted = name.front() == '`';
    if (quoted) name = name.substr(1, name.size() - 2);
    const bool optional = static_cast<bool>(at.token(".?"));
    const Cursor arguments = at.child(Node::arguments);
    if (!arguments) {
      return add({.kind = ExprKind::select,
                  .flags = optional ? op_flag::optional : uint8_t{0},
                  .text = name,
                  .args = {operand},
                  .begin = begin,
                  .end = at.end()});
    }
    if (optional) return error(at, "a function is called with `.`, not `.?`");
    return member_call(operand, name, arguments, begin, at.end());
  }

  uint32_t member_call(uint32_t receiver, const std::string& name, Cursor arguments, uint32_t begin,
                       uint32_t end) {
    const std::vector<Cursor> args = argument_nodes(arguments);
    const std::string space = ast.dotted(receiver);
    if (space == "cel" && name == "bind" && args.size() == 3 && options_.macros)
      return bind(args, begin, end);
    if (space == "cel" && options_.block_macros) {
      if (name == "block" && args.size() == 2) return block(args, begin, end);
      const std::string special = block_name(name, args);
      if (!special.empty())
        return add({.kind = ExprKind::name, .text = special, .begin = begin, .end = end});
    }
    if (const auto made = macro(receiver, name, args, begin, end)) return *made;
    const std::string full =
        space.empty() ? "" : function_named(space + "." + name, ast.is_root(receiver));
    if (!full.empty()) {
      std::vector<uint32_t> ids;
      for (const Cursor arg : args) ids.push_back(build(arg));
      return add({.kind = ExprKind::call,
                  .text = full,
                  .args = std::move(ids),
                  .begin = begin,
                  .end = end});
    }
    std::vector<uint32_t> ids{receiver};
    for (const Cursor arg : args) ids.push_back(build(arg));
    return add({.kind = ExprKind::call,
                .flags = op_flag::member,
                .text = name,
                .args = std::move(ids),
                .begin = begin,
                .end = end});
  }

  // ---- macros

  // The name that stands alone at `c`, or "" with an error.
  std::string variable(Cursor c) {
    if (c.is(Node::reference) && !c.child(Node::arguments) && !c.token(".")) {
      if (c.name() != "__result__") return std::string(c.name());
      error(c, "`__result__` is reserved by CEL");
      return "";
    }
    if (options_.block_macros && c.is(Node::postfix)) {
      const Cursor last = c.next(c.first());
      if (const Cursor arguments = last.child(Node::arguments)) {
        if (auto special = block_name(last.name(), argument_nodes(arguments)); !special.empty())
          return special;
      }
    }
    error(c, "an iteration variable is a plain name");
    return "";
  }

  uint32_t bind(const std::vector<Cursor>& args, uint32_t begin, uint32_t end) {
    const std::string name = variable(args[0]);
    if (name.empty()) return poison(begin, end);
    const uint32_t init = build(args[1]);
    const uint32_t body = build(args[2]);
    return add({.kind = ExprKind::op,
                .op = OpCode::bind,
                .variable = name,
                .args = {init, body},
                .begin = begin,
                .end = end});
  }

  // `cel.index(N)`, `cel.iterVar(N, M)` and `cel.accuVar(N, M)` are names; "" for anything else.
  std::string block_name(std::string_view name, const std::vector<Cursor>& args) {
    const auto digits = [&](size_t i) {
      return std::string(args[i].is(Node::int_literal) ? args[i].text() : "");
    };
    if (name == "index" && args.size() == 1) return "@index" + digits(0);
    if (name == "iterVar" && args.size() == 2) return "@it:" + digits(0) + ":" + digits(1);
    if (name == "accuVar" && args.size() == 2) return "@ac:" + digits(0) + ":" + digits(1);
    return "";
  }

  // `cel.block([a, b], e)`: names for parts of e, each of which sees those before it.
  uint32_t block(const std::vector<Cursor>& args, uint32_t begin, uint32_t end) {
    if (!args[0].is(Node::list)) return error(args[0], "`cel.block` takes a list");
    std::vector<uint32_t> parts;
    for (const Cursor item : args[0].children(Node::list_item))
      parts.push_back(build(item.expression()));
    uint32_t body = build(args[1]);
    for (size_t i = parts.size(); i-- > 0;) {
      body = add({.kind = ExprKind::op,
                  .op = OpCode::bind,
                  .variable = "@index" + std::to_string(i),
                  .args = {parts[i], body},
                  .begin = begin,
                  .end = end});
    }
    return body;
  }

  std::optional<uint32_t> macro(uint32_t receiver, const std::string& name,
                                const std::vector<Cursor>& args, uint32_t begin, uint32_t end) {
    if (!options_.macros) return std::nullopt;
    for (const MacroRow& row : macro_rows) {
      if (row.name != name || (row.variables == 2 && !options_.two_variable_macros)) continue;
      const size_t least = row.variables + row.expressions;
      const bool filtered = row.filter_allowed && args.size() == least + 1;
      if (args.size() != least && !filtered) continue;
      Expr e{.kind = ExprKind::op, .op = row.op, .args = {receiver}, .begin = begin, .end = end};
      e.variable = variable(args[0]);
      if (row.variables == 2) {
        e.variable2 = variable(args[1]);
        e.flags |= op_flag::two_vars;
        if (!e.variable.empty() && e.variable == e.variable2)
          return error(args[1], "the two variables have the same name");
      }
      if (filtered) e.flags |= op_flag::filtered;
      if (e.variable.empty() || (row.variables == 2 && e.variable2.empty()))
        return poison(begin, end);
      for (size_t i = row.variables; i < args.size(); ++i) e.args.push_back(build(args[i]));
      return add(std::move(e));
    }
    return std::nullopt;
  }

  // ---- operators

  uint32_t unary(Cursor c) {
    size_t count = 0;
    bool minus = false;
    Cursor operand;
    for (Cursor at = c.first(); at; at = c.next(at)) {
      if (at.is(Node::op)) {
        ++count;
        minus = at.text() == "-";
      } else {
        operand = at;
      }
    }
    uint32_t id = 0;
    // `-5` is one literal, so that the least int can be written; in `-5.f()` the minus comes after.
    if (minus && count > 0 && (operand.is(Node::int_literal) || operand.is(Node::double_literal))) {
      id = number(operand, true);
      --count;
    } else {
      id = build(operand);
    }
    for (; count > 0; --count)
      id = op(minus ? OpCode::negate : OpCode::not_, {id}, c.begin(), c.end());
    return id;
  }

  struct Item {
    uint32_t operand = 0;
    std::optional<BinaryOp> op;  // after the operand
    Cursor op_node;
  };

  uint32_t chain(Cursor c) {
    std::vector<Item> items;
    bool coalesce = false;
    bool logic = false;
    for (Cursor at = c.first(); at; at = c.next(at)) {
      if (at.is(Node::op)) {
        if (items.empty()) continue;
        items.back().op = binary_op(at.text());
        items.back().op_node = at;
        coalesce |= at.text() == "??";
        logic |= at.text() == "||" || at.text() == "&&";
      } else if (at.is(Node::missing)) {
        items.push_back({poison(at.begin(), at.end()), std::nullopt, {}});
      } else {
        items.push_back({build(at), std::nullopt, {}});
      }
    }
    if (coalesce && logic)
      ast.errors.push_back({c.begin(), c.end(), "`??` beside `&&` or `||` wants parentheses"});
    size_t at = 0;
    return climb(items, at, 0);
  }

  uint32_t climb(std::vector<Item>& items, size_t& at, int least) {
    uint32_t left = items[at].operand;
    while (items[at].op && items[at].op->precedence >= least && at + 1 < items.size()) {
      const BinaryOp o = *items[at].op;
      ++at;
      const uint32_t right = climb(items, at, o.right ? o.precedence : o.precedence + 1);
      left = op(o.code, {left, right}, ast.exprs[left].begin, ast.exprs[right].end);
    }
    return left;
  }

  uint32_t ternary(Cursor c) {
    std::vector<uint32_t> parts;
    for (Cursor at = c.first(); at; at = c.next(at)) {
      if (syntax::is_expression(at.kind())) parts.push_back(build(at));
    }
    if (parts.size() != 3) return poison(c.begin(), c.end());
    return op(OpCode::conditional, std::move(parts), c.begin(), c.end());
  }

  BuildOptions options_;
  std::vector<uint32_t> depth_;
  bool too_deep_ = false;
};

}  // namespace

std::string Ast::dotted(uint32_t id) const {
  const Expr& e = exprs[id];
  if (e.kind == ExprKind::name) return e.text;
  if (e.kind != ExprKind::select || e.flags != 0) return "";
  const std::string outer = dotted(e.args[0]);
  return outer.empty() ? "" : outer + "." + e.text;
}

bool Ast::is_root(uint32_t id) const {
  while (exprs[id].kind == ExprKind::select) id = exprs[id].args[0];
  return exprs[id].kind == ExprKind::name && (exprs[id].flags & root_name) != 0;
}

std::vector<std::string> macro_names() {
  std::vector<std::string> out;
  for (const MacroRow& row : macro_rows) out.emplace_back(row.name);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Ast build_ast(syntax::Cursor node, const BuildOptions& options) {
  Builder builder(options);
  builder.ast.root = builder.build(node);
  return std::move(builder.ast);
}

}  // namespace kflow::cel
