// Tagged binary form and JSON form of values.
#include "compiler/cel/value_codec.hpp"

#include <algorithm>
#include <cstdint>

#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/network.hpp"
#include "compiler/cel/time.hpp"

namespace kflow::cel {
namespace {

constexpr int max_value_depth = 1000;

// Part of the store's format: never reuse one.
enum class Tag : uint8_t {
  null = 0,
  false_ = 1,
  true_ = 2,
  int_ = 3,
  uint_ = 4,
  double_ = 5,
  timestamp = 6,
  duration = 7,
  type = 8,
  string = 9,
  bytes = 10,
  list = 11,
  map = 12,
  none = 13,
  some = 14,
  large_string = 15,  // its SHA-256
  large_bytes = 16,
  file = 17,  // name, media type, size, SHA-256
  ip = 18,    // its text
  cidr = 19,
};

Value decode(ByteReader& in, int depth);

Value decode_list(ByteReader& in, int depth) {
  const size_t n = in.count();
  std::vector<Value> items;
  items.reserve(n);
  for (size_t i = 0; i < n && !in.failed(); ++i) items.push_back(decode(in, depth + 1));
  return in.failed() ? Value() : Value::list(std::move(items));
}

Value decode_map(ByteReader& in, int depth) {
  const size_t n = in.count();
  MapBuilder map;
  for (size_t i = 0; i < n && !in.failed(); ++i) {
    Value key = decode(in, depth + 1);
    Value value = decode(in, depth + 1);
    if (!map.add(std::move(key), std::move(value))) in.fail();
  }
  return in.failed() ? Value() : std::move(map).take();
}

Value decode_large(ByteReader& in, bool text) {
  const std::string_view hash = in.raw(32);
  if (in.failed() || in.large() == nullptr) return in.fail(), Value();
  auto found = in.large()->get(hash);
  if (!found || (text && find_invalid_utf8(*found) != std::string_view::npos))
    return in.fail(), Value();
  return text ? Value::string(std::move(*found)) : Value::bytes(*found);
}

Value decode_file(ByteReader& in) {
  File file{.name = std::string(in.string()),
            .media_type = std::string(in.string()),
            .size = in.varint(),
            .sha256 = {}};
  const std::string_view hash = in.raw(file.sha256.size());
  if (find_invalid_utf8(file.name) != std::string_view::npos ||
      find_invalid_utf8(file.media_type) != std::string_view::npos ||
      file.size > static_cast<uint64_t>(INT64_MAX))
    in.fail();
  if (in.failed()) return {};
  std::copy(hash.begin(), hash.end(), file.sha256.begin());
  return Value::file(std::move(file));
}

Value decode(ByteReader& in, int depth) {
  if (depth > max_value_depth) return in.fail(), Value();
  const auto tag = static_cast<Tag>(in.u8());
  if (tag == Tag::large_string || tag == Tag::large_bytes)
    return decode_large(in, tag == Tag::large_string);
  switch (tag) {
    case Tag::null:
      return {};
    case Tag::false_:
      return Value::boolean(false);
    case Tag::true_:
      return Value::boolean(true);
    case Tag::int_:
      return Value::integer(in.svarint());
    case Tag::uint_:
      return Value::unsigned_integer(in.varint());
    case Tag::double_:
      return Value::number(in.f64());
    case Tag::timestamp: {
      const int64_t seconds = in.svarint();
      const uint64_t nanos = in.varint();
      if (nanos >= 1'000'000'000 || seconds < min_timestamp_seconds ||
          seconds > max_timestamp_seconds)
        in.fail();
      return in.failed() ? Value() : Value::timestamp({seconds, static_cast<int32_t>(nanos)});
    }
    case Tag::duration:
      return Value::duration({in.svarint()});
    case Tag::type: {
      const uint8_t kind = in.u8();
      if (kind > static_cast<uint8_t>(last_kind)) in.fail();
      return in.failed() ? Value() : Value::type(static_cast<Kind>(kind));
    }
    case Tag::string: {
      const std::string_view text = in.string();
      if (find_invalid_utf8(text) != std::string_view::npos) in.fail();
      return in.failed() ? Value() : Value::string(text);
    }
    case Tag::bytes:
      return Value::bytes(in.string());
    case Tag::large_string:
    case Tag::large_bytes:
      break;
    case Tag::list:
      return decode_list(in, depth);
    case Tag::map:
      return decode_map(in, depth);
    case Tag::none:
      return Value::none();
    case Tag::some:
      return Value::some(decode(in, depth + 1));
    case Tag::file:
      return decode_file(in);
    case Tag::ip: {
      const auto address = parse_address(in.string());
      return address ? Value::ip(*address) : (in.fail(), Value());
    }
    case Tag::cidr: {
      const auto network = parse_network(in.string());
      return network ? Value::cidr(*network) : (in.fail(), Value());
    }
  }
  return in.fail(), Value();
}

// Builds a value from the parts of a JSON document.
class Builder : public JsonHandler {
 public:
  Result<void> null() override { return put({}); }
  Result<void> boolean(bool v) override { return put(Value::boolean(v)); }
  Result<void> integer(int64_t v) override { return put(Value::integer(v)); }
  Result<void> unsigned_integer(uint64_t v) override { return put(Value::unsigned_integer(v)); }
  Result<void> number(double v) override { return put(Value::number(v)); }
  Result<void> string(std::string_view v) override { return put(Value::string(v)); }
  Result<void> begin_array() override { return levels_.emplace_back(), Result<void>{}; }
  Result<void> end_array() override {
    std::vector<Value> items = std::move(levels_.back().items);
    levels_.pop_back();
    return put(Value::list(std::move(items)));
  }
  Result<void> begin_object() override {
    levels_.emplace_back().object = true;
    return {};
  }
  Result<void> key(std::string_view v) override { return levels_.back().key = v, Result<void>{}; }
  Result<void> end_object() override {
    MapBuilder map = std::move(levels_.back().map);
    levels_.pop_back();
    return put(std::move(map).take());
  }
  Value result;

