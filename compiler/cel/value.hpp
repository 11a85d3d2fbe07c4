// Value: what an expression computes on and what a run records; 16 bytes, immutable, shared by
// reference count.
#pragma once

#include <array>
#include <atomic>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"

namespace kflow::cel {

enum class Kind : uint8_t {
  null,
  boolean,
  int_,
  uint_,
  double_,
  timestamp,
  duration,
  type,  ///< a type as a value: `type(1)`
  // From here on the value is a heap object with a reference count.
  string,
  bytes,
  list,
  map,
  optional,
  file,  ///< of the dialect: a reference to bytes that are kept by their hash
  ip,    ///< of the network library: an address
  cidr,  ///< and one with the length of its prefix
};
inline constexpr Kind last_kind = Kind::cidr;

/// Lower-case CEL name of the runtime type ("int", "null_type", "google.protobuf.Timestamp",
/// "optional_type").
std::string_view type_name(Kind kind);
/// The type that CEL gives this name; files are a type of the language only.
std::optional<Kind> type_named(std::string_view name);

/// A point in time: seconds since 1970-01-01T00:00:00Z and nanoseconds in [0, 1e9).
/// Range 0001-01-01T00:00:00Z … 9999-12-31T23:59:59.999999999Z.
struct Timestamp {
  int64_t seconds = 0;
  int32_t nanos = 0;
  friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

/// A signed length of time in nanoseconds.
struct Duration {
  int64_t nanos = 0;
  friend auto operator<=>(const Duration&, const Duration&) = default;
};

/// What is known of a file; its bytes are kept by whoever keeps the values.
struct File {
  std::string name;        ///< without folders; may be ""
  std::string media_type;  ///< "image/png"
  uint64_t size = 0;
  Sha256 sha256{};
  friend bool operator==(const File&, const File&) = default;
};

/// An address of version 4 (in the first four octets) or 6; of a network also its prefix.
/// IPv4-mapped addresses are held as version 4.
struct IpAddress {
  std::array<uint8_t, 16> octets{};
  bool v6 = false;
  uint8_t prefix = 0;  ///< bits; 0 in an address
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

/// Deepest nesting of lists, maps and optionals that an expression may build; decoders accept
/// somewhat more.
inline constexpr uint32_t max_value_depth = 500;

namespace detail {
struct Object {
  std::atomic<uint32_t> refs{1};
  uint32_t depth = 0;   ///< of lists, maps and optionals: levels below and including this one
  uint64_t weight = 0;  ///< Value::memory()
};
struct StringObject;
struct ListObject;
struct MapObject;
struct OptionalObject;
struct FileObject;
struct IpObject;
}  // namespace detail

struct MapEntry;

/// An immutable value. Copies share; safe to read and to copy from several threads at once.
class Value {
 public:
  Value() noexcept = default;  ///< null
  Value(const Value& other) noexcept : kind_(other.kind_), aux_(other.aux_), bits_(other.bits_) {
    if (is_heap()) bits_.object->refs.fetch_add(1, std::memory_order_relaxed);
  }
  Value(Value&& other) noexcept : kind_(other.kind_), aux_(other.aux_), bits_(other.bits_) {
    other.kind_ = Kind::null;
  }
  Value& operator=(const Value& other) noexcept {
    Value copy(other);
    swap(copy);
    return *this;
  }
  Value& operator=(Value&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Value() {
    if (is_heap()) release();
  }
  void swap(Value& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(aux_, other.aux_);
    std::swap(bits_, other.bits_);
  }

  static Value null() { return {}; }
  static Value boolean(bool v) { return Value(Kind::boolean, Bits{.boolean = v}); }
  static Value integer(int64_t v) { return Value(Kind::int_, Bits{.integer = v}); }
  static Value unsigned_integer(uint64_t v) {
    return Value(Kind::uint_, Bits{.unsigned_integer = v});
  }
  static Value number(double v) { return Value(Kind::double_, Bits{.number = v}); }
  static Value timestamp(Timestamp v) {
    return Value(Kind::timestamp, Bits{.integer = v.seconds}, v.nanos);
  }
  static Value duration(Duration v) { return Value(Kind::duration, Bits{.integer = v.nanos}); }
  /// The type value whose name is that of `kind`; `timestamp` and `duration` have their protobuf
  /// names.
  static Value type(Kind kind) {
    return Value(Kind::type, Bits{.integer = static_cast<int64_t>(kind)});
  }
  /// The type of types (`type(type(1))`).
  static Value type_type() { return type(Kind::type); }
  /// `text` must be valid UTF-8.
  static Value string(std::string_view text);
  static Value string(std::string&& text);
  static Value string(const char* text) { return string(std::string_view(text)); }
  static Value bytes(std::string_view octets);
  static Value list(std::vector<Value> items);
  /// Entries keep their order. Keys must be bool, int, uint or string, and distinct (CEL key
  /// equality): use MapBuilder where that is not known.
  static Value map(std::vector<MapEntry> entries);
  static Value none();
  static Value some(Value v);
  static Value file(File file);
  static Value ip(const IpAddress& address);
  static Value cidr(const IpAddress& network);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_number() const { return kind_ >= Kind::int_ && kind_ <= Kind::double_; }

  // Each accessor requires the kind it is named after.
  bool as_bool() const { return expect(Kind::boolean), bits_.boolean; }
  int64_t as_int() const { return expect(Kind::int_), bits_.integer; }
  uint64_t as_uint() const { return expect(Kind::uint_), bits_.unsigned_integer; }
  double as_double() const { return expect(Kind::double_), bits_.number; }
  Timestamp as_timestamp() const { return expect(Kind::timestamp), Timestamp{bits_.integer, aux_}; }
  Duration as_duration() const { return expect(Kind::duration), Duration{bits_.integer}; }
  Kind as_type() const { return expect(Kind::type), static_cast<Kind>(bits_.integer); }
  std::string_view as_string() const { return expect(Kind::string), text(); }
  std::string_view as_bytes() const { return expect(Kind::bytes), text(); }
  std::span<const Value> as_list() const;
  std::span<const MapEntry> as_map() const;
  /// The value inside an optional; nullptr for none.
  const Value* as_optional() const;
  const File& as_file() const;
  /// Of an ip or a cidr.
  const IpAddress& as_address() const;

  /// Map entry by CEL key equality (int, uint and integral double keys are interchangeable);
  /// nullptr if missing or if `key` cannot be a key. Constant time for large maps.
  const Value* find(const Value& key) const;
  /// Map entry by string key.
  const Value* find(std::string_view key) const;
  /// The whole entry of a key, as `find`.
  const MapEntry* find_entry(const Value& key) const;

  /// Code points of a string, octets of bytes, number of list items or map entries.
  int64_t size() const;

  /// CEL equality: numbers on one line, different kinds unequal, NaN unequal to all, maps in any
  /// order.
  friend bool operator==(const Value& a, const Value& b);
  /// Same kind and same content, recursively: 1 ≠ 1u ≠ 1.0, NaN is NaN, -0.0 is not 0.0, map order
  /// matters not.
  static bool identical(const Value& a, const Value& b);

  /// Rough bytes of this value written out, so shared parts count once per reference. Constant
  /// time.
  uint64_t memory() const { return is_heap() ? bits_.object->weight : sizeof(Value); }
  /// Levels of nesting: 0 for scalars and texts, 1 for a list of them. Constant time.
  uint32_t depth() const { return is_heap() ? bits_.object->depth : 0; }

 private:
  union Bits {
    bool boolean;
    int64_t integer;
    uint64_t unsigned_integer;
    double number;
    detail::Object* object;
  };
  Value(Kind kind, Bits bits, int32_t aux = 0) : kind_(kind), aux_(aux), bits_(bits) {}
  bool is_heap() const { return kind_ >= Kind::string; }
  void expect(Kind kind) const { KFLOW_CHECK(kind_ == kind, "value of another kind"); }
  std::string_view text() const;
  void release() noexcept;

  Kind kind_ = Kind::null;
  int32_t aux_ = 0;
  Bits bits_{.integer = 0};
};

struct MapEntry {
  Value key;
  Value value;
};

namespace detail {
struct KeyIndex;
struct KeyIndexDeleter {
  void operator()(KeyIndex* index) const;
};
struct StringObject : Object {
  std::string text;
};
struct ListObject : Object {
  std::vector<Value> items;
};
struct MapObject : Object {
  std::vector<MapEntry> entries;
  std::unique_ptr<KeyIndex, KeyIndexDeleter> index;  ///< only of large maps
};
struct OptionalObject : Object {
  std::optional<Value> value;
};
struct FileObject : Object {
  File file;
};
struct IpObject : Object {
  IpAddress address;
};
}  // namespace detail

inline std::string_view Value::text() const {
  return static_cast<const detail::StringObject*>(bits_.object)->text;
}
inline std::span<const Value> Value::as_list() const {
  return expect(Kind::list), static_cast<const detail::ListObject*>(bits_.object)->items;
}
inline std::span<const MapEntry> Value::as_map() const {
  return expect(Kind::map), static_cast<const detail::MapObject*>(bits_.object)->entries;
}
inline const Value* Value::as_optional() const {
  expect(Kind::optional);
  const auto& value = static_cast<const detail::OptionalObject*>(bits_.object)->value;
  return value ? &*value : nullptr;
}

inline const File& Value::as_file() const {
  return expect(Kind::file), static_cast<const detail::FileObject*>(bits_.object)->file;
}
inline const IpAddress& Value::as_address() const {
  KFLOW_CHECK(kind_ == Kind::ip || kind_ == Kind::cidr, "value of another kind");
  return static_cast<const detail::IpObject*>(bits_.object)->address;
}

/// `name`, `media_type`, `size` or `sha256` (in hex) of a file; none: it has no such field.
std::optional<Value> file_field(const File& file, std::string_view name);
/// All of them, as a record.
Value file_record(const File& file);
/// The other way round; none of anything else.
std::optional<File> file_from_record(const Value& record);

/// Builds a map, keeping order; finds duplicate keys by CEL key equality.
class MapBuilder {
 public:
  MapBuilder();
  ~MapBuilder();
  MapBuilder(MapBuilder&&) noexcept;
  MapBuilder& operator=(MapBuilder&&) noexcept;
  /// False, and unchanged, if the key is there already or is of a kind that cannot be a key.
  bool add(Value key, Value value);
  bool add(std::string_view key, Value value) { return add(Value::string(key), std::move(value)); }
  /// Adds or replaces in place.
  void set(std::string_view key, Value value);
  size_t size() const;
  Value take() &&;

 private:
  struct Index;
  std::vector<MapEntry> entries_;
  std::unique_ptr<Index> index_;
};

/// A record from string keys in the given order; keys must be distinct.
Value make_record(std::initializer_list<std::pair<std::string_view, Value>> fields);

/// Order of two numbers of any kinds on one line; NaN is unordered. int and uint exactly; with a
/// double on one side by conversion, as the conformance tests of CEL have it.
std::partial_ordering compare_numbers(const Value& a, const Value& b);

/// CEL literal syntax, for people, tests and diagnostics: `{"a": [1, 2u, 3.0]}`, timestamps as
/// `timestamp("…")`.
std::string to_display(const Value& v);
/// The same, cut off with `…` after about `most` bytes: for messages.
std::string to_brief(const Value& v, size_t most = 60);

}  // namespace kflow::cel
