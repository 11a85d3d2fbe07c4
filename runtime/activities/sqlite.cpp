// SQLite databases within the roots. The file is opened for each statement: nothing is held between
// steps, so a run can go on in any process.
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <charconv>
#include <set>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/sql.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr int busy_timeout_ms = 10'000;      // another process writes
constexpr int steps_between_looks = 10'000;  // of SQLite's machine, at whether to stop

// A read-only database is still not to reach other files, nor to change what others see. Each
// statement is a transaction of its own.
int authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  if (action == SQLITE_ATTACH || action == SQLITE_DETACH) return SQLITE_DENY;
  if (action == SQLITE_TRANSACTION || action == SQLITE_SAVEPOINT) return SQLITE_DENY;
  if (action == SQLITE_FUNCTION && second != nullptr &&
      std::string_view(second) == "load_extension")
    return SQLITE_DENY;
  if (action != SQLITE_PRAGMA) return SQLITE_OK;
  static const std::set<std::string_view> about_tables{
      "table_info", "table_xinfo", "table_list",       "index_list",
      "index_info", "index_xinfo", "foreign_key_list", "foreign_key_check"};
  const bool reads = second == nullptr || about_tables.contains(first == nullptr ? "" : first);
  return reads ? SQLITE_OK : SQLITE_DENY;
}

/// One statement on one database.
class Query {
 public:
  Query(const Roots& roots, const std::atomic<bool>& stopped) : roots_(roots), stopped_(stopped) {}
  ~Query() {
    sqlite3_finalize(statement_);
    sqlite3_close_v2(db_);
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Outcome run(const std::string& path, const SqlRequest& request) {
    if (auto error = open(path, request.write)) return std::move(*error);
    if (auto error = prepare(request.statement)) return std::move(*error);
    if (auto error = bind(request.params)) return std::move(*error);
    // One that changes the database and gives rows has done so before its rows are read; if they
    // are too many, it must not have.
    if (sqlite3_stmt_readonly(statement_) != 0 || sqlite3_column_count(statement_) == 0)
      return rows();
    if (auto error = transaction("BEGIN IMMEDIATE")) return std::move(*error);
    auto outcome = rows();
    sqlite3_reset(statement_);
    const bool done = std::holds_alternative<Value>(outcome);
    if (auto error = transaction(done ? "COMMIT" : "ROLLBACK"); error && done)
      return std::move(*error);
    return outcome;
  }

 private:
  std::optional<ActivityError> open(const std::string& path, bool write) {
    if (path.empty()) return sql_error("database", "`database` is the path of a SQLite database");
    if (path.find('\0') != std::string::npos)
      return sql_error("database", "the path contains a NUL character");
    auto real = roots_.real_path(path);
    if (auto* error = std::get_if<ActivityError>(&real)) return std::move(*error);
    const int mode = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    const int code = sqlite3_open_v2(std::get<std::string>(real).c_str(), &db_,
                                     mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nullptr);
    if (db_ == nullptr) return sql_error("memory", "there is no memory for a database");
    if (code != SQLITE_OK) return failure(fmt::format("cannot open `{}`", path));
    sqlite3_extended_result_codes(db_, 1);
    sqlite3_busy_timeout(db_, busy_timeout_ms);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
    sqlite3_set_authorizer(db_, authorize, nullptr);
    sqlite3_progress_handler(
        db_, steps_between_looks,
        [](void* stopped) {
          return static_cast<const std::atomic<bool>*>(stopped)->load() ? 1 : 0;
        },
        const_cast<std::atomic<bool>*>(&stopped_));
    return std::nullopt;
  }

  std::optional<ActivityError> transaction(const char* command) {
    sqlite3_set_authorizer(db_, nullptr, nullptr);
    const int code = sqlite3_exec(db_, command, nullptr, nullptr, nullptr);
    sqlite3_set_authorizer(db_, authorize, nullptr);
    if (code == SQLITE_OK) return std::nullopt;
    return failure("the statement failed");
  }

  std::optional<ActivityError> prepare(const std::string& text) {
    const char* rest = nullptr;
    if (sqlite3_prepare_v2(db_, text.c_str(), static_cast<int>(text.size()), &statement_, &rest) !=
        SQLITE_OK)
      return failure("the statement is wrong");
    if (statement_ == nullptr) return sql_error("statement", "the statement is empty");
    // What follows may only be white space and comments.
    sqlite3_stmt* more = nullptr;
    const auto left = static_cast<int>(text.c_str() + text.size() - rest);
    const bool sound =
        sqlite3_prepare_v2(db_, rest, left, &more, nullptr) == SQLITE_OK && more == nullptr;
    sqlite3_finalize(more);
    if (!sound)
      return sql_error("statement",
                       "there is more than one statement; each needs a step of its own");
    return std::nullopt;
  }

  std::optional<ActivityError> bind(const Value& params) {
    const int wanted = sqlite3_bind_parameter_count(statement_);
    if (params.kind() == cel::Kind::map) return bind_named(params, wanted);
    const bool list = params.kind() == cel::Kind::list;
    if (!list && !params.is_null())
      return sql_error("params", "`params` is a list, or a record for parameters with names");
    const size_t given = list ? params.as_list().size() : 0;
    if (given != static_cast<size_t>(wanted))
      return sql_error("params", fmt::format("the statement has {} parameters, and {} are given",
                                             wanted, given));
    for (int i = 1; i <= wanted; ++i) {
      const auto place = place_of(i);
      if (!place || *place >= given)
        return sql_error("params", fmt::format("no value is given for the parameter {}; those with "
                                               "names take a record",
                                               sqlite3_bind_parameter_name(statement_, i)));
      bind_one(i, params.as_list()[*place]);
    }
    return std::nullopt;
  }

  // Where in a list the value of a parameter stands: `?` by order, `?2` and `$2` by number.
  std::optional<size_t> place_of(int i) const {
    const char* name = sqlite3_bind_parameter_name(statement_, i);
    if (name == nullptr) return static_cast<size_t>(i - 1);
    const std::string_view digits(name + 1);
    size_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number == 0)
      return std::nullopt;
    return number - 1;
  }

