// Secrets as effects see them: the program knows names alone, and here a name becomes a value.
#pragma once

#include <string>
#include <variant>

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

/// The name of the secret that an argument stands for; "" if it is none.
std::string secret_argument(const cel::Value& input, std::string_view name);
/// The value of a secret, or why there is none.
std::variant<std::string, ActivityError> secret_value(const Options& options,
                                                      const std::string& name);
/// Replaces each occurrence of a secret in a text that is shown.
std::string without(std::string text, std::string_view secret);

/// An argument of the type `string | secret`.
struct OpenOrSecret {
  std::string value;
  std::string secret;  ///< name of the secret it came from; "": it was written in the open
};
std::variant<OpenOrSecret, ActivityError> open_or_secret(const Options& options,
                                                         const cel::Value& input,
                                                         std::string_view name);

}  // namespace kflow::activities
