// Walks an expression from its leaves up, giving each part a type.
#include "compiler/cel/front/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compiler/cel/front/check_format.hpp"

namespace kflow::cel {
namespace {

constexpr StaticType error_type = TypeStore::simple(StaticKind::error);
constexpr StaticType dyn_type = TypeStore::simple(StaticKind::dyn);
constexpr StaticType bool_type = TypeStore::simple(StaticKind::boolean);
constexpr StaticType int_type = TypeStore::simple(StaticKind::int_);
constexpr StaticType string_type = TypeStore::simple(StaticKind::string);

class Checker {
 public:
  Checker(const Ast& ast, const Declarations& declarations, std::string_view container)
      : ast_(ast),
        declared_(declarations),
        container_(container),
        types_(&declarations.types()),
        substitution_(types_),
        found_(ast.exprs.size(), error_type) {}

  CheckResult run() {
    const StaticType t = check(ast_.root);
    CheckResult out{.type = "error", .errors = std::move(errors_)};
    if (out.errors.empty()) out.type = types_.text(substitution_.apply(t, true));
    return out;
  }

 private:
  struct Local {
    std::string_view name;
    StaticType type;
  };

  // ---- messages

  StaticType error(const Expr& at, EvalErrorKind kind, std::string message) {
    errors_.push_back({at.begin, at.end, kind, std::move(message)});
    return error_type;
  }
  std::string shown(StaticType t) { return types_.text(substitution_.apply(t, true)); }
  StaticType no_overload(const Expr& at, std::string_view name, std::span<const StaticType> args,
                         bool member) {
    std::string text;
    for (size_t i = member ? 1 : 0; i < args.size(); ++i)
      text.append(text.empty() ? "" : ", ").append(shown(args[i]));
    text = "(" + text + ")";
    if (member) text = shown(args[0]) + "." + text;
    return error(at, EvalErrorKind::no_such_overload,
                 fmt::format("found no matching overload for `{}` applied to `{}`", name, text));
  }
  StaticType undeclared(const Expr& at, EvalErrorKind kind, std::string_view name) {
    return error(at, kind, fmt::format("undeclared reference to `{}`", name));
  }

  // ---- expressions

  StaticType check(uint32_t id) { return found_[id] = type_of(id); }

  StaticType type_of(uint32_t id) {
    const Expr& e = ast_[id];
    switch (e.kind) {
      case ExprKind::poison:
        return error_type;
      case ExprKind::literal:
        return literal(e.literal);
      case ExprKind::name:
      case ExprKind::select:
        return name_or_select(id, e);
      case ExprKind::call:
        return call(e);
      case ExprKind::op:
        return operation(e);
    }
    std::unreachable();
  }

  static StaticType literal(const Value& v) {
    switch (v.kind()) {
      case Kind::boolean:
        return bool_type;
      case Kind::int_:
        return int_type;
      case Kind::uint_:
        return TypeStore::simple(StaticKind::uint_);
      case Kind::double_:
        return TypeStore::simple(StaticKind::double_);
      case Kind::string:
        return string_type;
      case Kind::bytes:
        return TypeStore::simple(StaticKind::bytes);
      case Kind::duration:
        return TypeStore::simple(StaticKind::duration);
      default:
        return TypeStore::simple(StaticKind::null);
    }
  }

  const StaticType* local(std::string_view name) const {
    for (auto it = locals_.rbegin(); it != locals_.rend(); ++it) {
      if (it->name == name) return &it->type;
    }
    return nullptr;
  }

  std::optional<StaticType> declared(std::string_view name, bool root) {
    std::optional<StaticType> out;
    each_candidate(root ? "" : container_, name, [&](std::string_view candidate) {
      out = declared_.variable(candidate);
      return out.has_value();
    });
    return out ? std::optional(instantiate_one(*out)) : out;
  }

