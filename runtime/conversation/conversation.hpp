// Conversation: what is said to a model and what it answers, in one form for all providers. Plain
// values, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/value.hpp"

namespace kflow::conversation {

enum class Role : uint8_t { user, assistant, tool };

enum class PartKind : uint8_t {
  text,
  refusal,      ///< the model declines; `text` says why
  reasoning,    ///< a summary of the model's thinking, or nothing but `opaque`
  tool_call,    ///< `id`, `name`, `arguments`
  tool_result,  ///< `id` and `name` of the call, `text`, `is_error`
  media,        ///< an image, audio or document: `media_type` and `url`, `data` or `file`
};

/// A piece of a message. Fields that its kind does not use are empty.
struct Part {
  PartKind kind = PartKind::text;
  std::string text;
  std::string id;
  std::string name;
  std::string arguments;  ///< JSON text as the model wrote it; it need not be valid
  bool is_error = false;
  std::string media_type;
  std::string url;
  std::string data;  ///< octets
  /// Media that the store holds: this is what is recorded, its `data` is read when it is sent.
  std::optional<cel::File> file;
  std::string filename;
  std::string provider;  ///< whose `opaque` is
  std::string
      opaque;  ///< JSON that this provider wants back unchanged (signatures, encrypted reasoning)
  friend bool operator==(const Part&, const Part&) = default;
};

struct Message {
  Role role = Role::user;
  std::vector<Part> parts;
  friend bool operator==(const Message&, const Message&) = default;
};

Message user_text(std::string text);
/// The texts of a message, one after another.
std::string text_of(const Message& message);

/// What may be said to a model in one message: a text, and the files it is about.
Message user_message(std::string text, const std::vector<cel::File>& files);

/// The recorded form: `{role, parts: [{kind, …}]}` without what is empty.
cel::Value to_value(const Message& message);
/// Anything else gives nothing.
std::optional<Message> message_from(const cel::Value& value);

/// What a model is told of a tool. `schema`: a JSON Schema (draft 2020-12) of an object.
struct ToolSpec {
  std::string name;
  std::string description;
  std::string schema;
  friend bool operator==(const ToolSpec&, const ToolSpec&) = default;
};

/// A `model` declaration, or `"provider/id"`. Numbers that are not set are the provider's own.
struct ModelSpec {
  std::string provider;  ///< openai, openai_chat, anthropic, gemini
  std::string id;
  std::string name;  ///< of the declaration; "" for `"provider/id"`
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> max_output_tokens;
  std::string reasoning_effort;  ///< "", or none minimal low medium high
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
  std::string base_url;  ///< "": the provider's, or kflow.yaml's
  std::string api_key;   ///< name of the declared secret; "": the provider's usual variable
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

enum class ToolChoice : uint8_t { automatic, none, required };

/// One call of a model.
struct ModelRequest {
  ModelSpec model;
  std::string system;
  std::vector<Message> messages;
  std::vector<ToolSpec> tools;
  ToolChoice tool_choice = ToolChoice::automatic;
  bool parallel_tools = true;
  std::string output_name;    ///< of the structured answer's type; "" with no schema
  std::string output_schema;  ///< JSON Schema of the answer; "": free text
};

struct Usage {
  int64_t input_tokens = 0;         ///< all of them, cached ones included
  int64_t cached_input_tokens = 0;  ///< read from the provider's cache
  int64_t cache_write_tokens = 0;
  int64_t output_tokens = 0;  ///< all of them, reasoning included
  int64_t reasoning_tokens = 0;
  friend bool operator==(const Usage&, const Usage&) = default;
  Usage& operator+=(const Usage& other);
};

enum class StopReason : uint8_t { end, tool_calls, length, refusal, content_filter };
/// "end" …
std::string_view to_string(StopReason reason);

/// What a model answered: text, reasoning and tool calls, in their order.
struct ModelAnswer {
  Message message;
  StopReason stop = StopReason::end;
  Usage usage;
  std::string response_id;
  std::string model;          ///< as the provider names what it ran
  std::optional<double> usd;  ///< what it cost, where the price is known
};
/// The recorded form: `{parts, stop, usage, response_id, model, usd}`.
cel::Value to_value(const ModelAnswer& answer);
std::optional<ModelAnswer> answer_from(const cel::Value& value);

}  // namespace kflow::conversation
