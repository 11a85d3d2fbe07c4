// A server in this process, over a store and files of its own.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compiler/cel/value_codec.hpp"
#include "runtime/server/server.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/server/client.hpp"

namespace kflow::test {

/// Compiles with the real compiler, as the command line does.
server::Compile test_compiler();

class Served {
 public:
  struct Setup {
    std::vector<std::pair<std::string, std::string>> files;  ///< name, text
    server::Options options = {};
    std::function<void(engine::EngineOptions&)> engine = {};
    bool in_memory = true;
  };
  explicit Served(Setup setup);
  ~Served();

  int port() const { return port_; }
  void write(const std::string& name, const std::string& text) const;
  void stop();
  /// Opens it again on the same store, another port.
  void restart();
  std::shared_ptr<store::Store> store() { return store_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::vector<std::string> said() const;
  server::Server& server() { return *server_; }

  Answer get(const std::string& target) const { return test::get(port_, target); }
  Answer post(const std::string& target, const std::string& json) const {
    return test::post(port_, target, json);
  }
  /// Starts a run in the background; its id.
  std::string start(const std::string& workflow, const std::string& input = "{}");
  /// Waits until `status` says one of these; the document.
  cel::Value wait(const std::string& workflow, const std::string& run,
                  const std::vector<std::string>& statuses);

 private:
  void open();
  Setup setup_;
  std::filesystem::path folder_;
  std::shared_ptr<store::MemoryDisk> disk_;  // outlives the stores
  std::shared_ptr<store::Store> store_;
  std::unique_ptr<server::Server> server_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> said_;
};

cel::Value json_of(const std::string& text);
/// A field of a record as text: of texts themselves, of others their JSON.
std::string field(const cel::Value& record, const std::string& name);

/// A field of a record; null if there is none, or it is no record.
const cel::Value& at(const cel::Value& record, std::string_view name);

}  // namespace kflow::test
