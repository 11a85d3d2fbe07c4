// apply: folds one event into the state. Reads only; no expression is ever evaluated here.
#include <algorithm>

#include "compiler/base/check.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {
namespace {

using cel::Value;

// The record `info(name)` gives.
Value make_facts(std::string_view status, uint32_t attempts, Millis started, Millis ended,
                 const RunError* error, Value usage = {},
                 std::initializer_list<std::pair<std::string_view, Value>> more = {}) {
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

class Applier {
 public:
  Applier(RunState& state, const Event& event) : s_(state), e_(event), program_(*state.program) {}

  void operator()(const RunStarted& p) {
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

  void operator()(const CancelRequested& p) {
    s_.cancelling = true;
    s_.cancel_reason = p.reason;
    s_.killed = p.kill;
    stop_inside(own(), true);
  }

  void operator()(const RunCompleted& p) {
    s_.result = p.value;
    end_run(RunStatus::completed);
  }
  void operator()(const RunFailed& p) {
    const Act& body = own();
    s_.failed_at =
        body.step->stop_error ? body.step->stop_error->cause_seq : body.exit_error.cause_seq;
    s_.error = p.error;
    s_.error.cause_seq = s_.failed_at;
    end_run(RunStatus::error);
  }
  void operator()(const RunCancelled&) { end_run(RunStatus::cancelled); }
  void operator()(const RunPaused&) { s_.status = RunStatus::paused; }
  void operator()(const RunContinued&) { s_.status = RunStatus::running; }

  void operator()(const RunResumed& p) {
    KFLOW_CHECK(s_.status == RunStatus::running || s_.status == RunStatus::paused,
                "a run is resumed on its state before the failure");
    s_.status = RunStatus::running;
    s_.attempt = p.attempt;
    s_.last_act = p.last_act;
    Act& body = *s_.find(1);
    body.step->deadline = p.deadline;
    retime(body);
  }

  void operator()(const RunForked& p) {
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

  void operator()(const RunMoved&) {}

  void operator()(const SignalReceived& p) {
    auto& box = s_.mailbox[p.name];
    box.push_back(p.value);
    if (box.size() > max_mailbox) box.pop_front();
  }

  void operator()(const StepStarted& p) {
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
        if (!p.child.empty() &&
            std::get<ir::StepNode>(program_[e_.node].data).options.cancel_at_end)
          s_.followers.push_back(p.child);
        break;
    }
    if (act->stopping) s_.wake(*act);
  }

  void operator()(const StepCompleted& p) {
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

  void operator()(const Asked& p) {
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
  void operator()(const Answered&) { close_ask(own()); }

  void operator()(const SessionSet& p) {
    s_.session = p.state;
    Act& act = own();
    act.awaiting_session = false;
    next(act);
  }

  void operator()(const StepRetryScheduled& p) {
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

  void operator()(const StepFailed& p) {
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

  void operator()(const StopRequested& p) {
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

  void operator()(const StepCancelled& p) {
    Act& act = own();
    if (act.role == Role::call) {
      const RunError error{
          .kind = "cancelled", .code = "cancelled", .message = "it was stopped", .step = act.path};
      return end_call(act, {}, &error);
    }
    remember_undo(act, p.undo);
    end_child(act, Exit::cancelled);
  }

  // ---- agents
  void operator()(const AgentEntered& p) {
    Act* act = s_.find(e_.act);
    if (act == nullptr) act = &add_step();
    act->kind = ActKind::agent;
    act->step->started_at = e_.time;
    act->step->input = p.input;
    act->step->deadline = p.deadline;
    act->step->attempt_timeout_ms = p.attempt_timeout_ms;
    close_ask(*act);
    if (act->step->counted) --s_.effects;
    act->step->counted = false;
    act->step->attempt_started_at = e_.time;
    act->step->wake = never;
    act->step->attempt_deadline = never;
    act->step->phase = StepPhase::in_flight;
    act->busy = false;
    act->agent = std::make_unique<AgentData>();
    AgentData& data = *act->agent;
    const ir::Callable& agent = callable_of(s_, *act);
    data.system = p.system;
    data.messages = p.context;
    data.messages.push_back(p.message);
    data.context = static_cast<uint32_t>(data.messages.size());
    data.usd_limit = p.usd_limit;
    data.token_limit = p.token_limit;
    const bool remembers = agent.agent.history > 0 && !s_.session_id.empty();
    data.phase = remembers ? AgentPhase::history : AgentPhase::input;
    enter_callable(*act, agent, act->step->input);
    retime(*act);
    s_.wake(*act);
  }
  void operator()(const AgentBegan&) {}
  void operator()(const HistoryGiven& p) {
    Act& act = own();
    AgentData& data = *act.agent;
    data.messages.insert(data.messages.begin(), p.messages.begin(), p.messages.end());
    data.context += static_cast<uint32_t>(p.messages.size());
    data.phase = AgentPhase::input;
    s_.wake(act);
  }
  void operator()(const MembersCalled&) {
    Act& act = own();
    AgentData& data = *act.agent;
    const ir::AgentOptions& agent = callable_of(s_, act).agent;
    for (uint32_t i = 0; i < agent.members; ++i) {
      ToolCall call;
      call.id = "member_" + std::to_string(i + 1);
      call.name = agent.tools[i].name;
      data.calls.push_back(std::move(call));
    }
    data.phase = AgentPhase::calls;
    s_.wake(act);
  }
  void operator()(const CallAnswered& p) {
    Act& act = own();
    KFLOW_CHECK(p.index < act.agent->calls.size(), "a call that was not made");
    ToolCall& call = act.agent->calls[p.index];
    call.answered = true;
    call.is_error = p.is_error;
    call.value = Value::string(p.text);
    if (p.tasks.kind() == cel::Kind::list) set_tasks(*act.agent, p.tasks);
    settle_calls(s_, act);
    s_.wake(act);
  }
  void operator()(const Told& p) {
    Act& act = own();
    AgentData& data = *act.agent;
    data.calls.clear();
    data.messages.push_back(conversation::to_value(conversation::user_text(p.text)));
    data.reasks += p.reask;
    data.guard = 0;
    data.phase = AgentPhase::turn;
    s_.wake(act);
  }
  void operator()(const AnswerGiven& p) {
    Act& act = own();
    act.agent->answer = p.value;
    act.agent->answer_text = p.text;
    act.agent->phase = AgentPhase::output;
    act.agent->guard = 0;
    s_.wake(act);
  }
  void operator()(const AgentEnded&) { own().agent->phase = AgentPhase::done; }
  void operator()(const AgentFailed& p) {
    Act& act = own();
    AgentData& data = *act.agent;
    if (!data.failure) {
      // An answer that is no good is asked for again when the run is resumed.
      const bool answered = data.phase == AgentPhase::answer || data.phase == AgentPhase::output;
      data.failure = p.error;
      data.failure->cause_seq = act.step->stop_error         ? act.step->stop_error->cause_seq
                                : answered && data.turns > 0 ? data.turn_seq
                                                             : s_.events;
    }
    data.phase = AgentPhase::done;
  }
  void operator()(const UsageRecorded& p) {
    Act& act = own();
    if (act.kind == ActKind::body) return;  // the state has it
    act.step->used += p.usage;
    count_usage(s_, act, p.usage);
  }
  void operator()(const ContentDelta&) { own().step->told = true; }
  void operator()(const ContentReset&) { own().step->told = false; }
  void operator()(const Trimmed&) { own().step->told = true; }
  void operator()(const BudgetSet& p) {
    s_.usd_limit = p.usd;
    s_.token_limit = p.tokens;
  }

  void operator()(const LetEvaluated& p) {
    Act& act = own();
    set_slot(*act.frame, std::get<ir::LetNode>(program_[e_.node].data).slot, p.value);
    next(act);
  }
  void operator()(const Emitted&) { next(own()); }
  void operator()(const Left& p) {
    Act& act = own();
    switch (p.how) {
      case Left::How::returned:
        leave(act, Exit::returned, p.value, {});
        break;
      case Left::How::failed:
        leave(act, Exit::failed, {}, caused(p.error));
        break;
      case Left::How::broke:
        leave(act, Exit::broke, {}, {});
        break;
      case Left::How::continued:
        leave(act, Exit::continued, {}, {});
        break;
    }
  }

  void operator()(const ToolEntered& p) {
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

  void operator()(const ArmTaken& p) {
    Act& act = add_inside(ActKind::arm);
    const ir::NodeData& data = program_[e_.node].data;
    if (const auto* node = std::get_if<ir::IfNode>(&data)) {
      if (p.arm < node->arms.size()) act.block = node->arms[p.arm].body;
    } else if (const auto* match = std::get_if<ir::MatchNode>(&data)) {
      if (p.arm < match->arms.size()) act.block = match->arms[p.arm].body;
    }
  }

  void operator()(const ParallelStarted&) {
    Act& act = add_inside(ActKind::parallel);
    act.fan = std::make_unique<FanData>();
    act.fan->total = std::get<ir::ParallelNode>(program_[e_.node].data).branches.size();
  }

  void operator()(const BranchStarted& p) {
    Act& fan = parent();
    Act& act = add(ActKind::branch, &fan);
    act.frame = fan.frame;
    act.index = p.branch;
    const auto& branches = std::get<ir::ParallelNode>(program_[fan.node].data).branches;
    KFLOW_CHECK(fan.fan != nullptr && p.branch < branches.size(), "a branch of its parallel");
    const auto& branch = branches[p.branch];
    act.block = branch.body;
    if (!branch.name.empty()) act.path = child_path(fan.path, branch.name);
    ++fan.fan->next;
    ++fan.fan->running;
    s_.wake(fan);
  }

  void operator()(const ForStarted& p) {
    Act& act = add_inside(ActKind::for_each);
    act.path = child_path(parent().path, program_[e_.node].name);
    act.fan = std::make_unique<FanData>();
    KFLOW_CHECK(p.items.kind() == cel::Kind::list || p.items.kind() == cel::Kind::map,
                "a for visits a list or a map");
    act.fan->items = p.items;
    act.fan->total = static_cast<uint64_t>(p.items.size());
    act.fan->results.resize(std::get<ir::ForNode>(program_[e_.node].data).exports.size());
  }

  void operator()(const LoopStarted& p) {
    Act& act = add_inside(ActKind::loop);
    act.path = child_path(parent().path, program_[e_.node].name);
    act.loop = std::make_unique<LoopData>();
    act.loop->max = p.max;
    const auto& node = std::get<ir::LoopNode>(program_[e_.node].data);
    act.block = node.body;
    open_frame(act, node.scope, parent().frame);
  }

  void operator()(const IterationStarted& p) {
    if (e_.parent == no_act) return start_loop_iteration(own(), p.index);
    Act& fan = parent();
    const auto& node = std::get<ir::ForNode>(program_[fan.node].data);
    KFLOW_CHECK(fan.fan != nullptr && p.index < fan.fan->total, "an item of its for");
    Act& act = add(ActKind::iteration, &fan);
    act.index = p.index;
    act.block = node.body;
    act.path = fan.path + "[" + std::to_string(p.index) + "]";
    open_frame(act, node.scope, fan.frame);
    act.frame->iteration = p.index + 1;
    if (node.limit == 1) act.frame->previous = std::move(fan.fan->carried);
    fan.fan->carried.clear();
    const Value& items = fan.fan->items;
    Value key = Value::integer(static_cast<int64_t>(p.index));
    Value value;
    if (items.kind() == cel::Kind::map) {
      const cel::MapEntry& entry = items.as_map()[p.index];
      key = entry.key;
      value = node.key == ir::no_slot ? entry.key : entry.value;
    } else {
      value = items.as_list()[p.index];
    }
    set_slot(*act.frame, node.key, std::move(key));
    set_slot(*act.frame, node.value, std::move(value));
    ++fan.fan->next;
    ++fan.fan->running;
    s_.wake(fan);
  }

  void operator()(const LoopDecided& p) {
    Act& act = own();
    LoopData& loop = *act.loop;
    if (p.error) return leave(act, Exit::failed, {}, caused(*p.error));
    loop.exhausted = p.exhausted;
    if (!p.go_on) {
      loop.decided = true;
    } else if (p.after_iteration) {
      loop.started = false;
      loop.may_start = false;
      act.pc = 0;
      act.exit = Exit::none;
    } else {
      loop.may_start = true;
    }
    s_.wake(act);
  }

  void operator()(const TryStarted&) {
    Act& act = add_inside(ActKind::try_);
    act.block = std::get<ir::TryNode>(program_[e_.node].data).body;
  }

  void operator()(const CatchTaken& p) {
    Act& act = own();
    const auto& node = std::get<ir::TryNode>(program_[act.node].data);
    act.phase = TryPhase::handler;
    if (p.error) act.exit_error = caused(*p.error);
    if (p.arm < node.catches.size()) {
      const ir::TryNode::Catch& handler = node.catches[p.arm];
      set_slot(*act.frame, handler.error, to_value(act.exit_error));
      // The body may have done steps of the same names.
      act.path = child_path(act.path, "catch");
      act.block = handler.body;
      act.pc = 0;
      act.exit = Exit::none;
      act.exit_error = {};
    }
    s_.wake(act);
  }

  void operator()(const FinallyStarted&) {
    Act& act = own();
    act.saved_exit = act.stopping ? Exit::cancelled : act.exit;
    act.saved_value = std::move(act.exit_value);
    act.saved_error = std::move(act.exit_error);
    act.saved_stopping = act.stopping;
    act.exit = Exit::none;
    act.exit_value = {};
    act.stopping = false;
    act.phase = TryPhase::finally;
    act.path = s_.find(act.parent)->path;
    act.block = std::get<ir::TryNode>(program_[act.node].data).finally;
    act.pc = 0;
    s_.wake(act);
  }

  void operator()(const ContainerEnded&) {
    Act& act = own();
    switch (act.kind) {
      case ActKind::branch:
        return end_branch(act);
      case ActKind::iteration:
        return end_iteration(act);
      case ActKind::for_each:
        return end_for(act);
      case ActKind::loop:
        return end_loop(act);
      case ActKind::try_:
        return end_try(act);
      case ActKind::arm:
      case ActKind::parallel:
        return end_child(act, exit_of(act), act.exit_value, act.exit_error);
      case ActKind::body:
      case ActKind::step:
      case ActKind::tool:
      case ActKind::agent:
        break;
    }
    KFLOW_CHECK(false, "not a container");
  }

 private:
  // An error that arises in this event.
  RunError caused(RunError error) const {
    error.cause_seq = s_.events;
    return error;
  }

  // ---- agents
  static void set_tasks(AgentData& data, const Value& tasks) {
    data.tasks.clear();
    for (const Value& t : tasks.as_list()) {
      const auto text = [&](std::string_view name) {
        const Value* v = t.kind() == cel::Kind::map ? t.find(name) : nullptr;
        return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string())
                                                              : std::string();
      };
      const Value* done = t.kind() == cel::Kind::map ? t.find("done") : nullptr;
      data.tasks.push_back(
          {.title = text("title"),
           .done = done != nullptr && done->kind() == cel::Kind::boolean && done->as_bool(),
           .result = text("result")});
    }
  }

  // A call of the model, of a tool or of a guard begins.
  void begin_part(Act& outer, const Act& act) {
    KFLOW_CHECK(outer.agent != nullptr, "a part of an agent's turn stands in an agent");
    AgentData& data = *outer.agent;
    ++data.running;
    if (act.node == callable_of(s_, outer).agent.call) {
      data.phase = AgentPhase::model;
      data.turn_seq = s_.events;
      ++data.turns;
    } else if (data.phase == AgentPhase::calls) {
      ++data.made;
      for (ToolCall& call : data.calls) {
        if (call.answered || call.act != no_act) continue;
        call.act = act.id;
        break;
      }
    }
  }

  void end_call(Act& act, const Value& value, const RunError* error) {
    Act* outer = s_.find(act.parent);
    KFLOW_CHECK(outer != nullptr && outer->agent != nullptr,
                "a part of an agent's turn stands in an agent");
    take_part(s_, *outer, act, value, error);
    remove(act);
    --outer->agent->running;
    s_.wake(*outer);
  }

  // For `info(name).usage`.
  static Value used_by(const Act& act) {
    const UsageTotal& u = act.agent != nullptr ? act.agent->total : act.step->used;
    return act.agent == nullptr && u.calls == 0 ? Value() : to_value(u);
  }

  // ---- steps
  // A step of the parent's block, or of its compensation.
  Act& add_step() {
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

  static std::string signal_name(const Act& act) {
    const Value* name = act.step->input.find("name");
    return name != nullptr && name->kind() == cel::Kind::string ? std::string(name->as_string())
                                                                : std::string();
  }
  void take_signal(const Act& act) {
    const auto it = s_.mailbox.find(signal_name(act));
    if (it == s_.mailbox.end() || it->second.empty()) return;
    it->second.pop_front();
    if (it->second.empty()) s_.mailbox.erase(it);
  }
  void close_ask(Act& act) {
    if (!act.step->ask) return;
    act.step->ask.reset();
    act.step->wake = never;
    act.busy = false;
    --s_.asking;
    retime(act);
  }

  void remember_undo(const Act& act, const std::optional<UndoPlan>& plan) {
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
  // The newest entry that belongs to `outer`: of the run's body all do.
  void take_undo(const Act& outer) {
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

  // ---- activations
  Act& own() {
    Act* act = s_.find(e_.act);
    KFLOW_CHECK(act != nullptr, "an event of an activation that does not exist");
    return *act;
  }
  Act& parent() {
    Act* act = s_.find(e_.parent);
    KFLOW_CHECK(act != nullptr, "an activation without its parent");
    return *act;
  }

  Act& add(ActKind kind, Act* parent) {
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

  // A container statement of the parent's block.
  Act& add_inside(ActKind kind) {
    Act& act = add(kind, &parent());
    act.frame = parent().frame;
    parent().busy = true;
    return act;
  }

  void open_frame(Act& act, ir::ScopeId scope, Frame* outer) {
    act.own_frame = std::make_unique<Frame>();
    act.own_frame->scope = scope;
    act.own_frame->parent = outer;
    act.own_frame->slots.resize(program_[scope].slots.size());
    act.frame = act.own_frame.get();
  }

  void enter_callable(Act& act, const ir::Callable& callable, const Value& input) {
    open_frame(act, callable.scope, nullptr);
    for (size_t i = 0; i < callable.params.size(); ++i) {
      if (const Value* v = input.find(callable.params[i].name)) act.frame->slots[i] = *v;
    }
    act.block = callable.body;
    act.pc = 0;
    act.exit = Exit::none;
  }

  void remove(Act& act) {
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

  void set_phase(Act& act, StepPhase phase) {
    StepData& step = *act.step;
    if (step.counted) --s_.effects;
    step.phase = phase;
    step.counted = act.kind == ActKind::step && step.mode == StepMode::effect &&
                   (phase == StepPhase::in_flight || phase == StepPhase::stopping);
    if (step.counted) ++s_.effects;
    retime(act);
  }

  void retime(Act& act) { s_.set_timer(act.id, due_of(act)); }

  // ---- blocks
  void next(Act& act) {
    ++act.pc;
    s_.wake(act);
  }

  void leave(Act& act, Exit exit, Value value, RunError error) {
    act.exit = exit;
    act.exit_value = std::move(value);
    act.exit_error = std::move(error);
    s_.wake(act);
  }

  static Exit exit_of(const Act& act) {
    if (act.stopping && act.exit != Exit::failed) return Exit::cancelled;
    return act.exit;
  }

  // The statement that `act` executed has ended: tells the block it stands in, and removes it.
  void end_child(Act& act, Exit exit, Value value = {}, RunError error = {}) {
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

  void set_slot(Frame& frame, ir::Slot slot, Value value) {
    if (slot == ir::no_slot) return;
    // A statement of another scope would write beside the frame.
    KFLOW_CHECK(slot < frame.slots.size(), "a name of its own scope");
    frame.slots[slot] = std::move(value);
  }
  // `facts` makes them, if anything in the program looks at them.
  template <typename Facts>
  void set_facts(Frame& frame, ir::Slot slot, Facts facts) {
    if (slot == ir::no_slot) return;
    KFLOW_CHECK(slot < frame.slots.size(), "a name of its own scope");
    if (!program_[frame.scope].slots[slot].facts) return;
    if (frame.facts.empty()) frame.facts.resize(frame.slots.size());
    frame.facts[slot] = facts();
  }

  template <typename Facts>
  void record_value(Act& act, const Value& value, Facts facts) {
    Frame& frame = *s_.find(act.parent)->frame;
    const ir::Slot slot = std::get<ir::StepNode>(program_[act.node].data).slot;
    set_slot(frame, slot, value);
    set_facts(frame, slot, facts);
  }

  // ---- stopping
  // Marks everything inside `root` (and itself) so that nothing new begins there; the insides of a
  // `finally` that is running already are left to finish.
  void stop_inside(Act& root, bool itself) {
    std::vector<ActId> ids;
    for (const auto& [id, act] : s_.acts) {
      if (inside(*act, root)) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());
    if (itself) mark(root);
    for (const ActId id : ids) mark(*s_.find(id));
  }
  bool inside(const Act& act, const Act& root) const {
    if (act.id == root.id) return false;
    for (const Act* up = &act; up != nullptr; up = s_.find(up->parent)) {
      if (up->id == root.id) return true;
      if (up->kind == ActKind::try_ && up->phase == TryPhase::finally) return false;
      if (up->role == Role::undo || up->role == Role::hook) return false;
    }
    return false;
  }
  void mark(Act& act) {
    act.stopping = true;
    s_.wake(act);
  }

  // ---- containers
  static Value indexed_error(uint64_t index, const RunError& error) {
    return cel::make_record(
        {{"index", Value::integer(static_cast<int64_t>(index))}, {"error", to_value(error)}});
  }

  void fail_fan(Act& act, const RunError& error) {
    act.fan->decided = true;
    act.exit = Exit::failed;
    act.exit_error = error;
    stop_inside(act, false);
  }

  // `any` and `first(n)` fail with the first error and all of them in data.errors.
  void fail_with_all(Act& act, const RunError& last) {
    RunError error = last;
    error.data = cel::make_record({{"errors", Value::list(act.fan->errors)}});
    fail_fan(act, error);
  }

  void end_branch(Act& act) {
    Act& fan = *s_.find(act.parent);
    FanData& data = *fan.fan;
    const auto& node = std::get<ir::ParallelNode>(program_[fan.node].data);
    const Exit exit = exit_of(act);
    const uint64_t index = act.index;
    const RunError error = act.exit_error;
    remove_container(act);
    --data.running;
    if (exit == Exit::failed) {
      ++data.failed;
      data.errors.push_back(indexed_error(index, error));
    } else if (exit != Exit::cancelled) {
      ++data.succeeded;
    }
    if (!data.decided && !fan.stopping) judge(fan, node, exit, error);
    s_.wake(fan);
  }

  void judge(Act& fan, const ir::ParallelNode& node, Exit exit, const RunError& error) {
    FanData& data = *fan.fan;
    switch (node.join) {
      case ir::JoinKind::all:
        if (exit == Exit::failed) fail_fan(fan, error);
        return;
      case ir::JoinKind::settled:
        return;
      case ir::JoinKind::any:
      case ir::JoinKind::first: {
        const uint64_t wanted = node.join == ir::JoinKind::any ? 1 : node.first;
        if (data.succeeded >= wanted) {
          data.decided = true;
          stop_inside(fan, false);
        } else if (data.total - data.failed < wanted) {
          fail_with_all(fan, error);
        }
        return;
      }
    }
  }

  void end_iteration(Act& act) {
    Act& fan = *s_.find(act.parent);
    FanData& data = *fan.fan;
    const auto& node = std::get<ir::ForNode>(program_[fan.node].data);
    const Exit exit = exit_of(act);
    const uint64_t index = act.index;
    const Value value = act.exit_value;
    const RunError error = act.exit_error;
    const std::unique_ptr<Frame> frame = std::move(act.own_frame);
    remove_container(act);
    --data.running;
    const bool counts = exit == Exit::none || exit == Exit::continued;
    for (size_t i = 0; i < node.exports.size(); ++i) {
      auto& list = data.results[i];
      if (exit == Exit::broke) continue;
      if (list.size() <= index) list.resize(index + 1);
      if (counts) list[index] = frame->slots[node.exports[i].inner];
    }
    if (node.limit == 1) data.carried = std::move(frame->slots);
    if (counts) {
      ++data.succeeded;
    } else if (exit == Exit::failed) {
      ++data.failed;
      data.errors.push_back(indexed_error(index, error));
      if (node.on_error == ir::OnError::fail && !data.decided && !fan.stopping)
        fail_fan(fan, error);
    } else if (exit == Exit::broke || exit == Exit::returned) {
      data.decided = true;
      data.broke = exit == Exit::broke;
      if (exit == Exit::returned) {
        fan.exit = Exit::returned;
        fan.exit_value = value;
      }
    }
    s_.wake(fan);
  }

  void end_for(Act& act) {
    FanData& data = *act.fan;
    const auto& node = std::get<ir::ForNode>(program_[act.node].data);
    Frame& frame = *act.frame;
    const Exit exit = exit_of(act);
    for (size_t i = 0; i < node.exports.size(); ++i) {
      if (!data.broke) data.results[i].resize(data.total);
      set_slot(frame, node.exports[i].outer, Value::list(std::move(data.results[i])));
    }
    set_facts(frame, node.facts, [&] {
      return make_facts(
          exit == Exit::failed ? "ERROR" : "COMPLETED", 1, act.started_at, e_.time,
          exit == Exit::failed ? &act.exit_error : nullptr, {},
          {{"errors", Value::list(data.errors)}, {"exhausted", Value::boolean(false)}});
    });
    end_child(act, exit, act.exit_value, act.exit_error);
  }

  void start_loop_iteration(Act& act, uint64_t index) {
    act.loop->started = true;
    act.pc = 0;
    act.exit = Exit::none;
    Frame& frame = *act.frame;
    if (index > 0) {
      frame.previous = std::move(frame.slots);
      frame.slots.assign(frame.previous.size(), Value());
    }
    frame.iteration = index + 1;
    act.path = child_path(s_.find(act.parent)->path, program_[act.node].name) + "[" +
               std::to_string(index + 1) + "]";
    s_.wake(act);
  }

  void end_loop(Act& act) {
    const auto& node = std::get<ir::LoopNode>(program_[act.node].data);
    Frame& outer = *s_.find(act.parent)->frame;
    Exit exit = exit_of(act);
    if (exit == Exit::broke || exit == Exit::continued) exit = Exit::none;
    if (exit == Exit::none && act.loop->exhausted && node.on_max == ir::OnMax::fail) {
      exit = Exit::failed;
      act.exit_error = RunError{
          .kind = "limit",
          .code = "loop_max",
          .message = "the loop did not end within " + std::to_string(act.loop->max) + " iterations",
          .step = act.path,
          .cause_seq = s_.events};
    }
    for (const ir::Export& x : node.exports) set_slot(outer, x.outer, act.frame->slots[x.inner]);
    set_facts(outer, node.facts, [&] {
      return make_facts(
          exit == Exit::failed ? "ERROR" : "COMPLETED", 1, act.started_at, e_.time,
          exit == Exit::failed ? &act.exit_error : nullptr, {},
          {{"errors", Value::list({})},
           {"exhausted", Value::boolean(act.loop->exhausted)},
           {"iterations", Value::integer(static_cast<int64_t>(act.frame->iteration))}});
    });
    end_child(act, exit, act.exit_value, act.exit_error);
  }

  void end_try(Act& act) {
    if (act.phase == TryPhase::finally && act.exit == Exit::none && !act.stopping) {
      return end_child(act, act.saved_exit, act.saved_value, act.saved_error);
    }
    end_child(act, exit_of(act), act.exit_value, act.exit_error);
  }

  void remove_container(Act& act) {
    s_.set_timer(act.id, never);
    s_.acts.erase(act.id);
  }

  void end_run(RunStatus status) {
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

  RunState& s_;
  const Event& e_;
  const ir::Program& program_;
};

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
