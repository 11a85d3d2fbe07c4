// advance: takes an input and decides what happens next, event by event, until the run waits or has
// ended.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "runtime/machine/planner.hpp"

namespace kflow::machine {

using cel::Value;

void Planner::begin(RunStarted started, Limits inherited) {
  const ir::CallableId workflow = started.workflow;
  if (const ir::ExprId timeout = program_[workflow].workflow.timeout) {
    const Frame parameters = parameter_frame(program_, workflow, started.input);
    if (const auto ms = duration_ms({s_, &parameters}, timeout)) started.deadline = now_ + *ms;
  }
  if (started.session.is_null()) started.session = initial_session(program_, workflow);
  emit({.act = 1, .shown = true, .data = std::move(started)});
  const ir::Budget& budget = program_[workflow].workflow.budget;
  BudgetSet limits{.usd = inherited.usd, .tokens = inherited.tokens};
  if (!budget.usd && !budget.tokens && limits.usd < 0 && limits.tokens < 0) return;
  const EvalContext context{s_, s_.find(1)->frame};
  const auto number = [&](ir::ExprId expr) {
    if (!expr) return Value();
    Evaluated value = evaluate(context, expr);
    const Value* given = std::get_if<Value>(&value);
    return given == nullptr ? Value() : *given;
  };
  const auto usd = money(number(budget.usd));
  if (usd && (limits.usd < 0 || *usd < limits.usd)) limits.usd = *usd;
  const Value tokens = number(budget.tokens);
  if (tokens.kind() == cel::Kind::int_ && (limits.tokens < 0 || tokens.as_int() < limits.tokens))
    limits.tokens = tokens.as_int();
  emit({.act = 1, .data = limits});
}

std::optional<double> money(const Value& value) {
  if (value.kind() == cel::Kind::double_) return value.as_double();
  if (value.kind() == cel::Kind::int_) return static_cast<double>(value.as_int());
  return std::nullopt;
}

// ---- inputs

void Planner::operator()(const OutcomeInput& input) {
  Act* act = s_.find(input.act);
  if (act == nullptr || act->kind != ActKind::step || act->step->attempt != input.attempt ||
      !act->step->counted)
    return;
  if (input.source == OutcomeInput::Source::cache_miss) {
    const ir::StepNode& node = node_of(*act);
    const bool agent =
        node.call.kind == ir::CalleeKind::agent || node.call.kind == ir::CalleeKind::team;
    if (act->step->phase != StepPhase::in_flight ||
        (node.call.kind != ir::CalleeKind::tool && !agent))
      return;
    if (act->stopping) return cancel_step(*act);
    Launch tool{.block = *s_.find(act->parent),
                .existing = act,
                .id = act->node,
                .path = act->path,
                .input = act->step->input,
                .role = act->role};
    if (agent) return launch_agent(tool, node, act->step->deadline, act->step->attempt_timeout_ms);
    return enter_tool(tool, act->step->deadline);
  }
  take_outcome(*act, input.outcome, input.source == OutcomeInput::Source::cache);
}

void Planner::operator()(const RunEndedInput& input) {
  Act* act = s_.find(input.act);
  if (act == nullptr || act->kind != ActKind::step) return;
  const StepData& step = *act->step;
  if (step.phase != StepPhase::waiting && step.phase != StepPhase::stopping) return;
  // Without an id: there is no such run.
  const bool other =
      step.mode == StepMode::child && !input.run_id.empty() && step.child != input.run_id;
  if (other || (step.mode != StepMode::child && step.mode != StepMode::run)) return;
  if (step.mode == StepMode::child && input.usage.calls > 0)
    emit(*act, UsageRecorded{input.usage}, false);
  take_outcome(*act, input.outcome, false);
}

void Planner::operator()(const CancelInput& input) {
  if (s_.killed || (s_.cancelling && !input.kill)) return;
  emit({.act = 1, .data = CancelRequested{input.reason, input.kill}});
  if (!input.kill) return;
  for (const auto& [id, act] : s_.acts) {
    if (!act->step || act->kind == ActKind::body) continue;
    if (act->step->counted) turn.actions.push_back(StopActivity{id, act->step->attempt});
    if (act->step->mode == StepMode::child)
      turn.actions.push_back(StopChild{act->step->child, input.reason, true});
  }
  end_run(*s_.find(1));
}

void Planner::operator()(const SignalInput& input) {
  emit({.act = 1, .shown = true, .data = SignalReceived{input.name, input.value}});
  const auto it = s_.listening.find(input.name);
  if (it != s_.listening.end() && !it->second.empty()) try_signal(*s_.find(*it->second.begin()));
}

void Planner::operator()(const TickInput&) {
  while (!s_.timers.empty() && s_.timers.begin()->first <= now_)
    on_timer(*s_.find(s_.timers.begin()->second));
}

void Planner::operator()(const RecoverInput& input) {
  if (input.cancel) (*this)(*input.cancel);
  if (s_.status != RunStatus::running && s_.status != RunStatus::paused) return;
  s_.ready.clear();
  std::vector<ActId> ids;
  for (const auto& [id, act] : s_.acts) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const ActId id : ids) {
    Act* act = s_.find(id);
    if (act == nullptr) continue;  // ended by what was decided about another
    act->queued = false;
    act->awaiting_session = false;
    if (act->agent) act->agent->asked_history = false;
    s_.wake(*act);
    if (act->kind == ActKind::step) recover_step(*act);
  }
  (*this)(TickInput{});
}

