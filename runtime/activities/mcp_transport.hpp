// How messages get to an MCP server and back. All of it lives on the thread of the MCP worker.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/activities/exchange.hpp"
#include "runtime/activities/spawn.hpp"
#include "runtime/mcp/session.hpp"

namespace kflow::activities {

// ---- limits
inline constexpr size_t max_backlog = 64U << 20;   ///< bytes that a server has not read yet
inline constexpr int stdin_grace_ms = 500;         ///< from the end of its input to SIGTERM
inline constexpr int exit_grace_ms = 200;          ///< from the end of its output to its status
inline constexpr int term_grace_ms = 1'000;        ///< from SIGTERM to SIGKILL
inline constexpr int resume_attempts = 5;          ///< of a stream that broke off, without progress
inline constexpr int64_t first_resume_ms = 1'000;  ///< then doubled
inline constexpr int64_t longest_resume_ms = 30'000;
inline constexpr int64_t goodbye_ms = 1'000;  ///< for the end of an HTTP session

/// What comes from a server. Called within `McpTransport::work` and `send`; the transport must not
/// be destroyed from inside.
struct McpReceiver {
  std::function<void(const std::string& text)> message;
  /// This request is not answered.
  std::function<void(int64_t id, mcp::Failure)> refused;
  /// The server has forgotten the session; the request was not looked at.
  std::function<void(int64_t id)> expired;
  std::function<void(mcp::Failure)> lost;
  std::function<void(const std::string& line)> line;
  /// Whether the request still waits.
  std::function<bool(int64_t id)> waits_for;
};

class McpTransport {
 public:
  virtual ~McpTransport() = default;
  virtual void send(mcp::Post post) = 0;
  /// Nobody waits for the answer of this request any more.
  virtual void abandon(int64_t) {}
  /// The handshake is over.
  virtual void opened(const std::string& /*protocol*/) {}
  virtual void watch(std::vector<pollfd>&) const {}
  virtual mcp::Millis next_due() const { return mcp::never; }
  virtual void work(mcp::Millis now) = 0;
  /// The process that is left, to be ended in peace; none of HTTP.
  virtual Spawned leave() { return {}; }
};

/// Starts the server's program in `cwd`.
std::variant<std::unique_ptr<McpTransport>, mcp::Failure> start_stdio(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret,
    const std::string& cwd, McpReceiver receiver);

/// Events of exchanges come to `take`.
class McpHttp : public McpTransport {
 public:
  virtual void take(const ExchangeEvent& event, mcp::Millis now) = 0;
  /// Says goodbye to the server, if there is a session to end. Ids of exchanges that should be
  /// given a moment: that, and what was told the server just now.
  virtual std::vector<uint64_t> goodbye() = 0;
};
/// `begin` starts an exchange whose events come to `take`; `stop` breaks one off.
struct McpExchanges {
  std::function<uint64_t(Exchange)> begin;
  std::function<void(uint64_t id)> stop;
};
std::variant<std::unique_ptr<McpHttp>, mcp::Failure> start_http(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret,
    McpExchanges exchanges, McpReceiver receiver);

/// A server's settings with the values of their secrets, which are read here and nowhere before.
std::variant<std::vector<std::pair<std::string, std::string>>, mcp::Failure> settings_of(
    const ir::McpServer& server,
    const std::function<std::optional<std::string>(std::string_view)>& secret);

}  // namespace kflow::activities
