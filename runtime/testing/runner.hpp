// Runner: the tests of a suite, one after the other, each in a world of its own.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/tests.hpp"

namespace kflow::testing {

/// One thing that was not as the test says.
struct Failure {
  ir::Origin origin;
  std::string message;
  std::vector<std::pair<std::string, std::string>> parts;  ///< of an expectation: text and value
};

struct TestResult {
  std::string name;  ///< of a case: `name [2: {topic: "AI"}]`
  ir::Origin origin;
  std::vector<Failure> failures;
  std::vector<std::string> logged;  ///< by `log`
  int64_t virtual_ms = 0;           ///< how far its clock went
  double ms = 0;                    ///< how long it took
  bool passed() const { return failures.empty(); }
};

/// Those whose name has `filter` in it ("": all), in the order of the text.
std::vector<TestResult> run_tests(const ir::TestSuite& suite, const std::string& filter);

}  // namespace kflow::testing
