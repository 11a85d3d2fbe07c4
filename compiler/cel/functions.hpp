// The table of functions: one row a name and style, with the signatures the checker uses.
#pragma once

#include <array>
#include <memory>
#include <optional>
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
  /// Of the function that is called, for messages.
  virtual std::string_view function_name() const = 0;
  virtual const Regex* constant_regex() const = 0;
};

/// The arguments of a call where they are, not copied.
class Args {
 public:
  Args(const Value* const* first, size_t count) : first_(first), count_(count) {}
  size_t size() const { return count_; }
  const Value& operator[](size_t i) const { return *first_[i]; }

 private:
  const Value* const* first_;
  size_t count_;
};

/// Fails because the function does not take arguments of these types; gives null.
Value no_overload(CallContext& context, Args args);
/// The same with a reason of its own, where the types inside a list matter.
inline Value no_overload(CallContext& context, std::string message) {
  context.fail(EvalErrorKind::no_such_overload, std::move(message));
  return {};
}
/// Pays for reading a text or a whole value; what is short is free.
inline bool pay(CallContext& context, const Value& v) {
  return v.memory() < 512 || context.charge(v.memory() / 16);
}

using Implementation = Value (*)(CallContext& context, Args args);

struct Function {
  std::string_view name;
  bool member = false;  ///< receiver style: the first argument stands before the dot
  bool dialect_only = false;
  uint8_t min_args = 0;  ///< receiver included
  uint8_t max_args = 0;
  /// Signatures "s,s>b; s,i>s": argument types, then the result. n null, b bool, i int, u uint, d
  /// double, s string, y bytes, t timestamp, D duration, T type, L list, M map, O optional, *
  /// anything, S list of strings.
  std::string_view signatures;
  std::string_view doc;
  Implementation call = nullptr;
  bool lazy = false;  ///< the evaluator itself evaluates the arguments, as far as they are needed
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
std::span<const Function> text_functions();
std::span<const Function> network_functions();
std::span<const Function> set_functions();

/// First occurrence of `what` in `text` at or after `from`, npos if there is none; in linear time.
size_t find_text(std::string_view text, std::string_view what, size_t from);
/// The last one that begins at or before `from`.
size_t find_last_text(std::string_view text, std::string_view what, size_t from);

/// A compiled RE2 pattern; null if it is malformed.
class Regex {
 public:
  /// Most groups whose texts `find` gives.
  static constexpr size_t max_groups = 9;
  /// A match and the texts of its groups; one that took no part in it has null data.
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    std::array<std::string_view, max_groups + 1> groups;  ///< [0] is the whole match
  };

  virtual ~Regex() = default;
  /// Unanchored search.
  virtual bool matches(std::string_view text) const = 0;
  /// The first match that begins at `from` or later.
  virtual std::optional<Match> find(std::string_view text, size_t from) const = 0;
  virtual size_t group_count() const = 0;
  static std::shared_ptr<const Regex> compile(std::string_view pattern,
                                              std::string* error = nullptr);
};

/// Text of a value in `${}`; nullopt for null, lists, maps, bytes, types and optionals.
std::optional<std::string> interpolated_text(const Value& v);
/// CEL's `string(double)`: shortest that reads back.
std::string double_text(double d);

}  // namespace kflow::cel
