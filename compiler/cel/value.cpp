// Heap objects behind Value, equality, map lookup.
#include "compiler/cel/value.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "compiler/base/hash.hpp"
#include "compiler/base/json.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/network.hpp"
#include "compiler/cel/time.hpp"

namespace kflow::cel {
namespace {

// Maps up to this size are searched from end to end.
constexpr size_t linear_map_size = 8;

// int, uint and integral double keys that are equal have the same form: sign and magnitude.
struct NumberKey {
  bool ok = false;
  bool negative = false;
  uint64_t magnitude = 0;
  friend bool operator==(const NumberKey&, const NumberKey&) = default;
};

NumberKey number_key(const Value& v) {
  switch (v.kind()) {
    case Kind::int_: {
      const int64_t i = v.as_int();
      return {true, i < 0, i < 0 ? ~static_cast<uint64_t>(i) + 1 : static_cast<uint64_t>(i)};
    }
    case Kind::uint_:
      return {true, false, v.as_uint()};
    case Kind::double_: {
      const double d = v.as_double();
      if (d != std::trunc(d) || d < -0x1p63 || d >= 0x1p64) return {};
      return {true, d < 0, static_cast<uint64_t>(std::fabs(d))};
    }
    default:
      return {};
  }
}

bool keys_equal(const Value& a, const Value& b) {
  if (a.kind() == Kind::string) return b.kind() == Kind::string && a.as_string() == b.as_string();
  if (a.kind() == Kind::boolean) return b.kind() == Kind::boolean && a.as_bool() == b.as_bool();
  const NumberKey x = number_key(a);
  return x.ok && x == number_key(b);
}

// nullopt: not a possible key.
std::optional<uint64_t> hash_key(const Value& key) {
  switch (key.kind()) {
    case Kind::string:
      return xxh3(key.as_string());
    case Kind::boolean:
      return key.as_bool() ? 0x9e3779b97f4a7c15U : 0x7f4a7c159e3779b9U;
    default: {
      const NumberKey n = number_key(key);
      if (!n.ok) return std::nullopt;
      return (n.magnitude * 0x9e3779b97f4a7c15U) ^ (n.negative ? 1U : 0U);
    }
  }
}

// Adds without wrapping round.
uint64_t plus(uint64_t a, uint64_t b) { return b > UINT64_MAX - a ? UINT64_MAX : a + b; }

int compare_mixed(const Value& a, const Value& b);  // below

}  // namespace

namespace detail {
// Positions of entries by key hash.
struct KeyIndex : std::unordered_multimap<uint64_t, uint32_t> {};
void KeyIndexDeleter::operator()(KeyIndex* index) const { delete index; }
}  // namespace detail

struct MapBuilder::Index {
  detail::KeyIndex positions;
};

std::string_view type_name(Kind kind) {
  switch (kind) {
    case Kind::null:
      return "null_type";
    case Kind::boolean:
      return "bool";
    case Kind::int_:
      return "int";
    case Kind::uint_:
      return "uint";
    case Kind::double_:
      return "double";
    case Kind::timestamp:
      return "google.protobuf.Timestamp";
    case Kind::duration:
      return "google.protobuf.Duration";
    case Kind::type:
      return "type";
    case Kind::string:
      return "string";
    case Kind::bytes:
      return "bytes";
    case Kind::list:
      return "list";
    case Kind::map:
      return "map";
    case Kind::optional:
      return "optional_type";
    case Kind::file:
      return "file";
    case Kind::ip:
      return "net.IP";
    case Kind::cidr:
      return "net.CIDR";
  }
  std::unreachable();
}

std::optional<Kind> type_named(std::string_view name) {
  for (uint8_t k = 0; k <= static_cast<uint8_t>(last_kind); ++k) {
    const auto kind = static_cast<Kind>(k);
    if (kind != Kind::file && type_name(kind) == name) return kind;
  }
  return std::nullopt;
}

Value Value::string(std::string_view text) { return string(std::string(text)); }

Value Value::string(std::string&& text) {
  auto* object = new detail::StringObject;
  object->weight = sizeof(Value) + text.size();
  object->text = std::move(text);
  return Value(Kind::string, Bits{.object = object});
}

Value Value::bytes(std::string_view octets) {
  auto* object = new detail::StringObject;
  object->weight = sizeof(Value) + octets.size();
  object->text = octets;
  return Value(Kind::bytes, Bits{.object = object});
}

Value Value::list(std::vector<Value> items) {
  auto* object = new detail::ListObject;
  object->items = std::move(items);
  object->weight = sizeof(Value);
  for (const Value& item : object->items) {
    object->weight = plus(object->weight, item.memory());
    object->depth = std::max(object->depth, item.depth());
  }
  ++object->depth;
  return Value(Kind::list, Bits{.object = object});
}

Value Value::map(std::vector<MapEntry> entries) {
  auto* object = new detail::MapObject;
  object->entries = std::move(entries);
  object->weight = sizeof(Value);
  for (const MapEntry& entry : object->entries) {
    object->weight = plus(object->weight, plus(entry.key.memory(), entry.value.memory()));
    object->depth = std::max(object->depth, entry.value.depth());
  }
  ++object->depth;
  if (object->entries.size() > linear_map_size) {
    object->index.reset(new detail::KeyIndex);
    object->index->reserve(object->entries.size());
    for (uint32_t i = 0; i < object->entries.size(); ++i) {
      object->index->emplace(*hash_key(object->entries[i].key), i);
    }
  }
  return Value(Kind::map, Bits{.object = object});
}

Value Value::none() {
  auto* object = new detail::OptionalObject;
  object->weight = sizeof(Value);
  object->depth = 1;
  return Value(Kind::optional, Bits{.object = object});
}

Value Value::some(Value v) {
  auto* object = new detail::OptionalObject;
  object->weight = plus(sizeof(Value), v.memory());
  object->depth = v.depth() + 1;
  object->value = std::move(v);
  return Value(Kind::optional, Bits{.object = object});
}

Value Value::file(File file) {
  auto* object = new detail::FileObject;
  object->weight = sizeof(Value) + sizeof(File) + file.name.size() + file.media_type.size();
  object->file = std::move(file);
  return Value(Kind::file, Bits{.object = object});
}

namespace {
detail::IpObject* ip_object(const IpAddress& address) {
  auto* object = new detail::IpObject;
  object->weight = sizeof(Value) + sizeof(IpAddress);
  object->address = address;
  return object;
}
}  // namespace

Value Value::ip(const IpAddress& address) {
  return Value(Kind::ip, Bits{.object = ip_object(address)});
}

Value Value::cidr(const IpAddress& network) {
  return Value(Kind::cidr, Bits{.object = ip_object(network)});
}

void Value::release() noexcept {
  if (bits_.object->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  switch (kind_) {
    case Kind::string:
    case Kind::bytes:
      delete static_cast<detail::StringObject*>(bits_.object);
      return;
    case Kind::list:
      delete static_cast<detail::ListObject*>(bits_.object);
      return;
    case Kind::map:
      delete static_cast<detail::MapObject*>(bits_.object);
      return;
    case Kind::optional:
      delete static_cast<detail::OptionalObject*>(bits_.object);
      return;
    case Kind::file:
      delete static_cast<detail::FileObject*>(bits_.object);
      return;
    case Kind::ip:
    case Kind::cidr:
      delete static_cast<detail::IpObject*>(bits_.object);
      return;
    default:
      std::unreachable();
  }
}

const MapEntry* Value::find_entry(const Value& key) const {
  expect(Kind::map);
  const auto& map = *static_cast<const detail::MapObject*>(bits_.object);
  if (map.index) {
    const auto hash = hash_key(key);
    if (!hash) return nullptr;
    const auto [begin, end] = map.index->equal_range(*hash);
    for (auto it = begin; it != end; ++it) {
      if (keys_equal(map.entries[it->second].key, key)) return &map.entries[it->second];
    }
    return nullptr;
  }
  for (const MapEntry& entry : map.entries) {
    if (keys_equal(entry.key, key)) return &entry;
  }
  return nullptr;
}

const Value* Value::find(const Value& key) const {
  const MapEntry* entry = find_entry(key);
  return entry == nullptr ? nullptr : &entry->value;
}

const Value* Value::find(std::string_view key) const {
  expect(Kind::map);
  const auto& map = *static_cast<const detail::MapObject*>(bits_.object);
  // Most keys differ in length or in their first byte: those are told apart without a call.
  const auto matches = [&](const MapEntry& entry) {
    if (entry.key.kind() != Kind::string) return false;
    const std::string_view text = entry.key.text();
    return text.size() == key.size() &&
           (key.empty() ||
            (text[0] == key[0] && std::memcmp(text.data(), key.data(), key.size()) == 0));
  };
  if (map.index) {
    const auto [begin, end] = map.index->equal_range(xxh3(key));
    for (auto it = begin; it != end; ++it) {
      if (matches(map.entries[it->second])) return &map.entries[it->second].value;
    }
    return nullptr;
  }
  for (const MapEntry& entry : map.entries) {
    if (matches(entry)) return &entry.value;
  }
  return nullptr;
}

int64_t Value::size() const {
  switch (kind_) {
    case Kind::string:
      return static_cast<int64_t>(count_code_points(text()));
    case Kind::bytes:
      return static_cast<int64_t>(text().size());
    case Kind::list:
      return static_cast<int64_t>(as_list().size());
    case Kind::map:
      return static_cast<int64_t>(as_map().size());
    default:
      KFLOW_CHECK(false, "value without a size");
      return 0;
  }
}

bool operator==(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.kind_ == b.kind_) {
      if (a.kind_ == Kind::double_) return a.bits_.number == b.bits_.number;
      return a.bits_.unsigned_integer == b.bits_.unsigned_integer;
    }
    return compare_mixed(a, b) == 0;
  }
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Kind::null:
      return true;
    case Kind::boolean:
      return a.bits_.boolean == b.bits_.boolean;
    case Kind::int_:
    case Kind::uint_:
    case Kind::double_:
      break;
    case Kind::timestamp:
      return a.bits_.integer == b.bits_.integer && a.aux_ == b.aux_;
    case Kind::duration:
    case Kind::type:
      return a.bits_.integer == b.bits_.integer;
    case Kind::string:
    case Kind::bytes:
      return a.bits_.object == b.bits_.object || a.text() == b.text();
    case Kind::list: {
      const auto x = a.as_list();
      const auto y = b.as_list();
      return std::equal(x.begin(), x.end(), y.begin(), y.end());
    }
    case Kind::map: {
      if (a.size() != b.size()) return false;
      for (const MapEntry& entry : a.as_map()) {
        const Value* other = b.find(entry.key);
        if (other == nullptr || !(entry.value == *other)) return false;
      }
      return true;
    }
    case Kind::optional: {
      const Value* x = a.as_optional();
      const Value* y = b.as_optional();
      return x == nullptr || y == nullptr ? x == y : *x == *y;
    }
    case Kind::file:
      return a.as_file() == b.as_file();
    case Kind::ip:
    case Kind::cidr:
      return a.as_address() == b.as_address();
  }
  std::unreachable();
}

