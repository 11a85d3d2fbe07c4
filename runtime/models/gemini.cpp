// Google's Gemini API (POST /v1beta/models/{id}:generateContent and :streamGenerateContent).
#include "compiler/cel/value_codec.hpp"
#include "runtime/models/dialects.hpp"
#include "runtime/models/wire.hpp"

namespace kflow::models {
namespace {

using conversation::Message;
using conversation::ModelRequest;
using conversation::Part;
using conversation::PartKind;
using conversation::Role;
using conversation::StopReason;

constexpr std::string_view name = "gemini";

// Since the third generation thinking is asked for by level, before by a budget of tokens.
int generation(std::string_view id) {
  const size_t at = id.find("gemini-");
  if (at == std::string_view::npos || at + 7 >= id.size()) return 0;
  const char digit = id[at + 7];
  return digit >= '1' && digit <= '9' ? digit - '0' : 0;
}

int64_t thinking_budget(const std::string& effort) {
  return effort == "none"      ? 0
         : effort == "minimal" ? 512
         : effort == "low"     ? 2048
         : effort == "medium"  ? 8192
                               : 24576;
}

/// What stands for a signature where another provider's model made the call.
constexpr std::string_view no_signature = "skip_thought_signature_validator";

std::string signature_of(const Part& p) {
  const Value v = read_json(p.opaque);
  return text_at(&v, "signature");
}

// Not one that was made here or by another provider.
bool is_theirs(std::string_view id) {
  return !id.empty() && !id.starts_with("call_") && !id.starts_with("toolu_");
}

void part(JsonWriter& out, const Part& p, bool must_sign) {
  if (p.kind == PartKind::reasoning) return;  // it does not take its thoughts back
  if (p.kind == PartKind::text && p.text.empty()) return;
  out.begin_object();
  switch (p.kind) {
    case PartKind::text:
    case PartKind::refusal:
      out.key("text"), out.string(p.text);
      break;
    case PartKind::tool_call:
      out.key("functionCall");
      out.begin_object();
      if (is_theirs(p.id)) out.key("id"), out.string(p.id);
      out.key("name"), out.string(p.name);
      out.key("args"), out.raw(object_or_empty(p.arguments));
      out.end_object();
      break;
    case PartKind::tool_result:
      out.key("functionResponse");
      out.begin_object();
      if (is_theirs(p.id)) out.key("id"), out.string(p.id);
      out.key("name"), out.string(p.name);
      out.key("response");
      out.begin_object();
      out.key(p.is_error ? "error" : "result"), out.string(p.text);
      out.end_object();
      out.end_object();
      break;
    case PartKind::media:
      out.key(p.url.empty() ? "inlineData" : "fileData");
      out.begin_object();
      out.key("mimeType"), out.string(p.media_type.empty() ? "image/png" : p.media_type);
      if (p.url.empty()) {
        const std::string url = data_url(p);
        out.key("data"), out.string(url.substr(url.find(',') + 1));
      } else {
        out.key("fileUri"), out.string(p.url);
      }
      out.end_object();
      break;
    case PartKind::reasoning:
      break;
  }
  if (p.provider == name && !p.opaque.empty()) {
    out.key("thoughtSignature"), out.string(signature_of(p));
  } else if (must_sign) {
    out.key("thoughtSignature"), out.string(no_signature);
  }
  out.end_object();
}

class Reader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

 private:
  void event(std::string_view, const Value& data, std::vector<Delta>& out) override {
    take(data, &out);
  }
  void document(const Value& data) override { take(data, nullptr); }

  void take(const Value& data, std::vector<Delta>* out) {
    if (const Value* error = at(data, "error"); error != nullptr && !error->is_null()) {
      return fail(classify(static_cast<int>(int_at(error, "code")), text_at(error, "status"),
                           text_at(error, "message")));
    }
    if (const std::string id = text_at(&data, "responseId"); !id.empty()) {
      if (!answer_.response_id.empty() && answer_.response_id != id)
        return fail(malformed("the stream began again in its middle"));
      answer_.response_id = id;
    }
    if (const std::string m = text_at(&data, "modelVersion"); !m.empty()) answer_.model = m;
    usage(at(data, "usageMetadata"));
    if (const std::string why = text_at(at(data, "promptFeedback"), "blockReason"); !why.empty()) {
      return fail({.code = "content_filter",
                   .message = "the provider's filter blocked the prompt (" + why + ")"});
    }
    for (const Value& candidate : items(at(data, "candidates"))) {
      if (int_at(&candidate, "index") != 0) continue;
      for (const Value& p : items(at(at(candidate, "content"), "parts"))) piece(p, out);
      finished(text_at(&candidate, "finishReason"));
    }
  }

