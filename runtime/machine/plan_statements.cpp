// How each statement begins.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "runtime/machine/planner.hpp"

namespace kflow::machine {

using cel::Value;

void Planner::begin_statement(Act& act) {
  const ir::NodeId id = program_[act.block].statements[act.pc];
  const ir::Node& node = program_[id];
  std::visit([&](const auto& data) { begin(act, id, node, data); }, node.data);
}

// The statement could not even begin: its block is left with the error.
void Planner::fail_statement(const Act& act, ir::NodeId id, RunError error) {
  if (error.step.empty()) error.step = child_path(act.path, program_[id].name);
  emit({.act = act.id,
        .node = id,
        .data = Left{.how = Left::How::failed, .value = {}, .error = std::move(error)}});
}

// Evaluates in the block of `act`; on an error the statement has failed and nothing is given.
std::optional<Value> Planner::value_of(const Act& act, ir::NodeId id, ir::ExprId expr) {
  Evaluated result = evaluate({s_, act.frame}, expr);
  if (auto* value = std::get_if<Value>(&result)) return std::move(*value);
  fail_statement(act, id, std::move(std::get<RunError>(result)));
  return std::nullopt;
}

std::optional<Millis> Planner::duration_ms(const EvalContext& context, ir::ExprId expr) {
  if (!expr) return std::nullopt;
  Evaluated result = evaluate(context, expr);
  const Value* value = std::get_if<Value>(&result);
  if (value == nullptr || value->kind() != cel::Kind::duration) return std::nullopt;
  return std::max<Millis>(0, value->as_duration().nanos / 1'000'000);
}

void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::LetNode& node) {
  if (auto value = value_of(act, id, node.value)) {
    emit({.act = act.id, .node = id, .data = LetEvaluated{std::move(*value)}});
  }
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::EmitNode& node) {
  if (auto value = value_of(act, id, node.value)) {
    emit({.act = act.id,
          .node = id,
          .shown = true,
          .path = child_path(act.path, program_[id].name),
          .data = Emitted{std::move(*value)}});
  }
}
// The right side is evaluated against the committed state: asked for now, evaluated when it is
// here.
void Planner::begin(Act& act, ir::NodeId, const ir::Node&, const ir::SetNode&) {
  if (act.awaiting_session) return;
  act.awaiting_session = true;
  turn.actions.push_back(ReadSession{act.id});
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ReturnNode& node) {
  Value value;
  if (node.value) {
    auto evaluated = value_of(act, id, node.value);
    if (!evaluated) return;
    value = std::move(*evaluated);
  }
  emit({.act = act.id,
        .node = id,
        .data = Left{.how = Left::How::returned, .value = std::move(value), .error = {}}});
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::BreakNode&) {
  emit(
      {.act = act.id, .node = id, .data = Left{.how = Left::How::broke, .value = {}, .error = {}}});
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ContinueNode&) {
  emit({.act = act.id,
        .node = id,
        .data = Left{.how = Left::How::continued, .value = {}, .error = {}}});
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::FailNode& node) {
  RunError error{.kind = "user", .code = "fail"};
  const auto text = [](const Value& v) {
    return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_display(v);
  };
  if (node.code) {
    const auto code = value_of(act, id, node.code);
    if (!code) return;
    error.code = text(*code);
  }
  if (node.message) {
    const auto message = value_of(act, id, node.message);
    if (!message) return;
    error.message = text(*message);
  }
  if (node.data) {
    auto data = value_of(act, id, node.data);
    if (!data) return;
    error.data = std::move(*data);
  }
  fail_statement(act, id, std::move(error));
}

