// Random programs in random worlds: what the machine makes of them, under crashes, doubled and late
// outcomes and a jumping clock, is what a naive interpreter makes of the same program. KFLOW_LONG=1
// tries for long, KFLOW_SEED=n one world.
#include <cstdlib>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/scenario/generator.hpp"
#include "tests/scenario/simulator.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::scenario;

namespace {

struct Totals {
  size_t programs = 0;
  size_t steps = 0;
  size_t commits = 0;
  size_t crashes = 0;
  size_t lost = 0;
  size_t moves = 0;
};

void check_world(uint64_t seed, Totals& totals) {
  const RandomProgram random = random_program(seed, Dialect::machine);
  INFO("seed " << seed << "\n" << random.text);
  const auto compiled = driver::compile_text("random.kflow", random.text);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  auto stored = ir::decode(ir::encode(*compiled->program));
  REQUIRE(stored);
  const auto program = std::make_shared<const ir::Program>(std::move(*stored));
  const std::vector<Faults> worlds{
      {.seed = seed},
      {.seed = seed, .crash = 0.2, .late = 0.5, .move = 0.2},
      {.seed = seed + 1, .crash = 0.05, .doubled = 0.2, .lost = 0.05, .late = 0.5, .jump = 0.1}};
  for (const Faults& faults : worlds) {
    INFO("crash " << faults.crash << ", jump " << faults.jump);
    const Report report = simulate_with_faults(program, random.script, faults);
    INFO("error " << report.error.message << ", result " << cel::to_display(report.result));
    const Ended& expected = random.expected;
    if (expected.how == Ended::How::failed) {
      CHECK(report.status == machine::RunStatus::error);
      CHECK(expected.kinds.contains(report.error.kind));
      if (!random.has_child_runs) CHECK(report.undone == report.to_undo);
    } else {
      CHECK(report.status == machine::RunStatus::completed);
      CHECK(report.result ==
            cel::Value::integer(expected.how == Ended::How::returned ? expected.value : 7));
    }
    for (const auto& [path, times] : report.completions) {
      INFO(path);
      CHECK(times == 1);
    }
    if (random.session_is_exact && random.session_sets > 0) {
      CHECK(report.session == cel::make_record({{"n", cel::Value::integer(random.session_sets)}}));
    }
    totals.steps += report.completed.size();
    totals.commits += report.commits;
    totals.crashes += report.crashes;
    totals.lost += report.lost;
    totals.moves += report.moves;
  }
  ++totals.programs;
}

}  // namespace

TEST_CASE("random programs in random worlds") {
  Totals totals;
  if (const char* seed = std::getenv("KFLOW_SEED")) {
    check_world(std::strtoull(seed, nullptr, 10), totals);
    return;
  }
  // About a million steps.
#ifdef __SANITIZE_ADDRESS__
  constexpr size_t by_default = 3'000;
#else
  constexpr size_t by_default = 40'000;
#endif
  const size_t worlds = std::getenv("KFLOW_LONG") != nullptr ? 100'000'000 : by_default;
  for (uint64_t seed = 1; seed <= worlds; ++seed) check_world(seed * 2, totals);
  WARN(totals.programs << " programs, " << totals.steps << " steps, " << totals.commits
                       << " commits, " << totals.crashes << " crashes, " << totals.lost
                       << " lost outcomes, " << totals.moves << " moves to another program");
  CHECK(totals.crashes > 100);
  CHECK(totals.lost > 100);
  CHECK(totals.moves > 100);
}
