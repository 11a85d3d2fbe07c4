// One statement on a PostgreSQL server, in a transaction of its own, on a kept connection.
#include "runtime/activities/postgres.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "runtime/activities/libpq.hpp"
#include "runtime/activities/postgres_values.hpp"
#include "runtime/activities/secrets.hpp"

namespace kflow::activities {
namespace {

using cel::Value;
using Problem = std::optional<ActivityError>;

constexpr int look_ms = 100;          // at whether to stop, while a server is waited for
constexpr int64_t cancel_ms = 2'000;  // for what a server still has to say to who must stop

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// What stands in error messages of the server that are worth more than their text.
struct ServerError {
  std::string state;  // SQLSTATE
  std::string message;
  Value data;
};

/// A connection with the names that must not be shown. One thread at a time.
class Connection {
 public:
  Connection(const Libpq& pq, std::string url, std::string secret)
      : pq_(pq), url_(std::move(url)), secret_(std::move(secret)) {}
  ~Connection() {
    if (conn_ != nullptr) pq_.PQfinish(conn_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const std::string& url() const { return url_; }
  bool usable() const {
    return conn_ != nullptr && pq_.PQstatus(conn_) == CONNECTION_OK && !spent_;
  }
  int64_t idle_since = 0;

  Problem connect(const std::atomic<bool>& stopped) {
    if (auto error = read_url()) return error;
    const char* keys[] = {"tcp_user_timeout", "dbname", "client_encoding",
                          "fallback_application_name", nullptr};
    const char* values[] = {"30000", url_.c_str(), "UTF8", "kflow", nullptr};
    conn_ = pq_.PQconnectStartParams(keys, values, 1);
    if (conn_ == nullptr) return sql_error("memory", "there is no memory for a connection");
    pq_.PQsetNoticeProcessor(conn_, [](void*, const char*) {}, nullptr);
    const int64_t deadline = now_ms() + postgres_connect_timeout_ms;
    if (pq_.PQstatus(conn_) == CONNECTION_BAD) return connect_error();
    for (short wanted = POLLOUT;;) {
      if (auto error = wait(wanted, deadline, &stopped)) return error;
      switch (pq_.PQconnectPoll(conn_)) {
        case PGRES_POLLING_READING:
          wanted = POLLIN;
          break;
        case PGRES_POLLING_WRITING:
          wanted = POLLOUT;
          break;
        case PGRES_POLLING_OK:
          pq_.PQsetnonblocking(conn_, 1);
          return std::nullopt;
        default:
          return connect_error();
      }
    }
  }

  // What an earlier statement may have left behind is gone then; also tells whether the server is
  // still there.
  bool renew(const std::atomic<bool>& stopped) { return !command("DISCARD ALL", &stopped); }

  Outcome run(const SqlRequest& request, const std::atomic<bool>& stopped) {
    const std::string begin = fmt::format(
        "{}{}", request.write ? "BEGIN READ WRITE" : "BEGIN READ ONLY", session_settings());
    if (auto error = command(begin, &stopped)) return std::move(*error);
    auto outcome = statement(request, stopped);
    if (spent_) return outcome;  // the connection is closed, which undoes it
    const bool done = std::holds_alternative<Value>(outcome);
    if (done && pq_.PQtransactionStatus(conn_) != PQTRANS_INTRANS) {
      spent_ = true;
      return sql_error("statement",
                       "a statement cannot end the transaction it is in; each is one of its own");
    }
    // A reading transaction is rolled back: settings it made would outlive it.
    const bool commit = done && request.write;
    ending_ = true;
    auto error = command(commit ? "COMMIT" : "ROLLBACK", &stopped);
    ending_ = false;
    if (!error || !commit) return outcome;
    if (!spent_) return std::move(*error);  // refused, such as by a deferred constraint
    return ActivityError{.kind = "unknown_outcome",
                         .code = "commit",
                         .message = fmt::format("it is not known whether the database has kept the "
                                                "change: {}",
                                                error->message)};
  }

 private:
  static std::string session_settings() {
    return fmt::format(
        "; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL "
        "bytea_output "
        "= 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL idle_in_transaction_session_timeout "
        "= "
        "{}; SELECT CASE WHEN current_setting('statement_timeout') = '0' THEN "
        "set_config('statement_timeout', '{}', true) END",
        postgres_idle_ms, postgres_statement_timeout_ms);
  }

  Problem read_url() {
    char* why = nullptr;
    PQconninfoOption* parts = pq_.PQconninfoParse(url_.c_str(), &why);
    const std::string problem = why == nullptr ? "" : why;
    if (why != nullptr) pq_.PQfreemem(why);
    if (parts == nullptr)
      // libpq's text would show the whole URL.
      return sql_error(
          "database",
          secret_.empty()
              ? fmt::format("`database` is no URL of PostgreSQL: {}", without(problem, url_))
              : fmt::format("the secret `{}` is no URL of PostgreSQL; it "
                            "is postgres://user:password@host:port/database",
                            secret_));
    for (const PQconninfoOption* o = parts; o->keyword != nullptr; ++o) {
      const std::string_view key = o->keyword;
      if ((key == "password" || key == "sslpassword") && o->val != nullptr)
        hidden_.push_back(o->val);
    }
    pq_.PQconninfoFree(parts);
    if (secret_.empty() && !hidden_.empty())
      return ActivityError{
          .kind = "rejected",
          .code = "password_in_url",
          .message =
              "the URL holds a password, which a run's log would keep; declare a secret "
              "that is the whole URL, such as `secret DATABASE_URL`, and give that"};
    return std::nullopt;
  }

  std::string shown(std::string text) const {
    for (const std::string& word : hidden_) text = without(std::move(text), word);
    while (text.ends_with('\n')) text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
  }

  ActivityError connect_error() {
    const std::string why = shown(pq_.PQerrorMessage(conn_));
    spent_ = true;
    ActivityError out = sql_error("connect", why);
    // libpq gives no SQLSTATE of what a server says before there is a session.
    const auto says = [&](std::string_view text) { return why.find(text) != std::string::npos; };
    out.retryable = true;
    if (says("password authentication failed") || says("no password supplied") ||
        says("no pg_hba.conf entry") || says("does not exist") || says("authentication method") ||
        says("not permitted to log in")) {
      out.code = says("database \"") && says("does not exist") ? "not_found" : "login";
      out.retryable = false;
    } else if (says("received invalid response")) {
      out.code = "protocol";
      out.retryable = false;
    } else if (says("SSL") || says("certificate")) {
      out.code = "tls";
      out.retryable = false;
    }
    return out;
  }

  // Until the socket can be read or written, the deadline, or the request to stop.
  Problem wait(short wanted, int64_t deadline, const std::atomic<bool>* stopped) {
    for (;;) {
      if (stopped != nullptr && *stopped) {
        if (!ending_) {
          spent_ = true;
          return cancelled_error();
        }
        // Whether a change was made final is worth a moment.
        deadline = std::min(deadline, now_ms() + cancel_ms);
        stopped = nullptr;
      }
      if (pq_.PQsocket(conn_) < 0) return lost();
      const int64_t left = deadline - now_ms();
      pollfd p{.fd = pq_.PQsocket(conn_), .events = wanted, .revents = 0};
      const int ready =
          left <= 0 ? 0 : ::poll(&p, 1, static_cast<int>(std::min<int64_t>(left, look_ms)));
      if (ready > 0) return std::nullopt;
      if (left > 0) continue;
      spent_ = true;
      return ActivityError{.kind = "timeout",
                           .code = "sql",
                           .message = "the PostgreSQL server does not answer",
                           .retryable = true};
    }
  }

  ActivityError lost() {
    spent_ = true;
    ActivityError out = sql_error(
        "connection", fmt::format("the connection broke: {}", shown(pq_.PQerrorMessage(conn_))));
    out.retryable = true;
    return out;
  }

  // The next result, or none when there are no more. It is the caller's.
  std::variant<PGresult*, ActivityError> next(int64_t deadline, const std::atomic<bool>* stopped) {
    for (;;) {
      const int unsent = pq_.PQflush(conn_);
      if (unsent < 0) return lost();
      if (unsent == 0 && pq_.PQisBusy(conn_) == 0) return pq_.PQgetResult(conn_);
      if (auto error =
              wait(static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN), deadline, stopped))
        return std::move(*error);
      if (pq_.PQconsumeInput(conn_) == 0) return lost();
    }
  }

  // A command without parameters and without a result that matters.
  Problem command(const std::string& text, const std::atomic<bool>* stopped) {
    if (pq_.PQsendQuery(conn_, text.c_str()) == 0) return lost();
    return finish(stopped);
  }

  // Takes what is left of the results; the first error among them.
  Problem finish(const std::atomic<bool>* stopped) {
    Problem first;
    const int64_t deadline = now_ms() + postgres_silence_ms;
    for (;;) {
      auto result = next(deadline, stopped);
      if (auto* error = std::get_if<ActivityError>(&result)) return std::move(*error);
      PGresult* r = std::get<PGresult*>(result);
      if (r == nullptr) break;
      if (pq_.PQresultStatus(r) == PGRES_FATAL_ERROR && !first)
        first = failure(r, "the statement failed");
      pq_.PQclear(r);
    }
    if (pq_.PQstatus(conn_) != CONNECTION_OK) spent_ = true;
    return first;
  }

  // Asks the server to end the statement, and waits until it has.
  void stop() {
    char why[256];
    if (PGcancel* cancel = pq_.PQgetCancel(conn_); cancel != nullptr) {
      pq_.PQcancel(cancel, why, sizeof why);
      pq_.PQfreeCancel(cancel);
    }
    const int64_t deadline = now_ms() + cancel_ms;
    for (;;) {
      auto result = next(deadline, nullptr);
      if (std::holds_alternative<ActivityError>(result)) break;
      PGresult* r = std::get<PGresult*>(result);
      if (r == nullptr) break;
      pq_.PQclear(r);
    }
    spent_ = true;
  }

  /// Parameters as libpq takes them.
  struct Params {
    std::vector<PgParam> params;
    std::vector<const char*> values;
    std::vector<int> lengths, formats;
    std::vector<Oid> types;
    int count() const { return static_cast<int>(values.size()); }
  };

  std::variant<Params, ActivityError> read_params(const SqlRequest& request,
                                                  const std::atomic<bool>& stopped) {
    Params out;
    if (request.params.kind() == cel::Kind::map)
      return sql_error(
          "params", "the parameters of PostgreSQL are `$1`, `$2` …; `params` is a list of values");
    if (request.params.is_null()) return out;
    if (request.params.kind() != cel::Kind::list) return sql_error("params", "`params` is a list");
    const auto given = request.params.as_list();
    const bool lists = std::any_of(given.begin(), given.end(),
                                   [](const Value& v) { return v.kind() == cel::Kind::list; });
    std::vector<Oid> wanted;
    if (lists) {
      auto described = describe(request.statement, stopped);
      if (auto* error = std::get_if<ActivityError>(&described)) return std::move(*error);
      wanted = std::get<std::vector<Oid>>(std::move(described));
    }
    for (size_t i = 0; i < given.size(); ++i) {
      out.params.push_back(pg_param(given[i], i < wanted.size() && is_pg_json(wanted[i])));
      const PgParam& p = out.params.back();
      if (p.data && !p.binary && p.data->find('\0') != std::string::npos)
        return sql_error("params", fmt::format("the value of ${} contains a NUL character", i + 1));
    }
    for (const PgParam& p : out.params) {
      out.values.push_back(p.data ? p.data->c_str() : nullptr);
      out.lengths.push_back(p.data ? static_cast<int>(p.data->size()) : 0);
      out.formats.push_back(p.binary ? 1 : 0);
      out.types.push_back(p.binary ? pg_bytea : 0);
    }
    return out;
  }

  // The types of a statement's parameters, as the server infers them.
  std::variant<std::vector<Oid>, ActivityError> describe(const std::string& text,
                                                         const std::atomic<bool>& stopped) {
    if (pq_.PQsendPrepare(conn_, "", text.c_str(), 0, nullptr) == 0) return lost();
    if (auto error = finish(&stopped)) return std::move(*error);
    if (pq_.PQsendDescribePrepared(conn_, "") == 0) return lost();
    auto result = next(now_ms() + postgres_silence_ms, &stopped);
    if (auto* error = std::get_if<ActivityError>(&result)) return std::move(*error);
    PGresult* r = std::get<PGresult*>(result);
    std::vector<Oid> out;
    for (int i = 0; r != nullptr && i < pq_.PQnparams(r); ++i) out.push_back(pq_.PQparamtype(r, i));
    pq_.PQclear(r);
    if (auto error = finish(&stopped)) return std::move(*error);
    return out;
  }

  Outcome statement(const SqlRequest& request, const std::atomic<bool>& stopped) {
    if (request.statement.find('\0') != std::string::npos)
      return sql_error("statement", "the statement contains a NUL character");
    auto read = read_params(request, stopped);
    if (auto* error = std::get_if<ActivityError>(&read)) return std::move(*error);
    const Params& p = std::get<Params>(read);
    if (pq_.PQsendQueryParams(conn_, request.statement.c_str(), p.count(), p.types.data(),
                              p.values.data(), p.lengths.data(), p.formats.data(), 0) == 0)
      return lost();
    pq_.PQsetSingleRowMode(conn_);
    SqlRows rows;
    Raw raw;
    auto outcome = collect(raw, stopped);
    if (outcome) return std::move(*outcome);
    if (auto error = rows.columns(std::move(raw.names))) return std::move(*error);
    auto arrays = array_types(raw.types, stopped);
    if (auto* error = std::get_if<ActivityError>(&arrays)) return std::move(*error);
    for (const auto& cells : raw.rows) {
      std::vector<Value> row;
      for (size_t i = 0; i < cells.size(); ++i)
        row.push_back(cells[i] ? pg_value(raw.types[i], *cells[i], std::get<PgArrays>(arrays))
                               : Value());
      if (auto error = rows.row(std::move(row))) return std::move(*error);
    }
    return std::move(rows).take(request.write ? raw.affected : 0, "postgresql");
  }

  /// A result as the server sends it.
  struct Raw {
    std::vector<std::string> names;
    std::vector<Oid> types;
    std::vector<std::vector<std::optional<std::string>>> rows;
    size_t bytes = 0;
    int64_t affected = 0;
  };

  // Reads a result row by row, so that one that is too large is left early.
  Problem collect(Raw& raw, const std::atomic<bool>& stopped) {
    const int64_t deadline = now_ms() + postgres_silence_ms;
    Problem first;
    for (;;) {
      auto result = next(deadline, &stopped);
      if (auto* error = std::get_if<ActivityError>(&result)) {
        if (error->kind == "cancelled") stop();
        return first ? first : std::move(*error);
      }
      PGresult* r = std::get<PGresult*>(result);
      if (r == nullptr) {
        if (pq_.PQstatus(conn_) != CONNECTION_OK) spent_ = true;
        return first;
      }
      const Problem problem = take(r, raw);
      pq_.PQclear(r);
      if (problem && !first) first = problem;
      if (!problem || problem->kind != "limit") {
        if (!spent_) continue;
        return first;
      }
      stop();
      return first;
    }
  }

  Problem take(PGresult* r, Raw& raw) {
    switch (pq_.PQresultStatus(r)) {
      case PGRES_SINGLE_TUPLE:
      case PGRES_TUPLES_OK:
        if (raw.types.empty()) {
          for (int i = 0; i < pq_.PQnfields(r); ++i) {
            raw.names.emplace_back(pq_.PQfname(r, i));
            raw.types.push_back(pq_.PQftype(r, i));
          }
        }
        for (int row = 0; row < pq_.PQntuples(r); ++row) add_row(r, row, raw);
        if (raw.rows.size() > max_sql_rows || raw.bytes > max_sql_result_bytes)
          return ActivityError{
              .kind = "limit",
              .code = "result_size",
              .message = fmt::format("the result has more than {} rows or {} MiB; use LIMIT",
                                     max_sql_rows, max_sql_result_bytes >> 20)};
        [[fallthrough]];
      case PGRES_COMMAND_OK: {
        if (!std::string_view(pq_.PQcmdStatus(r)).starts_with("SELECT"))
          raw.affected = std::atoll(pq_.PQcmdTuples(r));
        return std::nullopt;
      }
      case PGRES_EMPTY_QUERY:
        return sql_error("statement", "the statement is empty");
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH:
        spent_ = true;
        return sql_error("statement", "COPY cannot be used here");
      default:
        return failure(r, "the statement failed");
    }
  }

  void add_row(PGresult* r, int row, Raw& raw) {
    std::vector<std::optional<std::string>> cells;
    for (int i = 0; i < pq_.PQnfields(r); ++i) {
      const auto size = static_cast<size_t>(pq_.PQgetlength(r, row, i));
      raw.bytes += size + sizeof(cells[0]);
      if (pq_.PQgetisnull(r, row, i) != 0) {
        cells.emplace_back();
      } else {
        cells.emplace_back(std::in_place, pq_.PQgetvalue(r, row, i), size);
      }
    }
    raw.rows.push_back(std::move(cells));
  }

  // Which of the types that a database has defined are arrays, and of what.
  std::variant<PgArrays, ActivityError> array_types(const std::vector<Oid>& types,
                                                    const std::atomic<bool>& stopped) {
    std::string unknown;
    for (const Oid type : types) {
      if (is_pg_custom(type)) unknown += (unknown.empty() ? "" : ",") + std::to_string(type);
    }
    PgArrays out;
    if (unknown.empty()) return out;
    const std::string text = fmt::format(
        "SELECT oid, typelem FROM pg_catalog.pg_type WHERE typcategory = 'A' AND oid IN ({})",
        unknown);
    if (pq_.PQsendQuery(conn_, text.c_str()) == 0) return lost();
    auto result = next(now_ms() + postgres_silence_ms, &stopped);
    if (auto* error = std::get_if<ActivityError>(&result)) return std::move(*error);
    PGresult* r = std::get<PGresult*>(result);
    for (int i = 0; r != nullptr && i < pq_.PQntuples(r); ++i)
      out[static_cast<PgType>(std::atoll(pq_.PQgetvalue(r, i, 0)))] =
          static_cast<PgType>(std::atoll(pq_.PQgetvalue(r, i, 1)));
    pq_.PQclear(r);
    if (auto error = finish(&stopped)) return std::move(*error);
    return out;
  }

  ActivityError failure(PGresult* r, std::string_view what) const {
    const auto field = [&](int code) {
      const char* text = pq_.PQresultErrorField(r, code);
      return shown(text == nullptr ? "" : text);
    };
    const std::string state = field(PG_DIAG_SQLSTATE);
    const std::string hint = field(PG_DIAG_MESSAGE_HINT);
    ActivityError out = sql_error(
        "sql", fmt::format("{}: {} (SQLSTATE {})", what, field(PG_DIAG_MESSAGE_PRIMARY), state));
    if (!hint.empty()) out.message += "; " + hint;
    cel::MapBuilder data;
    data.add("sqlstate", Value::string(state));
    for (const auto& [name, code] :
         {std::pair{"detail", PG_DIAG_MESSAGE_DETAIL},
          std::pair{"position", PG_DIAG_STATEMENT_POSITION},
          std::pair{"schema", PG_DIAG_SCHEMA_NAME}, std::pair{"table", PG_DIAG_TABLE_NAME},
          std::pair{"column", PG_DIAG_COLUMN_NAME},
          std::pair{"constraint", PG_DIAG_CONSTRAINT_NAME}}) {
      if (const std::string text = field(code); !text.empty()) data.add(name, Value::string(text));
    }
    out.data = std::move(data).take();
    classify(state, out);
    return out;
  }

  // PostgreSQL's manual, appendix A.
  static void classify(const std::string& state, ActivityError& out) {
    if (state.starts_with("23")) {
      out.code = "constraint";
    } else if (state == "25006") {
      out.code = "read_only";
      out.message += "; a statement that writes needs `write: true`";
    } else if (state == "57014") {
      out.kind = "timeout";
      out.code = "sql";
    } else if (state == "42501") {
      out.kind = "rejected";
      out.code = "not_allowed";
    } else if (state == "40001" || state == "40P01" || state == "55P03" ||
               state.starts_with("53")) {
      out.code = state == "53100" ? "no_space" : "busy";
      out.retryable = state != "53100";
    } else if (state.starts_with("08") || state.starts_with("57P")) {
      out.code = "connection";
      out.retryable = true;
    }
  }

  const Libpq& pq_;
  const std::string url_;
  const std::string secret_;
  std::vector<std::string> hidden_;
  PGconn* conn_ = nullptr;
  bool ending_ = false;  // its transaction: that is not stopped
  bool spent_ = false;   // in a state that nothing can go on from
};

}  // namespace

struct Postgres::Pool {
  std::mutex mutex;
  std::vector<std::unique_ptr<Connection>> idle;

