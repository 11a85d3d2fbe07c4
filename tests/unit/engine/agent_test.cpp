// Agents on a real engine, against a stand-in that speaks the providers' wire formats.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/retention.hpp"
#include "runtime/engine/stream.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

using namespace kflow;
using machine::RunStatus;

namespace {

constexpr int patience_ms = 20'000;

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("agents.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

struct World {
  explicit World(const std::string& script, activities::ModelEndpoint limits = {},
                 std::shared_ptr<activities::Tape> tape = nullptr)
      : server(script), store(store::make_memory_store(std::make_shared<store::MemoryDisk>())) {
    engine::EngineOptions options;
    for (const char* provider : {"openai", "openai_chat", "anthropic", "gemini"}) {
      activities::ModelEndpoint endpoint = limits;
      const bool openai = std::string_view(provider).starts_with("openai");
      endpoint.base_url = server.base_url() + (openai ? "/v1" : "");
      options.activities.models[provider] = endpoint;
    }
    options.activities.secret = [](std::string_view name) -> std::optional<std::string> {
      if (name == "KEY") return "sk-very-secret";
      return std::nullopt;
    };
    options.activities.tape = std::move(tape);
    auto opened = engine::Engine::open(store, std::move(options));
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  store::RunHeader run(const std::string& text, const std::string& session = "") {
    const auto program = compile(text);
    auto started =
        engine->start(program, program->find("w"), cel::Value::map({}), {.session_id = session});
    if (!started) FAIL(started.error().message);
    auto header = engine->wait(started->key, patience_ms);
    REQUIRE(header);
    return *header;
  }
  // The value of a run that must complete, as JSON.
  std::string value(const std::string& text, const std::string& session = "") {
    const store::RunHeader header = run(text, session);
    INFO(header.error);
    REQUIRE(header.status == RunStatus::completed);
    return cel::to_json(std::get<cel::Value>(*engine::read_outcome(*store, header.key)));
  }
  // What was shown of answers as they came, by path.
  std::map<std::string, std::string> streamed(store::RunKey run, size_t* resets = nullptr) {
    std::map<std::string, std::string> out;
    REQUIRE(engine::read_events(*store, run, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
      if (const auto* d = std::get_if<machine::ContentDelta>(&e.data)) {
        if (d->kind == machine::DeltaKind::text) out[e.path] += d->text;
      } else if (std::holds_alternative<machine::ContentReset>(e.data)) {
        out[e.path].clear();
        if (resets != nullptr) ++*resets;
      }
      return true;
    }));
    return out;
  }

  test::FakeModel server;
  std::shared_ptr<store::Store> store;
  std::unique_ptr<engine::Engine> engine;
};

const std::string tools = R"(
  /// Adds.
  tool add(a: int, b: int) -> int { step t = uuid()  return a + b }
)";

}  // namespace

TEST_CASE("a turn with tools, with each provider") {
  for (const std::string model : {"openai/x", "openai_chat/x", "anthropic/x", "gemini/x"}) {
    INFO(model);
    World world(R"([{"contains": "7", "answers": [{"text": "It is 7 — certainly", "chunk": 3}]},
                    {"answers": [{"calls": [{"name": "add", "arguments": {"a": 3, "b": 4}}]}]}])");
    const store::RunHeader run =
        world.run(tools + "agent a { model: \"" + model + R"k("  tools: [add] }
        workflow w() -> string {
          step answer = a("what is three and four?")
          let used = info(answer).usage
          return "${answer} (${used.input_tokens} ${used.output_tokens})"
        })k");
    INFO(run.error);
    REQUIRE(run.status == RunStatus::completed);
    CHECK(cel::to_json(std::get<cel::Value>(*engine::read_outcome(*world.store, run.key))) ==
          "\"It is 7 — certainly (24 14)\"");
    CHECK(world.streamed(run.key)["answer.model[2]"] == "It is 7 — certainly");
    CHECK(world.server.requests().size() == 2);
  }
}

TEST_CASE("a typed answer, with each provider") {
  for (const std::string model : {"openai/x", "openai_chat/x", "anthropic/x", "gemini/x"}) {
    INFO(model);
    World world(R"([{"answers": [{"text": "{\"title\": 5}"},
                                 {"text": "{\"title\": \"t\", \"tags\": [\"a\"]}"}]}])");
    CHECK(world.value("type Post { title: string  tags: string[]  note: string? = null }\n"
                      "agent a -> Post { model: \"" +
                      model +
                      "\" }\n"
                      "workflow w() -> Post { step p = a(\"x\")  return p }") ==
          R"({"title":"t","tags":["a"],"note":null})");
    REQUIRE(world.server.requests().size() == 2);
    CHECK(world.server.requests()[1].find("expected string") != std::string::npos);
  }
}

