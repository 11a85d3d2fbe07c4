// How events of steps, tools and questions change the state.
#include <algorithm>

#include "runtime/machine/applier.hpp"

namespace kflow::machine {

using cel::Value;

void Applier::operator()(const StepStarted& p) {
  Act* act = s_.find(e_.act);
  if (act == nullptr) act = &add_step();
  StepData& step = *act->step;
  if (p.attempt == 1) {
    step.input = p.input;
    step.key = p.key;
    step.started_at = e_.time;
    step.deadline = p.deadline;
    step.attempt_timeout_ms = p.attempt_timeout_ms;
  }
  close_ask(*act);
  step.attempt = p.attempt;
  step.mode = p.mode;
  step.child = p.child;
  step.orphaned = false;
  if (p.reason == StartReason::interrupted) ++step.interruptions;
  step.told = false;
  step.attempt_started_at = e_.time;
  step.attempt_deadline = p.attempt_deadline;
  step.wake = p.timer;
  switch (p.mode) {
    case StepMode::effect:
      set_phase(*act, p.timer == never ? StepPhase::in_flight : StepPhase::sleeping);
      break;
    case StepMode::timer:
      set_phase(*act, StepPhase::sleeping);
      break;
    case StepMode::signal:
      s_.listening[signal_name(*act)].insert(act->id);
      [[fallthrough]];
    case StepMode::run:
    case StepMode::child:
      set_phase(*act, StepPhase::waiting);
      break;
    case StepMode::at_once:
      set_phase(*act, StepPhase::waiting);
      if (!p.child.empty() && std::get<ir::StepNode>(program_[e_.node].data).options.cancel_at_end)
        s_.followers.push_back(p.child);
      break;
  }
  if (act->stopping) s_.wake(*act);
}

void Applier::operator()(const StepCompleted& p) {
  Act& act = own();
  if (act.step->mode == StepMode::signal) take_signal(act);
  if (act.role == Role::call) return end_call(act, p.value, nullptr);
  record_value(act, p.value, [&] {
    return make_facts("COMPLETED", act.step->attempt, act.step->started_at, e_.time, nullptr,
                      used_by(act));
  });
  remember_undo(act, p.undo);
  end_child(act, Exit::none);
}

void Applier::operator()(const Asked& p) {
  Act* act = s_.find(e_.act);
  if (act == nullptr) {
    act = &add_step();
    act->step->input = p.input;
    act->step->started_at = e_.time;
    act->step->attempt_started_at = e_.time;
  }
  act->step->asks = p.number;
  act->step->ask = std::make_unique<Asked>(p);
  act->step->attempt_started_at = e_.time;
  act->step->wake = p.expires;
  ++s_.asking;
  act->busy = true;  // of a tool: nothing to decide until the answer
  set_phase(*act, StepPhase::asking);
  if (act->stopping) s_.wake(*act);
}

void Applier::operator()(const StepRetryScheduled& p) {
  Act& act = own();
  act.step->last_error = caused(p.error);
  act.step->wake = p.due;
  if (act.kind == ActKind::tool) {
    act.block = {};
    act.pc = 0;
    act.exit = Exit::none;
    act.busy = true;  // nothing to decide until the timer
  }
  set_phase(act, StepPhase::backing_off);
  if (act.stopping) s_.wake(act);
}

void Applier::operator()(const StepFailed& p) {
  Act& act = own();
  if (act.step->mode == StepMode::signal && p.error.kind == "type") take_signal(act);
  if (act.role == Role::call) {
    const RunError error = caused(p.error);
    return end_call(act, {}, &error);
  }
  record_value(act, p.value, [&] {
    return make_facts("ERROR", act.step->attempt, act.step->started_at, e_.time, &p.error,
                      used_by(act));
  });
  remember_undo(act, p.undo);
  RunError error = caused(p.error);
  // What failed inside is what a resumed run begins with.
  if (act.agent && act.agent->failure) {
    error.cause_seq = act.agent->failure->cause_seq;
  } else if (act.kind == ActKind::tool && act.exit == Exit::failed && !act.step->stop_error) {
    error.cause_seq = act.exit_error.cause_seq;
  }
  end_child(act, p.continued ? Exit::none : Exit::failed, {}, std::move(error));
}

void Applier::operator()(const StopRequested& p) {
  Act& act = own();
  act.step->stop_error = p.error;
  if (act.step->stop_error) act.step->stop_error->cause_seq = s_.events;
  if (act.kind == ActKind::step) {
    act.step->wake =
        e_.time + (act.step->mode == StepMode::child ? child_stop_deadline_ms : stop_deadline_ms);
    set_phase(act, StepPhase::stopping);
    return;
  }
  act.step->deadline = never;
  act.step->attempt_deadline = never;
  retime(act);
  stop_inside(act, true);
}

void Applier::operator()(const StepCancelled& p) {
  Act& act = own();
  if (act.role == Role::call) {
    const RunError error{
        .kind = "cancelled", .code = "cancelled", .message = "it was stopped", .step = act.path};
    return end_call(act, {}, &error);
  }
  remember_undo(act, p.undo);
  end_child(act, Exit::cancelled);
}

void Applier::operator()(const UsageRecorded& p) {
  Act& act = own();
  if (act.kind == ActKind::body) return;  // the state has it
  act.step->used += p.usage;
  count_usage(s_, act, p.usage);
}

void Applier::operator()(const BudgetSet& p) {
  s_.usd_limit = p.usd;
  s_.token_limit = p.tokens;
}

void Applier::operator()(const LetEvaluated& p) {
  Act& act = own();
  set_slot(*act.frame, std::get<ir::LetNode>(program_[e_.node].data).slot, p.value);
  next(act);
}

void Applier::operator()(const ToolEntered& p) {
  Act* act = s_.find(e_.act);
  if (act == nullptr) act = &add_step();
  act->kind = ActKind::tool;
  if (p.attempt == 1) {
    act->step->started_at = e_.time;
    act->step->input = p.input;
    act->step->deadline = p.deadline;
  }
  close_ask(*act);
  if (act->step->counted) --s_.effects;
  act->step->counted = false;
  act->step->attempt = p.attempt;
  act->step->attempt_started_at = e_.time;
  act->step->wake = never;
  act->step->phase = StepPhase::in_flight;
  act->busy = false;
  const ir::StepNode& node = std::get<ir::StepNode>(program_[e_.node].data);
  enter_callable(*act, program_[node.call.callable], act->step->input);
  retime(*act);
  s_.wake(*act);
}

Value Applier::used_by(const Act& act) {
  const UsageTotal& u = act.agent != nullptr ? act.agent->total : act.step->used;
  return act.agent == nullptr && u.calls == 0 ? Value() : to_value(u);
}

Act& Applier::add_step() {
  Act& outer = parent();
  Act& act = add(ActKind::step, &outer);
  act.role = e_.role;
  act.frame = outer.frame;
  act.path = e_.path;
  act.step = std::make_unique<StepData>();
  if (e_.role == Role::call) {
    begin_part(outer, act);
    return act;
  }
  outer.busy = true;
  if (e_.role == Role::statement) return act;
  act.stopping = false;
  if (e_.role == Role::hook) {
    s_.hook_called = true;
  } else {
    take_undo(outer);
  }
  if (outer.kind == ActKind::body) {
    outer.step->deadline = never;
    retime(outer);
  }
  return act;
}

std::string Applier::signal_name(const Act& act) {
  const Value* name = act.step->input.find("name");
  return name != nullptr && name->kind() == cel::Kind::string ? std::string(name->as_string())
                                                              : std::string();
}

void Applier::take_signal(const Act& act) {
  const auto it = s_.mailbox.find(signal_name(act));
  if (it == s_.mailbox.end() || it->second.empty()) return;
  it->second.pop_front();
  if (it->second.empty()) s_.mailbox.erase(it);
}

void Applier::close_ask(Act& act) {
  if (!act.step->ask) return;
  act.step->ask.reset();
  act.step->wake = never;
  act.busy = false;
  --s_.asking;
  retime(act);
}

void Applier::remember_undo(const Act& act, const std::optional<UndoPlan>& plan) {
  if (!plan) return;
  const ir::NodeId node = std::get<ir::StepNode>(program_[act.node].data).options.undo;
  UndoEntry entry{
      .node = node, .path = act.path + "." + program_[node].name, .plan = *plan, .tries = {}};
  for (const Act* up = s_.find(act.parent); up != nullptr; up = s_.find(up->parent)) {
    if (up->kind == ActKind::try_ && up->phase == TryPhase::body &&
        std::get<ir::TryNode>(program_[up->node].data).compensate) {
      entry.tries.push_back(up->id);
    }
  }
  s_.undo.push_back(std::move(entry));
}

void Applier::take_undo(const Act& outer) {
  s_.undone = true;
  for (size_t i = s_.undo.size(); i-- > 0;) {
    const auto& tries = s_.undo[i].tries;
    if (outer.kind != ActKind::body &&
        std::find(tries.begin(), tries.end(), outer.id) == tries.end())
      continue;
    s_.undo.erase(s_.undo.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
}

}  // namespace kflow::machine
