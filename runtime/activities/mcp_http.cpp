// MCP servers behind an address: "Streamable HTTP" of the revisions with sessions and resumption
// (2025-03-26 to 2025-11-25) and of the one without (2026-07-28).
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/mcp_transport.hpp"
#include "runtime/models/sse.hpp"

namespace kflow::activities {
namespace {

using mcp::Failure;
using mcp::Millis;

constexpr size_t error_body_shown = 500;

bool is_event_stream(const std::map<std::string, std::string>& headers) {
  const auto it = headers.find("content-type");
  return it != headers.end() && it->second.starts_with("text/event-stream");
}

int64_t retry_after(const std::map<std::string, std::string>& headers) {
  const auto it = headers.find("retry-after");
  if (it == headers.end() || it->second.empty() || it->second.size() > 9 ||
      it->second.find_first_not_of("0123456789") != std::string::npos)
    return 0;
  return std::stoll(it->second) * 1000;
}

class HttpTransport final : public McpHttp {
 public:
  HttpTransport(ir::McpServer server, std::vector<std::pair<std::string, std::string>> headers,
                McpExchanges exchanges, McpReceiver receiver)
      : server_(std::move(server)),
        own_headers_(std::move(headers)),
        http_(std::move(exchanges)),
        to_(std::move(receiver)) {}
  ~HttpTransport() override {
    for (const auto& [id, stream] : streams_) http_.stop(id);
  }

  void send(mcp::Post post) override {
    Exchange e{.id = 0, .method = "POST", .url = server_.url, .headers = {}, .body = post.text};
    e.headers = {{"Content-Type", "application/json"},
                 {"Accept", "application/json, text/event-stream"}};
    e.headers.insert(e.headers.end(), post.headers.begin(), post.headers.end());
    begin(std::move(e), {.request = post.id, .method = post.method});
  }

  void abandon(int64_t request) override {
    std::erase_if(resuming_, [&](const Pending& p) { return p.stream.request == request; });
    const auto it = std::ranges::find_if(
        streams_, [&](const auto& entry) { return entry.second.request == request; });
    if (it == streams_.end()) return;
    http_.stop(it->first);
    streams_.erase(it);
  }

  // Servers with sessions may speak by themselves, on a stream that is asked for.
  void opened(const std::string& protocol) override {
    protocol_ = protocol;
    listen({.listening = true});
  }

  Millis next_due() const override {
    Millis out = mcp::never;
    for (const Pending& p : resuming_) out = std::min(out, p.due);
    return out;
  }

  void work(Millis now) override {
    std::vector<Pending> due;
    for (auto it = resuming_.begin(); it != resuming_.end();) {
      if (it->due > now) {
        ++it;
        continue;
      }
      due.push_back(std::move(*it));
      it = resuming_.erase(it);
    }
    for (const Pending& p : due) listen(p.stream);
  }

  void take(const ExchangeEvent& event, Millis now) override {
    const auto it = streams_.find(event.id);
    if (it == streams_.end()) return;
    switch (event.kind) {
      case ExchangeEvent::Kind::head:
        return head(it->second, event);
      case ExchangeEvent::Kind::data:
        return data(it, event);
      case ExchangeEvent::Kind::end: {
        Open stream = std::move(it->second);
        streams_.erase(it);
        return ended(std::move(stream), event, now);
      }
    }
  }

  std::vector<uint64_t> goodbye() override {
    std::vector<uint64_t> out;
    for (const auto& [id, stream] : streams_) {
      if (stream.request == 0 && !stream.listening) {
        out.push_back(id);
      } else {
        http_.stop(id);
      }
    }
    streams_.clear();
    resuming_.clear();
    if (session_.empty()) return out;
    Exchange e{.id = 0,
               .method = "DELETE",
               .url = server_.url,
               .headers = {},
               .body = "",
               .timeout_ms = goodbye_ms};
    add_session(e);
    e.headers.insert(e.headers.end(), own_headers_.begin(), own_headers_.end());
    out.push_back(http_.begin(std::move(e)));
    return out;
  }

