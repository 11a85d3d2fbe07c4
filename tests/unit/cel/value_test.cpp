// Values: equality, order, maps, sizes, sharing, text forms.
#include "compiler/cel/value.hpp"

#include <limits>

#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

const double nan = std::numeric_limits<double>::quiet_NaN();

TEST_CASE("numbers of different kinds are equal on one line") {
  CHECK(Value::integer(1) == Value::unsigned_integer(1));
  CHECK(Value::integer(1) == Value::number(1.0));
  CHECK_FALSE(Value::integer(-1) == Value::unsigned_integer(UINT64_MAX));
  CHECK_FALSE(Value::number(nan) == Value::number(nan));
  CHECK(Value::number(-0.0) == Value::number(0.0));
  CHECK_FALSE(Value::integer(0) == Value::boolean(false));
  CHECK_FALSE(Value::string("a") == Value::bytes("a"));
}

TEST_CASE("identical values have the same kinds all through") {
  CHECK_FALSE(Value::identical(Value::integer(1), Value::number(1.0)));
  CHECK(Value::identical(Value::number(nan), Value::number(nan)));
  CHECK_FALSE(Value::identical(Value::number(-0.0), Value::number(0.0)));
  const Value a = test::json(R"({"a": 1, "b": [1, 2.0]})");
  CHECK(Value::identical(a, test::json(R"({"b": [1, 2.0], "a": 1})")));
  CHECK_FALSE(Value::identical(a, test::json(R"({"b": [1, 2], "a": 1})")));
  CHECK(a == test::json(R"({"b": [1, 2], "a": 1})"));
  CHECK_FALSE(Value::identical(Value::none(), Value::some(Value())));
}

TEST_CASE("maps find equal keys of every number kind, small and large") {
  for (const int64_t size : {3, 100}) {
    MapBuilder builder;
    for (int64_t i = 0; i < size; ++i) CHECK(builder.add(Value::integer(i), Value::integer(i * i)));
    CHECK_FALSE(builder.add(Value::unsigned_integer(2), Value()));
    CHECK_FALSE(builder.add(Value::number(2.0), Value()));
    CHECK_FALSE(builder.add(Value::list({}), Value()));
    CHECK(builder.add("x", Value::boolean(true)));
    builder.set("x", Value::boolean(false));
    builder.set("y", Value::string("new"));
    const Value map = std::move(builder).take();
    CHECK(map.size() == size + 2);
    REQUIRE(map.find(Value::number(2.0)) != nullptr);
    CHECK(map.find(Value::number(2.0))->as_int() == 4);
    REQUIRE(map.find(Value::unsigned_integer(1)) != nullptr);
    CHECK(map.find(Value::number(2.5)) == nullptr);
    CHECK(map.find(Value::number(nan)) == nullptr);
    CHECK(map.find(Value::null()) == nullptr);
    REQUIRE(map.find("x") != nullptr);
    CHECK_FALSE(map.find("x")->as_bool());
    CHECK(map.find("y")->as_string() == "new");
    CHECK(map.find("z") == nullptr);
    CHECK(map.find_entry(Value::number(2.0))->key.kind() == Kind::int_);
  }
}

TEST_CASE("size, depth and memory") {
  CHECK(Value::string("äöü").size() == 3);
  CHECK(Value::bytes("äöü").size() == 6);
  const Value list = test::json("[1, [2, {\"a\": []}]]");
  CHECK(list.size() == 2);
  CHECK(list.depth() == 4);
  CHECK(Value::integer(7).depth() == 0);
  CHECK(Value::some(list).depth() == 5);
  // Shared parts count once for each place they stand at.
  const Value twice = Value::list({list, list});
  CHECK(twice.memory() == 2 * list.memory() + Value().memory());
  Value doubled = list;
  for (int i = 0; i < 200; ++i) doubled = Value::list({doubled, doubled});
  CHECK(doubled.memory() == UINT64_MAX);
}

TEST_CASE("copies share, moves leave null") {
  Value a = Value::list({Value::string("x")});
  const Value b = a;
  CHECK(a.as_list().data() == b.as_list().data());
  const Value c = std::move(a);
  CHECK(c.as_list().data() == b.as_list().data());
  Value d = Value::integer(1);
  d = c;
  d = d;  // NOLINT: self-assignment is what is tested
  CHECK(d == b);
}

TEST_CASE("the order of numbers") {
  using Order = std::partial_ordering;
  const auto ordered = [](const Value& a, const Value& b, Order wanted) {
    return compare_numbers(a, b) == wanted;
  };
  CHECK(ordered(Value::integer(-1), Value::unsigned_integer(0), Order::less));
  CHECK(ordered(Value::unsigned_integer(UINT64_MAX), Value::integer(INT64_MAX), Order::greater));
  CHECK(ordered(Value::number(0.5), Value::integer(1), Order::less));
  CHECK(ordered(Value::number(nan), Value::integer(1), Order::unordered));
  CHECK(ordered(Value::number(1e300), Value::unsigned_integer(UINT64_MAX), Order::greater));
}

TEST_CASE("values as CEL writes them") {
  CHECK(to_display(test::json(R"({"a": [1, 2.0, "x\n", null, true]})")) ==
        R"({"a": [1, 2.0, "x\n", null, true]})");
  CHECK(to_display(Value::unsigned_integer(3)) == "3u");
  CHECK(to_display(Value::bytes(std::string_view("a\0\xff", 3))) == R"(b"a\x00\xff")");
  CHECK(to_display(Value::timestamp({0, 500'000'000})) == R"(timestamp("1970-01-01T00:00:00.5Z"))");
  CHECK(to_display(Value::duration({-1'500'000'000})) == R"(duration("-1.5s"))");
  CHECK(to_display(Value::some(Value::integer(1))) == "optional.of(1)");
  CHECK(to_display(Value::type(Kind::timestamp)) == "google.protobuf.Timestamp");
}

TEST_CASE("a brief form is short, cheap, and whole characters") {
  CHECK(to_brief(Value::integer(5)) == "5");
  const std::string brief = to_brief(Value::string(std::string(1'000'000, 'x')), 20);
  CHECK(brief.size() == 20 + std::string("…").size());
  for (size_t most = 5; most < 12; ++most) {
    const std::string cut = to_brief(Value::string("ääääääääääää"), most);
    CHECK(cut.find('\0') == std::string::npos);
    CHECK(cut.size() <= most + 3);
  }
  Value doubled = Value::string("x");
  for (int i = 0; i < 60; ++i) doubled = Value::list({doubled, doubled});
  CHECK(to_brief(doubled).size() < 200);
}

}  // namespace
}  // namespace kflow::cel