// ---- decisions

void Planner::run() {
  while (!s_.ready.empty()) {
    if (turn.events.size() >= max_events_per_turn) {
      turn.more = true;
      return;
    }
    const ActId id = s_.ready.front();
    s_.ready.pop_front();
    Act* act = s_.find(id);
    if (act == nullptr) continue;
    act->queued = false;
    decide(*act);
  }
  if (s_.status == RunStatus::running && waits_for_people())
    emit({.act = 1, .shown = true, .data = RunPaused{}});
}

// Whether all that is left is questions to people. A sleep or a wait for a signal is not.
bool Planner::waits_for_people() const {
  if (s_.asking == 0) return false;
  for (const auto& [id, act] : s_.acts) {
    if (act->awaiting_session) return false;
    if (act->kind == ActKind::agent && act->agent->phase == AgentPhase::history) return false;
    if (act->kind == ActKind::step && act->step->phase != StepPhase::asking) return false;
    if (act->kind == ActKind::tool && act->step->phase == StepPhase::backing_off) return false;
  }
  return true;
}

void Planner::emit(Event event) {
  if (s_.status == RunStatus::paused && !std::holds_alternative<RunContinued>(event.data)) {
    emit({.act = 1, .shown = true, .data = RunContinued{}});
  }
  event.time = now_;
  apply(s_, event);
  turn.events.push_back(std::move(event));
}

// An event of an activation that exists.
void Planner::emit(const Act& act, EventData data, bool shown, std::string path) {
  emit({.act = act.id,
        .node = act.node,
        .shown = shown,
        .role = act.role == Role::call ? Role::call : Role::statement,
        .path = std::move(path),
        .data = std::move(data)});
}

// The first event of a new activation, for the statement `node` of the block of `parent`.
void Planner::emit_new(const Act& parent, ir::NodeId node, EventData data, bool shown,
                       std::string path) {
  emit({.act = s_.last_act + 1,
        .parent = parent.id,
        .node = node,
        .shown = shown,
        .path = std::move(path),
        .data = std::move(data)});
}

Act& Planner::emit_step(const Launch& launch, EventData data) {
  if (launch.existing != nullptr) {
    emit(*launch.existing, std::move(data), true, launch.path);
    return *s_.find(launch.existing->id);
  }
  emit({.act = s_.last_act + 1,
        .parent = launch.block.id,
        .node = launch.id,
        .shown = true,
        .role = launch.role,
        .path = launch.path,
        .label = launch.label,
        .data = std::move(data)});
  return *s_.find(s_.last_act);
}

