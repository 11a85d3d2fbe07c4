// The shared CEL data: all value tests pass with the checker and without, the checker finds the
// stated types, all parser inputs are accepted or rejected as they should be.
#include "compiler/cli/conformance.hpp"

#include <fstream>
#include <sstream>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

// Runs a file of the shared data; nullopt if it is not there.
std::optional<cli::ConformanceCounts> run(const std::string& name,
                                          const cli::ConformanceOptions& options = {}) {
  const std::string path = test::shared_data(name);
  if (path.empty()) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  std::FILE* out = std::tmpfile();
  REQUIRE(out != nullptr);
  const auto counts = cli::run_conformance(in, out, stderr, options);
  std::fclose(out);
  REQUIRE(counts);
  CHECK(counts->failed == 0);
  return *counts;
}

TEST_CASE("the conformance tests pass after checking") {
  const auto counts = run("cel-public.jsonl");
  if (!counts) return;
  CHECK(counts->passed >= 1077);
  CHECK(counts->skipped == 0);
  CHECK(counts->kinds_agreed > 100);
  CHECK(counts->kinds_differed * 20 <= counts->kinds_agreed);  // 95 of a hundred agree
}

TEST_CASE("the conformance tests pass without checking") {
  const auto counts = run("cel-public.jsonl", {.check = false});
  if (!counts) return;
  CHECK(counts->passed >= 1066);
  CHECK(counts->kinds_differed * 20 <= counts->kinds_agreed);
}

TEST_CASE("the checker finds the stated types") {
  const auto counts = run("cel-checker-public.jsonl");
  if (counts) CHECK(counts->passed >= 966);
}

TEST_CASE("the parser accepts and rejects what it should") {
  const auto counts = run("cel-parser.jsonl");
  if (counts) CHECK(counts->passed >= 339);
}

struct Output {
  cli::ConformanceCounts counts;
  std::string text;
};
Output run_lines(const std::string& lines, const cli::ConformanceOptions& options = {}) {
  std::istringstream in(lines);
  char* buffer = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&buffer, &size);
  REQUIRE(out != nullptr);
  const auto counts = cli::run_conformance(in, out, out, options);
  std::fclose(out);
  std::string text(buffer, size);
  std::free(buffer);
  REQUIRE(counts);
  return {*counts, std::move(text)};
}

std::string line(const std::string& id, const std::string& expr, const std::string& more) {
  return R"({"id":")" + id + R"(","file":"f","expr":")" + expr +
         R"(","bindings":{},"features":["ext.math"],)" + more + "}\n";
}

TEST_CASE("a conformance run says what passed, failed and was skipped") {
  const std::string lines =
      line("f/s/good", "1 + 1", R"("expect":{"value":{"int":"2"}})") +
      line("f/s/bad", "1 + 1", R"("expect":{"value":{"uint":"2"}})") +
      line("f/s/type", "[1]",
           R"x("check_only":true,"deduced_type":"list(int)","expect":{"type_only":true})x") +
      line("f/s/kind", "1 / 0", R"("expect":{"error":true,"kind":"divide_by_zero"})") +
      line("f/s/missing", "nothing()", R"("expect":{"error":true,"kind":"range"})");
  const Output all = run_lines(lines);
  CHECK(all.counts.passed == 3);
  CHECK(all.counts.failed == 2);
  CHECK(all.counts.kinds_agreed == 1);
  CHECK(all.text.find("FAIL f/s/bad 1 + 1 want={\"value\":{\"uint\":\"2\"}} got=2\n") !=
        std::string::npos);
  CHECK(all.text.find("f: 3 passed, 2 failed, 0 skipped\nTOTAL: 3 passed, 2 failed, 0 skipped\n") !=
        std::string::npos);
  CHECK(run_lines(lines, {.check = false}).counts.skipped == 1);
  CHECK(run_lines(lines, {.only = "f/s/g*"}).counts.skipped == 4);
  CHECK(run_lines(lines, {.skip_features = {"ext.math"}}).counts.skipped == 5);
}

TEST_CASE("data that is no test is an error, not a crash") {
  for (const char* text : {"{", "[]", R"({"expr": 1})", R"({"expr": "1", "expect": {}})"}) {
    std::istringstream in(text);
    CHECK_FALSE(cli::run_conformance(in, stdout, stderr));
  }
  for (
      const char* text :
      {R"({"id":"x","file":"f","expr":"a","expect":{"value":{"list":3}},"bindings":{"a":{"map":[1]}},"features":[1]})",
       R"({"id":"x","expr":"a","expect":{"value":{}},"bindings":{},"features":3,"type_env":[1]})",
       R"({"id":"x","expr":"a","type":"int","type_env":[{"name":"a","type":"list("}]})",
       R"({"id":"x","expr":"a","type":"int","type_env":[{"name":"f","overloads":[{"params":[1],"result":""}]}]})"}) {
    CHECK(run_lines(text).counts.failed == 1);
  }
}

}  // namespace
}  // namespace kflow::cel
