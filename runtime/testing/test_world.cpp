// Effects, people and signals of tests.
#include "runtime/testing/test_world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/cel/time.hpp"
#include "runtime/testing/mocks.hpp"

namespace kflow::testing {

using cel::Value;
using machine::RunError;

namespace {

// `refine[2].draft` → `draft`.
std::string_view last_name(std::string_view path) {
  const size_t dot = path.rfind('.');
  if (dot != std::string_view::npos) path.remove_prefix(dot + 1);
  return path.substr(0, path.find('['));
}

// `refine[2].draft` → `refine.draft`.
std::string without_numbers(std::string_view path) {
  std::string out;
  bool inside = false;
  for (const char c : path) {
    inside = inside || c == '[';
    if (!inside) out += c;
    inside = inside && c != ']';
  }
  return out;
}

// Well spread and the same in every run of a test.
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

size_t TestWorld::start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
                        Value input) {
  const std::string id = machine::derived_run_id(now_, "test " + std::to_string(runs_.size()));
  const size_t run = add_run(id, workflow, std::move(input), "", std::move(program));
  done_[run].started = now_;
  return run;
}

bool TestWorld::settle() {
  for (size_t turn = 0; turn < max_turns; ++turn) {
    if (all_over()) return true;
    if (deliver()) continue;
    if (answer_waiting()) continue;
    if (!next()) return true;
  }
  return false;
}

std::optional<Value> TestWorld::take_signal(const std::string& path, const std::string& name) {
  const auto found = std::find_if(signals_.begin(), signals_.end(), [&](const auto& s) {
    return s.first == name || (!path.empty() && (s.first == path || s.first == last_name(path)));
  });
  if (found == signals_.end()) return std::nullopt;
  Value value = std::move(found->second);
  signals_.erase(found);
  return value;
}

bool TestWorld::answer_waiting() {
  if (signals_.empty()) return false;
  for (const auto& run : runs_) {
    if (!run->state || run->over()) continue;
    if (answer_person(*run) || answer_signal(*run)) return true;
  }
  return false;
}

// true and false are yes and no; any other value is the form's, or stands instead of what is
// reviewed.
bool TestWorld::answer_person(simulate::Run& run) {
  for (const machine::Requirement& r : machine::requirements(*run.state)) {
    auto value = take_signal(r.path, std::string(last_name(r.path)));
    if (!value) continue;
    machine::AnswerInput input{.requirement = r.id, .accepted = true, .value = {}, .feedback = ""};
    const bool word = value->kind() == cel::Kind::boolean;
    if (word) input.accepted = value->as_bool();
    const bool form =
        r.kind == machine::AskKind::form || (r.kind == machine::AskKind::review && !word);
    if (form && (!word || input.accepted)) {
      const std::string wrong = machine::check_answer(*run.program, r, *value);
      if (!wrong.empty())
        missing_.push_back(fmt::format("`signal {}` is no answer to `{}`: {}", last_name(r.path),
                                       r.question, wrong));
      input.value = std::move(*value);
    }
    run.inbox.emplace_back(std::move(input));
    return true;
  }
  return false;
}

bool TestWorld::answer_signal(simulate::Run& run) {
  for (const machine::Waiting& w : machine::waiting(*run.state)) {
    if (w.what != "signal") continue;
    auto value = take_signal("", w.subject);
    if (!value) continue;
    run.inbox.emplace_back(machine::SignalInput{w.subject, std::move(*value)});
    return true;
  }
  return false;
}

std::variant<machine::Millis, TestWorld::Outcome> TestWorld::begin_effect(
    size_t run, const machine::StartActivity& start) {
  return perform(run, start);
}

TestWorld::Outcome TestWorld::perform(size_t run, const machine::StartActivity& start) {
  if (start.kind == ir::CalleeKind::extern_tool) {
    if (const auto mock = mocks_.find(start.callee); mock != mocks_.end())
      return mock->second(start.input);
  }
  if (start.kind == ir::CalleeKind::builtin) {
    if (start.callee == "now")
      return Value::timestamp({now_ / 1000, static_cast<int32_t>(now_ % 1000) * 1'000'000});
    if (start.callee == "random")
      return Value::number(static_cast<double>(mixed(++made_) >> 11) * 0x1.0p-53);
    if (start.callee == "uuid")
      return Value::string(fmt::format("00000000-0000-4000-8000-{:012x}", ++made_));
    if (start.callee == "log") {
      const Value* said = start.input.find("value");
      logged_.push_back(said == nullptr ? "null" : cel::to_display(*said));
      return Value();
    }
  }
  return not_mocked(run, start);
}

TestWorld::Outcome TestWorld::not_mocked(size_t, const machine::StartActivity& start) {
  const bool model = start.kind == ir::CalleeKind::model;
  std::string message =
      model ? fmt::format("the {} `{}` is called and is not mocked", "agent", start.callee)
            : fmt::format("`{}` is called and is not mocked", start.callee);
  const std::string step = model ? start.path.substr(0, start.path.rfind('.')) : start.path;
  message += fmt::format(" (step `{}`); write `mock {} = …`", step, start.callee);
  if (std::find(missing_.begin(), missing_.end(), message) == missing_.end())
    missing_.push_back(message);
  return RunError{.kind = "internal", .code = "not_mocked", .message = message};
}

void TestWorld::committed(size_t run, const machine::Event& e) {
  Done& done = done_[run];
  const ir::Program& program = *runs_[run]->program;
  const ir::StepNode* step = e.node ? std::get_if<ir::StepNode>(&program[e.node].data) : nullptr;
  const Value* input = nullptr;
  bool begins = false;
  if (const auto* s = std::get_if<machine::StepStarted>(&e.data)) {
    begins = true;
    if (s->attempt == 1) input = &s->input;
  } else if (const auto* t = std::get_if<machine::ToolEntered>(&e.data)) {
    begins = true;
    input = &t->input;
  } else if (const auto* a = std::get_if<machine::AgentEntered>(&e.data)) {
    begins = true;
    input = &a->input;
  } else if (const auto* c = std::get_if<machine::StepCompleted>(&e.data)) {
    if (!e.path.empty()) done.steps[e.path] = c->value;
  } else if (const auto* said = std::get_if<machine::Emitted>(&e.data)) {
    done.emitted.push_back(said->value);
  } else if (std::holds_alternative<machine::RunCompleted>(e.data) ||
             std::holds_alternative<machine::RunFailed>(e.data) ||
             std::holds_alternative<machine::RunCancelled>(e.data)) {
    done.ended = e.time;
  }
  if (!begins || step == nullptr || step->call.kind == ir::CalleeKind::model) return;
  const std::string name = called_name(program, step->call);
  ++calls_[name];
  if (input != nullptr) inputs_[name].push_back(*input);
  ran_.insert(e.path);
  ran_.insert(without_numbers(e.path));
  ran_.insert(std::string(last_name(e.path)));
}

int64_t TestWorld::calls(const std::string& name) const {
  const auto it = calls_.find(name);
  return it == calls_.end() ? 0 : it->second;
}

Value TestWorld::inputs(const std::string& name) const {
  const auto it = inputs_.find(name);
  return Value::list(it == inputs_.end() ? std::vector<Value>() : it->second);
}

bool TestWorld::ran(const std::string& step) const { return ran_.contains(step); }

Value TestWorld::facts(size_t index) const {
  const simulate::Run& run = *runs_[index];
  const Done& done = done_.at(index);
  std::vector<Value> waits;
  std::vector<Value> emitted = done.emitted;
  cel::MapBuilder steps;
  for (const auto& [path, value] : done.steps) steps.set(path, value);
  Value error;
  Value session;
  std::string status = "RUNNING";
  Value result;
  if (run.state) {
    status = machine::to_string(machine::status(*run.state));
    result = machine::result(*run.state);
    session = session_;
    if (const RunError* e = machine::error(*run.state)) error = machine::to_value(*e);
    if (!run.over()) {
      for (const machine::Waiting& w : machine::waiting(*run.state))
        waits.push_back(Value::string(std::string(last_name(w.path))));
    }
  }
  const machine::Millis end = run.over() ? done.ended : now_;
  return cel::make_record({{"status", Value::string(status)},
                           {"result", std::move(result)},
                           {"error", std::move(error)},
                           {"waits_for", Value::list(std::move(waits))},
                           {"steps", std::move(steps).take()},
                           {"emitted", Value::list(std::move(emitted))},
                           {"session", std::move(session)},
                           {"duration", Value::duration({(end - done.started) * 1'000'000})}});
}

}  // namespace kflow::testing
