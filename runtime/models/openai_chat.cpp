// Chat Completions (POST /chat/completions): OpenAI's older interface, and what Ollama, vLLM,
// llama.cpp, LM Studio, OpenRouter, Groq and others speak, each a little differently.
#include <algorithm>
#include <map>

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

void user(JsonWriter& out, const Message& m) {
  out.begin_object();
  out.key("role"), out.string("user");
  out.key("content");
  if (m.parts.size() == 1 && m.parts[0].kind == PartKind::text) {
    out.string(m.parts[0].text);  // what every server takes
    return out.end_object();
  }
  out.begin_array();
  for (const Part& p : m.parts) {
    out.begin_object();
    if (p.kind != PartKind::media) {
      out.key("type"), out.string("text");
      out.key("text"), out.string(p.text);
    } else if (p.media_type.starts_with("image/") || p.media_type.empty()) {
      out.key("type"), out.string("image_url");
      out.key("image_url");
      out.begin_object();
      out.key("url"), out.string(data_url(p));
      out.end_object();
    } else if (p.media_type.starts_with("audio/")) {
      const std::string url = data_url(p);
      out.key("type"), out.string("input_audio");
      out.key("input_audio");
      out.begin_object();
      out.key("data"), out.string(url.substr(url.find(',') + 1));
      out.key("format"), out.string(p.media_type.ends_with("wav") ? "wav" : "mp3");
      out.end_object();
    } else {
      out.key("type"), out.string("file");
      out.key("file");
      out.begin_object();
      if (!p.filename.empty()) out.key("filename"), out.string(p.filename);
      out.key("file_data"), out.string(data_url(p));
      out.end_object();
    }
    out.end_object();
  }
  out.end_array();
  out.end_object();
}

void assistant(JsonWriter& out, const Message& m) {
  out.begin_object();
  out.key("role"), out.string("assistant");
  std::string text;
  bool calls = false;
  for (const Part& p : m.parts) {
    if (p.kind == PartKind::text || p.kind == PartKind::refusal) text += p.text;
    calls = calls || p.kind == PartKind::tool_call;
  }
  out.key("content");
  text.empty() && calls ? out.null() : out.string(text);
  if (calls) {
    out.key("tool_calls");
    out.begin_array();
    for (const Part& p : m.parts) {
      if (p.kind != PartKind::tool_call) continue;
      out.begin_object();
      out.key("id"), out.string(p.id);
      out.key("type"), out.string("function");
      out.key("function");
      out.begin_object();
      out.key("name"), out.string(p.name);
      out.key("arguments"), out.string(p.arguments.empty() ? "{}" : p.arguments);
      out.end_object();
      out.end_object();
    }
    out.end_array();
  }
  out.end_object();
}

void message(JsonWriter& out, const Message& m) {
  switch (m.role) {
    case Role::user:
      return user(out, m);
    case Role::assistant:
      return assistant(out, m);
    case Role::tool:
      break;
  }
  for (const Part& p : m.parts) {
    out.begin_object();
    out.key("role"), out.string("tool");
    out.key("tool_call_id"), out.string(p.id);
    out.key("content"), out.string(p.is_error ? "error: " + p.text : p.text);
    out.end_object();
  }
}

