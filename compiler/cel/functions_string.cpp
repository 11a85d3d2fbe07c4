// The strings extension: positions are code points, every position outside 0…size is an error.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/time.hpp"

namespace kflow::cel {
namespace {

Value out_of_bounds(CallContext& c, int64_t at) {
  c.fail(EvalErrorKind::index_out_of_bounds,
         "position " + std::to_string(at) + " is outside the text");
  return {};
}

// Byte offset of code point `n`, or nullopt beyond the end.
std::optional<size_t> offset_of(std::string_view s, int64_t n) {
  if (n < 0) return std::nullopt;
  size_t pos = 0;
  for (; n > 0 && pos < s.size(); --n) pos += decode_utf8(s, pos).length;
  if (n > 0) return std::nullopt;
  return pos;
}
int64_t points(std::string_view s) { return static_cast<int64_t>(count_code_points(s)); }
bool is(const Value& v, Kind kind) { return v.kind() == kind; }

Value f_char_at(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::int_)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  const auto at = offset_of(s, a[1].as_int());
  if (!at) return out_of_bounds(c, a[1].as_int());
  return Value::string(s.substr(*at, *at == s.size() ? 0 : decode_utf8(s, *at).length));
}

Value f_index_of(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::string) || (a.size() > 2 && !is(a[2], Kind::int_)))
    return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  const int64_t from = a.size() > 2 ? a[2].as_int() : 0;
  const auto start = offset_of(s, from);
  if (!start) return out_of_bounds(c, from);
  const size_t found = find_text(s, a[1].as_string(), *start);
  return Value::integer(found == std::string_view::npos ? -1 : points(s.substr(0, found)));
}
Value f_last_index_of(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::string) || (a.size() > 2 && !is(a[2], Kind::int_)))
    return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  size_t last = std::string_view::npos;
  if (a.size() > 2) {
    const auto start = offset_of(s, a[2].as_int());
    if (!start) return out_of_bounds(c, a[2].as_int());
    last = *start;
  }
  const size_t found = find_last_text(s, a[1].as_string(), last);
  return Value::integer(found == std::string_view::npos ? -1 : points(s.substr(0, found)));
}

template <char From, char To, int Shift>
Value change_case(CallContext& c, Args a) {
  if (!is(a[0], Kind::string)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  std::string out(a[0].as_string());
  for (char& ch : out) {
    if (ch >= From && ch <= To) ch = static_cast<char>(ch + Shift);
  }
  return Value::string(std::move(out));
}

Value f_replace(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::string) || !is(a[2], Kind::string) ||
      (a.size() > 3 && !is(a[3], Kind::int_))) {
    return no_overload(c, a);
  }
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  const std::string_view from = a[1].as_string();
  const std::string_view to = a[2].as_string();
  int64_t left = a.size() > 3 ? a[3].as_int() : -1;
  std::string out;
  size_t pos = 0;
  // An empty pattern stands before every character and at the end.
  while (left != 0) {
    if (from.empty()) {
      if (!c.charge(to.size() / 16 + 1)) return {};
      out.append(to);
      --left;
      if (pos >= s.size()) break;
      const size_t n = decode_utf8(s, pos).length;
      out.append(s.substr(pos, n));
      pos += n;
      continue;
    }
    const size_t found = find_text(s, from, pos);
    if (found == std::string_view::npos) break;
    if (!c.charge((found - pos + to.size()) / 16 + 1)) return {};
    out.append(s.substr(pos, found - pos)).append(to);
    pos = found + from.size();
    --left;
  }
  if (pos < s.size()) out.append(s.substr(pos));
  return Value::string(std::move(out));
}

Value f_split(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::string) || (a.size() > 2 && !is(a[2], Kind::int_)))
    return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  const std::string_view separator = a[1].as_string();
  const int64_t limit = a.size() > 2 ? a[2].as_int() : -1;
  std::vector<Value> out;
  if (limit == 0) return Value::list({});
  size_t pos = 0;
  while (limit < 0 || static_cast<int64_t>(out.size()) + 1 < limit) {
    if (!c.charge(1)) return {};
    size_t end = 0;
    if (separator.empty()) {
      if (pos >= s.size()) break;
      end = pos + decode_utf8(s, pos).length;
      if (end >= s.size()) break;
    } else {
      end = find_text(s, separator, pos);
      if (end == std::string_view::npos) break;
    }
    out.push_back(Value::string(s.substr(pos, end - pos)));
    pos = end + separator.size();
  }
  if (!separator.empty() || pos < s.size()) out.push_back(Value::string(s.substr(pos)));
  return Value::list(std::move(out));
}

