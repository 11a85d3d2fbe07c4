// The server under any bytes: it answers or closes, and goes on answering others.
#include "tests/fuzz/server_targets.hpp"

#include <sched.h>
#include <sys/socket.h>

#include <cstdlib>
#include <optional>

#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/server/body.hpp"
#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"

namespace kflow::fuzz {
namespace {

constexpr size_t look_every = 64;  // inputs between two looks at its health
constexpr int patience_ms = 20;    // for more of an answer

test::Served& served() {
  static test::Served one([] {
    test::Served::Setup setup{
        .files = {{"f.kflow",
                   "workflow hello(name: string = \"x\") -> string { return name }\n"
                   "workflow wait() -> any {\n  step go = signal.wait(\"go\")\n  return go\n}\n"}}};
    setup.options.limits.header_bytes = 8192;
    setup.options.limits.body_bytes = 64U << 10;
    return setup;
  }());
  return one;
}

void check_health() {
  static size_t runs = 0;
  if (++runs % look_every != 0) return;
  KFLOW_CHECK(served().get("/health").status == 200, "the server goes on answering");
}

// What a server sends on a WebSocket: whole, unmasked, short lengths written short; each text is
// an event; nothing after the close.
void check_frames(std::string_view bytes) {
  while (bytes.size() >= 2) {
    const auto first = static_cast<unsigned char>(bytes[0]);
    size_t size = static_cast<unsigned char>(bytes[1]);
    KFLOW_CHECK(first == 0x81 || first == 0x88 || first == 0x89 || first == 0x8a,
                "a frame is whole, and a text or a control frame");
    KFLOW_CHECK(size < 0x80, "a server masks nothing");
    KFLOW_CHECK(first == 0x81 || size <= 125, "a control frame is short");
    const size_t more = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (bytes.size() < 2 + more) return;
    if (more > 0) {
      size = 0;
      for (size_t i = 0; i < more; ++i) size = size << 8 | static_cast<unsigned char>(bytes[2 + i]);
      KFLOW_CHECK(size > (more == 2 ? 125U : 0xffffU), "a short length is written short");
    }
    if (bytes.size() < 2 + more + size) return;
    const std::string_view payload = bytes.substr(2 + more, size);
    bytes.remove_prefix(2 + more + size);
    if (first == 0x81) {
      const auto message = cel::from_json(payload);
      KFLOW_CHECK(message && message->kind() == cel::Kind::map && message->find("event") != nullptr,
                  "a message is an event");
    }
    if (first == 0x88) KFLOW_CHECK(bytes.empty(), "nothing follows the close");
  }
}

// In one piece or in several, so that a line, a length or a frame ends anywhere.
void send_in_parts(test::Wire& wire, std::string_view bytes) {
  uint64_t random = xxh3(bytes);
  for (uint64_t parts = random % 4; parts > 0 && bytes.size() > 1; --parts) {
    random /= 7;
    const size_t size = 1 + random % (bytes.size() - 1);
    if (!wire.send(bytes.substr(0, size))) return;
    bytes.remove_prefix(size);
    ::sched_yield();
  }
  wire.send(bytes);
}

// A response's head as a map; none: it has not come whole.
struct Head {
  int status = 0;
  std::optional<uint64_t> length;
  bool chunked = false;
};
std::optional<Head> take_head(std::string_view& bytes) {
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view text = bytes.substr(0, end + 2);
  bytes.remove_prefix(end + 4);
  KFLOW_CHECK(text.starts_with("HTTP/1.1 ") && text.size() > 14, "a response has a status line");
  Head out{.status = std::atoi(std::string(text.substr(9, 3)).c_str())};
  KFLOW_CHECK(out.status >= 100 && out.status < 600, "a status is one");
  text.remove_prefix(text.find("\r\n") + 2);
  while (!text.empty()) {
    const std::string line(text.substr(0, text.find("\r\n")));
    text.remove_prefix(line.size() + 2);
    const size_t colon = line.find(": ");
    KFLOW_CHECK(colon != std::string::npos && colon > 0, "a header has a name");
    for (const char c : line) KFLOW_CHECK(static_cast<unsigned char>(c) >= 0x20, "a header is one");
    const std::string name = server::lower(line.substr(0, colon));
    if (name == "content-length") {
      KFLOW_CHECK(!out.length && !out.chunked, "one length");
      out.length = std::strtoull(line.c_str() + colon + 2, nullptr, 10);
    }
    if (name == "transfer-encoding") {
      KFLOW_CHECK(!out.length && !out.chunked, "one length");
      out.chunked = true;
    }
  }
  return out;
}

// False: it has not come whole.
bool take_chunks(std::string_view& bytes) {
  for (;;) {
    const size_t line = bytes.find("\r\n");
    if (line == std::string_view::npos) return false;
    const std::string digits(bytes.substr(0, line));
    KFLOW_CHECK(
        !digits.empty() && digits.find_first_not_of("0123456789abcdef") == std::string::npos,
        "a chunk has a size");
    const size_t size = std::strtoull(digits.c_str(), nullptr, 16);
    if (bytes.size() < line + 2 + size + 2) return false;
    KFLOW_CHECK(bytes.substr(line + 2 + size, 2) == "\r\n", "a chunk ends where it says");
    bytes.remove_prefix(line + 2 + size + 2);
    if (size == 0) return true;
  }
}

// Whatever was sent, what comes back is a row of responses, none of which says that the server
// failed, and each ends where it says.
void check_responses(std::string_view bytes, bool heads) {
  while (!bytes.empty()) {
    const auto head = take_head(bytes);
    if (!head) return;
    KFLOW_CHECK(
        head->status < 500 || head->status == 501 || head->status == 503 || head->status == 505,
        "the server has not failed");
    if (head->status == 101) return check_frames(bytes);
    if (head->status == 100 || head->status == 204 || head->status == 304) continue;
    if (heads) return;  // those have lengths and no body
    if (head->chunked) {
      if (!take_chunks(bytes)) return;
    } else {
      if (!head->length || bytes.size() < *head->length) return;  // HTTP/1.0, or cut off
      bytes.remove_prefix(*head->length);
    }
  }
}

}  // namespace

void fuzz_body(std::string_view bytes) {
  const size_t line = bytes.find('\n');
  const std::string_view type = bytes.substr(0, std::min(line, bytes.size()));
  const std::string_view body =
      line == std::string_view::npos ? std::string_view() : bytes.substr(line + 1);
  (void)server::parse_body(type, body);
  (void)server::percent_decode(body, true);
  if (const auto form = server::parse_form(body)) {
    for (const auto& [name, value] : *form)
      KFLOW_CHECK(name.find('\0') == std::string::npos, "no zero byte comes through");
  }
}

void fuzz_http(std::string_view bytes) {
  test::Wire wire(served().port());
  send_in_parts(wire, bytes);
  ::shutdown(wire.fd(), SHUT_WR);
  // A stream of a run that waits ends when the server has seen that; what is slow is left.
  check_responses(wire.all_within(patience_ms), bytes.find("HEAD ") != std::string_view::npos);
  check_health();
}

void fuzz_socket(std::string_view bytes) {
  test::WebSocket socket(served().port());
  KFLOW_CHECK(socket.status() == 101, "the handshake is as it should be");
  send_in_parts(socket.wire(), bytes);
  ::shutdown(socket.wire().fd(), SHUT_WR);
  check_frames(socket.wire().all_within(patience_ms));
  check_health();
}

}  // namespace kflow::fuzz
