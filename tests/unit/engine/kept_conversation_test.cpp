// Conversations that the provider keeps: only what is new is sent, and nothing depends on its
// memory.
#include <unistd.h>

#include <filesystem>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

using namespace kflow;
using machine::RunStatus;
namespace fs = std::filesystem;

namespace {

constexpr int patience_ms = 20'000;

constexpr const char* program_text = R"(
model keeps { provider: "openai"  id: "x" }
/// Looks something up.
tool look(what: string) -> string { return "it is ${what}" }
agent a { model: keeps  instructions: "Be brief."  tools: [look] }
retry once { max: 1 }
workflow w() -> string {
  step said = a("the first question") { retry: once }
  return said
}
)";

constexpr const char* asks_twice =
    R"({"kept": "resp_a", "calls": [{"name": "look", "arguments": {"what": "red"}}]})";

std::shared_ptr<const ir::Program> compile(const char* text) {
  auto compiled = driver::compile_text("kept.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

// The workflow's value, or its error.
std::string run(const std::string& base_url, std::shared_ptr<activities::Tape> tape = nullptr,
                const char* text = program_text) {
  const std::shared_ptr<store::Store> store =
      store::make_memory_store(std::make_shared<store::MemoryDisk>());
  engine::EngineOptions options;
  options.activities.models["openai"].base_url = base_url;
  options.activities.models["anthropic"].base_url = base_url.substr(0, base_url.rfind("/v1"));
  options.activities.models["keeps"].previous_response_id = true;
  options.activities.tape = std::move(tape);
  auto engine = engine::Engine::open(store, options);
  REQUIRE(engine);
  const auto program = compile(text);
  auto started = (*engine)->start(program, program->find("w"), cel::Value::map({}), {});
  REQUIRE(started);
  auto header = (*engine)->wait(started->key, patience_ms);
  REQUIRE(header);
  if (header->status != RunStatus::completed) return "error: " + header->error;
  return cel::to_json(std::get<cel::Value>(*engine::read_outcome(*store, header->key)));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a provider that keeps the conversation is sent what is new") {
  const test::FakeModel model(
      R"([{"contains": "previous_response_id", "answers": [{"text": "red"}]},
          {"contains": "", "answers": [)" +
      std::string(asks_twice) + "]}]");
  CHECK(run(model.base_url() + "/v1") == "\"red\"");
  const auto asked = model.requests();
  REQUIRE(asked.size() == 2);
  CHECK(has(asked[0], "\"store\":true"));
  CHECK(has(asked[0], "the first question"));
  CHECK_FALSE(has(asked[0], "previous_response_id"));
  CHECK(has(asked[1], "\"previous_response_id\":\"resp_a\""));
  CHECK(has(asked[1], "it is red"));
  CHECK(has(asked[1], "Be brief."));  // instructions do not carry over
  CHECK_FALSE(has(asked[1], "the first question"));
  CHECK_FALSE(has(asked[1], "\"function_call\""));
}

TEST_CASE("a provider that does not know the conversation any more is sent all of it") {
  const std::string script =
      R"([{"contains": "previous_response_id", "answers": [{"error": {"status": 400,
             "code": "previous_response_not_found", "message": "no such response"}}]},
          {"contains": "it is red", "answers": [{"text": "red"}]},
          {"contains": "", "answers": [)" +
      std::string(asks_twice) + "]}]";
  const auto path = fs::temp_directory_path() / ("kflow-kept-" + std::to_string(::getpid()));
  fs::remove(path);
  {
    const test::FakeModel model(script);
    auto tape = activities::Tape::begin(path.string(), {});
    REQUIRE(tape);
    CHECK(run(model.base_url() + "/v1", std::move(*tape)) == "\"red\"");
    const auto asked = model.requests();
    REQUIRE(asked.size() == 3);
    CHECK(has(asked[1], "previous_response_id"));
    CHECK_FALSE(has(asked[2], "previous_response_id"));
    CHECK(has(asked[2], "the first question"));
    CHECK(has(asked[2], "it is red"));
  }
  // The tape has both calls, and needs nobody.
  auto tape = activities::Tape::load(path.string(), {});
  REQUIRE(tape);
  CHECK(run("http://127.0.0.1:1/v1", std::move(*tape)) == "\"red\"");
  fs::remove(path);
}

