// Network: sockets, HTTP/1.1, WebSocket framing and TLS. What is said on them is the Handler's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/server/http.hpp"
#include "runtime/server/options.hpp"

namespace kflow::server {

struct NetworkCounts {
  uint64_t connections = 0;  ///< open now
  uint64_t streams = 0;      ///< of them, with a stream or a WebSocket
  uint64_t accepted = 0;
  uint64_t refused = 0;  ///< over the limit of connections
  uint64_t requests = 0;
};

/// Owns the listening sockets, the connections and the one thread that serves them. `post` and
/// `counts` are thread-safe.
class Network {
 public:
  /// Listens; answers nobody before `start`. invalid_argument: an address or a certificate is no
  /// such thing; unavailable: the address cannot be had.
  static Result<std::unique_ptr<Network>> open(const Options& options);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void start(std::shared_ptr<Handler> handler);
  /// "127.0.0.1:7777", with the ports that were really given.
  std::vector<std::string> addresses() const;
  bool tls() const;
  /// Runs `task` on the network's thread, in the order of the calls.
  void post(std::function<void()> task);
  NetworkCounts counts() const;
  /// Takes no more connections, lets requests under way end for `Limits::shutdown_ms`, tells
  /// streams to come again, and ends the thread. Once.
  void stop();

 private:
  struct Impl;
  explicit Network(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kflow::server
