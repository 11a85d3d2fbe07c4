// The worker of MCP: servers that are started when first needed, shared by all calls, and stopped
// with it.
#pragma once

#include "compiler/ir/lock.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {

inline constexpr size_t max_servers = 64;  ///< that run at a time

class McpWorker : public Worker {
 public:
  using ListHandler = std::function<void(std::variant<ir::LockedServer, ActivityError>)>;
  /// Asks a server for its tools; `done` is called once, on the worker's thread.
  virtual void list(ir::McpServer server, ListHandler done) = 0;
};

/// `http` must outlive the worker.
std::unique_ptr<McpWorker> make_mcp_worker(Options options, Exchanges& http,
                                           CompletionHandler done);

/// The tools of a server, which is started for it and stopped. Blocks for at most a few minutes.
std::variant<ir::LockedServer, ActivityError> list_tools(const ir::McpServer& server,
                                                         const Options& options);

}  // namespace kflow::activities
