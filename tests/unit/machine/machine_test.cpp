// What single turns of the machine decide, where a scenario cannot see it: frames, keys, what a
// crash does to a step that must not be repeated.
#include <algorithm>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/machine/machine.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::machine;

namespace {

class World {
 public:
  explicit World(const std::string& text) {
    auto compiled = driver::compile_text("w.kflow", text);
    INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
    REQUIRE(compiled->program.has_value());
    program_ = std::make_shared<const ir::Program>(std::move(*compiled->program));
    state_ = make_state(program_);
    take(start(*state_,
               {.workflow = program_->find("w"),
                .input = cel::Value::map({}),
                .run_id = "run-1",
                .session_id = "s",
                .user_id = "ann"},
               now));
  }
  void tell(const Input& input) { take(advance(*state_, input, ++now)); }
  // The oldest effect that was asked for.
  StartActivity effect() {
    REQUIRE_FALSE(actions.empty());
    auto out = std::get<StartActivity>(std::move(actions.front()));
    actions.erase(actions.begin());
    return out;
  }
  void succeed(const cel::Value& value = cel::Value::integer(1)) {
    const auto start = effect();
    tell(OutcomeInput{.act = start.act, .attempt = start.attempt, .outcome = value});
  }
  std::vector<cel::Value> frames(std::string_view name) const {
    std::vector<cel::Value> out;
    uint64_t index = 0;
    for (const Event& e : events) {
      if (!e.shown) continue;
      auto frame = cel::from_json(frame_json(*program_, {"run-1", "w", "s"}, e, index++));
      REQUIRE(frame);
      if (*frame->find("event") == cel::Value::string(std::string(name)))
        out.push_back(std::move(*frame));
    }
    return out;
  }
  const RunState& state() const { return *state_; }
  std::shared_ptr<const ir::Program> program() const { return program_; }

  std::vector<Event> events;
  std::vector<Action> actions;
  Millis now = 1'000'000;

 private:
  void take(Turn turn) {
    events.insert(events.end(), turn.events.begin(), turn.events.end());
    actions.insert(actions.end(), turn.actions.begin(), turn.actions.end());
  }
  std::shared_ptr<const ir::Program> program_;
  RunStatePtr state_;
};

std::string text(const cel::Value& record, std::string_view name) {
  const cel::Value* v = record.find(name);
  if (v == nullptr) return "-";
  return v->kind() == cel::Kind::string ? std::string(v->as_string()) : cel::to_display(*v);
}

Event through_codec(const Event& event) {
  ByteWriter out;
  encode_event(event, out);
  ByteReader in(out.buffer());
  Event back = decode_event(in);
  REQUIRE_FALSE(in.failed());
  return back;
}

}  // namespace

TEST_CASE("a label and tags are shown where the step begins") {
  World w(R"(
    extern tool eff(x: int) -> any { command: ["x"] }
    tool both() { step inner = eff(2) }
    workflow w() {
      for i in [1, 2] { step one = eff(i) { label: "file ${i}", tags: ["io", "slow"] } }
      step all = both() { label: "both" }
      step asked = eff(3) { label: "ask first", confirm: "go?" }
    }
  )");
  w.succeed();
  w.succeed();
  w.succeed();
  const auto started = w.frames("StepStarted");
  REQUIRE(started.size() == 4);
  CHECK(text(started[0], "step_label") == "file 1");
  CHECK(text(started[1], "step_label") == "file 2");
  CHECK(text(started[1], "step_id") == "for[1].one");
  CHECK(text(started[0], "tags") == R"(["io", "slow"])");
  CHECK(text(started[2], "step_label") == "both");
  CHECK(text(started[2], "tags") == "-");
  CHECK(text(started[3], "step_label") == "-");
  CHECK(text(w.frames("StepPaused").at(0), "step_label") == "ask first");
  CHECK(text(w.frames("StepCompleted").at(0), "step_label") == "-");
  for (const Event& e : w.events) CHECK(through_codec(e).label == e.label);
}

TEST_CASE("a label that cannot be had is an error of its step") {
  World w(R"(
    extern tool eff() -> any { command: ["x"] }
    workflow w() -> string {
      try { step a = eff() { label: "${[1][iteration_of()]}" } } catch err { return err.kind }
      return "none"
    }
    fn iteration_of() -> int = 3
  )");
  CHECK(status(w.state()) == RunStatus::completed);
  CHECK(w.actions.empty());
  World long_one(R"(
    extern tool eff() -> any { command: ["x"] }
    workflow w() { step a = eff() { label: lists.range(2000).map(i, "x").join("") } }
  )");
  REQUIRE(error(long_one.state()) != nullptr);
  CHECK(error(long_one.state())->kind == "limit");
}

TEST_CASE("a piece of an answer that was trimmed keeps its place and folds") {
  Event delta{.act = 7, .time = 5, .shown = true, .path = "a.turn", .data = Trimmed{}};
  const Event back = through_codec(delta);
  CHECK(std::holds_alternative<Trimmed>(back.data));
  CHECK(back.shown);
  CHECK(back.act == 7);
}

TEST_CASE("the key of an effect: the author's, else one for all attempts") {
  World w(R"(
    extern tool eff() -> any { command: ["x"], idempotent: true }
    workflow w() {
      step own = eff() { idempotency_key: "order-${user.id}" }
      step ours = eff() { retry: { max: 2 backoff: constant(1s) jitter: none on: [exec] } }
    }
  )");
  CHECK(w.effect().idempotency_key == "order-ann");
  w.tell(OutcomeInput{.act = 2, .attempt = 1, .outcome = cel::Value()});
  const auto first = w.effect();
  CHECK(first.idempotency_key.size() >= 32);
  w.tell(OutcomeInput{.act = first.act,
                      .attempt = 1,
                      .outcome = RunError{.kind = "exec", .code = "exit", .message = "no"}});
  w.now = next_due(w.state());
  w.tell(TickInput{});
  const auto second = w.effect();
  CHECK(second.attempt == 2);
  CHECK(second.idempotency_key == first.idempotency_key);
}

TEST_CASE("at_most_once: a crash in its middle is an unknown outcome, not a repeat") {
  World w(R"(
    extern tool pay() -> any { command: ["pay"], idempotent: true }
    extern tool refund(key: string) -> any { command: ["refund"] }
    workflow w() { step paid = pay() { at_most_once: true, undo: refund(idempotency_key) } }
  )");
  const auto pay = w.effect();
  w.tell(RecoverInput{});
  const auto undo = w.effect();
  CHECK(undo.callee == "refund");
  CHECK(text(undo.input, "key") == pay.idempotency_key);
  w.tell(OutcomeInput{.act = undo.act, .attempt = undo.attempt, .outcome = cel::Value()});
  REQUIRE(error(w.state()) != nullptr);
  CHECK(error(w.state())->kind == "unknown_outcome");
  CHECK(w.frames("StepStarted").size() == 2);  // pay once, refund once
}
