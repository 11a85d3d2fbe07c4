// Result<T>: errors of the world (disk, network, config, bad input to an API), as values.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace kflow {

/// What went wrong, for callers that decide by it; the message is for people.
enum class ErrorCode : uint8_t {
  invalid_argument,  ///< the caller's input is wrong
  not_found,
  already_exists,
  conflict,  ///< expected seq, version or epoch did not match (fenced)
  permission,
  unavailable,  ///< busy or not reachable now; may work later
  timeout,
  no_space,      ///< disk or quota full
  corrupt,       ///< data that fails its checksum or cannot be what it claims
  incompatible,  ///< another version's data, or not ours at all
  limit,         ///< a named limit was exceeded
  unsupported,   ///< understood but not built
  cancelled,
  io,  ///< any other error of the operating system
  internal,
};

/// Stable lower-case name ("not_found").
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;  ///< lower case, no full stop, facts first, hint last

  /// Puts `prefix` and ": " before the message.
  Error with_context(std::string_view prefix) && {
    message.insert(0, ": ").insert(0, prefix);
    return std::move(*this);
  }
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

}  // namespace kflow

/// Returns the error of `result` from the calling function if it has one.
#define KFLOW_TRY(result)                                                               \
  do {                                                                                  \
    auto&& kflow_try_result = (result);                                                 \
    if (!kflow_try_result) return std::unexpected(std::move(kflow_try_result).error()); \
  } while (false)