TEST_CASE("errors of the provider: tried again, passed on to another model, caught") {
  World world(
      R"([{"contains": "limited", "answers": [{"error": {"status": 429, "code": "rate_limit_exceeded", "message": "slow down", "retry_after": 0}}, {"text": "at last"}]},
                  {"contains": "broken", "answers": [{"text": "the first half and the second", "break": "middle"}, {"text": "the whole"}]},
                  {"contains": "wrong key", "answers": [{"error": {"status": 401, "code": "invalid_api_key", "message": "no"}}]},
                  {"contains": "down", "answers": [{"error": {"status": 400, "code": "bad", "message": "bad"}}, {"text": "from the other"}]},
                  {"contains": "hangs", "answers": [{"hang": true}, {"text": "awake"}]}])");
  const std::string agents = R"(
    model other { provider: "anthropic"  id: "y" }
    model first { provider: "openai"  id: "x"  fallback: [other] }
    agent a { model: "openai/x" }
    agent b { model: first }
    retry quick { max: 3  backoff: constant(1ms)  jitter: none }
  )";
  CHECK(
      world.value(
          agents +
          R"(workflow w() -> string { step x = a("limited") { retry: quick }  return "${x} ${info(x).attempts}" })") ==
      "\"at last 1\"");
  CHECK(world.value(agents + R"(workflow w() -> string { step x = b("down")  return x })") ==
        "\"from the other\"");
  CHECK(
      world.value(
          agents +
          R"(workflow w() -> string { step x = a("hangs") { retry: quick, attempt_timeout: 300ms }  return x })") ==
      "\"awake\"");
  CHECK(
      world.value(
          agents +
          R"(workflow w() -> string { try { step x = a("wrong key") } catch err { return "${err.kind} ${err.code} ${err.status}" }  return "?" })") ==
      "\"model auth 401\"");
  // What was shown of the answer that broke off is taken back.
  const store::RunHeader broken = world.run(
      agents + R"(workflow w() -> string { step x = a("broken") { retry: quick }  return x })");
  INFO(broken.error);
  REQUIRE(broken.status == RunStatus::completed);
  size_t resets = 0;
  CHECK(world.streamed(broken.key, &resets)["x.model[1]"] == "the whole");
  CHECK(resets == 1);
}

TEST_CASE("without a key the message says what to do") {
  const std::shared_ptr<store::Store> store =
      store::make_memory_store(std::make_shared<store::MemoryDisk>());
  engine::EngineOptions options;
  options.activities.secret = [](std::string_view) -> std::optional<std::string> { return {}; };
  auto engine = engine::Engine::open(store, std::move(options));
  REQUIRE(engine);
  const auto program = compile(R"(agent a { model: "openai/x" }
    workflow w() -> string { step x = a("x")  return x })");
  auto started = (*engine)->start(program, program->find("w"), cel::Value::map({}), {});
  REQUIRE(started);
  const auto header = (*engine)->wait(started->key, patience_ms);
  REQUIRE(header);
  CHECK(header->status == RunStatus::error);
  for (const char* part : {"OPENAI_API_KEY", "localhost:11434", "--replay"})
    CHECK(header->error.find(part) != std::string::npos);
}

