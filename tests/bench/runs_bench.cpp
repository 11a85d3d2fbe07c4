// Runs as users meet them: latency of one, fan-out, long runs, sleeping runs, recovery, lists,
// subscribers. `runs_bench [N]`: N sleeping and listed runs (1 000 000), a tenth of it recovered.
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/shared_stream.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;
using machine::Millis;

const char* text = R"(
workflow chain() {
  step a = uuid()  step b = uuid()  step c = uuid()  step d = uuid()  step e = uuid()
  step f = uuid()  step g = uuid()  step h = uuid()  step i = uuid()  step j = uuid()
}
workflow fan() { for x in lists.range(100) { limit: 100  step s = uuid() } }
workflow long_one(n: int) { loop l { max: n  step s = uuid() } }
workflow sleeper(until: timestamp) { step sleep_until(until) }
workflow waits() { step s = signal.wait("go") }
workflow gated(n: int) { step signal.wait("go")  loop l { max: n  step s = uuid() } }
workflow speaks(n: int) { loop l { max: n  emit "a short piece of news" } }
)";

Millis wall_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

struct Process {
  explicit Process(const fs::path& folder, engine::EngineOptions options = {}) {
    auto opened = store::open_lmdb_store(folder.string(), {});
    if (!opened) die(opened.error().message);
    store = std::move(*opened);
    auto made = engine::Engine::open(store, std::move(options));
    if (!made) die(made.error().message);
    engine = std::move(*made);
  }
  store::RunKey start(const char* workflow, const cel::Value& input = cel::Value::map({})) {
    auto run = engine->start(program(), program()->find(workflow), input, {});
    if (!run) die(run.error().message);
    return run->key;
  }
  /// Starts `count` runs, many at a time.
  void start_many(size_t count, const char* workflow,
                  const std::function<cel::Value(size_t)>& input) {
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> clients;
    for (int c = 0; c < 256; ++c) {
      clients.emplace_back([&] {
        for (size_t n = next.fetch_add(1); n < count; n = next.fetch_add(1))
          (void)start(workflow, input(n));
      });
    }
  }
  static std::shared_ptr<const ir::Program> program() {
    static const auto compiled = driver::compile_text("bench", text);
    if (!compiled->program) die("the programs of the benchmark do not compile");
    static const auto shared = std::make_shared<const ir::Program>(*compiled->program);
    return shared;
  }
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
};

double median_ms(Process& p, const char* workflow, int times) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) {
    const auto begin = Clock::now();
    (void)p.engine->wait(p.start(workflow), -1);
    all.push_back(seconds_since(begin) * 1000);
  }
  return median(std::move(all));
}

// Runs of ten steps, and bare commits, in turn: the disk is not the same from one second to the
// next.
void latency(const Scratch& scratch) {
  std::vector<double> runs;
  std::vector<double> fans;
  std::vector<double> bare;
  for (int i = 0; i < 5; ++i) {
    const std::string n = std::to_string(i);
    bare.push_back(bare_commit_ms(scratch / ("bare" + n)));
    Process p(scratch / ("latency" + n));
    runs.push_back(median_ms(p, "chain", 60));
    fans.push_back(median_ms(p, "fan", 60));
  }
  const double run = median(runs);
  const double commit = median(bare);
  Line("ten_step_run")
      .number("median_ms", run, 3)
      .number("bare_commit_ms", commit, 3)
      .number("bare_commits", run / commit, 1)
      .count("goal_commits", 15)
      .met(run <= 15 * commit);
  const double fan = median(fans);
  Line("fan_out_100").number("median_ms", fan).count("goal_ms", 3).met(fan < 3);
}

// A run of many steps: time of those around step 10 and of those around step 10 000.
void long_run(const Scratch& scratch) {
  Process p(scratch / "long");
  constexpr int64_t steps = 11'000;
  constexpr size_t window = 1000;
  std::vector<double> early;
  std::vector<double> late;
  for (int round = 0; round < 3; ++round) {
    const auto key = p.start("long_one", cel::make_record({{"n", cel::Value::integer(steps)}}));
    (void)p.engine->wait(key, -1);
    std::vector<Millis> times;
    (void)engine::read_events(*p.store, key, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
      if (std::holds_alternative<machine::StepCompleted>(e.data)) times.push_back(e.time);
      return true;
    });
    early.push_back(static_cast<double>(times[10 + window] - times[10]));
    late.push_back(static_cast<double>(times[9'999 + window] - times[9'999]));
  }
  const double ratio = median(late) / median(early);
  Line("step_10000_of_a_run")
      .number("first_1000_ms", median(early), 0)
      .number("last_1000_ms", median(late), 0)
      .number("ratio", ratio)
      .number("goal", 1.2, 1)
      .met(ratio <= 1.2);
}

