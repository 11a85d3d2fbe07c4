// How a step ends: its value is checked, or it is tried again, or it has failed, or it was stopped.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "runtime/machine/planner.hpp"
#include "runtime/machine/retry.hpp"

namespace kflow::machine {

using cel::Value;

RunError timeout_error(const std::string& path, Millis limit_ms, bool attempt) {
  return {.kind = "timeout",
          .code = attempt ? "attempt_timeout" : "timeout",
          .message = (path.empty() ? std::string("the run") : "step `" + path + "`") +
                     " took longer than its " + (attempt ? "attempt_timeout" : "timeout") + " of " +
                     std::to_string(limit_ms) + " ms",
          .step = path,
          .retryable = attempt};
}

std::string Planner::key_of(const Act& act) const {
  if (!act.step->key.empty()) return act.step->key;
  return to_hex(sha256(s_.run_id + "\n" + act.path)).substr(0, 32);
}

// A step inside a block that is being stopped.
void Planner::decide_step(Act& act) {
  if (!act.stopping) return;
  switch (act.step->phase) {
    case StepPhase::in_flight:
      return stop_step(act, std::nullopt);
    case StepPhase::waiting:
      if (act.step->mode == StepMode::child) return stop_step(act, std::nullopt);
      [[fallthrough]];
    case StepPhase::sleeping:
    case StepPhase::backing_off:
    case StepPhase::asking:
      return cancel_step(act);
    case StepPhase::stopping:
      return;
  }
}

void Planner::stop_step(Act& act, std::optional<RunError> error) {
  emit(act, StopRequested{std::move(error)}, false);
  if (act.step->mode == StepMode::child) {
    turn.actions.push_back(StopChild{
        act.step->child,
        s_.cancelling ? s_.cancel_reason : "step `" + act.path + "` of the parent was stopped",
        false});
  } else {
    turn.actions.push_back(StopActivity{act.id, act.step->attempt});
  }
}

void Planner::take_outcome(Act& act, const std::variant<Value, RunError>& outcome, bool cached) {
  const Value* value = std::get_if<Value>(&outcome);
  if (act.step->phase == StepPhase::stopping) {
    // Stopped by a cancel or a join: a value that arrives all the same is recorded, so that nothing
    // done is forgotten.
    if (value != nullptr && !act.step->stop_error) return complete(act, *value, cached);
    return end_stopped(act);
  }
  if (value != nullptr) return complete(act, *value, cached);
  attempt_failed(act, std::get<RunError>(outcome));
}

void Planner::complete(Act& act, Value value, bool cached) {
  const ir::StepNode& node = node_of(act);
  if (value.memory() > max_value_bytes) {
    return attempt_failed(act, {.kind = "limit",
                                .code = "value_size",
                                .message = "the value is larger than " +
                                           std::to_string(max_value_bytes >> 20) + " MiB"});
  }
  if (node.check) {
    if (auto error = check_type(program_, node.type, value, "the value of step `" + act.path + "`"))
      return attempt_failed(act, std::move(*error));
  }
  if (node.options.ensure) {
    bool holds = false;
    EvalContext context{s_, s_.find(act.parent)->frame};
    context.own_value = &value;
    if (auto error = condition(context, node.options.ensure, holds))
      return attempt_failed(act, std::move(*error));
    if (!holds) {
      return attempt_failed(act,
                            {.kind = "check",
                             .code = "ensure",
                             .message = "the value of step `" + act.path + "` does not fulfil `" +
                                        program_[node.options.ensure].text + "`",
                             .data = value});
    }
  }
  if (node.options.review && !act.stopping) return review(act, std::move(value));
  finish(act, std::move(value), cached);
}

void Planner::finish(Act& act, Value value, bool cached) {
  const ir::StepNode& node = node_of(act);
  if (node.options.cache && !cached) {
    if (const auto ms = duration_ms({s_, s_.find(act.parent)->frame}, node.options.cache)) {
      turn.actions.push_back(StoreCache{cache_key(node, act.step->input), value, now_ + *ms,
                                        node.call.kind != ir::CalleeKind::builtin &&
                                            node.call.kind != ir::CalleeKind::extern_tool &&
                                            node.call.kind != ir::CalleeKind::mcp_tool});
    }
  }
  auto undo = undo_plan(act, &value);
  emit(act, StepCompleted{std::move(value), cached, std::move(undo)}, true, act.path);
}

// What would compensate the step, with its arguments as they are now. No value: it is not known
// whether it was done.
std::optional<UndoPlan> Planner::undo_plan(const Act& act, const Value* value) {
  const ir::NodeId undo = node_of(act).options.undo;
  if (!undo || act.role != Role::statement) return std::nullopt;
  const Value unknown;
  const Value key = Value::string(key_of(act));
  EvalContext context{s_, s_.find(act.parent)->frame};
  context.own_value = value == nullptr ? &unknown : value;
  context.own_key = &key;
  auto evaluated = arguments(context, node_at(undo).call);
  if (auto* error = std::get_if<RunError>(&evaluated))
    return UndoPlan{.arguments = {}, .error = std::move(*error)};
  return UndoPlan{.arguments = std::move(std::get<Value>(evaluated)), .error = {}};
}

const ir::StepOptions& Planner::options_of(const Act& act) const {
  const ir::StepNode& node = node_of(act);
  if (act.role != Role::call || node.call.kind != ir::CalleeKind::model) return node.options;
  return node_of(*s_.find(act.parent)).options;
}

void Planner::attempt_failed(Act& act, RunError error) {
  error.step = error.step.empty() ? act.path : error.step;
  const ir::StepNode& node = node_of(act);
  // Its calls of the model are tried again, the whole conversation is not.
  if (act.kind == ActKind::agent) return step_failed(act, std::move(error));
  const ir::StepOptions& options = options_of(act);
  ir::RetryPolicy policy = options.retry ? *options.retry : default_retry(program_, node.call);
  if (act.role == Role::undo) policy.max = std::max(policy.max, undo_attempts);
  const uint32_t made = act.step->attempt - act.step->interruptions;
  const bool again = act.role == Role::undo
                         ? made < policy.max
                         : may_retry(policy, options.retry.has_value(), error, made);
  if (!stopped_from_outside(act) && again) {
    const Millis due = now_ + backoff_ms(policy, made, s_.run_id, act.path, error);
    if (due < act.step->deadline)
      return emit(act, StepRetryScheduled{std::move(error), due}, true, act.path);
  }
  step_failed(act, std::move(error));
}

// A tool that is over its own time is stopping too, but its step may still be retried or go on.
bool Planner::stopped_from_outside(const Act& act) const {
  return act.role != Role::undo && act.role != Role::hook && s_.find(act.parent)->stopping;
}

// The conversation of an agent that has begun one ends with it.
void Planner::agent_failed(const Act& act, const RunError& error) {
  if (act.agent == nullptr || act.agent->phase == AgentPhase::done) return;
  emit(act, AgentFailed{error, act.agent->own}, true, act.path);
}

void Planner::step_failed(Act& act, RunError error) {
  agent_failed(act, error);
  StepFailed failed{.error = std::move(error)};
  const ir::StepOptions& options = node_of(act).options;
  if (options.on_error == ir::OnError::continue_ && !stopped_from_outside(act)) {
    failed.continued = true;
    if (options.fallback) {
      Evaluated value = evaluate({s_, s_.find(act.parent)->frame}, options.fallback);
      if (auto* bad = std::get_if<RunError>(&value)) {
        failed.continued = false;
        failed.error = std::move(*bad);
        failed.error.step = act.path;
      } else {
        failed.value = std::move(std::get<Value>(value));
      }
    }
  }
  const bool unknown = act.step->counted &&
                       (failed.error.kind == "timeout" || failed.error.kind == "unknown_outcome");
  if (unknown) failed.undo = undo_plan(act, nullptr);
  emit(act, std::move(failed), true, act.path);
}

// Ends a step that was stopped. One whose effect was under way may have done it, and is undone too.
void Planner::cancel_step(Act& act) {
  agent_failed(act, {.kind = "cancelled",
                     .code = "cancelled",
                     .message = "the step was stopped",
                     .step = act.path});
  StepCancelled cancelled;
  if (act.step->counted) cancelled.undo = undo_plan(act, nullptr);
  if (act.step->ask && act.step->ask->kind == AskKind::review)
    cancelled.undo = undo_plan(act, &act.step->ask->value);
  emit(act, std::move(cancelled), true, act.path);
}

// The outcome of a stopped step is here, or is no longer waited for.
void Planner::end_stopped(Act& act) {
  if (!act.step->stop_error) return cancel_step(act);
  attempt_failed(act, *act.step->stop_error);
}

void Planner::end_tool(Act& act) {
  if (act.step->stop_error) return step_failed(act, *act.step->stop_error);
  if (act.stopping) return cancel_step(act);
  if (act.exit == Exit::failed) return attempt_failed(act, RunError(act.exit_error));
  complete(act, act.exit == Exit::returned ? act.exit_value : Value());
}

// ---- time

void Planner::on_timer(Act& act) {
  StepData& step = *act.step;
  if (step.phase == StepPhase::asking) return ask_expired(act);
  if (act.kind != ActKind::step) return on_block_timer(act);
  if (step.phase == StepPhase::stopping) return end_stopped(act);
  if (step.deadline <= now_) {
    RunError error = timeout_error(act.path, step.deadline - step.started_at, false);
    const bool under_way = step.phase == StepPhase::in_flight ||
                           (step.phase == StepPhase::waiting && step.mode == StepMode::child);
    if (under_way) return stop_step(act, std::move(error));
    return step_failed(act, std::move(error));
  }
  switch (step.phase) {
    case StepPhase::sleeping:
      return complete(act, Value());
    case StepPhase::backing_off:
      return start_again(act, StartReason::retry);
    case StepPhase::in_flight:
      return stop_step(act, timeout_error(act.path, step.attempt_timeout_ms, true));
    case StepPhase::stopping:
    case StepPhase::waiting:
    case StepPhase::asking:
      return;
  }
}

// Deadline of a tool or of the run, or the end of a tool's backoff.
void Planner::on_block_timer(Act& act) {
  StepData& step = *act.step;
  if (step.deadline <= now_) {
    RunError error = timeout_error(
        act.path, step.deadline - (act.kind == ActKind::body ? s_.started_at : step.started_at),
        false);
    if (step.phase == StepPhase::backing_off) return step_failed(act, std::move(error));
    return emit(act, StopRequested{std::move(error)}, false);
  }
  emit(act, ToolEntered{.input = {}, .deadline = step.deadline, .attempt = step.attempt + 1}, true,
       act.path);
}

// ---- signals

void Planner::try_signal(Act& act) {
  const Value* name = act.step->input.find("name");
  if (name == nullptr || name->kind() != cel::Kind::string) return;
  const auto it = s_.mailbox.find(name->as_string());
  if (it == s_.mailbox.end() || it->second.empty()) return;
  complete(act, it->second.front());
}

}  // namespace kflow::machine
