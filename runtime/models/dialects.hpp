// The dialects and what those of OpenAI's family share.
#pragma once

#include "runtime/models/dialect.hpp"

namespace kflow::models {

const Dialect& openai_responses();
const Dialect& openai_chat();
const Dialect& anthropic();
const Dialect& gemini();

/// A POST of JSON with the key as a bearer token.
WireRequest bearer_request(const Dialect& dialect, std::string_view path, const Endpoint& endpoint,
                           std::string body);
/// The provider has no such option: refused instead of left out.
std::unexpected<Error> unsupported(std::string_view provider, std::string_view option);
/// `{"error": {code, type, message}}`.
ModelError openai_error(int status, const Headers& headers, std::string_view body);
std::string_view tool_choice_name(conversation::ToolChoice choice);
/// A name as providers take it for a schema.
std::string schema_name(std::string_view name);

}  // namespace kflow::models
