// kill -9 at commit points of a workflow with children, people, sessions and compensation, on a
// real LMDB store: the process dies right after a commit is durable and before anything of it is
// let out; another one finishes.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "compiler/cel/value_codec.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
namespace fs = std::filesystem;
using machine::RunStatus;

namespace {

constexpr const char* text = R"(
workflow w(file: string, items: int) -> any {
  session: { n: int = 0 }
  for i in lists.range(items) {
    step note = exec.run(["sh", "-c", "echo $KFLOW_IDEMPOTENCY_KEY >> ${file}"]) { undo: exec.run(["sh", "-c", "echo undone >> ${file}.undone"]) }
    set session.n = session.n + 1
    step id = uuid()
    step kv.put("last", i)
  }
  parallel {
    step a = child(1)
    step b = child(2)
    step c = signal.wait("go")
  }
  try {
    step bad = exec.run(["false"])
  } catch err {
    step kid = child.start(5)
    step five = runs.wait(kid)
    let caught = err.kind
  }
  step last = kv.get("last")
  fail { code: "end", message: "n ${session.n} a ${a} b ${b} c ${json(c)} five ${json(five)} last ${json(last)}" }
}
workflow child(x: int) -> int {
  step one = exec.run(["true"])
  step sleep(2ms)
  step two = uuid()
  return x * 10
}
)";

// Far above what it takes: a machine with other things to do is slow, a hang is for ever.
constexpr int patience_ms = 250'000;

bool long_form() { return std::getenv("KFLOW_LONG") != nullptr; }
// About 500 commits in the long form.
size_t items() { return long_form() ? 160 : 40; }
std::string expected_error() {
  return "n " + std::to_string(items()) + " a 10 b 20 c 7 five 50 last " +
         std::to_string(items() - 1);
}

std::shared_ptr<const ir::Program> program() {
  static const auto compiled = driver::compile_text("crash.kflow", text);
  static const auto shared = std::make_shared<const ir::Program>(*compiled->program);
  return shared;
}

struct Outcome {
  size_t commits = 0;
  bool finished = false;
};

struct Life {
  pid_t pid = 0;
  int report = -1;
};

// In a child: says what did not work.
[[noreturn]] void give_up(const char* what, const Error& error) {
  std::fprintf(stderr, "%s: %s\n", what, error.message.c_str());
  ::_exit(2);
}

// One life of the process: dies after `die_at` commits, or runs to the end and reports how many
// there were.
Life spawn(const fs::path& folder, size_t die_at) {
  int pipe_fds[2];
  REQUIRE(::pipe(pipe_fds) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(pipe_fds[0]);
    std::atomic<size_t> commits = 0;
    auto opened = store::open_lmdb_store((folder / "store").string(), {});
    if (!opened) give_up("the store", opened.error());
    const std::shared_ptr<store::Store> store(std::move(*opened));
    engine::EngineOptions options;
    options.adopt = true;
    options.on_commit = [&] {
      if (++commits == die_at) ::kill(::getpid(), SIGKILL);
    };
    auto engine = engine::Engine::open(store, options);
    if (!engine) give_up("the engine", engine.error());
    const auto input =
        cel::make_record({{"file", cel::Value::string((folder / "effects").string())},
                          {"items", cel::Value::integer(static_cast<int64_t>(items()))}});
    auto started =
        (*engine)->start(program(), program()->find("w"), input, {.idempotency_key = "once"});
    if (!started) give_up("the start", started.error());
    const auto header = store->header(started->key);
    (void)engine::send_signal(*store, **header, "go", cel::Value::integer(7), "once");
    const auto ended = (*engine)->wait(started->key, patience_ms);
    const size_t count = ended && ended->status == RunStatus::error ? commits.load() : 0;
    [[maybe_unused]] const auto written = ::write(pipe_fds[1], &count, sizeof count);
    engine->reset();
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  return {child, pipe_fds[0]};
}

Outcome outlive(const Life& life) {
  Outcome out;
  out.finished = ::read(life.report, &out.commits, sizeof out.commits) == sizeof out.commits;
  ::close(life.report);
  int status = 0;
  ::waitpid(life.pid, &status, 0);
  INFO("exit status " << status);
  REQUIRE((out.finished || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)));
  return out;
}

Outcome live(const fs::path& folder, size_t die_at) { return outlive(spawn(folder, die_at)); }

