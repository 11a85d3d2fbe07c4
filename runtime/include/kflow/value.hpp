// Values: what goes into a run and comes out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kflow/result.hpp"

namespace kflow::embed {

namespace detail {
struct ValueData;
}

enum class Kind : std::uint8_t {
  null,
  boolean,
  integer,
  number,
  text,
  bytes,
  list,
  record,
  other,  ///< timestamp, duration, file: as JSON has them
};

/// An immutable value. Copies share; safe to read and to copy from several threads at once.
class Value {
 public:
  Value() noexcept = default;  ///< null
  Value(std::nullptr_t) noexcept {}
  Value(bool v);
  Value(double v);
  Value(std::string_view text);  ///< octets that are no UTF-8 are replaced
  Value(const char* text) : Value(std::string_view(text)) {}
  Value(const std::string& text) : Value(std::string_view(text)) {}
  template <typename T,
            std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int> = 0>
  Value(T v) : Value(whole(static_cast<std::int64_t>(v))) {}
  static Value bytes(std::string_view octets);
  static Value list(std::vector<Value> items);
  /// Entries keep their order; of equal names the last counts.
  static Value record(std::vector<std::pair<std::string, Value>> entries);

  /// Numbers without point and exponent are integers. invalid_argument: it is no JSON.
  static Result<Value> from_json(std::string_view json);
  /// `indent` below 0: on one line.
  std::string json(int indent = -1) const;

  Kind kind() const;
  bool is_null() const { return data_ == nullptr; }
  // None where the kind is another. A number that is whole is an integer too, and the other way.
  std::optional<bool> as_bool() const;
  std::optional<std::int64_t> as_int() const;
  std::optional<double> as_number() const;
  std::optional<std::string> as_text() const;   ///< of text
  std::optional<std::string> as_bytes() const;  ///< of bytes

  /// Items of a list or entries of a record; 0 for others.
  std::size_t size() const;
  /// The item at `index`, or the value of the entry there; null if there is none.
  Value at(std::size_t index) const;
  /// The entry of that name; null if there is none.
  Value find(std::string_view name) const;
  bool contains(std::string_view name) const;
  std::vector<std::string> names() const;  ///< of a record's entries

  friend bool operator==(const Value& a, const Value& b) { return a.equals(b); }
  friend bool operator!=(const Value& a, const Value& b) { return !a.equals(b); }

 private:
  friend struct detail::ValueData;
  explicit Value(std::shared_ptr<const detail::ValueData> data) : data_(std::move(data)) {}
  static Value whole(std::int64_t v);
  bool equals(const Value& other) const;
  std::shared_ptr<const detail::ValueData> data_;
};

}  // namespace kflow::embed