bool Value::identical(const Value& a, const Value& b) {
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Kind::double_:
      if (std::isnan(a.bits_.number)) return std::isnan(b.bits_.number);
      return std::bit_cast<uint64_t>(a.bits_.number) == std::bit_cast<uint64_t>(b.bits_.number);
    case Kind::list: {
      const auto x = a.as_list();
      const auto y = b.as_list();
      return std::equal(x.begin(), x.end(), y.begin(), y.end(), identical);
    }
    case Kind::map: {
      if (a.size() != b.size()) return false;
      for (const MapEntry& entry : a.as_map()) {
        const MapEntry* other = b.find_entry(entry.key);
        if (other == nullptr || !identical(entry.key, other->key) ||
            !identical(entry.value, other->value))
          return false;
      }
      return true;
    }
    case Kind::optional: {
      const Value* x = a.as_optional();
      const Value* y = b.as_optional();
      return x == nullptr || y == nullptr ? x == y : identical(*x, *y);
    }
    default:
      return a == b;
  }
}

MapBuilder::MapBuilder() = default;
MapBuilder::~MapBuilder() = default;
MapBuilder::MapBuilder(MapBuilder&&) noexcept = default;
MapBuilder& MapBuilder::operator=(MapBuilder&&) noexcept = default;

bool MapBuilder::add(Value key, Value value) {
  const auto hash = hash_key(key);
  if (!hash || key.kind() == Kind::double_) return false;
  if (index_) {
    const auto [begin, end] = index_->positions.equal_range(*hash);
    for (auto it = begin; it != end; ++it) {
      if (keys_equal(entries_[it->second].key, key)) return false;
    }
    index_->positions.emplace(*hash, static_cast<uint32_t>(entries_.size()));
  } else {
    for (const MapEntry& entry : entries_) {
      if (keys_equal(entry.key, key)) return false;
    }
  }
  entries_.push_back({std::move(key), std::move(value)});
  if (!index_ && entries_.size() > linear_map_size) {
    index_ = std::make_unique<Index>();
    for (uint32_t i = 0; i < entries_.size(); ++i)
      index_->positions.emplace(*hash_key(entries_[i].key), i);
  }
  return true;
}