void lists(store::Store& store, size_t count) {
  using machine::RunStatus;
  for (const auto& [name, filter] : std::vector<std::pair<const char*, store::RunFilter>>{
           {"none", {}},
           {"status", {.status = RunStatus::running}},
           {"status of none", {.status = RunStatus::completed}},
           {"workflow", {.workflow = "sleeper"}},
           {"status and workflow", {.status = RunStatus::running, .workflow = "sleeper"}},
           {"nothing fits", {.status = RunStatus::error, .workflow = "sleeper"}},
           {"in the middle", {.workflow = "sleeper", .before = count / 2}}}) {
    std::vector<double> all;
    size_t rows = 0;
    for (int i = 0; i < 21; ++i) {
      const auto begin = Clock::now();
      const auto page = store.list(filter);
      all.push_back(seconds_since(begin) * 1000);
      rows = page->size();
    }
    const double ms = median(all);
    Line("list")
        .count("runs", count)
        .text("filter", name)
        .count("rows", rows)
        .number("ms", ms)
        .count("goal_ms", 10)
        .met(ms < 10);
  }
}

// Runs that sleep: all until one hour from now, but for every hundredth, which wakes while we look.
void sleeping(const Scratch& scratch, size_t count) {
  ::malloc_trim(0);
  const uint64_t memory_before = resident_bytes();
  const uint64_t heap_before = own_bytes();
  Process p(scratch / "sleep", {.adopt = true, .park = true});
  const auto at = [](Millis ms) {
    return cel::make_record({{"until", cel::Value::timestamp({.seconds = ms / 1000, .nanos = 0})}});
  };
  const Millis later = wall_now() + 3'600'000;
  const auto begin = Clock::now();
  p.start_many(count, "sleeper", [&](size_t) { return at(later); });
  while (p.engine->active() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const double seconds = seconds_since(begin);
  const auto info = p.store->info();
  const auto n = static_cast<double>(count);
  const double disk = static_cast<double>(info->bytes_used) / n;
  // What the process holds itself; the rest are pages of the store's file, which the kernel takes
  // back.
  ::malloc_trim(0);
  const uint64_t heap = own_bytes() - std::min(own_bytes(), heap_before);
  const uint64_t grown = resident_bytes() - std::min(resident_bytes(), memory_before);
  Line("sleeping_runs")
      .count("runs", count)
      .number("starts_per_s", n / seconds, 0)
      .number("disk_bytes_per_run", disk, 0)
      .count("in_memory", p.engine->active())
      .number("heap_bytes_per_run", static_cast<double>(heap) / n, 1)
      .number("mapped_mib", static_cast<double>(grown - std::min(grown, heap)) / (1 << 20), 0)
      .count("goal_disk_bytes", 1024)
      .met(disk <= 1024 && p.engine->active() == 0);
  lists(*p.store, count);
}

// Runs that were put to sleep by a process that is gone wake in another, on time: the clock of the
// second one is set to when they are due.
void waking(const Scratch& scratch, size_t count) {
  const Millis later = (wall_now() / 1000 + 3600) * 1000;
  const fs::path folder = scratch / "sleep";
  struct Later : engine::Clock {
    Millis ahead = 0;
    Millis now() const override { return wall_now() + ahead; }
  };
  auto clock = std::make_shared<Later>();
  clock->ahead = later - wall_now() + 2000;
  const auto begin = Clock::now();
  Process p(folder, {.clock = clock, .adopt = true, .park = true});
  const auto left = [&] {
    const auto list = p.store->list({.status = machine::RunStatus::running, .limit = 1});
    return !list->empty();
  };
  double first = 0;
  while (left()) {
    if (first == 0 &&
        !p.store->list({.status = machine::RunStatus::completed, .limit = 1})->empty())
      first = seconds_since(begin);
    if (seconds_since(begin) > 600) die("sleeping runs do not wake");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Line("waking_runs")
      .count("runs", count)
      .number("first_s", first, 3)
      .number("all_s", seconds_since(begin))
      .number("woken_per_s", static_cast<double>(count) / seconds_since(begin), 0)
      .number("goal_first_s", 1)
      .met(first < 1);
}

// A process with many open runs is killed; how soon does another go on with them?
void recovery(const Scratch& scratch, size_t count) {
  const pid_t child = ::fork();
  if (child == 0) {
    Process p(scratch / "recovery");
    p.start_many(count, "waits", [](size_t) { return cel::Value::map({}); });
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto begin = Clock::now();
  Process p(scratch / "recovery", {.adopt = true});
  double first = 0;
  while (p.engine->active() < count) {
    if (first == 0 && p.engine->active() > 0) first = seconds_since(begin);
    if (seconds_since(begin) > 120) die("recovery takes too long");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const double all = seconds_since(begin);
  Line("recovery")
      .count("runs", count)
      .number("first_s", first, 3)
      .number("all_s", all)
      .count("goal_first_s", 1)
      .count("goal_all_s", 10)
      .met(first < 1 && all < 10);
}

// Frames of a run's public events as a subscriber gets them.
struct Subscriber {
  Subscriber(store::Store& store, store::RunKey run, engine::SharedStreams& streams)
      : behind(store, run), stream(streams.of(store, run)) {}

  void read() {
    (void)stream->read(next, behind, [&](uint64_t index, const std::string& frame) {
      in_order &= index == next;
      next = index + 1;
      bytes += frame.size();
      ended = frame.starts_with(R"({"event":"WorkflowCompleted")");
      return true;
    });
  }

  engine::RunStream behind;
  std::shared_ptr<engine::SharedStream> stream;
  uint64_t next = 0;
  uint64_t bytes = 0;
  bool in_order = true;
  bool ended = false;
};

// One that reads a long log, then many that follow a run as it goes.
void subscribers(const Scratch& scratch) {
  Process p(scratch / "subscribers");
  const auto input = [](int64_t n) { return cel::make_record({{"n", cel::Value::integer(n)}}); };
  const auto key = p.start("speaks", input(100'000));
  (void)p.engine->wait(key, -1);
  std::vector<double> rates;
  for (int i = 0; i < 3; ++i) {
    engine::SharedStreams streams;
    Subscriber one(*p.store, key, streams);
    const auto begin = Clock::now();
    one.read();
    rates.push_back(static_cast<double>(one.next) / seconds_since(begin));
    if (!one.in_order || !one.ended) die("events are missing");
  }
  Line("one_subscriber")
      .number("events_per_s", median(rates), 0)
      .count("goal", 100'000)
      .met(median(rates) >= 100'000);

  // The run waits until all of them wait for it.
  const auto follow = [&](size_t many) {
    const auto followed = p.start("gated", input(1000));
    const auto header = p.store->header(followed);
    engine::SharedStreams streams;
    std::atomic<bool> good = true;
    std::atomic<size_t> there = 0;
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < many; ++i) {
      threads.emplace_back([&] {
        Subscriber mine(*p.store, followed, streams);
        mine.read();
        ++there;
        while (!mine.ended) {
          (void)p.engine->wait_for_stream(followed, mine.next, 5000);
          mine.read();
        }
        if (!mine.in_order) good = false;
      });
    }
    while (there < many) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const auto begin = Clock::now();
    if (!engine::send_signal(*p.store, **header, "go", cel::Value()).has_value()) die("no signal");
    (void)p.engine->wait(followed, -1);
    const double seconds = seconds_since(begin);
    threads.clear();
    if (!good) die("events are missing");
    return seconds;
  };
  const double alone = follow(1);
  const double crowd = follow(1000);
  Line("subscribers_1000")
      .number("run_ms_with_1", alone * 1000, 0)
      .number("run_ms_with_1000", crowd * 1000, 0)
      .number("ratio", crowd / alone)
      .number("goal_ratio", 1.5)
      .met(crowd / alone <= 1.5);
}

}  // namespace
}  // namespace kflow::bench

int main(int argc, char** argv) {
  using namespace kflow::bench;
  const size_t count = number_argument(argc, argv, 1'000'000);
  const Scratch scratch("runs_bench");
  (void)Process::program();
  recovery(scratch, count / 10);
  latency(scratch);
  long_run(scratch);
  subscribers(scratch);
  sleeping(scratch, count);
  waking(scratch, count);
}
