// Functions of the embedding program that workflows call: `extern tool`s without a `command`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "kflow/value.hpp"

namespace kflow::embed {

/// Why a function gives no value: an error of kind `tool` that a workflow can catch.
struct Failure {
  std::string code;     ///< for `catch`: "not_found"
  std::string message;  ///< for people
  bool retryable = false;
  Value data = {};
};
using FunctionResult = std::variant<Value, Failure>;

/// What a function is told besides its arguments.
class Call {
 public:
  const std::string& run_id() const { return run_id_; }
  /// Equal for all attempts of one step: what must not happen twice is done under this key.
  const std::string& idempotency_key() const { return idempotency_key_; }
  std::uint32_t attempt() const { return attempt_; }
  /// Nobody waits for the value any more: the step was stopped, or its time is over.
  bool stopped() const { return stopped_ && stopped_(); }

  Call(std::string run_id, std::string idempotency_key, std::uint32_t attempt,
       std::function<bool()> stopped)
      : run_id_(std::move(run_id)),
        idempotency_key_(std::move(idempotency_key)),
        attempt_(attempt),
        stopped_(std::move(stopped)) {}

 private:
  std::string run_id_;
  std::string idempotency_key_;
  std::uint32_t attempt_;
  std::function<bool()> stopped_;
};

/// Takes the record of the arguments. Called on one of a few threads of the engine, several at a
/// time; an exception is a failure.
using Function = std::function<FunctionResult(const Value& arguments, const Call& call)>;

/// Tells what came of an asynchronous call: once, from any thread, at once or later. Copies are
/// one. If the last copy goes untold, the step fails with `abandoned`; what is told after the step
/// was stopped or the engine was closed counts no more.
class Completion {
 public:
  explicit Completion(std::function<void(FunctionResult)> tell) : tell_(std::move(tell)) {}
  void value(Value v) const { tell_(FunctionResult(std::move(v))); }
  void fail(Failure f) const { tell_(FunctionResult(std::move(f))); }

 private:
  std::function<void(FunctionResult)> tell_;
};
/// Begins something and returns. Called on one thread of the engine: it must not block.
using AsyncFunction =
    std::function<void(const Value& arguments, const Call& call, Completion done)>;

/// From and to C++ types: bool, integers, double, std::string, Value, std::optional and std::vector
/// of them. Specialise it for types of your own.
template <typename T, typename = void>
struct Converter;

/// The functions of an engine, by the names of their `extern tool`s.
class Functions {
 public:
  Functions& add(const std::string& name, Function function) {
    functions_[name] = std::move(function);
    return *this;
  }
  Functions& add_async(const std::string& name, AsyncFunction function) {
    async_functions_[name] = std::move(function);
    return *this;
  }
  /// A C++ function whose parameters are those of these names:
  /// `add_typed("area", {"width", "height"}, [](double w, double h) { return w * h; })`.
  /// An argument of another type is a failure with the code `argument`.
  template <typename F>
  Functions& add_typed(const std::string& name, std::vector<std::string> parameters, F function);

  const std::map<std::string, Function>& functions() const { return functions_; }
  const std::map<std::string, AsyncFunction>& async_functions() const { return async_functions_; }

 private:
  std::map<std::string, Function> functions_;
  std::map<std::string, AsyncFunction> async_functions_;
};

// ---------------------------------------------------------------- how types are converted

template <>
struct Converter<Value> {
  static std::optional<Value> from(const Value& v) { return v; }
  static Value to(Value v) { return v; }
};
template <>
struct Converter<bool> {
  static std::optional<bool> from(const Value& v) { return v.as_bool(); }
  static Value to(bool v) { return Value(v); }
};
template <typename T>
struct Converter<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  static std::optional<T> from(const Value& v) {
    const auto whole = v.as_int();
    if (!whole || static_cast<std::int64_t>(static_cast<T>(*whole)) != *whole) return std::nullopt;
    if constexpr (std::is_unsigned_v<T>) {
      if (*whole < 0) return std::nullopt;
    }
    return static_cast<T>(*whole);
  }
  static Value to(T v) { return Value(v); }
};
template <>
struct Converter<double> {
  static std::optional<double> from(const Value& v) { return v.as_number(); }
  static Value to(double v) { return Value(v); }
};
template <>
struct Converter<std::string> {
  static std::optional<std::string> from(const Value& v) { return v.as_text(); }
  static Value to(const std::string& v) { return Value(v); }
};
template <typename T>
struct Converter<std::optional<T>> {
  static std::optional<std::optional<T>> from(const Value& v) {
    if (v.is_null()) return std::optional<T>();
    auto inner = Converter<T>::from(v);
    if (!inner) return std::nullopt;
    return std::optional<T>(std::move(*inner));
  }
  static Value to(const std::optional<T>& v) { return v ? Converter<T>::to(*v) : Value(); }
};
template <typename T>
struct Converter<std::vector<T>> {
  static std::optional<std::vector<T>> from(const Value& v) {
    if (v.kind() != Kind::list) return std::nullopt;
    std::vector<T> out;
    for (std::size_t i = 0; i < v.size(); ++i) {
      auto item = Converter<T>::from(v.at(i));
      if (!item) return std::nullopt;
      out.push_back(std::move(*item));
    }
    return out;
  }
  static Value to(const std::vector<T>& v) {
    std::vector<Value> out;
    for (const T& item : v) out.push_back(Converter<T>::to(item));
    return Value::list(std::move(out));
  }
};

namespace detail {

template <typename F>
struct Signature : Signature<decltype(&F::operator())> {};
template <typename R, typename... A>
struct Signature<R (*)(A...)> {
  using Result = R;
  using Arguments = std::tuple<std::decay_t<A>...>;
};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...) const> : Signature<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...)> : Signature<R (*)(A...)> {};

template <typename T>
bool take(const Value& arguments, const std::string& name, T& into) {
  auto v = Converter<T>::from(arguments.find(name));
  if (v) into = std::move(*v);
  return v.has_value();
}

template <typename Tuple, std::size_t... I>
std::string take_all(const Value& arguments, const std::vector<std::string>& names, Tuple& into,
                     std::index_sequence<I...>) {
  std::string wrong;
  const bool fits =
      ((take(arguments, names[I], std::get<I>(into)) || (wrong = names[I], false)) && ...);
  return fits ? std::string() : wrong;
}

}  // namespace detail

template <typename F>
Functions& Functions::add_typed(const std::string& name, std::vector<std::string> parameters,
                                F function) {
  using S = detail::Signature<F>;
  using Arguments = typename S::Arguments;
  constexpr std::size_t count = std::tuple_size_v<Arguments>;
  parameters.resize(count);
  return add(
      name,
      [parameters = std::move(parameters), function = std::move(function)](
          const Value& arguments, const Call&) mutable -> FunctionResult {
        Arguments values;
        const std::string wrong =
            detail::take_all(arguments, parameters, values, std::make_index_sequence<count>());
        if (!wrong.empty())
          return Failure{"argument", "the argument `" + wrong + "` is of another type", false, {}};
        if constexpr (std::is_same_v<typename S::Result, FunctionResult>) {
          return std::apply(function, std::move(values));
        } else if constexpr (std::is_void_v<typename S::Result>) {
          std::apply(function, std::move(values));
          return Value();
        } else {
          return Converter<std::decay_t<typename S::Result>>::to(
              std::apply(function, std::move(values)));
        }
      });
}

}  // namespace kflow::embed
