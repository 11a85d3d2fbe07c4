// Durable steps a second, fsync on, against bare LMDB that commits the same rows in the same
// batches: ten-step chains with 1, 100 and 1000 runs in flight, then 1000 runs with 10 000 events
// behind each. `engine_bench [STEPS [1|100|1000|long]]`: medians of three rounds, ours and bare in
// turn.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;

constexpr int rounds = 3;
constexpr double goal_steps = 50'000;
constexpr size_t tall_runs = 1000;
constexpr int64_t past_events = 10'000;

std::shared_ptr<const ir::Program> compiled() {
  std::string text = "workflow chain() {\n";
  for (int i = 0; i < 10; ++i) text += "  step s" + std::to_string(i) + " = uuid()\n";
  text += R"(}
workflow tall(past: int, n: int) {
  loop history { max: past  let x = iteration }
  step go = signal.wait("go")
  loop work { max: n  step s = uuid() }
})";
  const auto made = driver::compile_text("bench", text);
  if (!made->program) die("the programs of the benchmark do not compile");
  return std::make_shared<const ir::Program>(*made->program);
}

// A store with an engine on it, its rows taken down if there is a recorder.
struct Process {
  Process(const fs::path& folder, Recorder* recorder, bool adopt = false) {
    store::LmdbOptions options;
    engine::EngineOptions engine_options;
    engine_options.adopt = adopt;
    if (recorder != nullptr) {
      options.row_observer = [recorder](std::string_view table, std::string_view key,
                                        std::string_view value) {
        recorder->row(table, key, value);
      };
      engine_options.on_commit = [recorder] { recorder->end_batch(); };
    }
    auto opened = store::open_lmdb_store(folder.string(), options);
    if (!opened) die(opened.error().message);
    store = std::move(*opened);
    auto made = engine::Engine::open(store, engine_options);
    if (!made) die(made.error().message);
    engine = std::move(*made);
    if (recorder != nullptr) recorder->begin();
  }
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
};

// `in_flight` chains at a time until `steps` steps are done: a thread starts what a run ends.
// Starting waits for its commit, so enough threads share each one.
double chains(const fs::path& folder, const std::shared_ptr<const ir::Program>& program,
              size_t in_flight, size_t steps, Recorder* recorder) {
  Process p(folder, recorder);
  const ir::CallableId workflow = program->find("chain");
  const size_t runs = std::max<size_t>(1, steps / 10);
  std::atomic<size_t> started = 0;
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> clients;
    for (size_t c = 0; c < in_flight; ++c) {
      clients.emplace_back([&] {
        while (started.fetch_add(1) < runs) {
          auto run = p.engine->start(program, workflow, cel::Value::map({}), {});
          if (!run) die(run.error().message);
          (void)p.engine->wait(run->key, -1);
        }
      });
    }
  }
  return seconds_since(begin);
}

// `cpu`: seconds of all threads a step, the clients that start and wait included.
void report(size_t in_flight, size_t past, size_t steps, size_t batches, double ours, double bare,
            double cpu) {
  const double goal = in_flight < 1000 ? bare / 2 : std::min(goal_steps, bare / 2);
  Line("durable_steps")
      .count("in_flight", in_flight)
      .count("events_behind", past)
      .count("steps", steps)
      .number("steps_a_batch", static_cast<double>(steps) / static_cast<double>(batches), 0)
      .number("steps_per_s", ours, 0)
      .number("bare_steps_per_s", bare, 0)
      .number("share", ours / bare)
      .number("cpu_us_a_step", cpu * 1e6, 1)
      .number("goal_steps_per_s", goal, 0)
      .met(ours >= goal);
}

void short_histories(const std::shared_ptr<const ir::Program>& program, size_t in_flight,
                     size_t steps) {
  const Scratch scratch("engine_bench");
  Recorder recorder;
  chains(scratch / "recorded", program, in_flight, steps, &recorder);
  std::vector<double> ours;
  std::vector<double> bare;
  std::vector<double> cpu;
  for (int i = 0; i < rounds; ++i) {
    const std::string n = std::to_string(i);
    const double before = process_seconds();
    ours.push_back(chains(scratch / ("ours" + n), program, in_flight, steps, nullptr));
    cpu.push_back(process_seconds() - before);
    bare.push_back(recorder.replay(scratch / ("bare" + n)));
  }
  const auto count = static_cast<double>(steps);
  report(in_flight, 0, steps, recorder.batches(), count / median(ours), count / median(bare),
         median(cpu) / count);
}

struct Tall {
  double seconds = 0;
  size_t steps = 0;
  double cpu = 0;
  size_t first_batch = 0;  // of the recorder, of what was measured
  size_t batches = 0;
  double rate() const { return static_cast<double>(steps) / seconds; }
};