 private:
  struct Level {
    bool object = false;
    std::vector<Value> items;
    MapBuilder map;
    std::string key;
  };
  Result<void> put(Value v) {
    if (levels_.empty()) {
      result = std::move(v);
    } else if (!levels_.back().object) {
      levels_.back().items.push_back(std::move(v));
    } else if (!levels_.back().map.add(levels_.back().key, v)) {
      levels_.back().map.set(levels_.back().key, std::move(v));
    }
    return {};
  }
  std::vector<Level> levels_;
};

std::string key_text(const Value& key) {
  switch (key.kind()) {
    case Kind::string:
      return std::string(key.as_string());
    case Kind::boolean:
      return key.as_bool() ? "true" : "false";
    case Kind::int_:
      return std::to_string(key.as_int());
    default:
      return std::to_string(key.as_uint());
  }
}

void write_json(const Value& v, JsonWriter& out) {
  switch (v.kind()) {
    case Kind::null:
      return out.null();
    case Kind::boolean:
      return out.boolean(v.as_bool());
    case Kind::int_:
      return out.integer(v.as_int());
    case Kind::uint_:
      return out.unsigned_integer(v.as_uint());
    case Kind::double_:
      return out.number(v.as_double());
    case Kind::timestamp:
      return out.string(format_timestamp(v.as_timestamp()));
    case Kind::duration:
      return out.string(format_duration(v.as_duration()));
    case Kind::type:
      return out.string(type_name(v.as_type()));
    case Kind::string:
      return out.string(v.as_string());
    case Kind::bytes:
      return out.string(base64_encode(v.as_bytes()));
    case Kind::list:
      out.begin_array();
      for (const Value& item : v.as_list()) write_json(item, out);
      return out.end_array();
    case Kind::map:
      out.begin_object();
      for (const MapEntry& entry : v.as_map()) {
        out.key(key_text(entry.key));
        write_json(entry.value, out);
      }
      return out.end_object();
    case Kind::optional:
      return v.as_optional() == nullptr ? out.null() : write_json(*v.as_optional(), out);
    case Kind::file:
      return write_json(file_record(v.as_file()), out);
    case Kind::ip:
      return out.string(address_text(v.as_address()));
    case Kind::cidr:
      return out.string(network_text(v.as_address()));
  }
}

void put(ByteWriter& out, Tag tag) { out.u8(static_cast<uint8_t>(tag)); }

}  // namespace

void encode_value(const Value& v, ByteWriter& out) {
  switch (v.kind()) {
    case Kind::null:
      return put(out, Tag::null);
    case Kind::boolean:
      return put(out, v.as_bool() ? Tag::true_ : Tag::false_);
    case Kind::int_:
      return put(out, Tag::int_), out.svarint(v.as_int());
    case Kind::uint_:
      return put(out, Tag::uint_), out.varint(v.as_uint());
    case Kind::double_:
      return put(out, Tag::double_), out.f64(v.as_double());
    case Kind::timestamp:
      put(out, Tag::timestamp);
      out.svarint(v.as_timestamp().seconds);
      return out.varint(static_cast<uint64_t>(v.as_timestamp().nanos));
    case Kind::duration:
      return put(out, Tag::duration), out.svarint(v.as_duration().nanos);
    case Kind::type:
      return put(out, Tag::type), out.u8(static_cast<uint8_t>(v.as_type()));
    case Kind::string:
    case Kind::bytes: {
      const bool is_text = v.kind() == Kind::string;
      const std::string_view text = is_text ? v.as_string() : v.as_bytes();
      if (out.large() != nullptr && text.size() >= large_bytes) {
        put(out, is_text ? Tag::large_string : Tag::large_bytes);
        return out.raw(out.large()->put(text));
      }
      put(out, is_text ? Tag::string : Tag::bytes);
      return out.string(text);
    }
    case Kind::list:
      put(out, Tag::list);
      out.varint(v.as_list().size());
      for (const Value& item : v.as_list()) encode_value(item, out);
      return;
    case Kind::map:
      put(out, Tag::map);
      out.varint(v.as_map().size());
      for (const MapEntry& entry : v.as_map()) {
        encode_value(entry.key, out);
        encode_value(entry.value, out);
      }
      return;
    case Kind::optional:
      put(out, v.as_optional() == nullptr ? Tag::none : Tag::some);
      if (v.as_optional() != nullptr) encode_value(*v.as_optional(), out);
      return;
    case Kind::file: {
      const File& f = v.as_file();
      const std::string_view hash(reinterpret_cast<const char*>(f.sha256.data()), f.sha256.size());
      put(out, Tag::file);
      out.string(f.name);
      out.string(f.media_type);
      out.varint(f.size);
      out.raw(hash);
      if (out.large() != nullptr) out.large()->refer(hash);
      return;
    }
    case Kind::ip:
      return put(out, Tag::ip), out.string(address_text(v.as_address()));
    case Kind::cidr:
      return put(out, Tag::cidr), out.string(network_text(v.as_address()));
  }
}

Value decode_value(ByteReader& in) { return decode(in, 0); }

Result<Value> from_json(std::string_view text) {
  Builder builder;
  if (auto ok = parse_json(text, builder); !ok) return std::unexpected(std::move(ok).error());
  return std::move(builder.result);
}

std::string to_json(const Value& v, int indent) {
  JsonWriter out(indent);
  write_json(v, out);
  return out.take();
}

}  // namespace kflow::cel