void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::IfNode& node) {
  uint32_t taken = 0;
  for (; taken < node.arms.size(); ++taken) {
    if (!node.arms[taken].condition) break;
    const auto verdict = value_of(act, id, node.arms[taken].condition);
    if (!verdict) return;
    if (verdict->kind() == cel::Kind::boolean && verdict->as_bool()) break;
  }
  emit_new(act, id, ArmTaken{taken}, true, child_path(act.path, program_[id].name));
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::MatchNode& node) {
  const auto subject = value_of(act, id, node.subject);
  if (!subject) return;
  uint32_t taken = 0;
  for (; taken < node.arms.size(); ++taken) {
    const auto& patterns = node.arms[taken].patterns;
    if (patterns.empty()) break;
    if (std::any_of(patterns.begin(), patterns.end(),
                    [&](const Value& p) { return p == *subject; }))
      break;
  }
  emit_new(act, id, ArmTaken{taken}, true, child_path(act.path, program_[id].name));
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ParallelNode&) {
  emit_new(act, id, ParallelStarted{}, true, child_path(act.path, program_[id].name));
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ForNode& node) {
  auto items = value_of(act, id, node.items);
  if (!items) return;
  if (items->kind() != cel::Kind::list && items->kind() != cel::Kind::map) {
    return fail_statement(act, id,
                          {.kind = "type",
                           .code = "not_iterable",
                           .message = "`for` needs a list or a map, not " +
                                      std::string(cel::type_name(items->kind()))});
  }
  if (static_cast<uint64_t>(items->size()) > max_for_items) {
    return fail_statement(act, id,
                          {.kind = "limit",
                           .code = "for_items",
                           .message = "`for` over " + std::to_string(items->size()) +
                                      " items; the limit is " + std::to_string(max_for_items)});
  }
  emit_new(act, id, ForStarted{std::move(*items)}, true, child_path(act.path, program_[id].name));
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::LoopNode& node) {
  const auto max = value_of(act, id, node.max);
  if (!max) return;
  if (max->kind() != cel::Kind::int_ || max->as_int() < 0) {
    return fail_statement(
        act, id,
        {.kind = "type", .code = "loop_max", .message = "`max` must be an int of at least 0"});
  }
  emit_new(act, id, LoopStarted{static_cast<uint64_t>(max->as_int())}, true,
           child_path(act.path, program_[id].name));
}
void Planner::begin(Act& act, ir::NodeId id, const ir::Node&, const ir::TryNode&) {
  emit_new(act, id, TryStarted{}, false);
}

void Planner::begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::StepNode& node) {
  Launch step{.block = act,
              .existing = nullptr,
              .id = id,
              .path = child_path(act.path, info.name),
              .input = {}};
  auto input = arguments({s_, act.frame}, node.call);
  if (auto* error = std::get_if<RunError>(&input)) return fail_to_begin(step, std::move(*error));
  step.input = std::move(std::get<Value>(input));
  if (node.options.label) {
    Evaluated label = evaluate({s_, act.frame}, node.options.label);
    if (auto* error = std::get_if<RunError>(&label)) return fail_to_begin(step, std::move(*error));
    step.label = std::get<Value>(label).as_string();
    if (step.label.size() > max_label_bytes)
      return fail_to_begin(step, {.kind = "limit",
                                  .code = "label",
                                  .message = "a label is at most " +
                                             std::to_string(max_label_bytes) + " bytes"});
  }
  if (begin_ask(step, node)) return;
  launch(std::move(step));
}

namespace {

// `state` with `value` at `path`; records on the way are made where there are none.
Value with_field(const Value& state, std::span<const std::string> path, const Value& value) {
  if (path.empty()) return value;
  cel::MapBuilder out;
  if (state.kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : state.as_map()) out.add(e.key, e.value);
  }
  const Value* inner = state.kind() == cel::Kind::map ? state.find(path[0]) : nullptr;
  out.set(path[0], with_field(inner == nullptr ? Value() : *inner, path.subspan(1), value));
  return std::move(out).take();
}

}  // namespace

void Planner::operator()(const SessionInput& input) {
  Act* act = s_.find(input.act);
  if (act == nullptr || !act->awaiting_session) return;
  act->awaiting_session = false;
  if (act->stopping || at_end(*act)) return s_.wake(*act);
  const ir::NodeId id = program_[act->block].statements[act->pc];
  // Stopped since it asked, the block may be at its `finally` now.
  const auto* set = std::get_if<ir::SetNode>(&program_[id].data);
  if (set == nullptr) return s_.wake(*act);
  const ir::SetNode& node = *set;
  // What others have committed is seen from here on, also if the new value cannot be had.
  const Value before = s_.session;
  if (input.state.kind() == cel::Kind::map) s_.session = input.state;
  auto value = value_of(*act, id, node.value);
  if (!value) {
    s_.session = before;
    return;
  }
  Value state = with_field(s_.session, node.path, *value);
  s_.session = before;
  if (state.memory() > max_session_bytes) {
    return fail_statement(*act, id,
                          {.kind = "limit",
                           .code = "session_size",
                           .message = "the session's state is larger than " +
                                      std::to_string(max_session_bytes >> 10) + " KiB"});
  }
  emit({.act = act->id, .node = id, .data = SessionSet{std::move(state)}});
}

}  // namespace kflow::machine
