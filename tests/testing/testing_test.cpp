// Tests in the language, run as `kflow test` does it; reports compared whole without their times.
// KFLOW_UPDATE_GOLDEN=1 writes them anew.
#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/testing/report.hpp"
#include "runtime/testing/runner.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path folder = fs::path(KFLOW_SOURCE_DIR) / "tests/testing/cases";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

testing::FileResult run(const std::string& path, const std::string& filter = "") {
  fs::current_path(folder);
  const auto compiled = driver::compile_file(path);
  REQUIRE(compiled);
  INFO(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, false));
  REQUIRE((*compiled)->tests);
  return {.path = path,
          .files = (*compiled)->tests->program.files,
          .tests = testing::run_tests(*(*compiled)->tests, filter),
          .error = ""};
}

std::string without_times(std::string text) {
  text = std::regex_replace(text, std::regex("  [0-9.]+ (ms|s)\n"), "\n");
  text = std::regex_replace(text, std::regex("time=\"[0-9.]+\""), "time=\"\"");
  text = std::regex_replace(text, std::regex("time=[0-9.]+ms"), "time=");
  return std::regex_replace(text, std::regex("\"ms\":[0-9.e-]+"), "\"ms\":0");
}

void compare(const std::string& got, const std::string& name) {
  const fs::path expected = folder / name;
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr)
    std::ofstream(expected, std::ios::binary) << got;
  CHECK(got == read(expected));
}

}  // namespace

TEST_CASE("what holds passes") {
  const testing::FileResult file = run("world.kflow");
  CHECK(file.tests.size() == 10);
  const std::string report = without_times(testing::human(file, false));
  INFO(report);
  for (const testing::TestResult& t : file.tests) CHECK(t.passed());
  compare(report, "world.human");
}

TEST_CASE("what does not hold is shown with its parts, in every form") {
  const testing::FileResult file = run("failing.kflow");
  CHECK(std::none_of(file.tests.begin(), file.tests.end() - 2,
                     [](const testing::TestResult& t) { return t.passed(); }));
  const testing::FileResult broken{
      .path = "broken.kflow", .files = {}, .tests = {}, .error = "it does not compile"};
  compare(without_times(testing::human(file, false)), "failing.human");
  compare(without_times(testing::tap({file, broken})), "failing.tap");
  compare(without_times(testing::junit({file, broken})), "failing.xml");
  compare(without_times(testing::json_lines({file, broken})), "failing.jsonl");
}

TEST_CASE("a filter takes some") {
  CHECK(run("world.kflow", "month").tests.size() == 1);
  CHECK(run("world.kflow", "cases").tests.size() == 2);
  CHECK(run("world.kflow", "none of them").tests.empty());
}

TEST_CASE("tests change nothing about the program") {
  const std::string text = "workflow w() -> int { return 1 }\n";
  const std::string tests =
      "test \"t\" { let r: {a: int, b: string} = {a: 1, b: \"x\"}  run out = w()  expect "
      "out.result == r.a }\n";
  const auto plain = driver::compile_text("a.kflow", text);
  const auto tested = driver::compile_text("a.kflow", text + tests);
  REQUIRE(plain->program);
  REQUIRE(tested->program);
  CHECK_FALSE(plain->tests);
  REQUIRE(tested->tests);
  CHECK(ir::encode(*plain->program) == ir::encode(*tested->program));
  const auto results = testing::run_tests(*tested->tests, "");
  REQUIRE(results.size() == 1);
  CHECK(results[0].passed());
}

TEST_CASE("a hundred tests with sleeps of a month take less than a second") {
  std::string text =
      "agent a { model: \"openai/x\" }\n"
      "workflow w(n: int) -> int {\n  for i in [1, 2, 3, 4] { limit: 2  step sleep(30d) }\n"
      "  step x = a(n) { timeout: 1h }\n  step sleep(30d)\n  return n\n}\n";
  for (int i = 0; i < 100; ++i) {
    const std::string n = std::to_string(i);
    text += "test \"" + n + "\" { mock a = \"x\"  run out = w(" + n +
            ")  expect out.result == " + n + " && out.duration == 90d }\n";
  }
  const std::clock_t begin = std::clock();
  const auto compiled = driver::compile_text("a.kflow", text);
  REQUIRE(compiled->tests);
  const auto results = testing::run_tests(*compiled->tests, "");
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  CHECK(results.size() == 100);
  for (const testing::TestResult& t : results) {
    CHECK(t.passed());
    CHECK(t.virtual_ms == 90LL * 86400 * 1000);
  }
  CHECK(seconds < 1.0);
}

TEST_CASE("what never ends is given up") {
  const auto compiled = driver::compile_text(
      "a.kflow",
      "workflow w() { loop { max: 10000000  step sleep(1s) } }\ntest \"t\" { run out = w() }");
  REQUIRE(compiled->tests);
  const auto results = testing::run_tests(*compiled->tests, "");
  REQUIRE(results[0].failures.size() == 1);
  CHECK(results[0].failures[0].message.find("does not end") != std::string::npos);
}