void MapBuilder::set(std::string_view key, Value value) {
  const auto is_it = [&](const MapEntry& entry) {
    return entry.key.kind() == Kind::string && entry.key.as_string() == key;
  };
  if (index_) {
    const auto [begin, end] = index_->positions.equal_range(xxh3(key));
    for (auto it = begin; it != end; ++it) {
      if (!is_it(entries_[it->second])) continue;
      entries_[it->second].value = std::move(value);
      return;
    }
  } else {
    for (MapEntry& entry : entries_) {
      if (!is_it(entry)) continue;
      entry.value = std::move(value);
      return;
    }
  }
  add(Value::string(key), std::move(value));
}

size_t MapBuilder::size() const { return entries_.size(); }

Value MapBuilder::take() && { return Value::map(std::move(entries_)); }

Value make_record(std::initializer_list<std::pair<std::string_view, Value>> fields) {
  std::vector<MapEntry> entries;
  entries.reserve(fields.size());
  for (const auto& [name, value] : fields) entries.push_back({Value::string(name), value});
  return Value::map(std::move(entries));
}

std::optional<Value> file_field(const File& file, std::string_view name) {
  if (name == "name") return Value::string(file.name);
  if (name == "media_type") return Value::string(file.media_type);
  if (name == "size") return Value::integer(static_cast<int64_t>(file.size));
  if (name == "sha256") return Value::string(to_hex(file.sha256));
  return std::nullopt;
}