  std::optional<ActivityError> bind_named(const Value& params, int wanted) {
    for (int i = 1; i <= wanted; ++i) {
      const char* name = sqlite3_bind_parameter_name(statement_, i);
      const Value* v = name == nullptr ? nullptr : params.find(std::string_view(name + 1));
      if (v == nullptr)
        return sql_error("params", fmt::format("no value is given for the parameter {}",
                                               name == nullptr ? std::to_string(i) : name));
      bind_one(i, *v);
    }
    for (const cel::MapEntry& e : params.as_map()) {
      const std::string name(e.key.kind() == cel::Kind::string ? e.key.as_string() : "");
      bool used = false;
      for (const char* mark : {":", "@", "$"})
        used |= sqlite3_bind_parameter_index(statement_, (mark + name).c_str()) > 0;
      if (!used)
        return sql_error("params", fmt::format("the statement has no parameter `:{}`", name));
    }
    return std::nullopt;
  }

  void bind_one(int at, const Value& v) {
    switch (v.kind()) {
      case cel::Kind::null:
        sqlite3_bind_null(statement_, at);
        return;
      case cel::Kind::boolean:
        sqlite3_bind_int(statement_, at, v.as_bool() ? 1 : 0);
        return;
      case cel::Kind::int_:
        sqlite3_bind_int64(statement_, at, v.as_int());
        return;
      case cel::Kind::double_:
        sqlite3_bind_double(statement_, at, v.as_double());
        return;
      case cel::Kind::bytes:
        sqlite3_bind_blob64(statement_, at, v.as_bytes().data(), v.as_bytes().size(),
                            SQLITE_TRANSIENT);
        return;
      default:
        break;  // as text: what `${…}` makes of it, or JSON
    }
    const std::string text = cel::interpolated_text(v).value_or(cel::to_json(v));
    sqlite3_bind_text64(statement_, at, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }

  Outcome rows() {
    std::vector<std::string> names;
    for (int i = 0; i < sqlite3_column_count(statement_); ++i) {
      const char* name = sqlite3_column_name(statement_, i);
      names.emplace_back(name == nullptr ? "" : name);
    }
    SqlRows out;
    if (auto error = out.columns(std::move(names))) return std::move(*error);
    const bool reads = sqlite3_stmt_readonly(statement_) != 0;
    for (;;) {
      const int code = sqlite3_step(statement_);
      if (code == SQLITE_DONE) break;
      if (code != SQLITE_ROW) {
        if (stopped_) return cancelled_error();
        return failure("the statement failed");
      }
      std::vector<Value> row;
      for (size_t i = 0; i < out.width(); ++i) row.push_back(column(static_cast<int>(i)));
      if (auto error = out.row(std::move(row))) return std::move(*error);
    }
    return std::move(out).take(reads ? 0 : sqlite3_changes64(db_), "sqlite");
  }

  Value column(int i) {
    const auto size = [&] { return static_cast<size_t>(sqlite3_column_bytes(statement_, i)); };
    switch (sqlite3_column_type(statement_, i)) {
      case SQLITE_INTEGER:
        return Value::integer(sqlite3_column_int64(statement_, i));
      case SQLITE_FLOAT:
        return Value::number(sqlite3_column_double(statement_, i));
      case SQLITE_TEXT: {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, i));
        return Value::string(replace_invalid_utf8(std::string_view(text, size())));
      }
      case SQLITE_BLOB: {
        const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, i));
        return Value::bytes(data == nullptr ? std::string_view() : std::string_view(data, size()));
      }
      default:
        return {};
    }
  }

  // What SQLite says last went wrong.
  ActivityError failure(std::string_view what) const {
    const int code = sqlite3_errcode(db_);
    ActivityError out = sql_error("sql", fmt::format("{}: {}", what, sqlite3_errmsg(db_)));
    switch (code & 0xff) {
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        out.code = "busy";
        out.retryable = true;
        break;
      case SQLITE_CONSTRAINT:
        out.code = "constraint";
        break;
      case SQLITE_READONLY:
        out.code = "read_only";
        out.message += "; a statement that writes needs `write: true`";
        break;
      case SQLITE_CANTOPEN:
        out.code = "not_found";
        break;
      case SQLITE_NOTADB:
      case SQLITE_CORRUPT:
        out.code = "no_database";
        break;
      case SQLITE_AUTH:
        out.kind = "rejected";
        out.code = "not_allowed";
        break;
      case SQLITE_FULL:
        out.code = "no_space";
        break;
      default:
        break;
    }
    return out;
  }

  const Roots& roots_;
  const std::atomic<bool>& stopped_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace

Outcome run_sqlite(const Roots& roots, const std::string& path, const SqlRequest& request,
                   const std::atomic<bool>& stopped) {
  return Query(roots, stopped).run(path, request);
}

}  // namespace kflow::activities
