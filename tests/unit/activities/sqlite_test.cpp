// sql.query against real SQLite files.
#include <sqlite3.h>

#include <fstream>
#include <thread>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"
#include "tests/unit/activities/world.hpp"

using namespace kflow;
using namespace kflow::activities;
using cel::Kind;
using cel::Value;

namespace {

Value text(std::string s) { return Value::string(std::move(s)); }
Value list(std::vector<Value> items) { return Value::list(std::move(items)); }

class Database : public World {
 public:
  static Value input(const std::string& statement, Value params, bool write,
                     const std::string& path) {
    return cel::make_record({{"database", text(path)},
                             {"statement", text(statement)},
                             {"params", std::move(params)},
                             {"write", Value::boolean(write)}});
  }
  std::string rows(const std::string& statement, Value params = {}) {
    return cel::to_json(
        *value("sql.query", input(statement, std::move(params), false, "a.db")).find("rows"));
  }
  int64_t change(const std::string& statement, Value params = {}) {
    return value("sql.query", input(statement, std::move(params), true, "a.db"))
        .find("affected")
        ->as_int();
  }
  ActivityError problem(const std::string& statement, Value params = {}, bool write = false,
                        const std::string& path = "a.db") {
    return error("sql.query", input(statement, std::move(params), write, path));
  }
};

}  // namespace

