// A run without end: a loop of a million iterations with a step each. Time and memory by tenths,
// the log, and how long it takes to look at such a run. `loop_bench [ITERATIONS]`; durability
// `process`, or the disk would be all that is seen.
#include <algorithm>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

using machine::Millis;

const char* text = R"(
workflow endless(n: int) -> int {
  loop l { max: n
    step s = uuid()
    let size = s.size()
  }
  step go = signal.wait("go")
  return size
}
)";

struct Sample {
  Millis at = 0;
  uint64_t memory = 0;
};

Millis wall_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Runs until all iterations are done and the signal is waited for.
std::vector<Sample> run_loop(const std::shared_ptr<store::Store>& store,
                             const std::shared_ptr<const ir::Program>& program, size_t iterations,
                             store::RunKey& key) {
  auto engine = engine::Engine::open(store, {});
  if (!engine) die(engine.error().message);
  const auto input =
      cel::make_record({{"n", cel::Value::integer(static_cast<int64_t>(iterations))}});
  auto run = (*engine)->start(program, program->find("endless"), input, {});
  if (!run) die(run.error().message);
  key = run->key;
  std::vector<Sample> out;
  for (uint64_t seen = 0;;) {
    (void)(*engine)->wait(key, 250);
    out.push_back({wall_now(), own_bytes()});
    const auto last = store->last(key);
    if (!last || !*last) die("the log cannot be read");
    const uint64_t events = (*last)->first_seq + (*last)->event_count;
    if (events == seen) return out;
    seen = events;
  }
}

}  // namespace
}  // namespace kflow::bench

int main(int argc, char** argv) {
  using namespace kflow;
  using namespace kflow::bench;
  const size_t iterations = number_argument(argc, argv, 1'000'000);
  const auto compiled = driver::compile_text("bench", text);
  if (!compiled->program) die("the program of the benchmark does not compile");
  const auto program = std::make_shared<const ir::Program>(*compiled->program);
  const Scratch scratch("loop_bench");
  store::LmdbOptions options;
  options.durability = store::Durability::process;
  auto opened = store::open_lmdb_store((scratch / "store").string(), options);
  if (!opened) die(opened.error().message);
  std::shared_ptr<store::Store> store = std::move(*opened);
  store::RunKey key = 0;
  const std::vector<Sample> samples = run_loop(store, program, iterations, key);

  std::vector<Millis> times;
  auto begin = Clock::now();
  (void)engine::read_events(*store, key, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
    if (std::holds_alternative<machine::StepCompleted>(e.data)) times.push_back(e.time);
    return true;
  });
  const double read_all = seconds_since(begin);
  if (times.size() != iterations) die("iterations are missing");
  const auto seconds_of = [&](size_t tenth) {
    const size_t from = tenth * iterations / 10;
    const size_t to = (tenth + 1) * iterations / 10 - 1;
    return static_cast<double>(times[to] - times[from]) / 1000;
  };
  uint64_t highest = 0;
  for (size_t tenth = 0; tenth < 10; ++tenth) {
    for (const Sample& s : samples) {
      if (s.at <= times[(tenth + 1) * iterations / 10 - 1]) highest = std::max(highest, s.memory);
    }
    Line("endless_loop")
        .count("tenth", tenth + 1)
        .number("seconds", seconds_of(tenth))
        .number("most_memory_mib", static_cast<double>(highest) / (1 << 20), 0);
  }
  const double ratio = seconds_of(9) / seconds_of(0);
  Line("endless_loop")
      .count("iterations", iterations)
      .number("last_to_first", ratio)
      .met(ratio <= 1.2);

  begin = Clock::now();
  const auto loaded = engine::load_state(*store, key, program);
  if (!loaded) die(loaded.error().message);
  const double load = seconds_since(begin) * 1000;
  const auto look = [&](const char* verb) {
    std::vector<double> all;
    for (int i = 0; i < 5; ++i)
      all.push_back(
          run_program({KFLOW_PROGRAM, verb, "@last", "--store", (scratch / "store").string()},
                      scratch / "")
              .wall_ms);
    return median(std::move(all));
  };
  const double get = look("get");
  const double why = look("why");
  Line("look_at_endless_loop")
      .count("events", loaded->events)
      .number("load_state_ms", load)
      .number("kflow_get_ms", get, 0)
      .number("kflow_why_ms", why, 0)
      .number("read_whole_log_ms", read_all * 1000, 0)
      .number("disk_bytes_an_iteration",
              static_cast<double>(store->info()->bytes_used) / static_cast<double>(iterations), 0)
      .count("goal_get_ms", 100)
      .met(get < 100 && why < 100);
}
