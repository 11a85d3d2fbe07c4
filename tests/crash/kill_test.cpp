// Kills `kflow run` with SIGKILL at random moments of a 200-step workflow, 100 times, and lets it
// resume each time.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/program.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

constexpr int steps = 200;
constexpr int kills = 100;

}  // namespace

TEST_CASE("a run survives a hundred kills") {
  const fs::path folder = fs::temp_directory_path() / ("kflow-kill-" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder / ".kflow");
  std::ofstream(folder / "w.kflow")
      << "kflow 1\nworkflow chain(n: int) -> int {\n  for i in lists.range(n) {\n"
         "    step effect = exec.run([\"sh\", \"-c\", \"echo $KFLOW_IDEMPOTENCY_KEY $KFLOW_ATTEMPT "
         "${i} >> effects\"])\n"
         "    let done = effect.exit_code\n  }\n  return done.size()\n}\n";
  std::mt19937 random(20261124);
  pid_t pid = test::start_kflow(
      folder, {"run", "w.kflow", "-i", "n=" + std::to_string(steps), "--id", "the-run", "--json"});
  int killed = 0;
  int exit = -1;
  for (int round = 0; round < 10 * kills; ++round) {
    if (killed < kills) {
      // Long enough to start and do a little, short enough not to finish before the hundredth.
      std::this_thread::sleep_for(
          std::chrono::microseconds(std::uniform_int_distribution<int>(1'000, 22'000)(random)));
      ::kill(pid, SIGKILL);
    }
    exit = test::finish(pid);
    if (exit == 0) break;
    killed += exit == 128 + SIGKILL;
    // Killed before the start was durable: there is nothing to resume, so it is started (again,
    // under the same id).
    const bool exists = test::finish(test::start_kflow(folder, {"get", "the-run", "--json"})) == 0;
    pid = exists ? test::start_kflow(folder, {"resume", "the-run", "--json"})
                 : test::start_kflow(folder, {"run", "w.kflow", "-i", "n=" + std::to_string(steps),
                                              "--id", "the-run", "--json"});
  }
  INFO(test::text_of(folder / "err.txt"));
  REQUIRE(exit == 0);
  std::printf("killed %d times\n", killed);
  CHECK(killed >= kills / 2);

  REQUIRE(test::finish(test::start_kflow(folder, {"get", "the-run", "--events"})) == 0);
  std::istringstream events(test::text_of(folder / "out.txt"));
  std::map<std::string, int> completed;
  std::map<std::string, int> attempts;
  std::map<std::string, int> interrupted;
  int64_t index = 0;
  std::string last;
  for (std::string line; std::getline(events, line);) {
    const auto event = cel::from_json(line);
    REQUIRE(event);
    CHECK(event->find("event_index")->as_int() == index++);
    last = event->find("event")->as_string();
    const cel::Value* step = event->find("step_id");
    if (last == "StepCompleted") ++completed[std::string(step->as_string())];
    if (last != "StepStarted") continue;
    const int attempt = static_cast<int>(event->find("attempt")->as_int());
    CHECK(attempt == ++attempts[std::string(step->as_string())]);
    if (attempt == 1) continue;
    CHECK(event->find("reason")->as_string() == "interrupted");
    ++interrupted[std::string(step->as_string())];
  }
  CHECK(last == "WorkflowCompleted");
  CHECK(completed.size() == steps);
  for (const auto& [step, times] : completed) {
    INFO(step);
    CHECK(times == 1);
  }

  // Each effect happened; each repeated one under the same key, with an attempt number of its own.
  std::map<int, std::set<std::string>> keys;
  std::map<int, std::set<int>> seen;
  std::istringstream effects(test::text_of(folder / "effects"));
  std::string key;
  int attempt = 0;
  int i = 0;
  while (effects >> key >> attempt >> i) {
    keys[i].insert(key);
    CHECK(seen[i].insert(attempt).second);
    CHECK(attempt <= attempts["for[" + std::to_string(i) + "].effect"]);
  }
  CHECK(keys.size() == steps);
  std::set<std::string> all;
  for (const auto& [n, set] : keys) {
    CHECK(set.size() == 1);
    all.insert(*set.begin());
  }
  CHECK(all.size() == steps);
  fs::remove_all(folder);
}