TEST_CASE("a provider that keeps nothing, whatever it is asked, is sent all of it") {
  const test::FakeModel model(
      R"([{"contains": "it is red", "answers": [{"text": "red"}]},
          {"contains": "", "answers": [{"calls": [{"name": "look", "arguments": {"what": "red"}}]}]}])");
  CHECK(run(model.base_url() + "/v1") == "\"red\"");
  const auto asked = model.requests();
  REQUIRE(asked.size() == 2);
  CHECK_FALSE(has(asked[1], "previous_response_id"));
  CHECK(has(asked[1], "the first question"));
}

TEST_CASE("another provider that takes over in the middle is sent the whole conversation") {
  constexpr const char* with_fallback = R"(
model other { provider: "anthropic"  id: "y" }
model keeps { provider: "openai"  id: "x"  fallback: [other] }
/// Looks something up.
tool look(what: string) -> string { return "it is ${what}" }
agent a { model: keeps  instructions: "Be brief."  tools: [look] }
workflow w() -> string {
  step said = a("the first question") { retry: { max: 1 } }
  return said
}
)";
  // The first knows its own id alone, and fails; the other asks for a second tool, and has the turn
  // to its end.
  const test::FakeModel model(
      R"([{"contains": "\"model\":\"y\"", "answers": [
             {"calls": [{"name": "look", "arguments": {"what": "blue"}}]}, {"text": "red and blue"}]},
          {"contains": "previous_response_id", "answers": [
             {"error": {"status": 400, "code": "bad", "message": "bad"}}]},
          {"contains": "", "answers": [)" +
      std::string(asks_twice) + "]}]");
  CHECK(run(model.base_url() + "/v1", nullptr, with_fallback) == "\"red and blue\"");
  const auto asked = model.requests();
  for (const std::string& body : asked) UNSCOPED_INFO(body);
  REQUIRE(asked.size() == 4);
  CHECK(has(asked[1], "\"previous_response_id\":\"resp_a\""));
  // All of it, in the other's format: the question, the call of the first, and what came of it.
  CHECK(has(asked[2], "\"model\":\"y\""));
  CHECK_FALSE(has(asked[2], "previous_response_id"));
  CHECK_FALSE(has(asked[2], "resp_a"));
  CHECK(has(asked[2], "the first question"));
  CHECK(has(asked[2], "tool_use"));
  CHECK(has(asked[2], "it is red"));
  CHECK_FALSE(has(asked[3], "previous_response_id"));
  CHECK(has(asked[3], "the first question"));
  CHECK(has(asked[3], "it is red"));
  CHECK(has(asked[3], "it is blue"));
}

TEST_CASE(
    "a fallback of the same provider that does not know the id is sent the whole conversation") {
  constexpr const char* with_fallback = R"(
model other { provider: "openai"  id: "y" }
model keeps { provider: "openai"  id: "x"  fallback: [other] }
/// Looks something up.
tool look(what: string) -> string { return "it is ${what}" }
agent a { model: keeps  tools: [look] }
workflow w() -> string {
  step said = a("the first question") { retry: { max: 1 } }
  return said
}
)";
  const test::FakeModel model(
      R"([{"contains": "\"model\":\"y\"", "answers": [{"text": "from the other"}]},
          {"contains": "previous_response_id", "answers": [{"error": {"status": 400, "code": "bad", "message": "bad"}}]},
          {"contains": "", "answers": [)" +
      std::string(asks_twice) + "]}]");
  CHECK(run(model.base_url() + "/v1", nullptr, with_fallback) == "\"from the other\"");
  const auto asked = model.requests();
  REQUIRE(asked.size() == 3);
  CHECK_FALSE(has(asked[2], "previous_response_id"));  // `previous_response_id` is not on for it
  CHECK(has(asked[2], "the first question"));
  CHECK(has(asked[2], "it is red"));
}
