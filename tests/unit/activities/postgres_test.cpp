// sql.query against a real PostgreSQL server, which the test starts; skipped where none is
// installed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cmath>
#include <cstdio>
#include <thread>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "tests/unit/activities/postgres_cluster.hpp"
#include "tests/unit/activities/world.hpp"

using namespace kflow;
using namespace kflow::activities;
using cel::Kind;
using cel::Value;

namespace {

PostgresCluster* cluster() {
  static std::string why;
  static const std::unique_ptr<PostgresCluster> one = PostgresCluster::start(why);
  if (!one) std::printf("SKIPPED: %s\n", why.c_str());
  return one.get();
}

Value list(std::vector<Value> items) { return Value::list(std::move(items)); }
Value text(std::string s) { return Value::string(std::move(s)); }
Value number(int64_t n) { return Value::integer(n); }

class Database : public World {
 public:
  explicit Database(const PostgresCluster& c)
      : World(Secrets{{"PG", c.url()},
                      {"PG_SHORT", c.url("?options=-c%20statement_timeout%3D50ms")},
                      {"PG_WRONG", "postgres://postgres:not-the-password@127.0.0.1:" +
                                       std::to_string(c.port) + "/postgres"},
                      {"PG_NOWHERE", c.url("_x")},
                      {"PG_MALFORMED", "postgres://u:hidden-word@host/db?no_such_option=1"},
                      {"NO_URL", "hidden-word"}}) {}

  static Value input(const std::string& statement, std::vector<Value> params, bool write) {
    return cel::make_record({{"database", secret("PG")},
                             {"statement", text(statement)},
                             {"params", list(std::move(params))},
                             {"write", Value::boolean(write)}});
  }
  Value rows(const std::string& statement, std::vector<Value> params = {}) {
    return *value("sql.query", input(statement, std::move(params), false)).find("rows");
  }
  /// The only value of the only row.
  Value one(const std::string& statement, std::vector<Value> params = {}) {
    const Value all = rows(statement, std::move(params));
    REQUIRE(all.as_list().size() == 1);
    return all.as_list()[0].as_map()[0].value;
  }
  int64_t change(const std::string& statement, std::vector<Value> params = {}) {
    return value("sql.query", input(statement, std::move(params), true)).find("affected")->as_int();
  }
  ActivityError problem(const std::string& statement, std::vector<Value> params = {},
                        bool write = false) {
    return error("sql.query", input(statement, std::move(params), write));
  }
  ActivityError problem_at(Value database) {
    return error("sql.query", cel::make_record({{"database", std::move(database)},
                                                {"statement", text("SELECT 1 AS one")}}));
  }
};

std::string sqlstate(const ActivityError& e) {
  const Value* state = e.data.kind() == Kind::map ? e.data.find("sqlstate") : nullptr;
  return state == nullptr ? "" : std::string(state->as_string());
}

}  // namespace

TEST_CASE("PostgreSQL: types of columns") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  const auto same = [&](const std::string& expression, const Value& wanted) {
    INFO(expression);
    const Value got = db.one("SELECT " + expression + " AS x");
    INFO(cel::to_display(got));
    CHECK(Value::identical(got, wanted));
  };
  same("true", Value::boolean(true));
  same("1::int2", number(1));
  same("9223372036854775807", number(INT64_MAX));
  same("1.5::float8", Value::number(1.5));
  same("0.1::float4", Value::number(0.1));
  same("NULL::int", Value());
  same("'text'", text("text"));
  same("'a'::char(3)", text("a  "));
  same("12.50::numeric", Value::number(12.5));
  same("0.00::numeric", Value::number(0.0));
  same("(SELECT sum(x) FROM generate_series(1::bigint, 4) x)", number(10));
  same("123456789012.34567890123::numeric", text("123456789012.34567890123"));
  same("99999999999999999999::numeric", text("99999999999999999999"));
  CHECK(std::isnan(db.one("SELECT 'NaN'::numeric AS x").as_double()));
  CHECK(std::isinf(db.one("SELECT '-Infinity'::float8 AS x").as_double()));
  same(R"('\x00ff41'::bytea)", Value::bytes(std::string("\0\xff\x41", 3)));
  const Value moment = db.one("SELECT '2026-02-03 04:05:06.789+02'::timestamptz AS x");
  REQUIRE(moment.kind() == Kind::timestamp);
  CHECK(cel::to_json(moment) == "\"2026-02-03T02:05:06.789Z\"");
  same("'infinity'::timestamptz", text("infinity"));
  same("'2026-02-03 04:05:06'::timestamp", text("2026-02-03 04:05:06"));
  same("'2026-02-03'::date", text("2026-02-03"));
  same("'1 year 2 days 03:04:05'::interval", text("P1Y2DT3H4M5S"));
  same("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
       text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
  same(R"('{"a": [1, 2.5, null]}'::jsonb)",
       cel::make_record({{"a", list({number(1), Value::number(2.5), Value()})}}));
  same("'[]'::json", list({}));
  same("ARRAY[1, NULL, 3]", list({number(1), Value(), number(3)}));
  same("ARRAY[[1, 2], [3, 4]]", list({list({number(1), number(2)}), list({number(3), number(4)})}));
  same("'[0:1]={1,2}'::int[]", list({number(1), number(2)}));
  same("'{}'::text[]", list({}));
  same(R"(ARRAY['a', 'b "c" \ {d}, e', 'NULL', ''])",
       list({text("a"), text("b \"c\" \\ {d}, e"), text("NULL"), text("")}));
  same("ARRAY['{\"a\": 1}'::jsonb]", list({cel::make_record({{"a", number(1)}})}));
  same("pg_sleep(0)", Value());
  db.change("DROP TYPE IF EXISTS mood");
  db.change("CREATE TYPE mood AS ENUM ('sad', 'so, so')");
  same("'sad'::mood", text("sad"));
  same("ARRAY['sad', 'so, so']::mood[]", list({text("sad"), text("so, so")}));
  db.change("DROP TYPE mood");
}