machine::Millis wall_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// The runs of a prepared store have got their signal; measured is from when all work until the
// first has ended.
Tall tall(const fs::path& folder, Recorder* recorder) {
  Process p(folder, recorder, true);
  const auto runs = p.store->list({.limit = tall_runs});
  if (!runs) die(runs.error().message);
  while (p.engine->active() < tall_runs) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  Tall out;
  if (recorder != nullptr) {
    recorder->end_batch();
    out.first_batch = recorder->batches();
  }
  const auto begin = Clock::now();
  const double cpu_before = process_seconds();
  const machine::Millis from = wall_now();
  for (bool ended = false; !ended;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto list = p.store->list({.status = machine::RunStatus::completed, .limit = 1});
    if (!list) die(list.error().message);
    ended = !list->empty();
  }
  out.seconds = seconds_since(begin);
  out.cpu = process_seconds() - cpu_before;
  const machine::Millis until = wall_now();
  if (recorder != nullptr) out.batches = recorder->batches();
  for (const store::RunHeader& run : *runs) (void)p.engine->wait(run.key, -1);
  for (const store::RunHeader& run : *runs) {
    (void)engine::read_events(
        *p.store, run.key, past_events, [&](const machine::Event& e, uint64_t, uint64_t) {
          out.steps += std::holds_alternative<machine::StepCompleted>(e.data) && e.time >= from &&
                       e.time < until;
          return true;
        });
  }
  return out;
}

void long_histories(const std::shared_ptr<const ir::Program>& program, size_t steps) {
  const Scratch scratch("engine_bench");
  {
    Process p(scratch / "prepared", nullptr);
    std::atomic<size_t> started = 0;
    std::vector<std::jthread> clients;
    const auto input =
        cel::make_record({{"past", cel::Value::integer(past_events / 2)},
                          {"n", cel::Value::integer(static_cast<int64_t>(steps / tall_runs))}});
    for (int c = 0; c < 64; ++c) {
      clients.emplace_back([&] {
        while (started.fetch_add(1) < tall_runs) {
          auto run = p.engine->start(program, program->find("tall"), input, {});
          if (!run) die(run.error().message);
        }
      });
    }
    clients.clear();
    // All wait for their signal when nothing is committed any more.
    const auto waits = [&](const store::RunHeader& run) {
      const auto last = p.store->last(run.key);
      return last && *last && (*last)->first_seq + (*last)->event_count > past_events;
    };
    const auto runs = p.store->list({.limit = tall_runs});
    if (!runs || runs->size() != tall_runs) die("not all runs have started");
    while (!std::all_of(runs->begin(), runs->end(), waits))
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    p.engine.reset();
    for (const store::RunHeader& run : *runs) {
      if (auto sent = engine::send_signal(*p.store, run, "go", {}); !sent)
        die(sent.error().message);
    }
  }
  const auto copy = [&](const std::string& name) {
    fs::copy(scratch / "prepared", scratch / name, fs::copy_options::recursive);
    return scratch / name;
  };
  Recorder recorder;
  const Tall recorded = tall(copy("recorded"), &recorder);
  fs::remove_all(scratch / "recorded");
  std::vector<double> ours;
  std::vector<double> bare;
  std::vector<double> cpu;
  size_t measured = 0;
  for (int i = 0; i < rounds; ++i) {
    const Tall round = tall(copy("ours"), nullptr);
    measured = round.steps;
    ours.push_back(round.rate());
    cpu.push_back(round.cpu / static_cast<double>(round.steps));
    fs::remove_all(scratch / "ours");
    const double seconds = recorder.replay(copy("bare"), recorded.first_batch, recorded.batches);
    bare.push_back(static_cast<double>(recorded.steps) / seconds);
    fs::remove_all(scratch / "bare");
  }
  report(tall_runs, past_events, measured, recorded.batches - recorded.first_batch, median(ours),
         median(bare), median(cpu));
}

}  // namespace
}  // namespace kflow::bench

int main(int argc, char** argv) {
  using namespace kflow::bench;
  const size_t steps = number_argument(argc, argv, 50'000);
  const std::string only = argc > 2 ? argv[2] : "";
  const auto program = compiled();
  if (only.empty() || only == "1") short_histories(program, 1, std::max<size_t>(steps / 20, 10));
  if (only.empty() || only == "100") short_histories(program, 100, steps);
  if (only.empty() || only == "1000") short_histories(program, 1000, steps);
  if (only.empty() || only == "long") long_histories(program, std::max<size_t>(3 * steps, 20'000));
}
