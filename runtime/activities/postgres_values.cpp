// PostgreSQL's text forms, both ways (its manual, chapters 8 and 8.15).
#include "runtime/activities/postgres_values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

// pg_type.dat; these numbers are part of the protocol and never change.
enum : PgType {
  type_bool = 16,
  type_int8 = 20,
  type_int2 = 21,
  type_int4 = 23,
  type_oid = 26,
  type_json = 114,
  type_float4 = 700,
  type_float8 = 701,
  type_timestamptz = 1184,
  type_numeric = 1700,
  type_void = 2278,
  type_jsonb = 3802,
};
constexpr PgType first_custom_type = 16384;
constexpr size_t exact_digits = 15;  // a double gives these back as they were
constexpr int max_array_depth = 6;   // as PostgreSQL has it

// Array types that are built in: themselves, their elements.
constexpr std::pair<PgType, PgType> arrays_of[] = {{1000, type_bool},
                                                   {1001, pg_bytea},
                                                   {1005, type_int2},
                                                   {1007, type_int4},
                                                   {1016, type_int8},
                                                   {1028, type_oid},
                                                   {199, type_json},
                                                   {3807, type_jsonb},
                                                   {1021, type_float4},
                                                   {1022, type_float8},
                                                   {1185, type_timestamptz},
                                                   {1231, type_numeric},
                                                   {1002, 18},
                                                   {1003, 19},
                                                   {1009, 25},
                                                   {1014, 1042},
                                                   {1015, 1043},
                                                   {1041, 869},
                                                   {1115, 1114},
                                                   {1182, 1082},
                                                   {1183, 1083},
                                                   {1187, 1186},
                                                   {1270, 1266},
                                                   {2951, 2950}};

constexpr int64_t nanos_a_second = 1'000'000'000;
constexpr char array_separator = ',';

std::optional<PgType> element_type(PgType type, const PgArrays& arrays) {
  for (const auto& [array, element] : arrays_of) {
    if (array == type) return element;
  }
  const auto it = arrays.find(type);
  return it == arrays.end() ? std::nullopt : std::optional(it->second);
}

Value text_value(std::string_view text) { return Value::string(replace_invalid_utf8(text)); }

std::optional<int64_t> whole(std::string_view text) {
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::optional<double> floating(std::string_view text) {
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  double out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

Value numeric(std::string_view text) {
  if (const auto i = whole(text)) return Value::integer(*i);
  const size_t first = text.find_first_of("123456789");
  const std::string_view digits = first == std::string_view::npos ? "" : text.substr(first);
  const auto count = static_cast<size_t>(
      std::count_if(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }));
  const bool exact = count <= exact_digits && (text.find('.') != std::string_view::npos ||
                                               text.find_first_of("NI") != std::string_view::npos);
  if (const auto d = exact ? floating(text) : std::nullopt) return Value::number(*d);
  return text_value(text);
}

// "2026-01-02 03:04:05.678+02", "…+05:30".
std::optional<Value> moment(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  std::string rfc(text);
  rfc[space] = 'T';
  const size_t sign = rfc.find_first_of("+-", space);
  if (sign == std::string::npos) return std::nullopt;
  if (rfc.size() - sign == 3) rfc += ":00";
  const auto t = cel::parse_timestamp(rfc);
  if (!t) return std::nullopt;
  return Value::timestamp(*t);
}

// "\x0aff", as bytea_output = hex has it.
std::optional<Value> octets(std::string_view text) {
  if (!text.starts_with("\\x") || text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 2; i < text.size(); i += 2) {
    unsigned octet = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, octet, 16);
    if (error != std::errc() || end != text.data() + i + 2) return std::nullopt;
    out.push_back(static_cast<char>(octet));
  }
  return Value::bytes(out);
}

/// Reads `{1,NULL,"a \"b\"",{2}}`; the bounds that may stand before it are left out.
class ArrayReader {
 public:
  ArrayReader(std::string_view text, PgType element, const PgArrays& arrays)
      : text_(text), element_(element), arrays_(arrays) {}

