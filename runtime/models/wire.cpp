// What the dialects share.
#include "runtime/models/wire.hpp"

#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::models {

const Value* at(const Value& v, std::string_view name) {
  return v.kind() == cel::Kind::map ? v.find(name) : nullptr;
}
const Value* at(const Value* v, std::string_view name) {
  return v == nullptr ? nullptr : at(*v, name);
}
std::string text_at(const Value* v, std::string_view name) {
  const Value* x = at(v, name);
  return x != nullptr && x->kind() == cel::Kind::string ? std::string(x->as_string())
                                                        : std::string();
}
int64_t int_at(const Value* v, std::string_view name) {
  const Value* x = at(v, name);
  if (x == nullptr) return 0;
  if (x->kind() == cel::Kind::int_) return std::clamp<int64_t>(x->as_int(), 0, max_number);
  if (x->kind() != cel::Kind::double_ || !(x->as_double() > 0)) return 0;
  return x->as_double() < static_cast<double>(max_number) ? static_cast<int64_t>(x->as_double())
                                                          : max_number;
}
bool bool_at(const Value* v, std::string_view name) {
  const Value* x = at(v, name);
  return x != nullptr && x->kind() == cel::Kind::boolean && x->as_bool();
}
std::span<const Value> items(const Value* v) {
  return v != nullptr && v->kind() == cel::Kind::list ? v->as_list() : std::span<const Value>();
}

Value read_json(std::string_view text) {
  auto v = cel::from_json(text);
  if (v) return std::move(*v);
  // Pieces of a stream may cut a character in two where the provider counts bytes.
  auto again = cel::from_json(replace_invalid_utf8(text));
  return again ? std::move(*again) : Value();
}

std::string object_or_empty(const std::string& json) {
  const Value v = read_json(json);
  return v.kind() == cel::Kind::map ? json : "{}";
}

std::string data_url(const conversation::Part& media) {
  if (!media.url.empty()) return media.url;
  return "data:" + media.media_type + ";base64," + cel::base64_encode(media.data);
}

std::string clipped(std::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  size_t cut = most;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return std::string(text.substr(0, cut)) + "…";
}

void JsonReader::feed(std::string_view bytes, std::vector<Delta>& out) {
  if (error_) return;
  bytes_ += bytes.size();
  if (bytes_ > max_answer_bytes) {
    return fail(
        malformed("the answer is larger than " + std::to_string(max_answer_bytes >> 20) + " MiB"));
  }
  if (form_ == Form::unknown) bytes = recognise(bytes);
  if (error_ || bytes.empty()) return;
  if (form_ == Form::document) {
    body_.append(bytes);
    return;
  }
  if (body_.size() < shown_bytes) body_.append(bytes.substr(0, shown_bytes - body_.size()));
  const bool sound = sse_.feed(bytes, [&](std::string_view name, std::string_view data) {
    if (error_ || data == "[DONE]") return;
    ++events_;
    auto quick = json_.read(data);
    const Value v = quick ? std::move(*quick) : read_json(data);
    if (v.kind() != cel::Kind::map)
      return fail(malformed("an event of the stream is no JSON: " + clipped(data, 100)));
    event(name, v, out);
  });
  if (!sound) {
    fail(malformed("an event of the stream is larger than " +
                   std::to_string(max_event_bytes >> 20) + " MiB"));
  }
}

// Servers that do not stream although asked to, and those that always do: the first octet tells.
std::string_view JsonReader::recognise(std::string_view bytes) {
  while (!bytes.empty() && (std::string_view(" \t\r\n\xEF\xBB\xBF").contains(bytes.front())))
    bytes.remove_prefix(1);
  if (bytes.empty()) return bytes;
  const char first = bytes.front();
  if (first == '<') {
    fail(malformed("the answer is a page of HTML, not one of a model; check the base_url: " +
                   clipped(bytes, 100)));
  }
  const bool json = first == '{' || first == '[';
  const bool events = first == 'd' || first == 'e' || first == ':' || first == 'i' || first == 'r';
  form_ = json ? Form::document : events || stream_ ? Form::stream : Form::document;
  return bytes;
}

std::expected<conversation::ModelAnswer, ModelError> JsonReader::finish() {
  if (!error_ && form_ == Form::unknown) fail(no_answer("the answer is empty"));
  if (!error_ && form_ == Form::document) {
    const Value v = read_json(body_);
    if (v.kind() != cel::Kind::map) {
      fail(malformed("the answer is no JSON: " + clipped(body_, 100)));
    } else {
      document(v);
      if (!error_ && !complete_)
        fail(malformed("the answer has not this provider's form: " + clipped(body_, 100)));
    }
  }
  if (!error_ && form_ == Form::stream && events_ == 0)
    fail(no_answer("the answer is no stream of events: " + clipped(body_, 100)));
  if (!error_) end();
  if (!error_ && !complete_) fail(no_answer("the answer broke off before its end"));
  if (error_) return std::unexpected(*error_);
  answer_.message.role = conversation::Role::assistant;
  size_t calls = 0;
  for (const conversation::Part& p : answer_.message.parts)
    calls += p.kind == conversation::PartKind::tool_call;
  if (calls > max_tool_calls) {
    return std::unexpected(malformed("the model called " + std::to_string(calls) +
                                     " tools at once; the limit is " +
                                     std::to_string(max_tool_calls)));
  }
  return std::move(answer_);
}

}  // namespace kflow::models
