// Standard functions of CEL: sizes, conversions, regular expressions, time, optionals, base64.
#include <charconv>
#include <cmath>

#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/network.hpp"
#include "compiler/cel/operators.hpp"
#include "compiler/cel/time.hpp"

namespace kflow::cel {
namespace {

Value bad_conversion(CallContext& c, const Value& v, std::string_view to) {
  c.fail(EvalErrorKind::conversion, to_brief(v) + " does not convert to " + std::string(to));
  return {};
}
Value out_of_range(CallContext& c, std::string_view what) {
  c.fail(EvalErrorKind::range, std::string(what) + " out of range");
  return {};
}

Value f_size(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::string:
      if (!pay(c, a[0])) return {};
      [[fallthrough]];
    case Kind::bytes:
    case Kind::list:
    case Kind::map:
      return Value::integer(a[0].size());
    default:
      return no_overload(c, a);
  }
}

bool two_strings(Args a) { return a[0].kind() == Kind::string && a[1].kind() == Kind::string; }
Value f_contains(CallContext& c, Args a) {
  if (!two_strings(a)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  return Value::boolean(find_text(a[0].as_string(), a[1].as_string(), 0) != std::string_view::npos);
}
Value f_starts_with(CallContext& c, Args a) {
  if (!two_strings(a)) return no_overload(c, a);
  return Value::boolean(a[0].as_string().starts_with(a[1].as_string()));
}
Value f_ends_with(CallContext& c, Args a) {
  if (!two_strings(a)) return no_overload(c, a);
  return Value::boolean(a[0].as_string().ends_with(a[1].as_string()));
}
// Compiling a pattern that is no constant takes some ten microseconds, and far more for a large
// one.
constexpr uint64_t regex_compile_cost = 500;
Value f_matches(CallContext& c, Args a) {
  if (!two_strings(a)) return no_overload(c, a);
  if (!c.charge(a[0].as_string().size() / 16 + a[1].as_string().size() * 4)) return {};
  if (const Regex* regex = c.constant_regex())
    return Value::boolean(regex->matches(a[0].as_string()));
  if (!c.charge(regex_compile_cost)) return {};
  std::string error;
  const auto regex = Regex::compile(a[1].as_string(), &error);
  if (!regex) {
    c.fail(EvalErrorKind::invalid_argument, "malformed regular expression: " + error);
    return {};
  }
  return Value::boolean(regex->matches(a[0].as_string()));
}

Value f_type(CallContext&, Args a) { return Value::type(a[0].kind()); }
Value f_dyn(CallContext&, Args a) { return a[0]; }

Value f_bool(CallContext& c, Args a) {
  if (a[0].kind() == Kind::boolean) return a[0];
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  const std::string_view s = a[0].as_string();
  for (const std::string_view t : {"1", "t", "true", "TRUE", "True"}) {
    if (s == t) return Value::boolean(true);
  }
  for (const std::string_view f : {"0", "f", "false", "FALSE", "False"}) {
    if (s == f) return Value::boolean(false);
  }
  return bad_conversion(c, a[0], "bool");
}

template <typename T>
std::optional<T> parse_whole(std::string_view s) {
  T out{};
  if (std::is_signed_v<T> && s.starts_with('+'))
    s.remove_prefix(1), s = s.starts_with('-') ? std::string_view() : s;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out);
  if (error != std::errc() || end != s.data() + s.size() || s.empty()) return std::nullopt;
  return out;
}

Value f_int(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::int_:
      return a[0];
    case Kind::uint_:
      if (a[0].as_uint() > static_cast<uint64_t>(INT64_MAX)) return out_of_range(c, "int");
      return Value::integer(static_cast<int64_t>(a[0].as_uint()));
    case Kind::double_: {
      const double d = a[0].as_double();
      if (!(d > -0x1p63 && d < 0x1p63)) return out_of_range(c, "int");
      return Value::integer(static_cast<int64_t>(d));
    }
    case Kind::string: {
      const auto v = parse_whole<int64_t>(a[0].as_string());
      return v ? Value::integer(*v) : bad_conversion(c, a[0], "int");
    }
    case Kind::timestamp:
      return Value::integer(a[0].as_timestamp().seconds);
    default:
      return no_overload(c, a);
  }
}
Value f_uint(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::uint_:
      return a[0];
    case Kind::int_:
      if (a[0].as_int() < 0) return out_of_range(c, "uint");
      return Value::unsigned_integer(static_cast<uint64_t>(a[0].as_int()));
    case Kind::double_: {
      const double d = a[0].as_double();
      if (!(d > -1.0 && d < 0x1p64) || d < 0) return out_of_range(c, "uint");
      return Value::unsigned_integer(static_cast<uint64_t>(d));
    }
    case Kind::string: {
      const auto v = parse_whole<uint64_t>(a[0].as_string());
      return v ? Value::unsigned_integer(*v) : bad_conversion(c, a[0], "uint");
    }
    default:
      return no_overload(c, a);
  }
}
Value f_double(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::double_:
      return a[0];
    case Kind::int_:
      return Value::number(static_cast<double>(a[0].as_int()));
    case Kind::uint_:
      return Value::number(static_cast<double>(a[0].as_uint()));
    case Kind::string: {
      std::string_view s = a[0].as_string();
      if (s.starts_with('+')) s.remove_prefix(1);
      double out = 0;
      const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out);
      if (s.empty() || end != s.data() + s.size() || error == std::errc::invalid_argument)
        return bad_conversion(c, a[0], "double");
      if (error == std::errc::result_out_of_range) {
        const size_t exponent = s.find_first_of("eE");
        const bool tiny =
            exponent != std::string_view::npos && exponent + 1 < s.size() && s[exponent + 1] == '-';
        if (!tiny) return out_of_range(c, "double");
        out = 0;
      }
      return Value::number(out);
    }
    default:
      return no_overload(c, a);
  }
}
Value f_string(CallContext& c, Args a) {
  switch (a[0].kind()) {
    case Kind::string:
      return a[0];
    case Kind::boolean:
      return Value::string(a[0].as_bool() ? "true" : "false");
    case Kind::int_:
      return Value::string(std::to_string(a[0].as_int()));
    case Kind::uint_:
      return Value::string(std::to_string(a[0].as_uint()));
    case Kind::double_:
      return Value::string(double_text(a[0].as_double()));
    case Kind::timestamp:
      return Value::string(format_timestamp(a[0].as_timestamp()));
    case Kind::duration:
      return Value::string(format_duration(a[0].as_duration()));
    case Kind::ip:
      return Value::string(address_text(a[0].as_address()));
    case Kind::cidr:
      return Value::string(network_text(a[0].as_address()));
    case Kind::bytes:
      if (!pay(c, a[0])) return {};
      if (find_invalid_utf8(a[0].as_bytes()) != std::string_view::npos) {
        c.fail(EvalErrorKind::invalid_utf8, "the bytes are not UTF-8");
        return {};
      }
      return Value::string(a[0].as_bytes());
    default:
      return no_overload(c, a);
  }
}
Value f_bytes(CallContext& c, Args a) {
  if (a[0].kind() == Kind::bytes) return a[0];
  if (!pay(c, a[0])) return {};
  if (a[0].kind() == Kind::string) return Value::bytes(a[0].as_string());
  return no_overload(c, a);
}
// Whether a text that cannot be read has the right shape all the same: what it says is out of
// range.
bool too_far(const Value& text, const Regex& shape) {
  constexpr size_t longest = 100;
  return text.as_string().size() <= longest && shape.matches(text.as_string());
}

