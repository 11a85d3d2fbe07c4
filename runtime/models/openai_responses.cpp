// OpenAI's Responses API (POST /responses).
#include <algorithm>
#include <span>

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

constexpr std::string_view name = "openai";

// Their thinking is kept, encrypted, between turns; other models refuse to be asked for it.
bool reasons(const ModelRequest& r) {
  const std::string& id = r.model.id;
  return !r.model.reasoning_effort.empty() || id.starts_with("gpt-5") ||
         (id.size() > 1 && id[0] == 'o' && id[1] >= '1' && id[1] <= '9');
}

// What the provider has of a conversation: the messages up to its last answer that it kept, which
// says so by a part that holds nothing but the id (Reader::document).
struct Kept {
  size_t messages = 0;
  std::string id;
};
bool is_id(const Part& p) {
  return p.kind == PartKind::reasoning && p.provider == name && !p.id.empty();
}
Kept kept_beginning(const ModelRequest& r) {
  for (size_t n = r.messages.size(); n > 0; --n) {
    const auto& parts = r.messages[n - 1].parts;
    const auto id = std::ranges::find_if(parts, is_id);
    if (id != parts.end() && n < r.messages.size()) return {.messages = n, .id = id->id};
  }
  return {};
}

void content(JsonWriter& out, const Part& p) {
  out.begin_object();
  if (p.kind == PartKind::media) {
    const bool image = p.media_type.starts_with("image/") || p.media_type.empty();
    out.key("type"), out.string(image ? "input_image" : "input_file");
    if (image) {
      out.key("image_url"), out.string(data_url(p));
    } else {
      if (!p.filename.empty()) out.key("filename"), out.string(p.filename);
      out.key(p.url.empty() ? "file_data" : "file_url"), out.string(data_url(p));
    }
  } else {
    out.key("type"), out.string("input_text");
    out.key("text"), out.string(p.text);
  }
  out.end_object();
}

void message(JsonWriter& out, const Message& m) {
  if (m.role == Role::user) {
    out.begin_object();
    out.key("role"), out.string("user");
    out.key("content");
    out.begin_array();
    for (const Part& p : m.parts) content(out, p);
    out.end_array();
    return out.end_object();
  }
  for (const Part& p : m.parts) {
    switch (p.kind) {
      case PartKind::reasoning:
        if (p.provider == name && !p.opaque.empty()) out.raw(object_or_empty(p.opaque));
        break;
      case PartKind::text:
      case PartKind::refusal:
        out.begin_object();
        out.key("type"), out.string("message");
        out.key("role"), out.string("assistant");
        out.key("content");
        out.begin_array();
        out.begin_object();
        out.key("type"), out.string(p.kind == PartKind::text ? "output_text" : "refusal");
        out.key(p.kind == PartKind::text ? "text" : "refusal"), out.string(p.text);
        out.end_object();
        out.end_array();
        out.end_object();
        break;
      case PartKind::tool_call:
        out.begin_object();
        out.key("type"), out.string("function_call");
        out.key("call_id"), out.string(p.id);
        out.key("name"), out.string(p.name);
        out.key("arguments"), out.string(p.arguments);
        out.end_object();
        break;
      case PartKind::tool_result:
        out.begin_object();
        out.key("type"), out.string("function_call_output");
        out.key("call_id"), out.string(p.id);
        out.key("output"), out.string(p.is_error ? "error: " + p.text : p.text);
        out.end_object();
        break;
      case PartKind::media:
        break;
    }
  }
}

class Reader final : public JsonReader {
 public:
  using JsonReader::JsonReader;