class Reader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

 private:
  void event(std::string_view, const Value& data, std::vector<Delta>& out) override {
    if (take_error(data)) return;
    head(data);
    for (const Value& choice : items(at(data, "choices"))) {
      if (int_at(&choice, "index") != 0) continue;
      if (const Value* delta = at(choice, "delta")) pieces(*delta, &out);
      finished(choice);
    }
  }
  void document(const Value& data) override {
    if (take_error(data)) return;
    head(data);
    for (const Value& choice : items(at(data, "choices"))) {
      if (int_at(&choice, "index") != 0) continue;
      if (const Value* m = at(choice, "message")) pieces(*m, nullptr);
      complete_ = true;
      finished(choice);
    }
  }

  bool take_error(const Value& data) {
    const Value* error = at(data, "error");
    if (error == nullptr || error->is_null()) return false;
    const std::string message = error->kind() == cel::Kind::string ? std::string(error->as_string())
                                                                   : text_at(error, "message");
    const int64_t code = int_at(error, "code");
    fail(classify(code < 1000 ? static_cast<int>(code) : 0,
                  text_at(error, "code") + " " + text_at(error, "type"), message));
    return true;
  }

  void head(const Value& data) {
    if (answer_.response_id.empty()) answer_.response_id = text_at(&data, "id");
    if (answer_.model.empty()) answer_.model = text_at(&data, "model");
    const Value* usage = at(data, "usage");
    if (usage == nullptr || usage->is_null()) usage = at(at(data, "x_groq"), "usage");
    if (usage == nullptr || usage->kind() != cel::Kind::map) return;
    answer_.usage = {
        .input_tokens = int_at(usage, "prompt_tokens"),
        .cached_input_tokens = std::max(int_at(at(usage, "prompt_tokens_details"), "cached_tokens"),
                                        int_at(usage, "prompt_cache_hit_tokens")),  // DeepSeek
        .output_tokens = int_at(usage, "completion_tokens"),
        .reasoning_tokens = int_at(at(usage, "completion_tokens_details"), "reasoning_tokens")};
    // OpenRouter says what it took.
    if (const Value* cost = at(usage, "cost"); cost != nullptr) {
      const double usd = cost->kind() == cel::Kind::double_ ? cost->as_double()
                         : cost->kind() == cel::Kind::int_  ? static_cast<double>(cost->as_int())
                                                            : -1;
      if (usd >= 0 && usd < max_usd) answer_.usd = usd;
    }
  }

  void pieces(const Value& m, std::vector<Delta>* out) {
    const auto piece = [&](std::string& into, const std::string& text, Delta::Kind kind) {
      if (text.empty()) return;
      into += text;
      if (out != nullptr) out->push_back({.kind = kind, .text = text, .call_id = "", .name = ""});
    };
    piece(text_, text_at(&m, "content"), Delta::Kind::text);
    // Mistral's reasoning models give a list of pieces.
    for (const Value& part : items(at(m, "content"))) {
      piece(text_, text_at(&part, "text"), Delta::Kind::text);
      for (const Value& t : items(at(part, "thinking")))
        piece(reasoning_, text_at(&t, "text"), Delta::Kind::reasoning);
    }
    piece(refusal_, text_at(&m, "refusal"), Delta::Kind::refusal);
    std::string thought = text_at(&m, "reasoning_content");
    if (thought.empty()) thought = text_at(&m, "reasoning");
    piece(reasoning_, thought, Delta::Kind::reasoning);
    size_t position = 0;
    for (const Value& call : items(at(m, "tool_calls"))) tool_call(call, position++, out);
  }

  // Some give no index, some no id, some arguments as an object and all at once.
  void tool_call(const Value& v, size_t position, std::vector<Delta>* out) {
    const Value* function = at(v, "function");
    const Value* index = at(v, "index");
    const std::string id = text_at(&v, "id");
    int64_t key = index != nullptr && index->kind() == cel::Kind::int_ ? index->as_int() : -1;
    if (key >= max_index) return fail(malformed("a call of a tool has an impossible index"));
    // Ollama gives all calls the same.
    if (const auto held = calls_.find(key);
        held != calls_.end() && !id.empty() && !held->second.id.empty() && held->second.id != id)
      key = -1;
    if (key < 0) {
      const bool another = calls_.empty() || (!id.empty() && calls_.rbegin()->second.id != id);
      key = out == nullptr ? static_cast<int64_t>(position)
            : another      ? (calls_.empty() ? 0 : calls_.rbegin()->first + 1)
                           : calls_.rbegin()->first;
    }
    if (calls_.size() > max_tool_calls)
      return fail(malformed("the model called more than " + std::to_string(max_tool_calls) +
                            " tools at once"));
    Part& call = calls_[key];
    call.kind = PartKind::tool_call;
    if (!id.empty()) call.id = id;
    if (const std::string name = text_at(function, "name"); !name.empty()) call.name = name;
    const Value* arguments = at(function, "arguments");
    const std::string text = arguments == nullptr ? ""
                             : arguments->kind() == cel::Kind::string
                                 ? std::string(arguments->as_string())
                             : arguments->kind() == cel::Kind::map ? cel::to_json(*arguments)
                                                                   : "";
    call.arguments += text;
    if (out != nullptr) {
      out->push_back({.kind = Delta::Kind::tool_call,
                      .text = text,
                      .index = static_cast<uint32_t>(key),
                      .call_id = call.id,
                      .name = call.name});
    }
  }

  void finished(const Value& choice) {
    const std::string why = text_at(&choice, "finish_reason");
    if (why.empty()) return;
    complete_ = true;
    if (why == "length") answer_.stop = StopReason::length;
    if (why == "content_filter") answer_.stop = StopReason::content_filter;
    if (why == "error") fail(classify(0, "server_error", "the model failed in its answer"));
  }

  void end() override {
    auto& parts = answer_.message.parts;
    if (!reasoning_.empty()) parts.push_back({.kind = PartKind::reasoning, .text = reasoning_});
    if (!text_.empty()) parts.push_back({.kind = PartKind::text, .text = text_});
    if (!refusal_.empty()) parts.push_back({.kind = PartKind::refusal, .text = refusal_});
    for (auto& [key, call] : calls_) {
      if (call.id.empty()) call.id = "call_" + std::to_string(key);
      parts.push_back(std::move(call));
    }
    if (answer_.stop != StopReason::end) return;
    if (!refusal_.empty()) answer_.stop = StopReason::refusal;
    if (!calls_.empty()) answer_.stop = StopReason::tool_calls;
  }

  static constexpr int64_t max_index = 1'000'000;
  static constexpr double max_usd = 1e9;
  std::string text_;
  std::string refusal_;
  std::string reasoning_;
  std::map<int64_t, Part> calls_;
};

