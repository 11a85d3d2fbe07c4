// The table of dialects.
#include "runtime/models/dialects.hpp"
#include "runtime/models/wire.hpp"

namespace kflow::models {

std::span<const Dialect* const> all_dialects() {
  static const Dialect* const all[] = {&openai_responses(), &openai_chat(), &anthropic(),
                                       &gemini()};
  return all;
}

const Dialect* find_dialect(std::string_view provider) {
  for (const Dialect* d : all_dialects()) {
    if (d->provider() == provider) return d;
  }
  return nullptr;
}

WireRequest bearer_request(const Dialect& dialect, std::string_view path, const Endpoint& endpoint,
                           std::string body) {
  WireRequest out{.body = std::move(body)};
  out.url =
      (endpoint.base_url.empty() ? std::string(dialect.default_base_url()) : endpoint.base_url) +
      std::string(path);
  out.headers.emplace_back("Content-Type", "application/json");
  if (!endpoint.api_key.empty())
    out.headers.emplace_back("Authorization", "Bearer " + endpoint.api_key);
  out.headers.insert(out.headers.end(), endpoint.headers.begin(), endpoint.headers.end());
  return out;
}

std::unexpected<Error> unsupported(std::string_view provider, std::string_view option) {
  return fail(ErrorCode::invalid_argument, "the provider `" + std::string(provider) +
                                               "` has no option `" + std::string(option) + "`");
}

ModelError openai_error(int status, const Headers& headers, std::string_view body) {
  const Value v = read_json(body);
  const Value* error = at(v, "error");
  if (error != nullptr && error->kind() == cel::Kind::string)
    return classify(status, headers, "", error->as_string());
  const std::string message = text_at(error != nullptr ? error : &v, "message");
  return classify(status, headers, text_at(error, "code") + " " + text_at(error, "type"),
                  message.empty() && error == nullptr ? clipped(body, 200) : message);
}

std::string_view tool_choice_name(conversation::ToolChoice choice) {
  switch (choice) {
    case conversation::ToolChoice::automatic:
      return "auto";
    case conversation::ToolChoice::none:
      return "none";
    case conversation::ToolChoice::required:
      return "required";
  }
  return "auto";
}

std::string schema_name(std::string_view name) {
  std::string out(name.substr(0, 64));
  for (char& c : out) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
    if (!fine) c = '_';
  }
  return out.empty() ? "answer" : out;
}

}  // namespace kflow::models