  std::optional<Value> read() {
    if (text_.starts_with('[')) {
      const size_t equals = text_.find('=');
      if (equals == std::string_view::npos) return std::nullopt;
      at_ = equals + 1;
    }
    auto out = list(1);
    if (!out || at_ != text_.size()) return std::nullopt;
    return out;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  std::optional<Value> list(int depth) {
    if (peek() != '{' || depth > max_array_depth) return std::nullopt;
    ++at_;
    std::vector<Value> items;
    if (peek() == '}') {
      ++at_;
      return Value::list({});
    }
    for (;;) {
      auto item = peek() == '{' ? list(depth + 1) : scalar();
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
      const char next = peek();
      ++at_;
      if (next == '}') return Value::list(std::move(items));
      if (next != array_separator) return std::nullopt;
    }
  }

  std::optional<Value> scalar() {
    std::string out;
    if (peek() != '"') {
      const size_t end = text_.find_first_of(",}", at_);
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view word = text_.substr(at_, end - at_);
      at_ = end;
      return word == "NULL" ? Value() : pg_value(element_, word, arrays_);
    }
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\' && ++at_ == text_.size()) return std::nullopt;
      out.push_back(text_[at_]);
    }
    if (at_ == text_.size()) return std::nullopt;
    ++at_;
    return pg_value(element_, out, arrays_);
  }

  std::string_view text_;
  PgType element_;
  const PgArrays& arrays_;
  size_t at_ = 0;
};

std::string number_text(double d) {
  if (std::isnan(d)) return "NaN";
  if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
  return fmt::format("{}", d);
}

std::string hex(std::string_view octets) {
  std::string out = "\\x";
  for (const char c : octets) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::string array_text(const Value& list) {
  std::string out = "{";
  for (const Value& item : list.as_list()) {
    if (out.size() > 1) out.push_back(array_separator);
    if (item.is_null()) {
      out += "NULL";
      continue;
    }
    if (item.kind() == cel::Kind::list) {
      out += array_text(item);
      continue;
    }
    const std::string text = item.kind() == cel::Kind::bytes
                                 ? hex(item.as_bytes())
                                 : pg_param(item, false).data.value_or("");
    out.push_back('"');
    for (const char c : text) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    out.push_back('"');
  }
  return out + "}";
}

}  // namespace

bool is_pg_json(PgType type) { return type == type_json || type == type_jsonb; }
bool is_pg_custom(PgType type) { return type >= first_custom_type; }

Value pg_value(PgType type, std::string_view text, const PgArrays& arrays) {
  if (const auto element = element_type(type, arrays))
    return ArrayReader(text, *element, arrays).read().value_or(text_value(text));
  switch (type) {
    case type_void:
      return {};
    case type_bool:
      return Value::boolean(text == "t");
    case type_int2:
    case type_int4:
    case type_int8:
    case type_oid:
      if (const auto i = whole(text)) return Value::integer(*i);
      break;
    case type_float4:
    case type_float8:
      if (const auto d = floating(text)) return Value::number(*d);
      break;
    case type_numeric:
      return numeric(text);
    case pg_bytea:
      if (auto v = octets(text)) return std::move(*v);
      break;
    case type_timestamptz:
      if (auto v = moment(text)) return std::move(*v);
      break;
    case type_json:
    case type_jsonb:
      if (auto v = cel::from_json(text)) return std::move(*v);
      break;
    default:
      break;
  }
  return text_value(text);
}

PgParam pg_param(const Value& v, bool json) {
  switch (v.kind()) {
    case cel::Kind::null:
      return {};
    case cel::Kind::double_:
      return {number_text(v.as_double())};
    case cel::Kind::bytes:
      return {std::string(v.as_bytes()), true};
    case cel::Kind::duration: {
      const auto d = v.as_duration();
      return {fmt::format("{}{}.{:09} seconds", d.nanos < 0 ? "-" : "",
                          std::abs(d.nanos / nanos_a_second), std::abs(d.nanos % nanos_a_second))};
    }
    case cel::Kind::list:
      return {json ? cel::to_json(v) : array_text(v)};
    default:
      break;
  }
  return {cel::interpolated_text(v).value_or(cel::to_json(v))};
}

}  // namespace kflow::activities