class OpenAiChat final : public Dialect {
 public:
  std::string_view provider() const override { return "openai_chat"; }
  std::string_view default_base_url() const override { return "https://api.openai.com/v1"; }
  std::string_view key_variable() const override { return "OPENAI_API_KEY"; }

  Result<WireRequest> encode(const ModelRequest& r, const Endpoint& endpoint) const override {
    if (endpoint.kept) return unsupported(provider(), "previous_response_id");
    const bool own = endpoint.base_url.empty() || endpoint.base_url.contains("api.openai.com");
    JsonWriter out;
    out.begin_object();
    out.key("model"), out.string(r.model.id);
    out.key("messages");
    out.begin_array();
    std::string system = r.system;
    const bool typed = !r.output_schema.empty();
    if (typed && endpoint.typed != Endpoint::Typed::schema) {
      system += std::string(system.empty() ? "" : "\n\n") +
                "Give the final answer as JSON and nothing else. It must fit this JSON Schema:\n" +
                plain_schema(r.output_schema);
    }
    if (!system.empty()) {
      out.begin_object();
      out.key("role"), out.string("system");
      out.key("content"), out.string(system);
      out.end_object();
    }
    for (const Message& m : r.messages) message(out, m);
    out.end_array();
    if (!r.tools.empty()) tools(out, r);
    if (typed) format(out, r, endpoint.typed);
    if (!r.model.reasoning_effort.empty())
      out.key("reasoning_effort"), out.string(r.model.reasoning_effort);
    if (r.model.temperature) out.key("temperature"), out.number(*r.model.temperature);
    if (r.model.top_p) out.key("top_p"), out.number(*r.model.top_p);
    if (r.model.seed) out.key("seed"), out.integer(*r.model.seed);
    if (!r.model.stop.empty()) {
      out.key("stop");
      out.begin_array();
      for (const std::string& s : r.model.stop) out.string(s);
      out.end_array();
    }
    if (r.model.max_output_tokens) {
      out.key(own ? "max_completion_tokens" : "max_tokens");
      out.integer(*r.model.max_output_tokens);
    }
    if (endpoint.stream) {
      out.key("stream"), out.boolean(true);
      out.key("stream_options");
      out.begin_object();
      out.key("include_usage"), out.boolean(true);
      out.end_object();
    }
    out.end_object();
    return bearer_request(*this, "/chat/completions", endpoint, out.take());
  }

  std::unique_ptr<AnswerReader> reader(bool stream) const override {
    return std::make_unique<Reader>(stream);
  }
  ModelError error(int status, const Headers& headers, std::string_view body) const override {
    return openai_error(status, headers, body);
  }

 private:
  static void tools(JsonWriter& out, const ModelRequest& r) {
    out.key("tools");
    out.begin_array();
    for (const conversation::ToolSpec& t : r.tools) {
      out.begin_object();
      out.key("type"), out.string("function");
      out.key("function");
      out.begin_object();
      out.key("name"), out.string(t.name);
      out.key("description"), out.string(t.description);
      out.key("parameters"), out.raw(plain_schema(t.schema));
      out.end_object();
      out.end_object();
    }
    out.end_array();
    if (r.tool_choice != conversation::ToolChoice::automatic)
      out.key("tool_choice"), out.string(tool_choice_name(r.tool_choice));
    if (!r.parallel_tools) out.key("parallel_tool_calls"), out.boolean(false);
  }
  static void format(JsonWriter& out, const ModelRequest& r, Endpoint::Typed way) {
    if (way == Endpoint::Typed::prompt) return;
    const auto strict = strict_schema(r.output_schema);
    out.key("response_format");
    out.begin_object();
    if (way == Endpoint::Typed::json) {
      out.key("type"), out.string("json_object");
      return out.end_object();
    }
    out.key("type"), out.string("json_schema");
    out.key("json_schema");
    out.begin_object();
    out.key("name"), out.string(schema_name(r.output_name));
    out.key("schema"), out.raw(strict ? *strict : plain_schema(r.output_schema));
    out.key("strict"), out.boolean(strict.has_value());
    out.end_object();
    out.end_object();
  }
};

}  // namespace

const Dialect& openai_chat() {
  static const OpenAiChat dialect;
  return dialect;
}

}  // namespace kflow::models