std::string Planner::outer_path(const Act& act) const {
  const Act* parent = s_.find(act.parent);
  return child_path(parent == nullptr ? "" : parent->path, program_[act.node].name);
}

void Planner::decide(Act& act) {
  switch (act.kind) {
    case ActKind::step:
      return decide_step(act);
    case ActKind::parallel:
      return decide_parallel(act);
    case ActKind::for_each:
      return decide_for(act);
    case ActKind::loop:
      return decide_loop(act);
    case ActKind::tool:
      if (act.step->phase == StepPhase::backing_off || act.step->phase == StepPhase::asking) {
        if (act.stopping) cancel_step(act);
        return;
      }
      break;
    case ActKind::agent:
      if (act.step->phase == StepPhase::asking) {
        if (act.stopping) cancel_step(act);
        return;
      }
      return decide_agent(act);
    case ActKind::body:
    case ActKind::arm:
    case ActKind::branch:
    case ActKind::iteration:
    case ActKind::try_:
      break;
  }
  if (act.busy) return;
  if (!at_end(act)) return begin_statement(act);
  switch (act.kind) {
    case ActKind::body:
      return end_run(act);
    case ActKind::tool:
      return end_tool(act);
    case ActKind::try_:
      return decide_try(act);
    case ActKind::arm:
      return emit(act, ContainerEnded{}, true, outer_path(act));
    case ActKind::branch:
    case ActKind::iteration:
      return emit(act, ContainerEnded{}, false);
    case ActKind::step:
    case ActKind::parallel:
    case ActKind::for_each:
    case ActKind::loop:
    case ActKind::agent:
      break;
  }
}

bool Planner::at_end(const Act& act) const {
  return act.stopping || act.exit != Exit::none || !act.block ||
         act.pc >= program_[act.block].statements.size();
}

// Everything in the body has ended: compensation, then the hook, then the end itself.
void Planner::end_run(Act& act) {
  const bool failed = s_.cancelling || act.step->stop_error || act.exit == Exit::failed;
  if (failed && !s_.killed && (begin_undo(act) || begin_hook(act))) return;
  for (const std::string& follower : s_.followers)
    turn.actions.push_back(StopChild{follower, "run " + s_.run_id + " has ended", s_.killed});
  if (s_.usage.calls > 0) emit({.act = 1, .data = UsageRecorded{s_.usage}});
  if (s_.cancelling) return emit({.act = 1, .shown = true, .data = RunCancelled{s_.cancel_reason}});
  if (act.step->stop_error)
    return emit({.act = 1, .shown = true, .data = RunFailed{*act.step->stop_error}});
  if (act.exit == Exit::failed)
    return emit({.act = 1, .shown = true, .data = RunFailed{act.exit_error}});
  Value value = act.exit == Exit::returned ? act.exit_value : Value();
  emit({.act = 1, .shown = true, .data = RunCompleted{std::move(value)}});
}

Turn begin(RunState& state, RunStarted event, Millis now, Limits limits) {
  Planner planner(state, now);
  planner.begin(std::move(event), limits);
  return std::move(planner.turn);
}

Turn start(RunState& state, RunStarted event, Millis now) {
  Planner planner(state, now);
  planner.begin(std::move(event), {});
  planner.run();
  return std::move(planner.turn);
}

Turn advance(RunState& state, const Input& input, Millis now) {
  Planner planner(state, now);
  // What is answered at once goes on with the same turn.
  if (!std::holds_alternative<HistoryInput>(input) && !std::holds_alternative<SessionInput>(input))
    state.unsaved_history.clear();
  if (state.status == RunStatus::running || state.status == RunStatus::paused) {
    std::visit(planner, input);
    if (state.status == RunStatus::running || state.status == RunStatus::paused) planner.run();
  }
  return std::move(planner.turn);
}

}  // namespace kflow::machine
