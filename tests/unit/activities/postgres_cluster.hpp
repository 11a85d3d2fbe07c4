// A PostgreSQL server of its own for a test: in a temporary folder, on a free port of 127.0.0.1.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

namespace kflow::activities {

class PostgresCluster {
 public:
  /// None: no server is installed here, or this user may not start one; `why` says which.
  static std::unique_ptr<PostgresCluster> start(std::string& why);
  ~PostgresCluster();  ///< stops it and removes its folder
  PostgresCluster(const PostgresCluster&) = delete;
  PostgresCluster& operator=(const PostgresCluster&) = delete;

  /// postgres://postgres:PASSWORD@127.0.0.1:PORT/postgres with `tail` added.
  std::string url(const std::string& tail = "") const;
  std::string url_without_password() const;
  static constexpr const char* password = "s3cret of-the-test";
  int port = 0;

 private:
  PostgresCluster() = default;
  std::filesystem::path folder_;
  pid_t server_ = -1;
};

}  // namespace kflow::activities
