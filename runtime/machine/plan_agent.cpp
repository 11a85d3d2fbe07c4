// Agents and teams: what each turn of their conversation does next.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/planner.hpp"
#include "runtime/machine/prompts.hpp"

namespace kflow::machine {

using cel::Value;
using conversation::StopReason;

namespace {

std::string text_of(const Value& v) {
  return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_json(v);
}

// US dollars that make no difference: sums of prices are not exact.
constexpr double least_money = 1e-9;

// Models like to wrap JSON into a code block.
std::string_view without_fence(std::string_view text) {
  const auto trim = [](std::string_view s) {
    while (!s.empty() && std::string_view(" \t\r\n").contains(s.front())) s.remove_prefix(1);
    while (!s.empty() && std::string_view(" \t\r\n").contains(s.back())) s.remove_suffix(1);
    return s;
  };
  text = trim(text);
  if (!text.starts_with("```") || !text.ends_with("```") || text.size() < 6) return text;
  text.remove_suffix(3);
  const size_t line = text.find('\n');
  return line == std::string_view::npos ? text : trim(text.substr(line + 1));
}

std::string problems_text(const std::vector<schema::Violation>& violations) {
  std::string out;
  for (const schema::Violation& v : violations)
    out += "\n- " + (v.path.empty() ? std::string() : "`" + v.path + "`: ") + v.rule + ", got " +
           v.value;
  return out;
}

}  // namespace

// ---------------------------------------------------------------- an agent begins

void Planner::launch_agent(Launch& launch, const ir::StepNode& node, Millis deadline,
                           Millis attempt_timeout_ms) {
  if (too_deep(launch.block)) return fail_to_begin(launch, depth_error());
  const ir::Callable& agent = program_[node.call.callable];
  const Frame parameters = parameter_frame(program_, node.call.callable, launch.input);
  const EvalContext context{s_, &parameters};
  const auto text = [&](ir::ExprId expr) -> Evaluated {
    if (!expr) return Value();
    return evaluate(context, expr);
  };
  AgentEntered entered{
      .input = launch.input, .deadline = deadline, .attempt_timeout_ms = attempt_timeout_ms};
  Evaluated parts[] = {text(agent.agent.role), text(agent.agent.instructions),
                       text(agent.agent.prompt), text(agent.agent.budget.usd),
                       text(agent.agent.budget.tokens)};
  for (Evaluated& part : parts) {
    if (auto* error = std::get_if<RunError>(&part)) return fail_to_begin(launch, std::move(*error));
  }
  const auto value = [&](size_t i) { return std::get<Value>(parts[i]); };
  entered.system = system_text(program_, agent, value(0), value(1));
  const std::string message =
      agent.agent.prompt ? text_of(value(2)) : message_text(agent, launch.input);
  std::vector<cel::File> files;
  cel::files_in(launch.input, files);
  entered.message = conversation::to_value(conversation::user_message(message, files));
  if (const auto usd = money(value(3))) entered.usd_limit = *usd;
  if (value(4).kind() == cel::Kind::int_) entered.token_limit = value(4).as_int();
  // Members of a team that shares its conversation see what was said so far.
  if (launch.role == Role::call && launch.block.agent != nullptr &&
      callable_of(s_, launch.block).agent.share_history) {
    const auto& said = launch.block.agent->messages;
    entered.context.assign(said.begin(), said.begin() + launch.block.agent->context);
  }
  emit(emit_step(launch, std::move(entered)), AgentBegan{}, true, launch.path);
}

bool Planner::too_deep(const Act& block) const {
  size_t depth = 0;
  for (const Act* up = &block; up != nullptr; up = s_.find(up->parent))
    depth += up->kind == ActKind::tool || up->kind == ActKind::agent;
  return depth >= max_tool_depth;
}

RunError Planner::depth_error() const {
  return {.kind = "limit",
          .code = "tool_depth",
          .message = "tools and agents call each other deeper than " +
                     std::to_string(max_tool_depth) + " levels"};
}

void Planner::operator()(const HistoryInput& input) {
  Act* act = s_.find(input.act);
  if (act == nullptr || !act->agent || act->agent->phase != AgentPhase::history) return;
  const ir::Callable& agent = callable_of(s_, *act);
  auto pairs = input.pairs;
  for (const auto& [name, message, answer] : s_.unsaved_history) {
    if (name == agent.name) pairs.emplace_back(message, answer);
  }
  if (pairs.size() > agent.agent.history)
    pairs.erase(pairs.begin(), pairs.end() - static_cast<std::ptrdiff_t>(agent.agent.history));
  HistoryGiven given;
  for (const auto& [message, answer] : pairs) {
    given.messages.push_back(conversation::to_value(conversation::user_text(message)));
    conversation::Message said = conversation::user_text(answer);
    said.role = conversation::Role::assistant;
    given.messages.push_back(conversation::to_value(said));
  }
  emit(*act, std::move(given), false);
}

void Planner::operator()(const DeltaInput& input) {
  const Act* act = s_.find(input.act);
  if (act == nullptr || act->kind != ActKind::step || act->step->attempt != input.attempt ||
      act->step->phase != StepPhase::in_flight || input.text.empty())
    return;
  emit(*act, ContentDelta{input.kind, act->step->attempt, input.text}, true, act->path);
}

// ---------------------------------------------------------------- an agent goes on

void Planner::decide_agent(Act& act) {
  AgentData& data = *act.agent;
  if (act.stopping) {
    if (data.running > 0) return;
    if (act.step->stop_error) return step_failed(act, *act.step->stop_error);
    return cancel_step(act);
  }
  const ir::Callable& agent = callable_of(s_, act);
  switch (data.phase) {
    case AgentPhase::history:
      if (data.asked_history) return;
      data.asked_history = true;
      turn.actions.push_back(ReadHistory{act.id, s_.session_id, agent.name, agent.agent.history});
      return;
    case AgentPhase::input:
      return next_guard(act, true);
    case AgentPhase::turn:
      return begin_turn(act);
    case AgentPhase::calls:
      return go_on_with_calls(act);
    case AgentPhase::answer:
      return judge_answer(act);
    case AgentPhase::output:
      return next_guard(act, false);
    case AgentPhase::failed:
      // What is under way is waited for: its outcome belongs to the log.
      if (data.running > 0) return;
      return step_failed(act, *data.failure);
    case AgentPhase::model:
    case AgentPhase::done:
      return;
  }
}

// Guards are asked one after another; then the first turn begins, or the answer is given.
void Planner::next_guard(Act& act, bool input) {
  AgentData& data = *act.agent;
  if (data.running > 0) return;
  const ir::Callable& agent = callable_of(s_, act);
  const auto& guards = agent.agent.guards;
  size_t next = data.guard;
  while (next < guards.size() && guards[next].input != input) ++next;
  if (next < guards.size()) {
    const ir::NodeId id = guards[next].node;
    cel::MapBuilder arguments;
    if (input) {
      arguments.add("input", Value::string(message_of(act)));
    } else {
      const auto& step = std::get<ir::StepNode>(program_[id].data);
      const auto& params = program_[step.call.callable].params;
      const bool both = std::any_of(params.begin(), params.end(),
                                    [](const ir::Param& p) { return p.name == "input"; });
      if (both) arguments.add("input", Value::string(message_of(act)));
      arguments.add("output", data.answer);
    }
    std::string path = child_path(act.path, program_[id].name);
    if (!input) path += "[output]";
    if (data.reasks > 0) path += "[" + std::to_string(data.reasks + 1) + "]";
    return launch_part(act, id, std::move(path), std::move(arguments).take());
  }
  if (!input) return give_answer(act);
  if (agent.agent.mode == ir::TeamMode::broadcast) return emit(act, MembersCalled{}, false);
  begin_turn(act);
}

std::string Planner::message_of(const Act& act) const {
  const AgentData& data = *act.agent;
  if (data.context == 0 || data.context > data.messages.size()) return "";
  const auto message = conversation::message_from(data.messages[data.context - 1]);
  if (!message) return "";
  std::string text = conversation::text_of(*message);
  if (!text.empty()) return text;
  // Of a message that is nothing but files, their names.
  for (const conversation::Part& p : message->parts) {
    if (p.file) text += (text.empty() ? "(the file `" : ", `") + p.file->name + "`";
  }
  return text.empty() ? text : text + ")";
}

void Planner::launch_part(Act& act, ir::NodeId id, std::string path, Value input) {
  Launch part{.block = act,
              .existing = nullptr,
              .id = id,
              .path = std::move(path),
              .input = std::move(input),
              .role = Role::call};
  if (begin_ask(part, node_at(id))) return;
  launch(std::move(part));
}

// The limits of the agent, of those that called it, and of the run.
std::optional<RunError> Planner::budget_error(const Act& act) const {
  const auto over = [](const UsageTotal& used, double usd, int64_t tokens,
                       const std::string& whose) -> std::optional<RunError> {
    const bool money = usd >= 0 && used.usd + least_money >= usd;
    const bool words = tokens >= 0 && used.input_tokens + used.output_tokens >= tokens;
    if (!money && !words) return std::nullopt;
    return RunError{.kind = "budget",
                    .code = money ? "usd" : "tokens",
                    .message = "the budget of " + whose + " is used up: " +
                               (money ? cel::to_display(Value::number(used.usd)) + " of " +
                                            cel::to_display(Value::number(usd)) + " US dollars"
                                      : std::to_string(used.input_tokens + used.output_tokens) +
                                            " of " + std::to_string(tokens) + " tokens")};
  };
  for (const Act* up = &act; up != nullptr; up = s_.find(up->parent)) {
    if (!up->agent) continue;
    if (auto error = over(up->agent->total, up->agent->usd_limit, up->agent->token_limit,
                          "`" + up->path + "`"))
      return error;
  }
  return over(s_.usage, s_.usd_limit, s_.token_limit, "the run");
}

// What a run that `act` starts may still use, of the same limits.
Limits Planner::left_for(const Act& act) const {
  Limits left;
  const auto narrow = [&](const UsageTotal& used, double usd, int64_t tokens) {
    const double money = std::max(0.0, usd - used.usd);
    const int64_t words = std::max<int64_t>(0, tokens - used.input_tokens - used.output_tokens);
    if (usd >= 0 && (left.usd < 0 || money < left.usd)) left.usd = money;
    if (tokens >= 0 && (left.tokens < 0 || words < left.tokens)) left.tokens = words;
  };
  for (const Act* up = &act; up != nullptr; up = s_.find(up->parent)) {
    if (up->agent) narrow(up->agent->total, up->agent->usd_limit, up->agent->token_limit);
  }
  narrow(s_.usage, s_.usd_limit, s_.token_limit);
  return left;
}

void Planner::begin_turn(Act& act) {
  AgentData& data = *act.agent;
  const ir::Callable& agent = callable_of(s_, act);
  if (auto error = budget_error(act)) return step_failed(act, at_step(act, std::move(*error)));
  if (data.turns >= agent.agent.max_turns) {
    return step_failed(act,
                       at_step(act, {.kind = "limit",
                                     .code = "max_turns",
                                     .message = "`" + agent.name + "` gave no answer within " +
                                                std::to_string(agent.agent.max_turns) + " turns"}));
  }
  const ir::Model& model = program_[model_of(s_, act)];
  launch_part(act, agent.agent.call,
              child_path(act.path, "model") + "[" + std::to_string(data.turns + 1) + "]",
              cel::make_record({{"model", Value::string(model.provider + "/" + model.id)}}));
}

RunError Planner::at_step(const Act& act, RunError error) const {
  if (error.step.empty()) error.step = act.path;
  return error;
}

// ---------------------------------------------------------------- tools

void Planner::go_on_with_calls(Act& act) {
  const ir::Callable& agent = callable_of(s_, act);
  const ActId id = act.id;
  const bool together = agent.agent.mode == ir::TeamMode::broadcast && act.agent->turns == 0;
  const size_t at_a_time =
      together || (agent.agent.parallel_tools && agent.agent.mode != ir::TeamMode::route)
          ? max_calls_in_flight
          : 1;
  for (uint32_t i = 0; i < act.agent->calls.size(); ++i) {
    AgentData& data = *act.agent;
    if (data.phase != AgentPhase::calls || data.running >= at_a_time) return;
    const ToolCall& call = data.calls[i];
    if (call.answered || call.act != no_act) continue;
    if (together) {
      call_member(act, i);
    } else {
      call_tool(act, i);
    }
    if (s_.find(id) == nullptr) return;
    if (turn.events.size() >= max_events_per_turn) return s_.wake(act);
  }
  if (together && act.agent->running == 0 &&
      std::ranges::all_of(act.agent->calls, &ToolCall::answered))
    synthesise(act);
}

void Planner::answer_call(Act& act, uint32_t index, std::string text, bool is_error, Value tasks) {
  emit(act, CallAnswered{index, std::move(text), is_error, std::move(tasks)}, false);
}

void Planner::call_tool(Act& act, uint32_t index) {
  const AgentData& data = *act.agent;
  const ToolCall& call = data.calls[index];
  const ir::AgentOptions& agent = callable_of(s_, act).agent;
  if (index >= max_tool_calls) {
    return answer_call(act, index,
                       "not called: at most " + std::to_string(max_tool_calls) +
                           " tools can be called in one turn",
                       true);
  }
  const auto tool = std::ranges::find(agent.tools, call.name, &ir::AgentTool::name);
  const bool hand_over = agent.mode == ir::TeamMode::route && is_member(agent, call.name);
  if (hand_over && std::ranges::any_of(data.calls, [&](const ToolCall& c) {
        return c.act != no_act && !c.is_error && is_member(agent, c.name);
      }))
    return answer_call(act, index, "not called: one member answers, and it has been called", true);
  if (agent.mode == ir::TeamMode::tasks && call_task_tool(act, index)) return;
  if (tool == agent.tools.end()) {
    std::string names;
    for (const ir::AgentTool& t : agent.tools) names += (names.empty() ? "" : ", ") + t.name;
    return answer_call(act, index,
                       "there is no tool `" + call.name + "`; " +
                           (names.empty() ? "there are none" : "there are: " + names),
                       true);
  }
  auto arguments = cel::from_json(call.arguments.empty() ? "{}" : call.arguments);
  if (!arguments) {
    return answer_call(act, index, "the arguments are not valid JSON: " + arguments.error().message,
                       true);
  }
  Value input = std::move(*arguments);
  const bool open = program_.types[tool->input].kind == schema::TypeKind::map;
  if (!open) {
    schema::Validation checked =
        schema::validate(program_.types, tool->input, input, schema::Source::json);
    if (!checked.ok()) {
      return answer_call(act, index,
                         "the arguments do not fit:" + problems_text(checked.violations), true);
    }
    input = std::move(checked.value);
  } else if (input.kind() != cel::Kind::map) {
    return answer_call(act, index, "the arguments must be an object", true);
  } else {  // of an MCP tool whose arguments have no types here
    input = cel::make_record({{"arguments", std::move(input)}});
  }
  const ir::StepNode& node = node_at(tool->node);
  if (node.call.kind == ir::CalleeKind::builtin) input = without_nulls(input);
  launch_part(act, tool->node,
              child_path(act.path, tool->name) + "[" + std::to_string(data.made + 1) + "]",
              std::move(input));
}

// Built-ins have their own defaults for what is not given.
Value Planner::without_nulls(const Value& input) const {
  std::vector<cel::MapEntry> out;
  for (const cel::MapEntry& e : input.as_map()) {
    if (!e.value.is_null()) out.push_back(e);
  }
  return Value::map(std::move(out));
}

// A member that is told what the team was told.
void Planner::call_member(Act& act, uint32_t index) {
  const ir::AgentTool& member = callable_of(s_, act).agent.tools[index];
  cel::MapBuilder arguments;
  for (const schema::Field& f : program_.types[member.input].fields) {
    if (const Value* given = act.step->input.find(f.name)) {
      arguments.add(f.name, *given);
    } else if (f.name == "message") {
      arguments.add(f.name, Value::string(message_of(act)));
    } else if (f.fallback) {
      arguments.add(f.name, *f.fallback);
    }
  }
  Value input = std::move(arguments).take();
  schema::Validation checked =
      schema::validate(program_.types, member.input, input, schema::Source::json);
  if (!checked.ok()) {
    return answer_call(act, index,
                       "it cannot be told the team's request:" + problems_text(checked.violations),
                       true);
  }
  launch_part(act, member.node,
              child_path(act.path, member.name) + "[" + std::to_string(index + 1) + "]",
              std::move(checked.value));
}

void Planner::synthesise(Act& act) {
  const auto& calls = act.agent->calls;
  const auto good = std::ranges::find(calls, false, &ToolCall::is_error);
  if (good == calls.end()) {
    std::string why;
    for (const ToolCall& c : calls) why += "\n" + c.name + ": " + text_of(c.value);
    return step_failed(act, at_step(act, {.kind = "tool",
                                          .code = "no_member_answered",
                                          .message = "no member of the team answered:" + why}));
  }
  emit(act, Told{.text = synthesis_text(*act.agent)}, false);
}

// The list of tasks is kept by the run itself.
bool Planner::call_task_tool(Act& act, uint32_t index) {
  const ToolCall call = act.agent->calls[index];
  if (std::find(std::begin(task_tools), std::end(task_tools), call.name) == std::end(task_tools))
    return false;
  auto arguments = cel::from_json(call.arguments.empty() ? "{}" : call.arguments);
  const auto wrong = [&](const std::string& what) {
    answer_call(act, index, what, true);
    return true;
  };
  if (!arguments || arguments->kind() != cel::Kind::map)
    return wrong("the arguments must be an object");
  std::vector<TeamTask> tasks = act.agent->tasks;
  if (call.name == task_tools[0]) {
    const Value* title = arguments->find("title");
    if (title == nullptr || title->kind() != cel::Kind::string || title->as_string().empty())
      return wrong("`title` is missing");
    if (tasks.size() >= max_tasks)
      return wrong("the list holds at most " + std::to_string(max_tasks) + " tasks");
    tasks.push_back({.title = std::string(title->as_string())});
  } else if (call.name == task_tools[1]) {
    const Value* number = arguments->find("number");
    const Value* result = arguments->find("result");
    if (number == nullptr || number->kind() != cel::Kind::int_ || number->as_int() < 1 ||
        number->as_int() > static_cast<int64_t>(tasks.size()))
      return wrong("there is no task of that number\n" + tasks_text(tasks));
    TeamTask& task = tasks[static_cast<size_t>(number->as_int() - 1)];
    task.done = true;
    task.result = result == nullptr ? "" : text_of(*result);
  }
  std::vector<Value> list;
  for (const TeamTask& t : tasks) {
    list.push_back(cel::make_record({{"title", Value::string(t.title)},
                                     {"done", Value::boolean(t.done)},
                                     {"result", Value::string(t.result)}}));
  }
  answer_call(act, index, tasks_text(tasks), false, Value::list(std::move(list)));
  return true;
}

// ---------------------------------------------------------------- the answer

// False: it has been asked often enough.
bool Planner::ask_again(Act& act, const std::string& what) {
  if (act.agent->reasks >= callable_of(s_, act).agent.reask) return false;
  emit(act, Told{.text = what, .reask = true}, false);
  return true;
}

void Planner::judge_answer(Act& act) {
  AgentData& data = *act.agent;
  const ir::Callable& agent = callable_of(s_, act);
  const auto fail = [&](RunError error) { step_failed(act, at_step(act, std::move(error))); };
  if (!data.calls.empty()) {  // a member has answered for the team
    const auto call = std::ranges::find_if(data.calls, [&](const ToolCall& c) {
      return c.act != no_act && !c.is_error && is_member(agent.agent, c.name);
    });
    Value value = call->value;
    if (auto error =
            check_type(program_, agent.result, value, "the answer of `" + call->name + "`"))
      return fail(std::move(*error));
    const std::string text = text_of(value);
    return emit(act, AnswerGiven{std::move(value), text}, true, act.path);
  }
  switch (static_cast<StopReason>(data.stop)) {
    case StopReason::length:
      return fail({.kind = "model",
                   .code = "max_output_tokens",
                   .message = "the answer was cut off: it is longer than the model may write; "
                              "raise `max_output_tokens`",
                   .data = Value::string(data.text)});
    case StopReason::refusal:
      return fail({.kind = "model",
                   .code = "refusal",
                   .message = "the model declined" + (data.text.empty() ? "" : ": " + data.text)});
    case StopReason::content_filter:
      return fail({.kind = "model",
                   .code = "content_filter",
                   .message = "the provider's content filter stopped the answer"});
    case StopReason::end:
    case StopReason::tool_calls:
      break;
  }
  if (agent.agent.mode == ir::TeamMode::route) {
    if (ask_again(act, "Do not answer yourself: call the member that is to answer.")) return;
    return fail({.kind = "model",
                 .code = "no_member_called",
                 .message = "the leader answered instead of handing over to a member"});
  }
  if (without_fence(data.text).empty()) {
    if (ask_again(act, "Your answer was empty. Give the answer.")) return;
    return fail({.kind = "model", .code = "empty_answer", .message = "the model answered nothing"});
  }
  if (agent.agent.mode == ir::TeamMode::tasks &&
      !std::ranges::all_of(data.tasks, &TeamTask::done)) {
    if (ask_again(act, "These tasks are not complete:\n" + tasks_text(data.tasks) +
                           "\nGo on until all are, then answer."))
      return;
    return fail({.kind = "model",
                 .code = "open_tasks",
                 .message = "the team answered while tasks were open"});
  }
  if (!is_structured(program_, agent))
    return emit(act, AnswerGiven{Value::string(data.text), data.text}, true, act.path);
  auto json = cel::from_json(without_fence(data.text));
  std::string problem;
  if (!json) {
    problem = "Your answer is not valid JSON: " + json.error().message + ".";
  } else {
    const Value* inner = is_wrapped(program_, agent) && json->kind() == cel::Kind::map
                             ? json->find("value")
                             : nullptr;
    schema::Validation checked = schema::validate(
        program_.types, agent.result, inner != nullptr ? *inner : *json, schema::Source::json);
    if (checked.ok())
      return emit(act, AnswerGiven{std::move(checked.value), data.text}, true, act.path);
    problem =
        "Your answer does not fit the type that is asked for:" + problems_text(checked.violations);
  }
  if (ask_again(act, problem + "\nAnswer again with the corrected JSON and nothing else.")) return;
  fail({.kind = "type",
        .code = "answer",
        .message = "the answer of `" + agent.name + "` does not fit its type `" +
                   program_.types.display(agent.result) + "`: " + problem,
        .data = Value::string(data.text)});
}

void Planner::give_answer(Act& act) {
  const AgentData& data = *act.agent;
  const ir::Callable& agent = callable_of(s_, act);
  Value answer = data.answer;
  const std::string text = data.answer_text;
  // A condition that does not hold is told to the model, so it is looked at before the end.
  if (auto problem = unmet(act, answer)) {
    if (ask_again(act, *problem)) return;
    return complete(act, std::move(answer));  // fails with the condition's error
  }
  if (agent.agent.history > 0 && !s_.session_id.empty()) {
    turn.actions.push_back(WriteHistory{s_.session_id, agent.name, message_of(act), text});
    s_.unsaved_history.push_back({agent.name, message_of(act), text});
  }
  emit(act, AgentEnded{data.own}, true, act.path);
  complete(act, std::move(answer));
}

// Why a good answer is not good for this step: its declared type or its `ensure`.
std::optional<std::string> Planner::unmet(const Act& act, Value& value) {
  const ir::StepNode& node = node_of(act);
  if (node.check) {
    Value copy = value;
    if (const auto error = check_type(program_, node.type, copy, "your answer"))
      return error->message + "\nAnswer again.";
  }
  if (!node.options.ensure) return std::nullopt;
  bool holds = false;
  EvalContext context{s_, s_.find(act.parent)->frame};
  context.own_value = &value;
  if (condition(context, node.options.ensure, holds) || holds) return std::nullopt;
  return "Your answer must fulfil this condition, and does not: " +
         program_[node.options.ensure].text + "\nAnswer again.";
}

}  // namespace kflow::machine
