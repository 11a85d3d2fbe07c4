// The stand-in's wire formats.
#include "tests/support/fake_model/fake_model.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::test {
namespace {

using cel::Value;

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

std::string quoted(std::string_view s) {
  std::string out;
  append_json_string(out, s);
  return out;
}

// Pieces of a text as a model would stream it; characters are never cut, words are.
std::vector<std::string> pieces(const std::string& text, size_t size = 5) {
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
  std::vector<Call> calls;
  int64_t input = 12, output = 7;  // tokens
};

Content content_of(const Value& answer) {
  Content out{.text = text_at(&answer, "text"),
              .reasoning = text_at(&answer, "reasoning"),
              .stop = text_at(&answer, "stop")};
  out.input = int_at(at(&answer, "usage"), "input", out.input);
  out.output = int_at(at(&answer, "usage"), "output", out.output);
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
    for (const std::string& p : pieces(c.reasoning))
      out += chunk("{\"reasoning_content\":" + quoted(p) + "}", "null");
    for (const std::string& p : pieces(c.text))
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
      R"({"id":"resp_1","object":"response","model":"fake","status":")" +
      std::string(cut ? "incomplete" : "completed") +
      (cut ? R"(","incomplete_details":{"reason":"max_output_tokens"},"output":[)"
           : R"(","incomplete_details":null,"output":[)") +
      list +
      R"(],"usage":{"input_tokens":)" + std::to_string(c.input) +
      R"(,"input_tokens_details":{"cached_tokens":3},"output_tokens":)" + std::to_string(c.output) +
      R"(,"output_tokens_details":{"reasoning_tokens":2}}})";
  if (!stream) return whole;
  std::string out =
      sse("response.created",
          R"({"type":"response.created","response":{"id":"resp_1","status":"in_progress"}})");
  for (const std::string& p : pieces(c.reasoning))
    out += sse(
        "response.reasoning_summary_text.delta",
        R"({"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"delta":)" +
            quoted(p) + "}");
  for (const std::string& p : pieces(c.stop == "refusal" ? "" : c.text))
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
    for (const std::string& p : pieces(c.reasoning))
      deltas.push_back(R"({"type":"thinking_delta","thinking":)" + quoted(p) + "}");
    deltas.emplace_back(R"({"type":"signature_delta","signature":"sig"})");
    block(R"({"type":"thinking","thinking":""})", deltas);
  }
  out += sse("ping", R"({"type":"ping"})");
  if (!c.text.empty()) {
    std::vector<std::string> deltas;
    for (const std::string& p : pieces(c.text))
      deltas.push_back(R"({"type":"text_delta","text":)" + quoted(p) + "}");
    block(R"({"type":"text","text":""})", deltas);
  }
  for (const Call& call : c.calls) {
    std::vector<std::string> deltas;
    for (const std::string& p : pieces(call.arguments))
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
  for (const std::string& p : pieces(c.reasoning))
    parts.push_back("{\"thought\":true,\"text\":" + quoted(p) + "}");
  for (const std::string& p : pieces(c.text)) parts.push_back("{\"text\":" + quoted(p) + "}");
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

// Whether a tool by that name is offered: how one provider takes typed answers.
bool offers(const std::string& body, std::string_view tool) {
  return body.find("\"name\":\"" + std::string(tool) + "\"") != std::string::npos;
}

struct Request {
  std::string method, path, body;
  bool ok = false;
};

Request read_request(int fd) {
  Request out;
  std::string data;
  char buffer[16384];
  size_t head = std::string::npos;
  size_t length = 0;
  for (;;) {
    if (head == std::string::npos) {
      head = data.find("\r\n\r\n");
      if (head != std::string::npos) {
        out.method = data.substr(0, data.find(' '));
        const size_t path = out.method.size() + 1;
        out.path = data.substr(path, data.find(' ', path) - path);
        std::string lower = data.substr(0, head);
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        const size_t at = lower.find("content-length:");
        if (at != std::string::npos) length = std::strtoul(lower.c_str() + at + 15, nullptr, 10);
      }
    }
    if (head != std::string::npos && data.size() >= head + 4 + length) break;
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return out;
    data.append(buffer, static_cast<size_t>(n));
  }
  out.body = data.substr(head + 4, length);
  out.ok = true;
  return out;
}

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

std::string head(int status, const std::string& type, const std::string& more, size_t length) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: " + type +
         "\r\nConnection: keep-alive\r\n" + more +
         (length == SIZE_MAX ? "Transfer-Encoding: chunked"
                             : "Content-Length: " + std::to_string(length)) +
         "\r\n\r\n";
}

std::string chunk_of(std::string_view data) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  return size + std::string(data) + "\r\n";
}

}  // namespace

std::string model_body(std::string_view provider, const Value& answer, bool stream) {
  const Content c = content_of(answer);
  if (provider == "openai") return responses(c, stream);
  if (provider == "openai_chat") return chat(c, stream);
  return provider == "anthropic" ? anthropic(c, stream) : gemini(c, stream);
}

