// Conversations as recorded values.
#include "runtime/conversation/conversation.hpp"

#include <utility>

namespace kflow::conversation {
namespace {

using cel::Value;

constexpr std::string_view roles[] = {"user", "assistant", "tool"};
constexpr std::string_view kinds[] = {"text",      "refusal",     "reasoning",
                                      "tool_call", "tool_result", "media"};
constexpr std::string_view stops[] = {"end", "tool_calls", "length", "refusal", "content_filter"};

template <size_t N>
std::optional<size_t> index_of(const std::string_view (&names)[N], const Value* v) {
  if (v == nullptr || v->kind() != cel::Kind::string) return std::nullopt;
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == v->as_string()) return i;
  }
  return std::nullopt;
}

std::string text_at(const Value& record, std::string_view name) {
  const Value* v = record.find(name);
  if (v == nullptr) return "";
  if (v->kind() == cel::Kind::string) return std::string(v->as_string());
  return v->kind() == cel::Kind::bytes ? std::string(v->as_bytes()) : "";
}
int64_t int_at(const Value& record, std::string_view name) {
  const Value* v = record.find(name);
  return v != nullptr && v->kind() == cel::Kind::int_ ? v->as_int() : 0;
}

Value to_value(const Part& p) {
  cel::MapBuilder out;
  out.add("kind", Value::string(kinds[static_cast<size_t>(p.kind)]));
  const auto text = [&](std::string_view name, const std::string& v) {
    if (!v.empty()) out.add(name, Value::string(v));
  };
  text("text", p.text), text("id", p.id), text("name", p.name), text("arguments", p.arguments);
  if (p.is_error) out.add("is_error", Value::boolean(true));
  text("media_type", p.media_type), text("url", p.url);
  if (p.file) {
    out.add("file", Value::file(*p.file));
  } else if (!p.data.empty()) {
    out.add("data", Value::bytes(p.data));
  }
  text("filename", p.filename), text("provider", p.provider), text("opaque", p.opaque);
  return std::move(out).take();
}

std::optional<Part> part_from(const Value& v) {
  if (v.kind() != cel::Kind::map) return std::nullopt;
  const auto kind = index_of(kinds, v.find("kind"));
  if (!kind) return std::nullopt;
  const Value* is_error = v.find("is_error");
  const Value* file = v.find("file");
  return Part{.kind = static_cast<PartKind>(*kind),
              .text = text_at(v, "text"),
              .id = text_at(v, "id"),
              .name = text_at(v, "name"),
              .arguments = text_at(v, "arguments"),
              .is_error = is_error != nullptr && is_error->kind() == cel::Kind::boolean &&
                          is_error->as_bool(),
              .media_type = text_at(v, "media_type"),
              .url = text_at(v, "url"),
              .data = text_at(v, "data"),
              .file = file != nullptr && file->kind() == cel::Kind::file
                          ? std::optional(file->as_file())
                          : std::nullopt,
              .filename = text_at(v, "filename"),
              .provider = text_at(v, "provider"),
              .opaque = text_at(v, "opaque")};
}

Value parts_value(const std::vector<Part>& parts) {
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const Part& p : parts) out.push_back(to_value(p));
  return Value::list(std::move(out));
}

std::optional<std::vector<Part>> parts_from(const Value* v) {
  if (v == nullptr || v->kind() != cel::Kind::list) return std::nullopt;
  std::vector<Part> out;
  for (const Value& item : v->as_list()) {
    auto part = part_from(item);
    if (!part) return std::nullopt;
    out.push_back(std::move(*part));
  }
  return out;
}

}  // namespace

Message user_text(std::string text) {
  return {.role = Role::user, .parts = {{.kind = PartKind::text, .text = std::move(text)}}};
}

Message user_message(std::string text, const std::vector<cel::File>& files) {
  Message out{.role = Role::user, .parts = {}};
  for (const cel::File& f : files) {
    out.parts.push_back(
        {.kind = PartKind::media, .media_type = f.media_type, .file = f, .filename = f.name});
  }
  if (!text.empty() || files.empty())
    out.parts.push_back({.kind = PartKind::text, .text = std::move(text)});
  return out;
}

std::string text_of(const Message& message) {
  std::string out;
  for (const Part& p : message.parts) {
    if (p.kind == PartKind::text) out += p.text;
  }
  return out;
}

Value to_value(const Message& message) {
  return cel::make_record({{"role", Value::string(roles[static_cast<size_t>(message.role)])},
                           {"parts", parts_value(message.parts)}});
}

std::optional<Message> message_from(const Value& v) {
  if (v.kind() != cel::Kind::map) return std::nullopt;
  const auto role = index_of(roles, v.find("role"));
  auto parts = parts_from(v.find("parts"));
  if (!role || !parts) return std::nullopt;
  return Message{.role = static_cast<Role>(*role), .parts = std::move(*parts)};
}

Usage& Usage::operator+=(const Usage& other) {
  input_tokens += other.input_tokens;
  cached_input_tokens += other.cached_input_tokens;
  cache_write_tokens += other.cache_write_tokens;
  output_tokens += other.output_tokens;
  reasoning_tokens += other.reasoning_tokens;
  return *this;
}

std::string_view to_string(StopReason reason) { return stops[static_cast<size_t>(reason)]; }

Value to_value(const ModelAnswer& answer) {
  const Usage& u = answer.usage;
  return cel::make_record(
      {{"parts", parts_value(answer.message.parts)},
       {"stop", Value::string(to_string(answer.stop))},
       {"usage", cel::make_record({{"input_tokens", Value::integer(u.input_tokens)},
                                   {"cached_input_tokens", Value::integer(u.cached_input_tokens)},
                                   {"cache_write_tokens", Value::integer(u.cache_write_tokens)},
                                   {"output_tokens", Value::integer(u.output_tokens)},
                                   {"reasoning_tokens", Value::integer(u.reasoning_tokens)}})},
       {"response_id", Value::string(answer.response_id)},
       {"model", Value::string(answer.model)},
       {"usd", answer.usd ? Value::number(*answer.usd) : Value::null()}});
}

std::optional<ModelAnswer> answer_from(const Value& v) {
  if (v.kind() != cel::Kind::map) return std::nullopt;
  auto parts = parts_from(v.find("parts"));
  const auto stop = index_of(stops, v.find("stop"));
  if (!parts || !stop) return std::nullopt;
  ModelAnswer out{.message = {.role = Role::assistant, .parts = std::move(*parts)},
                  .stop = static_cast<StopReason>(*stop),
                  .usage = {},
                  .response_id = text_at(v, "response_id"),
                  .model = text_at(v, "model"),
                  .usd = {}};
  if (const Value* u = v.find("usage"); u != nullptr && u->kind() == cel::Kind::map) {
    out.usage = {.input_tokens = int_at(*u, "input_tokens"),
                 .cached_input_tokens = int_at(*u, "cached_input_tokens"),
                 .cache_write_tokens = int_at(*u, "cache_write_tokens"),
                 .output_tokens = int_at(*u, "output_tokens"),
                 .reasoning_tokens = int_at(*u, "reasoning_tokens")};
  }
  if (const Value* usd = v.find("usd"); usd != nullptr && usd->kind() == cel::Kind::double_)
    out.usd = usd->as_double();
  return out;
}

}  // namespace kflow::conversation