Value file_record(const File& file) {
  std::vector<MapEntry> fields;
  for (const char* name : {"name", "media_type", "size", "sha256"})
    fields.push_back({Value::string(name), *file_field(file, name)});
  return Value::map(std::move(fields));
}

std::optional<File> file_from_record(const Value& v) {
  if (v.kind() != Kind::map || v.size() != 4) return std::nullopt;
  const Value* name = v.find("name");
  const Value* type = v.find("media_type");
  const Value* size = v.find("size");
  const Value* hash = v.find("sha256");
  const bool whole = name != nullptr && type != nullptr && size != nullptr && hash != nullptr &&
                     name->kind() == Kind::string && type->kind() == Kind::string &&
                     size->kind() == Kind::int_ && size->as_int() >= 0 &&
                     hash->kind() == Kind::string;
  if (!whole) return std::nullopt;
  const auto sha = sha256_from_hex(hash->as_string());
  if (!sha) return std::nullopt;
  return File{.name = std::string(name->as_string()),
              .media_type = std::string(type->as_string()),
              .size = static_cast<uint64_t>(size->as_int()),
              .sha256 = *sha};
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
  if (a.kind() == Kind::double_ && b.kind() == Kind::double_)
    return a.as_double() <=> b.as_double();
  if (a.kind() == Kind::int_ && b.kind() == Kind::int_) return a.as_int() <=> b.as_int();
  if (a.kind() == Kind::uint_ && b.kind() == Kind::uint_) return a.as_uint() <=> b.as_uint();
  if (a.kind() == Kind::double_) {
    const auto flipped = compare_numbers(b, a);
    return 0 <=> flipped;
  }
  if (b.kind() == Kind::double_) {
    // As the tests of the language have it: exact at the ends of the integer range, by conversion
    // within.
    const double d = b.as_double();
    if (std::isnan(d)) return std::partial_ordering::unordered;
    if (a.kind() == Kind::int_) {
      if (d < -0x1p63) return std::partial_ordering::greater;
      if (d > 0x1p63) return std::partial_ordering::less;
      return static_cast<double>(a.as_int()) <=> d;
    }
    if (d < 0) return std::partial_ordering::greater;
    if (d > 0x1p64) return std::partial_ordering::less;
    return static_cast<double>(a.as_uint()) <=> d;
  }
  if (a.kind() == Kind::int_) {
    if (a.as_int() < 0) return std::partial_ordering::less;
    return static_cast<uint64_t>(a.as_int()) <=> b.as_uint();
  }
  if (b.as_int() < 0) return std::partial_ordering::greater;
  return a.as_uint() <=> static_cast<uint64_t>(b.as_int());
}