// Everything that must hold, whatever happened.
void check_store(const fs::path& folder) {
  auto opened = store::open_lmdb_store((folder / "store").string(), {});
  REQUIRE(opened);
  store::Store& store = **opened;
  const auto findings = store.check();
  REQUIRE(findings);
  for (const auto& f : *findings) CHECK(f.where + ": " + f.what == "");
  const auto runs = store.list({.limit = 100});
  REQUIRE(runs);
  CHECK(runs->size() == 4);
  for (const auto& run : *runs) {
    INFO(run.workflow << " " << run.id);
    if (run.workflow == "w") {
      CHECK(run.status == RunStatus::error);
      CHECK(run.error == expected_error());
    } else {
      CHECK(run.status == RunStatus::completed);
    }
    std::map<std::string, int> completed;
    uint64_t next = 0;
    REQUIRE(engine::read_events(store, run.key, 0,
                                [&](const machine::Event& e, uint64_t seq, uint64_t) {
                                  CHECK(seq == next++);
                                  if (std::holds_alternative<machine::StepCompleted>(e.data))
                                    ++completed[e.path];
                                  return true;
                                }));
    for (const auto& [path, times] : completed) {
      INFO(path);
      CHECK(times == 1);
    }
  }
  // Each effect under its one key, at least once, and each undone.
  std::set<std::string> keys;
  std::ifstream effects(folder / "effects");
  for (std::string line; std::getline(effects, line);) keys.insert(line);
  CHECK(keys.size() == items());
  size_t undone = 0;
  std::ifstream undone_file(folder / "effects.undone");
  for (std::string line; std::getline(undone_file, line);) ++undone;
  CHECK(undone >= items());
}

}  // namespace

TEST_CASE("the process dies at a commit, another one finishes") {
  REQUIRE(driver::compile_text("crash.kflow", text)->program.has_value());
  const fs::path base =
      fs::temp_directory_path() / ("kflow_commit_kill_" + std::to_string(::getpid()));
  const auto fresh = [&] {
    fs::remove_all(base);
    fs::create_directories(base);
    return base;
  };
  const Outcome whole = live(fresh(), 0);
  REQUIRE(whole.finished);
  check_store(base);
  REQUIRE(whole.commits > 100);
  const size_t step = long_form() ? 1 : whole.commits / 24;
  for (size_t at = 1; at <= whole.commits; at += step) {
    INFO("killed at commit " << at << " of " << whole.commits);
    const fs::path folder = fresh();
    const Outcome died = live(folder, at);
    if (!died.finished) REQUIRE(live(folder, 0).finished);
    check_store(folder);
  }
  // Killed again and again on one store.
  const fs::path folder = fresh();
  size_t lives = 0;
  while (!live(folder, 9).finished && lives < 1000) ++lives;
  INFO(lives << " lives");
  CHECK(lives > 10);
  check_store(folder);
  fs::remove_all(base);
}

TEST_CASE("two processes fight for the same runs, and die") {
  const uint64_t seed = std::getenv("KFLOW_SEED") != nullptr
                            ? std::strtoull(std::getenv("KFLOW_SEED"), nullptr, 10)
                            : 1;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const fs::path base = fs::temp_directory_path() / ("kflow_two_" + std::to_string(::getpid()));
  for (int world = 0; world < (long_form() ? 100 : 4); ++world) {
    fs::remove_all(base);
    fs::create_directories(base);
    bool finished = false;
    size_t lives = 0;
    while (!finished && lives < 500) {
      const Life one = spawn(base, 5 + random() % 30);
      const Life two = spawn(base, 5 + random() % 30);
      const bool first = outlive(one).finished;
      const bool second = outlive(two).finished;
      finished = first || second;
      lives += 2;
    }
    INFO(lives << " lives");
    CHECK(finished);
    CHECK(live(base, 0).finished);  // whatever is left over ends too
    check_store(base);
  }
  fs::remove_all(base);
}

TEST_CASE("a stopped owner loses its runs, and what it does late is refused") {
  const fs::path base = fs::temp_directory_path() / ("kflow_stop_" + std::to_string(::getpid()));
  fs::remove_all(base);
  fs::create_directories(base);
  const Life life = spawn(base, 0);
  {
    std::unique_ptr<store::Store> opened;
    while (!opened) {
      if (auto store = store::open_lmdb_store((base / "store").string(), {.create = false}))
        opened = std::move(*store);
    }
    const std::shared_ptr<store::Store> store(std::move(opened));
    std::optional<store::RunHeader> run;
    for (uint64_t events = 0; events < 60;) {
      const auto runs = store->list({.workflow = "w"});
      REQUIRE(runs);
      if (runs->empty()) continue;
      run = runs->front();
      const auto last = store->last(run->key);
      if (last && *last) events = (*last)->first_seq;
    }
    CHECK(store->alive(run->owner));
    REQUIRE(::kill(life.pid, SIGSTOP) == 0);
    while (store->alive(run->owner)) ::usleep(1000);
    engine::EngineOptions options;
    options.adopt = true;
    // Stopped inside the write lock it keeps everybody out, and the error says who it is: then it
    // goes on and finishes itself.
    bool released = false;
    const auto named = [&](const Error& error) {
      INFO(error.message);
      CHECK(error.message.find(std::to_string(life.pid)) != std::string::npos);
      REQUIRE(::kill(life.pid, SIGCONT) == 0);
      released = true;
    };
    auto engine = engine::Engine::open(store, options);
    if (!engine) {
      named(engine.error());
      engine = engine::Engine::open(store, options);
    }
    REQUIRE(engine);
    const auto taken = (*engine)->resume(run->key);
    if (!taken && !released) named(taken.error());
    const auto ended = (*engine)->wait(run->key, patience_ms);
    REQUIRE(ended);
    CHECK(ended->status == RunStatus::error);
  }
  REQUIRE(::kill(life.pid, SIGCONT) == 0);
  CHECK(outlive(life).finished);
  check_store(base);
  fs::remove_all(base);
}
