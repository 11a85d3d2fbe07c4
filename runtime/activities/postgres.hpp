// PostgreSQL over libpq.
#pragma once

#include <memory>

#include "runtime/activities/sql.hpp"

namespace kflow::activities {

/// Connections of one process at most: as many statements run at the same time, others wait.
inline constexpr size_t max_postgres_connections = 8;
inline constexpr int64_t postgres_connect_timeout_ms = 15'000;
/// How long a statement may take where neither the role nor the URL says so.
inline constexpr int64_t postgres_statement_timeout_ms = 300'000;
/// After that a server that says nothing any more is given up.
inline constexpr int64_t postgres_silence_ms = 3'600'000;
/// An unused connection is closed after this time, by us or by the server.
inline constexpr int64_t postgres_idle_ms = 60'000;

/// Connections that are kept for the next statement. Thread-safe; a connection is used by one
/// thread at a time.
class Postgres {
 public:
  Postgres();
  ~Postgres();
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;

  /// Runs a statement in a transaction of its own: read only, and rolled back, unless it writes.
  /// `url` came from the secret of that name, or "" if it was written in the open.
  Outcome run(const std::string& url, const std::string& secret, const SqlRequest& request,
              const std::atomic<bool>& stopped);

 private:
  struct Pool;
  std::unique_ptr<Pool> pool_;
};

}  // namespace kflow::activities