TEST_CASE("PostgreSQL: parameters are values, never text of the statement") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  const auto back = [&](const char* type, const Value& given, const Value& wanted) {
    INFO(type);
    const Value got = db.one(std::string("SELECT $1::") + type + " AS x", {given});
    INFO(cel::to_display(got));
    CHECK(Value::identical(got, wanted));
  };
  const Value nasty = text("'; DROP TABLE users; --\\");
  back("text", nasty, nasty);
  back("int", number(-5), number(-5));
  back("float8", Value::number(0.1), Value::number(0.1));
  back("bool", Value::boolean(false), Value::boolean(false));
  back("text", Value(), Value());
  back("bytea", Value::bytes(std::string("\0\xff", 2)), Value::bytes(std::string("\0\xff", 2)));
  const Value moment = Value::timestamp({1'700'000'000, 5'000'000});
  back("timestamptz", moment, moment);
  back("interval", Value::duration({-1'500'000'000}), text("PT-1.5S"));
  back("int[]", list({number(1), Value(), number(3)}), list({number(1), Value(), number(3)}));
  back("text[]", list({nasty, text("a,\"b\""), text("")}),
       list({nasty, text("a,\"b\""), text("")}));
  back("bytea[]", list({Value::bytes("a\\")}), list({Value::bytes("a\\")}));
  back("jsonb", list({number(1), text("x")}), list({number(1), text("x")}));
  back("jsonb", cel::make_record({{"a", number(1)}}), cel::make_record({{"a", number(1)}}));
  CHECK(db.rows("SELECT x FROM generate_series(1, 9) x WHERE x = ANY($1)",
                {list({number(2), number(4)})})
            .as_list()
            .size() == 2);
  CHECK(db.problem("SELECT $1::text AS x", {text(std::string("a\0b", 3))}).code == "params");
  CHECK(sqlstate(db.problem("SELECT $1::int AS x")) == "08P01");
  CHECK(sqlstate(db.problem("SELECT $1::int AS x", {text("one")})) == "22P02");
  CHECK(db.error("sql.query", cel::make_record({{"database", secret("PG")},
                                                {"statement", text("SELECT 1")},
                                                {"params", cel::make_record({{"a", number(1)}})}}))
            .code == "params");
}

TEST_CASE("PostgreSQL: reading and writing") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  db.change("DROP TABLE IF EXISTS users");
  CHECK(db.change("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, boss int REFERENCES "
                  "users DEFERRABLE INITIALLY DEFERRED)") == 0);
  CHECK(db.change("INSERT INTO users SELECT x, 'u' || x FROM generate_series(1, 3) x") == 3);
  const Value made = db.value(
      "sql.query",
      Database::input("INSERT INTO users VALUES (4, $1) RETURNING id, name", {text("Ada")}, true));
  CHECK(made.find("affected")->as_int() == 1);
  CHECK(made.find("dialect")->as_string() == "postgresql");
  CHECK(cel::to_json(*made.find("rows")) == R"([{"id":4,"name":"Ada"}])");
  CHECK(cel::to_json(*made.find("columns")) == R"(["id","name"])");

  const ActivityError read_only = db.problem("DELETE FROM users");
  CHECK(read_only.code == "read_only");
  CHECK(sqlstate(read_only) == "25006");
  CHECK(read_only.message.find("write: true") != std::string::npos);
  // Nor can a statement leave the transaction that keeps it from writing.
  CHECK(db.problem("COMMIT").code == "statement");
  CHECK(sqlstate(db.problem("SET TRANSACTION READ WRITE")) == "25001");
  CHECK(db.problem("DELETE FROM users").code == "read_only");
  CHECK(db.one("SELECT count(*) AS n FROM users").as_int() == 4);

  const ActivityError twice = db.problem("INSERT INTO users VALUES (4, 'Bob')", {}, true);
  CHECK(twice.code == "constraint");
  CHECK(sqlstate(twice) == "23505");
  CHECK(twice.data.find("constraint")->as_string() == "users_pkey");
  CHECK(twice.data.find("table")->as_string() == "users");
  CHECK_FALSE(twice.retryable);
  // One that is looked at only at the end.
  CHECK(db.problem("UPDATE users SET boss = 99", {}, true).code == "constraint");
  CHECK(db.one("SELECT count(*) AS n FROM users WHERE boss IS NOT NULL").as_int() == 0);

  const ActivityError wrong = db.problem("SELECT nothing FROM users");
  CHECK(wrong.kind == "tool");
  CHECK(wrong.code == "sql");
  CHECK(sqlstate(wrong) == "42703");
  CHECK(wrong.data.find("position")->as_string() == "8");
  CHECK(wrong.message.find("column \"nothing\" does not exist") != std::string::npos);
  CHECK(sqlstate(db.problem("SELECT 1; SELECT 2")) == "42601");
  CHECK(db.problem("").code == "statement");
  CHECK(db.problem("  -- nothing").code == "statement");
  CHECK(db.problem("COPY users TO STDOUT").code == "statement");
  CHECK(db.problem("COPY users FROM STDIN", {}, true).code == "statement");
  CHECK(db.problem("SELECT 1 AS a, 2 AS a").code == "columns");
  CHECK(db.problem(std::string("SELECT '\0'", 10)).code == "statement");
  db.change("DROP TABLE users");
}

TEST_CASE("PostgreSQL: nothing of a statement is left to the next one on its connection") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  const int64_t server_process = db.one("SELECT pg_backend_pid() AS x").as_int();
  db.change("SET search_path = nowhere");
  db.rows("SELECT pg_advisory_lock(42)");
  db.change("PREPARE mine AS SELECT 1");
  CHECK(db.one("SHOW search_path").as_string() == "\"$user\", public");
  CHECK(db.one("SELECT count(*) AS x FROM pg_locks WHERE locktype = 'advisory'").as_int() == 0);
  CHECK(db.one("SELECT count(*) AS x FROM pg_prepared_statements").as_int() == 0);
  CHECK(db.one("SELECT pg_backend_pid() AS x").as_int() == server_process);
  // A kept connection that has broken is replaced without anybody noticing.
  Database other(*cluster());
  other.rows("SELECT pg_terminate_backend($1)", {number(server_process)});
  CHECK(db.one("SELECT pg_backend_pid() AS x").as_int() != server_process);
}

TEST_CASE("PostgreSQL: limits") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  CHECK(db.rows("SELECT x FROM generate_series(1, 100000) x").as_list().size() == 100'000);
  const ActivityError many = db.problem("SELECT generate_series(1, 100000000) AS x");
  CHECK(many.kind == "limit");
  CHECK(many.code == "result_size");
  CHECK(db.problem("SELECT repeat('x', 1000) AS x FROM generate_series(1, 100000)").kind ==
        "limit");
  CHECK(db.one("SELECT 1 AS x").as_int() == 1);  // and goes on
  CHECK(db.problem(std::string((1U << 20) + 1, ' ')).kind == "limit");
  // More statements than connections: the others wait.
  std::vector<uint64_t> tokens;
  for (int i = 0; i < 20; ++i)
    tokens.push_back(db.start(
        "sql.query",
        Database::input("SELECT pg_sleep(0.02), (SELECT count(*) FROM pg_stat_activity WHERE "
                        "application_name = 'kflow') AS n",
                        {}, false)));
  int64_t most = 0;
  for (const uint64_t token : tokens) {
    const auto outcome = db.wait(token);
    REQUIRE(std::holds_alternative<Value>(outcome));
    most = std::max(most, std::get<Value>(outcome).find("rows")->as_list()[0].find("n")->as_int());
  }
  CHECK(most > 1);
  CHECK(most <= 8);
}

TEST_CASE("PostgreSQL: a statement that is stopped, by us or by the server") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  const auto asleep = [&] {
    return db
        .one(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE "
            "'SELECT pg_sleep(100%' AND state = 'active'")
        .as_int();
  };
  const uint64_t token = db.start("sql.query", Database::input("SELECT pg_sleep(100)", {}, false));
  while (asleep() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  db.cancel(token);
  const auto outcome = db.wait(token);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "cancelled");
  for (int i = 0; i < 500 && asleep() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(asleep() == 0);

  const ActivityError late =
      db.error("sql.query", cel::make_record({{"database", secret("PG_SHORT")},
                                              {"statement", text("SELECT pg_sleep(100)")}}));
  CHECK(late.kind == "timeout");
  CHECK(sqlstate(late) == "57014");
  CHECK(db.one("SHOW statement_timeout").as_string() == "5min");
}

TEST_CASE("PostgreSQL: a connection that breaks in the middle") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  Database other(*cluster());
  const auto process_of = [&](const std::string& query) {
    for (;;) {
      const Value found = other.rows(
          "SELECT pid FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid() AND "
          "state = 'active'",
          {text(query)});
      if (!found.as_list().empty()) return *found.as_list()[0].find("pid");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  };
  const uint64_t reading = db.start("sql.query", Database::input("SELECT pg_sleep(99)", {}, false));
  other.rows("SELECT pg_terminate_backend($1)", {process_of("SELECT pg_sleep(99)%")});
  auto outcome = db.wait(reading);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).code == "connection");
  CHECK(std::get<ActivityError>(outcome).retryable);

  // While the change is being made final, nobody can say whether it is.
  db.change("DROP TABLE IF EXISTS slow");
  db.change("CREATE TABLE slow (id int)");
  db.change(
      "CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM "
      "pg_sleep(98); RETURN NULL; END $$");
  db.change(
      "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH "
      "ROW EXECUTE FUNCTION wait()");
  const uint64_t writing =
      db.start("sql.query", Database::input("INSERT INTO slow VALUES (1)", {}, true));
  other.rows("SELECT pg_terminate_backend($1)", {process_of("COMMIT")});
  outcome = db.wait(writing);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "unknown_outcome");
  CHECK_FALSE(std::get<ActivityError>(outcome).retryable);
  const uint64_t stopped =
      db.start("sql.query", Database::input("INSERT INTO slow VALUES (2)", {}, true));
  const Value process = process_of("COMMIT");
  db.cancel(stopped);
  outcome = db.wait(stopped);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "unknown_outcome");
  other.rows("SELECT pg_terminate_backend($1)", {process});
  db.change("DROP TABLE slow");
}