FakeModel::FakeModel(const std::string& script, int port) {
  if (!script.empty()) {
    auto rules = cel::from_json(script);
    if (!rules || rules->kind() != cel::Kind::list)
      throw std::runtime_error("the script of the stand-in is a list of rules");
    for (const Value& r : rules->as_list()) {
      Rule rule{.contains = text_at(&r, "contains"), .answers = {}};
      if (const Value* answers = at(&r, "answers")) {
        for (const Value& a : answers->as_list()) rule.answers.push_back(a);
      }
      if (rule.answers.empty()) throw std::runtime_error("a rule without answers");
      rules_.push_back(std::move(rule));
    }
  }
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, 1024) != 0)
    throw std::runtime_error("the stand-in cannot listen");
  socklen_t size = sizeof address;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] {
    while (!stopping_) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) break;
      const std::lock_guard guard(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  });
}

FakeModel::~FakeModel() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard guard(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& t : threads_) t.join();
  for (const int fd : open_) ::close(fd);
}

std::vector<std::string> FakeModel::requests() const {
  const std::lock_guard guard(mutex_);
  return requests_;
}

Value FakeModel::answer_to(const std::string& body) {
  const std::lock_guard guard(mutex_);
  requests_.push_back(body);
  for (Rule& rule : rules_) {
    if (!rule.contains.empty() && body.find(rule.contains) == std::string::npos) continue;
    const Value& answer = rule.answers[std::min(rule.next, rule.answers.size() - 1)];
    ++rule.next;
    return answer;
  }
  auto request = cel::from_json(body);
  return cel::make_record({{"text", Value::string(request ? last_text(*request) : "")}});
}

void FakeModel::serve(int fd) {
  while (!stopping_) {
    const Request request = read_request(fd);
    if (!request.ok) return;
    const int now = ++at_once_;
    for (int most = most_at_once_; now > most && !most_at_once_.compare_exchange_weak(most, now);) {
    }
    const bool open = answer(fd, request.path, request.body);
    --at_once_;
    if (!open) return;
  }
}

// False: the connection is not used any more.
bool FakeModel::answer(int fd, const std::string& path, const std::string& asked) {
    const Value answer = answer_to(asked);
    if (const Value* error = at(&answer, "error")) {
      const std::string body =
          "{\"type\":\"error\",\"error\":{\"type\":" + quoted(text_at(error, "code")) +
          ",\"code\":" + quoted(text_at(error, "code")) +
          ",\"status\":" + quoted(text_at(error, "code")) +
          ",\"message\":" + quoted(text_at(error, "message")) + "}}";
      const int64_t after = int_at(error, "retry_after", -1);
      const std::string more = after < 0 ? "" : "Retry-After: " + std::to_string(after) + "\r\n";
      return send_all(fd, head(static_cast<int>(int_at(error, "status", 500)), "application/json",
                               more, body.size()) +
                              body);
    }
    Content c = content_of(answer);
    const bool google = path.find(":streamGenerateContent") != std::string::npos;
    const bool stream = google || asked.find("\"stream\":true") != std::string::npos;
    std::string body;
    if (path.ends_with("/chat/completions")) {
      body = chat(c, stream);
    } else if (path.ends_with("/responses")) {
      body = responses(c, stream);
    } else if (path.ends_with("/messages")) {
      if (offers(asked, "give_answer") && c.calls.empty() && c.text.starts_with("{")) {
        c.calls.push_back({"toolu_1", "give_answer", c.text});
        c.text.clear();
      }
      body = anthropic(c, stream);
    } else if (path.find(":generateContent") != std::string::npos || google) {
      body = gemini(c, stream);
    } else {
      return send_all(fd, head(404, "text/plain", "", 9) + "not found");
    }
    if (at(&answer, "hang") != nullptr) {
      char byte = 0;
      if (stream) send_all(fd, head(200, "text/event-stream", "", SIZE_MAX));
      while (::recv(fd, &byte, 1, 0) > 0) {
      }
      return false;
    }
    if (!stream) {
      return send_all(fd, head(200, "application/json", "", body.size()) + body);
    }
    if (!send_all(fd, head(200, "text/event-stream", "", SIZE_MAX))) return false;
    const bool breaks = text_at(&answer, "break") == "middle";
    if (breaks) body.resize(body.size() / 2);
    const auto size = static_cast<size_t>(int_at(&answer, "chunk", 4096));
    const auto delay = int_at(&answer, "delay_ms", 0);
    for (size_t i = 0; i < body.size() && !stopping_; i += size) {
      if (!send_all(fd, chunk_of(std::string_view(body).substr(i, size)))) return false;
      if (delay > 0) ::usleep(static_cast<useconds_t>(delay * 1000));
    }
    if (breaks) {
      ::shutdown(fd, SHUT_RDWR);
      return false;
    }
    return send_all(fd, "0\r\n\r\n");
}

}  // namespace kflow::test