  void usage(const Value* u) {
    if (u == nullptr || u->kind() != cel::Kind::map) return;
    const int64_t thoughts = int_at(u, "thoughtsTokenCount");
    answer_.usage = {.input_tokens = int_at(u, "promptTokenCount"),
                     .cached_input_tokens = int_at(u, "cachedContentTokenCount"),
                     .output_tokens = int_at(u, "candidatesTokenCount") + thoughts,
                     .reasoning_tokens = thoughts};
  }

  void piece(const Value& p, std::vector<Delta>* out) {
    auto& parts = answer_.message.parts;
    const std::string signature = text_at(&p, "thoughtSignature");
    if (const Value* call = at(p, "functionCall"); call != nullptr) {
      if (parts.size() > 2 * max_tool_calls)
        return fail(
            malformed("the answer has more than " + std::to_string(2 * max_tool_calls) + " parts"));
      const Value* args = at(call, "args");
      Part part{.kind = PartKind::tool_call};
      part.id = text_at(call, "id");
      if (part.id.empty()) part.id = "call_" + std::to_string(parts.size());
      part.name = text_at(call, "name");
      part.arguments =
          args != nullptr && args->kind() == cel::Kind::map ? cel::to_json(*args) : "{}";
      sign(part, signature);
      if (out != nullptr) {
        out->push_back({.kind = Delta::Kind::tool_call,
                        .text = part.arguments,
                        .index = static_cast<uint32_t>(parts.size()),
                        .call_id = part.id,
                        .name = part.name});
      }
      parts.push_back(std::move(part));
      return;
    }
    const std::string text = text_at(&p, "text");
    const PartKind kind = bool_at(&p, "thought") ? PartKind::reasoning : PartKind::text;
    if (text.empty() && signature.empty()) return;
    if (parts.empty() || parts.back().kind != kind) parts.push_back({.kind = kind});
    parts.back().text += text;
    if (kind == PartKind::text) sign(parts.back(), signature);
    if (out != nullptr && !text.empty()) {
      out->push_back({.kind = kind == PartKind::text ? Delta::Kind::text : Delta::Kind::reasoning,
                      .text = text,
                      .index = static_cast<uint32_t>(parts.size() - 1),
                      .call_id = "",
                      .name = ""});
    }
  }
  static void sign(Part& part, const std::string& signature) {
    if (signature.empty()) return;
    part.provider = name;
    JsonWriter out;
    out.begin_object();
    out.key("signature"), out.string(signature);
    out.end_object();
    part.opaque = out.take();
  }

  void finished(const std::string& why) {
    if (why.empty()) return;
    complete_ = true;
    if (why == "MAX_TOKENS") {
      answer_.stop = StopReason::length;
    } else if (why == "MALFORMED_FUNCTION_CALL" || why == "UNEXPECTED_TOOL_CALL") {
      fail(malformed("the model's call of a tool was malformed"));
    } else if (why != "STOP" && why != "FINISH_REASON_UNSPECIFIED" && why != "OTHER") {
      answer_.stop = StopReason::content_filter;  // SAFETY, RECITATION, BLOCKLIST …
    }
  }

  void end() override {
    for (const Part& p : answer_.message.parts) {
      if (p.kind == PartKind::tool_call && answer_.stop == StopReason::end)
        answer_.stop = StopReason::tool_calls;
    }
  }
};

class Gemini final : public Dialect {
 public:
  std::string_view provider() const override { return name; }
  std::string_view default_base_url() const override {
    return "https://generativelanguage.googleapis.com";
  }
  std::string_view key_variable() const override { return "GEMINI_API_KEY"; }

  Result<WireRequest> encode(const ModelRequest& r, const Endpoint& endpoint) const override {
    if (endpoint.kept) return unsupported(provider(), "previous_response_id");
    JsonWriter out;
    out.begin_object();
    // It takes no schema beside tools: then the answer is asked for in words and checked here.
    std::string system = r.system;
    if (!r.output_schema.empty() && !r.tools.empty()) {
      system += std::string(system.empty() ? "" : "\n\n") +
                "Give the final answer as JSON and nothing else. It must fit this JSON Schema:\n" +
                plain_schema(r.output_schema);
    }
    if (!system.empty()) {
      out.key("systemInstruction");
      out.begin_object();
      out.key("parts");
      out.begin_array();
      out.begin_object();
      out.key("text"), out.string(system);
      out.end_object();
      out.end_array();
      out.end_object();
    }
    out.key("contents");
    out.begin_array();
    for (const Message& m : r.messages) {
      out.begin_object();
      out.key("role"), out.string(m.role == Role::assistant ? "model" : "user");
      out.key("parts");
      out.begin_array();
      // The first call of a turn has to be signed, by whatever model it was made.
      bool unsigned_call = m.role == Role::assistant && generation(r.model.id) >= 3;
      for (const Part& p : m.parts) {
        const bool first = unsigned_call && p.kind == PartKind::tool_call;
        part(out, p, first);
        unsigned_call = unsigned_call && !first;
      }
      out.end_array();
      out.end_object();
    }
    out.end_array();
    if (!r.tools.empty()) tools(out, r);
    config(out, r);
    out.end_object();

    WireRequest request{.body = out.take()};
    request.url =
        (endpoint.base_url.empty() ? std::string(default_base_url()) : endpoint.base_url) +
        "/v1beta/models/" + r.model.id +
        (endpoint.stream ? ":streamGenerateContent?alt=sse" : ":generateContent");
    request.headers = {{"Content-Type", "application/json"}};
    if (!endpoint.api_key.empty()) request.headers.emplace_back("x-goog-api-key", endpoint.api_key);
    request.headers.insert(request.headers.end(), endpoint.headers.begin(), endpoint.headers.end());
    return request;
  }

