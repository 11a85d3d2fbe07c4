// How blocks that hold others go on and end; compensation.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "runtime/machine/planner.hpp"

namespace kflow::machine {

using cel::Value;

void Planner::decide_parallel(Act& act) {
  const auto& node = std::get<ir::ParallelNode>(program_[act.node].data);
  FanData& fan = *act.fan;
  const bool open = !fan.decided && !act.stopping;
  if (open && fan.next < fan.total && (node.limit == 0 || fan.running < node.limit)) {
    const auto branch = static_cast<uint32_t>(fan.next);
    return emit({.act = s_.last_act + 1,
                 .parent = act.id,
                 .node = act.node,
                 .data = BranchStarted{branch}});
  }
  if (fan.running == 0) emit(act, ContainerEnded{}, true, outer_path(act));
}

void Planner::decide_for(Act& act) {
  const auto& node = std::get<ir::ForNode>(program_[act.node].data);
  FanData& fan = *act.fan;
  const bool open = !fan.decided && !act.stopping;
  if (open && fan.next < fan.total && fan.running < std::max(1U, node.limit)) {
    return emit({.act = s_.last_act + 1,
                 .parent = act.id,
                 .node = act.node,
                 .data = IterationStarted{fan.next}});
  }
  if (fan.running == 0) emit(act, ContainerEnded{}, true, act.path);
}

void Planner::decide_loop(Act& act) {
  if (act.busy) return;
  const auto& node = std::get<ir::LoopNode>(program_[act.node].data);
  LoopData& loop = *act.loop;
  const bool leaving = act.exit != Exit::none && act.exit != Exit::continued;
  if (act.stopping || leaving || loop.decided)
    return emit(act, ContainerEnded{}, true, outer_path(act));
  if (loop.started) {
    if (!at_end(act)) return begin_statement(act);
    return decide_after_iteration(act, node, loop);
  }
  const uint64_t next = act.frame->iteration;  // index of the coming iteration: those done so far
  if (next >= loop.max) return emit(act, LoopDecided{.exhausted = true}, false);
  if (node.while_ && !loop.may_start) {
    LoopDecided decided{.go_on = true};
    decided.error = condition({.state = s_, .frame = act.frame, .before_iteration = true},
                              node.while_, decided.go_on);
    return emit(act, std::move(decided), false);
  }
  emit(act, IterationStarted{next}, true, outer_path(act) + "[" + std::to_string(next + 1) + "]");
}

void Planner::decide_after_iteration(Act& act, const ir::LoopNode& node, const LoopData& loop) {
  LoopDecided decided{.go_on = true, .after_iteration = true};
  bool until = false;
  if (node.until) decided.error = condition({s_, act.frame}, node.until, until);
  const bool at_max = act.frame->iteration >= loop.max;
  decided.go_on = !until && !at_max && !decided.error;
  // With only a `while`, reaching max says nothing yet: the condition might be false by now, too;
  // max wins.
  decided.exhausted = !until && at_max && !decided.error;
  emit(act, std::move(decided), true, act.path);
}

std::optional<RunError> Planner::condition(const EvalContext& context, ir::ExprId expr,
                                           bool& verdict) {
  Evaluated result = evaluate(context, expr);
  if (auto* error = std::get_if<RunError>(&result)) return std::move(*error);
  const Value& value = std::get<Value>(result);
  if (value.kind() != cel::Kind::boolean) {
    return RunError{.kind = "type", .code = "condition", .message = "a condition must be a bool"};
  }
  verdict = value.as_bool();
  return std::nullopt;
}

void Planner::decide_try(Act& act) {
  const auto& node = std::get<ir::TryNode>(program_[act.node].data);
  if (act.phase == TryPhase::body && node.compensate && act.exit == Exit::failed && !act.stopping &&
      begin_undo(act))
    return;
  if (act.phase == TryPhase::body && act.exit == Exit::failed && !act.stopping &&
      !node.catches.empty()) {
    return emit(act, choose_catch(act, node), false);
  }
  if (act.phase != TryPhase::finally && node.finally) return emit(act, FinallyStarted{}, false);
  emit(act, ContainerEnded{}, false);
}

CatchTaken Planner::choose_catch(Act& act, const ir::TryNode& node) {
  CatchTaken taken;
  for (; taken.arm < node.catches.size(); ++taken.arm) {
    const ir::TryNode::Catch& handler = node.catches[taken.arm];
    if (!handler.guard) break;
    // The guard sees the error under the handler's name: bound for the evaluation, recorded by the
    // event.
    Value before;
    if (handler.error != ir::no_slot)
      before = std::exchange(act.frame->slots[handler.error], to_value(act.exit_error));
    bool verdict = false;
    auto error = condition({s_, act.frame}, handler.guard, verdict);
    if (handler.error != ir::no_slot) act.frame->slots[handler.error] = std::move(before);
    if (error) {
      taken.error = std::move(error);
      taken.arm = static_cast<uint32_t>(node.catches.size());
      break;
    }
    if (verdict) break;
  }
  return taken;
}

bool Planner::begin_undo(Act& outer) {
  const UndoEntry* entry = nullptr;
  for (const UndoEntry& e : s_.undo) {
    if (outer.kind == ActKind::body ||
        std::find(e.tries.begin(), e.tries.end(), outer.id) != e.tries.end())
      entry = &e;
  }
  if (entry == nullptr) return false;
  Launch undo{.block = outer,
              .existing = nullptr,
              .id = entry->node,
              .path = entry->path,
              .input = entry->plan.arguments,
              .role = Role::undo};
  if (entry->plan.error) {
    fail_to_begin(undo, *entry->plan.error);
  } else {
    launch(std::move(undo));
  }
  return true;
}

bool Planner::begin_hook(Act& body) {
  if (s_.hook_called) return false;
  const ir::WorkflowOptions& options = program_[s_.workflow].workflow;
  const ir::NodeId hook = s_.cancelling ? options.on_cancel : options.on_failure;
  if (!hook) return false;
  Launch call{.block = body,
              .existing = nullptr,
              .id = hook,
              .path = program_[hook].name,
              .input = Value::map({}),
              .role = Role::hook};
  // The tool may take what happened: the error, or why the run was cancelled.
  const ir::Callable& tool = program_[node_at(hook).call.callable];
  if (!tool.params.empty()) {
    const Value what =
        s_.cancelling ? Value::string(s_.cancel_reason)
                      : to_value(body.step->stop_error ? *body.step->stop_error : body.exit_error);
    call.input = Value::map({{Value::string(tool.params[0].name), what}});
  }
  launch(std::move(call));
  return true;
}

}  // namespace kflow::machine
