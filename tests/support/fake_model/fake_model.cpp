// The stand-in's wire formats.
#include "tests/support/fake_model/fake_model.hpp"

#include <algorithm>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "tests/support/fake_model/wire.hpp"

namespace kflow::test {
namespace {

using cel::Value;

std::string empty_stamp(size_t n) {
  std::string number = std::to_string(n);
  number.insert(0, stamp_digits - number.size(), '0');
  return number + "@" + std::string(stamp_clock_digits, '0') + ";";
}

std::string quoted(std::string_view s) {
  std::string out;
  append_json_string(out, s);
  return out;
}

// Pieces of a text as a model would stream it; characters are never cut, words are.
std::vector<std::string> pieces(const std::string& text, size_t size) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    size_t end = std::min(text.size(), i + size);
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    out.push_back(text.substr(i, end - i));
    i = end;
  }
  return out;
}

struct Call {
  std::string id, name, arguments;
};

struct Content {
  std::string text, reasoning, stop;
  std::string kept;        // id under which the answer is kept (openai)
  size_t piece = 5;  // octets of text a delta
  std::vector<Call> calls;
  int64_t input = 12, output = 7;  // tokens
};

Content content_of(const Value& answer) {
  Content out{.text = text_at(&answer, "text"),
              .reasoning = text_at(&answer, "reasoning"),
              .stop = text_at(&answer, "stop"),
              .kept = text_at(&answer, "kept"),
              .piece = static_cast<size_t>(std::max<int64_t>(1, int_at(&answer, "piece", 5)))};
  out.input = int_at(at(&answer, "usage"), "input", out.input);
  out.output = int_at(at(&answer, "usage"), "output", out.output);
  if (const int64_t stamps = int_at(&answer, "stamps", 0); stamps > 0) {
    out.piece = stamp_size;
    for (int64_t i = 0; i < stamps; ++i) out.text += empty_stamp(static_cast<size_t>(i));
  }
  if (const Value* calls = at(&answer, "calls")) {
    for (const Value& c : calls->as_list()) {
      const Value* arguments = at(&c, "arguments");
      out.calls.push_back({"call_" + std::to_string(out.calls.size() + 1), text_at(&c, "name"),
                           arguments == nullptr ? "{}"
                           : arguments->kind() == cel::Kind::string
                               ? std::string(arguments->as_string())
                               : cel::to_json(*arguments)});
    }
  }
  return out;
}

std::string sse(std::string_view event, const std::string& data) {
  return (event.empty() ? "" : "event: " + std::string(event) + "\n") + "data: " + data + "\n\n";
}

constexpr std::string_view chat_usage =
    R"({"prompt_tokens":12,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3}})";

std::string chat_calls(const Content& c, bool streamed) {
  std::string out;
  for (size_t i = 0; i < c.calls.size(); ++i) {
    out += (out.empty() ? "" : ",") + std::string("{") +
           (streamed ? "\"index\":" + std::to_string(i) + "," : "") +
           "\"id\":" + quoted(c.calls[i].id) +
           ",\"type\":\"function\",\"function\":{\"name\":" + quoted(c.calls[i].name) +
           ",\"arguments\":" + quoted(c.calls[i].arguments) + "}}";
  }
  return "[" + out + "]";
}