 private:
  /// An exchange that is under way.
  struct Open {
    int64_t request = 0;     ///< that it answers; 0: none
    std::string method;      ///< of that request
    bool listening = false;  ///< the server's own stream
    int attempts = 0;        ///< of resuming without progress
    std::string last_id;     ///< of its newest event; "": they have none
    long status = 0;
    std::map<std::string, std::string> headers;
    bool events = false;
    models::SseParser parser{mcp::max_message_bytes};
    std::string body;
  };
  struct Pending {
    Millis due = 0;
    Open stream;
  };
  using Streams = std::map<uint64_t, Open>;

  void add_session(Exchange& e) const {
    if (!session_.empty()) e.headers.emplace_back("Mcp-Session-Id", session_);
    if (!protocol_.empty() && std::ranges::none_of(e.headers, [](const auto& h) {
          return h.first == "MCP-Protocol-Version";
        }))
      e.headers.emplace_back("MCP-Protocol-Version", protocol_);
  }

  void begin(Exchange e, Open stream) {
    if (!session_.empty() &&
        std::ranges::none_of(e.headers, [](const auto& h) { return h.first == "Mcp-Session-Id"; }))
      e.headers.emplace_back("Mcp-Session-Id", session_);
    e.headers.insert(e.headers.end(), own_headers_.begin(), own_headers_.end());
    streams_.emplace(http_.begin(std::move(e)), std::move(stream));
  }

  // The server's own stream, or what is left of one that broke off.
  void listen(const Open& stream) {
    Exchange e{.id = 0, .method = "GET", .url = server_.url, .headers = {}, .body = ""};
    e.headers.emplace_back("Accept", "text/event-stream");
    if (!stream.last_id.empty()) e.headers.emplace_back("Last-Event-ID", stream.last_id);
    add_session(e);
    Open fresh;
    fresh.request = stream.request;
    fresh.method = stream.method;
    fresh.listening = stream.listening;
    fresh.attempts = stream.attempts;
    fresh.last_id = stream.last_id;
    begin(std::move(e), std::move(fresh));
  }

  void head(Open& stream, const ExchangeEvent& event) {
    stream.status = event.status;
    stream.headers = event.headers;
    stream.events = event.status == 200 && is_event_stream(event.headers);
    if (stream.method == "initialize" && event.status == 200) {
      const auto id = event.headers.find("mcp-session-id");
      const bool visible =
          id != event.headers.end() && !id->second.empty() &&
          std::ranges::all_of(id->second, [](char c) { return c > 0x20 && c < 0x7f; });
      if (visible) session_ = id->second;
    }
  }

  void data(Streams::iterator it, const ExchangeEvent& event) {
    Open& stream = it->second;
    if (!stream.events) {
      stream.body += event.data;
      if (stream.body.size() <= mcp::max_message_bytes) return;
    } else {
      stream.attempts = 0;
      // A message may end the session and with it this stream: they are handed on afterwards.
      std::vector<std::string> messages;
      const bool fits =
          stream.parser.feed(event.data, [&](std::string_view, std::string_view text) {
            if (!text.empty()) messages.emplace_back(text);
          });
      if (!stream.parser.last_id().empty()) stream.last_id = stream.parser.last_id();
      const int64_t request = stream.request;
      for (const std::string& text : messages) to_.message(text);
      it = streams_.find(event.id);
      if (it == streams_.end()) return;
      if (fits && request != 0 && !to_.waits_for(request)) {  // it has said what it had to
        http_.stop(event.id);
        streams_.erase(it);
        return;
      }
      if (fits) return;
    }
    const int64_t request = it->second.request;
    http_.stop(it->first);
    streams_.erase(it);
    if (request != 0)
      to_.refused(request,
                  {.kind = "limit",
                   .code = "mcp_message",
                   .message = fmt::format("the MCP server `{}` sent a message of more than {} MiB",
                                          server_.name, mcp::max_message_bytes >> 20)});
  }