  // The longest declared prefix of a dotted name wins, unless its first part is a local variable.
  StaticType name_or_select(uint32_t id, const Expr& e) {
    if (e.kind == ExprKind::name) {
      const bool root = e.flags & root_name;
      if (!root) {
        if (const StaticType* t = local(e.text)) return *t;
      }
      if (const auto t = declared(e.text, root)) return *t;
      return undeclared(e, EvalErrorKind::undeclared_variable, e.text);
    }
    if (const auto t = dotted(id)) return *t;
    const StaticType out = select(e);
    return e.flags & op_flag::test ? bool_type : out;
  }

  std::optional<StaticType> dotted(uint32_t id) {
    const std::string full = ast_.dotted(id);
    if (full.empty()) return std::nullopt;
    const bool root = ast_.is_root(id);
    if (!root && local(std::string_view(full).substr(0, full.find('.')))) return std::nullopt;
    return declared(full, root);
  }

  StaticType select(const Expr& e) {
    const StaticType operand = substitution_.apply(check(e.args[0]));
    const bool is_optional = types_.is_optional(operand);
    const StaticType target = is_optional ? types_.arg(operand, 0) : operand;
    StaticType out = dyn_type;
    switch (types_.kind(target)) {
      case StaticKind::map:
        out = types_.arg(target, 1);
        break;
      case StaticKind::variable:
        substitution_.assign(dyn_type, target);
        break;
      case StaticKind::dyn:
      case StaticKind::error:
        break;
      default:
        error(e, EvalErrorKind::no_such_field,
              fmt::format("type `{}` does not support field selection", shown(target)));
        return error_type;
    }
    return is_optional || (e.flags & op_flag::optional) ? types_.optional(out) : out;
  }

  // ---- calls

  // `"literal".format([items])`.
  void formatted(const Expr& e) {
    const Expr& text = ast_[e.args[0]];
    const Expr& list = ast_[e.args[1]];
    if (text.kind != ExprKind::literal || list.kind != ExprKind::op || list.op != OpCode::list ||
        std::find(list.marks.begin(), list.marks.end(), 1) != list.marks.end())
      return;
    std::vector<FormattedItem> items;
    for (const uint32_t id : list.args) {
      const StaticType t = substitution_.apply(found_[id]);
      items.push_back({ast_[id].begin, ast_[id].end, types_.kind(t),
                       types_.kind(t) == StaticKind::opaque, shown(t)});
    }
    check_format(text.literal.as_string(), items, e.begin, e.end, errors_);
  }

  StaticType call(const Expr& e) {
    const bool member = e.flags & op_flag::member;
    if (member) {
      // `a.b.f(x)` is the function `a.b.f` if there is one.
      const std::string space = ast_.dotted(e.args[0]);
      if (!space.empty()) {
        const bool root = ast_.is_root(e.args[0]);
        if (const std::string full = function_named(space + "." + e.text, root); !full.empty())
          return resolve(e, full, std::span(e.args).subspan(1), false);
      }
      if (!declared_.has_function(e.text)) {
        const StaticType receiver = check(e.args[0]);
        for (size_t i = 1; i < e.args.size(); ++i) check(e.args[i]);
        return receiver == error_type && !errors_.empty()
                   ? error_type
                   : undeclared(e, EvalErrorKind::undeclared_function, e.text);
      }
      const StaticType out = resolve(e, e.text, e.args, true);
      if (e.text == "format" && out == string_type) formatted(e);
      return out;
    }
    const bool root = e.text.starts_with('.');
    const std::string full = function_named(root ? e.text.substr(1) : e.text, root);
    if (!full.empty()) return resolve(e, full, e.args, false);
    for (const uint32_t arg : e.args) check(arg);
    return undeclared(e, EvalErrorKind::undeclared_function, e.text);
  }

  std::string function_named(std::string_view name, bool root) const {
    std::string out;
    each_candidate(root ? "" : container_, name, [&](std::string_view candidate) {
      if (!declared_.has_function(candidate)) return false;
      out = candidate;
      return true;
    });
    return out;
  }

  StaticType resolve(const Expr& e, std::string_view name, std::span<const uint32_t> args,
                     bool member) {
    std::vector<StaticType> given;
    given.reserve(args.size());
    for (const uint32_t arg : args) given.push_back(check(arg));
    if (!member && (name == "math.greatest" || name == "math.least")) extreme(e, args, given);
    Resolution out;
    declared_.each_overload(name, [&](const Overload& o) {
      if (o.member == member) consider(o, given, out);
    });
    return out.found ? out.result : no_overload(e, name, given, member);
  }

