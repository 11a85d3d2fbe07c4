// Questions to people: asked before a step, after it, or as a step of their own.
#include <utility>

#include "compiler/base/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/planner.hpp"

namespace kflow::machine {

using cel::Value;

namespace {

constexpr size_t max_shown_arguments = 500;  // bytes, in a question; the requirement has all

RunError rejected(const std::string& path, const std::string& feedback) {
  return {.kind = "rejected",
          .code = "rejected",
          .message = feedback.empty() ? "step `" + path + "` was rejected"
                                      : "step `" + path + "` was rejected: " + feedback,
          .step = path};
}

Value argument(const Value& input, std::string_view name) {
  const Value* v = input.kind() == cel::Kind::map ? input.find(name) : nullptr;
  return v == nullptr ? Value() : *v;
}

std::string text_of(const Value& v) {
  return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_display(v);
}

// What a model wants to call a tool with, for the person who is asked.
std::string with_arguments(const Value& input) {
  if (input.kind() != cel::Kind::map || input.size() == 0) return "";
  std::string text = cel::to_json(input);
  if (text.size() > max_shown_arguments) {
    size_t cut = max_shown_arguments;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
    text.resize(cut);
    text += "…";
  }
  return " Its arguments: " + text;
}

}  // namespace

// Asks, if the step is a question or wants one first.
bool Planner::begin_ask(const Launch& launch, const ir::StepNode& node) {
  const bool form = node.call.kind == ir::CalleeKind::builtin && node.call.name == "human.ask";
  const bool decide =
      node.call.kind == ir::CalleeKind::builtin && node.call.name == "human.confirm";
  if (!node.options.confirm && !form && !decide) return false;
  Asked asked{.kind = form     ? AskKind::form
                      : decide ? AskKind::decide
                               : AskKind::confirm,
              .input = launch.input};
  if (form || decide) {
    asked.question = text_of(argument(launch.input, "question"));
    asked.show = argument(launch.input, "show");
    if (form) asked.form = node.type;
    const Value expires = argument(launch.input, "expires");
    if (expires.kind() == cel::Kind::duration)
      asked.expires = now_ + std::max<Millis>(0, expires.as_duration().nanos / 1'000'000);
    if (const Value* fallback = launch.input.find("default")) {
      asked.has_default = true;
      asked.fallback = *fallback;
    }
  } else {
    Evaluated question = evaluate({s_, launch.block.frame}, node.options.confirm);
    if (auto* error = std::get_if<RunError>(&question)) {
      fail_to_begin(launch, std::move(*error));
      return true;
    }
    asked.question = text_of(std::get<Value>(question));
    if (launch.role == Role::call) asked.question += with_arguments(launch.input);
  }
  emit_step(launch, std::move(asked));
  return true;
}

void Planner::review(Act& act, Value value) {
  const ir::StepNode& node = node_of(act);
  EvalContext context{s_, s_.find(act.parent)->frame};
  context.own_value = &value;
  Evaluated question = evaluate(context, node.options.review);
  if (auto* error = std::get_if<RunError>(&question)) return attempt_failed(act, std::move(*error));
  emit(act,
       Asked{.kind = AskKind::review,
             .number = act.step->asks + 1,
             .question = text_of(std::get<Value>(question)),
             .input = act.step->input,
             .value = std::move(value),
             .form = node.type},
       true, act.path);
}

void Planner::operator()(const AnswerInput& input) {
  for (const auto& [id, act] : s_.acts) {
    if (!act->step || !act->step->ask) continue;
    if (std::to_string(id) + "." + std::to_string(act->step->ask->number) != input.requirement)
      continue;
    const Asked& ask = *act->step->ask;
    Answered answer{.accepted = input.accepted,
                    .value = input.value.value_or(Value()),
                    .edited = input.value.has_value(),
                    .feedback = input.feedback};
    // Who sent it has checked it; what does not fit all the same is no answer.
    if (answer.accepted && answer.edited && ask.form &&
        check_type(program_, ask.form, answer.value, "the answer"))
      return;
    if (answer.accepted && !answer.edited && ask.kind == AskKind::form) return;
    return answered(*act, std::move(answer));
  }
}

void Planner::ask_expired(Act& act) {
  const Asked& ask = *act.step->ask;
  if (!ask.has_default) {
    return step_failed(act, {.kind = "timeout",
                             .code = "expired",
                             .message = "nobody answered `" + ask.question + "` in time",
                             .step = act.path});
  }
  Answered answer{.accepted = true, .value = ask.fallback, .edited = true, .expired = true};
  if (ask.kind == AskKind::decide)
    answer.accepted = ask.fallback.kind() == cel::Kind::boolean && ask.fallback.as_bool();
  answered(act, std::move(answer));
}

void Planner::answered(Act& act, Answered answer) {
  const AskKind kind = act.step->ask->kind;
  const Value reviewed = act.step->ask->value;
  emit(act, Answered(answer), true, act.path);
  switch (kind) {
    case AskKind::decide:
      return complete(act, Value::boolean(answer.accepted));
    case AskKind::form:
      if (!answer.accepted) return step_failed(act, rejected(act.path, answer.feedback));
      return complete(act, std::move(answer.value));
    case AskKind::review:
      if (!answer.accepted) return step_failed(act, rejected(act.path, answer.feedback));
      return finish(act, answer.edited ? std::move(answer.value) : reviewed, false);
    case AskKind::confirm:
      break;
  }
  if (!answer.accepted) return step_failed(act, rejected(act.path, answer.feedback));
  launch({.block = *s_.find(act.parent),
          .existing = &act,
          .id = act.node,
          .path = act.path,
          .input = act.step->input,
          .role = act.role});
}

}  // namespace kflow::machine
