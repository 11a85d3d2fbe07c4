// Every case, then every case again with a crash at each of its commits, before and after the
// release of its effects.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/scenario/simulator.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::scenario;

namespace {

std::vector<std::string> cases(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry :
       std::filesystem::directory_iterator(KFLOW_SOURCE_DIR "/tests/scenario/" + folder)) {
    if (entry.path().extension() == ".kflow") out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// The program of a file as a store would give it back.
std::shared_ptr<const ir::Program> stored_program(const std::string& path) {
  auto compiled = driver::compile_file(path);
  REQUIRE(compiled);
  INFO(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, false));
  REQUIRE((*compiled)->program.has_value());
  auto stored = ir::decode(ir::encode(*(*compiled)->program));
  REQUIRE(stored);
  CHECK(ir::hash(*stored) == ir::hash(*(*compiled)->program));
  return std::make_shared<const ir::Program>(std::move(*stored));
}

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void check_expectations(const Script& script, const Report& report) {
  INFO("error " << report.error.message);
  CHECK(machine::to_string(report.status) == script.status);
  if (!script.error_kind.empty()) CHECK(report.error.kind == script.error_kind);
  CHECK(report.error.message.find(script.message) != std::string::npos);
  if (script.has_result) {
    INFO("result " << cel::to_display(report.result));
    CHECK(cel::Value::identical(report.result, script.result));
  }
  if (script.session) {
    INFO("session " << cel::to_display(report.session));
    CHECK(cel::Value::identical(report.session, *script.session));
  }
}

// Only what was under way when the process died is done once more.
void check_repeats(const Script& script, const Report& whole, const Report& crashed) {
  int repeats = 0;
  for (const auto& [path, times] : crashed.performed) {
    const auto it = whole.performed.find(path);
    const int more = times - (it == whole.performed.end() ? 0 : it->second);
    if (more > 0) repeats += more;
    INFO(path);
    if (script.repeats) CHECK(more <= 1);
  }
  CHECK(repeats <= crashed.in_flight);
  if (script.repeats) CHECK(repeats <= *script.repeats);
}

// Every field of `part` is in `whole`, with the same value.
bool holds(const cel::Value& whole, const cel::Value& part) {
  if (part.kind() != cel::Kind::map || whole.kind() != cel::Kind::map) return whole == part;
  const auto fields = part.as_map();
  return std::all_of(fields.begin(), fields.end(), [&](const cel::MapEntry& e) {
    const cel::Value* v = whole.find(e.key.as_string());
    return v != nullptr && holds(*v, e.value);
  });
}

void run_all(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    INFO(path);
    const Script script = read_script(read(path));
    REQUIRE_FALSE(script.status.empty());
    const auto program = stored_program(path);

    const Report whole = simulate(program, script, Crash::none, 0);
    check_expectations(script, whole);
    if (!script.order.empty()) CHECK(whole.completed == script.order);
    for (const auto& [step, times] : script.performed) {
      INFO(step);
      CHECK((whole.performed.contains(step) ? whole.performed.at(step) : 0) == times);
    }
    for (const auto& [step, wanted] : script.sent) {
      const cel::Value got = whole.sent.contains(step) ? whole.sent.at(step) : cel::Value();
      INFO(step << " was sent " << cel::to_display(got));
      CHECK(holds(got, wanted));
    }
    for (const auto& [call, text] : script.asked) {
      INFO(call << " was asked\n"
                << (whole.asked.contains(call) ? whole.asked.at(call) : "nothing"));
      CHECK((whole.asked.contains(call) && whole.asked.at(call).find(text) != std::string::npos));
    }
    for (const auto& [call, text] : script.unasked) {
      INFO(call << " was asked " << text);
      REQUIRE(whole.asked.contains(call));
      CHECK(whole.asked.at(call).find(text) == std::string::npos);
    }
    for (const std::string& event : script.shown) {
      std::string all;
      for (const std::string& shown : whole.shown) all += "\n  " + shown;
      INFO(event << " is not among" << all);
      CHECK(std::find(whole.shown.begin(), whole.shown.end(), event) != whole.shown.end());
    }
    REQUIRE(whole.commits > 0);
    for (size_t at = 1; at <= whole.commits; ++at) {
      for (const Crash crash : {Crash::before_release, Crash::after_release}) {
        INFO("crash at commit " << at << (crash == Crash::before_release ? ", before" : ", after")
                                << " release");
        const Report crashed = simulate(program, script, crash, at);
        check_expectations(script, crashed);
        check_repeats(script, whole, crashed);
        for (const auto& [step, times] : crashed.completions) {
          INFO(step);
          CHECK(times == 1);
        }
        // The same is shown, whatever was interrupted; what ran side by side may end in another
        // order.
        auto a = whole.shown;
        auto b = crashed.shown;
        std::sort(a.begin(), a.end());
        std::sort(b.begin(), b.end());
        CHECK(a == b);
      }
    }
  }
}

}  // namespace

TEST_CASE("scenarios") {
  const auto paths = cases("cases");
  REQUIRE(paths.size() >= 10);
  run_all(paths);
}

TEST_CASE("the standard library in a recorded world") {
  const auto paths = cases("std");
  REQUIRE(paths.size() >= 10);
  run_all(paths);
}

// NAME.before.kflow is what the runs begin with, NAME.kflow what they go on with after a crash at
// each of the commits.
TEST_CASE("runs go on with a program in which things have other names") {
  size_t moved = 0;
  for (const std::string& path : cases("renames")) {
    if (path.ends_with(".before.kflow")) continue;
    INFO(path);
    const Script script = read_script(read(path));
    const auto before = stored_program(path.substr(0, path.size() - std::string(".kflow").size()) +
                                       ".before.kflow");
    const auto next = stored_program(path);
    const Report whole = simulate(before, script, Crash::none, 0);
    check_expectations(script, whole);
    check_expectations(script, simulate(next, script, Crash::none, 0));
    REQUIRE(whole.commits > 0);
    for (size_t at = 1; at < whole.commits; ++at) {
      for (const Crash crash : {Crash::before_release, Crash::after_release}) {
        INFO("crash at commit " << at << (crash == Crash::before_release ? ", before" : ", after")
                                << " release");
        const Report crashed = simulate_moved(before, next, script, crash, at);
        check_expectations(script, crashed);
        // Nothing is done again because it is called something else now.
        CHECK(crashed.completed.size() == whole.completed.size());
        int performed = 0;
        for (const auto& [step, times] : crashed.performed) performed += times;
        int once = 0;
        for (const auto& [step, times] : whole.performed) once += times;
        CHECK(performed - once <= crashed.in_flight);
        moved += crashed.moves;
      }
    }
  }
  CHECK(moved > 50);
}
