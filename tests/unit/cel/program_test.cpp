// Programs: their binary form, and decoders that no bytes upset.
#include "compiler/cel/program.hpp"

#include <random>

#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

const char* const texts[] = {
    "1 + 2 * 3",
    R"(input.topics.exists(t, t.startsWith("AI")) && input.score > 0.8)",
    R"({"a": [1, ?input.?missing, 2u, b'x'], ?"b": optional.none(), title: "t"})",
    R"(input.topics.map(t, t.size() > 1, t + "!").filter(x, x != "y").exists_one(x, x in input.topics))",
    R"(input.topics.transformMap(i, v, i > 0, {"n": i, "v": v}))",
    R"(input.topics.transformMapEntry(i, v, {v: i}))",
    R"(cel.bind(x, input.score * 2.0, [x, x].map(y, cel.bind(z, y, z + x))))",
    R"(input.?a.optMap(a, a + 1).optFlatMap(a, optional.of(a)).orValue(input.?b ?? -3))",
    R"("Topic: ${input.topics[0]} in ${1h30m} at ${timestamp(0)}".matches("^T[a-z]+"))",
    R"(has(input.score) ? type(input[?"x"]) : undeclared_name)",
    R"(input.topics.all(i, v, i < 10 || v == "") ? !(1 < 2) : "%d".format([3]) >= "")",
};

test::Variables make_variables() {
  return {{"input", test::json(R"({"topics": ["cloud", "AI trends"], "score": 0.9})")}};
}

std::string encoded(const Program& p, bool with_places = true) {
  ByteWriter out;
  encode_program(p, out, with_places);
  return out.take();
}

std::string result_of(const Program& p, Bindings& bindings) {
  const EvalResult r = evaluate(p, bindings, 100'000);
  if (const auto* error = std::get_if<EvalError>(&r))
    return std::string(to_string(error->kind)) + ": " + error->message;
  return to_display(std::get<Value>(r));
}

TEST_CASE("a decoded program is the program") {
  for (const char* text : texts) {
    INFO(text);
    test::Variables variables = make_variables();
    const Program p = test::program_of(text, variables);
    REQUIRE_FALSE(p.empty());
    const std::string bytes = encoded(p);
    ByteReader in(bytes);
    const Program back = decode_program(in);
    CHECK(in.done());
    REQUIRE_FALSE(back.empty());
    CHECK(encoded(back) == bytes);
    CHECK(result_of(back, variables) == result_of(p, variables));
  }
}

TEST_CASE("places in the source do not change the identity of a program") {
  test::Variables variables = make_variables();
  const Program a = test::program_of("1 + 2", variables);
  const Program b = test::program_of("  1  +  2", variables);
  CHECK(encoded(a) != encoded(b));
  CHECK(encoded(a, false) == encoded(b, false));
}

TEST_CASE("truncated and changed programs are refused or evaluate to something") {
  std::minstd_rand random(11);
  size_t refused = 0;
  size_t evaluated = 0;
  for (const char* text : texts) {
    test::Variables variables = make_variables();
    const std::string bytes = encoded(test::program_of(text, variables));
    for (size_t n = 0; n < bytes.size(); ++n) {
      ByteReader in(std::string_view(bytes).substr(0, n));
      decode_program(in);
      CHECK(in.failed());
    }
    for (int round = 0; round < 4'000; ++round) {
      std::string changed = bytes;
      for (auto n = 1 + random() % 3; n > 0; --n) {
        // Small changes of small numbers come closest to a well-formed program.
        char& at = changed[random() % changed.size()];
        at = random() % 2 == 0 ? static_cast<char>(random())
                               : static_cast<char>(at + static_cast<char>(random() % 5) - 2);
      }
      ByteReader in(changed);
      const Program p = decode_program(in);
      if (in.failed()) {
        ++refused;
        continue;
      }
      ++evaluated;
      CHECK_FALSE(result_of(p, variables).empty());
    }
  }
  CHECK(refused > 1000);
  CHECK(evaluated > 1000);
}

// A program of one loop, to be spoilt by hand.
Program loop_program() {
  test::Variables variables = make_variables();
  return test::program_of("[1, 2].exists(x, x == 2)", variables);
}

bool refused(const Program& p) {
  const std::string bytes = encoded(p);
  ByteReader in(bytes);
  decode_program(in);
  return in.failed();
}

TEST_CASE("what the evaluator takes for granted is checked") {
  REQUIRE_FALSE(refused(loop_program()));
  const auto loop = [](Program& p) -> Op& { return p.ops.back(); };
  SECTION("a filter where there is none") {
    Program p = loop_program();
    loop(p).flags |= op_flag::filtered;
    CHECK(refused(p));
  }
  SECTION("a second variable without a slot") {
    Program p = loop_program();
    loop(p).flags |= op_flag::two_vars;
    CHECK(refused(p));
  }
  SECTION("a slot read outside of its loop") {
    Program p = loop_program();
    for (Op& op : p.ops) {
      if (op.code == OpCode::constant)
        op = {.code = OpCode::local, .begin = op.begin, .end = op.end};
    }
    CHECK(refused(p));
  }
  SECTION("an operation used twice") {
    Program p = loop_program();
    p.links[p.ops.back().first_link + 1] = p.links[p.ops.back().first_link];
    CHECK(refused(p));
  }
  SECTION("an operation nobody uses") {
    Program p = loop_program();
    p.ops.insert(p.ops.begin(), Op{.code = OpCode::constant});
    for (uint32_t& link : p.links) ++link;
    CHECK(refused(p));
  }
  SECTION("a cycle") {
    Program p = loop_program();
    p.links[p.ops.back().first_link] = static_cast<uint32_t>(p.ops.size() - 1);
    CHECK(refused(p));
  }
  SECTION("a constant that is not there") {
    Program p = loop_program();
    for (Op& op : p.ops) {
      if (op.code == OpCode::constant) op.a = 99;
    }
    CHECK(refused(p));
  }
  SECTION("no operation at all") { CHECK(refused(Program())); }
}

TEST_CASE("an unknown function is an error of the evaluation, so that old programs still decode") {
  test::Variables variables = make_variables();
  Program p = test::program_of("'x'.lowerAscii()", variables);
  p.names[0] = "from_the_future";
  const std::string bytes = encoded(p);
  ByteReader in(bytes);
  const Program back = decode_program(in);
  REQUIRE(in.done());
  CHECK(result_of(back, variables) == "undeclared_function: undeclared function `from_the_future`");
}

}  // namespace
}  // namespace kflow::cel