TEST_CASE("PostgreSQL: no error shows a secret") {
  if (cluster() == nullptr) return;
  Database db(*cluster());
  const ActivityError wrong = db.problem_at(secret("PG_WRONG"));
  CHECK(wrong.code == "login");
  CHECK(wrong.message.find("not-the-password") == std::string::npos);
  CHECK(wrong.message.find("password authentication failed for user") != std::string::npos);
  CHECK_FALSE(wrong.retryable);
  CHECK(db.problem_at(secret("PG_NOWHERE")).code == "not_found");
  for (const char* name : {"PG_MALFORMED", "NO_URL"}) {
    const ActivityError malformed = db.problem_at(secret(name));
    CHECK(malformed.code == "database");
    CHECK(malformed.message.find("hidden-word") == std::string::npos);
    CHECK(malformed.message.find(name) != std::string::npos);
  }
  CHECK(db.problem_at(secret("UNSET")).code == "no_secret");
  // One in the open would be kept by the log of the run.
  const ActivityError open = db.problem_at(text(cluster()->url()));
  CHECK(open.code == "password_in_url");
  CHECK(open.message.find("s3cret") == std::string::npos);
  CHECK(db.problem_at(text(cluster()->url_without_password())).code == "login");
  CHECK(db.problem_at(text("postgres://127.0.0.1:1/x")).code == "connect");
  CHECK(db.problem_at(text("postgres://127.0.0.1:1/x")).retryable);
}

TEST_CASE("PostgreSQL: what answers is no PostgreSQL, or says nothing") {
  World world;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0);
  REQUIRE(::listen(fd, 8) == 0);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size);
  const Value input = cel::make_record(
      {{"database", text("postgres://u@127.0.0.1:" + std::to_string(ntohs(a.sin_port)) + "/x")},
       {"statement", text("SELECT 1")}});
  const uint64_t silent = world.start("sql.query", input);
  const int first = ::accept(fd, nullptr, nullptr);
  world.cancel(silent);
  const auto outcome = world.wait(silent);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "cancelled");
  ::close(first);

  std::thread other([&] {
    const int c = ::accept(fd, nullptr, nullptr);
    const std::string_view http = "HTTP/1.1 400 Bad Request\r\n\r\n";
    [[maybe_unused]] const ssize_t sent = ::send(c, http.data(), http.size(), MSG_NOSIGNAL);
    ::close(c);
  });
  CHECK(world.error("sql.query", input).code == "protocol");
  other.join();
  ::close(fd);
}