 private:
  void event(std::string_view event_name, const Value& data, std::vector<Delta>& out) override {
    std::string type = text_at(&data, "type");
    if (type.empty()) type = event_name;
    const auto piece = [&](Delta::Kind kind) {
      out.push_back({.kind = kind,
                     .text = text_at(&data, "delta"),
                     .index = static_cast<uint32_t>(int_at(&data, "output_index")),
                     .call_id = text_at(&data, "item_id"),
                     .name = ""});
    };
    if (complete_) return;
    if (type == "response.created") {
      if (created_) return fail(malformed("the stream began again in its middle"));
      created_ = true;
    } else if (type == "response.output_text.delta") {
      piece(Delta::Kind::text);
    } else if (type == "response.reasoning_summary_text.delta" ||
               type == "response.reasoning_text.delta") {
      piece(Delta::Kind::reasoning);
    } else if (type == "response.reasoning_summary_part.added") {
      if (int_at(&data, "summary_index") > 0)
        out.push_back({.kind = Delta::Kind::reasoning,
                       .text = std::string(between_summaries),
                       .index = static_cast<uint32_t>(int_at(&data, "output_index")),
                       .call_id = text_at(&data, "item_id"),
                       .name = ""});
    } else if (type == "response.output_item.done") {
      if (const Value* item = at(data, "item"); item != nullptr && items_.size() < max_items)
        items_.push_back(*item);
    } else if (type == "response.refusal.delta") {
      piece(Delta::Kind::refusal);
    } else if (type == "response.function_call_arguments.delta") {
      piece(Delta::Kind::tool_call);
    } else if (type == "response.completed" || type == "response.incomplete" ||
               type == "response.failed") {
      if (const Value* response = at(data, "response")) document(*response);
    } else if (type == "error") {
      const Value* inner = at(data, "error");
      const Value* from = inner != nullptr ? inner : &data;
      fail(classify(0, text_at(from, "code") + " " + text_at(from, "type"),
                    text_at(from, "message")));
    }
  }

  void document(const Value& r) override {
    if (const Value* error = at(r, "error"); error != nullptr && error->kind() == cel::Kind::map)
      return fail(classify(0, text_at(error, "code"), text_at(error, "message")));
    const std::string status = text_at(&r, "status");
    answer_.response_id = text_at(&r, "id");
    answer_.model = text_at(&r, "model");
    const Value* usage = at(r, "usage");
    answer_.usage = {
        .input_tokens = int_at(usage, "input_tokens"),
        .cached_input_tokens = int_at(at(usage, "input_tokens_details"), "cached_tokens"),
        .output_tokens = int_at(usage, "output_tokens"),
        .reasoning_tokens = int_at(at(usage, "output_tokens_details"), "reasoning_tokens")};
    // Some servers end a stream with a response that does not hold what they have sent.
    const auto all = items(at(r, "output"));
    for (const Value& item : all.empty() ? std::span<const Value>(items_) : all) output(item);
    bool called = false;
    bool refused = false;
    for (const Part& p : answer_.message.parts) {
      called = called || p.kind == PartKind::tool_call;
      refused = refused || p.kind == PartKind::refusal;
    }
    answer_.stop = called    ? StopReason::tool_calls
                   : refused ? StopReason::refusal
                             : StopReason::end;
    if (status == "incomplete") {
      const std::string why = text_at(at(r, "incomplete_details"), "reason");
      answer_.stop = why == "content_filter" ? StopReason::content_filter : StopReason::length;
    }
    // Only what the server says it has kept can be referred to: some are told to keep nothing.
    const Value* stored = at(r, "store");
    if (stored != nullptr && stored->kind() == cel::Kind::boolean && stored->as_bool() &&
        status == "completed" && !answer_.response_id.empty())
      answer_.message.parts.push_back(
          {.kind = PartKind::reasoning, .id = answer_.response_id, .provider = std::string(name)});
    complete_ = status == "completed" || status == "incomplete";
    if (status == "failed" || status == "cancelled")
      fail(classify(0, "server_error", "the response has " + status));
  }

  void output(const Value& item) {
    const std::string type = text_at(&item, "type");
    if (type == "message") {
      for (const Value& c : items(at(item, "content"))) {
        const bool refusal = text_at(&c, "type") == "refusal";
        const std::string text = text_at(&c, refusal ? "refusal" : "text");
        if (!text.empty())
          answer_.message.parts.push_back(
              {.kind = refusal ? PartKind::refusal : PartKind::text, .text = text});
      }
    } else if (type == "function_call") {
      Part call{.kind = PartKind::tool_call};
      call.id = text_at(&item, "call_id");
      call.name = text_at(&item, "name");
      call.arguments = text_at(&item, "arguments");
      answer_.message.parts.push_back(std::move(call));
    } else if (type == "reasoning") {
      Part thought{.kind = PartKind::reasoning};
      const auto add = [&](const Value& v) {
        if (!thought.text.empty()) thought.text += between_summaries;
        thought.text += text_at(&v, "text");
      };
      for (const Value& s : items(at(item, "summary"))) add(s);
      if (thought.text.empty()) {  // open models show all they think
        for (const Value& c : items(at(item, "content"))) add(c);
      }
      thought.provider = name;
      // Only encrypted thinking can be given back: nothing is stored at the provider.
      if (!text_at(&item, "encrypted_content").empty()) thought.opaque = cel::to_json(item);
      if (!thought.text.empty() || !thought.opaque.empty())
        answer_.message.parts.push_back(std::move(thought));
    }
  }

