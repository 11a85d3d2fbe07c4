// Results of tests as text: for people, as TAP, as JUnit's XML, as JSON Lines.
#pragma once

#include <string>
#include <vector>

#include "compiler/base/json.hpp"
#include "runtime/testing/runner.hpp"

namespace kflow::testing {

/// The tests of one file, or why there are none: it does not compile.
struct FileResult {
  std::string path;
  std::vector<std::string> files;  ///< of origins
  std::vector<TestResult> tests;
  std::string error;  ///< "": it compiles
};

/// How one file's tests went; ticks and crosses in colour if wanted.
std::string human(const FileResult& file, bool colour);
/// The last line.
std::string human_summary(const std::vector<FileResult>& files);
/// TAP version 14; what is wrong in YAML blocks.
std::string tap(const std::vector<FileResult>& files);
std::string junit(const std::vector<FileResult>& files);
/// One object a test: {file, name, line, passed, ms, virtual_ms, failures: [{line, message,
/// parts}]}
std::string json_lines(const std::vector<FileResult>& files);

}  // namespace kflow::testing