  // Also closes those that were not used for long.
  std::unique_ptr<Connection> take(const std::string& url) {
    const int64_t now = now_ms();
    const std::lock_guard guard(mutex);
    std::erase_if(idle, [&](const auto& c) { return now - c->idle_since > postgres_idle_ms; });
    const auto it =
        std::find_if(idle.begin(), idle.end(), [&](const auto& c) { return c->url() == url; });
    if (it == idle.end()) return nullptr;
    auto out = std::move(*it);
    idle.erase(it);
    return out;
  }
  void give(std::unique_ptr<Connection> c) {
    if (!c->usable()) return;
    c->idle_since = now_ms();
    const std::lock_guard guard(mutex);
    if (idle.size() >= max_postgres_connections) idle.erase(idle.begin());
    idle.push_back(std::move(c));
  }
};

Postgres::Postgres() : pool_(std::make_unique<Pool>()) {}
Postgres::~Postgres() = default;

Outcome Postgres::run(const std::string& url, const std::string& secret, const SqlRequest& request,
                      const std::atomic<bool>& stopped) {
  const auto pq = libpq();
  if (!pq) return sql_error("libpq", pq.error().message);
  if (url.find('\0') != std::string::npos)
    return sql_error("database", "the URL contains a NUL character");
  auto connection = pool_->take(url);
  if (connection && !connection->renew(stopped)) connection.reset();
  if (!connection) {
    connection = std::make_unique<Connection>(**pq, url, secret);
    if (auto error = connection->connect(stopped)) return std::move(*error);
  }
  auto outcome = connection->run(request, stopped);
  pool_->give(std::move(connection));
  return outcome;
}

}  // namespace kflow::activities
