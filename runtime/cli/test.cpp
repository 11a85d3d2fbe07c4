// The tests in the language: run, and reported.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/testing/report.hpp"

namespace kflow::cli {
namespace {

// None of a file without tests.
std::optional<testing::FileResult> test_file(const std::string& path, const TestOptions& options,
                                             const Common& common) {
  testing::FileResult out{.path = path, .files = {}, .tests = {}, .error = ""};
  auto compiled = driver::compile_file(path);
  if (!compiled) {
    out.error = compiled.error().message;
    return out;
  }
  const driver::Compilation& c = **compiled;
  if (!c.program) {
    std::fputs(diagnostics::render_human(c.sink, *c.sources, wants_colour(common.colour)).c_str(),
               stderr);
    out.error = "it does not compile; `kflowc check` says why";
    return out;
  }
  if (!c.tests) return std::nullopt;
  out.files = c.tests->program.files;
  out.tests = testing::run_tests(*c.tests, options.filter);
  if (out.tests.empty()) return std::nullopt;
  return out;
}

int write_report(const std::string& path, const std::string& text) {
  if (path.empty() || path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return Exit::ok;
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  return out ? Exit::ok : fail_with({ErrorCode::io, "cannot write `" + path + "`"});
}

}  // namespace

int test(const Common& common, const TestOptions& options) {
  const std::string format = common.json ? "json" : options.format;
  std::vector<testing::FileResult> results;
  for (const std::string& file : source::expand(options.paths)) {
    auto result = test_file(file, options, common);
    if (!result) continue;
    if (format == "human" && options.output.empty())
      std::fputs(testing::human(*result, wants_colour(common.colour)).c_str(), stdout);
    results.push_back(std::move(*result));
  }
  bool passed = true;
  bool any = false;
  for (const testing::FileResult& file : results) {
    passed = passed && file.error.empty();
    for (const testing::TestResult& t : file.tests) any = true, passed = passed && t.passed();
  }
  int written = Exit::ok;
  if (format == "human") {
    std::string text;
    if (!options.output.empty()) {
      for (const testing::FileResult& file : results) text += testing::human(file, false);
    }
    written = write_report(options.output, text + testing::human_summary(results));
  } else {
    written = write_report(options.output, format == "tap"     ? testing::tap(results)
                                           : format == "junit" ? testing::junit(results)
                                                               : testing::json_lines(results));
  }
  if (written != Exit::ok) return written;
  if (passed && !any) {
    return fail_with({ErrorCode::not_found,
                      options.filter.empty()
                          ? "there are no tests; `test \"name\" { … }` in a .kflow file is one"
                          : "no test has `" + options.filter + "` in its name"});
  }
  return passed ? Exit::ok : Exit::failed;
}

}  // namespace kflow::cli