  // More than two numbers are looked at as a list of them. What is no number by itself is refused,
  // as no overload would find it in a list.
  void extreme(const Expr& e, std::span<const uint32_t> args, std::vector<StaticType>& given) {
    for (const uint32_t arg : args) {
      const Expr& a = ast_[arg];
      const bool wrong_literal = a.kind == ExprKind::literal && !a.literal.is_number();
      const bool empty = a.kind == ExprKind::op && a.op == OpCode::list && a.args.empty();
      if (wrong_literal || empty) {
        error(e, EvalErrorKind::no_such_overload, "only numbers have a greatest and a least");
        return;
      }
    }
    if (given.size() <= 2) return;
    std::optional<StaticType> element;
    for (const StaticType t : given) element = joined(element, t);
    given = {types_.list(*element)};
  }

  struct Resolution {
    bool found = false;
    StaticType result = error_type;
  };

  // Whether an overload takes the arguments; several that do and differ in their result give dyn.
  void consider(const Overload& o, std::span<const StaticType> given, Resolution& out) {
    if (o.params.size() != given.size()) return;
    StaticType result = o.result;
    if (!o.generic) {
      if (!substitution_.assign_all(given, o.params)) return;
    } else {
      instances_.clear();
      std::array<StaticType, 8> few{};
      std::vector<StaticType> many(o.params.size() > few.size() ? o.params.size() : 0);
      StaticType* params = many.empty() ? few.data() : many.data();
      for (size_t i = 0; i < o.params.size(); ++i) params[i] = instantiate(o.params[i]);
      result = instantiate(o.result);
      if (!substitution_.assign_all(given, {params, o.params.size()})) return;
    }
    result = substitution_.apply(result);
    if (!out.found) {
      out = {true, result};
    } else if (out.result != dyn_type && !types_.equal(result, out.result)) {
      out.result = dyn_type;
    }
  }

  // A type with its parameters replaced by variables of this call.
  StaticType instantiate(StaticType t) {
    if (types_.kind(t) == StaticKind::variable) {
      const std::string_view name = types_.name(t);
      if (name.empty()) return t;
      for (const auto& [known, variable] : instances_) {
        if (known == name) return variable;
      }
      return instances_.emplace_back(name, types_.fresh_variable()).second;
    }
    const uint32_t n = types_.arg_count(t);
    if (n == 0) return t;
    std::vector<StaticType> args;
    bool changed = false;
    for (uint32_t i = 0; i < n; ++i) {
      args.push_back(instantiate(types_.arg(t, i)));
      changed |= args.back() != types_.arg(t, i);
    }
    return changed ? types_.rebuild(t, args) : t;
  }
  StaticType instantiate_one(StaticType t) {
    instances_.clear();
    return instantiate(t);
  }

  // ---- operators and literals of collections

  StaticType overloaded(const Expr& e, std::string_view name, bool optional = false) {
    std::array<StaticType, 3> given{};
    for (size_t i = 0; i < e.args.size(); ++i) given[i] = check(e.args[i]);
    return overloaded(e, name, std::span(given).first(e.args.size()), optional);
  }
  StaticType overloaded(const Expr& e, std::string_view name, std::span<const StaticType> given,
                        bool optional = false, OpCode code = OpCode::undeclared) {
    Resolution out;
    for (const Overload& o : operator_overloads(code == OpCode::undeclared ? e.op : code, optional))
      consider(o, given, out);
    return out.found ? out.result : no_overload(e, name, given, false);
  }

  void boolean(uint32_t id) {
    const StaticType t = check(id);
    if (!substitution_.assign(t, bool_type)) {
      error(ast_[id], EvalErrorKind::no_such_overload,
            fmt::format("expected type `bool` but found `{}`", shown(t)));
    }
  }

  StaticType joined(std::optional<StaticType> before, StaticType t) {
    if (!before) return t;
    if (substitution_.assign(*before, t))
      return substitution_.more_general(substitution_.apply(*before), substitution_.apply(t));
    return dyn_type;
  }

