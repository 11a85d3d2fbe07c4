// Dialects: how each provider of models wants to be asked and how it answers, as bytes. No I/O: the
// HTTP activity carries them.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/conversation/conversation.hpp"

namespace kflow::models {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// Why a call gave no answer. Becomes an error of kind `model` (`timeout` and transport errors come
/// from the HTTP activity).
struct ModelError {
  /// auth, permission, quota, rate_limit, overloaded, server, context_length, content_filter,
  /// not_found, invalid_request, incomplete, malformed
  std::string code;
  std::string message;  ///< the provider's own words, clipped, and what to do
  int status = 0;       ///< of HTTP; 0: none
  bool retryable = false;
  int64_t retry_after_ms = 0;
};

/// Where and as whom. Everything in it is of the environment, nothing of it is recorded.
struct Endpoint {
  std::string base_url;  ///< without a slash at the end; "": the provider's own
  std::string api_key;   ///< "": none is sent
  Headers headers;       ///< further ones
  bool stream = true;
  /// How a server of one's own that speaks Chat Completions is asked for a typed answer.
  enum class Typed : uint8_t { schema, json, prompt };
  Typed typed = Typed::schema;
  bool kept = false;   ///< the provider keeps what is said, and is sent what is new
  bool whole = false;  ///< but not this time: it may have forgotten the beginning
};

struct WireRequest {
  std::string url;
  Headers headers;
  std::string body;
};

/// A piece of an answer as it comes.
struct Delta {
  enum class Kind : uint8_t { text, reasoning, refusal, tool_call };
  Kind kind = Kind::text;
  std::string text;     ///< of a tool call: a piece of its arguments
  uint32_t index = 0;   ///< of the part within the answer
  std::string call_id;  ///< tool_call
  std::string name;     ///< tool_call: with its first piece
};

/// Reads one answer, in pieces cut anywhere. One owner, no threads. Memory is bounded by
/// `max_answer_bytes`.
class AnswerReader {
 public:
  virtual ~AnswerReader() = default;
  /// Appends what has become known to `out`. After an error nothing more is read.
  virtual void feed(std::string_view bytes, std::vector<Delta>& out) = 0;
  /// The body has ended: the whole answer, or why there is none (also: the stream stopped in its
  /// middle: `incomplete`, retryable).
  virtual std::expected<conversation::ModelAnswer, ModelError> finish() = 0;
  /// Whether the provider has said that this was all.
  virtual bool complete() const = 0;
};

inline constexpr size_t max_answer_bytes = 32U << 20;  ///< of one answer as sent
inline constexpr size_t max_event_bytes = 16U << 20;   ///< of one server-sent event
inline constexpr size_t max_tool_calls = 512;          ///< in one answer
/// Who is told to wait longer than this is told at once, instead of waiting.
inline constexpr int64_t max_retry_after_ms = 3'600'000;

/// How long an answer's headers ask to wait (errors.cpp); 0: not said.
int64_t retry_after_ms(const Headers& headers);

class Dialect {
 public:
  virtual ~Dialect() = default;
  virtual std::string_view provider() const = 0;
  virtual std::string_view default_base_url() const = 0;
  /// Environment variable that usually holds the key.
  virtual std::string_view key_variable() const = 0;
  virtual Result<WireRequest> encode(const conversation::ModelRequest& request,
                                     const Endpoint& endpoint) const = 0;
  virtual std::unique_ptr<AnswerReader> reader(bool stream) const = 0;
  /// An answer whose HTTP status is not 200.
  virtual ModelError error(int status, const Headers& headers, std::string_view body) const = 0;
  /// Whether a request was refused because the provider does not have the beginning of the
  /// conversation (any more): it is to be sent whole.
  virtual bool forgot(int /*status*/, std::string_view /*body*/) const { return false; }
};

/// openai (Responses), openai_chat (Chat Completions), anthropic (Messages), gemini; null for
/// others.
const Dialect* find_dialect(std::string_view provider);
std::span<const Dialect* const> all_dialects();

}  // namespace kflow::models
