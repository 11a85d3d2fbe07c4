// apply: folds one event into the state; events of the run itself, and what all the others share.
#include <algorithm>

#include "runtime/machine/applier.hpp"
#include "runtime/machine/arguments.hpp"

namespace kflow::machine {

using cel::Value;

void Applier::operator()(const RunStarted& p) {
  KFLOW_CHECK(e_.act == 1 && s_.last_act == no_act, "a run starts once");
  s_.run_id = p.run_id;
  s_.session_id = p.session_id;
  s_.user_id = p.user_id;
  s_.workflow = p.workflow;
  s_.session = p.session;
  s_.parent_id = p.parent_id;
  s_.started_at = e_.time;
  s_.status = RunStatus::running;
  Act& body = add(ActKind::body, nullptr);
  const ir::Callable& workflow = program_[p.workflow];
  enter_callable(body, workflow, p.input);
  body.step = std::make_unique<StepData>();
  body.step->deadline = p.deadline;
  s_.time_limit_ms = p.deadline == never ? 0 : p.deadline - e_.time;
  retime(body);
}

void Applier::operator()(const CancelRequested& p) {
  s_.cancelling = true;
  s_.cancel_reason = p.reason;
  s_.killed = p.kill;
  stop_inside(own(), true);
}

void Applier::operator()(const RunCompleted& p) {
  s_.result = p.value;
  end_run(RunStatus::completed);
}

void Applier::operator()(const RunFailed& p) {
  const Act& body = own();
  s_.failed_at =
      body.step->stop_error ? body.step->stop_error->cause_seq : body.exit_error.cause_seq;
  s_.error = p.error;
  s_.error.cause_seq = s_.failed_at;
  end_run(RunStatus::error);
}

void Applier::operator()(const RunResumed& p) {
  KFLOW_CHECK(s_.status == RunStatus::running || s_.status == RunStatus::paused,
              "a run is resumed on its state before the failure");
  s_.status = RunStatus::running;
  s_.attempt = p.attempt;
  s_.last_act = p.last_act;
  Act& body = *s_.find(1);
  body.step->deadline = p.deadline;
  retime(body);
}

void Applier::operator()(const RunForked& p) {
  s_.run_id = p.run_id;
  s_.session_id = p.session_id;
  s_.session = p.session;
  s_.parent_id.clear();
  s_.attempt = 1;
  s_.started_at = e_.time;
  s_.undo.clear();
  s_.mailbox.clear();
  s_.followers.clear();
  for (auto& [id, act] : s_.acts) {
    if (act->kind == ActKind::step) act->step->orphaned = true;
  }
  Act& body = *s_.find(1);
  body.step->deadline = s_.time_limit_ms > 0 ? e_.time + s_.time_limit_ms : never;
  retime(body);
}

void Applier::operator()(const SignalReceived& p) {
  auto& box = s_.mailbox[p.name];
  box.push_back(p.value);
  if (box.size() > max_mailbox) box.pop_front();
}

void Applier::operator()(const SessionSet& p) {
  s_.session = p.state;
  Act& act = own();
  act.awaiting_session = false;
  next(act);
}

Act& Applier::add(ActKind kind, Act* parent) {
  KFLOW_CHECK(e_.act == s_.last_act + 1, "activations are numbered in order");
  s_.last_act = e_.act;
  auto made = std::make_unique<Act>();
  Act& act = *made;
  act.id = e_.act;
  act.kind = kind;
  act.node = e_.node;
  act.started_at = e_.time;
  if (parent != nullptr) {
    act.parent = parent->id;
    act.stopping = parent->stopping;
    act.path = parent->path;
  }
  s_.acts.emplace(act.id, std::move(made));
  s_.wake(act);
  return act;
}

Act& Applier::add_inside(ActKind kind) {
  Act& act = add(kind, &parent());
  act.frame = parent().frame;
  parent().busy = true;
  return act;
}

void Applier::open_frame(Act& act, ir::ScopeId scope, Frame* outer) {
  act.own_frame = std::make_unique<Frame>();
  act.own_frame->scope = scope;
  act.own_frame->parent = outer;
  act.own_frame->slots.resize(program_[scope].slots.size());
  act.frame = act.own_frame.get();
}

void Applier::enter_callable(Act& act, const ir::Callable& callable, const Value& input) {
  open_frame(act, callable.scope, nullptr);
  for (size_t i = 0; i < callable.params.size(); ++i) {
    const ir::Param& p = callable.params[i];
    if (const Value* v = argument_of(p, input))
      act.frame->slots[i] = schema::with_present_names(program_.types, p.type, *v);
  }
  act.block = callable.body;
  act.pc = 0;
  act.exit = Exit::none;
}

void Applier::remove(Act& act) {
  if (act.step) close_ask(act);
  if (act.step && act.step->counted) --s_.effects;
  if (act.step && act.step->mode == StepMode::signal) {
    const auto it = s_.listening.find(signal_name(act));
    if (it != s_.listening.end() && it->second.erase(act.id) > 0 && it->second.empty())
      s_.listening.erase(it);
  }
  s_.set_timer(act.id, never);
  s_.acts.erase(act.id);
}

void Applier::set_phase(Act& act, StepPhase phase) {
  StepData& step = *act.step;
  if (step.counted) --s_.effects;
  step.phase = phase;
  step.counted = act.kind == ActKind::step && step.mode == StepMode::effect &&
                 (phase == StepPhase::in_flight || phase == StepPhase::stopping);
  if (step.counted) ++s_.effects;
  retime(act);
}

void Applier::leave(Act& act, Exit exit, Value value, RunError error) {
  act.exit = exit;
  act.exit_value = std::move(value);
  act.exit_error = std::move(error);
  s_.wake(act);
}

void Applier::end_child(Act& act, Exit exit, Value value, RunError error) {
  Act* outer = s_.find(act.parent);
  KFLOW_CHECK(outer != nullptr, "an activation without its parent");
  const Role role = act.role;
  remove(act);
  outer->busy = false;
  if (role != Role::statement)
    return s_.wake(*outer);  // what comes of a compensation changes nothing
  if (exit == Exit::none) return next(*outer);
  // A child that was cancelled without its block being stopped can only be a step given up; it
  // ends the block too.
  leave(*outer, exit, std::move(value), std::move(error));
}

void Applier::set_slot(Frame& frame, ir::Slot slot, Value value) {
  if (slot == ir::no_slot) return;
  // A statement of another scope would write beside the frame.
  KFLOW_CHECK(slot < frame.slots.size(), "a name of its own scope");
  frame.slots[slot] = schema::with_present_names(
      program_.types, program_[frame.scope].slots[slot].type, std::move(value));
}

void Applier::stop_inside(Act& root, bool itself) {
  std::vector<ActId> ids;
  for (const auto& [id, act] : s_.acts) {
    if (inside(*act, root)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  if (itself) mark(root);
  for (const ActId id : ids) mark(*s_.find(id));
}

bool Applier::inside(const Act& act, const Act& root) const {
  if (act.id == root.id) return false;
  for (const Act* up = &act; up != nullptr; up = s_.find(up->parent)) {
    if (up->id == root.id) return true;
    if (up->kind == ActKind::try_ && up->phase == TryPhase::finally) return false;
    if (up->role == Role::undo || up->role == Role::hook) return false;
  }
  return false;
}

void Applier::end_run(RunStatus status) {
  s_.status = status;
  s_.acts.clear();
  s_.timers.clear();
  s_.due.clear();
  s_.ready.clear();
  s_.effects = 0;
  s_.asking = 0;
  s_.undo.clear();
  s_.mailbox.clear();
  s_.listening.clear();
}

Value Applier::make_facts(std::string_view status, uint32_t attempts, Millis started, Millis ended,
                          const RunError* error, Value usage,
                          std::initializer_list<std::pair<std::string_view, Value>> more) {
  const auto moment = [](Millis ms) {
    return Value::timestamp(
        {.seconds = ms / 1000, .nanos = static_cast<int32_t>(ms % 1000) * 1'000'000});
  };
  cel::MapBuilder facts;
  facts.add("status", Value::string(status));
  facts.add("attempts", Value::integer(attempts));
  facts.add("started_at", moment(started));
  facts.add("ended_at", moment(ended));
  facts.add("duration", Value::duration({.nanos = (ended - started) * 1'000'000}));
  facts.add("usage", std::move(usage));
  facts.add("error", error == nullptr ? Value::null() : to_value(*error));
  for (const auto& [key, value] : more) facts.add(key, value);
  return std::move(facts).take();
}

namespace {

// Drops the ids of activations that are gone; a long fold would pile them up.
void compact_ready(RunState& state) {
  if (state.ready.size() < 64 || state.ready.size() < 4 * state.acts.size()) return;
  std::erase_if(state.ready, [&](ActId id) { return state.find(id) == nullptr; });
}

}  // namespace

void RunState::set_timer(ActId id, Millis when) {
  const auto it = due.find(id);
  if (it != due.end()) {
    if (it->second == when) return;
    timers.erase({it->second, id});
    due.erase(it);
  }
  if (when == never) return;
  timers.insert({when, id});
  due.emplace(id, when);
}

std::string child_path(std::string_view outer, std::string_view name) {
  std::string path(outer);
  if (!path.empty()) path.push_back('.');
  return path.append(name);
}

Millis due_of(const Act& act) {
  if (!act.step) return never;
  const StepData& step = *act.step;
  switch (step.phase) {
    case StepPhase::in_flight:
      return std::min(step.deadline, step.attempt_deadline);
    case StepPhase::sleeping:
    case StepPhase::backing_off:
      return std::min(step.deadline, step.wake);
    case StepPhase::stopping:
    case StepPhase::asking:
      return step.wake;
    case StepPhase::waiting:
      return step.deadline;
  }
  std::unreachable();
}

void RunStateDeleter::operator()(RunState* state) const { delete state; }

RunStatePtr make_state(std::shared_ptr<const ir::Program> program) {
  return RunStatePtr(new RunState(std::move(program)));
}

void apply(RunState& state, const Event& event) {
  std::visit(Applier(state, event), event.data);
  ++state.events;
  if (event.shown) ++state.shown_events;
  compact_ready(state);
}

}  // namespace kflow::machine