TEST_CASE("two hundred tools in one answer") {
  std::string calls;
  for (int i = 0; i < 200; ++i)
    calls += (i == 0 ? "" : ",") + std::string(R"({"name":"add","arguments":{"a":1,"b":)") +
             std::to_string(i) + "}}";
  World world(
      R"([{"contains": "\"200\"", "answers": [{"text": "done"}]}, {"answers": [{"calls": [)" +
      calls + "]}]}]");
  CHECK(world.value(tools + R"(agent a { model: "anthropic/x"  tools: [add] }
    workflow w() -> string { step x = a("add them")  return x })") == "\"done\"");
}

TEST_CASE("limits of an endpoint: so many calls at a time") {
  World world(R"([{"answers": [{"text": "one two three four", "chunk": 200, "delay_ms": 5}]}])",
              {.concurrent = 2});
  CHECK(world.value(R"(agent a { model: "openai_chat/x" }
    workflow w() -> int {
      for i in lists.range(8) { limit: 8  step x = a("n ${i}") }
      return x.size()
    })") == "8");
  CHECK(world.server.most_at_once() <= 2);
  CHECK(world.server.requests().size() == 8);
}

TEST_CASE("the conversation of a session, and its cost") {
  activities::ModelEndpoint priced;
  priced.price = activities::ModelPrice{.input = 1'000'000, .output = 2'000'000, .cached_input = 0};
  World world(
      R"([{"contains": "who am I", "answers": [{"text": "Ada"}]}, {"answers": [{"text": "hello"}]}])",
      priced);
  const std::string text = R"(agent a { model: "gemini/x"  history: 3 }
    workflow w() -> string { step x = a("MESSAGE")  return "${x} ${info(x).usage.usd}" })";
  const auto say = [&](std::string message) {
    std::string t = text;
    return t.replace(t.find("MESSAGE"), 7, message);
  };
  // 12 in, of which 3 cost nothing, 7 out at twice the price.
  CHECK(world.value(say("I am Ada"), "s") == "\"hello 23\"");
  CHECK(world.value(say("who am I"), "s") == "\"Ada 23\"");
  CHECK(world.server.requests().back().find("I am Ada") != std::string::npos);
  CHECK(world.value(say("who am I"), "another") == "\"Ada 23\"");
  CHECK(world.server.requests().back().find("I am Ada") == std::string::npos);
}

TEST_CASE("a budget in money needs a price") {
  World world("");
  const store::RunHeader run = world.run(R"(agent a { model: "openai/x"  budget: { usd: 1 } }
    workflow w() -> string { step x = a("x")  return x })");
  CHECK(run.status == RunStatus::error);
  CHECK(run.error.find("price") != std::string::npos);
  CHECK(world.server.requests().empty());
}

TEST_CASE("a budget holds in child runs, and in runs that begin later") {
  // 12 tokens in and 7 out each call.
  const std::string script = R"([{"answers": [{"calls": [{"name": "note"}]}]}])";
  const std::string text = R"(/// Notes.
    tool note() -> string { return "noted" }
    agent a { model: "openai/x"  tools: [note]  max_turns: 50 }
    workflow w() -> string {
      budget: { tokens: 50 }
      step below = child()
      return below
    }
    workflow child() -> string { step x = a("x")  return x })";
  World world(script);
  const store::RunHeader run = world.run(text);
  CHECK(run.status == RunStatus::error);
  CHECK(run.error.find("the budget of the run is used up: 57 of 50 tokens") != std::string::npos);
  CHECK(world.server.requests().size() == 3);

  World later(script);
  const auto program = compile(text);
  auto started =
      later.engine->start(program, program->find("w"), cel::Value::map({}), {.detached = true});
  REQUIRE(started);
  REQUIRE(later.engine->resume(started->key));
  const auto header = later.engine->wait(started->key, patience_ms);
  REQUIRE(header);
  CHECK(header->status == RunStatus::error);
  CHECK(later.server.requests().size() == 3);
  machine::UsageTotal usage;
  REQUIRE(engine::read_outcome(*later.store, started->key, &usage));
  CHECK(usage.calls == 3);
  CHECK(usage.input_tokens + usage.output_tokens == 57);
}

TEST_CASE("a failed run goes on at the call that failed, in an agent and in a tool too") {
  const auto resumed = [](World& world, const std::string& text) {
    const store::RunHeader run = world.run(text);
    CHECK(run.status == RunStatus::error);
    REQUIRE(world.engine->resume(run.key));
    const auto header = world.engine->wait(run.key, patience_ms);
    REQUIRE(header);
    INFO(header->error);
    REQUIRE(header->status == RunStatus::completed);
    return cel::to_json(std::get<cel::Value>(*engine::read_outcome(*world.store, run.key)));
  };
  const std::string path =
      (std::filesystem::temp_directory_path() / ("kflow_resumed_" + std::to_string(::getpid())))
          .string();
  std::filesystem::remove(path);
  // The third call of the model fails: what was called before it is not called again.
  World calls(R"([{"answers": [{"calls": [{"name": "note"}]}, {"calls": [{"name": "note"}]},
                               {"error": {"status": 400, "code": "bad", "message": "no"}},
                               {"text": "noted"}]}])");
  CHECK(resumed(calls, R"(/// Notes.
      tool note() -> string {
        step exec.run(["sh", "-c", "echo x >> )" +
                           path + R"("])
        return ""
      }
      agent a { model: "openai/x"  tools: [note] }
      workflow w() -> string { step x = a("x")  return x })") == "\"noted\"");
  CHECK(calls.server.requests().size() == 4);
  CHECK(std::filesystem::file_size(path) == 4);
  // An answer that is no good is asked for again.
  World answers(R"([{"answers": [{"text": "five"}, {"text": "{\"value\": 5}"}]}])");
  CHECK(resumed(answers, R"(agent a -> int { model: "openai/x"  reask: 0 }
      workflow w() -> int { step x = a("x")  return x })") == "5");
  CHECK(answers.server.requests().size() == 2);
  // A step inside a tool.
  std::filesystem::remove(path);
  World inside("");
  CHECK(resumed(inside, R"(tool t() -> string {
        step first = exec.run(["sh", "-c", "echo x >> )" +
                            path + R"("])
        step second = exec.run(["sh", "-c", "echo y >> )" +
                            path + R"(; test $(wc -l < )" + path +
                            R"() = 3"])
        return second.stdout
      }
      workflow w() -> string { step x = t()  return x })") == "\"\"");
  std::filesystem::remove(path);
}

