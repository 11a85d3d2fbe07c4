// How events of the turns of agents and teams change the state.
#include "runtime/machine/applier.hpp"

namespace kflow::machine {

using cel::Value;

void Applier::operator()(const AgentEntered& p) {
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

void Applier::operator()(const HistoryGiven& p) {
  Act& act = own();
  AgentData& data = *act.agent;
  data.messages.insert(data.messages.begin(), p.messages.begin(), p.messages.end());
  data.context += static_cast<uint32_t>(p.messages.size());
  data.phase = AgentPhase::input;
  s_.wake(act);
}

void Applier::operator()(const MembersCalled&) {
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

void Applier::operator()(const CallAnswered& p) {
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

void Applier::operator()(const Told& p) {
  Act& act = own();
  AgentData& data = *act.agent;
  data.calls.clear();
  data.messages.push_back(conversation::to_value(conversation::user_text(p.text)));
  data.reasks += p.reask;
  data.guard = 0;
  data.phase = AgentPhase::turn;
  s_.wake(act);
}

void Applier::operator()(const AnswerGiven& p) {
  Act& act = own();
  act.agent->answer = p.value;
  act.agent->answer_text = p.text;
  act.agent->phase = AgentPhase::output;
  act.agent->guard = 0;
  s_.wake(act);
}

void Applier::operator()(const AgentFailed& p) {
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

void Applier::set_tasks(AgentData& data, const Value& tasks) {
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

void Applier::begin_part(Act& outer, const Act& act) {
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

void Applier::end_call(Act& act, const Value& value, const RunError* error) {
  Act* outer = s_.find(act.parent);
  KFLOW_CHECK(outer != nullptr && outer->agent != nullptr,
              "a part of an agent's turn stands in an agent");
  take_part(s_, *outer, act, value, error);
  remove(act);
  --outer->agent->running;
  s_.wake(*outer);
}

}  // namespace kflow::machine
