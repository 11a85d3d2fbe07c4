// Whatever can be a tool, on a real engine: as a step and as a tool of an agent.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/lock.hpp"
#include "runtime/activities/mcp.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using activities::ActivityError;
using activities::FunctionCall;
using cel::Value;
using machine::RunStatus;

namespace {

constexpr int patience_ms = 30'000;
const std::string fake_mcp = std::string(KFLOW_BINARY_DIR) + "/tests/support/fake-mcp";

class World {
 public:
  explicit World(const std::string& script = "[]")
      : root(fs::temp_directory_path() / ("kflow-tools-" + std::to_string(::getpid()))),
        models(script),
        store(store::make_memory_store(std::make_shared<store::MemoryDisk>())) {
    fs::remove_all(root);
    fs::create_directories(root);
    options.file_roots = {root.string()};
    options.models["openai"] = {.base_url = models.base_url() + "/v1"};
  }
  ~World() {
    engine.reset();
    fs::remove_all(root);
  }
  void open() {
    auto opened = engine::Engine::open(store, {.activities = options});
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  std::shared_ptr<const ir::Program> compile(const std::string& text) {
    const std::string file = (root / "t.kflow").string();
    std::ofstream(file) << text;
    // As `kflowc mcp sync` does.
    const auto declared = driver::mcp_servers(file);
    REQUIRE(declared);
    ir::Lock lock;
    for (const driver::DeclaredServer& s : (*declared)->servers) {
      auto listed = activities::list_tools(s.spec, options);
      REQUIRE(std::holds_alternative<ir::LockedServer>(listed));
      lock.servers.push_back(std::get<ir::LockedServer>(std::move(listed)));
    }
    std::ofstream((root / "kflow.lock.json").string()) << ir::write_lock(lock);
    auto compiled = driver::compile_file(file);
    REQUIRE(compiled);
    INFO(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, false));
    REQUIRE((*compiled)->program);
    return std::make_shared<const ir::Program>(std::move(*(*compiled)->program));
  }
  store::RunHeader run(const std::string& text) {
    const auto program = compile(text);
    if (!engine) open();
    auto started = engine->start(program, program->find("w"), Value::map({}), {});
    if (!started) FAIL(started.error().message);
    auto header = engine->wait(started->key, patience_ms);
    REQUIRE(header);
    return *header;
  }
  std::string value(const std::string& text) {
    const store::RunHeader header = run(text);
    INFO(header.error);
    REQUIRE(header.status == RunStatus::completed);
    return cel::to_json(std::get<Value>(*engine::read_outcome(*store, header.key)));
  }

  fs::path root;
  test::FakeModel models;
  std::shared_ptr<store::Store> store;
  activities::Options options;
  std::unique_ptr<engine::Engine> engine;
};

}  // namespace

