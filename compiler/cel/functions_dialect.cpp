// Pure functions that the language adds to CEL (language.md §8), and list functions of the wider
// CEL world.
#include <algorithm>

#include "compiler/base/hash.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/html_text.hpp"
#include "compiler/cel/operators.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::cel {
namespace {

Value text(CallContext& c, std::string out) {
  return c.charge(out.size() / 16) ? Value::string(std::move(out)) : Value();
}

Value f_json(CallContext& c, Args a) { return pay(c, a[0]) ? text(c, to_json(a[0])) : Value(); }

Value f_parse_json(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  if (!c.charge(a[0].as_string().size() / 8)) return {};
  auto v = from_json(a[0].as_string());
  if (!v) {
    c.fail(EvalErrorKind::invalid_argument, "not JSON: " + v.error().message);
    return {};
  }
  return std::move(*v);
}

Value f_url_encode(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  std::string out;
  for (const char ch : a[0].as_string()) {
    const bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                       (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.' || ch == '~';
    if (plain) {
      out.push_back(ch);
      continue;
    }
    constexpr std::string_view digits = "0123456789ABCDEF";
    const auto octet = static_cast<unsigned char>(ch);
    out.push_back('%');
    out.push_back(digits[octet >> 4]);
    out.push_back(digits[octet & 15]);
  }
  return text(c, std::move(out));
}

Value f_html_text(CallContext& c, Args a) {
  if (a[0].kind() != Kind::string) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  return Value::string(html_text(a[0].as_string()));
}

Value f_sha256(CallContext& c, Args a) {
  const bool bytes = a[0].kind() == Kind::bytes;
  if (!bytes && a[0].kind() != Kind::string) return no_overload(c, a);
  const std::string_view data = bytes ? a[0].as_bytes() : a[0].as_string();
  if (!c.charge(data.size() / 16)) return {};
  return Value::string(to_hex(sha256(data)));
}

std::string cell(const Value* v) {
  if (v == nullptr || v->is_null()) return "";
  std::string out = interpolated_text(*v).value_or("");
  if (out.empty() && v->kind() != Kind::string) out = to_json(*v);
  std::string escaped;
  for (const char ch : out) {
    if (ch == '|') escaped.push_back('\\');
    escaped.push_back(ch == '\n' ? ' ' : ch);
  }
  return escaped;
}
Value f_markdown_table(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  std::vector<std::string> columns;
  for (const Value& row : a[0].as_list()) {
    if (row.kind() != Kind::map)
      return no_overload(c, "`markdown_table` takes a list of records, not of " +
                                std::string(type_name(row.kind())));
    for (const MapEntry& e : row.as_map()) {
      std::string name = cell(&e.key);
      if (std::find(columns.begin(), columns.end(), name) == columns.end())
        columns.push_back(std::move(name));
    }
    if (!c.charge(columns.size())) return {};
  }
  std::string out = "|";
  for (const std::string& name : columns) out.append(" ").append(name).append(" |");
  out += "\n|";
  for (size_t i = 0; i < columns.size(); ++i) out += " --- |";
  for (const Value& row : a[0].as_list()) {
    out += "\n|";
    for (const std::string& name : columns)
      out.append(" ").append(cell(row.find(name))).append(" |");
  }
  return text(c, std::move(out));
}

Value f_format_time(CallContext& c, Args a) {
  if (a[0].kind() != Kind::timestamp || a[1].kind() != Kind::string ||
      (a.size() > 2 && a[2].kind() != Kind::string)) {
    return no_overload(c, a);
  }
  auto out = format_time(a[0].as_timestamp(), a[1].as_string(),
                         a.size() > 2 ? a[2].as_string() : std::string_view());
  if (!out) {
    c.fail(EvalErrorKind::invalid_argument, out.error().message);
    return {};
  }
  return text(c, std::move(*out));
}

// ---- lists

Value f_slice(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list || a[1].kind() != Kind::int_ || a[2].kind() != Kind::int_)
    return no_overload(c, a);
  const auto items = a[0].as_list();
  const int64_t begin = a[1].as_int();
  const int64_t end = a[2].as_int();
  if (begin < 0 || end < begin || end > static_cast<int64_t>(items.size())) {
    c.fail(EvalErrorKind::index_out_of_bounds, "slice(" + std::to_string(begin) + ", " +
                                                   std::to_string(end) + ") of a list of " +
                                                   std::to_string(items.size()));
    return {};
  }
  if (!c.charge(static_cast<uint64_t>(end - begin))) return {};
  return Value::list(std::vector<Value>(items.begin() + begin, items.begin() + end));
}
Value f_distinct(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  if (!pay(c, a[0])) return {};
  std::vector<Value> out;
  MapBuilder seen;
  for (const Value& v : a[0].as_list()) {
    const Kind k = v.kind();
    if (k == Kind::string || k == Kind::int_ || k == Kind::uint_ || k == Kind::boolean) {
      if (seen.add(v, Value())) out.push_back(v);
      continue;
    }
    if (!c.charge(out.size() * (1 + v.memory() / 32))) return {};
    if (std::none_of(out.begin(), out.end(), [&](const Value& o) { return o == v; }))
      out.push_back(v);
  }
  return Value::list(std::move(out));
}
// Lists nest no deeper than `max_value_depth`.
bool flatten(CallContext& c, const Value& list, int64_t depth, std::vector<Value>& out) {
  for (const Value& v : list.as_list()) {
    if (!c.charge(1)) return false;
    if (depth > 0 && v.kind() == Kind::list) {
      if (!flatten(c, v, depth - 1, out)) return false;
    } else {
      out.push_back(v);
    }
  }
  return true;
}
Value f_flatten(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  int64_t depth = 1;
  if (a.size() > 1) {
    if (a[1].kind() != Kind::int_) return no_overload(c, a);
    depth = a[1].as_int();
    if (depth < 0) {
      c.fail(EvalErrorKind::invalid_argument, "`flatten` takes a depth of 0 or more");
      return {};
    }
  }
  if (!pay(c, a[0])) return {};
  std::vector<Value> out;
  flatten(c, a[0], depth, out);
  return Value::list(std::move(out));
}
Value f_sort(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  std::vector<Value> items(a[0].as_list().begin(), a[0].as_list().end());
  for (const Value& v : items) {
    const auto order = compare(items.front(), v);
    if (!order || *order == std::partial_ordering::unordered) {
      return no_overload(c, std::string(type_name(items.front().kind())) + " and " +
                                std::string(type_name(v.kind())) + " have no order");
    }
  }
  if (!c.charge(items.size() * 8 + a[0].memory() / 16)) return {};
  std::stable_sort(items.begin(), items.end(),
                   [](const Value& x, const Value& y) { return *compare(x, y) < 0; });
  return Value::list(std::move(items));
}
Value f_range(CallContext& c, Args a) {
  if (a[0].kind() != Kind::int_) return no_overload(c, a);
  if (!c.charge(static_cast<uint64_t>(std::max<int64_t>(0, a[0].as_int())))) return {};
  std::vector<Value> out;
  for (int64_t i = 0; i < a[0].as_int(); ++i) out.push_back(Value::integer(i));
  return Value::list(std::move(out));
}
Value f_first(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  return a[0].size() == 0 ? Value::none() : Value::some(a[0].as_list().front());
}
Value f_last(CallContext& c, Args a) {
  if (a[0].kind() != Kind::list) return no_overload(c, a);
  return a[0].size() == 0 ? Value::none() : Value::some(a[0].as_list().back());
}

constexpr Function table[] = {
    {"json", false, true, 1, 1, "*>s", "the value as compact JSON", f_json},
    {"parse_json", false, true, 1, 1, "s>*", "the value of a JSON text", f_parse_json},
    {"url_encode", false, true, 1, 1, "s>s", "percent-encoded for a URL", f_url_encode},
    {"html_text", false, true, 1, 1, "s>s", "the text of an HTML page, without tags", f_html_text},
    {"sha256", false, true, 1, 1, "s>s; y>s", "SHA-256 in hexadecimal", f_sha256},
    {"markdown_table", false, true, 1, 1, "L>s", "a list of records as a Markdown table",
     f_markdown_table},
    {"format_time", false, true, 2, 3, "t,s>s; t,s,s>s",
     "a moment by a strftime pattern, in UTC or a time zone", f_format_time},
    {"slice", true, false, 3, 3, "L,i,i>L", "items from a position to another", f_slice},
    {"distinct", true, false, 1, 1, "L>L", "each value once", f_distinct},
    {"flatten", true, false, 1, 2, "L>L; L,i>L",
     "inner lists put in place of themselves, one level or as many as given", f_flatten},
    {"sort", true, false, 1, 1, "L>L", "in ascending order", f_sort},
    {"lists.range", false, false, 1, 1, "i>L", "0 … n-1", f_range},
    {"first", true, false, 1, 1, "L>O", "the first item, if any", f_first},
    {"last", true, false, 1, 1, "L>O", "the last item, if any", f_last},
};

}  // namespace

std::span<const Function> dialect_functions() { return table; }

}  // namespace kflow::cel
