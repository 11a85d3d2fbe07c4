// The engine on a store in memory: runs that wait for one another, share values, fail and go on.
#include "runtime/engine/engine.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/portable.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using engine::Engine;
using machine::RunStatus;

namespace {

// A clock that stands until it is set.
class TestClock final : public engine::Clock {
 public:
  machine::Millis now() const override { return now_; }
  void set(machine::Millis t) { now_ = t; }

 private:
  std::atomic<machine::Millis> now_ = 0;
};

constexpr int patience_ms = 20'000;

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("test.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

// One simulated process: an engine with a handle of its own on the disk.
struct Process {
  explicit Process(std::shared_ptr<store::MemoryDisk> disk, bool adopt = true, bool park = false)
      : store(store::make_memory_store(std::move(disk))) {
    engine::EngineOptions options;
    options.adopt = adopt;
    options.park = park;
    options.full_disk_wait_ms = 20;
    options.on_trouble = [this](const std::string& what) { trouble += what + "\n"; };
    auto opened = Engine::open(store, options);
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  engine::StartedRun start(const std::shared_ptr<const ir::Program>& program,
                           const std::string& workflow, const std::string& input = "{}",
                           engine::StartOptions options = {}) {
    auto started = try_start(program, workflow, input, std::move(options));
    if (!started) FAIL(started.error().message);
    return *started;
  }
  Result<engine::StartedRun> try_start(const std::shared_ptr<const ir::Program>& program,
                                       const std::string& workflow, const std::string& input,
                                       engine::StartOptions options = {}) {
    return engine->start(program, program->find(workflow), *cel::from_json(input), options);
  }
  store::RunHeader wait(store::RunKey run) {
    auto header = engine->wait(run, patience_ms);
    REQUIRE(header);
    return *header;
  }
  // The value of a run that has completed, as JSON.
  std::string value(store::RunKey run) {
    const store::RunHeader header = wait(run);
    INFO(header.error << "\n" << trouble);
    REQUIRE(header.status == RunStatus::completed);
    auto outcome = engine::read_outcome(*store, run);
    REQUIRE(outcome);
    return cel::to_json(std::get<cel::Value>(*outcome));
  }
  store::RunHeader header(store::RunKey run) { return **store->header(run); }
  // Until the run asks something.
  std::vector<machine::Requirement> questions(store::RunKey run) {
    for (uint64_t seq = 0; seq < 1000; ++seq) {
      auto open = engine::open_requirements(*store, header(run));
      REQUIRE(open);
      if (!open->empty()) return *open;
      engine->wait_for_events(run, seq, 1000);
    }
    FAIL("nothing is asked");
    return {};
  }

  std::shared_ptr<store::Store> store;
  std::unique_ptr<Engine> engine;
  std::string trouble;
};

}  // namespace

TEST_CASE("children: attached, failing, detached, waited for") {
  const auto program = compile(R"(
    workflow parent(n: int) -> int[] {
      for i in [1, 2, 3] { limit: 3
        step one = child(i * n)
      }
      return one
    }
    workflow child(x: int) -> int { step sleep(5ms)  return x + 1 }
    workflow catches() -> string {
      try { step a = fails() } catch err { return err.message }
      return "?"
    }
    workflow fails() -> int { fail "broken" }
    workflow detaches() -> any {
      step id = child.start(41)
      step out = runs.wait(id)
      return out
    }
    workflow missing() -> any {
      try { step out = runs.wait("nobody") } catch err { return err.code }
      return "?"
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  CHECK(p.value(p.start(program, "parent", R"({"n": 10})").key) == "[11,21,31]");
  CHECK(p.value(p.start(program, "catches").key) == "\"broken\"");
  CHECK(p.value(p.start(program, "detaches").key) == "42");
  CHECK(p.value(p.start(program, "missing").key) == "\"not_found\"");
  const auto parent = p.start(program, "parent", R"({"n": 1})");
  p.wait(parent.key);
  const auto children = p.store->list({.parent = parent.key});
  REQUIRE(children);
  CHECK(children->size() == 3);
}

TEST_CASE("a run goes on with another program where it fits what the run has done") {
  const auto before = compile(R"(
    workflow w(n: int) -> string {
      step a = twice(n)
      for i in [1, 2] { step b = twice(i) }
      step s: int = signal.wait("go")
      step c = file.read("/no/such/file")
      return "old"
    }
    tool twice(x: int) -> int { return x * 2 }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  SECTION("a failed run, from what it failed by") {
    const auto run = p.start(before, "w", R"({"n": 4})");
    REQUIRE(engine::send_signal(*p.store, p.header(run.key), "go", cel::Value::integer(3)));
    REQUIRE(p.wait(run.key).status == RunStatus::error);
    const auto after = compile(R"(
      tool thrice(x: int) -> int { return x * 3 }
      tool twice(x: int) -> int { return 0 + x * 2 }
      workflow w(n: int) -> string {
        step a = twice(n)
        for i in [1, 2] { step b = twice(i) }
        step s: int = signal.wait("go")
        step c = thrice(s)
        for i in [1, 2] { let k = i + c  step d = twice(k) }
        return "new ${a} ${s} ${c} ${d[1]}"
      }
    )");
    const auto moved = p.engine->move(run.key, after);
    INFO((moved ? "" : moved.error().message));
    REQUIRE(moved);
    CHECK(p.value(run.key) == "\"new 8 3 9 22\"");
    CHECK(p.header(run.key).attempt == 2);
    // The log folds under the program that the run has now.
    const auto program = engine::load_program(*p.store, p.header(run.key).program);
    REQUIRE(program);
    CHECK(engine::load_state(*p.store, run.key, *program));
  }
  SECTION("a run that waits, taken up by another process") {
    auto disk = std::make_shared<store::MemoryDisk>();
    store::RunKey key = 0;
    {
      Process first(disk, true, true);
      key = first.start(before, "w", R"({"n": 1})").key;
      first.engine->wait_for_events(key, 8, patience_ms);
    }
    Process second(disk, false);
    const auto after = compile(R"(
      workflow w(n: int) -> string {
        step a = twice(n)
        for i in [1, 2] { step b = twice(i) }
        step s: int = signal.wait("go")
        return "waited ${a} ${s}"
      }
      tool twice(x: int) -> int { return x * 2 }
    )");
    const auto moved = second.engine->move(key, after);
    INFO((moved ? "" : moved.error().message));
    REQUIRE(moved);
    REQUIRE(engine::send_signal(*second.store, second.header(key), "go", cel::Value::integer(5)));
    CHECK(second.value(key) == "\"waited 2 5\"");
  }
  SECTION("what does not fit is named, and nothing changes") {
    const auto run = p.start(before, "w", R"({"n": 4})");
    REQUIRE(engine::send_signal(*p.store, p.header(run.key), "go", cel::Value::integer(3)));
    REQUIRE(p.wait(run.key).status == RunStatus::error);
    const std::pair<std::string, std::string> edits[] = {
        {"workflow w(n: int) -> string { step b = twice(n)  return \"${b}\" }", "`a`"},
        {"workflow w(n: int, m: int = 1) -> string { step a = twice(n)  return \"${a}\" }",
         "parameters"},
        {"workflow v(n: int) -> string { step a = twice(n)  return \"${a}\" }", "no workflow `w`"},
        {"workflow w(n: int) -> string { step a = uuid()  return a }", "would call `uuid`"},
        {R"(workflow w(n: int) -> string {
              step a = twice(n)
              for i in [1, 2] { step b = twice(i)  step c = twice(i) }
              step s: int = signal.wait("go")
              return "${c[0]}"
            })",
         "`c`"},
    };
    for (const auto& [text, wanted] : edits) {
      const auto after = compile(text +
                                 "\ntool twice(x: int) -> int { return x * 2 }\n"
                                 "workflow other() { step x = twice(1)  step log(x) }");
      const auto moved = p.engine->move(run.key, after);
      REQUIRE(!moved);
      INFO(moved.error().message);
      CHECK(moved.error().message.find(wanted) != std::string::npos);
      CHECK(p.header(run.key).status == RunStatus::error);
      CHECK(p.header(run.key).program == ir::hash(*before));
    }
  }
}

TEST_CASE("cancel goes down to children and waits for them; kill does not wait") {
  const auto program = compile(R"(
    workflow parent() { step c = child() }
    workflow child() -> int {
      step a = exec.run(["true"]) { undo: exec.run(["true"]) }
      step sleep(1h)
      return 1
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  for (const bool kill : {false, true}) {
    const auto run = p.start(program, "parent");
    std::vector<store::RunHeader> children;
    while (children.empty()) children = *p.store->list({.parent = run.key});
    while (p.engine->wait_for_events(children[0].key, 3, 1000) == false) continue;
    REQUIRE(engine::request_cancel(*p.store, p.header(run.key), "enough", kill));
    CHECK(p.wait(run.key).status == RunStatus::cancelled);
    CHECK(p.wait(children[0].key).status == RunStatus::cancelled);
    bool undone = false;
    REQUIRE(engine::read_events(*p.store, children[0].key, 0,
                                [&](const machine::Event& e, uint64_t, uint64_t) {
                                  undone = undone || e.role == machine::Role::undo;
                                  return true;
                                }));
    CHECK(undone == !kill);
  }
}

TEST_CASE("signals wait in the mailbox and are taken once") {
  const auto program = compile(R"(
    workflow w() -> any[] {
      step a = signal.wait("go")
      step b = signal.wait("go")
      return [a, b]
    }
    workflow sends(to: string) -> null {
      step signal.send(to, "go", "two")
    }
    workflow nobody() -> string {
      try { step signal.send("nobody", "go") } catch err { return err.code }
      return "?"
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const auto run = p.start(program, "w");
  const auto value = cel::Value::string("one");
  REQUIRE(engine::send_signal(*p.store, p.header(run.key), "go", value, "k"));
  REQUIRE(
      engine::send_signal(*p.store, p.header(run.key), "go", value, "k"));  // the same, sent again
  CHECK(p.value(p.start(program, "sends", "{\"to\": \"" + run.id + "\"}").key) == "null");
  CHECK(p.value(run.key) == R"(["one","two"])");
  CHECK_FALSE(engine::send_signal(*p.store, p.header(run.key), "go", value));
  CHECK(p.value(p.start(program, "nobody").key) == "\"not_found\"");
}

TEST_CASE("people: a run is PAUSED until they answer, and answers are checked") {
  const auto program = compile(R"(
    type Order { title: string @length(1, 5)  copies: int = 1 }
    workflow w() -> any {
      step ok = human.confirm("go on?")
      step order: Order = human.ask("what?")
      return [ok, order.copies]
    }
  )");
  const auto disk = std::make_shared<store::MemoryDisk>();
  Process p(disk, true, true);
  const auto run = p.start(program, "w");
  auto open = p.questions(run.key);
  CHECK(p.header(run.key).status == RunStatus::paused);
  CHECK(open[0].question == "go on?");
  REQUIRE(engine::answer(*p.store, p.header(run.key), *program, open[0],
                         {.requirement = "", .accepted = true, .value = {}, .feedback = ""}));
  do {
    open = p.questions(run.key);
  } while (open[0].kind != machine::AskKind::form);
  machine::AnswerInput bad{.requirement = "",
                           .accepted = true,
                           .value = *cel::from_json(R"({"title": "too long"})"),
                           .feedback = ""};
  const auto refused = engine::answer(*p.store, p.header(run.key), *program, open[0], bad);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("title") != std::string::npos);
  bad.value = *cel::from_json(R"({"title": "good"})");
  REQUIRE(engine::answer(*p.store, p.header(run.key), *program, open[0], bad));
  CHECK(p.value(run.key) == "[true,1]");
}

TEST_CASE("concurrency: queue, reject, cancel_oldest, and slots equal running rows") {
  const auto program = compile(R"(
    workflow queued(x: string) -> string {
      concurrency: { limit: 1, key: x, when_full: queue }
      step s = signal.wait("go")
      return x
    }
    workflow rejected() {
      concurrency: { limit: 1, when_full: reject }
      step s = signal.wait("go")
    }
    workflow newest() {
      concurrency: { limit: 1, when_full: cancel_oldest }
      step s = signal.wait("go")
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const auto go = [&](store::RunKey run) {
    return engine::send_signal(*p.store, p.header(run), "go", cel::Value());
  };
  const auto a = p.start(program, "queued", R"({"x": "a"})");
  const auto b = p.start(program, "queued", R"({"x": "a"})");
  const auto c = p.start(program, "queued", R"({"x": "a"})");
  const auto other = p.start(program, "queued", R"({"x": "b"})");
  CHECK_FALSE(a.queued);
  CHECK(b.queued);
  CHECK(c.queued);
  CHECK_FALSE(other.queued);
  CHECK(p.header(b.key).status == RunStatus::pending);
  REQUIRE(go(b.key));  // kept for it, and no reason to begin
  REQUIRE(engine::request_cancel(*p.store, p.header(c.key), "not needed"));
  CHECK(p.wait(c.key).status == RunStatus::cancelled);
  CHECK(p.header(b.key).status == RunStatus::pending);
  REQUIRE(go(a.key));
  CHECK(p.value(a.key) == "\"a\"");
  CHECK(p.value(b.key) == "\"a\"");
  REQUIRE(go(other.key));
  p.wait(other.key);

  const auto first = p.start(program, "rejected");
  CHECK_FALSE(p.try_start(program, "rejected", "{}"));
  REQUIRE(go(first.key));
  p.wait(first.key);
  const auto second = p.start(program, "rejected");
  REQUIRE(go(second.key));

  const auto old = p.start(program, "newest");
  const auto young = p.start(program, "newest");
  CHECK(young.queued);
  CHECK(p.wait(old.key).status == RunStatus::cancelled);
  REQUIRE(go(young.key));
  CHECK(p.wait(young.key).status == RunStatus::completed);
  const auto findings = p.store->check();
  REQUIRE(findings);
  CHECK(findings->empty());
}

TEST_CASE("sessions lose no update between runs; shared values and the cache") {
  const auto program = compile(R"(
    workflow counts(x: int) -> int {
      session: { n: int = 0  seen: int[] = [] }
      for i in [1, 2, 3, 4, 5] {
        set session.n = session.n + 1
        step sleep(1ms)
      }
      set session.seen = session.seen + [x]
      return session.n
    }
    workflow reads() -> any {
      session: { n: int = 0  seen: int[] = [] }
      return [session.n, session.seen.size()]
    }
    workflow kv_round() -> any[] {
      step kv.put("k", {a: 1})
      step a = kv.get("k")
      step kv.delete("k")
      step b = kv.get("k")
      return [a, b]
    }
    workflow cached() -> bool {
      step a = exec.run(["sh", "-c", "date +%N"]) { cache: 1h }
      step b = exec.run(["sh", "-c", "date +%N"]) { cache: 1h }
      return a.stdout == b.stdout
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  std::vector<store::RunKey> runs;
  for (int i = 0; i < 8; ++i)
    runs.push_back(
        p.start(program, "counts", "{\"x\": " + std::to_string(i) + "}", {.session_id = "s"}).key);
  for (const auto run : runs) CHECK(p.wait(run).status == RunStatus::completed);
  CHECK(p.value(p.start(program, "reads", "{}", {.session_id = "s"}).key) == "[40,8]");
  CHECK(p.value(p.start(program, "kv_round").key) == R"([{"a":1},null])");
  CHECK(p.value(p.start(program, "cached").key) == "true");
}

TEST_CASE("a failed run goes on from its failed step") {
  const auto program = compile(R"(
    workflow w(file: string) -> string {
      step first = exec.run(["sh", "-c", "echo x >> ${file}.first"])
      parallel {
        step beside = exec.run(["sh", "-c", "echo x >> ${file}.beside"])
        branch risky {
          try {
            step inner = exec.run(["cat", file])
          } catch err if err.kind == "http" {
            let never = 1
          }
        }
      }
      return "done"
    }
    workflow undone() {
      step a = exec.run(["true"]) { undo: exec.run(["true"]) }
      fail "no"
    }
  )");
  const auto folder =
      std::filesystem::temp_directory_path() / ("kflow_engine_test_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::string file = (folder / "data").string();
  Process p(std::make_shared<store::MemoryDisk>());
  const auto run = p.start(program, "w", "{\"file\": \"" + file + "\"}");
  CHECK(p.wait(run.key).status == RunStatus::error);
  for (int failures = 0; failures < 2; ++failures) {
    REQUIRE(p.engine->resume(run.key));
    CHECK(p.wait(run.key).status == RunStatus::error);
  }
  {
    FILE* f = std::fopen(file.c_str(), "w");
    std::fclose(f);
  }
  REQUIRE(p.engine->resume(run.key));
  CHECK(p.value(run.key) == "\"done\"");
  CHECK(p.header(run.key).attempt == 4);
  const auto lines = [](const std::string& path) { return std::filesystem::file_size(path) / 2; };
  CHECK(lines(file + ".first") == 1);
  CHECK(lines(file + ".beside") >= 1);
  // A log with resumptions folds to the same end.
  auto state = engine::load_state(*p.store, run.key, program);
  REQUIRE(state);
  CHECK(machine::status(*state->state) == RunStatus::completed);
  CHECK_FALSE(p.engine->resume(run.key));

  const auto undone = p.start(program, "undone");
  CHECK(p.wait(undone.key).status == RunStatus::error);
  const auto refused = p.engine->resume(undone.key);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("compensated") != std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST_CASE("a fork shares the prefix and takes other values") {
  const auto program = compile(R"(
    workflow w(x: int) -> int[] {
      step a = exec.run(["echo", "${x}"])
      let n = int(a.stdout.trim())
      step sleep(1ms)
      step b = exec.run(["echo", "${n + 1}"])
      return [x, n, int(b.stdout.trim())]
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const auto run = p.start(program, "w", R"({"x": 5})");
  CHECK(p.value(run.key) == "[5,5,6]");
  const auto fork = [&](engine::ForkOptions options) {
    return engine::fork(*p.store, p.header(run.key), options, 1'000);
  };
  auto same = fork({.from = "b", .values = {}, .inputs = {}, .id = ""});
  REQUIRE(same);
  CHECK(p.value(same->key) == "[5,5,6]");
  const cel::Value hundred = *cel::from_json(R"({"exit_code": 0, "stdout": "100", "stderr": ""})");
  auto other = fork({.from = "b",
                     .values = {{"b", hundred}},
                     .inputs = {{"x", cel::Value::integer(7)}},
                     .id = "mine"});
  REQUIRE(other);
  CHECK(other->id == "mine");
  CHECK(p.value(other->key) == "[7,5,100]");
  auto earlier =
      fork({.from = "a", .values = {}, .inputs = {{"x", cel::Value::integer(9)}}, .id = ""});
  REQUIRE(earlier);
  CHECK(p.value(earlier->key) == "[9,9,10]");
  CHECK_FALSE(fork({.from = "nothing", .values = {}, .inputs = {}, .id = ""}));
  CHECK_FALSE(fork({.from = "b", .values = {{"zzz", hundred}}, .inputs = {}, .id = ""}));
  CHECK_FALSE(fork({.from = "b", .values = {}, .inputs = {{"y", hundred}}, .id = ""}));
}

TEST_CASE("a run that was resumed is forked from what came before its failure") {
  const auto program = compile(R"(
    workflow w(file: string) -> string {
      step a = uuid()
      step b = exec.run(["cat", file])
      step c = uuid()
      return b.stdout
    }
  )");
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("kflow_fork_test_" + std::to_string(::getpid()));
  Process p(std::make_shared<store::MemoryDisk>());
  const auto run = p.start(program, "w", "{\"file\": \"" + file.string() + "\"}");
  CHECK(p.wait(run.key).status == RunStatus::error);
  std::ofstream(file) << "there";
  REQUIRE(p.engine->resume(run.key));
  CHECK(p.value(run.key) == "\"there\"");
  const auto fork = [&](const std::string& from) {
    return engine::fork(*p.store, p.header(run.key),
                        {.from = from, .values = {}, .inputs = {}, .id = ""}, 1'000);
  };
  const auto again = fork("b");
  REQUIRE(again);
  CHECK(p.value(again->key) == "\"there\"");
  CHECK(p.header(again->key).attempt == 1);
  const auto late = fork("c");
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::conflict);
  CHECK(late.error().message.find("before it failed") != std::string::npos);
  std::filesystem::remove(file);
}

TEST_CASE("waiting runs are given up and taken up again when their message comes") {
  const auto program = compile(R"(
    workflow w() -> any { step s = signal.wait("go")  return s }
  )");
  const auto disk = std::make_shared<store::MemoryDisk>();
  store::RunKey key = 0;
  {
    Process p(disk, true, true);
    key = p.start(program, "w").key;
    while (p.header(key).owner != store::no_owner) p.engine->wait_for_events(key, 100, 10);
    CHECK(p.engine->active() == 0);
  }
  Process q(disk, true, true);
  CHECK(q.engine->active() == 0);
  REQUIRE(engine::send_signal(*q.store, q.header(key), "go", cel::Value::integer(7)));
  Process other(disk, false);  // rings the first one's bell by its start
  CHECK(q.value(key) == "7");
}

TEST_CASE("removal takes what only that run refers to") {
  const auto program = compile(R"(
    workflow w(x: int) -> int { retention: 1h  return x }
    workflow v() -> int { step s = signal.wait("never")  return 1 }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const auto a = p.start(program, "w", R"({"x": 1})");
  const auto b = p.start(program, "w", R"({"x": 2})");
  const auto open = p.start(program, "v");
  p.wait(a.key);
  p.wait(b.key);
  CHECK_FALSE(p.store->remove(open.key));
  REQUIRE(p.store->remove(a.key));
  CHECK_FALSE((*p.store->header(a.key)).has_value());
  CHECK_FALSE((*p.store->find(a.id)).has_value());
  const machine::Millis later = p.header(b.key).ended_at + 3'600'000;
  auto dry = p.store->collect({.now = later, .dry_run = true});
  REQUIRE(dry);
  CHECK(dry->ids == std::vector<std::string>{b.id});
  REQUIRE(p.store->collect({.now = later - 1}));
  CHECK((*p.store->header(b.key)).has_value());
  auto gone = p.store->collect({.now = later});
  REQUIRE(gone);
  CHECK(gone->runs == 1);
  CHECK_FALSE((*p.store->header(b.key)).has_value());
  const auto findings = p.store->check();
  REQUIRE(findings);
  CHECK(findings->empty());
}

TEST_CASE("the runs that a run waited for go with it, those it only started stay") {
  const auto program = compile(R"(
    workflow parent() -> string {
      step a = child(1)
      step b = child.start(2)
      step waited = runs.wait(b)
      return b
    }
    workflow child(x: int) -> int { return x }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const auto parent = p.start(program, "parent");
  p.wait(parent.key);
  const auto all = p.store->list({});
  REQUIRE(all);
  REQUIRE(all->size() == 3);
  const auto roots = p.store->list({.parent = 0});
  REQUIRE(roots);
  REQUIRE(roots->size() == 1);
  CHECK(roots->front().id == parent.id);
  REQUIRE(p.store->list({.workflow = "child", .parent = 0})->empty());
  REQUIRE(p.store->remove(parent.key));
  const auto left = p.store->list({});
  REQUIRE(left);
  REQUIRE(left->size() == 1);
  CHECK_FALSE(left->front().attached);
  const auto findings = p.store->check();
  REQUIRE(findings);
  CHECK(findings->empty());
}

TEST_CASE("schedules start runs once, catch up, and mind overlap") {
  const auto program = compile(R"(
    workflow ticks(x: int = 1) -> int {
      schedule: cron("0 * * * *", catch_up: all, overlap: queue)
      step s = signal.wait("go")
      return x
    }
    workflow skips() -> int {
      schedule: cron("30 * * * *", overlap: skip)
      step s = signal.wait("go")
      return 1
    }
  )");
  constexpr machine::Millis hour = 3'600'000;
  const auto clock = std::make_shared<TestClock>();
  clock->set(100 * hour + 1);
  const auto disk = std::make_shared<store::MemoryDisk>();
  const auto store = std::shared_ptr<store::Store>(store::make_memory_store(disk));
  const auto other = std::shared_ptr<store::Store>(store::make_memory_store(disk));
  engine::EngineOptions options;
  options.adopt = options.schedules = true;
  options.clock = clock;
  auto engine = Engine::open(store, options);
  auto second = Engine::open(other, options);  // two processes, each occurrence still once
  REQUIRE(engine);
  REQUIRE(second);
  REQUIRE(engine::put_schedule(*store, "t", *program, program->find("ticks"), "", clock->now()));
  const auto runs = [&](const std::string& id) {
    return *store->list({.tag = engine::schedule_tag(id), .limit = 100});
  };
  const auto reaches = [&](const std::string& id, size_t count) {
    for (int i = 0; i < 2000 && runs(id).size() < count; ++i) {
      store->ring(store::every_owner);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return runs(id).size();
  };
  CHECK(runs("t").empty());
  clock->set(101 * hour);
  CHECK(reaches("t", 1) == 1);
  clock->set(104 * hour + 10);
  CHECK(reaches("t", 4) == 4);
  // One runs, the others wait for it.
  for (size_t done = 0; done < 4; ++done) {
    auto open = runs("t");
    std::erase_if(open, [](const store::RunHeader& h) { return h.status == RunStatus::completed; });
    REQUIRE(open.size() == 4 - done);
    REQUIRE(engine::send_signal(*store, open.back(), "go", cel::Value()));
    auto header = (*engine)->wait(open.back().key, patience_ms);
    REQUIRE(header);
    CHECK(header->status == RunStatus::completed);
  }
  REQUIRE(engine::put_schedule(*store, "s", *program, program->find("skips"), "", clock->now()));
  clock->set(104 * hour + hour / 2);
  CHECK(reaches("s", 1) == 1);
  clock->set(105 * hour + hour / 2);
  CHECK(reaches("t", 5) == 5);
  CHECK(runs("s").size() == 1);
  const auto schedules = store->schedules();
  REQUIRE(schedules);
  CHECK(schedules->front().next_due == 106 * hour + hour / 2);
}

TEST_CASE("long texts are kept once for all that refer to them, and go with the last") {
  const auto program = compile(R"(
    workflow w(text: string) -> int {
      step a = exec.run(["cat"], stdin: text)
      step b = exec.run(["cat"], stdin: a.stdout)
      return b.stdout.size()
    }
  )");
  Process p(std::make_shared<store::MemoryDisk>());
  const std::string text(100'000, 'x');
  const auto a = p.start(program, "w", "{\"text\": \"" + text + "\"}");
  const auto b = p.start(program, "w", "{\"text\": \"" + text + "\"}");
  CHECK(p.value(a.key) == "100000");
  CHECK(p.value(b.key) == "100000");
  CHECK((*p.store->info()).bytes_used < 2 * text.size());
  const auto log = p.store->read(a.key, 0, 1U << 30);
  REQUIRE(log);
  for (const auto& chunk : *log) CHECK(chunk.events.size() < 10'000);
  // A portable file holds them, and gives them to another store.
  const auto file = engine::export_run(*p.store, p.header(a.key));
  REQUIRE(file);
  CHECK(file->size() > text.size());
  Process q(std::make_shared<store::MemoryDisk>());
  const auto copy = engine::import_run(*q.store, *file, "copy");
  REQUIRE(copy);
  CHECK(q.value(copy->key) == "100000");
  REQUIRE(p.store->remove(a.key));
  CHECK(p.value(b.key) == "100000");
  REQUIRE(p.store->remove(b.key));
  CHECK((*p.store->info()).bytes_used < text.size());
  CHECK(p.store->check()->empty());
}

TEST_CASE("a full disk stops runs, loses nothing and heals by itself") {
  const auto program = compile(R"(
    workflow w(file: string) -> int {
      for i in [1, 2, 3, 4, 5, 6, 7, 8] {
        step s = exec.run(["sh", "-c", "echo x >> ${file}"])
        step kv.put("last", i)
      }
      step kid = child(3)
      step last = kv.get("last")
      let n: int = last
      return n + kid
    }
    workflow child(x: int) -> int { step sleep(1ms)  return x }
  )");
  const auto folder =
      std::filesystem::temp_directory_path() / ("kflow_full_disk_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  // Each write in turn fails, alone and with those after it, then there is room again.
  for (const uint64_t length : {1, 3}) {
    for (uint64_t at = 4; at < 40; at += 3) {
      INFO("writes from " << at << ", " << length);
      const std::string file =
          (folder / ("f" + std::to_string(at) + "_" + std::to_string(length))).string();
      const auto disk = std::make_shared<store::MemoryDisk>();
      Process p(disk);
      const auto run = p.start(program, "w", "{\"file\": \"" + file + "\"}");
      std::atomic<uint64_t> failed = 0;
      disk->set_fault([&, at](uint64_t write) -> std::optional<Error> {
        if (write < at || failed >= length) return std::nullopt;
        ++failed;
        return Error{ErrorCode::no_space, "the disk is full"};
      });
      CHECK(p.value(run.key) == "11");
      std::map<std::string, int> completed;
      REQUIRE(engine::read_events(*p.store, run.key, 0,
                                  [&](const machine::Event& e, uint64_t, uint64_t) {
                                    if (std::holds_alternative<machine::StepCompleted>(e.data))
                                      ++completed[e.path];
                                    return true;
                                  }));
      for (const auto& [path, times] : completed) CHECK(times == 1);
      CHECK(std::filesystem::file_size(file) == 16);  // nothing was done twice: no process died
      CHECK(p.store->check()->empty());
      disk->set_fault({});
    }
  }
  std::filesystem::remove_all(folder);
}