  std::unique_ptr<AnswerReader> reader(bool stream) const override {
    return std::make_unique<Reader>(stream);
  }
  ModelError error(int status, const Headers& headers, std::string_view body) const override {
    const Value v = read_json(body);
    const Value* error = at(v, "error");
    const std::string message = text_at(error, "message");
    // What is used up, and until when, is said in the details.
    std::string code = text_at(error, "status");
    int64_t wait = 0;
    for (const Value& detail : items(at(error, "details"))) {
      if (const auto ms = wait_ms(text_at(&detail, "retryDelay"))) wait = *ms;
      for (const Value& limit : items(at(detail, "violations")))
        code += " " + text_at(&limit, "quotaId");
    }
    ModelError out =
        classify(status, headers, code, message.empty() ? clipped(body, 200) : message);
    if (out.retryable && wait > 0) out.retry_after_ms = wait;
    return out;
  }

 private:
  static void tools(JsonWriter& out, const ModelRequest& r) {
    out.key("tools");
    out.begin_array();
    out.begin_object();
    out.key("functionDeclarations");
    out.begin_array();
    for (const conversation::ToolSpec& t : r.tools) {
      out.begin_object();
      out.key("name"), out.string(t.name);
      out.key("description"), out.string(t.description);
      out.key("parametersJsonSchema"), out.raw(plain_schema(t.schema));
      out.end_object();
    }
    out.end_array();
    out.end_object();
    out.end_array();
    if (r.tool_choice == conversation::ToolChoice::automatic) return;
    out.key("toolConfig");
    out.begin_object();
    out.key("functionCallingConfig");
    out.begin_object();
    out.key("mode");
    out.string(r.tool_choice == conversation::ToolChoice::none ? "NONE" : "ANY");
    out.end_object();
    out.end_object();
  }
  static void think(JsonWriter& out, const ModelRequest& r) {
    const std::string& effort = r.model.reasoning_effort;
    const int generation_of_model = generation(r.model.id);
    const bool can = generation_of_model >= 3 || r.model.id.find("gemini-2.5") != std::string::npos;
    if (effort.empty() && !can) return;
    out.key("thinkingConfig");
    out.begin_object();
    if (effort != "none") out.key("includeThoughts"), out.boolean(true);
    if (!effort.empty() && generation_of_model >= 3) {
      out.key("thinkingLevel"), out.string(effort == "none" ? "minimal" : effort);
    } else if (!effort.empty()) {
      out.key("thinkingBudget"), out.integer(thinking_budget(effort));
    }
    out.end_object();
  }
  static void config(JsonWriter& out, const ModelRequest& r) {
    out.key("generationConfig");
    out.begin_object();
    if (r.model.temperature) out.key("temperature"), out.number(*r.model.temperature);
    if (r.model.top_p) out.key("topP"), out.number(*r.model.top_p);
    if (r.model.max_output_tokens)
      out.key("maxOutputTokens"), out.integer(*r.model.max_output_tokens);
    if (r.model.seed) out.key("seed"), out.integer(*r.model.seed);
    if (!r.model.stop.empty()) {
      out.key("stopSequences");
      out.begin_array();
      for (const std::string& s : r.model.stop) out.string(s);
      out.end_array();
    }
    think(out, r);
    if (!r.output_schema.empty() && r.tools.empty()) {
      out.key("responseMimeType"), out.string("application/json");
      out.key("responseJsonSchema"), out.raw(plain_schema(r.output_schema));
    }
    out.end_object();
  }
};

}  // namespace

const Dialect& gemini() {
  static const Gemini dialect;
  return dialect;
}

}  // namespace kflow::models