  static constexpr std::string_view between_summaries = "\n\n";
  static constexpr size_t max_items = 4 * max_tool_calls;
  bool created_ = false;
  std::vector<Value> items_;  ///< of the output, as they were complete
};

class OpenAiResponses final : public Dialect {
 public:
  std::string_view provider() const override { return name; }
  std::string_view default_base_url() const override { return "https://api.openai.com/v1"; }
  std::string_view key_variable() const override { return "OPENAI_API_KEY"; }

  Result<WireRequest> encode(const ModelRequest& r, const Endpoint& endpoint) const override {
    const Kept beginning = endpoint.kept && !endpoint.whole ? kept_beginning(r) : Kept{};
    if (r.model.seed) return unsupported(name, "seed");
    if (!r.model.stop.empty()) return unsupported(name, "stop");
    JsonWriter out;
    out.begin_object();
    out.key("model"), out.string(r.model.id);
    if (!r.system.empty()) out.key("instructions"), out.string(r.system);
    out.key("input");
    out.begin_array();
    for (const Message& m : std::span(r.messages).subspan(beginning.messages)) message(out, m);
    out.end_array();
    if (!beginning.id.empty()) out.key("previous_response_id"), out.string(beginning.id);
    if (!r.tools.empty()) tools(out, r);
    if (!r.output_schema.empty()) format(out, r);
    if (reasons(r)) {
      out.key("reasoning");
      out.begin_object();
      if (!r.model.reasoning_effort.empty())
        out.key("effort"), out.string(r.model.reasoning_effort);
      if (r.model.reasoning_effort != "none") out.key("summary"), out.string("auto");
      out.end_object();
      out.key("include");
      out.begin_array();
      out.string("reasoning.encrypted_content");
      out.end_array();
    }
    if (r.model.temperature) out.key("temperature"), out.number(*r.model.temperature);
    if (r.model.top_p) out.key("top_p"), out.number(*r.model.top_p);
    if (r.model.max_output_tokens)
      out.key("max_output_tokens"), out.integer(*r.model.max_output_tokens);
    out.key("store"), out.boolean(endpoint.kept);
    if (endpoint.stream) out.key("stream"), out.boolean(true);
    out.end_object();
    return bearer_request(*this, "/responses", endpoint, out.take());
  }

  std::unique_ptr<AnswerReader> reader(bool stream) const override {
    return std::make_unique<Reader>(stream);
  }
  ModelError error(int status, const Headers& headers, std::string_view body) const override {
    return openai_error(status, headers, body);
  }
  bool forgot(int status, std::string_view body) const override {
    if (status != 400 && status != 404) return false;
    const Value v = read_json(body);
    const Value* error = at(v, "error");
    return error != nullptr && (text_at(error, "code") == "previous_response_not_found" ||
                                text_at(error, "param") == "previous_response_id");
  }

 private:
  static void tools(JsonWriter& out, const ModelRequest& r) {
    out.key("tools");
    out.begin_array();
    for (const conversation::ToolSpec& t : r.tools) {
      const auto strict = strict_schema(t.schema);
      out.begin_object();
      out.key("type"), out.string("function");
      out.key("name"), out.string(t.name);
      out.key("description"), out.string(t.description);
      out.key("parameters"), out.raw(strict ? *strict : plain_schema(t.schema));
      out.key("strict"), out.boolean(strict.has_value());
      out.end_object();
    }
    out.end_array();
    if (r.tool_choice != conversation::ToolChoice::automatic)
      out.key("tool_choice"), out.string(tool_choice_name(r.tool_choice));
    if (!r.parallel_tools) out.key("parallel_tool_calls"), out.boolean(false);
  }
  static void format(JsonWriter& out, const ModelRequest& r) {
    const auto strict = strict_schema(r.output_schema);
    out.key("text");
    out.begin_object();
    out.key("format");
    out.begin_object();
    out.key("type"), out.string("json_schema");
    out.key("name"), out.string(schema_name(r.output_name));
    out.key("schema"), out.raw(strict ? *strict : plain_schema(r.output_schema));
    out.key("strict"), out.boolean(strict.has_value());
    out.end_object();
    out.end_object();
  }
};

}  // namespace

const Dialect& openai_responses() {
  static const OpenAiResponses dialect;
  return dialect;
}

}  // namespace kflow::models
