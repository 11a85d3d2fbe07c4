// How many calls pass the gates, in a time of the test's own.
#include "runtime/activities/gates.hpp"

#include "tests/support/catch.hpp"

using namespace kflow::activities;

TEST_CASE("so many at a time, and so many a minute") {
  Gates gates;
  const GateList two{{"openai", {.concurrent = 2}}};
  CHECK(gates.wait_ms(two, 0, 0) == 0);
  gates.begun(two, 0, 0);
  gates.begun(two, 0, 0);
  CHECK(gates.wait_ms(two, 0, 1) > 0);
  gates.ended(two, 0, 0, 2);
  CHECK(gates.wait_ms(two, 0, 2) == 0);

  const GateList three{{"a", {.requests_per_minute = 3}}};
  for (int64_t t = 0; t < 3; ++t) {
    CHECK(gates.wait_ms(three, 0, t * 1000) == 0);
    gates.begun(three, 0, t * 1000);
    gates.ended(three, 0, 0, t * 1000 + 1);
  }
  CHECK(gates.wait_ms(three, 0, 10'000) == 50'000);
  CHECK(gates.wait_ms(three, 0, 60'000) == 0);  // the first has left the minute
}

TEST_CASE("tokens a minute: what is under way counts as estimated, what has ended as it was") {
  Gates gates;
  const GateList list{{"m", {.tokens_per_minute = 1000}}};
  CHECK(gates.wait_ms(list, 700, 0) == 0);
  gates.begun(list, 700, 0);
  CHECK(gates.wait_ms(list, 400, 1) > 0);
  CHECK(gates.wait_ms(list, 300, 1) == 0);
  gates.ended(list, 700, 200, 10'000);  // it was less
  CHECK(gates.wait_ms(list, 800, 10'000) == 0);
  CHECK(gates.wait_ms(list, 900, 20'000) == 50'000);  // when the 200 leave the minute
  CHECK(gates.wait_ms(list, 900, 70'000) == 0);
  // What is larger than the limit passes alone.
  CHECK(gates.wait_ms(list, 5000, 70'000) == 0);
  gates.begun(list, 5000, 70'000);
  CHECK(gates.wait_ms(list, 1, 70'001) > 0);
  gates.ended(list, 5000, 5000, 70'002);
  CHECK(gates.wait_ms(list, 1, 70'003) > 59'000);
  CHECK(gates.wait_ms(list, 1, 130'003) == 0);
}

TEST_CASE("the limits of a provider are shared by its models") {
  Gates gates;
  const GateList one{{"openai", {.concurrent = 2}}, {"openai/a", {.concurrent = 1}}};
  const GateList other{{"openai", {.concurrent = 2}}, {"openai/b", {.concurrent = 5}}};
  gates.begun(one, 0, 0);
  CHECK(gates.wait_ms(one, 0, 1) > 0);
  CHECK(gates.wait_ms(other, 0, 1) == 0);
  gates.begun(other, 0, 1);
  CHECK(gates.wait_ms(other, 0, 2) > 0);
  gates.ended(one, 0, 0, 3);
  CHECK(gates.wait_ms(other, 0, 3) == 0);
  CHECK(gates.wait_ms({}, 1'000'000, 3) == 0);
}