Value f_timestamp(CallContext& c, Args a) {
  if (a[0].kind() == Kind::timestamp) return a[0];
  if (a[0].kind() == Kind::int_) {
    const int64_t s = a[0].as_int();
    if (s < min_timestamp_seconds || s > max_timestamp_seconds) return out_of_range(c, "timestamp");
    return Value::timestamp({s, 0});
  }
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  if (const auto t = parse_timestamp(a[0].as_string())) return Value::timestamp(*t);
  static const auto shape =
      Regex::compile(R"(^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[-+][0-9]{2}:[0-9]{2})$)");
  const std::string_view text = a[0].as_string();
  const bool year_is_wrong = text.find('-') > 4 || text.starts_with("0000");
  return year_is_wrong && too_far(a[0], *shape) ? out_of_range(c, "timestamp")
                                                : bad_conversion(c, a[0], "timestamp");
}
Value f_duration(CallContext& c, Args a) {
  if (a[0].kind() == Kind::duration) return a[0];
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  if (const auto d = parse_duration(a[0].as_string())) return Value::duration(*d);
  static const auto shape =
      Regex::compile(R"(^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))+$)");
  return too_far(a[0], *shape) ? out_of_range(c, "duration") : bad_conversion(c, a[0], "duration");
}

// ---- calendar fields