std::string chat(const Content& c, bool stream) {
  const std::string reason = c.stop == "length"           ? "length"
                             : c.stop == "content_filter" ? "content_filter"
                             : !c.calls.empty()           ? "tool_calls"
                                                          : "stop";
  const auto chunk = [&](const std::string& delta, const std::string& finish) {
    return sse(
        "",
        R"({"id":"chatcmpl-1","object":"chat.completion.chunk","model":"fake","choices":[{"index":0,"delta":)" +
            delta + ",\"finish_reason\":" + finish + "}]}");
  };
  if (stream) {
    std::string out = chunk(R"({"role":"assistant","content":""})", "null");
    for (const std::string& p : pieces(c.reasoning, c.piece))
      out += chunk("{\"reasoning_content\":" + quoted(p) + "}", "null");
    for (const std::string& p : pieces(c.text, c.piece))
      out += chunk("{\"content\":" + quoted(p) + "}", "null");
    if (!c.calls.empty()) out += chunk("{\"tool_calls\":" + chat_calls(c, true) + "}", "null");
    out += chunk("{}", quoted(reason));
    out += sse("", R"({"id":"chatcmpl-1","model":"fake","choices":[],"usage":)" +
                       std::string(chat_usage) + "}");
    return out + "data: [DONE]\n\n";
  }
  return R"({"id":"chatcmpl-1","object":"chat.completion","model":"fake","choices":[{"index":0,"message":{"role":"assistant","content":)" +
         (c.text.empty() && !c.calls.empty() ? "null" : quoted(c.text)) +
         (c.calls.empty() ? "" : ",\"tool_calls\":" + chat_calls(c, false)) +
         "},\"finish_reason\":" + quoted(reason) + "}],\"usage\":" + std::string(chat_usage) + "}";
}

std::string responses(const Content& c, bool stream) {
  std::vector<std::string> items;
  if (!c.reasoning.empty())
    items.push_back(
        R"({"type":"reasoning","id":"rs_1","encrypted_content":"gAAA","summary":[{"type":"summary_text","text":)" +
        quoted(c.reasoning) + "}]}");
  if (!c.text.empty() || c.calls.empty()) {
    items.push_back(
        c.stop == "refusal"
            ? R"({"type":"message","id":"msg_1","role":"assistant","content":[{"type":"refusal","refusal":)" +
                  quoted(c.text) + "}]}"
            : R"({"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","annotations":[],"text":)" +
                  quoted(c.text) + "}]}");
  }
  for (const Call& call : c.calls)
    items.push_back(R"({"type":"function_call","id":"fc_1","call_id":)" + quoted(call.id) +
                    ",\"name\":" + quoted(call.name) + ",\"arguments\":" + quoted(call.arguments) +
                    "}");
  std::string list;
  for (const std::string& i : items) list += (list.empty() ? "" : ",") + i;
  const bool cut = c.stop == "length";
  const std::string whole =
      "{\"id\":" + quoted(c.kept.empty() ? "resp_1" : c.kept) +
      ",\"store\":" + (c.kept.empty() ? "false" : "true") +
      R"(,"object":"response","model":"fake","status":")" +
      std::string(cut ? "incomplete" : "completed") +
      (cut ? R"(","incomplete_details":{"reason":"max_output_tokens"},"output":[)"
           : R"(","incomplete_details":null,"output":[)") +
      list + R"(],"usage":{"input_tokens":)" + std::to_string(c.input) +
      R"(,"input_tokens_details":{"cached_tokens":3},"output_tokens":)" + std::to_string(c.output) +
      R"(,"output_tokens_details":{"reasoning_tokens":2}}})";
  if (!stream) return whole;
  std::string out =
      sse("response.created",
          R"({"type":"response.created","response":{"id":"resp_1","status":"in_progress"}})");
  for (const std::string& p : pieces(c.reasoning, c.piece))
    out += sse(
        "response.reasoning_summary_text.delta",
        R"({"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"delta":)" +
            quoted(p) + "}");
  for (const std::string& p : pieces(c.stop == "refusal" ? "" : c.text, c.piece))
    out +=
        sse("response.output_text.delta",
            R"({"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"delta":)" +
                quoted(p) + "}");
  const std::string last = cut ? "response.incomplete" : "response.completed";
  return out + sse(last, "{\"type\":\"" + last + "\",\"response\":" + whole + "}");
}

