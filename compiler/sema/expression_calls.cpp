// Macros and calls of functions.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "compiler/ir/schema/secrets.hpp"
#include "compiler/sema/expression_checker.hpp"
#include "compiler/sema/habits.hpp"

namespace kflow::sema {

using cel::ExprKind;
using cel::OpCode;
using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;

namespace {
constexpr int max_inline_depth = 50;
}

Info ExpressionChecker::macro(uint32_t id, OpCode code, const std::vector<uint32_t>& args) {
  const std::string first = out_.ast.exprs[id].variable;
  const std::string second = out_.ast.exprs[id].variable2;
  const uint8_t flags = out_.ast.exprs[id].flags;
  Info range = check(args[0]);
  const size_t before = locals_.size();
  if (code == OpCode::bind || code == OpCode::opt_map || code == OpCode::opt_flat_map) {
    locals_.push_back({first, code == OpCode::bind ? plain(range) : range.type});
    const Info body = check(args[1]);
    locals_.resize(before);
    if (code == OpCode::bind) return body;
    return {body.type, true};
  }
  if (may_be_null(range) && !unknown(range.type)) {
    null_operand(args[0], range);
    range = {};
  }
  TypeId key = simple(TypeKind::int_);
  TypeId value = simple(TypeKind::any);
  switch (kind(range.type)) {
    case TypeKind::list:
      value = t_[range.type].element;
      break;
    case TypeKind::map:
      key = simple(TypeKind::string), value = t_[range.type].element;
      break;
    case TypeKind::record:
      key = simple(TypeKind::string);
      break;
    case TypeKind::any:
      key = simple(TypeKind::any);
      break;
    case TypeKind::poison:
      key = value = simple(TypeKind::poison);
      break;
    default:
      m_.sink.report(Kind::bad_operands, span(args[0]),
                     fmt::format("a list or map is needed here, not {}", show(range)));
      key = value = simple(TypeKind::poison);
  }
  const bool over_keys = kind(range.type) == TypeKind::map || kind(range.type) == TypeKind::record;
  const TypeId element = over_keys && second.empty() ? key : value;
  if (second.empty()) {
    locals_.push_back({first, element});
  } else {
    locals_.push_back({first, key});
    locals_.push_back({second, value});
  }
  Info out;
  switch (code) {
    case OpCode::all:
    case OpCode::exists:
    case OpCode::exists_one:
      boolean(args[1], "a predicate");
      out = {simple(TypeKind::boolean), false};
      break;
    case OpCode::filter:
      boolean(args[1], "a predicate");
      out = {t_.list_of(element), false};
      break;
    case OpCode::sort_by:
      check(args[1]);
      out = {t_.list_of(element), false};
      break;
    default: {
      const bool filtered = flags & cel::op_flag::filtered;
      if (filtered) boolean(args[1], "a predicate");
      const Info item =
          filtered ? with(non_null_when(out_.ast, args[1], true), [&] { return check(args[2]); })
                   : check(args[1]);
      if (code == OpCode::map_list) {
        out = {t_.list_of(plain(item)), false};
      } else if (code == OpCode::transform_map) {
        out = {t_.map_of(plain(item)), false};
      } else {
        out = {kind(item.type) == TypeKind::map ? item.type : t_.map_of(simple(TypeKind::any)),
               false};
      }
    }
  }
  locals_.resize(before);
  return out;
}

Info ExpressionChecker::call(uint32_t id) {
  const std::string name = out_.ast.exprs[id].text;
  const bool member = out_.ast.exprs[id].flags & cel::op_flag::member;
  const std::vector<uint32_t> args = out_.ast.exprs[id].args;
  if (!member && (name == "info" || name == "errors") && scope_.facts) return facts(id, name, args);
  if (!member && scope_.test_facts && (name == "calls" || name == "inputs" || name == "ran"))
    return test_fact(id, name, args);
  if (const auto expanded = user_function(id, name, member, args)) return *expanded;
  const cel::Function* f = cel::find_function(name, member);
  if (f == nullptr) {
    unknown_function(id, name, member, args);
    const auto given = std::span(args).subspan(member ? 1 : 0);
    // `x` of a misspelled `xs.fliter(x, x > 1)` is not looked for.
    const bool macro_like = given.size() >= 2 && out_.ast.exprs[given[0]].kind == ExprKind::name;
    if (!macro_like) {
      for (const uint32_t arg : given) check(arg);
    }
    return poison();
  }
  std::vector<Info> infos;
  for (const uint32_t arg : args) infos.push_back(check(arg));
  return overload(id, *f, args, infos);
}

Info ExpressionChecker::facts(uint32_t id, const std::string& name,
                              const std::vector<uint32_t>& args) {
  if (args.size() != 1 || out_.ast.exprs[args[0]].kind != ExprKind::name) {
    m_.sink.report(Kind::wrong_arguments, span(id),
                   fmt::format("`{}` takes the name of a step, for or loop", name));
    return poison();
  }
  const auto ref = scope_.facts(out_.ast.exprs[args[0]].text, name == "errors", span(args[0]));
  if (!ref) return poison();
  out_.references.emplace_back(id, *ref);
  return {simple(TypeKind::any), false};
}

Info ExpressionChecker::test_fact(uint32_t id, const std::string& name,
                                  const std::vector<uint32_t>& args) {
  const std::string step = name == "ran" ? "a step" : "what is called";
  std::string subject;
  if (args.size() == 1) {
    const cel::Expr& given = out_.ast.exprs[args[0]];
    const bool text = given.kind == ExprKind::literal && given.literal.kind() == cel::Kind::string;
    subject =
        text && name == "ran" ? std::string(given.literal.as_string()) : out_.ast.dotted(args[0]);
  }
  if (subject.empty()) {
    m_.sink.report(Kind::wrong_arguments, span(id),
                   fmt::format("`{}` takes the name of {}", name, step));
    return poison();
  }
  const auto known = scope_.test_facts(name, subject, span(args[0]));
  if (!known) return poison();
  out_.references.emplace_back(id, known->ref);
  return {known->type, false};
}

source::Span ExpressionChecker::name_span(uint32_t id, std::string_view name, bool member) const {
  const cel::Expr& e = out_.ast.exprs[id];
  const std::string_view text = m_.sources[scope_.module->file].text();
  const size_t from = member ? out_.ast.exprs[e.args[0]].end : e.begin;
  const size_t at = text.substr(0, e.end).find(name, from);
  if (at == std::string_view::npos) return span(id);
  return {scope_.module->file, static_cast<uint32_t>(at), static_cast<uint32_t>(at + name.size())};
}

void ExpressionChecker::unknown_function(uint32_t id, const std::string& name, bool member,
                                         const std::vector<uint32_t>& args) {
  if (!member) {
    const bool step = find_callable(m_, *scope_.module, name) || ir::find_builtin(name) != nullptr;
    if (step) {
      m_.sink
          .report(Kind::unknown_function, span(id),
                  fmt::format("`{}` does something, so only a step can call it", name))
          .note(fmt::format("write `step x = {}(…)` and use `x`", name));
      return;
    }
  } else {
    const std::string space = out_.ast.dotted(args[0]);
    if (!space.empty() && (find_callable(m_, *scope_.module, space + "." + name) ||
                           ir::find_builtin(space + "." + name) != nullptr)) {
      m_.sink
          .report(Kind::unknown_function, span(id),
                  fmt::format("`{}.{}` does something, so only a step can call it", space, name))
          .note(fmt::format("write `step x = {}.{}(…)` and use `x`", space, name));
      return;
    }
    if (unknown_in_module(id, space, name)) return;
    check(args[0]);
  }
  std::vector<std::string> names;
  for (std::string& n : cel::function_names()) {
    if (cel::find_function(n, member) != nullptr) names.push_back(std::move(n));
  }
  if (member) {
    const auto macros = cel::macro_names();
    names.insert(names.end(), macros.begin(), macros.end());
  } else {
    for (const auto& [n, f] : scope_.module->functions) names.push_back(n);
  }
  auto report = m_.sink.report(Kind::unknown_function, name_span(id, name, member),
                               fmt::format("no function is named `{}`", name));
  if (member && scope_.module->functions.contains(name)) {
    report.label(
        fmt::format("write `{0}(…)`: `{0}` is a function of this file, not a method", name));
  } else if (!explain_function_name(name, member, report)) {
    report.suggest(name, names);
  }
}

bool ExpressionChecker::unknown_in_module(uint32_t id, const std::string& space,
                                          const std::string& name) {
  const auto import = scope_.module->imports.find(space);
  if (import == scope_.module->imports.end() || is_local(space)) return false;
  if (import->second == UINT32_MAX) return true;  // reported at the import
  const Module& other = *m_.modules[import->second];
  if (other.has_syntax_errors) return true;
  std::vector<std::string> names;
  for (const auto& [n, f] : other.functions) {
    if (!is_private(n)) names.push_back(n);
  }
  auto report = m_.sink.report(Kind::unknown_function, name_span(id, name, true),
                               fmt::format("the module `{}` has no function `{}`", space, name));
  if (is_private(name)) report.note("names that begin with `_` are known in their own file only");
  report.suggest(name, names);
  return true;
}

// Pure functions are expanded in place: `cel.bind` of fresh names around a copy of the body.
std::optional<Info> ExpressionChecker::user_function(uint32_t id, const std::string& name,
                                                     bool member,
                                                     const std::vector<uint32_t>& args) {
  Module* owner = scope_.module;
  std::string shown_name = name;  // as it is called
  std::vector<uint32_t> actual = args;
  if (member) {
    const std::string space = out_.ast.dotted(args[0]);
    const auto import = scope_.module->imports.find(space);
    if (space.empty() || import == scope_.module->imports.end() || import->second == UINT32_MAX ||
        is_local(space) || is_private(name))
      return std::nullopt;
    owner = m_.modules[import->second].get();
    shown_name = space + "." + name;
    actual.erase(actual.begin());
  }
  const auto it = owner->functions.find(name);
  if (it == owner->functions.end()) return std::nullopt;
  FunctionInfo& f = it->second;
  note_use(m_, span(id), *owner, name);
  if (f.open) {
    m_.sink.report(Kind::recursive, span(id), fmt::format("the function `{}` calls itself", name))
        .note("functions are not recursive, so that every expression ends");
    return poison();
  }
  size_t least = f.params.size();
  while (least > 0 && f.params[least - 1].optional) --least;
  const size_t most = f.params.size();
  if (actual.size() < least || actual.size() > most) {
    m_.sink.report(
        Kind::wrong_arguments, span(id),
        fmt::format("`{}` takes {} argument{}, not {}", shown_name,
                    least == most ? std::to_string(most) : fmt::format("{} to {}", least, most),
                    most == 1 ? "" : "s", actual.size()));
    return poison();
  }
  while (actual.size() < most) {
    const auto value = fallback(*owner, f.params[actual.size()]);
    if (!value) return poison();
    cel::Expr literal{.kind = ExprKind::literal, .literal = *value};
    literal.begin = out_.ast.exprs[id].begin;
    literal.end = out_.ast.exprs[id].end;
    actual.push_back(static_cast<uint32_t>(out_.ast.exprs.size()));
    out_.ast.exprs.push_back(std::move(literal));
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    const Info a = check(actual[i]);
    if (!t_.assignable(plain(a), f.params[i].type)) {
      const bool secret =
          schema::holds_secret(t_, a.type) && !schema::holds_secret(t_, f.params[i].type);
      auto report = m_.sink.report(
          secret ? Kind::secret_flow : Kind::type_mismatch, span(actual[i]),
          fmt::format("the parameter `{}` of `{}` takes {}, not {}", f.params[i].name, shown_name,
                      t_.display(f.params[i].type), show(a)));
      const std::string note = conversion_note(t_, plain(a), f.params[i].type);
      if (!secret && !note.empty()) report.note(note);
    }
  }
  if (++inlined_ > max_inline_depth) {
    m_.sink.report(Kind::recursive, span(id), "functions call each other too deeply");
    return poison();
  }
  f.open = true;
  expand(id, *owner, f, actual);
  f.open = false;
  return Info{f.result, false};
}

// What a parameter is when nothing is given for it.
std::optional<cel::Value> ExpressionChecker::fallback(Module& owner, const ParamInfo& p) {
  if (!p.fallback) return cel::Value();
  return constant_value(m_, owner, p.fallback);
}

void ExpressionChecker::expand(uint32_t id, Module& owner, FunctionInfo& f,
                               const std::vector<uint32_t>& actual) {
  // The body is checked in its own module, with its parameters as locals; then its tree is
  // appended to ours.
  ExpressionScope scope{.module = &owner};
  std::map<std::string, std::string> fresh;
  for (const ParamInfo& p : f.params) scope.locals.emplace_back(p.name, p.type);
  const CheckedExpression body = check_expression(m_, scope, f.node.expression());
  if (body.ast.exprs.empty()) {
    out_.ast.exprs[id].kind = ExprKind::poison;  // its body is malformed, as reported
    return;
  }
  for (const ParamInfo& p : f.params) fresh[p.name] = fmt::format("{}#{}", p.name, fresh_++);
  const auto offset = static_cast<uint32_t>(out_.ast.exprs.size());
  const cel::Expr site = out_.ast.exprs[id];
  for (cel::Expr e : body.ast.exprs) {
    for (uint32_t& arg : e.args) arg += offset;
    e.begin = site.begin;
    e.end = site.end;
    if (e.kind == ExprKind::name && fresh.contains(e.text)) e.text = fresh[e.text];
    out_.ast.exprs.push_back(std::move(e));
  }
  uint32_t inner = body.ast.root + offset;
  for (size_t i = f.params.size(); i-- > 0;) {
    cel::Expr bind{.kind = ExprKind::op,
                   .op = OpCode::bind,
                   .variable = fresh[f.params[i].name],
                   .args = {actual[i], inner},
                   .begin = site.begin,
                   .end = site.end};
    out_.ast.exprs.push_back(std::move(bind));
    inner = static_cast<uint32_t>(out_.ast.exprs.size() - 1);
  }
  out_.ast.exprs[id] = out_.ast.exprs[inner];
}

bool ExpressionChecker::fits(char letter, const Info& i) {
  if (schema::holds_secret(t_, i.type)) return false;
  if (letter == '*' || unknown(i.type)) return true;
  if (letter == 'O') return i.optional;
  if (i.optional || kind(i.type) == TypeKind::nullable) return false;
  const TypeKind k = kind(widened(i.type));
  switch (letter) {
    case 'n':
      return k == TypeKind::null;
    case 'b':
      return k == TypeKind::boolean;
    case 'i':
      return k == TypeKind::int_;
    case 'u':
      return k == TypeKind::uint_;
    case 'd':
      return k == TypeKind::double_;
    case 's':
      return k == TypeKind::string;
    case 'y':
      return k == TypeKind::bytes;
    case 't':
      return k == TypeKind::timestamp;
    case 'D':
      return k == TypeKind::duration;
    case 'L':
    case 'S':
      return k == TypeKind::list;
    case 'M':
      return k == TypeKind::map || k == TypeKind::record;
    default:
      return false;
  }
}

Info ExpressionChecker::result_of(char letter, const cel::Function& f,
                                  const std::vector<Info>& args) {
  switch (letter) {
    case 'n':
      return {simple(TypeKind::null), false};
    case 'b':
      return {simple(TypeKind::boolean), false};
    case 'i':
      return {simple(TypeKind::int_), false};
    case 'u':
      return {simple(TypeKind::uint_), false};
    case 'd':
      return {simple(TypeKind::double_), false};
    case 's':
      return {simple(TypeKind::string), false};
    case 'y':
      return {simple(TypeKind::bytes), false};
    case 't':
      return {simple(TypeKind::timestamp), false};
    case 'D':
      return {simple(TypeKind::duration), false};
    case 'S':
      return {t_.list_of(simple(TypeKind::string)), false};
    case 'L':
      if (f.name == "lists.range") return {t_.list_of(simple(TypeKind::int_)), false};
      if (f.name == "csv_parse") return {t_.list_of(t_.list_of(simple(TypeKind::string))), false};
      if (f.name != "flatten" && !args.empty() && kind(args[0].type) == TypeKind::list)
        return {args[0].type, false};
      return {t_.list_of(simple(TypeKind::any)), false};
    case 'O':
      if (f.name == "regex.extract") return {simple(TypeKind::string), true};
      if ((f.name == "first" || f.name == "last") && kind(args[0].type) == TypeKind::list)
        return {t_[args[0].type].element, true};
      if (f.name == "optional.of" || f.name == "optional.ofNonZeroValue" || f.name == "or")
        return {args[0].type, true};
      return {simple(TypeKind::any), true};
    default:
      if (f.name == "value" && !args.empty()) return {args[0].type, false};
      if (f.name == "orValue" && args.size() == 2)
        return {t_.join(args[0].type, plain(args[1])), false};
      return {simple(TypeKind::any), false};
  }
}

Info ExpressionChecker::overload(uint32_t id, const cel::Function& f,
                                 const std::vector<uint32_t>& ids, const std::vector<Info>& args) {
  const size_t receiver = f.member ? 1 : 0;
  if (args.size() < f.min_args || args.size() > f.max_args) {
    const size_t least = f.min_args - receiver;
    const size_t most = f.max_args - receiver;
    m_.sink.report(
        Kind::wrong_arguments, span(id),
        fmt::format("`{}` takes {} argument{}, not {}", f.name,
                    least == most ? std::to_string(least) : fmt::format("{} to {}", least, most),
                    most == 1 ? "" : "s", args.size() - receiver));
    return poison();
  }
  std::string_view rest = f.signatures;
  bool variadic = f.max_args == 255;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(';'), rest.size());
    std::string_view row = rest.substr(0, end);
    while (row.starts_with(' ')) row.remove_prefix(1);
    rest.remove_prefix(std::min(rest.size(), end + 1));
    const size_t arrow = row.find('>');
    std::vector<char> letters;
    for (const char c : row.substr(0, arrow)) {
      if (c != ',') letters.push_back(c);
    }
    if (!variadic && letters.size() != args.size()) continue;
    bool ok = true;
    for (size_t i = 0; i < args.size() && ok; ++i) ok = variadic || fits(letters[i], args[i]);
    if (ok) return result_of(row[arrow + 1], f, args);
  }
  for (size_t i = 0; i < args.size(); ++i) {
    if (may_be_null(args[i]) && !unknown(args[i].type)) return null_operand(ids[i], args[i]);
  }
  for (size_t i = 0; i < args.size(); ++i) {
    if (!schema::holds_secret(t_, args[i].type)) continue;
    m_.sink
        .report(Kind::secret_flow, span(ids[i]), fmt::format("`{}` would work on a secret", f.name))
        .note("nothing is computed from a secret");
    return poison();
  }
  std::string given;
  for (size_t i = receiver; i < args.size(); ++i)
    given += (given.empty() ? "" : ", ") + show(args[i]);
  m_.sink
      .report(Kind::bad_operands, span(id),
              receiver == 1
                  ? fmt::format("`{}` of {} does not take ({})", f.name, show(args[0]), given)
                  : fmt::format("`{}` does not take ({})", f.name, given))
      .note(fmt::format("`{}`: {}", f.name, f.doc));
  return poison();
}

}  // namespace kflow::sema
