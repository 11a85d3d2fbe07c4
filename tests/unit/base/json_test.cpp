// parse_json and JsonWriter against each other and against bad input.
#include "compiler/base/json.hpp"

#include <cmath>

#include "tests/support/catch.hpp"

using namespace kflow;

namespace {
// Writes back what it is given.
class Echo : public JsonHandler {
 public:
  Result<void> null() override { return w.null(), Result<void>{}; }
  Result<void> boolean(bool v) override { return w.boolean(v), Result<void>{}; }
  Result<void> integer(int64_t v) override { return w.integer(v), Result<void>{}; }
  Result<void> unsigned_integer(uint64_t v) override {
    return w.unsigned_integer(v), Result<void>{};
  }
  Result<void> number(double v) override { return w.number(v), Result<void>{}; }
  Result<void> string(std::string_view v) override { return w.string(v), Result<void>{}; }
  Result<void> begin_array() override { return w.begin_array(), Result<void>{}; }
  Result<void> end_array() override { return w.end_array(), Result<void>{}; }
  Result<void> begin_object() override { return w.begin_object(), Result<void>{}; }
  Result<void> key(std::string_view v) override { return w.key(v), Result<void>{}; }
  Result<void> end_object() override { return w.end_object(), Result<void>{}; }
  JsonWriter w;
};
}  // namespace

TEST_CASE("a document passes through unchanged") {
  const std::string text =
      R"({"a":[1,-2,18446744073709551615,1.5,1.0,true,null,"x\n\u0001é"],"b":{},"c":[]})";
  Echo echo;
  REQUIRE(parse_json(text, echo));
  CHECK(echo.w.text() == text);
}

TEST_CASE("errors name line and column") {
  Echo echo;
  const auto r = parse_json("{\n  \"a\": tru\n}", echo);
  REQUIRE_FALSE(r);
  CHECK(r.error().message.find("line 2") == 0);
}

TEST_CASE("nesting is limited") {
  Echo echo;
  const auto r = parse_json(std::string(100000, '['), echo);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == ErrorCode::limit);
}

TEST_CASE("what JSON cannot say") {
  JsonWriter w;
  w.begin_array(), w.number(NAN), w.number(-INFINITY),
      w.string(
          "a\xff"
          "b"),
      w.end_array();
  CHECK(w.text() ==
        "[\"NaN\",\"-Infinity\",\"a\xef\xbf\xbd"
        "b\"]");
}

TEST_CASE("indentation") {
  JsonWriter w(2);
  w.begin_object(), w.key("a"), w.begin_array(), w.integer(1), w.end_array(), w.key("b"),
      w.begin_object(), w.end_object(), w.end_object();
  CHECK(w.text() == "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
}