Value f_substring(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::int_) || (a.size() > 2 && !is(a[2], Kind::int_)))
    return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  const auto begin = offset_of(s, a[1].as_int());
  if (!begin) return out_of_bounds(c, a[1].as_int());
  size_t end = s.size();
  if (a.size() > 2) {
    const auto e = offset_of(s, a[2].as_int());
    if (!e || *e < *begin) return out_of_bounds(c, a[2].as_int());
    end = *e;
  }
  return Value::string(s.substr(*begin, end - *begin));
}

// Unicode White_Space.
bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}
Value f_trim(CallContext& c, Args a) {
  if (!is(a[0], Kind::string)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  size_t begin = s.size();
  size_t end = 0;
  for (size_t pos = 0; pos < s.size();) {
    const CodePoint p = decode_utf8(s, pos);
    if (!is_white_space(p.value)) {
      begin = std::min(begin, pos);
      end = pos + p.length;
    }
    pos += p.length;
  }
  return Value::string(begin < end ? s.substr(begin, end - begin) : std::string_view());
}

Value f_join(CallContext& c, Args a) {
  if (!is(a[0], Kind::list) || (a.size() > 1 && !is(a[1], Kind::string))) return no_overload(c, a);
  std::string out;
  bool first = true;
  const std::string_view separator = a.size() > 1 ? a[1].as_string() : std::string_view();
  for (const Value& item : a[0].as_list()) {
    if (!is(item, Kind::string))
      return no_overload(
          c, "`join` takes a list of strings, not of " + std::string(type_name(item.kind())));
    if (!c.charge(1 + (item.as_string().size() + separator.size()) / 16)) return {};
    if (!first) out.append(separator);
    first = false;
    out.append(item.as_string());
  }
  return Value::string(std::move(out));
}

Value f_reverse(CallContext& c, Args a) {
  if (is(a[0], Kind::list)) {
    if (!c.charge(a[0].as_list().size())) return {};
    std::vector<Value> items(a[0].as_list().rbegin(), a[0].as_list().rend());
    return Value::list(std::move(items));
  }
  if (!is(a[0], Kind::string)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  const std::string_view s = a[0].as_string();
  std::string out(s.size(), '\0');
  size_t to = s.size();
  for (size_t pos = 0; pos < s.size();) {
    const size_t n = decode_utf8(s, pos).length;
    to -= n;
    out.replace(to, n, s.substr(pos, n));
    pos += n;
  }
  return Value::string(std::move(out));
}

Value f_quote(CallContext& c, Args a) {
  if (!is(a[0], Kind::string)) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  std::string out = "\"";
  for (const char ch : a[0].as_string()) {
    constexpr std::string_view special = "\a\b\f\n\r\t\v\\\"";
    constexpr std::string_view letters = "abfnrtv\\\"";
    const size_t at = special.find(ch);
    if (at == std::string_view::npos) {
      out.push_back(ch);
    } else {
      out.push_back('\\');
      out.push_back(letters[at]);
    }
  }
  return Value::string(out + "\"");
}

// ---- format

class Formatter {
 public:
  Formatter(CallContext& c, std::string_view pattern, std::span<const Value> args)
      : c_(c), pattern_(pattern), args_(args) {}

  Value run() {
    std::string out;
    if (!c_.charge(pattern_.size() / 16)) return {};
    for (size_t i = 0; i < pattern_.size(); ++i) {
      if (pattern_[i] != '%') {
        out.push_back(pattern_[i]);
        continue;
      }
      if (++i < pattern_.size() && pattern_[i] == '%') {
        out.push_back('%');
        continue;
      }
      int precision = -1;
      if (i < pattern_.size() && pattern_[i] == '.') {
        precision = 0;
        size_t digits = 0;
        for (++i; i < pattern_.size() && pattern_[i] >= '0' && pattern_[i] <= '9' && digits < 4;
             ++i, ++digits) {
          precision = precision * 10 + (pattern_[i] - '0');
        }
        if (digits == 0 || precision > 1000) return error("malformed precision in a format string");
      }
      if (i >= pattern_.size()) return error("a format string ends in the middle of a conversion");
      if (next_ >= args_.size())
        return error("a format string has more conversions than there are arguments");
      if (!convert(pattern_[i], precision, args_[next_++], out)) return {};
    }
    return Value::string(std::move(out));
  }

 private:
  Value error(std::string message) {
    c_.fail(EvalErrorKind::format, std::move(message));
    return {};
  }
  bool wrong(char conversion, const Value& v) {
    error(std::string("`%") + conversion + "` does not take " + std::string(type_name(v.kind())));
    return false;
  }

  bool convert(char conversion, int precision, const Value& v, std::string& out) {
    switch (conversion) {
      case 's':
        return text(v, out);
      case 'd':
        if (is(v, Kind::double_)) return out.append(plain_double(v.as_double())), true;
        return integer(conversion, v, out, 10);
      case 'f':
      case 'e':
        return real(conversion, precision < 0 ? 6 : precision, v, out);
      case 'x':
      case 'X':
        return hex(conversion, v, out);
      case 'o':
        return integer(conversion, v, out, 8);
      case 'b':
        if (is(v, Kind::boolean)) return out.append(v.as_bool() ? "1" : "0"), true;
        return integer(conversion, v, out, 2);
      default:
        error(std::string("unknown conversion `%") + conversion + "` in a format string");
        return false;
    }
  }

  static std::string plain_double(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
    // The shortest digits that read back, `d.ddde±xx`, written out without the exponent.
    char buffer[40];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, std::fabs(d), std::chars_format::scientific)
            .ptr;
    const std::string_view text(buffer, static_cast<size_t>(end - buffer));
    const size_t e = text.find('e');
    *end = '\0';
    const int exponent = std::atoi(buffer + e + 1);
    std::string digits(text.substr(0, 1));
    if (e > 2) digits.append(text.substr(2, e - 2));
    std::string out = std::signbit(d) ? "-" : "";
    if (exponent < 0)
      return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
    const auto whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0');
    return out + digits.substr(0, whole) + "." + digits.substr(whole);
  }

  bool integer(char conversion, const Value& v, std::string& out, int base) {
    uint64_t magnitude = 0;
    bool negative = false;
    if (is(v, Kind::int_)) {
      negative = v.as_int() < 0;
      magnitude =
          negative ? ~static_cast<uint64_t>(v.as_int()) + 1 : static_cast<uint64_t>(v.as_int());
    } else if (is(v, Kind::uint_)) {
      magnitude = v.as_uint();
    } else {
      return wrong(conversion, v);
    }
    if (negative) out.push_back('-');
    switch (base) {
      case 2:
        out += fmt::format("{:b}", magnitude);
        break;
      case 8:
        out += fmt::format("{:o}", magnitude);
        break;
      case 16:
        out += conversion == 'X' ? fmt::format("{:X}", magnitude) : fmt::format("{:x}", magnitude);
        break;
      default:
        out += fmt::format("{}", magnitude);
    }
    return true;
  }

  bool hex(char conversion, const Value& v, std::string& out) {
    if (!is(v, Kind::string) && !is(v, Kind::bytes)) return integer(conversion, v, out, 16);
    if (!pay_text(v)) return false;
    for (const char ch : is(v, Kind::string) ? v.as_string() : v.as_bytes()) {
      const auto octet = static_cast<unsigned char>(ch);
      out += conversion == 'X' ? fmt::format("{:02X}", octet) : fmt::format("{:02x}", octet);
    }
    return true;
  }

  bool real(char conversion, int precision, const Value& v, std::string& out) {
    double d = 0;
    switch (v.kind()) {
      case Kind::double_:
        d = v.as_double();
        break;
      case Kind::int_:
        d = static_cast<double>(v.as_int());
        break;
      case Kind::uint_:
        d = static_cast<double>(v.as_uint());
        break;
      default:
        return wrong(conversion, v);
    }
    if (!std::isfinite(d)) {
      out += plain_double(d);
    } else {
      out += conversion == 'f' ? fmt::format("{:.{}f}", d, precision)
                               : fmt::format("{:.{}e}", d, precision);
    }
    return c_.charge(static_cast<uint64_t>(precision) / 16);
  }

  bool pay_text(const Value& v) {
    return (!is(v, Kind::string) && !is(v, Kind::bytes)) || pay(c_, v);
  }

  bool text(const Value& v, std::string& out) {
    if (!pay_text(v)) return false;
    switch (v.kind()) {
      case Kind::string:
        out.append(v.as_string());
        break;
      case Kind::bytes:
        out.append(replace_invalid_utf8(v.as_bytes()));
        break;
      case Kind::null:
        out.append("null");
        break;
      case Kind::boolean:
        out.append(v.as_bool() ? "true" : "false");
        break;
      case Kind::int_:
        out.append(std::to_string(v.as_int()));
        break;
      case Kind::uint_:
        out.append(std::to_string(v.as_uint()));
        break;
      case Kind::double_:
        out.append(plain_double(v.as_double()));
        break;
      case Kind::type:
        out.append(type_name(v.as_type()));
        break;
      case Kind::duration:
        out.append(format_duration(v.as_duration()));
        break;
      case Kind::timestamp:
        out.append(format_timestamp(v.as_timestamp()));
        break;
      case Kind::list: {
        out.push_back('[');
        const char* separator = "";
        for (const Value& item : v.as_list()) {
          out.append(separator);
          if (!text(item, out)) return false;
          separator = ", ";
        }
        out.push_back(']');
        break;
      }
      case Kind::map:
        return map_text(v, out);
      case Kind::optional:
      case Kind::file:
      case Kind::ip:
      case Kind::cidr:
        return wrong('s', v);
    }
    return c_.charge(1);
  }

  bool map_text(const Value& v, std::string& out) {
    std::vector<std::pair<std::string, std::string>> entries;
    for (const MapEntry& entry : v.as_map()) {
      auto& [key, value] = entries.emplace_back();
      if (!text(entry.key, key) || !text(entry.value, value)) return false;
    }
    std::sort(entries.begin(), entries.end());
    out.push_back('{');
    const char* separator = "";
    for (const auto& [key, value] : entries) {
      out.append(separator).append(key).append(": ").append(value);
      separator = ", ";
    }
    out.push_back('}');
    return c_.charge(1);
  }

  CallContext& c_;
  std::string_view pattern_;
  std::span<const Value> args_;
  size_t next_ = 0;
};

Value f_format(CallContext& c, Args a) {
  if (!is(a[0], Kind::string) || !is(a[1], Kind::list)) return no_overload(c, a);
  return Formatter(c, a[0].as_string(), a[1].as_list()).run();
}

constexpr Function table[] = {
    {"charAt", true, false, 2, 2, "s,i>s", "the character at a position", f_char_at},
    {"indexOf", true, false, 2, 3, "s,s>i; s,s,i>i", "position of the first occurrence, or -1",
     f_index_of},
    {"lastIndexOf", true, false, 2, 3, "s,s>i; s,s,i>i", "position of the last occurrence, or -1",
     f_last_index_of},
    {"lowerAscii", true, false, 1, 1, "s>s", "ASCII letters in lower case",
     change_case<'A', 'Z', 32>},
    {"upperAscii", true, false, 1, 1, "s>s", "ASCII letters in upper case",
     change_case<'a', 'z', -32>},
    {"replace", true, false, 3, 4, "s,s,s>s; s,s,s,i>s",
     "every (or the first n) occurrences replaced", f_replace},
    {"split", true, false, 2, 3, "s,s>S; s,s,i>S", "the parts between a separator", f_split},
    {"substring", true, false, 2, 3, "s,i>s; s,i,i>s", "the characters from a position to another",
     f_substring},
    {"trim", true, false, 1, 1, "s>s", "without white space at both ends", f_trim},
    {"join", true, false, 1, 2, "L>s; L,s>s", "the strings of a list as one", f_join},
    {"reverse", true, false, 1, 1, "s>s; L>L", "in the opposite order", f_reverse},
    {"strings.quote", false, false, 1, 1, "s>s", "in quotes, with escapes", f_quote},
    {"format", true, false, 2, 2, "s,L>s", "printf-like formatting", f_format},
};

}  // namespace

std::span<const Function> string_functions() { return table; }

}  // namespace kflow::cel
