// Wire: what the dialects share: reading JSON, telling errors apart, streams of events.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/base/json.hpp"
#include "compiler/cel/value.hpp"
#include "runtime/models/dialect.hpp"
#include "runtime/models/event_json.hpp"
#include "runtime/models/sse.hpp"

namespace kflow::models {

using cel::Value;

// ---- JSON that may be anything: what is missing or of another kind is empty
const Value* at(const Value& v, std::string_view name);
const Value* at(const Value* v, std::string_view name);
std::string text_at(const Value* v, std::string_view name);
/// A count, 0 to max_number: what a provider says is not trusted.
int64_t int_at(const Value* v, std::string_view name);
inline constexpr int64_t max_number = 1'000'000'000'000;
bool bool_at(const Value* v, std::string_view name);
/// The items of a list; none of anything else.
std::span<const Value> items(const Value* v);
/// `null` for what is no valid JSON.
Value read_json(std::string_view text);
/// JSON text that is written as it is if it is an object, else `{}`.
std::string object_or_empty(const std::string& json);
std::string data_url(const conversation::Part& media);
std::string clipped(std::string_view text, size_t most = 600);

// ---- errors
/// An answer that cannot be understood.
ModelError malformed(std::string what);
/// An answer that is not all here: it stopped in its middle, or never began.
ModelError no_answer(std::string what);
/// By status and the provider's own code or type and message.
ModelError classify(int status, std::string_view code, std::string_view message);
/// The same with what headers and message say about waiting.
ModelError classify(int status, const Headers& headers, std::string_view code,
                    std::string_view message);
/// How long to wait, by the first of: retry-after-ms; Retry-After in seconds or as a date (RFC 9110
/// §10.2.3, counted from the answer's own `Date`); the limits that are used up, as OpenAI's,
/// Groq's and Anthropic's headers name them. 0: not said.
int64_t retry_after_ms(const Headers& headers);
/// "… try again in 5.289s", "retry in 20ms". 0: not said.
int64_t wait_said_in(std::string_view message);
/// "58s", "6m0s", "12ms", "1.5" (seconds); none: it is no such time.
std::optional<int64_t> wait_ms(std::string_view text);

// ---- schemas
/// What strict structured output accepts: all properties required, optional ones nullable, no
/// keywords that are not understood (their rules go into the description). Nothing where the schema
/// has free maps or values of any type.
std::optional<std::string> strict_schema(std::string_view schema);
/// Without `$schema` and `default`.
std::string plain_schema(std::string_view schema);

/// A reader of a stream of server-sent events, or of one document, each as JSON.
class JsonReader : public AnswerReader {
 public:
  explicit JsonReader(bool stream) : stream_(stream), sse_(max_event_bytes) {}
  void feed(std::string_view bytes, std::vector<Delta>& out) override;
  std::expected<conversation::ModelAnswer, ModelError> finish() override;
  bool complete() const override { return complete_ && !error_; }

 protected:
  /// One event of a stream. `name` may be "".
  virtual void event(std::string_view name, const Value& data, std::vector<Delta>& out) = 0;
  /// A whole answer that was not streamed.
  virtual void document(const Value& data) = 0;
  /// Everything is read.
  virtual void end() {}

  void fail(ModelError error) {
    if (!error_) error_ = std::move(error);
  }
  conversation::ModelAnswer answer_;
  bool complete_ = false;  ///< the provider said that this was all
  std::optional<ModelError> error_;

 private:
  enum class Form : uint8_t { unknown, stream, document };
  static constexpr size_t shown_bytes = 400;  ///< of a stream that turns out to be none
  std::string_view recognise(std::string_view bytes);

  bool stream_;  ///< asked for
  Form form_ = Form::unknown;
  SseParser sse_;
  EventJson json_;
  std::string body_;
  size_t bytes_ = 0;
  size_t events_ = 0;
};

}  // namespace kflow::models
