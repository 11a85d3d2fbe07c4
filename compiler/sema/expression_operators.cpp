// Operators, list and map literals and interpolation.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/ir/schema/secrets.hpp"
#include "compiler/sema/expression_checker.hpp"

namespace kflow::sema {

using cel::ExprKind;
using cel::OpCode;
using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;

Info ExpressionChecker::op(uint32_t id) {
  const OpCode code = out_.ast.exprs[id].op;
  const std::vector<uint32_t> args = out_.ast.exprs[id].args;
  switch (code) {
    case OpCode::list:
      return list(id, args);
    case OpCode::map:
      return map(id, args);
    case OpCode::conditional:
      return conditional(args);
    case OpCode::and_:
    case OpCode::or_:
      return logic(args, code == OpCode::and_);
    case OpCode::coalesce:
      return coalesce(args);
    case OpCode::not_:
      boolean(args[0], "`!`");
      return {simple(TypeKind::boolean), false};
    case OpCode::negate:
      return negate(id, args[0]);
    case OpCode::add:
    case OpCode::subtract:
    case OpCode::multiply:
    case OpCode::divide:
    case OpCode::modulo:
      return arithmetic(id, code, args);
    case OpCode::equal:
    case OpCode::not_equal:
      return equality(id, args);
    case OpCode::less:
    case OpCode::less_equal:
    case OpCode::greater:
    case OpCode::greater_equal:
      return order(id, args);
    case OpCode::in:
      return membership(id, args);
    case OpCode::index:
      return index(id, args);
    case OpCode::interpolate:
      return interpolate(args);
    default:
      return macro(id, code, args);
  }
}

bool ExpressionChecker::boolean(uint32_t id, std::string_view what) {
  const Info i = check(id);
  if (unknown(i.type) || (!i.optional && kind(widened(i.type)) == TypeKind::boolean)) return true;
  auto report = m_.sink.report(Kind::type_mismatch, span(id),
                               fmt::format("{} takes bool, not {}", what, show(i)));
  if (what == "`||`" && t_.accepts_null(i.type)) report.note("a default is given with `??`");
  return false;
}

Info ExpressionChecker::logic(const std::vector<uint32_t>& args, bool conjunction) {
  const std::string_view what = conjunction ? "`&&`" : "`||`";
  // Of an operator that is not meant, one operand is enough to say so.
  const bool meant = boolean(args[0], what);
  with(non_null_when(out_.ast, args[0], conjunction),
       [&] { return meant ? boolean(args[1], what) : (check(args[1]), false); });
  return {simple(TypeKind::boolean), false};
}

Info ExpressionChecker::conditional(const std::vector<uint32_t>& args) {
  boolean(args[0], "the condition of `? :`");
  const Info a = with(non_null_when(out_.ast, args[0], true), [&] { return check(args[1]); });
  const Info b = with(non_null_when(out_.ast, args[0], false), [&] { return check(args[2]); });
  return {t_.join(plain(a), plain(b)), false};
}

Info ExpressionChecker::coalesce(const std::vector<uint32_t>& args) {
  const Info a = check(args[0]);
  const Info b = check(args[1]);
  return {t_.join(t_.without_null(a.type), plain(b)), false};
}

Info ExpressionChecker::negate(uint32_t id, uint32_t arg) {
  const Info a = check(arg);
  if (unknown(a.type)) return a;
  const TypeId w = widened(a.type);
  if (kind(w) == TypeKind::int_ || kind(w) == TypeKind::double_) return {w, false};
  m_.sink.report(Kind::bad_operands, span(id),
                 fmt::format("`-` takes int or double, not {}", show(a)));
  return poison();
}

Info ExpressionChecker::null_operand(uint32_t id, const Info& i) {
  m_.sink.report(Kind::maybe_null, span(id), fmt::format("`{}` may be null here", source_text(id)))
      .label(fmt::format("this is {}", show(i)))
      .note("give a default with `?? …`, or check `!= null` before");
  return poison();
}

Info ExpressionChecker::arithmetic(uint32_t id, OpCode code, const std::vector<uint32_t>& args) {
  const Info a = check(args[0]);
  const Info b = check(args[1]);
  if (may_be_null(a) && !unknown(a.type)) return null_operand(args[0], a);
  if (may_be_null(b) && !unknown(b.type)) return null_operand(args[1], b);
  if (unknown(a.type) && unknown(b.type)) return {a.type, false};
  const TypeId x = widened(a.type);
  const TypeId y = widened(b.type);
  if (is_number(x) && is_number(y)) return {x == y ? x : simple(TypeKind::double_), false};
  if (unknown(x) || unknown(y)) {
    const TypeId known = unknown(x) ? y : x;
    if (is_number(known) || kind(known) == TypeKind::string || kind(known) == TypeKind::bytes ||
        kind(known) == TypeKind::list || kind(known) == TypeKind::timestamp ||
        kind(known) == TypeKind::duration) {
      return {is_number(known) || kind(known) == TypeKind::timestamp ||
                      kind(known) == TypeKind::duration
                  ? simple(TypeKind::any)
                  : known,
              false};
    }
  }
  if (code == OpCode::add) {
    if (kind(x) == kind(y) && (kind(x) == TypeKind::string || kind(x) == TypeKind::bytes))
      return {x, false};
    if (kind(x) == TypeKind::list && kind(y) == TypeKind::list) return {t_.join(x, y), false};
  }
  const bool plus = code == OpCode::add;
  const bool minus = code == OpCode::subtract;
  const auto is = [&](TypeId t, TypeKind k) { return kind(t) == k; };
  if ((plus || minus) && is(x, TypeKind::timestamp) && is(y, TypeKind::duration)) return {x, false};
  if (plus && is(x, TypeKind::duration) && is(y, TypeKind::timestamp)) return {y, false};
  if ((plus || minus) && is(x, TypeKind::duration) && is(y, TypeKind::duration)) return {x, false};
  if (minus && is(x, TypeKind::timestamp) && is(y, TypeKind::timestamp))
    return {simple(TypeKind::duration), false};
  static const std::map<OpCode, std::string_view> symbols{{OpCode::add, "+"},
                                                          {OpCode::subtract, "-"},
                                                          {OpCode::multiply, "*"},
                                                          {OpCode::divide, "/"},
                                                          {OpCode::modulo, "%"}};
  auto d = m_.sink.report(
      Kind::bad_operands, span(id),
      fmt::format("`{}` does not take {} and {}", symbols.at(code), show(a), show(b)));
  if (plus && (is(x, TypeKind::string) || is(y, TypeKind::string)))
    d.note("put values into strings with `${…}`");
  return poison();
}

// A secret may be null, and nothing else is asked of it.
bool ExpressionChecker::compares_secret(uint32_t id, const Info& a, const Info& b) {
  const bool secret = schema::holds_secret(t_, a.type) || schema::holds_secret(t_, b.type);
  if (!secret || kind(a.type) == TypeKind::null || kind(b.type) == TypeKind::null) return false;
  m_.sink.report(Kind::secret_flow, span(id), "a secret is not compared")
      .note("what is found out by comparing is part of it");
  return true;
}

Info ExpressionChecker::equality(uint32_t id, const std::vector<uint32_t>& args) {
  const Info a = check(args[0]);
  const Info b = check(args[1]);
  const TypeId x = t_.without_null(a.type);
  const TypeId y = t_.without_null(b.type);
  if (compares_secret(id, a, b)) return {simple(TypeKind::boolean), false};
  if (!unknown(x) && !unknown(y) && kind(x) != TypeKind::null && kind(y) != TypeKind::null &&
      !(is_number(x) && is_number(y)) && kind(widened(x)) != kind(widened(y)) &&
      !t_.assignable(x, y) && !t_.assignable(y, x)) {
    m_.sink.report(Kind::bad_operands, span(id),
                   fmt::format("{} and {} are never equal", show(a), show(b)));
  } else if (kind(x) == TypeKind::literal_union && kind(y) == TypeKind::literal_union &&
             !overlap(x, y)) {
    m_.sink.report(Kind::bad_operands, span(id),
                   fmt::format("{} and {} are never equal", show(a), show(b)));
  }
  return {simple(TypeKind::boolean), false};
}

bool ExpressionChecker::overlap(TypeId x, TypeId y) const {
  for (const cel::Value& v : t_[x].literals) {
    for (const cel::Value& w : t_[y].literals) {
      if (v == w) return true;
    }
  }
  return false;
}

Info ExpressionChecker::order(uint32_t id, const std::vector<uint32_t>& args) {
  const Info a = check(args[0]);
  const Info b = check(args[1]);
  const Info result{simple(TypeKind::boolean), false};
  if (unknown(a.type) || unknown(b.type)) return result;
  // Before the first iteration there is no value: language.md lets `until` compare one, so null
  // is an error only here.
  if (may_be_null(a)) return null_operand(args[0], a), result;
  if (may_be_null(b)) return null_operand(args[1], b), result;
  const TypeId x = widened(a.type);
  const TypeId y = widened(b.type);
  if (is_number(x) && is_number(y)) return result;
  const TypeKind k = kind(x);
  const bool ordered = k == TypeKind::boolean || k == TypeKind::string || k == TypeKind::bytes ||
                       k == TypeKind::timestamp || k == TypeKind::duration;
  if (k != kind(y) || !ordered)
    m_.sink.report(Kind::bad_operands, span(id),
                   fmt::format("{} and {} have no order", show(a), show(b)));
  return result;
}

Info ExpressionChecker::membership(uint32_t id, const std::vector<uint32_t>& args) {
  const Info item = check(args[0]);
  const Info in = check(args[1]);
  const Info result{simple(TypeKind::boolean), false};
  if (compares_secret(id, item, in)) return result;
  if (unknown(in.type)) return result;
  if (may_be_null(in)) return null_operand(args[1], in), result;
  const TypeKind k = kind(in.type);
  if (k != TypeKind::list && k != TypeKind::map && k != TypeKind::record) {
    auto d = m_.sink.report(Kind::bad_operands, span(id),
                            fmt::format("`in` looks into a list or map, not {}", show(in)));
    if (kind(widened(in.type)) == TypeKind::string) d.note("for text write `text.contains(part)`");
  }
  return result;
}

Info ExpressionChecker::index(uint32_t id, const std::vector<uint32_t>& args) {
  const Info target = check(args[0]);
  const Info key = check(args[1]);
  const bool soft = out_.ast.exprs[id].flags & cel::op_flag::optional || target.optional;
  if (unknown(target.type)) return {target.type, soft};
  if (kind(target.type) == TypeKind::nullable && !soft) return null_operand(args[0], target);
  const TypeId inner = t_.without_null(target.type);
  switch (kind(inner)) {
    case TypeKind::list:
      if (!unknown(key.type) && !is_number(key.type)) {
        m_.sink.report(Kind::bad_operands, span(args[1]),
                       fmt::format("a list index is an int, not {}", show(key)));
      }
      return {t_[inner].element, soft};
    case TypeKind::map:
      if (!unknown(key.type) && kind(widened(key.type)) != TypeKind::string) {
        m_.sink.report(Kind::bad_operands, span(args[1]),
                       fmt::format("the keys of this map are strings, not {}", show(key)));
      }
      return {t_[inner].element, soft};
    case TypeKind::record: {
      const cel::Expr& k = out_.ast.exprs[args[1]];
      if (k.kind == ExprKind::literal && k.literal.kind() == cel::Kind::string) {
        const schema::Field* f = field(inner, k.literal.as_string());
        if (f != nullptr) return {f->type, soft};
        return unknown_field(id, {inner}, inner, std::string(k.literal.as_string()));
      }
      return {simple(TypeKind::any), soft};
    }
    default:
      m_.sink.report(Kind::bad_operands, span(id), fmt::format("{} has no items", show(target)));
      return poison();
  }
}

Info ExpressionChecker::list(uint32_t id, const std::vector<uint32_t>& args) {
  TypeId element;
  const std::vector<uint8_t> marks = out_.ast.exprs[id].marks;
  for (size_t i = 0; i < args.size(); ++i) {
    const Info item = check(args[i]);
    const TypeId type = marks[i] ? item.type : plain(item);
    element = element ? t_.join(element, type) : type;
  }
  return {t_.list_of(element ? element : simple(TypeKind::poison)), false};
}

Info ExpressionChecker::map(uint32_t id, const std::vector<uint32_t>& args) {
  std::vector<schema::Field> fields;
  bool record = true;
  TypeId element;
  const std::vector<uint8_t> marks = out_.ast.exprs[id].marks;
  for (size_t i = 0; i + 1 < args.size(); i += 2) {
    const Info key = check(args[i]);
    const Info value = check(args[i + 1]);
    const TypeId type = marks[i] ? value.type : plain(value);
    element = element ? t_.join(element, type) : type;
    const cel::Expr& k = out_.ast.exprs[args[i]];
    if (k.kind == ExprKind::literal && k.literal.kind() == cel::Kind::string && !marks[i]) {
      const std::string name(k.literal.as_string());
      if (std::any_of(fields.begin(), fields.end(),
                      [&](const auto& f) { return f.name == name; })) {
        m_.sink.report(Kind::duplicate_name, span(args[i]),
                       fmt::format("the key `{}` stands twice", name));
        continue;
      }
      fields.push_back({.name = name,
                        .type = type,
                        .fallback = {},
                        .constraints = {},
                        .doc = "",
                        .was = {},
                        .alias = ""});
    } else {
      record = false;
      if (!unknown(key.type) && kind(widened(key.type)) != TypeKind::string &&
          kind(widened(key.type)) != TypeKind::int_ &&
          kind(widened(key.type)) != TypeKind::boolean && kind(key.type) != TypeKind::uint_) {
        m_.sink.report(Kind::bad_operands, span(args[i]),
                       fmt::format("{} cannot be a key", show(key)));
      }
    }
  }
  if (record) return {t_.record(std::move(fields)), false};
  return {t_.map_of(element ? element : simple(TypeKind::poison)), false};
}

Info ExpressionChecker::interpolate(const std::vector<uint32_t>& args) {
  for (const uint32_t arg : args) {
    const Info part = check(arg);
    if (unknown(part.type) && !part.optional) continue;
    const std::string text = source_text(arg);
    if (may_be_null(part)) {
      m_.sink
          .report(Kind::not_interpolable, span(arg),
                  fmt::format("`{}` may be null, which has no place in a string", text))
          .label(fmt::format("this is {}", show(part)))
          .note("give a default: `${… ?? \"\"}`");
      continue;
    }
    switch (kind(widened(part.type))) {
      case TypeKind::string:
      case TypeKind::boolean:
      case TypeKind::int_:
      case TypeKind::uint_:
      case TypeKind::double_:
      case TypeKind::duration:
      case TypeKind::timestamp:
      case TypeKind::any:
      case TypeKind::poison:
        break;
      case TypeKind::secret:
        m_.sink.report(Kind::secret_flow, span(arg), "a secret is never put into a string");
        break;
      case TypeKind::record_union:
        if (t_[widened(part.type)].discriminator.empty()) {
          m_.sink.report(
              Kind::secret_flow, span(arg),
              fmt::format("`{}` may be a secret, which is never put into a string", text));
          break;
        }
        [[fallthrough]];
      default:
        m_.sink
            .report(Kind::not_interpolable, span(arg),
                    fmt::format("{} has no place in a string", show(part)))
            .note(fmt::format("write `${{json({})}}`", text));
    }
  }
  return {simple(TypeKind::string), false};
}

}  // namespace kflow::sema
