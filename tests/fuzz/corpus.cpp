// The runs. Their effects are answered by a stand-in, so that agents have their turns too.
#include "tests/fuzz/corpus.hpp"

#include <cstdlib>

#include "compiler/base/bytes.hpp"
#include "compiler/base/check.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/portable.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/fuzz/targets.hpp"

namespace kflow::fuzz {
namespace {

constexpr const char* text = R"(
type Note { title: string @length(1, 200)  score: double = 0.5  tags: string[] = [] }
/// Looks.
tool look(v: int = 0) -> int { step t = uuid()  return v }
agent helper(v: int) -> int { model: "openai/x"  prompt: "${v}"  tools: [look]  history: 2 }
/// Talks.
agent talker { model: "openai/x" }
team crowd { model: "openai/x"  members: [talker]  mode: broadcast }
extern tool eff(v: int) -> Note { command: ["eff"] }
workflow child(x: int) -> int { step sleep(1ms)  return x + 1 }
workflow everything(n: int = 3) -> any {
  session: { count: int = 0  seen: string[] = [] }
  budget: { tokens: 100000 }
  for i in lists.range(n) { limit: 2  on_error: continue
    step note = eff(i) { retry: { max: 2 }  undo: eff(0 - 1)  cache: 1h }
  }
  loop again { max: 3  until: iteration >= 2
    set session.count = session.count + 1
    let twice = session.count * 2
  }
  parallel { join: settled
    step a = child(1)
    step b = helper(4)
    branch slow { step sleep(2ms)  emit {at: timestamp("2026-01-01T00:00:00Z"), for: duration("3s"), raw: b"abc"} }
  }
  step crowd("what?")
  step signal.send(run.id, "go", {deep: [[1, 2.5, null], {k: true}]})
  step s = signal.wait("go")
  step ok = human.confirm("on?", expires: 1ms, default: true)
  try { fail { code: "x", message: "no" } } catch err { let kind = err.kind } finally { step kv.put("k", n) }
  step kid = child.start(2)
  step waited = runs.wait(kid)
  match n { 1, 2 { emit "few" } else { emit "many" } }
  if n > 5 { step eff(99) }
  return [a, b, s, ok, waited]
}
workflow fails() {
  step note = eff(1) { undo: eff(2) }
  fail "on purpose"
}
)";

// Answers at once.
class StandIn final : public activities::StandIn {
 public:
  bool start(const activities::Request& request,
             const activities::CompletionHandler& done) override {
    if (request.model == nullptr) {
      done({request.token, cel::make_record({{"title", cel::Value::string(std::string(100, 't'))},
                                             {"score", cel::Value::number(0.25)},
                                             {"tags", cel::Value::list({})}})});
      return true;
    }
    conversation::ModelAnswer out{.usage = {.input_tokens = 10, .output_tokens = 5}};
    out.message.role = conversation::Role::assistant;
    const bool told = request.model->messages.back().role == conversation::Role::tool;
    if (!request.model->tools.empty() && !told) {
      out.message.parts.push_back({.kind = conversation::PartKind::tool_call,
                                   .id = "call",
                                   .name = "look",
                                   .arguments = "{\"v\": 1}"});
      out.stop = conversation::StopReason::tool_calls;
    } else {
      out.message.parts.push_back(
          {.kind = conversation::PartKind::text,
           .text = request.model->output_schema.empty() ? "yes" : "{\"value\": 4}"});
    }
    done({request.token, conversation::to_value(out)});
    return true;
  }
  void cancel(uint64_t) override {}
  void forget() override {}
};

RealRun real_run(store::Store& store, const store::RunHeader& run,
                 std::shared_ptr<const ir::Program> program) {
  RealRun out{.program = std::move(program)};
  auto chunks = store.read(run.key, 0, SIZE_MAX);
  KFLOW_CHECK(chunks, "the log can be read");
  for (store::EventChunk& chunk : *chunks) {
    out.events += chunk.event_count;
    out.log += chunk.events;
    out.chunks.push_back(std::move(chunk.events));
  }
  auto state = machine::make_state(out.program);
  ByteReader in(out.log);
  for (uint32_t i = 0; i < out.events; ++i) {
    machine::apply(*state, machine::decode_event(in));
    if (i % 4 == 3) out.snapshots.push_back(machine::encode_state(*state));
  }
  auto file = engine::export_run(store, run);
  KFLOW_CHECK(file, "a run can be exported");
  out.file = std::move(*file);
  return out;
}

std::vector<RealRun> make_runs() {
  auto compiled = driver::compile_text("fuzz.kflow", text);
  KFLOW_CHECK(compiled && compiled->program, "the workflows of the corpus compile");
  auto decoded = ir::decode(ir::encode(*compiled->program));
  KFLOW_CHECK(decoded, "and are read back");
  const auto program = std::make_shared<const ir::Program>(std::move(*decoded));
  const std::shared_ptr<store::Store> store = store::make_memory_store();
  engine::EngineOptions options;
  options.adopt = true;
  options.activities.stand_in = std::make_shared<StandIn>();
  auto engine = engine::Engine::open(store, std::move(options));
  KFLOW_CHECK(engine, "the engine opens");
  std::vector<RealRun> out;
  for (const char* workflow : {"everything", "fails"}) {
    const auto started =
        (*engine)->start(program, program->find(workflow), cel::Value::map({}), {});
    KFLOW_CHECK(started, "the run starts");
    const auto ended = (*engine)->wait(started->key, 20'000);
    KFLOW_CHECK(ended && ended->ended_at != 0, "the run ends");
    out.push_back(real_run(*store, *ended, program));
  }
  return out;
}

}  // namespace

const std::vector<RealRun>& real_runs() {
  static const std::vector<RealRun> runs = make_runs();
  return runs;
}

}  // namespace kflow::fuzz
