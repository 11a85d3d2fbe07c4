// The math extension.
#include <cmath>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/operators.hpp"

namespace kflow::cel {
namespace {

// The greatest (sign 1) or least (sign -1) of the arguments, or of the one list.
template <int Sign>
Value extreme(CallContext& c, Args a) {
  constexpr std::string_view name = Sign > 0 ? "math.greatest" : "math.least";
  const Value* best = nullptr;
  const auto consider = [&](const Value& v) {
    if (!v.is_number()) return false;
    if (best != nullptr) {
      const auto order = compare_numbers(v, *best);
      if (!(Sign > 0 ? order > 0 : order < 0)) return true;
    }
    best = &v;
    return true;
  };
  if (a.size() == 1 && a[0].kind() == Kind::list) {
    if (!c.charge(a[0].as_list().size() / 4)) return {};
    for (const Value& v : a[0].as_list()) {
      if (!consider(v))
        return no_overload(c, "`" + std::string(name) + "` takes numbers, not " +
                                  std::string(type_name(v.kind())));
    }
  } else {
    for (size_t i = 0; i < a.size(); ++i) {
      if (!consider(a[i])) return no_overload(c, a);
    }
  }
  if (best == nullptr) {
    c.fail(EvalErrorKind::invalid_argument, "`" + std::string(name) + "` of nothing");
    return {};
  }
  return *best;
}

template <double (*F)(double)>
Value real(CallContext& c, Args a) {
  if (a[0].kind() != Kind::double_) return no_overload(c, a);
  return Value::number(F(a[0].as_double()));
}
template <bool (*F)(double)>
Value real_test(CallContext& c, Args a) {
  if (a[0].kind() != Kind::double_) return no_overload(c, a);
  return Value::boolean(F(a[0].as_double()));
}
Value f_sqrt(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::double_:
      return Value::number(std::sqrt(a[0].as_double()));
    case Kind::int_:
      return Value::number(std::sqrt(static_cast<double>(a[0].as_int())));
    case Kind::uint_:
      return Value::number(std::sqrt(static_cast<double>(a[0].as_uint())));
    default:
      return no_overload(c, a);
  }
}
Value f_abs(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::int_:
      if (a[0].as_int() == INT64_MIN) {
        c.fail(EvalErrorKind::overflow, "int overflow");
        return {};
      }
      return Value::integer(std::abs(a[0].as_int()));
    case Kind::uint_:
      return a[0];
    case Kind::double_:
      return Value::number(std::fabs(a[0].as_double()));
    default:
      return no_overload(c, a);
  }
}
Value f_sign(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::int_:
      return Value::integer((a[0].as_int() > 0) - (a[0].as_int() < 0));
    case Kind::uint_:
      return Value::unsigned_integer(a[0].as_uint() > 0);
    case Kind::double_: {
      const double d = a[0].as_double();
      return Value::number(std::isnan(d) ? d : (d > 0) - (d < 0));
    }
    default:
      return no_overload(c, a);
  }
}

enum class Bits { and_, or_, xor_ };
template <Bits Which>
Value bits(CallContext& c, Args a) {
  const auto apply = [](auto x, auto y) {
    switch (Which) {
      case Bits::and_:
        return x & y;
      case Bits::or_:
        return x | y;
      case Bits::xor_:
        return x ^ y;
    }
  };
  if (a[0].kind() == Kind::int_ && a[1].kind() == Kind::int_)
    return Value::integer(apply(a[0].as_int(), a[1].as_int()));
  if (a[0].kind() == Kind::uint_ && a[1].kind() == Kind::uint_)
    return Value::unsigned_integer(apply(a[0].as_uint(), a[1].as_uint()));
  return no_overload(c, a);
}
Value f_not(CallContext& c, Args a) {
  if (a[0].kind() == Kind::int_) return Value::integer(~a[0].as_int());
  if (a[0].kind() == Kind::uint_) return Value::unsigned_integer(~a[0].as_uint());
  return no_overload(c, a);
}
template <bool Left>
Value shift(CallContext& c, Args a) {
  if (a[1].kind() != Kind::int_ || (a[0].kind() != Kind::int_ && a[0].kind() != Kind::uint_)) {
    return no_overload(c, a);
  }
  const int64_t by = a[1].as_int();
  if (by < 0) {
    c.fail(EvalErrorKind::invalid_argument, "a shift by a negative number");
    return {};
  }
  const bool is_signed = a[0].kind() == Kind::int_;
  const uint64_t v = is_signed ? static_cast<uint64_t>(a[0].as_int()) : a[0].as_uint();
  const uint64_t out = by >= 64 ? 0 : Left ? v << by : v >> by;
  return is_signed ? Value::integer(static_cast<int64_t>(out)) : Value::unsigned_integer(out);
}

constexpr Function table[] = {
    {"math.greatest", false, false, 1, 255, "*>*",
     "the greatest of the numbers, or of a list of them", extreme<1>},
    {"math.least", false, false, 1, 255, "*>*", "the least of the numbers, or of a list of them",
     extreme<-1>},
    {"math.ceil", false, false, 1, 1, "d>d", "rounded up",
     real<[](double d) { return std::ceil(d); }>},
    {"math.floor", false, false, 1, 1, "d>d", "rounded down",
     real<[](double d) { return std::floor(d); }>},
    {"math.round", false, false, 1, 1, "d>d", "rounded, half away from zero",
     real<[](double d) { return std::round(d); }>},
    {"math.trunc", false, false, 1, 1, "d>d", "without its fraction",
     real<[](double d) { return std::trunc(d); }>},
    {"math.isNaN", false, false, 1, 1, "d>b", "whether it is not a number",
     real_test<[](double d) { return std::isnan(d); }>},
    {"math.isInf", false, false, 1, 1, "d>b", "whether it is infinite",
     real_test<[](double d) { return std::isinf(d); }>},
    {"math.isFinite", false, false, 1, 1, "d>b", "whether it is finite",
     real_test<[](double d) { return std::isfinite(d); }>},
    {"math.sqrt", false, false, 1, 1, "d>d; i>d; u>d", "the square root", f_sqrt},
    {"math.abs", false, false, 1, 1, "i>i; u>u; d>d", "without its sign", f_abs},
    {"math.sign", false, false, 1, 1, "i>i; u>u; d>d", "-1, 0 or 1", f_sign},
    {"math.bitAnd", false, false, 2, 2, "i,i>i; u,u>u", "bitwise and", bits<Bits::and_>},
    {"math.bitOr", false, false, 2, 2, "i,i>i; u,u>u", "bitwise or", bits<Bits::or_>},
    {"math.bitXor", false, false, 2, 2, "i,i>i; u,u>u", "bitwise exclusive or", bits<Bits::xor_>},
    {"math.bitNot", false, false, 1, 1, "i>i; u>u", "bitwise not", f_not},
    {"math.bitShiftLeft", false, false, 2, 2, "i,i>i; u,i>u", "shifted to the left", shift<true>},
    {"math.bitShiftRight", false, false, 2, 2, "i,i>i; u,i>u",
     "shifted to the right, without the sign", shift<false>},
};

}  // namespace

std::span<const Function> math_functions() { return table; }

}  // namespace kflow::cel