  // The type inside an element that is marked with `?`.
  StaticType unwrapped(uint32_t id, StaticType t) {
    t = substitution_.apply(t);
    if (types_.is_optional(t)) return types_.arg(t, 0);
    const StaticKind kind = types_.kind(t);
    if (kind != StaticKind::dyn && kind != StaticKind::error && kind != StaticKind::variable) {
      error(ast_[id], EvalErrorKind::no_such_overload,
            fmt::format("expected type `optional_type({0})` but found `{0}`", shown(t)));
    }
    return kind == StaticKind::variable ? dyn_type : t;
  }

  StaticType list(const Expr& e) {
    std::optional<StaticType> element;
    for (size_t i = 0; i < e.args.size(); ++i) {
      StaticType t = check(e.args[i]);
      if (e.marks[i]) t = unwrapped(e.args[i], t);
      element = joined(element, t);
    }
    return types_.list(element ? *element : types_.fresh_variable());
  }

  StaticType map(const Expr& e) {
    std::optional<StaticType> key;
    std::optional<StaticType> value;
    for (size_t i = 0; i + 1 < e.args.size(); i += 2) {
      key = joined(key, check(e.args[i]));
      StaticType t = check(e.args[i + 1]);
      if (e.marks[i]) t = unwrapped(e.args[i + 1], t);
      value = joined(value, t);
    }
    if (!key) return types_.map(types_.fresh_variable(), types_.fresh_variable());
    return types_.map(*key, *value);
  }

  StaticType operation(const Expr& e) {
    switch (e.op) {
      case OpCode::list:
        return list(e);
      case OpCode::map:
        return map(e);
      case OpCode::and_:
      case OpCode::or_:
        boolean(e.args[0]);
        boolean(e.args[1]);
        return bool_type;
      case OpCode::conditional:
        return overloaded(e, "_?_:_");
      case OpCode::not_:
        return overloaded(e, "!_");
      case OpCode::negate:
        return overloaded(e, "-_");
      case OpCode::add:
        return overloaded(e, "_+_");
      case OpCode::subtract:
        return overloaded(e, "_-_");
      case OpCode::multiply:
        return overloaded(e, "_*_");
      case OpCode::divide:
        return overloaded(e, "_/_");
      case OpCode::modulo:
        return overloaded(e, "_%_");
      case OpCode::equal:
        return overloaded(e, "_==_");
      case OpCode::not_equal:
        return overloaded(e, "_!=_");
      case OpCode::less:
        return overloaded(e, "_<_");
      case OpCode::less_equal:
        return overloaded(e, "_<=_");
      case OpCode::greater:
        return overloaded(e, "_>_");
      case OpCode::greater_equal:
        return overloaded(e, "_>=_");
      case OpCode::in:
        return overloaded(e, "@in");
      case OpCode::index:
        return overloaded(e, e.flags & op_flag::optional ? "_[?_]" : "_[_]",
                          e.flags & op_flag::optional);
      case OpCode::bind:
        return bind(e);
      case OpCode::opt_map:
      case OpCode::opt_flat_map:
        return opt_map(e);
      case OpCode::undeclared:
        return undeclared(e, EvalErrorKind::undeclared_variable, e.text);
      case OpCode::all:
      case OpCode::exists:
      case OpCode::exists_one:
      case OpCode::map_list:
      case OpCode::filter:
      case OpCode::transform_map:
      case OpCode::transform_map_entry:
      case OpCode::sort_by:
        return loop(e);
      default:
        return error(e, EvalErrorKind::no_such_overload, "no operation of CEL");
    }
  }

  // ---- macros

  StaticType bind(const Expr& e) {
    const StaticType init = check(e.args[0]);
    // What `cel.block` names is not looked through, as the tests of the checker have it.
    locals_.push_back({e.variable, e.variable.starts_with('@') ? dyn_type : init});
    const StaticType out = check(e.args[1]);
    locals_.pop_back();
    return substitution_.apply(out);
  }

