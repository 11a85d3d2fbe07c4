// sql.query: one statement on a SQLite database within the roots. The file is opened for each
// statement: nothing is held between steps, so a run can go on in any process.
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <set>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/roots.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t max_rows = 100'000;
constexpr size_t max_result_bytes = 16U << 20;
constexpr size_t max_statement_bytes = 1U << 20;
constexpr int busy_timeout_ms = 10'000;      // another process writes
constexpr int steps_between_looks = 10'000;  // of SQLite's machine, at whether to stop

ActivityError bad(std::string code, std::string message) {
  return {.kind = "tool", .code = std::move(code), .message = std::move(message)};
}

// A read-only database is still not to reach other files, nor to change what others see.
int authorize(void*, int action, const char* first, const char* second, const char*, const char*) {
  if (action == SQLITE_ATTACH || action == SQLITE_DETACH) return SQLITE_DENY;
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

  Outcome run(const Value& input) {
    const std::string path = text_argument(input, "database");
    const bool write = bool_argument(input, "write", false);
    if (auto error = open(path, write)) return std::move(*error);
    if (auto error = prepare(text_argument(input, "statement"))) return std::move(*error);
    if (auto error = bind(input.find("params"))) return std::move(*error);
    return rows();
  }

 private:
  std::optional<ActivityError> open(const std::string& path, bool write) {
    if (path.empty()) return bad("database", "`database` is the path of a SQLite database");
    if (path.find('\0') != std::string::npos)
      return bad("database", "the path contains a NUL character");
    auto real = roots_.real_path(path);
    if (auto* error = std::get_if<ActivityError>(&real)) return std::move(*error);
    const int mode = write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    const int code = sqlite3_open_v2(std::get<std::string>(real).c_str(), &db_,
                                     mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nullptr);
    if (db_ == nullptr) return bad("memory", "there is no memory for a database");
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

  std::optional<ActivityError> prepare(const std::string& text) {
    if (text.size() > max_statement_bytes)
      return ActivityError{
          .kind = "limit",
          .code = "statement_size",
          .message = fmt::format("the statement is longer than {} KiB", max_statement_bytes >> 10)};
    const char* rest = nullptr;
    if (sqlite3_prepare_v2(db_, text.c_str(), static_cast<int>(text.size()), &statement_, &rest) !=
        SQLITE_OK)
      return failure("the statement is wrong");
    if (statement_ == nullptr) return bad("statement", "the statement is empty");
    // What follows may only be white space and comments.
    sqlite3_stmt* more = nullptr;
    const auto left = static_cast<int>(text.c_str() + text.size() - rest);
    const bool sound =
        sqlite3_prepare_v2(db_, rest, left, &more, nullptr) == SQLITE_OK && more == nullptr;
    sqlite3_finalize(more);
    if (!sound)
      return bad("statement", "there is more than one statement; each needs a step of its own");
    return std::nullopt;
  }

  std::optional<ActivityError> bind(const Value* params) {
    const int wanted = sqlite3_bind_parameter_count(statement_);
    if (params != nullptr && params->kind() == cel::Kind::map) return bind_named(*params, wanted);
    const bool list = params != nullptr && params->kind() == cel::Kind::list;
    if (params != nullptr && !list && !params->is_null())
      return bad("params", "`params` is a list, or a record for parameters with names");
    const size_t given = list ? params->as_list().size() : 0;
    if (given != static_cast<size_t>(wanted))
      return bad("params",
                 fmt::format("the statement has {} parameters, and {} are given", wanted, given));
    for (int i = 0; i < wanted; ++i) bind_one(i + 1, params->as_list()[static_cast<size_t>(i)]);
    return std::nullopt;
  }

  std::optional<ActivityError> bind_named(const Value& params, int wanted) {
    for (int i = 1; i <= wanted; ++i) {
      const char* name = sqlite3_bind_parameter_name(statement_, i);
      const Value* v = name == nullptr ? nullptr : params.find(std::string_view(name + 1));
      if (v == nullptr)
        return bad("params", fmt::format("no value is given for the parameter {}",
                                         name == nullptr ? std::to_string(i) : name));
      bind_one(i, *v);
    }
    for (const cel::MapEntry& e : params.as_map()) {
      const std::string name(e.key.kind() == cel::Kind::string ? e.key.as_string() : "");
      bool used = false;
      for (const char* mark : {":", "@", "$"})
        used |= sqlite3_bind_parameter_index(statement_, (mark + name).c_str()) > 0;
      if (!used) return bad("params", fmt::format("the statement has no parameter `:{}`", name));
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
    std::vector<Value> names;
    std::set<std::string> seen;
    for (int i = 0; i < sqlite3_column_count(statement_); ++i) {
      const char* name = sqlite3_column_name(statement_, i);
      std::string text = replace_invalid_utf8(name == nullptr ? "" : name);
      if (!seen.insert(text).second)
        return bad("columns",
                   fmt::format("two columns are named `{}`; give one another name with AS", text));
      names.push_back(Value::string(std::move(text)));
    }
    const bool reads = sqlite3_stmt_readonly(statement_) != 0;
    std::vector<Value> out;
    size_t bytes = 0;
    for (;;) {
      const int code = sqlite3_step(statement_);
      if (code == SQLITE_DONE) break;
      if (code != SQLITE_ROW) {
        if (stopped_) return cancelled_error();
        return failure("the statement failed");
      }
      cel::MapBuilder row;
      for (size_t i = 0; i < names.size(); ++i) {
        Value v = column(static_cast<int>(i));
        bytes += v.memory() + names[i].memory();
        row.add(names[i], std::move(v));
      }
      out.push_back(std::move(row).take());
      if (out.size() > max_rows || bytes > max_result_bytes)
        return ActivityError{
            .kind = "limit",
            .code = "result_size",
            .message = fmt::format("the result has more than {} rows or {} MiB; use LIMIT",
                                   max_rows, max_result_bytes >> 20)};
    }
    return cel::make_record({{"columns", Value::list(std::move(names))},
                             {"rows", Value::list(std::move(out))},
                             {"affected", Value::integer(reads ? 0 : sqlite3_changes64(db_))}});
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
    ActivityError out = bad("sql", fmt::format("{}: {}", what, sqlite3_errmsg(db_)));
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

Job sql_job(const Options& options) {
  return [roots = Roots(options.file_roots)](const Request& request,
                                             const std::atomic<bool>& stopped) {
    return Query(roots, stopped).run(request.input);
  };
}

}  // namespace kflow::activities
