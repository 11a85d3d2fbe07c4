// What the dialects share.
#include "runtime/models/wire.hpp"

#include <algorithm>
#include <array>
#include <charconv>

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
  return x != nullptr && x->kind() == cel::Kind::int_ ? std::max<int64_t>(0, x->as_int()) : 0;
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

// ---------------------------------------------------------------- errors

ModelError malformed(std::string what) {
  return {.code = "malformed", .message = std::move(what), .retryable = true};
}

ModelError incomplete() {
  return {
      .code = "incomplete", .message = "the answer broke off before its end", .retryable = true};
}

namespace {

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool has_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view w) { return text.find(w) != std::string_view::npos; });
}

std::string_view hint(std::string_view code) {
  if (code == "auth") return "check the API key";
  if (code == "quota") return "the account's quota or credit is used up";
  if (code == "context_length") return "the conversation is longer than the model can read";
  if (code == "not_found") return "check the model's id and the base_url";
  return "";
}

std::string_view find_header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (lower(key) == name) return value;
  }
  return {};
}

std::optional<int64_t> number(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || v < 0 || v > 1e9) return std::nullopt;
  return static_cast<int64_t>(v * 1000);
}

}  // namespace

ModelError classify(int status, std::string_view code, std::string_view message) {
  const std::string all = lower(code) + " " + lower(message);
  ModelError out{.code = "invalid_request", .status = status};
  if (has_any(all, {"context_length", "context length", "prompt is too long", "maximum context",
                    "too many tokens", "context window", "exceeds the maximum number of tokens",
                    "input is too long", "request_too_large"})) {
    out.code = "context_length";
  } else if (has_any(all,
                     {"content_filter", "content_policy", "content management policy", "safety"})) {
    out.code = "content_filter";
  } else if (has_any(all, {"insufficient_quota", "billing", "credit balance",
                           "exceeded your current"})) {
    out.code = "quota";
  } else if (status == 401 || has_any(all, {"invalid_api_key", "authentication_error",
                                            "api key not valid", "api_key_invalid"})) {
    out.code = "auth";
  } else if (status == 403 || has_any(all, {"permission_error", "permission_denied"})) {
    out.code = "permission";
  } else if (status == 404 || has_any(all, {"model_not_found", "not_found_error"})) {
    out.code = "not_found";
  } else if (status == 429 || has_any(all, {"rate_limit", "resource_exhausted"})) {
    out.code = "rate_limit", out.retryable = true;
  } else if (status == 529 || status == 503 || has_any(all, {"overloaded", "unavailable"})) {
    out.code = "overloaded", out.retryable = true;
  } else if (status >= 500 || status == 408 || status == 409 ||
             has_any(all, {"server_error", "api_error", "internal"})) {
    out.code = "server", out.retryable = true;
  }
  const std::string_view more = hint(out.code);
  out.message =
      message.empty() ? std::string("the provider refused the request") : clipped(message);
  if (status != 0) out.message += " (status " + std::to_string(status) + ")";
  if (!more.empty()) out.message += "; " + std::string(more);
  return out;
}

ModelError classify(int status, const Headers& headers, std::string_view code,
                    std::string_view message) {
  ModelError out = classify(status, code, message);
  if (out.retryable) out.retry_after_ms = retry_after_ms(headers);
  return out;
}

int64_t retry_after_ms(const Headers& headers) {
  if (const auto ms = number(find_header(headers, "retry-after-ms"))) return *ms / 1000;
  if (const auto seconds = number(find_header(headers, "retry-after"))) return *seconds;
  return 0;
}

// ---------------------------------------------------------------- schemas

namespace {

constexpr std::array<std::string_view, 14> rules{
    "minimum",     "maximum",       "minLength",       "maxLength",       "minItems",
    "maxItems",    "minProperties", "pattern",         "format",          "maxProperties",
    "uniqueItems", "multipleOf",    "contentEncoding", "exclusiveMinimum"};

bool dropped(std::string_view key) { return key == "$schema" || key == "default"; }

/// Rewrites a schema; `strict_` turns false where it cannot be strict.
class SchemaWriter {
 public:
  SchemaWriter(bool strict) : strict_(strict) {}
  bool possible = true;

  std::string take() { return out_.take(); }

