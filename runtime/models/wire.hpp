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
int64_t int_at(const Value* v, std::string_view name);
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
ModelError malformed(std::string what);
/// The stream stopped in its middle.
ModelError incomplete();
/// By status and the provider's own code or type and message.
ModelError classify(int status, std::string_view code, std::string_view message);
/// The same with what the headers say about waiting.
ModelError classify(int status, const Headers& headers, std::string_view code,
                    std::string_view message);
/// Retry-After in seconds or as an HTTP date, retry-after-ms; 0: not said.
int64_t retry_after_ms(const Headers& headers);

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
  bool stream_;
  SseParser sse_;
  EventJson json_;
  std::string body_;
  size_t bytes_ = 0;
};

}  // namespace kflow::models
