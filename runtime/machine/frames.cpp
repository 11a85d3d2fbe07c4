// Events as the public stream shows them (server-api.md).
#include <algorithm>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/machine.hpp"

namespace kflow::machine {
namespace {

template <typename... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

bool is_loop(const ir::Program& p, const Event& e) {
  return e.node && std::holds_alternative<ir::LoopNode>(p[e.node].data);
}

std::string_view container_name(const ir::Program& p, const Event& e, bool ended) {
  return std::visit(
      overloaded{[&](const ir::IfNode&) {
                   return ended ? "ConditionExecutionCompleted" : "ConditionExecutionStarted";
                 },
                 [&](const ir::MatchNode&) {
                   return ended ? "RouterExecutionCompleted" : "RouterExecutionStarted";
                 },
                 [&](const ir::ParallelNode&) {
                   return ended ? "ParallelExecutionCompleted" : "ParallelExecutionStarted";
                 },
                 [&](const ir::ForNode&) { return ended ? "ForEachCompleted" : "ForEachStarted"; },
                 [&](const ir::LoopNode&) {
                   return ended ? "LoopExecutionCompleted" : "LoopExecutionStarted";
                 },
                 [&](const auto&) { return ended ? "StepCompleted" : "StepStarted"; }},
      p[e.node].data);
}

bool is_model_call(const ir::Program& p, const Event& e) {
  const auto* step = e.node ? std::get_if<ir::StepNode>(&p[e.node].data) : nullptr;
  return step != nullptr && step->call.kind == ir::CalleeKind::model;
}

bool of_team(const ir::Program& p, const Event& e) {
  const auto* step = e.node ? std::get_if<ir::StepNode>(&p[e.node].data) : nullptr;
  return step != nullptr && step->call.callable &&
         p[step->call.callable].kind == ir::CallableKind::team;
}

// Who has the tool that a model called; null: a guard's call, or none of a model.
const ir::Callable* caller(const ir::Program& p, const Event& e) {
  if (e.role != Role::call) return nullptr;
  for (const ir::Callable& c : p.callables) {
    if (std::ranges::find(c.agent.tools, e.node, &ir::AgentTool::node) != c.agent.tools.end())
      return &c;
  }
  return nullptr;
}

// The names of one moment of a step's life: as a step of its own, as a call of a model, as one that
// a model made; the last two also of a team's leader.
struct Names {
  std::string_view step, model, team_model, tool, team_tool;
};
constexpr Names started{"StepStarted", "ModelRequestStarted", "TeamModelRequestStarted",
                        "ToolCallStarted", "TeamToolCallStarted"};
constexpr Names completed{"StepCompleted", "ModelRequestCompleted", "TeamModelRequestCompleted",
                          "ToolCallCompleted", "TeamToolCallCompleted"};
constexpr Names failed{"StepError", "ModelRequestError", "TeamModelRequestError", "ToolCallError",
                       "TeamToolCallError"};
std::string_view step_name(const ir::Program& p, const Event& e, const Names& names) {
  if (is_model_call(p, e)) return of_team(p, e) ? names.team_model : names.model;
  const ir::Callable* by = caller(p, e);
  if (by == nullptr) return names.step;
  return by->kind == ir::CallableKind::team ? names.team_tool : names.tool;
}

void write_usage(JsonWriter& out, const UsageTotal& u) {
  out.key("usage"), out.raw(cel::to_json(to_value(u)));
}

// Of a model's answer what its other events do not have.
void write_answer(JsonWriter& out, const cel::Value& value) {
  if (value.kind() != cel::Kind::map) return;
  for (const std::string_view name : {"model", "stop", "usage", "usd"}) {
    if (const cel::Value* v = value.find(name)) out.key(name), out.raw(cel::to_json(*v));
  }
}

void write_error(JsonWriter& out, const RunError& error) {
  out.key("error");
  out.raw(cel::to_json(to_value(error)));
}

void write_value(JsonWriter& out, std::string_view key, const cel::Value& v) {
  out.key(key);
  out.raw(cel::to_json(v));
}

// The words an author gave the step, once: where it begins.
void write_tags(JsonWriter& out, const ir::Program& p, const Event& e) {
  const auto* step = std::get_if<ir::StepNode>(&p[e.node].data);
  if (step == nullptr || step->options.tags.empty() || e.parent == no_act) return;
  out.key("tags");
  out.begin_array();
  for (const std::string& tag : step->options.tags) out.string(tag);
  out.end_array();
}

// As the run document's `step_requirements` have it.
std::string_view requirement_kind(AskKind kind, bool of_tool) {
  switch (kind) {
    case AskKind::confirm:
      if (of_tool) return "tool_confirmation";
      [[fallthrough]];
    case AskKind::decide:
      return "confirmation";
    case AskKind::form:
      return "user_input";
    case AskKind::review:
      return "output_review";
  }
  std::unreachable();
}

void write_ask(JsonWriter& out, const Event& e, const Asked& ask) {
  out.key("requirement_id"), out.string(std::to_string(e.act) + "." + std::to_string(ask.number));
  out.key("kind"), out.string(requirement_kind(ask.kind, e.role == Role::call));
  out.key("message"), out.string(ask.question);
  if (!ask.show.is_null()) write_value(out, "show", ask.show);
  write_value(out, "step_input", ask.input);
  if (ask.kind == AskKind::review) write_value(out, "step_output", ask.value);
  if (ask.expires != never) out.key("expires_at"), out.integer(ask.expires / 1000);
}

}  // namespace

std::string_view public_name(const ir::Program& p, const Event& e) {
  return std::visit(
      overloaded{
          [](const RunStarted&) -> std::string_view { return "WorkflowStarted"; },
          [](const RunCompleted&) -> std::string_view { return "WorkflowCompleted"; },
          [](const RunFailed&) -> std::string_view { return "WorkflowError"; },
          [](const RunCancelled&) -> std::string_view { return "WorkflowCancelled"; },
          [](const RunPaused&) -> std::string_view { return "WorkflowPaused"; },
          [](const RunContinued&) -> std::string_view { return "WorkflowContinued"; },
          [](const RunResumed&) -> std::string_view { return "WorkflowResumed"; },
          [](const RunMoved&) -> std::string_view { return "WorkflowMoved"; },
          [](const Asked& a) -> std::string_view {
            return a.kind == AskKind::review ? "StepOutputReview" : "StepPaused";
          },
          [](const Answered&) -> std::string_view { return "StepContinued"; },
          [&](const StepStarted& s) -> std::string_view {
            return s.timer != never && s.attempt == 1 ? "TimerStarted" : step_name(p, e, started);
          },
          [&](const StepCompleted&) -> std::string_view {
            const auto* step = std::get_if<ir::StepNode>(&p[e.node].data);
            return step != nullptr &&
                           (step->call.name == "sleep" || step->call.name == "sleep_until")
                       ? "TimerFired"
                       : step_name(p, e, completed);
          },
          [](const StepRetryScheduled&) -> std::string_view { return "StepRetry"; },
          [&](const StepFailed&) -> std::string_view { return step_name(p, e, failed); },
          [&](const StepCancelled&) -> std::string_view { return step_name(p, e, failed); },
          [](const Emitted&) -> std::string_view { return "CustomEvent"; },
          [&](const ToolEntered&) -> std::string_view { return step_name(p, e, started); },
          [&](const AgentEntered&) -> std::string_view { return step_name(p, e, started); },
          [&](const AgentBegan&) -> std::string_view {
            return of_team(p, e) ? "TeamRunStarted" : "RunStarted";
          },
          [&](const AnswerGiven&) -> std::string_view {
            return of_team(p, e) ? "TeamRunContentCompleted" : "RunContentCompleted";
          },
          [&](const AgentEnded&) -> std::string_view {
            return of_team(p, e) ? "TeamRunCompleted" : "RunCompleted";
          },
          [&](const AgentFailed&) -> std::string_view {
            return of_team(p, e) ? "TeamRunError" : "RunError";
          },
          [&](const ContentDelta& d) -> std::string_view {
            if (d.kind == DeltaKind::reasoning)
              return of_team(p, e) ? "TeamReasoningContentDelta" : "ReasoningContentDelta";
            return of_team(p, e) ? "TeamRunContent" : "RunContent";
          },
          [&](const ContentReset&) -> std::string_view {
            return of_team(p, e) ? "TeamRunContentReset" : "RunContentReset";
          },
          [&](const ArmTaken&) -> std::string_view { return container_name(p, e, false); },
          [&](const ParallelStarted&) -> std::string_view { return container_name(p, e, false); },
          [&](const ForStarted&) -> std::string_view { return container_name(p, e, false); },
          [&](const LoopStarted&) -> std::string_view { return container_name(p, e, false); },
          [&](const IterationStarted&) -> std::string_view {
            return is_loop(p, e) ? "LoopIterationStarted" : "ForEachStarted";
          },
          [](const LoopDecided&) -> std::string_view { return "LoopIterationCompleted"; },
          [&](const ContainerEnded&) -> std::string_view { return container_name(p, e, true); },
          [&](const auto&) -> std::string_view { return name_of(e); }},
      e.data);
}

std::string frame_json(const ir::Program& p, const FrameContext& context, const Event& e,
                       uint64_t event_index) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string(public_name(p, e));
  out.key("run_id"), out.string(context.run_id);
  out.key("workflow_id"), out.string(context.workflow);
  out.key("session_id"), out.string(context.session_id);
  if (context.nested_depth > 0) {
    out.key("parent_run_id"), out.string(context.parent_run_id);
    out.key("nested_depth"), out.unsigned_integer(context.nested_depth);
  }
  if (e.node) {
    out.key("step_name"), out.string(p[e.node].name);
    out.key("step_id"), out.string(e.path);
    out.key("step_index"), out.integer(e.node.value);
    if (!e.label.empty()) out.key("step_label"), out.string(e.label);
    write_tags(out, p, e);
  }
  std::visit(overloaded{[&](const RunStarted& x) { write_value(out, "input", x.input); },
                        [&](const RunCompleted& x) { write_value(out, "content", x.value); },
                        [&](const RunFailed& x) { write_error(out, x.error); },
                        [&](const RunCancelled& x) { out.key("reason"), out.string(x.reason); },
                        [&](const StepStarted& x) {
                          out.key("attempt"), out.integer(x.attempt);
                          if (x.reason == StartReason::interrupted)
                            out.key("reason"), out.string("interrupted");
                          if (x.reason == StartReason::retry)
                            out.key("reason"), out.string("retry");
                          if (e.role == Role::undo) out.key("role"), out.string("undo");
                          if (x.attempt == 1) write_value(out, "input", x.input);
                          if (x.timer != never) out.key("due"), out.integer(x.timer / 1000);
                          if (!x.child.empty()) out.key("child_run_id"), out.string(x.child);
                        },
                        [&](const StepCompleted& x) {
                          if (is_model_call(p, e)) return write_answer(out, x.value);
                          write_value(out, "content", x.value);
                          if (x.cached) out.key("cached"), out.boolean(true);
                        },
                        [&](const RunResumed& x) { out.key("attempt"), out.integer(x.attempt); },
                        [&](const RunMoved& x) { out.key("program"), out.string(x.program); },
                        [&](const SignalReceived& x) {
                          out.key("name"), out.string(x.name);
                          write_value(out, "content", x.value);
                        },
                        [&](const Asked& x) { write_ask(out, e, x); },
                        [&](const Answered& x) {
                          out.key("confirmed"), out.boolean(x.accepted);
                          if (x.edited) write_value(out, "content", x.value);
                          if (!x.feedback.empty()) out.key("feedback"), out.string(x.feedback);
                          if (x.expired) out.key("expired"), out.boolean(true);
                        },
                        [&](const StepRetryScheduled& x) {
                          write_error(out, x.error);
                          out.key("due"), out.number(static_cast<double>(x.due) / 1000);
                        },
                        [&](const StepFailed& x) {
                          write_error(out, x.error);
                          out.key("continued"), out.boolean(x.continued);
                        },
                        [&](const StepCancelled&) {
                          write_error(out, {.kind = "cancelled",
                                            .code = "cancelled",
                                            .message = "the step was stopped",
                                            .step = e.path});
                        },
                        [&](const AgentEntered& x) { write_value(out, "input", x.input); },
                        [&](const AgentBegan&) {
                          const auto& step = std::get<ir::StepNode>(p[e.node].data);
                          const ir::Model& model = p[p[step.call.callable].agent.model];
                          out.key("agent"), out.string(step.call.name);
                          out.key("model"), out.string(model.provider + "/" + model.id);
                        },
                        [&](const AnswerGiven& x) { write_value(out, "content", x.value); },
                        [&](const AgentEnded& x) { write_usage(out, x.usage); },
                        [&](const AgentFailed& x) {
                          write_error(out, x.error);
                          write_usage(out, x.usage);
                        },
                        [&](const ContentDelta& x) {
                          out.key("content"), out.string(x.text);
                          out.key("call_id"), out.string(e.path);
                          out.key("attempt"), out.integer(x.attempt);
                        },
                        [&](const ContentReset&) { out.key("call_id"), out.string(e.path); },
                        [&](const Emitted& x) { write_value(out, "content", x.value); },
                        [&](const ToolEntered& x) {
                          out.key("attempt"), out.integer(x.attempt);
                          if (e.role == Role::undo) out.key("role"), out.string("undo");
                          if (e.role == Role::hook) out.key("role"), out.string("hook");
                          if (x.attempt == 1) write_value(out, "input", x.input);
                        },
                        [&](const ArmTaken& x) { out.key("arm"), out.integer(x.arm); },
                        [&](const ForStarted& x) { out.key("items"), out.integer(x.items.size()); },
                        [&](const LoopStarted& x) { out.key("max"), out.unsigned_integer(x.max); },
                        [&](const IterationStarted& x) {
                          out.key("iteration"), out.unsigned_integer(x.index + 1);
                        },
                        [&](const LoopDecided& x) {
                          out.key("go_on"), out.boolean(x.go_on);
                          out.key("exhausted"), out.boolean(x.exhausted);
                        },
                        [&](const auto&) {}},
             e.data);
  out.key("created_at"), out.integer(e.time / 1000);
  out.key("event_index"), out.unsigned_integer(event_index);
  out.end_object();
  return out.take();
}

}  // namespace kflow::machine
