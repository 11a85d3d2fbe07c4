// Random expressions and damaged texts: whatever they are, they end, and a stored program gives
// what the fresh one gives.
#include <random>

#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

// Writes expressions that mostly parse and often fail when they are evaluated.
class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  std::string expression(int depth) {
    if (depth <= 0) return leaf();
    const auto e = [&] { return expression(depth - 1); };
    switch (pick(22)) {
      case 0:
        return "(" + e() + " " + one_of({"+", "-", "*", "/", "%"}) + " " + e() + ")";
      case 1:
        return "(" + e() + " " + one_of({"==", "!=", "<", "<=", ">", ">=", "in"}) + " " + e() + ")";
      case 2:
        return "(" + e() + " " + one_of({"&&", "||", "??"}) + " " + e() + ")";
      case 3:
        return "(" + e() + " ? " + e() + " : " + e() + ")";
      case 4:
        return "!" + leaf();
      case 5:
        return "[" + e() + ", " + e() + "]";
      case 6:
        return "[?" + e() + ", " + e() + "]";
      case 7:
        return "{(" + e() + "): " + e() + ", ?b: " + e() + "}";
      case 8:
        return "(" + e() + ")." + one_of({"a", "b", "?a", "?b"});
      case 9:
        return "(" + e() + ")[" + one_of({"", "?"}) + e() + "]";
      case 10:
        return "has((" + e() + ").a)";
      case 11:
        return "(" + e() + ")." + one_of({"all", "exists", "exists_one", "map", "filter"}) +
               "(x, " + e() + ")";
      case 12:
        return "(" + e() + ").map(y, " + e() + ", " + e() + ")";
      case 13:
        return "(" + e() + ")." +
               one_of({"all", "exists", "exists_one", "transformList", "transformMap",
                       "transformMapEntry"}) +
               "(x, y, " + e() + ")";
      case 14:
        return "cel.bind(x, " + e() + ", " + e() + ")";
      case 15:
        return "(" + e() + ")." + one_of({"optMap", "optFlatMap"}) + "(x, " + e() + ")";
      case 16:
        return one_of({"size", "type", "string", "int", "double", "json", "optional.of",
                       "math.greatest"}) +
               "(" + e() + ")";
      case 17:
        return "(" + e() + ")." +
               one_of(
                   {"size", "first", "reverse", "sort", "distinct", "flatten", "value", "join"}) +
               "()";
      case 18:
        return "(" + e() + ")." +
               one_of({"contains", "startsWith", "split", "matches", "or", "orValue", "format"}) +
               "(" + e() + ")";
      case 19:
        return "\"a${" + e() + "}b\"";
      case 20:
        return "(" + e() + ").replace(" + e() + ", " + e() + ")";
      default:
        return leaf();
    }
  }
  uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

 private:
  std::string one_of(std::initializer_list<const char*> all) {
    return *(all.begin() + pick(static_cast<uint32_t>(all.size())));
  }
  std::string leaf() {
    return one_of({"0",
                   "1",
                   "-7",
                   "3u",
                   "2.5",
                   "true",
                   "false",
                   "null",
                   "'a'",
                   "'ü{b}'",
                   "b'z'",
                   "[]",
                   "{}",
                   "x",
                   "y",
                   "input",
                   "input.a",
                   "input.list",
                   "input.m",
                   "1h30m",
                   "timestamp(0)",
                   "optional.none()",
                   "int",
                   "nowhere",
                   "9223372036854775807",
                   "'%s %d'"});
  }
  std::minstd_rand random_;
};

test::Variables variables() {
  return {
      {"input",
       test::json(
           R"({"a": "text", "list": [1, "b", [2.5, null]], "m": {"a": 1, "b": {"a": null}}})")}};
}

std::string text_of(const EvalResult& r) {
  if (const auto* error = std::get_if<EvalError>(&r))
    return std::string(to_string(error->kind)) + ": " + error->message;
  return to_display(std::get<Value>(r));
}

TEST_CASE("random expressions end, and their stored programs give the same") {
  Generator generator(20);
  size_t values = 0;
  size_t errors = 0;
  for (int i = 0; i < 6'000; ++i) {
    const std::string text = generator.expression(1 + i % 6);
    test::Variables bound = variables();
    const Program program = test::program_of(text, bound);
    if (program.empty()) continue;
    INFO(text);
    const EvalResult result = evaluate(program, bound, 100'000);
    (std::holds_alternative<Value>(result) ? values : errors) += 1;
    ByteWriter out;
    encode_program(program, out);
    ByteReader in(out.buffer());
    const Program again = decode_program(in);
    REQUIRE(in.done());
    REQUIRE(text_of(evaluate(again, bound, 100'000)) == text_of(result));
  }
  CHECK(values > 500);
  CHECK(errors > 500);
}

TEST_CASE("damaged texts are parsed or refused") {
  Generator generator(21);
  std::minstd_rand random(22);
  size_t refused = 0;
  for (int i = 0; i < 3'000; ++i) {
    std::string text = generator.expression(3);
    for (auto n = 1 + random() % 3; n > 0 && !text.empty(); --n) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text.erase(at, 1 + random() % 3);
          break;
        case 1:
          text.insert(at, 1, "()[]{}'\"?.,:!$`\\\n"[random() % 17]);
          break;
        default:
          text[at] = static_cast<char>(random());
          break;
      }
    }
    INFO(text);
    const test::Outcome a = test::strict(text, variables(), 100'000);
    const test::Outcome b = test::dialect(text, variables(), 100'000);
    REQUIRE(a.value.has_value() != !a.error.empty());
    REQUIRE(b.value.has_value() != !b.error.empty());
    refused += a.error == "parse";
  }
  CHECK(refused > 500);
}

}  // namespace
}  // namespace kflow::cel
