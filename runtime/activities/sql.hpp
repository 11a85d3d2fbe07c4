// sql.query: one statement on a database, SQLite or PostgreSQL.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/activities/roots.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {

inline constexpr size_t max_sql_rows = 100'000;
inline constexpr size_t max_sql_result_bytes = 16U << 20;
inline constexpr size_t max_sql_statement_bytes = 1U << 20;

/// What a statement asks for.
struct SqlRequest {
  std::string statement;
  cel::Value params;  ///< list, map or null
  bool write = false;
};

/// Whether the database of a `sql.query` is a server's, told by its URL; secrets always are.
bool is_postgres(const cel::Value& input);

Outcome run_sqlite(const Roots& roots, const std::string& path, const SqlRequest& request,
                   const std::atomic<bool>& stopped);

/// Collects the rows of a result and keeps to its limits.
class SqlRows {
 public:
  /// Takes the names of the columns; an error if two are the same.
  std::optional<ActivityError> columns(std::vector<std::string> names);
  size_t width() const { return names_.size(); }
  /// Takes one row, with as many values as there are columns; an error if it is too much.
  std::optional<ActivityError> row(std::vector<cel::Value> values);
  cel::Value take(int64_t affected, std::string_view dialect) &&;

 private:
  std::vector<cel::Value> names_;
  std::vector<cel::Value> rows_;
  size_t bytes_ = 0;
};

inline ActivityError sql_error(std::string code, std::string message) {
  return {.kind = "tool", .code = std::move(code), .message = std::move(message)};
}

}  // namespace kflow::activities
