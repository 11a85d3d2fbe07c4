// Server: a store's workflows over HTTP: network, routes, engine and programs as one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/engine.hpp"
#include "runtime/observe/metrics.hpp"
#include "runtime/server/options.hpp"
#include "runtime/server/programs.hpp"

namespace kflow::server {

struct ServerSetup {
  Options options;
  std::vector<std::string> paths;  ///< .kflow files and folders
  std::string project_root;
  std::string version;
  Compile compile;
  engine::EngineOptions engine;                 ///< adopt, schedules and park are the server's
  const observe::Registry* registry = nullptr;  ///< lives as long as the engine's observer
  std::function<void(const std::string&)> say;  ///< lines for people
};

/// Thread-safe.
class Server {
 public:
  /// Listens, loads the programs, takes over what was left behind, and answers.
  static Result<std::unique_ptr<Server>> open(std::shared_ptr<store::Store> store,
                                              ServerSetup setup);
  /// As `stop`.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "http://127.0.0.1:7777"
  std::vector<std::string> urls() const;
  size_t workflows() const;
  /// Lets requests end, tells streams to come again, gives the runs up for whoever comes next.
  void stop();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kflow::server
