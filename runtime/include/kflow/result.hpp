// Errors as values.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace kflow::embed {

/// What went wrong, for callers that decide by it. Numbers are never reused.
enum class ErrorCode : std::uint8_t {
  invalid_argument = 0,  ///< what was given is wrong: the message says what and where
  not_found = 1,
  already_exists = 2,
  conflict = 3,  ///< it has been done already, or another process has the run
  permission = 4,
  unavailable = 5,  ///< busy, not reachable, or this process lacks what a run needs
  timeout = 6,
  no_space = 7,
  corrupt = 8,
  incompatible = 9,  ///< data of another version, or none of kflow's
  limit = 10,
  unsupported = 11,
  cancelled = 12,
  io = 13,
  internal = 14,
};

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;  ///< for people; several problems stand a line each
};

/// A value, or why there is none. Reading what is not there ends the program.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & {
    return ok() ? *std::get_if<0>(&state_) : (std::abort(), *std::get_if<0>(&state_));
  }
  const T& value() const& { return const_cast<Result&>(*this).value(); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const {
    if (ok()) std::abort();
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}
  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    if (ok_) std::abort();
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace kflow::embed