  StaticType opt_map(const Expr& e) {
    const bool flat = e.op == OpCode::opt_flat_map;
    const StaticType target = check(e.args[0]);
    const StaticType inner = types_.fresh_variable();
    if (!substitution_.assign(target, types_.optional(inner)))
      return no_overload(e, "hasValue", std::array{target}, true);
    locals_.push_back({e.variable, substitution_.apply(inner)});
    const StaticType body = check(e.args[1]);
    locals_.pop_back();
    if (!flat) return substitution_.apply(types_.optional(body));
    // As `target.hasValue() ? body : optional.none()`.
    const std::array given{bool_type, body, types_.optional(types_.fresh_variable())};
    return overloaded(e, "_?_:_", given, false, OpCode::conditional);
  }

  // The types of the variables of a loop over `range`: those of one, or of index or key and value.
  void enter_loop(const Expr& e, const Expr& at, StaticType range) {
    range = substitution_.apply(range);
    const bool two = !e.variable2.empty();
    StaticType first = error_type;
    StaticType second = error_type;
    switch (types_.kind(range)) {
      case StaticKind::list:
        first = two ? int_type : types_.arg(range, 0);
        second = types_.arg(range, 0);
        break;
      case StaticKind::map:
        if (e.op == OpCode::sort_by) {
          no_overload(e, "sortBy", std::array{range}, true);
          break;
        }
        first = types_.arg(range, 0);
        second = types_.arg(range, 1);
        break;
      case StaticKind::error:
        break;
      case StaticKind::dyn:
      case StaticKind::variable:
        substitution_.assign(dyn_type, range);
        first = second = dyn_type;
        break;
      default:
        error(at, EvalErrorKind::no_such_overload,
              fmt::format("expression of type `{}` cannot be range of a comprehension (must be "
                          "list, map, or dynamic)",
                          shown(range)));
    }
    locals_.push_back({e.variable, first});
    if (two) locals_.push_back({e.variable2, second});
  }

  StaticType loop(const Expr& e) {
    const size_t before = locals_.size();
    const StaticType range = check(e.args[0]);
    enter_loop(e, ast_[e.args[0]], range);
    const StaticType element = locals_[before + (e.variable2.empty() ? 0 : 1)].type;
    const StaticType key = locals_[before].type;
    const bool filtered = e.flags & op_flag::filtered;
    if (filtered) boolean(e.args[1]);
    const uint32_t result = e.args[filtered ? 2 : 1];
    StaticType out = bool_type;
    switch (e.op) {
      case OpCode::all:
      case OpCode::exists:
      case OpCode::exists_one:
        boolean(result);
        break;
      case OpCode::filter:
        boolean(result);
        out = types_.list(element);
        break;
      case OpCode::map_list:
        out = types_.list(check(result));
        break;
      case OpCode::transform_map:
        out = types_.map(key, check(result));
        break;
      case OpCode::sort_by:
        sort_key(result);
        out = types_.list(element);
        break;
      default:
        out = entry(e, result);
    }
    locals_.resize(before);
    return substitution_.apply(out);
  }

  void sort_key(uint32_t id) {
    const StaticType key = check(id);
    Resolution out;
    for (const Overload& o : operator_overloads(OpCode::less))
      consider(o, std::array{key, key}, out);
    if (!out.found) no_overload(ast_[id], "sortBy", std::array{key}, false);
  }

  StaticType entry(const Expr& e, uint32_t id) {
    const StaticType made = check(id);
    const StaticType wanted = types_.map(types_.fresh_variable(), types_.fresh_variable());
    if (!substitution_.assign(made, wanted))
      return no_overload(e, "transformMapEntry", std::array{made}, false);
    return wanted;
  }

  const Ast& ast_;
  const Declarations& declared_;
  std::string_view container_;
  TypeStore types_;
  Substitution substitution_;
  std::vector<Local> locals_;
  std::vector<std::pair<std::string_view, StaticType>> instances_;
  std::vector<StaticType> found_;  // by expression
  std::vector<CheckError> errors_;
};

}  // namespace

CheckResult check_static(const Ast& ast, const Declarations& declarations,
                         std::string_view container) {
  return Checker(ast, declarations, container).run();
}

}  // namespace kflow::cel
