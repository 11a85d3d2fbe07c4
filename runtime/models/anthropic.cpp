// Anthropic's Messages API (POST /v1/messages, version 2023-06-01).
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

constexpr std::string_view name = "anthropic";
constexpr int64_t default_max_tokens = 8192;
/// The tool by which a typed answer is given, since every model of theirs knows tools.
constexpr std::string_view answer_tool = "give_answer";

int64_t thinking_budget(const std::string& effort) {
  if (effort == "low" || effort == "minimal") return 2048;
  if (effort == "medium") return 8192;
  if (effort == "high") return 24576;
  return 0;
}

/// How the models of a generation think. Since Claude 4.6 they decide themselves how long; before,
/// they are given a budget. Since Claude 5 they think unless they are told not to.
enum class Thinking : uint8_t { budget, adaptive, always };

// claude-3-7-sonnet-…, claude-opus-4-20250514, claude-sonnet-4-5-…, claude-opus-4-6, claude-opus-5
Thinking thinking_of(std::string_view id) {
  const size_t at = id.find("claude-");
  if (at == std::string_view::npos) return Thinking::budget;
  int numbers[2] = {0, 0};
  size_t found = 0;
  for (std::string_view rest = id.substr(at + 7); !rest.empty() && found < 2;) {
    const std::string_view word = rest.substr(0, rest.find('-'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    const bool digits = !word.empty() && word.find_first_not_of("0123456789") == word.npos;
    if (digits && word.size() <= 2) {
      numbers[found] = 0;
      for (const char c : word) numbers[found] = numbers[found] * 10 + (c - '0');
      ++found;
    } else if (found > 0) {
      break;  // a date, or the family after the number
    }
  }
  if (found == 0) return Thinking::budget;
  if (numbers[0] >= 5) return Thinking::always;
  return numbers[0] == 4 && numbers[1] >= 6 ? Thinking::adaptive : Thinking::budget;
}

void cache_here(JsonWriter& out) {
  out.key("cache_control");
  out.begin_object();
  out.key("type"), out.string("ephemeral");
  out.end_object();
}

bool sent(const Part& p) {
  if (p.kind == PartKind::reasoning) return p.provider == name && !p.opaque.empty();
  return (p.kind != PartKind::text && p.kind != PartKind::refusal) || !p.text.empty();
}

void part(JsonWriter& out, const Part& p, bool cache) {
  if (p.kind == PartKind::reasoning) {
    if (p.provider == name && !p.opaque.empty()) out.raw(object_or_empty(p.opaque));
    return;
  }
  if ((p.kind == PartKind::text || p.kind == PartKind::refusal) && p.text.empty()) return;
  out.begin_object();
  switch (p.kind) {
    case PartKind::text:
    case PartKind::refusal:
      out.key("type"), out.string("text");
      out.key("text"), out.string(p.text);
      break;
    case PartKind::tool_call:
      out.key("type"), out.string("tool_use");
      out.key("id"), out.string(p.id);
      out.key("name"), out.string(p.name);
      out.key("input"), out.raw(object_or_empty(p.arguments));
      break;
    case PartKind::tool_result:
      out.key("type"), out.string("tool_result");
      out.key("tool_use_id"), out.string(p.id);
      out.key("content"), out.string(p.text);
      if (p.is_error) out.key("is_error"), out.boolean(true);
      break;
    case PartKind::media: {
      const bool image = p.media_type.starts_with("image/") || p.media_type.empty();
      out.key("type"), out.string(image ? "image" : "document");
      out.key("source");
      out.begin_object();
      if (!p.url.empty()) {
        out.key("type"), out.string("url");
        out.key("url"), out.string(p.url);
      } else {
        const std::string url = data_url(p);
        out.key("type"), out.string("base64");
        out.key("media_type"), out.string(p.media_type);
        out.key("data"), out.string(url.substr(url.find(',') + 1));
      }
      out.end_object();
      if (!image && !p.filename.empty()) out.key("title"), out.string(p.filename);
      break;
    }
    case PartKind::reasoning:
      break;
  }
  if (cache) cache_here(out);
  out.end_object();
}

// Roles alternate: what is said by one side in a row is one message. `cached`: the provider is to
// keep what it has read up to the last two messages of the user's side, for the next turn.
void messages(JsonWriter& out, const std::vector<Message>& all, bool cached) {
  std::vector<std::vector<const Part*>> sides;
  std::vector<bool> assistant;
  for (const Message& m : all) {
    const bool theirs = m.role == Role::assistant;
    if (sides.empty() || assistant.back() != theirs) {
      sides.emplace_back();
      assistant.push_back(theirs);
    }
    for (const Part& p : m.parts) {
      if (sent(p)) sides.back().push_back(&p);
    }
  }
  out.key("messages");
  out.begin_array();
  for (size_t i = 0; i < sides.size(); ++i) {
    if (sides[i].empty()) continue;
    const bool marks = cached && !assistant[i] && i + 3 >= sides.size();
    out.begin_object();
    out.key("role"), out.string(assistant[i] ? "assistant" : "user");
    out.key("content");
    out.begin_array();
    for (const Part* p : sides[i]) part(out, *p, marks && p == sides[i].back());
    out.end_array();
    out.end_object();
  }
  out.end_array();
}

class Reader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

 private:
  void event(std::string_view event_name, const Value& data, std::vector<Delta>& out) override {
    std::string type = text_at(&data, "type");
    if (type.empty()) type = event_name;
    const int64_t index = int_at(&data, "index");
    if (complete_) return;
    if (type == "message_start") {
      if (started_) return fail(malformed("the stream began again in its middle"));
      started_ = true;
      head(at(data, "message"));
    } else if (type == "content_block_start") {
      if (blocks_.contains(index))
        return fail(malformed("the stream began a part of the answer again"));
      if (blocks_.size() > 2 * max_tool_calls)
        return fail(
            malformed("the answer has more than " + std::to_string(2 * max_tool_calls) + " parts"));
      start(blocks_[index], at(data, "content_block"));
    } else if (type == "content_block_delta") {
      delta(index, at(data, "delta"), out);
    } else if (type == "message_delta") {
      stopped(text_at(at(data, "delta"), "stop_reason"));
      usage(at(data, "usage"));
    } else if (type == "message_stop") {
      complete_ = true;
    } else if (type == "error") {
      const Value* error = at(data, "error");
      fail(classify(0, text_at(error, "type"), text_at(error, "message")));
    }
  }

  void document(const Value& m) override {
    if (text_at(&m, "type") == "error") {
      const Value* error = at(m, "error");
      return fail(classify(0, text_at(error, "type"), text_at(error, "message")));
    }
    head(&m);
    int64_t index = 0;
    for (const Value& block : items(at(m, "content"))) start(blocks_[index++], &block);
    stopped(text_at(&m, "stop_reason"));
    complete_ = !text_at(&m, "stop_reason").empty();
  }

  struct Block {
    Part part;
    std::string signature;
    std::string redacted;
  };

  void head(const Value* m) {
    answer_.response_id = text_at(m, "id");
    answer_.model = text_at(m, "model");
    usage(at(m, "usage"));
  }
  // Input tokens are given without those of the cache; later counts replace earlier ones.
  void usage(const Value* u) {
    if (u == nullptr || u->kind() != cel::Kind::map) return;
    auto& total = answer_.usage;
    if (at(u, "input_tokens") != nullptr) fresh_ = int_at(u, "input_tokens");
    if (at(u, "cache_read_input_tokens") != nullptr)
      total.cached_input_tokens = int_at(u, "cache_read_input_tokens");
    if (at(u, "cache_creation_input_tokens") != nullptr)
      total.cache_write_tokens = int_at(u, "cache_creation_input_tokens");
    if (at(u, "output_tokens") != nullptr) total.output_tokens = int_at(u, "output_tokens");
    total.input_tokens = fresh_ + total.cached_input_tokens + total.cache_write_tokens;
  }

  static void start(Block& b, const Value* block) {
    const std::string type = text_at(block, "type");
    if (type == "text") {
      b.part.kind = PartKind::text;
      b.part.text = text_at(block, "text");
    } else if (type == "tool_use") {
      b.part.kind = PartKind::tool_call;
      b.part.id = text_at(block, "id");
      b.part.name = text_at(block, "name");
      const Value* input = at(block, "input");
      if (input != nullptr && input->kind() == cel::Kind::map && input->size() > 0)
        b.part.arguments = cel::to_json(*input);
    } else if (type == "thinking" || type == "redacted_thinking") {
      b.part.kind = PartKind::reasoning;
      b.part.text = text_at(block, "thinking");
      b.signature = text_at(block, "signature");
      b.redacted = text_at(block, "data");
    }
  }

  void delta(int64_t index, const Value* d, std::vector<Delta>& out) {
    const auto it = blocks_.find(index);
    if (it == blocks_.end())
      return fail(malformed("the stream goes on with a part of the answer that did not begin"));
    Block& b = it->second;
    const auto piece = [&](Delta::Kind kind, std::string text) {
      out.push_back({.kind = kind,
                     .text = std::move(text),
                     .index = static_cast<uint32_t>(index),
                     .call_id = b.part.id,
                     .name = b.part.name});
    };
    const std::string type = text_at(d, "type");
    if (type == "text_delta") {
      b.part.text += text_at(d, "text");
      piece(Delta::Kind::text, text_at(d, "text"));
    } else if (type == "thinking_delta") {
      b.part.text += text_at(d, "thinking");
      piece(Delta::Kind::reasoning, text_at(d, "thinking"));
    } else if (type == "signature_delta") {
      b.signature += text_at(d, "signature");
    } else if (type == "input_json_delta") {
      b.part.arguments += text_at(d, "partial_json");
      // A typed answer is shown as what it is: text.
      piece(b.part.name == answer_tool ? Delta::Kind::text : Delta::Kind::tool_call,
            text_at(d, "partial_json"));
    }
  }

  void stopped(const std::string& why) {
    if (why == "max_tokens" || why == "model_context_window_exceeded")
      answer_.stop = StopReason::length;
    if (why == "refusal") answer_.stop = StopReason::refusal;
    if (why == "tool_use") answer_.stop = StopReason::tool_calls;
  }

  void end() override {
    for (auto& [index, b] : blocks_) {
      Part& p = b.part;
      if (p.kind == PartKind::tool_call && p.name == answer_tool) {
        p = {.kind = PartKind::text, .text = p.arguments.empty() ? "{}" : p.arguments};
        if (answer_.stop == StopReason::tool_calls) answer_.stop = StopReason::end;
      } else if (p.kind == PartKind::reasoning) {
        thought(b);
      }
      if (p.kind == PartKind::text && p.text.empty()) continue;
      answer_.message.parts.push_back(std::move(p));
    }
    for (const Part& p : answer_.message.parts) {
      if (p.kind == PartKind::tool_call && answer_.stop == StopReason::end)
        answer_.stop = StopReason::tool_calls;
    }
  }
  static void thought(Block& b) {
    b.part.provider = name;
    if (b.signature.empty() && b.redacted.empty()) return;
    JsonWriter out;
    out.begin_object();
    out.key("type"), out.string(b.redacted.empty() ? "thinking" : "redacted_thinking");
    if (b.redacted.empty()) {
      out.key("thinking"), out.string(b.part.text);
      out.key("signature"), out.string(b.signature);
    } else {
      out.key("data"), out.string(b.redacted);
    }
    out.end_object();
    b.part.opaque = out.take();
  }

  std::map<int64_t, Block> blocks_;
  bool started_ = false;
  int64_t fresh_ = 0;
};

class Anthropic final : public Dialect {
 public:
  std::string_view provider() const override { return name; }
  std::string_view default_base_url() const override { return "https://api.anthropic.com"; }
  std::string_view key_variable() const override { return "ANTHROPIC_API_KEY"; }

  Result<WireRequest> encode(const ModelRequest& r, const Endpoint& endpoint) const override {
    if (endpoint.kept) return unsupported(provider(), "previous_response_id");
    if (r.model.seed) return unsupported(name, "seed");
    // What they think counts as output: it comes on top of what the answer may be.
    const int64_t thinking = thinking_budget(r.model.reasoning_effort);
    const Thinking way = thinking_of(r.model.id);
    const bool off = r.model.reasoning_effort == "none";
    const bool thinks = thinking > 0 || (way == Thinking::always && !off);
    JsonWriter out;
    out.begin_object();
    out.key("model"), out.string(r.model.id);
    out.key("max_tokens");
    out.integer(r.model.max_output_tokens.value_or(default_max_tokens) + thinking);
    if (!r.system.empty()) {
      out.key("system");
      out.begin_array();
      out.begin_object();
      out.key("type"), out.string("text");
      out.key("text"), out.string(r.system);
      cache_here(out);
      out.end_object();
      out.end_array();
    }
    messages(out, r.messages, !r.tools.empty() || r.messages.size() > 1);
    tools(out, r, thinks);
    if (thinks || (way == Thinking::always && off)) think(out, r, way, thinking);
    if (!thinks) {
      if (r.model.temperature) out.key("temperature"), out.number(*r.model.temperature);
      if (r.model.top_p) out.key("top_p"), out.number(*r.model.top_p);
    }
    if (!r.model.stop.empty()) {
      out.key("stop_sequences");
      out.begin_array();
      for (const std::string& s : r.model.stop) out.string(s);
      out.end_array();
    }
    if (endpoint.stream) out.key("stream"), out.boolean(true);
    out.end_object();

    WireRequest request{.body = out.take()};
    request.url =
        (endpoint.base_url.empty() ? std::string(default_base_url()) : endpoint.base_url) +
        "/v1/messages";
    request.headers = {{"Content-Type", "application/json"}, {"anthropic-version", "2023-06-01"}};
    if (!endpoint.api_key.empty()) request.headers.emplace_back("x-api-key", endpoint.api_key);
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
    return classify(status, headers, text_at(error, "type"),
                    message.empty() ? clipped(body, 200) : message);
  }

 private:
  static void think(JsonWriter& out, const ModelRequest& r, Thinking way, int64_t budget) {
    const std::string& effort = r.model.reasoning_effort;
    out.key("thinking");
    out.begin_object();
    out.key("type");
    if (effort == "none") {
      out.string("disabled");
      return out.end_object();
    }
    if (way == Thinking::budget) {
      out.string("enabled");
      out.key("budget_tokens"), out.integer(budget);
      return out.end_object();
    }
    out.string("adaptive");
    out.key("display"), out.string("summarized");
    out.end_object();
    if (effort.empty()) return;
    out.key("output_config");
    out.begin_object();
    out.key("effort"), out.string(effort == "minimal" ? "low" : effort);
    out.end_object();
  }

  static void tools(JsonWriter& out, const ModelRequest& r, bool thinks) {
    const bool typed = !r.output_schema.empty();
    if (r.tools.empty() && !typed) return;
    out.key("tools");
    out.begin_array();
    for (size_t i = 0; i < r.tools.size(); ++i) {
      const conversation::ToolSpec& t = r.tools[i];
      out.begin_object();
      out.key("name"), out.string(t.name);
      if (!t.description.empty()) out.key("description"), out.string(t.description);
      out.key("input_schema"), out.raw(plain_schema(t.schema));
      if (i + 1 == r.tools.size()) cache_here(out);
      out.end_object();
    }
    if (typed) {
      out.begin_object();
      out.key("name"), out.string(answer_tool);
      out.key("description"), out.string("Gives the final answer. Call it once, at the end.");
      out.key("input_schema"), out.raw(plain_schema(r.output_schema));
      out.end_object();
    }
    out.end_array();
    // A model that thinks cannot be made to call one.
    const bool must = (typed || r.tool_choice == conversation::ToolChoice::required) && !thinks;
    out.key("tool_choice");
    out.begin_object();
    out.key("type");
    out.string(r.tool_choice == conversation::ToolChoice::none && !typed ? "none"
               : must                                                    ? "any"
                                                                         : "auto");
    if (!r.parallel_tools) out.key("disable_parallel_tool_use"), out.boolean(true);
    out.end_object();
  }
};

}  // namespace

const Dialect& anthropic() {
  static const Anthropic dialect;
  return dialect;
}

}  // namespace kflow::models
