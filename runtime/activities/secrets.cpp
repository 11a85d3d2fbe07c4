// From names of secrets to their values, at the last moment.
#include "runtime/activities/secrets.hpp"

#include <fmt/format.h>

#include "runtime/activities/tape.hpp"

namespace kflow::activities {

using cel::Value;

std::string secret_argument(const Value& input, std::string_view name) {
  const Value* v = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
  const Value* secret =
      v != nullptr && v->kind() == cel::Kind::map && v->size() == 1 ? v->find("secret") : nullptr;
  return secret != nullptr && secret->kind() == cel::Kind::string ? std::string(secret->as_string())
                                                                  : "";
}

std::variant<std::string, ActivityError> secret_value(const Options& options,
                                                      const std::string& name) {
  auto value = options.secret ? options.secret(name) : std::nullopt;
  // What an answer repeats of it must not stand on a tape.
  if (value && options.tape) options.tape->hide(*value);
  if (value) return std::move(*value);
  // A tape has the answers already, and holds no secret.
  if (options.tape && options.tape->replays()) return std::string("***");
  return ActivityError{.kind = "rejected",
                       .code = "no_secret",
                       .message = fmt::format("the secret `{}` is not set; put it into the "
                                              "environment, or say in kflow.yaml where it is",
                                              name)};
}

std::string without(std::string text, std::string_view secret) {
  constexpr std::string_view mark = "***";
  if (secret.empty()) return text;
  for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += mark.size())
    text.replace(at, secret.size(), mark);
  return text;
}

std::variant<OpenOrSecret, ActivityError> open_or_secret(const Options& options, const Value& input,
                                                         std::string_view name) {
  OpenOrSecret out{.value = text_argument(input, name), .secret = secret_argument(input, name)};
  if (out.secret.empty()) return out;
  auto value = secret_value(options, out.secret);
  if (auto* error = std::get_if<ActivityError>(&value)) return std::move(*error);
  out.value = std::get<std::string>(std::move(value));
  return out;
}

}  // namespace kflow::activities
