// How a step begins: its arguments, its options, what it waits for.
#include <algorithm>
#include <utility>

#include "compiler/base/bytes.hpp"
#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/planner.hpp"
#include "runtime/machine/prompts.hpp"

namespace kflow::machine {

using cel::Value;

namespace {

std::string text_of(const Value& v) {
  return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_display(v);
}

}  // namespace

// By name, in the callee's order, defaults filled in.
std::variant<Value, RunError> Planner::arguments(const EvalContext& context, const ir::Call& call) {
  cel::MapBuilder input;
  for (const ir::Argument& argument : call.arguments) {
    Evaluated value = evaluate(context, argument.value);
    if (auto* error = std::get_if<RunError>(&value)) return std::move(*error);
    input.set(argument.name, std::move(std::get<Value>(value)));
  }
  if (call.callable) {
    for (const ir::Param& param : program_[call.callable].params) {
      const bool given = std::any_of(call.arguments.begin(), call.arguments.end(),
                                     [&](const ir::Argument& a) { return a.name == param.name; });
      if (given || !param.fallback) continue;
      Evaluated value = evaluate({s_, nullptr}, param.fallback);
      if (auto* error = std::get_if<RunError>(&value)) return std::move(*error);
      input.set(param.name, std::move(std::get<Value>(value)));
    }
  }
  return std::move(input).take();
}

// Arguments or options that cannot be evaluated are an error of the step: it starts and fails at
// once, in one commit.
void Planner::fail_to_begin(const Launch& launch, RunError error) {
  error.step = launch.path;
  error.retryable = false;
  step_failed(emit_step(launch, StepStarted{.mode = StepMode::at_once}), std::move(error));
}

void Planner::launch(Launch launch) {
  const ir::StepNode& node = node_at(launch.id);
  const EvalContext context{s_, launch.block.frame};
  Millis deadline = never;
  if (const auto ms = duration_ms(context, node.options.timeout)) deadline = now_ + *ms;
  if (node.call.kind == ir::CalleeKind::tool && !node.options.cache)
    return enter_tool(launch, deadline);
  const bool agent =
      node.call.kind == ir::CalleeKind::agent || node.call.kind == ir::CalleeKind::team;
  if (agent && !node.options.cache) {
    const auto attempt = duration_ms(context, node.options.attempt_timeout);
    return launch_agent(launch, node, deadline, attempt.value_or(0));
  }

  StepStarted started{.input = launch.input, .deadline = deadline};
  if (node.options.idempotency_key) {
    Evaluated key = evaluate(context, node.options.idempotency_key);
    if (auto* error = std::get_if<RunError>(&key)) return fail_to_begin(launch, std::move(*error));
    started.key = text_of(std::get<Value>(key));
  }
  if (const auto ms = duration_ms(context, node.options.attempt_timeout)) {
    started.attempt_timeout_ms = *ms;
    started.attempt_deadline = now_ + *ms;
  }
  switch (node.call.kind) {
    case ir::CalleeKind::builtin:
      return launch_builtin(launch, node, std::move(started));
    case ir::CalleeKind::tool:
    case ir::CalleeKind::extern_tool:
    case ir::CalleeKind::mcp_tool:
      return launch_leaf(launch, node, std::move(started));
    case ir::CalleeKind::workflow:
    case ir::CalleeKind::workflow_start:
      return launch_child(launch, node, std::move(started));
    case ir::CalleeKind::agent:
    case ir::CalleeKind::team:
      return launch_leaf(launch, node, std::move(started));  // looks into the cache first
    case ir::CalleeKind::model:
      if (launch.block.step->attempt_timeout_ms > 0) {
        started.attempt_timeout_ms = launch.block.step->attempt_timeout_ms;
        started.attempt_deadline = now_ + started.attempt_timeout_ms;
      }
      return launch_leaf(launch, node, std::move(started));
  }
  std::unreachable();
}

void Planner::launch_builtin(Launch& launch, const ir::StepNode& node, StepStarted started) {
  const std::string& name = node.call.name;
  if (name == "sleep" || name == "sleep_until") {
    const auto wake = wake_time(started.input);
    if (!wake)
      return fail_to_begin(launch, {.kind = "type",
                                    .code = "sleep",
                                    .message = "`" + name + "` got a value of the wrong type"});
    started.timer = *wake;
    started.mode = StepMode::timer;
  } else if (name == "signal.wait") {
    started.mode = StepMode::signal;
  } else if (name == "runs.wait") {
    started.mode = StepMode::run;
  } else if (name == "kv.put" || name == "kv.delete") {
    return write_shared(launch, node, std::move(started));
  }
  launch_leaf(launch, node, std::move(started));
}

void Planner::launch_leaf(Launch& launch, const ir::StepNode&, StepStarted started) {
  release(emit_step(launch, std::move(started)));
}

void Planner::launch_child(Launch& launch, const ir::StepNode& node, StepStarted started) {
  const bool attached = node.call.kind == ir::CalleeKind::workflow;
  started.mode = attached ? StepMode::child : StepMode::at_once;
  started.child = derived_run_id(now_, s_.run_id + "\n" + launch.path + "\n1");
  const std::string child = started.child;
  launch_leaf(launch, node, std::move(started));
  if (attached) return;
  Act& act = *s_.find(launch.existing != nullptr ? launch.existing->id : s_.last_act);
  turn.actions.push_back(StartChild{act.id, child, node.call.callable, act.step->input, false, {}});
  complete(act, Value::string(child));
}

// A shared value is written in the commit of the step's events: once, whatever crashes.
void Planner::write_shared(Launch& launch, const ir::StepNode& node, StepStarted started) {
  const Value* key = started.input.find("key");
  const Value* value = started.input.find("value");
  const bool put = node.call.name == "kv.put";
  if (key == nullptr || key->kind() != cel::Kind::string || key->as_string().size() > max_kv_key ||
      key->as_string().empty()) {
    return fail_to_begin(launch, {.kind = "limit",
                                  .code = "kv_key",
                                  .message = "the key of a shared value has 1 to " +
                                             std::to_string(max_kv_key) + " bytes"});
  }
  if (put && value != nullptr && value->memory() > max_kv_bytes) {
    return fail_to_begin(launch, {.kind = "limit",
                                  .code = "kv_size",
                                  .message = "a shared value is at most " +
                                             std::to_string(max_kv_bytes >> 20) + " MiB"});
  }
  WriteValue write{.key = std::string(key->as_string()), .value = {}};
  if (put) write.value = value == nullptr ? Value() : *value;
  started.mode = StepMode::at_once;
  Act& act = emit_step(launch, std::move(started));
  turn.actions.push_back(std::move(write));
  complete(act, Value());
}

void Planner::enter_tool(Launch& launch, Millis deadline) {
  if (too_deep(launch.block)) return fail_to_begin(launch, depth_error());
  emit_step(launch, ToolEntered{.input = std::move(launch.input), .deadline = deadline});
}

std::optional<Millis> Planner::wake_time(const Value& input) const {
  if (input.size() != 1) return std::nullopt;
  const Value& v = input.as_map()[0].value;
  if (v.kind() == cel::Kind::duration)
    return now_ + std::max<Millis>(0, v.as_duration().nanos / 1'000'000);
  if (v.kind() != cel::Kind::timestamp) return std::nullopt;
  const cel::Timestamp t = v.as_timestamp();
  return std::max<Millis>(0, t.seconds * 1000 + (t.nanos + 999'999) / 1'000'000);
}

// What is called and with what; whose definition is the program's is made distinct by the program's
// hash outside.
std::string Planner::cache_key(const ir::StepNode& node, const Value& input) const {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(node.call.kind));
  out.string(node.call.name);
  if (node.call.kind == ir::CalleeKind::extern_tool) {
    for (const std::string& word : program_[node.call.callable].command) out.string(word);
  }
  if (node.call.kind == ir::CalleeKind::mcp_tool) {
    const ir::McpTool& tool = program_[node.call.callable].mcp;
    out.string(tool.name);
    out.string(program_[tool.server].url);
    for (const std::string& word : program_[tool.server].command) out.string(word);
  }
  cel::encode_value(input, out);
  return to_hex(sha256(out.buffer()));
}

// Lets the step do what it waits for: called once its start is decided, and again for every further
// attempt.
void Planner::release(const Act& act) {
  const ir::StepNode& node = node_of(act);
  const StepData& step = *act.step;
  switch (step.mode) {
    case StepMode::timer:
      if (due_of(act) <= now_) on_timer(*s_.find(act.id));
      return;
    case StepMode::signal:
      return try_signal(*s_.find(act.id));
    case StepMode::run: {
      const Value* id = step.input.find("id");
      turn.actions.push_back(WatchRun{act.id, id == nullptr ? "" : text_of(*id)});
      return;
    }
    case StepMode::child:
      turn.actions.push_back(
          StartChild{act.id, step.child, node.call.callable, step.input, true, left_for(act)});
      return;
    case StepMode::at_once:
      return;
    case StepMode::effect:
      break;
  }
  StartActivity start{.act = act.id,
                      .attempt = step.attempt,
                      .kind = node.call.kind,
                      .callee = node.call.name,
                      .command = {},
                      .input = step.input,
                      .idempotency_key = key_of(act),
                      .path = act.path,
                      .attempt_deadline = std::min(step.attempt_deadline, step.deadline)};
  if (node.call.kind == ir::CalleeKind::extern_tool)
    start.command = program_[node.call.callable].command;
  if (node.call.kind == ir::CalleeKind::mcp_tool) start.callable = node.call.callable;
  if (node.options.cache) start.cache_key = cache_key(node, step.input);
  start.cache_only = node.call.kind == ir::CalleeKind::tool ||
                     node.call.kind == ir::CalleeKind::agent ||
                     node.call.kind == ir::CalleeKind::team;
  if (node.call.kind == ir::CalleeKind::model) {
    const Act& agent = *s_.find(act.parent);
    start.model = std::make_shared<const conversation::ModelRequest>(model_request(s_, agent));
    for (const Act* up = &agent; up != nullptr; up = s_.find(up->parent))
      start.priced = start.priced || (up->agent && up->agent->usd_limit >= 0);
    start.priced = start.priced || s_.usd_limit >= 0;
  }
  turn.actions.push_back(std::move(start));
}

void Planner::start_again(Act& act, StartReason reason) {
  if (act.step->told) emit(act, ContentReset{}, true, act.path);
  StepStarted started{.attempt = act.step->attempt + 1, .reason = reason, .mode = act.step->mode};
  if (act.step->attempt_timeout_ms != 0)
    started.attempt_deadline = now_ + act.step->attempt_timeout_ms;
  if (started.mode == StepMode::child)
    started.child =
        derived_run_id(now_, s_.run_id + "\n" + act.path + "\n" + std::to_string(started.attempt));
  if (started.mode == StepMode::timer) started.timer = act.step->wake;
  emit(act, std::move(started), true, act.path);
  release(act);
}

// The process that had the run is gone, or the run is a copy of another.
void Planner::recover_step(Act& act) {
  StepData& step = *act.step;
  switch (step.phase) {
    case StepPhase::sleeping:
    case StepPhase::backing_off:
    case StepPhase::asking:
      return;
    case StepPhase::waiting:
      if (step.orphaned && (step.mode == StepMode::child || step.mode == StepMode::run))
        start_again(act, StartReason::interrupted);
      return;
    case StepPhase::stopping:
      if (step.mode == StepMode::child && !step.orphaned)
        return;  // it was told in the commit that stopped the step
      return end_stopped(act);
    case StepPhase::in_flight:
      break;
  }
  if (act.stopping) return cancel_step(act);
  if (options_of(act).at_most_once) {
    return step_failed(
        act, {.kind = "unknown_outcome",
              .code = "interrupted",
              .message = "the process ended while the step ran, and it says `at_most_once`",
              .step = act.path});
  }
  start_again(act, StartReason::interrupted);
}

}  // namespace kflow::machine