TEST_CASE("a person who is asked about a tool sees what it would be called with") {
  World world(
      R"([{"answers": [{"calls": [{"name": "pay", "arguments": {"to": "Ada", "amount": 5}}]},
                               {"text": "paid"}]}])");
  const auto program = compile(R"(/// Pays.
    tool pay(to: string, amount: double) -> string { return "paid" }
    agent a { model: "openai/x"  tools: [pay]  confirm: [pay] }
    workflow w() -> string { step x = a("x")  return x })");
  auto started = world.engine->start(program, program->find("w"), cel::Value::map({}), {});
  REQUIRE(started);
  std::vector<machine::Requirement> asked;
  for (int i = 0; i < 200 && asked.empty(); ++i) {
    world.engine->wait_for_events(started->key, static_cast<uint64_t>(i), 100);
    const auto header = world.store->header(started->key);
    REQUIRE((header && *header));
    const auto open = engine::open_requirements(*world.store, **header);
    REQUIRE(open);
    asked = *open;
  }
  REQUIRE(asked.size() == 1);
  CHECK(asked[0].of_tool);
  CHECK(asked[0].question == R"(May `pay` be called? Its arguments: {"to":"Ada","amount":5.0})");
  const auto header = world.store->header(started->key);
  REQUIRE(
      engine::answer(*world.store, **header, *program, asked[0],
                     {.requirement = asked[0].id, .accepted = true, .value = {}, .feedback = ""}));
  const auto ended = world.engine->wait(started->key, patience_ms);
  REQUIRE(ended);
  CHECK(ended->status == RunStatus::completed);
  const machine::FrameContext context{ended->id, ended->workflow, ended->session_id};
  bool shown = false;
  REQUIRE(engine::read_events(
      *world.store, started->key, 0, [&](const machine::Event& e, uint64_t, uint64_t index) {
        if (!std::holds_alternative<machine::Asked>(e.data)) return true;
        const std::string frame = machine::frame_json(*program, context, e, index);
        shown = frame.find(R"("kind":"tool_confirmation")") != std::string::npos;
        return true;
      }));
  CHECK(shown);
}

