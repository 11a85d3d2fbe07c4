// Checked arithmetic of CEL.
#include "compiler/cel/operators.hpp"

#include <cmath>

#include "compiler/cel/time.hpp"

namespace kflow::cel {
namespace {

OperatorResult good(Value v) { return {true, std::move(v), {}, {}}; }
OperatorResult bad(EvalErrorKind kind, std::string message) {
  return {false, {}, kind, std::move(message)};
}
OperatorResult overflow(std::string_view type) {
  return bad(EvalErrorKind::overflow, std::string(type) + " overflow");
}

std::string_view symbol(OpCode code) {
  switch (code) {
    case OpCode::add:
      return "+";
    case OpCode::subtract:
      return "-";
    case OpCode::multiply:
      return "*";
    case OpCode::divide:
      return "/";
    default:
      return "%";
  }
}

OperatorResult no_overload(OpCode code, const Value& a, const Value& b) {
  return bad(EvalErrorKind::no_such_overload, "`" + std::string(symbol(code)) + "` does not take " +
                                                  std::string(type_name(a.kind())) + " and " +
                                                  std::string(type_name(b.kind())));
}

template <typename T>
OperatorResult integers(OpCode code, T a, T b) {
  constexpr bool is_signed = std::is_signed_v<T>;
  const auto made = [](T v) {
    if constexpr (is_signed) return good(Value::integer(v));
    return good(Value::unsigned_integer(static_cast<uint64_t>(v)));
  };
  const std::string_view type = is_signed ? "int" : "uint";
  T out{};
  switch (code) {
    case OpCode::add:
      return __builtin_add_overflow(a, b, &out) ? overflow(type) : made(out);
    case OpCode::subtract:
      return __builtin_sub_overflow(a, b, &out) ? overflow(type) : made(out);
    case OpCode::multiply:
      return __builtin_mul_overflow(a, b, &out) ? overflow(type) : made(out);
    case OpCode::divide:
      if (b == 0) return bad(EvalErrorKind::divide_by_zero, "division by zero");
      if constexpr (is_signed) {
        if (b == -1) return __builtin_sub_overflow(T{0}, a, &out) ? overflow(type) : made(out);
      }
      return made(a / b);
    default:
      if (b == 0) return bad(EvalErrorKind::modulus_by_zero, "modulus by zero");
      if constexpr (is_signed) {
        if (b == -1) return made(0);
      }
      return made(a % b);
  }
}

OperatorResult doubles(OpCode code, double a, double b) {
  switch (code) {
    case OpCode::add:
      return good(Value::number(a + b));
    case OpCode::subtract:
      return good(Value::number(a - b));
    case OpCode::multiply:
      return good(Value::number(a * b));
    case OpCode::divide:
      return good(Value::number(a / b));
    default:
      return bad(EvalErrorKind::no_such_overload, "`%` does not take double");
  }
}

double to_double(const Value& v) {
  switch (v.kind()) {
    case Kind::int_:
      return static_cast<double>(v.as_int());
    case Kind::uint_:
      return static_cast<double>(v.as_uint());
    default:
      return v.as_double();
  }
}

OperatorResult moment(std::optional<Timestamp> t) {
  return t ? good(Value::timestamp(*t)) : bad(EvalErrorKind::range, "timestamp out of range");
}
OperatorResult length(std::optional<Duration> d) {
  return d ? good(Value::duration(*d)) : bad(EvalErrorKind::range, "duration out of range");
}
std::optional<Duration> negated(Duration d) {
  if (d.nanos == INT64_MIN) return std::nullopt;
  return Duration{-d.nanos};
}

OperatorResult times(OpCode code, const Value& a, const Value& b) {
  const bool add_ = code == OpCode::add;
  const bool subtract = code == OpCode::subtract;
  const bool ta = a.kind() == Kind::timestamp;
  const bool tb = b.kind() == Kind::timestamp;
  const bool da = a.kind() == Kind::duration;
  const bool db = b.kind() == Kind::duration;
  if (ta && db && add_) return moment(add(a.as_timestamp(), b.as_duration()));
  if (da && tb && add_) return moment(add(b.as_timestamp(), a.as_duration()));
  if (ta && db && subtract) {
    const auto d = negated(b.as_duration());
    return d ? moment(add(a.as_timestamp(), *d))
             : bad(EvalErrorKind::range, "duration out of range");
  }
  if (ta && tb && subtract) return length(difference(a.as_timestamp(), b.as_timestamp()));
  if (da && db && (add_ || subtract)) {
    int64_t out = 0;
    const bool over =
        add_ ? __builtin_add_overflow(a.as_duration().nanos, b.as_duration().nanos, &out)
             : __builtin_sub_overflow(a.as_duration().nanos, b.as_duration().nanos, &out);
    return over ? length(std::nullopt) : length(Duration{out});
  }
  return no_overload(code, a, b);
}

}  // namespace

OperatorResult arithmetic(OpCode code, const Value& a, const Value& b, bool strict) {
  if (a.kind() == b.kind()) {
    switch (a.kind()) {
      case Kind::int_:
        return integers(code, a.as_int(), b.as_int());
      case Kind::uint_:
        return integers(code, a.as_uint(), b.as_uint());
      case Kind::double_:
        return doubles(code, a.as_double(), b.as_double());
      case Kind::string:
        if (code == OpCode::add)
          return good(Value::string(std::string(a.as_string()).append(b.as_string())));
        break;
      case Kind::bytes:
        if (code == OpCode::add)
          return good(Value::bytes(std::string(a.as_bytes()).append(b.as_bytes())));
        break;
      case Kind::list:
        if (code == OpCode::add) {
          std::vector<Value> items(a.as_list().begin(), a.as_list().end());
          items.insert(items.end(), b.as_list().begin(), b.as_list().end());
          return good(Value::list(std::move(items)));
        }
        break;
      default:
        break;
    }
  }
  if (!strict && a.is_number() && b.is_number()) return doubles(code, to_double(a), to_double(b));
  return times(code, a, b);
}

OperatorResult negate(const Value& a) {
  if (a.kind() == Kind::double_) return good(Value::number(-a.as_double()));
  if (a.kind() != Kind::int_) {
    return bad(EvalErrorKind::no_such_overload,
               "`-` does not take " + std::string(type_name(a.kind())));
  }
  if (a.as_int() == INT64_MIN) return overflow("int");
  return good(Value::integer(-a.as_int()));
}

std::optional<std::partial_ordering> compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.kind() != b.kind()) return std::nullopt;
  switch (a.kind()) {
    case Kind::boolean:
      return a.as_bool() <=> b.as_bool();
    case Kind::string:
      return a.as_string() <=> b.as_string();
    case Kind::bytes:
      return a.as_bytes() <=> b.as_bytes();
    case Kind::timestamp:
      return a.as_timestamp() <=> b.as_timestamp();
    case Kind::duration:
      return a.as_duration() <=> b.as_duration();
    default:
      return std::nullopt;
  }
}

uint64_t concatenation_cost(const Value& a, const Value& b) {
  if (a.kind() == Kind::string && b.kind() == Kind::string)
    return (a.as_string().size() + b.as_string().size()) / 16;
  if (a.kind() == Kind::bytes && b.kind() == Kind::bytes)
    return (a.as_bytes().size() + b.as_bytes().size()) / 16;
  if (a.kind() == Kind::list && b.kind() == Kind::list)
    return a.as_list().size() + b.as_list().size();
  return 0;
}

std::optional<int64_t> integral(const Value& v) {
  switch (v.kind()) {
    case Kind::int_:
      return v.as_int();
    case Kind::uint_:
      if (v.as_uint() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(v.as_uint());
    case Kind::double_: {
      const double d = v.as_double();
      if (d != std::trunc(d) || d < -0x1p63 || d >= 0x1p63) return std::nullopt;
      return static_cast<int64_t>(d);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace kflow::cel
