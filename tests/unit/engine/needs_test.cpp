// Two processes of one store, of which one lacks what a run needs: it leaves the run to the other.
#include "runtime/activities/needs.hpp"

#include <chrono>
#include <map>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/requirements.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/needs.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using machine::RunStatus;

namespace {

constexpr int patience_ms = 20'000;
using Secrets = std::map<std::string, std::string, std::less<>>;

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("needs.kflow", text);
  REQUIRE(compiled);
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

activities::Options with(Secrets secrets) {
  activities::Options out;
  out.secret = [secrets = std::move(secrets)](std::string_view name) -> std::optional<std::string> {
    const auto it = secrets.find(name);
    return it == secrets.end() ? std::nullopt : std::optional(it->second);
  };
  return out;
}

struct Process {
  Process(std::shared_ptr<store::MemoryDisk> disk, activities::Options activities, bool adopt)
      : store(store::make_memory_store(std::move(disk))) {
    engine::EngineOptions options;
    options.activities = std::move(activities);
    options.adopt = adopt;
    options.on_trouble = [this](const std::string& what) { trouble += what + "\n"; };
    auto opened = engine::Engine::open(store, std::move(options));
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
  std::string trouble;
};

constexpr const char* text = R"(
secret TOKEN
secret UNUSED
extern tool lookup(id: string) -> string
workflow w() -> string {
  step ok = human.confirm("go on?")
  step page = http.get("http://127.0.0.1:1/", bearer: TOKEN) { on_error: continue }
  return "done"
}
workflow other() -> string {
  step x = http.get("http://127.0.0.1:1/", bearer: UNUSED)
  step y = lookup("7")
  return y
}
)";

bool has(const std::string& all, const std::string& part) {
  return all.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("what a workflow needs is what can be reached from it") {
  const auto program = compile(R"(
secret A
secret B
secret KEY
model m { provider: "openai"  id: "x"  api_key: KEY  fallback: [n] }
model n { provider: "openai_chat"  id: "y"  base_url: "http://127.0.0.1:1/v1" }
model alone { provider: "anthropic"  id: "z" }
extern tool fn(id: string) -> string
extern tool program(id: string) -> string { command: ["true"] }
/// Fetches.
tool fetch(id: string) -> any { step x = http.get("http://127.0.0.1:1/", bearer: A)  return x.body }
agent helper { model: m  instructions: "x"  tools: [fetch] }
agent lonely { model: alone  instructions: "x" }
workflow w() -> string { step a = helper("x")  step b = child()  return a }
workflow child() -> string { step c = fn("1")  step d = program("1")  return c }
workflow v() -> string { step a = lonely("x")  step b = http.get("http://127.0.0.1:1/", bearer: B)  return a }
)");
  const ir::Requirements w = ir::requirements(*program, program->find("w"));
  CHECK(w.functions == std::vector<std::string>{"fn"});
  CHECK(w.secrets == std::vector<std::string>{"A"});
  REQUIRE(w.models.size() == 1);
  CHECK((*program)[w.models[0]].name == "m");
  const ir::Requirements v = ir::requirements(*program, program->find("v"));
  CHECK(v.functions.empty());
  CHECK(v.secrets == std::vector<std::string>{"B"});

  // The model that is local stands in for the one without a key; for the other there is none.
  const auto options = with({{"A", "a"}});
  const auto missing = activities::missing(*program, w, options);
  REQUIRE(missing.size() == 1);
  CHECK(has(missing[0], "the function `fn`"));
  const auto others = activities::missing(*program, v, options);
  REQUIRE(others.size() == 2);
  CHECK(has(others[0], "the secret `B`"));
  CHECK(has(others[1], "ANTHROPIC_API_KEY"));
}

TEST_CASE("a run is left to a process that has what it needs") {
  const auto disk = std::make_shared<store::MemoryDisk>();
  const auto program = compile(text);
  store::RunKey run = 0;
  {
    Process first(disk, with({{"TOKEN", "t"}}), false);
    auto started = first.engine->start(program, program->find("w"), cel::Value::map({}), {});
    REQUIRE(started);
    run = started->key;
    first.engine->wait_for_events(run, 3, 2000);
  }
  Process poor(disk, with({}), true);
  const auto header = **poor.store->header(run);
  // It says what is missing, and does not take the run when it is answered.
  const auto fits = engine::check_needs(*poor.store, header, with({}));
  REQUIRE_FALSE(fits);
  CHECK(fits.error().code == ErrorCode::unavailable);
  CHECK(has(fits.error().message, "the secret `TOKEN`"));
  const auto missing = engine::lacking(*poor.store, header, with({}));
  REQUIRE(missing);
  CHECK(missing->size() == 1);
  const auto open = engine::open_requirements(*poor.store, header);
  REQUIRE(open);
  REQUIRE(open->size() == 1);
  REQUIRE(engine::answer(*poor.store, header, *program, open->front(),
                         {.requirement = open->front().id, .accepted = true}));
  const auto still = poor.engine->wait(run, 200);
  REQUIRE(still);
  CHECK(still->owner == store::no_owner);
  CHECK(poor.engine->active() == 0);

  Process rich(disk, with({{"TOKEN", "t"}}), true);
  const auto ended = rich.engine->wait(run, patience_ms);
  REQUIRE(ended);
  CHECK(ended->status == RunStatus::completed);
  CHECK(has(poor.trouble, "left to another process"));
}

TEST_CASE("a run is cancelled by whoever is there, whatever it needs") {
  const auto disk = std::make_shared<store::MemoryDisk>();
  const auto program = compile(text);
  store::RunKey run = 0;
  {
    Process first(disk, with({{"TOKEN", "t"}}), false);
    auto started = first.engine->start(program, program->find("w"), cel::Value::map({}), {});
    REQUIRE(started);
    run = started->key;
    first.engine->wait_for_events(run, 3, 2000);
  }
  Process poor(disk, with({}), true);
  REQUIRE(engine::request_cancel(*poor.store, **poor.store->header(run), "enough"));
  const auto ended = poor.engine->wait(run, patience_ms);
  REQUIRE(ended);
  CHECK(ended->status == RunStatus::cancelled);
}

TEST_CASE("behind runs that are left alone others are found") {
  const auto disk = std::make_shared<store::MemoryDisk>();
  const auto program = compile(text);
  const auto free = compile("workflow w() -> string { step pause = sleep(1ms)  return \"done\" }");
  std::vector<store::RunKey> runs;
  {
    Process first(disk, with({{"TOKEN", "t"}}), false);
    for (int i = 0; i < 300; ++i)
      REQUIRE(first.engine->start(program, program->find("w"), cel::Value::map({}),
                                  {.detached = true}));
    for (int i = 0; i < 3; ++i)
      runs.push_back(
          first.engine->start(free, free->find("w"), cel::Value::map({}), {.detached = true})->key);
  }
  Process poor(disk, with({}), true);
  for (const store::RunKey run : runs)
    CHECK(poor.engine->wait(run, patience_ms)->status == RunStatus::completed);
  CHECK(poor.engine->active() == 0);
}