TEST_CASE("the public events of a team") {
  World world(R"([{"contains": "You lead", "answers": [
                     {"reasoning": "who?", "calls": [{"name": "one", "arguments": {"message": "go"}}]},
                     {"text": "all of it"}]},
                  {"answers": [{"text": "some"}]}])");
  const std::string text = R"(/// First.
    agent one { model: "openai/small" }
    team t { model: "openai/x"  members: [one] }
    workflow w() -> string { step answer = t("q")  return answer })";
  const store::RunHeader run = world.run(text);
  REQUIRE(run.status == RunStatus::completed);
  const auto program = compile(text);
  const machine::FrameContext context{run.id, run.workflow, run.session_id};
  std::map<std::string, cel::Value> frames;  // by name and path, the last of each
  REQUIRE(engine::read_events(
      *world.store, run.key, 0, [&](const machine::Event& e, uint64_t, uint64_t index) {
        if (!e.shown) return true;
        auto frame = cel::from_json(machine::frame_json(*program, context, e, index));
        REQUIRE(frame);
        frames[std::string(machine::public_name(*program, e)) + " " + e.path] = std::move(*frame);
        return true;
      }));
  const auto field = [&](const std::string& event, std::string_view name) {
    INFO(event << " " << name);
    REQUIRE(frames.contains(event));
    const cel::Value* v = frames[event].find(name);
    REQUIRE(v != nullptr);
    return cel::to_json(*v);
  };
  CHECK(field("TeamRunStarted answer", "agent") == "\"t\"");
  CHECK(field("TeamRunStarted answer", "model") == "\"openai/x\"");
  CHECK(field("TeamReasoningContentDelta answer.model[1]", "content") == "\"who?\"");
  CHECK(field("TeamModelRequestStarted answer.model[1]", "attempt") == "1");
  CHECK(field("TeamToolCallStarted answer.one[1]", "input") == R"({"message":"go"})");
  CHECK(field("RunStarted answer.one[1]", "model") == "\"openai/small\"");
  CHECK(field("RunContent answer.one[1].model[1]", "call_id") == "\"answer.one[1].model[1]\"");
  CHECK(field("RunContentCompleted answer.one[1]", "content") == "\"some\"");
  CHECK(field("ModelRequestCompleted answer.one[1].model[1]", "stop") == "\"end\"");
  CHECK(
      field("RunCompleted answer.one[1]", "usage") ==
      R"({"input_tokens":12,"cached_input_tokens":3,"cache_write_tokens":0,"output_tokens":7,"reasoning_tokens":2,"usd":0.0,"calls":1})");
  CHECK(field("TeamToolCallCompleted answer.one[1]", "content") == "\"some\"");
  CHECK(field("TeamRunContent answer.model[2]", "attempt") == "1");
  CHECK(
      field("TeamRunCompleted answer", "usage") ==
      R"({"input_tokens":24,"cached_input_tokens":6,"cache_write_tokens":0,"output_tokens":14,"reasoning_tokens":4,"usd":0.0,"calls":2})");
}

TEST_CASE("a tape has cookies by name only") {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("kflow_cookies_" + std::to_string(::getpid()) + ".jsonl"))
                               .string();
  std::filesystem::remove(path);
  {
    auto tape = activities::Tape::begin(path, {});
    REQUIRE(tape);
    (*tape)->record("GET", "https://x/", "",
                    {.status = 200,
                     .headers = {{"set-cookie",
                                  "A3=d=abc&S=x; Expires=Sat, 12 Dec 2026 22:00:00 GMT; Path=/, "
                                  "A1=secret; HttpOnly"},
                                 {"date", "today"}},
                     .body = "b"});
  }
  auto tape = activities::Tape::load(path, {});
  REQUIRE(tape);
  auto found = (*tape)->find("GET", "https://x/", "");
  REQUIRE(found);
  CHECK(found->headers == std::map<std::string, std::string>{
                              {"set-cookie",
                               "A3=***; Expires=Sat, 12 Dec 2026 22:00:00 GMT; Path=/, "
                               "A1=***; HttpOnly"}});
  std::filesystem::remove(path);
}

TEST_CASE("tapes: what was recorded is answered again, without secrets") {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("kflow_tape_" + std::to_string(::getpid()) + ".jsonl"))
                               .string();
  std::filesystem::remove(path);
  const std::string text = R"(secret KEY
    model m { provider: "openai"  id: "x"  api_key: KEY }
    agent a { model: m }
    workflow w() -> string { step x = a("say sk-very-secret")  step y = a("again")  return "${x} ${y}" })";
  {
    auto tape = activities::Tape::begin(path, {"sk-very-secret"});
    REQUIRE(tape);
    World world("", {}, *tape);
    CHECK(world.value(text) == "\"say sk-very-secret again\"");
  }
  std::ifstream in(path);
  const std::string recorded{std::istreambuf_iterator<char>(in), {}};
  CHECK(recorded.find("sk-very-secret") == std::string::npos);
  CHECK(recorded.find("Authorization") == std::string::npos);
  auto tape = activities::Tape::load(path, {"sk-very-secret"});
  REQUIRE(tape);
  World world("", {}, *tape);
  CHECK(world.value(text) == "\"say *** again\"");
  CHECK(world.server.requests().empty());
  // What the old tape holds is not asked again, and is on the new one too.
  const std::string longer = path + ".longer";
  {
    auto extended = activities::Tape::begin(longer, {"sk-very-secret"}, path);
    REQUIRE(extended);
    World more("", {}, *extended);
    std::string changed = text;
    changed.replace(changed.find("again"), 5, "else");
    CHECK(more.value(changed) == "\"say *** else\"");
    CHECK(more.server.requests().size() == 1);
  }
  auto both = activities::Tape::load(longer, {"sk-very-secret"});
  REQUIRE(both);
  World whole("", {}, *both);
  CHECK(whole.value(text.substr(0, text.find("  step y")) + "  return x }") == "\"say ***\"");
  CHECK(whole.server.requests().empty());
  std::filesystem::remove(longer);
  std::filesystem::remove(path);
  CHECK_FALSE(activities::Tape::load(path, {}));
  std::ofstream(path) << "{\"request\": 5}\n";
  const auto bad = activities::Tape::load(path, {});
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message.find("line 1") != std::string::npos);
  std::filesystem::remove(path);
}

