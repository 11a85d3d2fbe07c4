// A WebSocket client for tests (RFC 6455), also one that breaks its rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compiler/cel/value.hpp"
#include "tests/server/client.hpp"

namespace kflow::test {

class WebSocket {
 public:
  explicit WebSocket(int port, std::vector<std::pair<std::string, std::string>> headers = {},
                     const std::string& target = "/workflows/ws");
  int status() const { return status_; }  ///< 101: it is open
  void say(const std::string& json) { frame(0x81, json); }
  /// A frame with this first byte (FIN, RSV, opcode), masked or not.
  void frame(unsigned char first, const std::string& payload, bool masked = true);
  void raw(const std::string& bytes) { wire_.send(bytes); }
  /// The next text message; none: it was closed (see `close_code`), or cut off.
  std::optional<std::string> text();
  /// The next message as JSON; null: none.
  cel::Value next();
  /// The next one whose `event` is this.
  cel::Value until(const std::string& event);
  int close_code = 0;
  size_t pings = 0;
  Wire& wire() { return wire_; }

 private:
  Wire wire_;
  int status_ = 0;
};

}  // namespace kflow::test