namespace {
int compare_mixed(const Value& a, const Value& b) {
  const auto order = compare_numbers(a, b);
  return order == 0 ? 0 : order < 0 ? -1 : 1;
}

// Writes until `out` has grown past `most`, so that a message about a huge value costs little.
class Display {
 public:
  explicit Display(size_t most) : most_(most) {}
  std::string out;

  void value(const Value& v) {
    switch (v.kind()) {
      case Kind::null:
        out.append("null");
        return;
      case Kind::boolean:
        out.append(v.as_bool() ? "true" : "false");
        return;
      case Kind::int_:
        out.append(std::to_string(v.as_int()));
        return;
      case Kind::uint_:
        out.append(std::to_string(v.as_uint())).push_back('u');
        return;
      case Kind::double_:
        return number(v.as_double());
      case Kind::timestamp:
        out.append("timestamp(\"").append(format_timestamp(v.as_timestamp())).append("\")");
        return;
      case Kind::duration:
        out.append("duration(\"").append(format_duration(v.as_duration())).append("\")");
        return;
      case Kind::type:
        out.append(type_name(v.as_type()));
        return;
      case Kind::string:
        return append_json_string(out, within(v.as_string()));
      case Kind::bytes:
        return bytes(within(v.as_bytes()));
      case Kind::list:
        return list(v);
      case Kind::map:
        return map(v);
      case Kind::optional:
        if (v.as_optional() == nullptr) {
          out.append("optional.none()");
          return;
        }
        out.append("optional.of(");
        value(*v.as_optional());
        out.push_back(')');
        return;
      case Kind::file:
        out.append("file");
        return map(file_record(v.as_file()));
      case Kind::ip:
        out.append("ip(\"").append(address_text(v.as_address())).append("\")");
        return;
      case Kind::cidr:
        out.append("cidr(\"").append(network_text(v.as_address())).append("\")");
        return;
    }
  }

 private:
  bool full() const { return out.size() > most_; }
  // The whole characters of a text that still fit, and one more.
  std::string_view within(std::string_view text) const {
    size_t end = full() ? 0 : most_ - out.size();
    if (text.size() <= end) return text;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) ++end;
    return text.substr(0, end);
  }
  void number(double d) {
    const std::string text = format_double(d);
    out.append(text);
    if (text.find_first_of(".eNI") == std::string::npos) out.append(".0");
  }
  void list(const Value& v) {
    out.push_back('[');
    const char* separator = "";
    for (const Value& item : v.as_list()) {
      if (full()) return;
      out.append(separator);
      value(item);
      separator = ", ";
    }
    out.push_back(']');
  }
  void map(const Value& v) {
    out.push_back('{');
    const char* separator = "";
    for (const MapEntry& entry : v.as_map()) {
      if (full()) return;
      out.append(separator);
      value(entry.key);
      out.append(": ");
      value(entry.value);
      separator = ", ";
    }
    out.push_back('}');
  }
  void bytes(std::string_view octets) {
    out.append("b\"");
    for (const char c : octets) {
      if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
        out.push_back(c);
      } else {
        out.append("\\x").append(to_hex(std::string_view(&c, 1)));
      }
    }
    out.push_back('"');
  }
  size_t most_;
};
}  // namespace

std::string to_display(const Value& v) {
  Display d(SIZE_MAX);
  d.value(v);
  return std::move(d.out);
}

std::string to_brief(const Value& v, size_t most) {
  Display d(most);
  d.value(v);
  if (d.out.size() <= most) return std::move(d.out);
  size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(d.out[end]) & 0xc0U) == 0x80U) --end;
  return d.out.substr(0, end) + "…";
}

}  // namespace kflow::cel