  void ended(Open stream, const ExchangeEvent& event, Millis now) {
    if (stream.listening) return listening_ended(std::move(stream), now);
    if (stream.request == 0) {
      if (!event.error.empty() || stream.status >= 400)
        to_.line(
            fmt::format("a message was not taken: {}",
                        event.error.empty() ? fmt::format("HTTP {}", stream.status) : event.error));
      return;
    }
    const int64_t request = stream.request;
    if (stream.status == 404 && !session_.empty() && stream.method != "initialize")
      return to_.expired(request);
    if (!stream.events && event.error.empty() && !stream.body.empty() &&
        (stream.status == 200 || stream.body.find("\"jsonrpc\"") != std::string::npos) &&
        find_invalid_utf8(stream.body) == std::string_view::npos)
      to_.message(stream.body);
    if (!to_.waits_for(request)) return;
    if ((stream.events || stream.status == 0) && !stream.last_id.empty() && may_resume(stream))
      return resume(std::move(stream), now);
    to_.refused(request, why(stream, event));
  }

  bool may_resume(const Open& stream) const {
    return !protocol_.empty() && stream.attempts < resume_attempts;
  }

  void resume(Open stream, Millis now) {
    const int64_t wanted = stream.parser.retry_ms() >= 0
                               ? stream.parser.retry_ms()
                               : (stream.attempts == 0 ? 0 : first_resume_ms << stream.attempts);
    ++stream.attempts;
    resuming_.push_back(
        {.due = now + std::min(wanted, longest_resume_ms), .stream = std::move(stream)});
  }

  void listening_ended(Open stream, Millis now) {
    if (stream.status == 404 && !session_.empty()) return;  // seen by the next request too
    if (stream.status != 0 && !stream.events) return;       // it has none to offer (405)
    if (stream.attempts >= resume_attempts) {
      return to_.line("its stream of notifications is gone; changes of its tools are not seen");
    }
    if (stream.parser.retry_ms() < 0 && stream.attempts == 0) stream.attempts = 1;
    resume(std::move(stream), now);
  }

  Failure why(const Open& stream, const ExchangeEvent& event) const {
    const std::string& name = server_.name;
    if (stream.status == 0) {
      return {.code = event.connected ? "mcp_stream" : "mcp_connect",
              .message = fmt::format("the MCP server `{}` was not reached: {}", name,
                                     event.error.empty() ? "no answer" : event.error),
              .retryable = true};
    }
    if (stream.status == 401 || stream.status == 403) {
      return {.code = "unauthorized",
              .message = fmt::format("the MCP server `{}` refuses the request (HTTP {}): give it a "
                                     "token with `bearer: SECRET`, or `headers`",
                                     name, stream.status),
              .status = stream.status};
    }
    if (stream.status < 200 || stream.status > 299) {
      std::string body = replace_invalid_utf8(stream.body.substr(0, error_body_shown));
      return {.code = "http_" + std::to_string(stream.status),
              .message = fmt::format("the MCP server `{}` answered HTTP {}{}{}", name,
                                     stream.status, body.empty() ? "" : ": ", body),
              .status = stream.status,
              .retryable = stream.status == 429 || stream.status >= 500,
              .retry_after_ms = retry_after(stream.headers)};
    }
    return {.code = "mcp_stream",
            .message = fmt::format("the stream of the MCP server `{}` ended before its answer{}{}",
                                   name, event.error.empty() ? "" : ": ", event.error),
            .retryable = true};
  }

  ir::McpServer server_;
  std::vector<std::pair<std::string, std::string>> own_headers_;
  McpExchanges http_;
  McpReceiver to_;
  std::string session_;
  std::string protocol_;  ///< once the handshake is over; "" in revisions without one
  Streams streams_;
  std::vector<Pending> resuming_;
};

}  // namespace

std::variant<std::unique_ptr<McpHttp>, Failure> start_http(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret,
    McpExchanges exchanges, McpReceiver receiver) {
  auto settings = settings_of(server, secret);
  if (auto* failure = std::get_if<Failure>(&settings)) return std::move(*failure);
  return std::make_unique<HttpTransport>(server, std::move(std::get<0>(settings)),
                                         std::move(exchanges), std::move(receiver));
}

}  // namespace kflow::activities
