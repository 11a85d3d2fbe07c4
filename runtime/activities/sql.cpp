// sql.query: which database is meant, and what its results have in common.
#include "runtime/activities/sql.hpp"

#include <fmt/format.h>

#include <set>

#include "compiler/base/utf8.hpp"
#include "runtime/activities/postgres.hpp"
#include "runtime/activities/secrets.hpp"

namespace kflow::activities {

using cel::Value;

namespace {

bool is_postgres_url(std::string_view text) {
  return text.starts_with("postgres://") || text.starts_with("postgresql://");
}

}  // namespace

bool is_postgres(const Value& input) {
  return is_postgres_url(text_argument(input, "database")) ||
         !secret_argument(input, "database").empty();
}

std::optional<ActivityError> SqlRows::columns(std::vector<std::string> names) {
  std::set<std::string> seen;
  for (std::string& name : names) {
    std::string text = replace_invalid_utf8(name);
    if (!seen.insert(text).second)
      return sql_error(
          "columns",
          fmt::format("two columns are named `{}`; give one another name with AS", text));
    names_.push_back(Value::string(std::move(text)));
  }
  return std::nullopt;
}

std::optional<ActivityError> SqlRows::row(std::vector<Value> values) {
  cel::MapBuilder row;
  for (size_t i = 0; i < names_.size(); ++i) {
    bytes_ += values[i].memory() + names_[i].memory();
    row.add(names_[i], std::move(values[i]));
  }
  rows_.push_back(std::move(row).take());
  if (rows_.size() <= max_sql_rows && bytes_ <= max_sql_result_bytes) return std::nullopt;
  return ActivityError{
      .kind = "limit",
      .code = "result_size",
      .message = fmt::format("the result has more than {} rows or {} MiB; use LIMIT", max_sql_rows,
                             max_sql_result_bytes >> 20)};
}

Value SqlRows::take(int64_t affected, std::string_view dialect) && {
  return cel::make_record({{"columns", Value::list(std::move(names_))},
                           {"rows", Value::list(std::move(rows_))},
                           {"affected", Value::integer(affected)},
                           {"dialect", Value::string(std::string(dialect))}});
}

Job sql_job(const Options& options) {
  return [roots = Roots(options.file_roots), options, postgres = std::make_shared<Postgres>()](
             const Request& request, const std::atomic<bool>& stopped) -> Outcome {
    const Value* params = request.input.find("params");
    const SqlRequest asked{.statement = text_argument(request.input, "statement"),
                           .params = params == nullptr ? Value() : *params,
                           .write = bool_argument(request.input, "write", false)};
    if (asked.statement.size() > max_sql_statement_bytes)
      return ActivityError{.kind = "limit",
                           .code = "statement_size",
                           .message = fmt::format("the statement is longer than {} KiB",
                                                  max_sql_statement_bytes >> 10)};
    auto database = open_or_secret(options, request.input, "database");
    if (auto* error = std::get_if<ActivityError>(&database)) return std::move(*error);
    const auto& [url, secret] = std::get<OpenOrSecret>(database);
    if (is_postgres_url(url)) return postgres->run(url, secret, asked, stopped);
    if (!secret.empty())
      return sql_error("database",
                       fmt::format("the secret `{}` is no URL of a PostgreSQL database; it begins "
                                   "with postgres://",
                                   secret));
    return run_sqlite(roots, url, asked, stopped);
  };
}

}  // namespace kflow::activities