std::string anthropic(const Content& c, bool stream) {
  const std::string reason = c.stop == "length"    ? "max_tokens"
                             : c.stop == "refusal" ? "refusal"
                             : !c.calls.empty()    ? "tool_use"
                                                   : "end_turn";
  constexpr std::string_view usage =
      R"({"input_tokens":9,"cache_read_input_tokens":3,"cache_creation_input_tokens":0,"output_tokens":7})";
  if (!stream) {
    std::string blocks;
    const auto add = [&](const std::string& b) { blocks += (blocks.empty() ? "" : ",") + b; };
    if (!c.reasoning.empty())
      add(R"({"type":"thinking","thinking":)" + quoted(c.reasoning) + R"(,"signature":"sig"})");
    if (!c.text.empty()) add(R"({"type":"text","text":)" + quoted(c.text) + "}");
    for (const Call& call : c.calls)
      add(R"({"type":"tool_use","id":)" + quoted(call.id) + ",\"name\":" + quoted(call.name) +
          ",\"input\":" + call.arguments + "}");
    return R"({"id":"msg_1","type":"message","role":"assistant","model":"fake","content":[)" +
           blocks + "],\"stop_reason\":" + quoted(reason) + ",\"usage\":" + std::string(usage) +
           "}";
  }
  std::string out = sse(
      "message_start",
      R"({"type":"message_start","message":{"id":"msg_1","model":"fake","content":[],"usage":{"input_tokens":9,"cache_read_input_tokens":3,"cache_creation_input_tokens":0,"output_tokens":1}}})");
  int index = 0;
  const auto block = [&](const std::string& start, const std::vector<std::string>& deltas) {
    const std::string i = std::to_string(index++);
    out += sse("content_block_start", R"({"type":"content_block_start","index":)" + i +
                                          ",\"content_block\":" + start + "}");
    for (const std::string& d : deltas)
      out += sse("content_block_delta",
                 R"({"type":"content_block_delta","index":)" + i + ",\"delta\":" + d + "}");
    out += sse("content_block_stop", R"({"type":"content_block_stop","index":)" + i + "}");
  };
  if (!c.reasoning.empty()) {
    std::vector<std::string> deltas;
    for (const std::string& p : pieces(c.reasoning, c.piece))
      deltas.push_back(R"({"type":"thinking_delta","thinking":)" + quoted(p) + "}");
    deltas.emplace_back(R"({"type":"signature_delta","signature":"sig"})");
    block(R"({"type":"thinking","thinking":""})", deltas);
  }
  out += sse("ping", R"({"type":"ping"})");
  if (!c.text.empty()) {
    std::vector<std::string> deltas;
    for (const std::string& p : pieces(c.text, c.piece))
      deltas.push_back(R"({"type":"text_delta","text":)" + quoted(p) + "}");
    block(R"({"type":"text","text":""})", deltas);
  }
  for (const Call& call : c.calls) {
    std::vector<std::string> deltas;
    for (const std::string& p : pieces(call.arguments, c.piece))
      deltas.push_back(R"({"type":"input_json_delta","partial_json":)" + quoted(p) + "}");
    block(R"({"type":"tool_use","id":)" + quoted(call.id) + ",\"name\":" + quoted(call.name) +
              ",\"input\":{}}",
          deltas);
  }
  out += sse("message_delta", R"({"type":"message_delta","delta":{"stop_reason":)" +
                                  quoted(reason) + R"(},"usage":{"output_tokens":7}})");
  return out + sse("message_stop", R"({"type":"message_stop"})");
}

std::string gemini(const Content& c, bool stream) {
  const std::string reason = c.stop == "length"    ? "MAX_TOKENS"
                             : c.stop == "refusal" ? "SAFETY"
                                                   : "STOP";
  constexpr std::string_view usage =
      R"("usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2},"modelVersion":"fake","responseId":"r1")";
  std::vector<std::string> parts;
  for (const std::string& p : pieces(c.reasoning, c.piece))
    parts.push_back("{\"thought\":true,\"text\":" + quoted(p) + "}");
  for (const std::string& p : pieces(c.text, c.piece))
    parts.push_back("{\"text\":" + quoted(p) + "}");
  for (const Call& call : c.calls)
    parts.push_back("{\"functionCall\":{\"name\":" + quoted(call.name) +
                    ",\"args\":" + call.arguments + "},\"thoughtSignature\":\"c2ln\"}");
  const auto document = [&](const std::string& list, bool last) {
    return R"({"candidates":[{"content":{"role":"model","parts":[)" + list + "]}" +
           (last ? ",\"finishReason\":" + quoted(reason) : "") + ",\"index\":0}]," +
           std::string(usage) + "}";
  };
  if (!stream) {
    std::string list;
    for (const std::string& p : parts) list += (list.empty() ? "" : ",") + p;
    return document(list, true);
  }
  std::string out;
  for (const std::string& p : parts) out += sse("", document(p, false));
  return out + sse("", document("", true));
}