template <typename Field>
Value civil(CallContext& c, Args a, Field field) {
  if (a[0].kind() != Kind::timestamp || (a.size() == 2 && a[1].kind() != Kind::string))
    return no_overload(c, a);
  const auto fields =
      civil_time(a[0].as_timestamp(), a.size() == 2 ? a[1].as_string() : std::string_view());
  if (!fields) {
    c.fail(EvalErrorKind::invalid_argument, fields.error().message);
    return {};
  }
  return Value::integer(field(*fields, a[0].as_timestamp()));
}
Value f_full_year(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.year; });
}
Value f_month(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.month - 1; });
}
Value f_date(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.day; });
}
Value f_day_of_month(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.day - 1; });
}
Value f_day_of_week(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.day_of_week; });
}
Value f_day_of_year(CallContext& c, Args a) {
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.day_of_year; });
}
Value whole_units(CallContext& c, Args a, int64_t unit) {
  if (a.size() != 1) return no_overload(c, a);
  return Value::integer(a[0].as_duration().nanos / unit);
}
Value f_hours(CallContext& c, Args a) {
  if (a[0].kind() == Kind::duration) return whole_units(c, a, 3'600'000'000'000);
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.hour; });
}
Value f_minutes(CallContext& c, Args a) {
  if (a[0].kind() == Kind::duration) return whole_units(c, a, 60'000'000'000);
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.minute; });
}
Value f_seconds(CallContext& c, Args a) {
  if (a[0].kind() == Kind::duration) return whole_units(c, a, 1'000'000'000);
  return civil(c, a, [](const CivilTime& t, Timestamp) -> int64_t { return t.second; });
}
Value f_milliseconds(CallContext& c, Args a) {
  if (a[0].kind() == Kind::duration && a.size() == 1)
    return Value::integer(a[0].as_duration().nanos / 1'000'000 % 1000);
  return civil(c, a, [](const CivilTime&, Timestamp t) -> int64_t { return t.nanos / 1'000'000; });
}

// ---- optionals

bool is_zero(const Value& v) {
  switch (v.kind()) {
    case Kind::null:
      return true;
    case Kind::boolean:
      return !v.as_bool();
    case Kind::int_:
      return v.as_int() == 0;
    case Kind::uint_:
      return v.as_uint() == 0;
    case Kind::double_:
      return v.as_double() == 0;
    case Kind::string:
    case Kind::bytes:
    case Kind::list:
    case Kind::map:
      return v.size() == 0;
    case Kind::timestamp:
      return v.as_timestamp() == Timestamp{};
    case Kind::duration:
      return v.as_duration() == Duration{};
    case Kind::type:
    case Kind::optional:
    case Kind::file:
    case Kind::ip:
    case Kind::cidr:
      return false;
  }
  std::unreachable();
}
Value f_optional_of(CallContext&, Args a) { return Value::some(a[0]); }
Value f_optional_none(CallContext&, Args) { return Value::none(); }
Value f_optional_non_zero(CallContext&, Args a) {
  return is_zero(a[0]) ? Value::none() : Value::some(a[0]);
}
Value f_has_value(CallContext& c, Args a) {
  if (a[0].kind() != Kind::optional) return no_overload(c, a);
  return Value::boolean(a[0].as_optional() != nullptr);
}
Value f_value(CallContext& c, Args a) {
  if (a[0].kind() != Kind::optional) return no_overload(c, a);
  if (a[0].as_optional() == nullptr) {
    c.fail(EvalErrorKind::invalid_argument, "`value()` of optional.none()");
    return {};
  }
  return *a[0].as_optional();
}
// `or` and `orValue` are evaluated lazily by the evaluator; the rows are for the checker.
Value f_lazy(CallContext& c, Args a) { return no_overload(c, a); }

Value f_base64_encode(CallContext& c, Args a) {
  if (!pay(c, a[0])) return {};
  if (a[0].kind() == Kind::string && !c.strict())
    return Value::string(base64_encode(a[0].as_string()));
  if (a[0].kind() != Kind::bytes) return no_overload(c, a);
  return Value::string(base64_encode(a[0].as_bytes()));
}
Value f_base64_decode(CallContext& c, Args a) {
  if (!pay(c, a[0])) return {};
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  const auto out = base64_decode(a[0].as_string());
  if (!out) {
    c.fail(EvalErrorKind::invalid_argument, "not base64");
    return {};
  }
  return Value::bytes(*out);
}

constexpr Function table[] = {
    {"size", false, false, 1, 1, "s>i; y>i; L>i; M>i",
     "number of characters, bytes, items or entries", f_size},
    {"size", true, false, 1, 1, "s>i; y>i; L>i; M>i",
     "number of characters, bytes, items or entries", f_size},
    {"contains", true, false, 2, 2, "s,s>b", "whether the text contains another", f_contains},
    {"startsWith", true, false, 2, 2, "s,s>b", "whether the text begins with another",
     f_starts_with},
    {"endsWith", true, false, 2, 2, "s,s>b", "whether the text ends with another", f_ends_with},
    {"matches", true, false, 2, 2, "s,s>b", "whether an RE2 pattern is found in the text",
     f_matches},
    {"matches", false, false, 2, 2, "s,s>b", "whether an RE2 pattern is found in the text",
     f_matches},
    {"type", false, false, 1, 1, "*>T", "the type of a value", f_type},
    {"dyn", false, false, 1, 1, "*>*", "the value, with its type forgotten", f_dyn},
    {"bool", false, false, 1, 1, "b>b; s>b", "conversion to bool", f_bool},
    {"int", false, false, 1, 1, "i>i; u>i; d>i; s>i; t>i", "conversion to int", f_int},
    {"uint", false, false, 1, 1, "u>u; i>u; d>u; s>u", "conversion to uint", f_uint},
    {"double", false, false, 1, 1, "d>d; i>d; u>d; s>d", "conversion to double", f_double},
    {"string", false, false, 1, 1, "s>s; b>s; i>s; u>s; d>s; y>s; t>s; D>s", "conversion to string",
     f_string},
    {"bytes", false, false, 1, 1, "y>y; s>y", "conversion to bytes", f_bytes},
    {"timestamp", false, false, 1, 1, "t>t; s>t; i>t",
     "a moment, from RFC 3339 text or Unix seconds", f_timestamp},
    {"duration", false, false, 1, 1, "D>D; s>D", "a length of time, from text such as 1h30m",
     f_duration},
    {"getFullYear", true, false, 1, 2, "t>i; t,s>i", "year, in UTC or a time zone", f_full_year},
    {"getMonth", true, false, 1, 2, "t>i; t,s>i", "month from 0", f_month},
    {"getDate", true, false, 1, 2, "t>i; t,s>i", "day of the month from 1", f_date},
    {"getDayOfMonth", true, false, 1, 2, "t>i; t,s>i", "day of the month from 0", f_day_of_month},
    {"getDayOfWeek", true, false, 1, 2, "t>i; t,s>i", "day of the week, Sunday is 0",
     f_day_of_week},
    {"getDayOfYear", true, false, 1, 2, "t>i; t,s>i", "day of the year from 0", f_day_of_year},
    {"getHours", true, false, 1, 2, "t>i; t,s>i; D>i", "hour, or whole hours of a duration",
     f_hours},
    {"getMinutes", true, false, 1, 2, "t>i; t,s>i; D>i", "minute, or whole minutes of a duration",
     f_minutes},
    {"getSeconds", true, false, 1, 2, "t>i; t,s>i; D>i", "second, or whole seconds of a duration",
     f_seconds},
    {"getMilliseconds", true, false, 1, 2, "t>i; t,s>i; D>i", "milliseconds within the second",
     f_milliseconds},
    {"optional.of", false, false, 1, 1, "*>O", "an optional with a value", f_optional_of},
    {"optional.none", false, false, 0, 0, ">O", "an optional without a value", f_optional_none},
    {"optional.ofNonZeroValue", false, false, 1, 1, "*>O",
     "none for null, false, 0, and what is empty", f_optional_non_zero},
    {"hasValue", true, false, 1, 1, "O>b", "whether an optional has a value", f_has_value},
    {"value", true, false, 1, 1, "O>*", "the value of an optional; an error if there is none",
     f_value},
    {"or", true, false, 2, 2, "O,O>O", "the optional, or another if it has no value", f_lazy, true},
    {"orValue", true, false, 2, 2, "O,*>*", "the optional's value, or another", f_lazy, true},
    {"base64.encode", false, false, 1, 1, "y>s; s>s", "base64 of bytes", f_base64_encode},
    {"base64.decode", false, false, 1, 1, "s>y", "bytes from base64", f_base64_decode},
};

}  // namespace

std::span<const Function> standard_functions() { return table; }

std::string double_text(double d) { return format_double(d); }

std::optional<std::string> interpolated_text(const Value& v) {
  switch (v.kind()) {
    case Kind::string:
      return std::string(v.as_string());
    case Kind::boolean:
      return std::string(v.as_bool() ? "true" : "false");
    case Kind::int_:
      return std::to_string(v.as_int());
    case Kind::uint_:
      return std::to_string(v.as_uint());
    case Kind::double_:
      return double_text(v.as_double());
    case Kind::timestamp:
      return format_timestamp(v.as_timestamp());
    case Kind::duration:
      return format_duration_literal(v.as_duration());
    default:
      return std::nullopt;
  }
}

}  // namespace kflow::cel