TEST_CASE("SQLite: types and parameters") {
  Database db;
  db.change("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
  const Value nasty = text("'); DROP TABLE t; --");
  CHECK(db.change("INSERT INTO t (x) VALUES (?), (?), (?), (?)",
                  list({nasty, Value::integer(INT64_MAX), Value::number(0.1), Value()})) == 4);
  CHECK(db.change("INSERT INTO t (x) VALUES (?), (?)",
                  list({Value::bytes(std::string("\0\xff", 2)), Value::boolean(true)})) == 2);
  CHECK(db.change("INSERT INTO t (x) VALUES (?)", list({list({Value::integer(1), text("a")})})) ==
        1);
  const Value found =
      *db.value("sql.query", Database::input("SELECT x FROM t ORDER BY id", {}, false, "a.db"))
           .find("rows");
  const auto x = [&](size_t i) { return *found.as_list()[i].find("x"); };
  CHECK(Value::identical(x(0), nasty));
  CHECK(Value::identical(x(1), Value::integer(INT64_MAX)));
  CHECK(Value::identical(x(2), Value::number(0.1)));
  CHECK(x(3).is_null());
  CHECK(Value::identical(x(4), Value::bytes(std::string("\0\xff", 2))));
  CHECK(Value::identical(x(5), Value::integer(1)));
  CHECK(Value::identical(x(6), text(R"([1,"a"])")));

  CHECK(db.rows("SELECT :a + @b + $c AS n", cel::make_record({{"a", Value::integer(1)},
                                                              {"b", Value::integer(2)},
                                                              {"c", Value::integer(3)}})) ==
        R"([{"n":6}])");
  // By number, in whatever order they stand, as PostgreSQL has it.
  CHECK(db.rows("SELECT $2 AS b, $1 AS a", list({text("one"), text("two")})) ==
        R"([{"b":"two","a":"one"}])");
  CHECK(db.rows("SELECT ?2 AS b, ?1 AS a, ?2 AS c", list({text("one"), text("two")})) ==
        R"([{"b":"two","a":"one","c":"two"}])");
  CHECK(db.problem("SELECT ?", list({})).code == "params");
  CHECK(db.problem("SELECT ?", list({Value(), Value()})).code == "params");
  CHECK(db.problem("SELECT :a", list({Value()})).code == "params");
  CHECK(db.problem("SELECT $3", list({Value()})).code == "params");
  CHECK(db.problem("SELECT :a", cel::make_record({{"b", Value()}})).code == "params");
  CHECK(db.problem("SELECT :a", cel::make_record({{"a", Value()}, {"b", Value()}})).code ==
        "params");
  CHECK(db.problem("SELECT 1", text("x")).code == "params");
}

TEST_CASE("SQLite: reading and writing") {
  Database db;
  CHECK(db.problem("SELECT 1").code == "not_found");
  CHECK(db.change("CREATE TABLE t (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t)") == 0);
  const Value made = db.value(
      "sql.query", Database::input("INSERT INTO t (id) VALUES (7) RETURNING id", {}, true, "a.db"));
  CHECK(cel::to_json(*made.find("rows")) == R"([{"id":7}])");
  CHECK(made.find("affected")->as_int() == 1);
  CHECK(made.find("dialect")->as_string() == "sqlite");
  const ActivityError read_only = db.problem("DELETE FROM t");
  CHECK(read_only.code == "read_only");
  CHECK(read_only.message.find("write: true") != std::string::npos);
  CHECK(db.problem("INSERT INTO t VALUES (7, NULL)", {}, true).code == "constraint");
  CHECK(db.problem("INSERT INTO t VALUES (8, 99)", {}, true).code == "constraint");
  CHECK(db.problem("SELECT missing FROM t").code == "sql");
  CHECK(db.problem("SELECT missing FROM t").message ==
        "the statement is wrong: no such column: missing");
  CHECK(db.problem("SELEC 1").message == "the statement is wrong: near \"SELEC\": syntax error");
  CHECK(db.problem("").code == "statement");
  CHECK(db.problem("-- nothing").code == "statement");
  CHECK(db.problem("SELECT 1; SELECT 2").code == "statement");
  CHECK(db.rows("SELECT 1 AS one; -- and no more") == R"([{"one":1}])");
  CHECK(db.problem("SELECT 1 AS a, 2 AS a").code == "columns");
  CHECK(db.problem("BEGIN", {}, true).kind == "rejected");
  CHECK(db.problem("SAVEPOINT s", {}, true).kind == "rejected");
}

TEST_CASE("SQLite: nothing outside is reached") {
  Database db;
  db.change("CREATE TABLE t (id)");
  for (const char* statement : {"ATTACH '/tmp/other.db' AS o", "PRAGMA journal_mode = DELETE",
                                "PRAGMA writable_schema = 1", "SELECT load_extension('x')"}) {
    INFO(statement);
    const ActivityError e = db.problem(statement, {}, true);
    CHECK((e.kind == "rejected" || e.message.find("not authorized") != std::string::npos));
  }
  CHECK(db.rows("PRAGMA table_info(t)").find("\"name\":\"id\"") != std::string::npos);
  for (const char* path : {"../x.db", "/etc/x.db"})
    CHECK(db.problem("SELECT 1", {}, true, path).code == "outside_roots");
  std::filesystem::create_symlink("/etc", db.root / "link");
  CHECK(db.problem("SELECT 1", {}, true, "link/x.db").code == "outside_roots");
  CHECK(db.problem("SELECT 1", {}, false, "").code == "database");
  CHECK(db.problem("SELECT 1", {}, false, std::string("a\0b", 3)).code == "database");
  std::ofstream(db.root / "text.db") << std::string(5000, 'x');
  CHECK(db.problem("SELECT * FROM t", {}, false, "text.db").code == "no_database");
  std::filesystem::create_directory(db.root / "folder");
  CHECK(db.problem("SELECT 1", {}, false, "folder").kind == "tool");
}

TEST_CASE("SQLite: limits, and one who is busy") {
  Database db;
  db.change("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const std::string endless =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
  const ActivityError many = db.problem(endless);
  CHECK(many.kind == "limit");
  CHECK(many.code == "result_size");
  CHECK(db.problem(endless.substr(0, endless.size() - 15) + "SELECT hex(zeroblob(1000000)) FROM n")
            .kind == "limit");
  // Rows that are too many are not written either.
  CHECK(db.problem("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100001) "
                   "INSERT INTO t SELECT i FROM n RETURNING id",
                   {}, true)
            .kind == "limit");
  CHECK(db.rows("SELECT count(*) AS n FROM t") == R"([{"n":0}])");
  CHECK(db.problem(std::string((1U << 20) + 1, ' ')).code == "statement_size");

  const uint64_t token = db.start(
      "sql.query",
      Database::input("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
                      "max(i) FROM n",
                      {}, false, "a.db"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  db.cancel(token);
  const auto outcome = db.wait(token);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "cancelled");

  // A statement waits for another process that writes.
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open((db.root / "a.db").c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  const uint64_t waiting =
      db.start("sql.query", Database::input("INSERT INTO t VALUES (1)", {}, true, "a.db"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  REQUIRE(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(other);
  CHECK(std::holds_alternative<Value>(db.wait(waiting)));
}
