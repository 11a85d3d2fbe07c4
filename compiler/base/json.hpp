// JSON in and out without a tree in between: the one wrapper around nlohmann/json, which stays in
// json.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "compiler/base/result.hpp"

namespace kflow {

/// Deepest nesting accepted from outside.
inline constexpr int max_json_depth = 200;

/// Receives the parts of a document in order. Return an error to stop.
/// Numbers: without fraction or exponent and in range → integer (unsigned only above INT64_MAX);
/// all others → number.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual Result<void> null() = 0;
  virtual Result<void> boolean(bool v) = 0;
  virtual Result<void> integer(int64_t v) = 0;
  virtual Result<void> unsigned_integer(uint64_t v) = 0;
  virtual Result<void> number(double v) = 0;
  virtual Result<void> string(std::string_view v) = 0;
  virtual Result<void> begin_array() = 0;
  virtual Result<void> end_array() = 0;
  virtual Result<void> begin_object() = 0;
  virtual Result<void> key(std::string_view v) = 0;
  virtual Result<void> end_object() = 0;
};

/// Parses one document (RFC 8259). Errors name line and column; nesting over `max_json_depth` is an
/// error.
Result<void> parse_json(std::string_view text, JsonHandler& handler);

/// Writes one document into a string it owns; compact, or indented by `indent` spaces. Invalid
/// UTF-8 becomes U+FFFD, NaN and infinities the strings "NaN", "Infinity", "-Infinity".
class JsonWriter {
 public:
  explicit JsonWriter(int indent = -1) : indent_(indent) {}
  void null();
  void boolean(bool v);
  void integer(int64_t v);
  void unsigned_integer(uint64_t v);
  /// Shortest form that reads back the same; always with a fraction or exponent (`1.0`), so that it
  /// stays a double.
  void number(double v);
  void string(std::string_view v);
  /// Text that is already one JSON value.
  void raw(std::string_view json);
  void begin_array();
  void end_array();
  void begin_object();
  void key(std::string_view v);
  void end_object();
  const std::string& text() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  void before_value();
  void newline();
  std::string out_;
  int indent_;
  int depth_ = 0;
  bool first_ = true;
  bool after_key_ = false;
};

/// Appends `v` as a JSON string with quotes.
void append_json_string(std::string& out, std::string_view v);
/// Shortest decimal form that reads back as the same double; `NaN`, `Infinity`, `-Infinity`.
std::string format_double(double v);

}  // namespace kflow