// Whether a tool by that name is offered: how one provider takes typed answers.
bool offers(const std::string& body, std::string_view tool) {
  return body.find("\"name\":\"" + std::string(tool) + "\"") != std::string::npos;
}

}  // namespace

std::string model_body(std::string_view provider, const Value& answer, bool stream) {
  const Content c = content_of(answer);
  if (provider == "openai") return responses(c, stream);
  if (provider == "openai_chat") return chat(c, stream);
  return provider == "anthropic" ? anthropic(c, stream) : gemini(c, stream);
}

// What a request is answered with: which provider's words they are is in the path.
std::optional<std::string> wire_answer(const std::string& path, const std::string& asked,
                                       const Value& answer, bool& stream) {
  Content c = content_of(answer);
  const bool google = path.find(":streamGenerateContent") != std::string::npos;
  stream = google || asked.find("\"stream\":true") != std::string::npos;
  if (path.ends_with("/chat/completions")) return chat(c, stream);
  if (path.ends_with("/responses")) return responses(c, stream);
  if (path.ends_with("/messages")) {
    if (offers(asked, "give_answer") && c.calls.empty() && c.text.starts_with("{")) {
      c.calls.push_back({"toolu_1", "give_answer", c.text});
      c.text.clear();
    }
    return anthropic(c, stream);
  }
  if (path.find(":generateContent") != std::string::npos || google) return gemini(c, stream);
  return std::nullopt;
}

std::string error_body(const Value& error) {
  return "{\"type\":\"error\",\"error\":{\"type\":" + quoted(text_at(&error, "code")) +
         ",\"code\":" + quoted(text_at(&error, "code")) +
         ",\"status\":" + quoted(text_at(&error, "code")) +
         ",\"message\":" + quoted(text_at(&error, "message")) + "}}";
}

std::string text_at(const Value* v, std::string_view name) {
  const Value* x = v != nullptr && v->kind() == cel::Kind::map ? v->find(name) : nullptr;
  return x != nullptr && x->kind() == cel::Kind::string ? std::string(x->as_string()) : "";
}
const Value* at(const Value* v, std::string_view name) {
  return v != nullptr && v->kind() == cel::Kind::map ? v->find(name) : nullptr;
}
int64_t int_at(const Value* v, std::string_view name, int64_t fallback) {
  const Value* x = at(v, name);
  return x != nullptr && x->kind() == cel::Kind::int_ ? x->as_int() : fallback;
}

// The last thing a user said, wherever the dialect keeps it.
std::string last_text(const Value& request) {
  std::string out;
  for (const char* key : {"messages", "input", "contents"}) {
    const Value* list = at(&request, key);
    if (list == nullptr || list->kind() != cel::Kind::list) continue;
    for (const Value& m : list->as_list()) {
      if (text_at(&m, "role") != "user") continue;
      const Value* content = at(&m, "content");
      if (content == nullptr) content = at(&m, "parts");
      if (content != nullptr && content->kind() == cel::Kind::string) out = content->as_string();
      if (content == nullptr || content->kind() != cel::Kind::list) continue;
      for (const Value& p : content->as_list()) {
        if (!text_at(&p, "text").empty()) out = text_at(&p, "text");
      }
    }
  }
  return out;
}

}  // namespace kflow::test
