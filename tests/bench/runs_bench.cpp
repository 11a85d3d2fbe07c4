// Runs as users meet them: latency of one, fan-out, long runs, sleeping runs, recovery, lists.
// `runs_bench [scale]` prints one JSON line a measurement; scale 1 sleeps 100 000 runs and lists as
// many, 10 ten times that.
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace {

using namespace kflow;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

const char* text = R"(
workflow chain() {
  step a = uuid()  step b = uuid()  step c = uuid()  step d = uuid()  step e = uuid()
  step f = uuid()  step g = uuid()  step h = uuid()  step i = uuid()  step j = uuid()
}
workflow fan() { for x in lists.range(100) { limit: 100  step s = uuid() } }
workflow long_one(n: int) { loop l { max: n  step s = uuid() } }
workflow sleeper(d: duration) { step sleep(d) }
workflow waits() { step s = signal.wait("go") }
)";

struct Process {
  explicit Process(const fs::path& folder, bool adopt = false, bool park = false) {
    auto opened = store::open_lmdb_store(folder.string(), {});
    if (!opened) die(opened.error().message);
    store = std::move(*opened);
    engine::EngineOptions options;
    options.adopt = adopt;
    options.park = park;
    auto made = engine::Engine::open(store, options);
    if (!made) die(made.error().message);
    engine = std::move(*made);
  }
  store::RunKey start(const char* workflow, const cel::Value& input = cel::Value::map({}),
                      engine::StartOptions options = {}) {
    auto run = engine->start(program(), program()->find(workflow), input, options);
    if (!run) die(run.error().message);
    return run->key;
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

// Milliseconds of a transaction with one row and fsync.
double bare_commit_ms(const fs::path& folder) {
  fs::create_directories(folder);
  MDB_env* env = nullptr;
  mdb_env_create(&env);
  mdb_env_set_mapsize(env, 1ULL << 30);
  if (mdb_env_open(env, folder.c_str(), MDB_NOTLS, 0644) != 0) die("no bare store");
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) {
    const auto begin = Clock::now();
    MDB_txn* txn = nullptr;
    MDB_dbi dbi = 0;
    mdb_txn_begin(env, nullptr, 0, &txn);
    mdb_dbi_open(txn, nullptr, 0, &dbi);
    MDB_val k{sizeof i, &i};
    MDB_val v{sizeof i, &i};
    mdb_put(txn, dbi, &k, &v, 0);
    mdb_txn_commit(txn);
    times.push_back(since(begin) * 1000);
  }
  mdb_env_close(env);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

double median_ms(Process& p, const char* workflow, int times) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) {
    const auto begin = Clock::now();
    (void)p.engine->wait(p.start(workflow), -1);
    all.push_back(since(begin) * 1000);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  in >> total >> resident;
  return resident * 4096;
}

void latency(const fs::path& folder) {
  const double bare = bare_commit_ms(folder / "bare");
  Process p(folder / "latency");
  const double run = median_ms(p, "chain", 60);
  std::printf(
      "{\"bench\":\"ten_step_run\",\"median_ms\":%.3f,\"bare_commit_ms\":%.3f,\"ratio\":%.1f,"
      "\"goal\":15}\n",
      run, bare, run / bare);
  std::printf("{\"bench\":\"fan_out_100\",\"median_ms\":%.3f,\"goal_ms\":3}\n",
              median_ms(p, "fan", 60));
}

// Time of the first and of the last thousand of many steps in one run.
void long_run(const fs::path& folder) {
  Process p(folder / "long");
  constexpr int64_t steps = 10'000;
  const auto key = p.start("long_one", cel::make_record({{"n", cel::Value::integer(steps)}}));
  (void)p.engine->wait(key, -1);
  std::vector<machine::Millis> times;
  (void)engine::read_events(*p.store, key, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
    if (std::holds_alternative<machine::StepCompleted>(e.data)) times.push_back(e.time);
    return true;
  });
  const auto first = static_cast<double>(times[1000] - times[0]);
  const auto last = static_cast<double>(times[steps - 1] - times[steps - 1001]);
  std::printf(
      "{\"bench\":\"long_run\",\"steps\":%ld,\"first_1000_ms\":%.0f,\"last_1000_ms\":%.0f,"
      "\"ratio\":%.2f,\"goal\":1.2}\n",
      static_cast<long>(steps), first, last, last / first);
}

void start_many(Process& p, size_t count, const char* workflow, const cel::Value& input) {
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> clients;
  for (int c = 0; c < 256; ++c) {
    clients.emplace_back([&] {
      while (next.fetch_add(1) < count) (void)p.start(workflow, input);
    });
  }
}

void sleeping(const fs::path& folder, size_t count) {
  const uint64_t memory_before = resident_bytes();
  Process p(folder / "sleep", true, true);
  const auto begin = Clock::now();
  start_many(p, count, "sleeper",
             cel::make_record({{"d", cel::Value::duration({.nanos = 3'600'000'000'000})}}));
  while (p.engine->active() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const double seconds = since(begin);
  const auto info = p.store->info();
  const auto n = static_cast<double>(count);
  std::printf(
      "{\"bench\":\"sleeping_runs\",\"runs\":%zu,\"starts_per_s\":%.0f,\"disk_bytes_per_run\":%.0f,"
      "\"in_memory\":%zu,\"resident_growth_mib\":%.0f,\"goal_disk\":1024}\n",
      count, n / seconds, static_cast<double>(info->bytes_used) / n, p.engine->active(),
      static_cast<double>(resident_bytes() - memory_before) / (1 << 20));
  for (const auto& [name, filter] : std::vector<std::pair<const char*, store::RunFilter>>{
           {"none", {}},
           {"status", {.status = machine::RunStatus::running}},
           {"completed", {.status = machine::RunStatus::completed}},
           {"workflow", {.workflow = "sleeper"}},
           {"status and workflow", {.status = machine::RunStatus::running, .workflow = "sleeper"}},
           {"error and workflow", {.status = machine::RunStatus::error, .workflow = "sleeper"}}}) {
    const auto list = Clock::now();
    const auto page = p.store->list(filter);
    std::printf(
        "{\"bench\":\"list\",\"runs\":%zu,\"filter\":\"%s\",\"rows\":%zu,\"ms\":%.2f,\"goal_ms\":"
        "10}\n",
        count, name, page->size(), since(list) * 1000);
  }
  std::fflush(stdout);
}

// A process with many open runs is killed; how soon does another go on with them?
void recovery(const fs::path& folder, size_t count) {
  const pid_t child = ::fork();
  if (child == 0) {
    Process p(folder / "recovery");
    start_many(p, count, "waits", cel::Value::map({}));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto begin = Clock::now();
  Process p(folder / "recovery", true);
  double first = 0;
  while (p.engine->active() < count) {
    if (first == 0 && p.engine->active() > 0) first = since(begin);
    if (since(begin) > 120) die("recovery takes too long");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::printf(
      "{\"bench\":\"recovery\",\"runs\":%zu,\"first_s\":%.3f,\"all_s\":%.2f,\"goal_first_s\":1,"
      "\"goal_all_s\":%.0f}\n",
      count, first, since(begin), 10.0 * static_cast<double>(count) / 100'000);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t scale = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const fs::path folder = fs::current_path() / ("runs_bench." + std::to_string(::getpid()));
  fs::create_directories(folder);
  (void)Process::program();
  recovery(folder, 100'000);
  std::fflush(stdout);
  latency(folder);
  long_run(folder);
  std::fflush(stdout);
  sleeping(folder, 100'000 * scale);
  fs::remove_all(folder);
}
