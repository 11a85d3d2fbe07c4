// Options of a server: where it listens, who may do what, and its limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/base/result.hpp"

namespace kflow::server {

// ---- limits, all of one server, changed by `server: limits` of kflow.yaml
struct Limits {
  uint64_t header_bytes = 32U << 10;  ///< request line and headers: 431
  uint64_t body_bytes = 32U << 20;    ///< 413
  uint64_t connections = 20'000;      ///< more are closed at once
  int64_t header_ms = 10'000;     ///< from the first byte of a request to the end of its head: 408
  int64_t body_ms = 60'000;       ///< for its body: 408
  int64_t idle_ms = 75'000;       ///< a kept connection without a request
  int64_t send_ms = 30'000;       ///< a client that takes nothing for so long is let go
  int64_t keepalive_ms = 15'000;  ///< of streams that are silent
  int64_t shutdown_ms = 10'000;   ///< for requests under way when the server stops
  uint64_t starts = 10'000;       ///< runs that are being started at a time: 429
};
inline constexpr size_t max_headers = 100;        ///< in a request
inline constexpr size_t max_target_bytes = 8192;  ///< 414
inline constexpr size_t max_fields = 200;         ///< of a form or an object
inline constexpr size_t max_id_bytes = 255;       ///< of runs, sessions, users

enum class Scope : uint8_t {
  open,  ///< nobody is asked
  read,
  run,    ///< start, answer, cancel …
  admin,  ///< remove, schedules
};
std::string_view to_string(Scope scope);

struct Token {
  std::string name;
  std::string secret;
  bool read = true;
  bool run = true;
  bool admin = true;
  std::string user_id;  ///< confines sessions and runs to this user; "": all
};

struct Options {
  std::vector<std::string> listen = {"127.0.0.1:7777"};  ///< ADDRESS:PORT, [ADDRESS]:PORT
  std::vector<Token> tokens;
  std::vector<std::string> hosts;  ///< names that this server is known by, besides its addresses
  std::vector<std::string> cors;   ///< origins that may call it from a browser
  std::string certificate;         ///< PEM files; both or none
  std::string key;
  Limits limits;
};

/// What does not fit together: listening elsewhere than on this machine without a token, …
Result<void> check(const Options& options);
/// Whether that address is reached from this machine only.
bool is_loopback(std::string_view address);

}  // namespace kflow::server