  void schema(const Value& v, bool nullable = false) {
    if (v.kind() != cel::Kind::map) {
      possible = possible && !strict_;
      return out_.raw(cel::to_json(v));
    }
    if (strict_ && nullable && !accepts_null(v)) {
      out_.begin_object();
      out_.key("anyOf");
      out_.begin_array();
      schema(v);
      out_.begin_object();
      out_.key("type"), out_.string("null");
      out_.end_object();
      out_.end_array();
      return out_.end_object();
    }
    out_.begin_object();
    std::string notes;
    bool says_something = false;
    for (const cel::MapEntry& e : v.as_map()) {
      if (e.key.kind() != cel::Kind::string) continue;
      const std::string_view key = e.key.as_string();
      if (dropped(key)) continue;
      says_something = says_something || key != "description";
      if (strict_ && std::ranges::find(rules, key) != rules.end()) {
        notes += (notes.empty() ? "" : ", ") + std::string(key) + " " + cel::to_json(e.value);
        continue;
      }
      if (strict_ && (key == "description" || key == "required")) continue;
      member(key, e.value, v);
    }
    if (!says_something) possible = possible && !strict_;  // any value
    if (strict_) {
      const Value* description = v.find("description");
      std::string text = description != nullptr && description->kind() == cel::Kind::string
                             ? std::string(description->as_string())
                             : std::string();
      if (!notes.empty()) text += (text.empty() ? "" : " ") + std::string("(") + notes + ")";
      if (!text.empty()) out_.key("description"), out_.string(text);
    }
    out_.end_object();
  }

 private:
  static bool accepts_null(const Value& v) {
    const Value* any = v.find("anyOf");
    for (const Value& arm : items(any)) {
      const Value* type = at(arm, "type");
      if (type != nullptr && type->kind() == cel::Kind::string && type->as_string() == "null")
        return true;
    }
    return false;
  }

  void member(std::string_view key, const Value& value, const Value& owner) {
    out_.key(key);
    if (key == "properties") {
      const Value* required = owner.find("required");
      std::vector<std::string> names;
      out_.begin_object();
      for (const cel::MapEntry& e :
           value.kind() == cel::Kind::map ? value.as_map() : std::span<const cel::MapEntry>()) {
        const std::string name(e.key.as_string());
        const bool needed = std::ranges::any_of(items(required), [&](const Value& r) {
          return r.kind() == cel::Kind::string && r.as_string() == name;
        });
        out_.key(name);
        schema(e.value, !needed);
        names.push_back(name);
      }
      out_.end_object();
      if (!strict_) return;
      out_.key("required");
      out_.begin_array();
      for (const std::string& name : names) out_.string(name);
      out_.end_array();
    } else if (key == "$defs") {
      out_.begin_object();
      for (const cel::MapEntry& e : value.as_map()) {
        out_.key(e.key.as_string());
        schema(e.value);
      }
      out_.end_object();
    } else if (key == "items") {
      schema(value);
    } else if (key == "anyOf") {
      out_.begin_array();
      for (const Value& arm : items(&value)) schema(arm);
      out_.end_array();
    } else {
      if (key == "additionalProperties" && value.kind() != cel::Kind::boolean)
        possible = possible && !strict_;
      out_.raw(cel::to_json(value));
    }
  }

  bool strict_;
  JsonWriter out_;
};

}  // namespace

std::optional<std::string> strict_schema(std::string_view text) {
  SchemaWriter writer(true);
  writer.schema(read_json(text));
  if (!writer.possible) return std::nullopt;
  return writer.take();
}

std::string plain_schema(std::string_view text) {
  SchemaWriter writer(false);
  writer.schema(read_json(text));
  return writer.take();
}

// ---------------------------------------------------------------- readers

void JsonReader::feed(std::string_view bytes, std::vector<Delta>& out) {
  if (error_) return;
  bytes_ += bytes.size();
  if (bytes_ > max_answer_bytes) {
    return fail(
        malformed("the answer is larger than " + std::to_string(max_answer_bytes >> 20) + " MiB"));
  }
  if (!stream_) {
    body_.append(bytes);
    return;
  }
  const bool sound = sse_.feed(bytes, [&](std::string_view name, std::string_view data) {
    if (error_ || data == "[DONE]") return;
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

std::expected<conversation::ModelAnswer, ModelError> JsonReader::finish() {
  if (!error_ && !stream_) {
    const Value v = read_json(body_);
    if (v.kind() != cel::Kind::map) {
      fail(malformed("the answer is no JSON: " + clipped(body_, 100)));
    } else {
      document(v);
    }
  }
  if (!error_) end();
  if (!error_ && !complete_) fail(incomplete());
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
