// The table of functions: one row a name and style, with the signatures the checker uses.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel {

/// What a function's implementation works with. A failing one calls `fail` and returns anything.
class CallContext {
 public:
  virtual ~CallContext() = default;
  virtual void fail(EvalErrorKind kind, std::string message) = 0;
  /// Pays for a result of `units` (16 bytes or one item each); false when the budget is used up.
  virtual bool charge(uint64_t units) = 0;
  virtual bool strict() const = 0;
  virtual const Regex* constant_regex() const = 0;
};

using Implementation = Value (*)(CallContext& context, std::span<const Value> args);

struct Function {
  std::string_view name;
  bool member = false;       ///< receiver style: the first argument stands before the dot
  bool dialect_only = false;
  uint8_t min_args = 0;      ///< receiver included
  uint8_t max_args = 0;
  /// Signatures "s,s>b; s,i>s": argument types, then the result. n null, b bool, i int, u uint, d double, s string,
  /// y bytes, t timestamp, D duration, T type, L list, M map, O optional, * anything, S list of strings.
  std::string_view signatures;
  std::string_view doc;
  Implementation call = nullptr;
};

const Function* find_function(std::string_view name, bool member);
/// Whether any style of it exists.
bool is_function(std::string_view name);
std::vector<std::string> function_names();

/// The functions of one file of implementations.
std::span<const Function> standard_functions();
std::span<const Function> string_functions();
std::span<const Function> math_functions();
std::span<const Function> dialect_functions();

/// A compiled RE2 pattern; null if it is malformed.
class Regex {
 public:
  virtual ~Regex() = default;
  /// Unanchored search.
  virtual bool matches(std::string_view text) const = 0;
  static std::shared_ptr<const Regex> compile(std::string_view pattern, std::string* error = nullptr);
};

/// Text of a value in `${}`; nullopt for null, lists, maps, bytes, types and optionals.
std::optional<std::string> interpolated_text(const Value& v);
/// CEL's `string(double)`: shortest that reads back.
std::string double_text(double d);

}  // namespace kflow::cel