TEST_CASE("functions of the embedding program are steps") {
  World w;
  int calls = 0;
  w.options.functions["double"] =
      [&](const Value& in, const FunctionCall& call) -> std::variant<Value, ActivityError> {
    ++calls;
    CHECK(call.idempotency_key.size() > 0);
    return Value::integer(2 * in.find("x")->as_int());
  };
  w.options.functions["flaky"] =
      [&](const Value&, const FunctionCall& call) -> std::variant<Value, ActivityError> {
    if (call.attempt < 3)
      return ActivityError{.kind = "tool", .code = "busy", .message = "busy", .retryable = true};
    return Value::integer(call.attempt);
  };
  w.options.functions["throws"] = [](const Value&,
                                     const FunctionCall&) -> std::variant<Value, ActivityError> {
    throw std::runtime_error("out of ink");
  };
  w.options.functions["liar"] = [](const Value&,
                                   const FunctionCall&) -> std::variant<Value, ActivityError> {
    return Value::string("no number");
  };
  CHECK(w.value(R"(
    extern tool double(x: int) -> int
    extern tool flaky() -> int { idempotent: true }
    extern tool throws() -> int
    extern tool liar() -> int
    workflow w() -> string {
      step a = double(x: 21)
      step b = flaky() { retry: { max: 3 backoff: constant(1ms) } }
      try { step c = throws() } catch err {
        try { step d = liar() } catch other {
          return "${a} ${b} ${err.kind} ${err.message} ${other.kind}"
        }
      }
      return "not reached"
    })") == R"("42 3 tool `throws`: out of ink type")");
  CHECK(calls == 1);
}

TEST_CASE("a program that calls what this process does not have is refused at its start") {
  World w;
  const auto program = w.compile(
      "extern tool missing(x: int) -> int\nextern tool unused() -> int\n"
      "workflow w() -> int { step a = missing(1)  return a }");
  w.open();
  const auto started = w.engine->start(program, program->find("w"), Value::map({}), {});
  REQUIRE_FALSE(started);
  CHECK(started.error().message.find("`missing`") != std::string::npos);
  CHECK(started.error().message.find("`unused`") == std::string::npos);
}

TEST_CASE("an agent calls every kind of tool") {
  World w(R"([
    {"contains": "result-of-tool", "answers": [{"text": "finished"}]},
    {"contains": "help me please", "answers": [{"text": "result-of-agent"}]},
    {"answers": [{"calls": [
      {"name": "inline", "arguments": {"a": 4}},
      {"name": "child", "arguments": {"n": 5}},
      {"name": "helper", "arguments": {"message": "help me please"}},
      {"name": "program", "arguments": {"word": "w"}},
      {"name": "native", "arguments": {"x": 7}},
      {"name": "s_echo", "arguments": {"message": "result-of-mcp"}},
      {"name": "s_fail", "arguments": {}},
      {"name": "s_add", "arguments": {"a": "one", "b": 2}},
      {"name": "lib_shout", "arguments": {"what": "result-of-module"}}]}]}])");
  w.options.functions["native"] = [](const Value& in,
                                     const FunctionCall&) -> std::variant<Value, ActivityError> {
    return Value::string("result-of-function " + std::to_string(in.find("x")->as_int()));
  };
  std::ofstream((w.root / "lib.kflow").string())
      << "/// Shouts.\ntool shout(what: string) -> string { return what + \"!\" }\n"
         "tool _own() -> string { return \"\" }\n";
  CHECK(w.value(R"(
    import "./lib.kflow"
    mcp s { command: [")" +
                fake_mcp + R"("] }
    /// Inline.
    tool inline(
      /// How many.
      a: int @range(1, 9)
    ) -> string { step t = uuid()  return "result-of-tool ${a}" }
    /// A run.
    workflow child(n: int = 3) -> string { return "result-of-workflow ${n}" }
    /// Helps.
    agent helper { model: "openai/x" }
    /// Another program.
    extern tool program(word: string) -> map<string, string> { command: ["cat"] }
    /// In this process.
    extern tool native(x: int) -> string
    agent all {
      model: "openai/x"
      tools: [inline, child, helper, program, native, s.echo, s.fail, s.add, lib]
    }
    workflow w() -> string { step a = all("use them")  return a })") == "\"finished\"");
  const auto requests = w.models.requests();
  const std::string& last = requests.back();
  for (const char* part : {"result-of-tool 4", "result-of-workflow 5", "result-of-agent",
                           "{\\\"word\\\":\\\"w\\\"}", "result-of-function 7", "result-of-mcp",
                           "it did not work out", "expected double", "result-of-module!"}) {
    INFO(part << "\n" << last);
    CHECK(last.find(part) != std::string::npos);
  }
  const std::string& first = requests.front();
  for (const char* part : {"Says it again.", "What to say", "How many.", "lib_shout"}) {
    INFO(part << "\n" << first);
    CHECK(first.find(part) != std::string::npos);
  }
  CHECK(first.find("_own") == std::string::npos);
}

TEST_CASE("a server that dies in a call is started again where the call may be repeated") {
  World w;
  CHECK(w.value(R"(
    mcp s { command: [")" +
                fake_mcp + R"("] timeout: 20s }
    workflow w() -> string {
      try { step a = s.crash() } catch err {
        step b = s.echo(message: "alive")
        step sum = s.add(a: 1.5, b: 2.5)
        return "${err.kind} ${err.code} ${b} ${sum.sum}"
      }
      return "not reached"
    })") == "\"tool mcp_exited alive 4\"");
}
