// Frames by hand.
#include "tests/server/web_socket.hpp"

#include "compiler/cel/value_codec.hpp"
#include "tests/server/served.hpp"

namespace kflow::test {

WebSocket::WebSocket(int port, std::vector<std::pair<std::string, std::string>> headers,
                     const std::string& target)
    : wire_(port) {
  Ask ask{.target = target,
          .headers = {{"Upgrade", "websocket"},
                      {"Connection", "Upgrade"},
                      {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                      {"Sec-WebSocket-Version", "13"}}};
  for (auto& header : headers) ask.headers.push_back(std::move(header));
  wire_.send(written(ask, port));
  status_ = read_answer(wire_, true).status;
}

void WebSocket::frame(unsigned char first, const std::string& payload, bool masked) {
  std::string out(1, static_cast<char>(first));
  const unsigned char mask_bit = masked ? 0x80 : 0;
  if (payload.size() < 126) {
    out.push_back(static_cast<char>(mask_bit | payload.size()));
  } else if (payload.size() < 65536) {
    out.push_back(static_cast<char>(mask_bit | 126));
    out.push_back(static_cast<char>(payload.size() >> 8));
    out.push_back(static_cast<char>(payload.size() & 0xff));
  } else {
    out.push_back(static_cast<char>(mask_bit | 127));
    for (int shift = 56; shift >= 0; shift -= 8)
      out.push_back(static_cast<char>((payload.size() >> shift) & 0xff));
  }
  if (masked) {
    const std::string mask = "\x11\x22\x33\x44";
    out += mask;
    for (size_t i = 0; i < payload.size(); ++i)
      out.push_back(static_cast<char>(payload[i] ^ mask[i % 4]));
  } else {
    out += payload;
  }
  wire_.send(out);
}

std::optional<std::string> WebSocket::text() {
  for (;;) {
    const auto head = wire_.exactly(2);
    if (!head) return std::nullopt;
    const int opcode = static_cast<unsigned char>((*head)[0]) & 0x0f;
    uint64_t size = static_cast<unsigned char>((*head)[1]) & 0x7f;
    if (size >= 126) {
      const auto more = wire_.exactly(size == 126 ? 2 : 8);
      if (!more) return std::nullopt;
      size = 0;
      for (const char c : *more) size = (size << 8) | static_cast<unsigned char>(c);
    }
    const auto payload = wire_.exactly(size);
    if (!payload) return std::nullopt;
    if (opcode == 8) {
      if (payload->size() >= 2)
        close_code = (static_cast<unsigned char>((*payload)[0]) << 8) |
                     static_cast<unsigned char>((*payload)[1]);
      return std::nullopt;
    }
    if (opcode == 9) {
      ++pings;
      frame(0x8a, *payload);
      continue;
    }
    if (opcode == 1) return payload;
  }
}

cel::Value WebSocket::next() {
  const auto message = text();
  return message ? json_of(*message) : cel::Value();
}

cel::Value WebSocket::until(const std::string& event) {
  for (;;) {
    cel::Value message = next();
    if (message.is_null() || field(message, "event") == event) return message;
  }
}

}  // namespace kflow::test
