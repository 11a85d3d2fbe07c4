// The scripted world.
#include "tests/scenario/simulator.hpp"

#include <algorithm>
#include <stdexcept>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::scenario {
namespace {

using machine::Millis;

std::string trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\r')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\r')) s.remove_suffix(1);
  return std::string(s);
}

Millis read_duration(const std::string& text) {
  const auto d = cel::parse_duration_literal(text);
  if (!d) throw std::runtime_error("no duration: " + text);
  return d->nanos / 1'000'000;
}

cel::Value read_json(const std::string& text) {
  auto v = cel::from_json(text);
  if (!v) throw std::runtime_error("no JSON: " + text);
  return std::move(*v);
}

// Splits at commas outside braces, brackets and quotes.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out(1);
  int depth = 0;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted) depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (c == ',' && depth == 0 && !quoted) {
      out.emplace_back();
    } else {
      out.back().push_back(c);
    }
  }
  for (std::string& s : out) s = trimmed(s);
  return out;
}

Answer read_answer(std::string text) {
  Answer a;
  if (const size_t at = text.rfind(" after "); at != std::string::npos) {
    a.after_ms = read_duration(text.substr(at + 7));
    text = text.substr(0, at);
  }
  if (text == "hang") {
    a.kind = Answer::Kind::hang;
  } else if (text.starts_with("ok")) {
    const std::string value = trimmed(text.substr(2));
    if (!value.empty()) a.value = read_json(value);
  } else if (text.starts_with("fail ")) {
    a.kind = Answer::Kind::fail;
    const std::string rest = text.substr(5);
    const size_t space = rest.find(' ');
    a.error.kind = rest.substr(0, space);
    a.error.message = rest;
    if (space != std::string::npos) a.error.status = std::stoi(rest.substr(space + 1));
    a.error.retryable = a.error.kind == "timeout" || a.error.status == 429 || a.error.status >= 500;
  } else {
    throw std::runtime_error("no answer: " + text);
  }
  return a;
}

struct Effect {
  Millis due = 0;
  machine::StartActivity start;
  bool stopped = false;
};

class World {
 public:
  World(std::shared_ptr<const ir::Program> program, const Script& script) : program_(std::move(program)), script_(script) {}

  Report run(Crash crash, size_t at) {
    state_ = machine::make_state(program_);
    ir::CallableId workflow;
    for (uint32_t i = 0; i < program_->callables.size(); ++i) {
      if (program_->callables[i].kind == ir::CallableKind::workflow) workflow = ir::CallableId(i);
    }
    machine::Turn turn = machine::start(*state_, {.workflow = workflow, .input = script_.input, .run_id = "run-1", .session_id = "s"}, now_);
    auto cancels = script_.cancels;
    for (size_t guard = 0; guard < 100'000; ++guard) {
      commit(turn);
      const bool crashes = crash != Crash::none && report_.commits == at && !std::exchange(crashed_, report_.commits >= at);
      if (!crashes || crash == Crash::after_release) release(turn);
      if (crashes) {
        turn = recover();
        continue;
      }
      if (machine::status(*state_) != machine::RunStatus::running) break;
      if (turn.more) {
        turn = machine::advance(*state_, machine::TickInput{}, now_);
        continue;
      }
      if (!next(turn, cancels)) break;
    }
    report_.status = machine::status(*state_);
    report_.result = machine::result(*state_);
    if (const machine::RunError* e = machine::error(*state_)) report_.error = *e;
    return std::move(report_);
  }

 private:
  void commit(const machine::Turn& turn) {
    if (turn.events.empty()) return;
    ++report_.commits;
    for (const machine::Event& e : turn.events) {
      machine::encode_event(e, log_);
      ++log_count_;
      const bool again = std::holds_alternative<machine::StepStarted>(e.data) && std::get<machine::StepStarted>(e.data).reason == machine::StartReason::interrupted;
      report_.interrupted += again;
      if (e.shown && !again) report_.shown.push_back(std::string(machine::public_name(*program_, e)) + " " + e.path);
      if (std::holds_alternative<machine::StepCompleted>(e.data)) {
        report_.completed.push_back(e.path);
        ++report_.completions[e.path];
        ++answered_[e.path];
      }
      if (std::holds_alternative<machine::StepRetryScheduled>(e.data) || std::holds_alternative<machine::StepFailed>(e.data)) ++answered_[e.path];
    }
  }

  const Answer* answer(const machine::StartActivity& start) const {
    auto it = script_.steps.find(start.path);
    if (it == script_.steps.end()) {
      const size_t dot = start.path.rfind('.');
      it = script_.steps.find(dot == std::string::npos ? start.path : start.path.substr(dot + 1));
    }
    if (it == script_.steps.end()) return nullptr;
    const auto n = answered_.find(start.path);
    const size_t index = n == answered_.end() ? 0 : static_cast<size_t>(n->second);
    return &it->second[std::min(index, it->second.size() - 1)];
  }