TEST_CASE("retention takes the pieces of answers, and leaves every other event its index") {
  World world(R"([{"answers": [{"text": "one two three four", "chunk": 3}]}])");
  const store::RunHeader run = world.run(R"k(agent a { model: "openai/x" }
    workflow w() -> string { step answer = a("hi")  return answer })k");
  REQUIRE(run.status == RunStatus::completed);
  struct Shown {
    std::map<uint64_t, std::string> others;
    size_t pieces = 0;
    size_t trimmed = 0;
  };
  const auto shown = [&] {
    Shown out;
    const auto program = engine::load_program(*world.store, run.program);
    REQUIRE(program);
    REQUIRE(engine::read_events(
        *world.store, run.key, 0, [&](const machine::Event& e, uint64_t, uint64_t index) {
          if (std::holds_alternative<machine::ContentDelta>(e.data)) {
            ++out.pieces;
          } else if (std::holds_alternative<machine::Trimmed>(e.data)) {
            ++out.trimmed;
          } else if (e.shown) {
            out.others[index] = machine::frame_json(**program, {run.id, "w", "s"}, e, index);
          }
          return true;
        }));
    return out;
  };
  const Shown before = shown();
  CHECK(before.pieces > 0);
  const auto size = world.store->stream_size(run.key);
  REQUIRE(size);
  const auto counted = [&](uint64_t from, uint64_t end) {
    const auto n = engine::RunStream(*world.store, run.key).count(from, end);
    REQUIRE(n);
    return *n;
  };
  CHECK(counted(0, *size) == *size);
  CHECK(counted(2, 5) == 3);
  CHECK(counted(*size, *size + 5) == 0);
  const auto header = world.store->header(run.key);
  REQUIRE((header && *header));
  const machine::Millis ended = (*header)->ended_at;
  const auto early =
      engine::trim_deltas(*world.store, {.now = ended + 999, .age_ms = 1000, .dry_run = false});
  REQUIRE(early);
  CHECK(early->runs.empty());
  const auto dry =
      engine::trim_deltas(*world.store, {.now = ended + 1000, .age_ms = 1000, .dry_run = true});
  REQUIRE(dry);
  CHECK(dry->runs == std::vector<std::string>{run.id});
  CHECK(shown().pieces == before.pieces);
  const auto done =
      engine::trim_deltas(*world.store, {.now = ended + 1000, .age_ms = 1000, .dry_run = false});
  REQUIRE(done);
  CHECK(done->events == before.pieces);
  const Shown after = shown();
  CHECK(after.pieces == 0);
  CHECK(after.trimmed == before.pieces);
  CHECK(after.others == before.others);
  // Who asks how much there is to be read is told what is left.
  CHECK(counted(0, *size) == before.others.size());
  CHECK(counted(1, *size) == before.others.size() - 1);
  // Once is enough, the log still folds, and the store is sound.
  const auto again =
      engine::trim_deltas(*world.store, {.now = ended + 1000, .age_ms = 1000, .dry_run = false});
  REQUIRE(again);
  CHECK(again->runs.empty());
  const auto program = engine::load_program(*world.store, run.program);
  const auto state = engine::load_state(*world.store, run.key, *program);
  REQUIRE(state);
  CHECK(machine::status(*state->state) == RunStatus::completed);
  CHECK(world.store->check()->empty());
}
