// Value over cel::Value.
#include "kflow/value.hpp"

#include <algorithm>
#include <cmath>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/embed/data.hpp"

namespace kflow::embed {

using detail::ValueData;

Value ValueData::wrap(cel::Value v) {
  if (v.is_null()) return {};
  return Value(std::make_shared<const ValueData>(ValueData{std::move(v)}));
}

const cel::Value& ValueData::unwrap(const Value& v) {
  static const cel::Value null;
  return v.data_ == nullptr ? null : v.data_->value;
}

Value::Value(bool v) : Value(ValueData::wrap(cel::Value::boolean(v))) {}
Value::Value(double v) : Value(ValueData::wrap(cel::Value::number(v))) {}
Value::Value(std::string_view text)
    : Value(ValueData::wrap(cel::Value::string(replace_invalid_utf8(text)))) {}
Value Value::whole(std::int64_t v) { return ValueData::wrap(cel::Value::integer(v)); }
Value Value::bytes(std::string_view octets) { return ValueData::wrap(cel::Value::bytes(octets)); }

Value Value::list(std::vector<Value> items) {
  std::vector<cel::Value> out;
  out.reserve(items.size());
  for (const Value& item : items) out.push_back(ValueData::unwrap(item));
  return ValueData::wrap(cel::Value::list(std::move(out)));
}

Value Value::record(std::vector<std::pair<std::string, Value>> entries) {
  std::vector<cel::MapEntry> out;
  for (auto& [name, value] : entries) {
    cel::Value key = cel::Value::string(replace_invalid_utf8(name));
    const auto same = [&](const cel::MapEntry& e) { return e.key == key; };
    const auto there = std::find_if(out.begin(), out.end(), same);
    if (there != out.end()) {
      there->value = ValueData::unwrap(value);
    } else {
      out.push_back({std::move(key), ValueData::unwrap(value)});
    }
  }
  return ValueData::wrap(cel::Value::map(std::move(out)));
}

Result<Value> Value::from_json(std::string_view json) {
  auto v = cel::from_json(json);
  if (!v) return to_error(std::move(v).error());
  return ValueData::wrap(std::move(*v));
}

std::string Value::json(int indent) const { return cel::to_json(ValueData::unwrap(*this), indent); }

Kind Value::kind() const {
  switch (ValueData::unwrap(*this).kind()) {
    case cel::Kind::null:
      return Kind::null;
    case cel::Kind::boolean:
      return Kind::boolean;
    case cel::Kind::int_:
    case cel::Kind::uint_:
      return Kind::integer;
    case cel::Kind::double_:
      return Kind::number;
    case cel::Kind::string:
      return Kind::text;
    case cel::Kind::bytes:
      return Kind::bytes;
    case cel::Kind::list:
      return Kind::list;
    case cel::Kind::map:
      return Kind::record;
    case cel::Kind::timestamp:
    case cel::Kind::duration:
    case cel::Kind::type:
    case cel::Kind::optional:
    case cel::Kind::file:
    case cel::Kind::ip:
    case cel::Kind::cidr:
      return Kind::other;
  }
  return Kind::other;
}

std::optional<bool> Value::as_bool() const {
  const cel::Value& v = ValueData::unwrap(*this);
  return v.kind() == cel::Kind::boolean ? std::optional(v.as_bool()) : std::nullopt;
}

std::optional<std::int64_t> Value::as_int() const {
  const cel::Value& v = ValueData::unwrap(*this);
  if (v.kind() == cel::Kind::int_) return v.as_int();
  if (v.kind() == cel::Kind::uint_ && v.as_uint() <= INT64_MAX)
    return static_cast<std::int64_t>(v.as_uint());
  constexpr double exact = 9007199254740992.0;  // 2^53
  if (v.kind() == cel::Kind::double_ && std::abs(v.as_double()) <= exact &&
      std::trunc(v.as_double()) == v.as_double())
    return static_cast<std::int64_t>(v.as_double());
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  const cel::Value& v = ValueData::unwrap(*this);
  if (v.kind() == cel::Kind::double_) return v.as_double();
  if (v.kind() == cel::Kind::int_) return static_cast<double>(v.as_int());
  if (v.kind() == cel::Kind::uint_) return static_cast<double>(v.as_uint());
  return std::nullopt;
}

std::optional<std::string> Value::as_text() const {
  const cel::Value& v = ValueData::unwrap(*this);
  return v.kind() == cel::Kind::string ? std::optional(std::string(v.as_string())) : std::nullopt;
}

std::optional<std::string> Value::as_bytes() const {
  const cel::Value& v = ValueData::unwrap(*this);
  return v.kind() == cel::Kind::bytes ? std::optional(std::string(v.as_bytes())) : std::nullopt;
}

std::size_t Value::size() const {
  const cel::Value& v = ValueData::unwrap(*this);
  if (v.kind() == cel::Kind::list) return v.as_list().size();
  return v.kind() == cel::Kind::map ? v.as_map().size() : 0;
}

Value Value::at(std::size_t index) const {
  const cel::Value& v = ValueData::unwrap(*this);
  if (index >= size()) return {};
  return ValueData::wrap(v.kind() == cel::Kind::list ? v.as_list()[index]
                                                     : v.as_map()[index].value);
}

Value Value::find(std::string_view name) const {
  const cel::Value& v = ValueData::unwrap(*this);
  const cel::Value* found = v.kind() == cel::Kind::map ? v.find(name) : nullptr;
  return found == nullptr ? Value() : ValueData::wrap(*found);
}

bool Value::contains(std::string_view name) const {
  const cel::Value& v = ValueData::unwrap(*this);
  return v.kind() == cel::Kind::map && v.find(name) != nullptr;
}

std::vector<std::string> Value::names() const {
  std::vector<std::string> out;
  const cel::Value& v = ValueData::unwrap(*this);
  if (v.kind() != cel::Kind::map) return out;
  for (const cel::MapEntry& e : v.as_map())
    out.push_back(e.key.kind() == cel::Kind::string ? std::string(e.key.as_string())
                                                    : cel::to_json(e.key));
  return out;
}

bool Value::equals(const Value& other) const {
  return ValueData::unwrap(*this) == ValueData::unwrap(other);
}

}  // namespace kflow::embed
