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
const RunError* error(const RunState& s) { return s.status == RunStatus::error ? &s.error : nullptr; }

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
    if (act->kind == ActKind::tool && step.phase != StepPhase::backing_off) continue;
    const auto& node = std::get<ir::StepNode>((*s.program)[act->node].data);
    Waiting w{.path = act->path, .callee = node.call.name, .attempt = step.attempt, .since = step.attempt_started_at};
    const ir::RetryPolicy policy = node.options.retry ? *node.options.retry : default_retry(*s.program, node.call);
    w.max_attempts = policy.max + step.interruptions;
    switch (step.phase) {
      case StepPhase::in_flight: w.what = "running"; break;
      case StepPhase::sleeping: w.what = "timer", w.due = step.wake; break;
      case StepPhase::backing_off: w.what = "retry", w.due = step.wake; break;
      case StepPhase::stopping: w.what = "stopping", w.due = step.wake; break;
    }
    if (step.last_error) w.error = step.last_error->message;
    out.push_back(std::move(w));
  }
  std::sort(out.begin(), out.end(), [](const Waiting& a, const Waiting& b) { return a.path < b.path; });
  return out;
}

}  // namespace kflow::machine