  void release(const machine::Turn& turn) {
    for (const machine::Action& action : turn.actions) {
      if (const auto* stop = std::get_if<machine::StopActivity>(&action)) {
        for (Effect& e : effects_) {
          if (e.start.act == stop->act && e.start.attempt == stop->attempt) e.stopped = true, e.due = now_ + 1;
        }
        continue;
      }
      const auto& start = std::get<machine::StartActivity>(action);
      const Answer* a = answer(start);
      const bool hangs = a != nullptr && a->kind == Answer::Kind::hang;
      effects_.push_back({hangs ? machine::never : now_ + (a == nullptr ? 10 : a->after_ms), start});
    }
  }

  machine::Turn recover() {
    effects_.clear();
    state_ = machine::make_state(program_);
    ByteReader in(log_.buffer());
    for (size_t i = 0; i < log_count_; ++i) machine::apply(*state_, machine::decode_event(in));
    if (in.failed()) throw std::runtime_error("the log cannot be read back");
    now_ += 1;
    return machine::advance(*state_, machine::RecoverInput{}, now_);
  }

  // The next thing that happens; false: nothing ever will.
  bool next(machine::Turn& turn, std::vector<std::pair<Millis, std::string>>& cancels) {
    auto effect = std::min_element(effects_.begin(), effects_.end(), [](const Effect& a, const Effect& b) { return a.due < b.due; });
    const Millis effect_due = effect == effects_.end() ? machine::never : effect->due;
    const Millis timer_due = machine::next_due(*state_);
    const Millis cancel_due = cancels.empty() ? machine::never : cancels.front().first + 1'000'000;
    const Millis due = std::min({effect_due, timer_due, cancel_due});
    if (due == machine::never) return false;
    now_ = std::max(now_, due);
    if (due == cancel_due) {
      turn = machine::advance(*state_, machine::CancelInput{cancels.front().second}, now_);
      cancels.erase(cancels.begin());
    } else if (due == timer_due) {
      turn = machine::advance(*state_, machine::TickInput{}, now_);
    } else {
      const Effect done = *effect;
      effects_.erase(effect);
      machine::OutcomeInput input{.act = done.start.act, .attempt = done.start.attempt, .outcome = cel::Value()};
      const Answer* a = answer(done.start);
      if (done.stopped) {
        input.outcome = machine::RunError{.kind = "cancelled", .code = "cancelled", .message = "stopped"};
      } else if (a != nullptr && a->kind == Answer::Kind::fail) {
        input.outcome = a->error;
      } else if (a != nullptr) {
        input.outcome = a->value;
      }
      turn = machine::advance(*state_, input, now_);
    }
    return true;
  }

  std::shared_ptr<const ir::Program> program_;
  const Script& script_;
  machine::RunStatePtr state_;
  Millis now_ = 1'000'000;
  std::vector<Effect> effects_;
  ByteWriter log_;
  size_t log_count_ = 0;
  std::map<std::string, int> answered_;
  bool crashed_ = false;
  Report report_;
};

}  // namespace

Script read_script(std::string_view text) {
  Script out;
  out.input = cel::Value::map({});
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = trimmed(text.substr(at, end - at));
    at = end + 1;
    if (!line.starts_with("// ")) continue;
    line = line.substr(3);
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string head = line.substr(0, colon);
    const std::string body = trimmed(line.substr(colon + 2));
    if (head == "input") {
      out.input = read_json(body);
    } else if (head.starts_with("step ")) {
      for (const std::string& a : split(body)) out.steps[head.substr(5)].push_back(read_answer(a));
    } else if (head.starts_with("at ")) {
      if (!body.starts_with("cancel")) throw std::runtime_error("unknown: " + line);
      out.cancels.emplace_back(read_duration(head.substr(3)), trimmed(body.substr(6)));
    } else if (head == "expect") {
      const size_t space = body.find(' ');
      out.status = body.substr(0, space);
      if (space != std::string::npos && out.status == "ERROR") out.error_kind = body.substr(space + 1);
      if (space != std::string::npos && out.status == "COMPLETED") {
        out.has_result = true;
        out.result = read_json(body.substr(space + 1));
      }
    } else if (head == "order") {
      out.order = split(body);
    }
  }
  return out;
}

Report simulate(std::shared_ptr<const ir::Program> program, const Script& script, Crash crash, size_t at) {
  return World(std::move(program), script).run(crash, at);
}

}  // namespace kflow::scenario
