// Reading a state: status, timers, and what a run waits for.
#include <algorithm>

#include "runtime/machine/retry.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

RunStatus status(const RunState& s) { return s.status; }
uint64_t event_count(const RunState& s) { return s.events; }
uint64_t public_count(const RunState& s) { return s.shown_events; }
Millis next_due(const RunState& s) { return s.timers.empty() ? never : s.timers.begin()->first; }
size_t in_flight(const RunState& s) { return s.effects; }
cel::Value result(const RunState& s) { return s.result; }
UsageTotal usage(const RunState& s) { return s.usage; }
const RunError* error(const RunState& s) {
  return s.status == RunStatus::error ? &s.error : nullptr;
}

size_t memory(const RunState& s) {
  size_t total = sizeof(RunState) + s.result.memory();
  for (const auto& [id, act] : s.acts) {
    total += sizeof(Act);
    if (act->own_frame) {
      for (const cel::Value& v : act->own_frame->slots) total += v.memory();
    }
    if (act->step) total += sizeof(StepData) + act->step->input.memory();
    if (act->fan) {
      total += sizeof(FanData) + act->fan->items.memory();
      for (const auto& list : act->fan->results) {
        for (const cel::Value& v : list) total += v.memory();
      }
    }
  }
  return total;
}

std::vector<Waiting> waiting(const RunState& s) {
  std::vector<Waiting> out;
  for (const auto& [id, act] : s.acts) {
    if (!act->step || act->kind == ActKind::body) continue;
    const StepData& step = *act->step;
    const bool block = act->kind == ActKind::tool || act->kind == ActKind::agent;
    if (block && step.phase != StepPhase::backing_off && step.phase != StepPhase::asking) continue;
    const auto& node = std::get<ir::StepNode>((*s.program)[act->node].data);
    Waiting w{.path = act->path,
              .callee = node.call.name,
              .attempt = step.attempt,
              .since = step.attempt_started_at};
    const ir::StepOptions* options = &node.options;
    if (node.call.kind == ir::CalleeKind::model) {
      // By its name, and tried as often as its agent's step says.
      const cel::Value* model = step.input.find("model");
      if (model != nullptr && model->kind() == cel::Kind::string) w.callee = model->as_string();
      if (const Act* agent = s.find(act->parent))
        options = &std::get<ir::StepNode>((*s.program)[agent->node].data).options;
    }
    const ir::RetryPolicy policy =
        options->retry ? *options->retry : default_retry(*s.program, node.call);
    w.max_attempts = policy.max + step.interruptions;
    switch (step.phase) {
      case StepPhase::in_flight:
        w.what = "running";
        break;
      case StepPhase::sleeping:
        w.what = "timer", w.due = step.wake;
        break;
      case StepPhase::backing_off:
        w.what = "retry", w.due = step.wake;
        break;
      case StepPhase::stopping:
        w.what = "stopping", w.due = step.wake;
        break;
      case StepPhase::waiting:
        w.what = step.mode == StepMode::signal ? "signal" : "run";
        w.due = step.deadline;
        w.subject = step.child;
        if (step.mode != StepMode::child) {
          const cel::Value* subject =
              step.input.find(step.mode == StepMode::signal ? "name" : "id");
          if (subject != nullptr && subject->kind() == cel::Kind::string)
            w.subject = subject->as_string();
        }
        break;
      case StepPhase::asking:
        w.what = "person", w.due = step.wake;
        if (step.ask) w.subject = step.ask->question;
        break;
    }
    if (step.last_error) w.error = step.last_error->message;
    out.push_back(std::move(w));
  }
  std::sort(out.begin(), out.end(),
            [](const Waiting& a, const Waiting& b) { return a.path < b.path; });
  return out;
}

std::vector<Requirement> requirements(const RunState& s) {
  std::vector<Requirement> out;
  for (const auto& [id, act] : s.acts) {
    if (!act->step || !act->step->ask) continue;
    const Asked& ask = *act->step->ask;
    out.push_back({.id = std::to_string(id) + "." + std::to_string(ask.number),
                   .path = act->path,
                   .node = act->node,
                   .kind = ask.kind,
                   .of_tool = act->role == Role::call,
                   .question = ask.question,
                   .show = ask.show,
                   .input = ask.input,
                   .value = ask.value,
                   .form = ask.form,
                   .since = act->step->attempt_started_at,
                   .expires = ask.expires,
                   .has_default = ask.has_default,
                   .fallback = ask.fallback});
  }
  std::sort(out.begin(), out.end(),
            [](const Requirement& a, const Requirement& b) { return a.path < b.path; });
  return out;
}

std::string check_answer(const ir::Program& program, const Requirement& requirement,
                         const cel::Value& value) {
  if (!requirement.form) return value.is_null() ? "" : "the question takes yes or no, no value";
  const schema::Validation checked =
      schema::validate(program.types, requirement.form, value, schema::Source::json);
  std::string out;
  for (const schema::Violation& v : checked.violations) {
    out += (out.empty() ? "" : "\n") +
           (v.path.empty() ? std::string("the answer") : "`" + v.path + "`") + ": " + v.rule +
           ", got " + v.value;
  }
  return out;
}

const cel::Value& session(const RunState& s) { return s.session; }
uint32_t attempt(const RunState& s) { return s.attempt; }

ResumePoint resume_point(const RunState& s) {
  if (s.status != RunStatus::error)
    return {.refusal = "the run is " + std::string(to_string(s.status))};
  if (s.undone) return {.refusal = "its steps have been compensated; fork it instead"};
  return {.rewind_to = s.failed_at, .last_act = s.last_act, .refusal = ""};
}

Event resumed(const RunState& s, const ResumePoint& point, Millis now) {
  RunResumed resumed{
      .attempt = s.attempt + 1, .rewind_to = point.rewind_to, .last_act = point.last_act};
  if (s.time_limit_ms > 0) resumed.deadline = now + s.time_limit_ms;  // its time begins anew
  return {.act = 1, .time = now, .shown = true, .data = resumed};
}

std::vector<CountedRange> counted_ranges(const std::vector<std::pair<uint64_t, uint64_t>>& resumes,
                                         uint64_t events) {
  std::vector<CountedRange> out;
  uint64_t end = events;
  for (auto it = resumes.rbegin(); it != resumes.rend(); ++it) {
    const auto [at, rewind_to] = *it;
    if (at >= end) continue;  // itself left out by a later one
    out.push_back({at, end, false});
    out.push_back({rewind_to, at, true});
    end = rewind_to;
  }
  out.push_back({0, end, false});
  std::reverse(out.begin(), out.end());
  return out;
}

void apply_completion(RunState& s, const Event& event) {
  const Act* act = s.find(event.act);
  if (act == nullptr || act->kind != ActKind::step ||
      !std::holds_alternative<StepCompleted>(event.data))
    return;
  if (act->node != event.node || act->path != event.path) return;
  apply(s, event);
}

void set_event_count(RunState& s, uint64_t events, uint64_t shown) {
  s.events = events;
  s.shown_events = shown;
}

}  // namespace kflow::machine
