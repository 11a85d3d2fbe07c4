// advance: takes an input and decides what happens next, event by event, until the run waits or has ended.
#include <algorithm>
#include <utility>

#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "runtime/machine/expressions.hpp"
#include "runtime/machine/retry.hpp"

namespace kflow::machine {
namespace {

using cel::Value;

RunError timeout_error(const std::string& path, Millis limit_ms, bool attempt) {
  return {.kind = "timeout",
          .code = attempt ? "attempt_timeout" : "timeout",
          .message = (path.empty() ? std::string("the run") : "step `" + path + "`") + " took longer than its " +
                     (attempt ? "attempt_timeout" : "timeout") + " of " + std::to_string(limit_ms) + " ms",
          .step = path,
          .retryable = attempt};
}

class Planner {
 public:
  Planner(RunState& state, Millis now) : s_(state), program_(*state.program), now_(now) {}

  Turn turn;

  void begin(RunStarted started) {
    const ir::CallableId workflow = started.workflow;
    if (const ir::ExprId timeout = program_[workflow].workflow.timeout) {
      if (const auto ms = duration_ms({s_, nullptr}, timeout)) started.deadline = now_ + *ms;
    }
    emit({.act = 1, .shown = true, .data = std::move(started)});
  }

  // ---- inputs
  void operator()(const OutcomeInput& input) {
    Act* act = s_.find(input.act);
    if (act == nullptr || act->kind != ActKind::step || act->step->attempt != input.attempt || !act->step->counted) return;
    const Value* value = std::get_if<Value>(&input.outcome);
    if (act->step->phase == StepPhase::stopping) {
      // Stopped by a cancel or a join: a value that arrives all the same is recorded, so that nothing done is forgotten.
      if (value != nullptr && !act->step->stop_error) return complete(*act, *value);
      return end_stopped(*act);
    }
    if (value != nullptr) return complete(*act, *value);
    RunError error = std::get<RunError>(input.outcome);
    attempt_failed(*act, std::move(error));
  }

  void operator()(const CancelInput& input) {
    if (s_.status != RunStatus::running || s_.cancelling) return;
    emit({.act = 1, .data = CancelRequested{input.reason}});
  }

  void operator()(const TickInput&) {
    while (!s_.timers.empty() && s_.timers.begin()->first <= now_) on_timer(*s_.find(s_.timers.begin()->second));
  }

  void operator()(const RecoverInput&) {
    s_.ready.clear();
    std::vector<ActId> ids;
    for (const auto& [id, act] : s_.acts) ids.push_back(id);
    std::sort(ids.begin(), ids.end());
    for (const ActId id : ids) {
      Act& act = *s_.find(id);
      act.queued = false;
      s_.wake(act);
      if (act.kind == ActKind::step) recover_step(act);
    }
    (*this)(TickInput{});
  }

  // ---- decisions
  void run() {
    while (!s_.ready.empty()) {
      if (turn.events.size() >= max_events_per_turn) {
        turn.more = true;
        return;
      }
      const ActId id = s_.ready.front();
      s_.ready.pop_front();
      Act* act = s_.find(id);
      if (act == nullptr) continue;
      act->queued = false;
      decide(*act);
    }
  }

 private:
  void emit(Event event) {
    event.time = now_;
    apply(s_, event);
    turn.events.push_back(std::move(event));
  }
  // An event of an activation that exists.
  void emit(const Act& act, EventData data, bool shown, std::string path = {}) {
    emit({.act = act.id, .node = act.node, .shown = shown, .path = std::move(path), .data = std::move(data)});
  }
  // The first event of a new activation, for the statement `node` of the block of `parent`.
  void emit_new(const Act& parent, ir::NodeId node, EventData data, bool shown, std::string path = {}) {
    emit({.act = s_.last_act + 1,
          .parent = parent.id,
          .node = node,
          .shown = shown,
          .path = std::move(path),
          .data = std::move(data)});
  }

  std::string outer_path(const Act& act) const {
    const Act* parent = s_.find(act.parent);
    return child_path(parent == nullptr ? "" : parent->path, program_[act.node].name);
  }

  void decide(Act& act) {
    switch (act.kind) {
      case ActKind::step: return decide_step(act);
      case ActKind::parallel: return decide_parallel(act);
      case ActKind::for_each: return decide_for(act);
      case ActKind::loop: return decide_loop(act);
      case ActKind::tool:
        if (act.step->phase == StepPhase::backing_off) {
          if (act.stopping) emit(act, StepCancelled{}, true, act.path);
          return;
        }
        [[fallthrough]];
      case ActKind::body:
      case ActKind::arm:
      case ActKind::branch:
      case ActKind::iteration:
      case ActKind::try_: break;
    }
    if (act.busy) return;
    if (!at_end(act)) return begin_statement(act);
    switch (act.kind) {
      case ActKind::body: return end_run(act);
      case ActKind::tool: return end_tool(act);
      case ActKind::try_: return decide_try(act);
      case ActKind::arm: return emit(act, ContainerEnded{}, true, outer_path(act));
      case ActKind::branch:
      case ActKind::iteration: return emit(act, ContainerEnded{}, false);
      case ActKind::step:
      case ActKind::parallel:
      case ActKind::for_each:
      case ActKind::loop: break;
    }
  }

  bool at_end(const Act& act) const {
    return act.stopping || act.exit != Exit::none || !act.block || act.pc >= program_[act.block].statements.size();
  }

  // ---- statements
  void begin_statement(Act& act) {
    const ir::NodeId id = program_[act.block].statements[act.pc];
    const ir::Node& node = program_[id];
    std::visit([&](const auto& data) { begin(act, id, node, data); }, node.data);
  }

  // The statement could not even begin: its block is left with the error.
  void fail_statement(const Act& act, ir::NodeId id, RunError error) {
    if (error.step.empty()) error.step = child_path(act.path, program_[id].name);
    emit({.act = act.id, .node = id, .data = Left{.how = Left::How::failed, .value = {}, .error = std::move(error)}});
  }

  // Evaluates in the block of `act`; on an error the statement has failed and nothing is given.
  std::optional<Value> value_of(const Act& act, ir::NodeId id, ir::ExprId expr) {
    Evaluated result = evaluate({s_, act.frame}, expr);
    if (auto* value = std::get_if<Value>(&result)) return std::move(*value);
    fail_statement(act, id, std::move(std::get<RunError>(result)));
    return std::nullopt;
  }

  std::optional<Millis> duration_ms(const EvalContext& context, ir::ExprId expr) {
    if (!expr) return std::nullopt;
    Evaluated result = evaluate(context, expr);
    const Value* value = std::get_if<Value>(&result);
    if (value == nullptr || value->kind() != cel::Kind::duration) return std::nullopt;
    return std::max<Millis>(0, value->as_duration().nanos / 1'000'000);
  }

  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::LetNode& node) {
    if (auto value = value_of(act, id, node.value)) {
      emit({.act = act.id, .node = id, .data = LetEvaluated{std::move(*value)}});
    }
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::EmitNode& node) {
    if (auto value = value_of(act, id, node.value)) {
      emit({.act = act.id,
            .node = id,
            .shown = true,
            .path = child_path(act.path, program_[id].name),
            .data = Emitted{std::move(*value)}});
    }
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::SetNode&) {
    fail_statement(act, id, {.kind = "internal", .code = "not_built", .message = "`set session` does not run yet"});
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ReturnNode& node) {
    Value value;
    if (node.value) {
      auto evaluated = value_of(act, id, node.value);
      if (!evaluated) return;
      value = std::move(*evaluated);
    }
    emit({.act = act.id, .node = id, .data = Left{.how = Left::How::returned, .value = std::move(value), .error = {}}});
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::BreakNode&) {
    emit({.act = act.id, .node = id, .data = Left{.how = Left::How::broke, .value = {}, .error = {}}});
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ContinueNode&) {
    emit({.act = act.id, .node = id, .data = Left{.how = Left::How::continued, .value = {}, .error = {}}});
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::FailNode& node) {
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

  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::IfNode& node) {
    uint32_t taken = 0;
    for (; taken < node.arms.size(); ++taken) {
      if (!node.arms[taken].condition) break;
      const auto verdict = value_of(act, id, node.arms[taken].condition);
      if (!verdict) return;
      if (verdict->kind() == cel::Kind::boolean && verdict->as_bool()) break;
    }
    emit_new(act, id, ArmTaken{taken}, true, child_path(act.path, program_[id].name));
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::MatchNode& node) {
    const auto subject = value_of(act, id, node.subject);
    if (!subject) return;
    uint32_t taken = 0;
    for (; taken < node.arms.size(); ++taken) {
      const auto& patterns = node.arms[taken].patterns;
      if (patterns.empty()) break;
      if (std::any_of(patterns.begin(), patterns.end(), [&](const Value& p) { return p == *subject; })) break;
    }
    emit_new(act, id, ArmTaken{taken}, true, child_path(act.path, program_[id].name));
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ParallelNode&) {
    emit_new(act, id, ParallelStarted{}, true, child_path(act.path, program_[id].name));
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::ForNode& node) {
    auto items = value_of(act, id, node.items);
    if (!items) return;
    if (items->kind() != cel::Kind::list && items->kind() != cel::Kind::map) {
      return fail_statement(act, id,
                            {.kind = "type",
                             .code = "not_iterable",
                             .message = "`for` needs a list or a map, not " + std::string(cel::type_name(items->kind()))});
    }
    if (static_cast<uint64_t>(items->size()) > max_for_items) {
      return fail_statement(act, id,
                            {.kind = "limit",
                             .code = "for_items",
                             .message = "`for` over " + std::to_string(items->size()) + " items; the limit is " +
                                        std::to_string(max_for_items)});
    }
    emit_new(act, id, ForStarted{std::move(*items)}, true, child_path(act.path, program_[id].name));
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::LoopNode& node) {
    const auto max = value_of(act, id, node.max);
    if (!max) return;
    if (max->kind() != cel::Kind::int_ || max->as_int() < 0) {
      return fail_statement(act, id, {.kind = "type", .code = "loop_max", .message = "`max` must be an int of at least 0"});
    }
    emit_new(act, id, LoopStarted{static_cast<uint64_t>(max->as_int())}, true, child_path(act.path, program_[id].name));
  }
  void begin(Act& act, ir::NodeId id, const ir::Node&, const ir::TryNode&) { emit_new(act, id, TryStarted{}, false); }

  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::StepNode& node) {
    const EvalContext context{s_, act.frame};
    const std::string path = child_path(act.path, info.name);
    cel::MapBuilder input;
    for (const ir::Argument& argument : node.call.arguments) {
      Evaluated value = evaluate(context, argument.value);
      if (auto* error = std::get_if<RunError>(&value)) return fail_to_begin(act, id, path, std::move(*error));
      input.set(argument.name, std::move(std::get<Value>(value)));
    }
    if (node.call.callable) {
      for (const ir::Param& param : program_[node.call.callable].params) {
        if (!param.fallback) continue;
        if (std::any_of(node.call.arguments.begin(), node.call.arguments.end(),
                        [&](const ir::Argument& a) { return a.name == param.name; })) {
          continue;
        }
        Evaluated value = evaluate({s_, nullptr}, param.fallback);
        if (auto* error = std::get_if<RunError>(&value)) return fail_to_begin(act, id, path, std::move(*error));
        input.set(param.name, std::move(std::get<Value>(value)));
      }
    }
    Value record = std::move(input).take();
    Millis deadline = never;
    if (const auto ms = duration_ms(context, node.options.timeout)) deadline = now_ + *ms;

    switch (node.call.kind) {
      case ir::CalleeKind::tool: return enter_tool(act, id, path, std::move(record), deadline);
      case ir::CalleeKind::builtin:
      case ir::CalleeKind::extern_tool: break;
      case ir::CalleeKind::workflow:
      case ir::CalleeKind::workflow_start:
      case ir::CalleeKind::agent:
      case ir::CalleeKind::team:
      case ir::CalleeKind::mcp_tool:
        return fail_to_begin(act, id, path,
                             {.kind = "internal", .code = "not_built", .message = "`" + node.call.name + "` does not run yet"});
    }

    StepStarted started{.input = std::move(record), .deadline = deadline};
    if (node.options.idempotency_key) {
      Evaluated key = evaluate(context, node.options.idempotency_key);
      if (auto* error = std::get_if<RunError>(&key)) return fail_to_begin(act, id, path, std::move(*error));
      const Value& v = std::get<Value>(key);
      started.key = v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_display(v);
    }
    if (const auto ms = duration_ms(context, node.options.attempt_timeout)) {
      started.attempt_timeout_ms = *ms;
      started.attempt_deadline = now_ + *ms;
    }
    if (node.call.name == "sleep" || node.call.name == "sleep_until") {
      const auto wake = wake_time(started.input);
      if (!wake) {
        return fail_to_begin(act, id, path,
                             {.kind = "type", .code = "sleep", .message = "`" + node.call.name + "` got a value of the wrong type"});
      }
      started.timer = *wake;
    }
    const bool effect = started.timer == never;
    emit_new(act, id, std::move(started), true, path);
    Act& step = *s_.find(s_.last_act);
    if (effect) {
      release(step);
    } else if (due_of(step) <= now_) {
      on_timer(step);
    }
  }

  std::optional<Millis> wake_time(const Value& input) const {
    if (input.size() != 1) return std::nullopt;
    const Value& v = input.as_map()[0].value;
    if (v.kind() == cel::Kind::duration) return now_ + std::max<Millis>(0, v.as_duration().nanos / 1'000'000);
    if (v.kind() != cel::Kind::timestamp) return std::nullopt;
    const cel::Timestamp t = v.as_timestamp();
    return std::max<Millis>(0, t.seconds * 1000 + (t.nanos + 999'999) / 1'000'000);
  }

  // Arguments that cannot be evaluated are an error of the step: it starts and fails at once, both in one commit.
  void fail_to_begin(Act& act, ir::NodeId id, const std::string& path, RunError error) {
    error.step = path;
    error.retryable = false;
    emit_new(act, id, StepStarted{.timer = now_}, true, path);
    step_failed(*s_.find(s_.last_act), std::move(error));
  }

  void enter_tool(Act& act, ir::NodeId id, const std::string& path, Value input, Millis deadline) {
    size_t depth = 0;
    for (const Act* up = &act; up != nullptr; up = s_.find(up->parent)) depth += up->kind == ActKind::tool;
    if (depth >= max_tool_depth) {
      return fail_to_begin(act, id, path,
                           {.kind = "limit",
                            .code = "tool_depth",
                            .message = "tools call each other deeper than " + std::to_string(max_tool_depth) + " levels"});
    }
    emit_new(act, id, ToolEntered{.input = std::move(input), .deadline = deadline}, true, path);
  }

  // ---- steps
  const ir::StepNode& node_of(const Act& act) const { return std::get<ir::StepNode>(program_[act.node].data); }

  std::string key_of(const Act& act) const {
    if (!act.step->key.empty()) return act.step->key;
    return to_hex(sha256(s_.run_id + "\n" + act.path)).substr(0, 32);
  }

  void release(const Act& act) {
    const ir::StepNode& node = node_of(act);
    StartActivity start{.act = act.id,
                        .attempt = act.step->attempt,
                        .kind = node.call.kind,
                        .callee = node.call.name,
                        .command = {},
                        .input = act.step->input,
                        .idempotency_key = key_of(act),
                        .path = act.path,
                        .attempt_deadline = std::min(act.step->attempt_deadline, act.step->deadline)};
    if (node.call.kind == ir::CalleeKind::extern_tool) start.command = program_[node.call.callable].command;
    turn.actions.push_back(std::move(start));
  }

  void decide_step(Act& act) {
    if (!act.stopping) return;
    switch (act.step->phase) {
      case StepPhase::in_flight:
        emit(act, StopRequested{}, false);
        turn.actions.push_back(StopActivity{act.id, act.step->attempt});
        return;
      case StepPhase::sleeping:
      case StepPhase::backing_off: return emit(act, StepCancelled{}, true, act.path);
      case StepPhase::stopping: return;
    }
  }

  void complete(Act& act, Value value) {
    const ir::StepNode& node = node_of(act);
    if (value.memory() > max_value_bytes) {
      return attempt_failed(act, {.kind = "limit",
                                  .code = "value_size",
                                  .message = "the value is larger than " + std::to_string(max_value_bytes >> 20) + " MiB"});
    }
    if (node.check) {
      if (auto error = check_type(program_, node.type, value, "the value of step `" + act.path + "`")) {
        return attempt_failed(act, std::move(*error));
      }
    }
    emit(act, StepCompleted{std::move(value)}, true, act.path);
  }

  void attempt_failed(Act& act, RunError error) {
    error.step = error.step.empty() ? act.path : error.step;
    const ir::StepNode& node = node_of(act);
    const ir::RetryPolicy policy = node.options.retry ? *node.options.retry : default_retry(program_, node.call);
    const uint32_t made = act.step->attempt - act.step->interruptions;
    if (!stopped_from_outside(act) && may_retry(policy, error, made)) {
      const Millis due = now_ + backoff_ms(policy, made, s_.run_id, act.path, error);
      if (due < act.step->deadline) return emit(act, StepRetryScheduled{std::move(error), due}, true, act.path);
    }
    step_failed(act, std::move(error));
  }

  // A tool that is over its own time is stopping too, but its step may still be retried or go on.
  bool stopped_from_outside(const Act& act) const { return s_.find(act.parent)->stopping; }

  void step_failed(Act& act, RunError error) {
    StepFailed failed{.error = std::move(error)};
    const ir::StepOptions& options = node_of(act).options;
    if (options.on_error == ir::OnError::continue_ && !stopped_from_outside(act)) {
      failed.continued = true;
      if (options.fallback) {
        Evaluated value = evaluate({s_, s_.find(act.parent)->frame}, options.fallback);
        if (auto* bad = std::get_if<RunError>(&value)) {
          failed.continued = false;
          failed.error = std::move(*bad);
          failed.error.step = act.path;
        } else {
          failed.value = std::move(std::get<Value>(value));
        }
      }
    }
    emit(act, std::move(failed), true, act.path);
  }

  // The outcome of a stopped step is here, or is no longer waited for.
  void end_stopped(Act& act) {
    if (!act.step->stop_error) return emit(act, StepCancelled{}, true, act.path);
    attempt_failed(act, *act.step->stop_error);
  }

  void start_again(Act& act, StartReason reason) {
    StepStarted started{.attempt = act.step->attempt + 1, .reason = reason};
    if (act.step->attempt_timeout_ms != 0) started.attempt_deadline = now_ + act.step->attempt_timeout_ms;
    emit(act, std::move(started), true, act.path);
    release(act);
  }

  void recover_step(Act& act) {
    switch (act.step->phase) {
      case StepPhase::sleeping:
      case StepPhase::backing_off: return;
      case StepPhase::stopping: return end_stopped(act);
      case StepPhase::in_flight: break;
    }
    if (act.stopping) return emit(act, StepCancelled{}, true, act.path);
    if (node_of(act).options.at_most_once) {
      return step_failed(act, {.kind = "unknown_outcome",
                               .code = "interrupted",
                               .message = "the process ended while the step ran, and it says `at_most_once`",
                               .step = act.path});
    }
    start_again(act, StartReason::interrupted);
  }

  void on_timer(Act& act) {
    StepData& step = *act.step;
    if (act.kind != ActKind::step) return on_block_timer(act);
    if (step.phase == StepPhase::stopping) return end_stopped(act);
    if (step.deadline <= now_) {
      RunError error = timeout_error(act.path, step.deadline - step.started_at, false);
      if (step.phase == StepPhase::in_flight) return stop_step(act, std::move(error));
      return step_failed(act, std::move(error));
    }
    switch (step.phase) {
      case StepPhase::sleeping: return emit(act, StepCompleted{}, true, act.path);
      case StepPhase::backing_off: return start_again(act, StartReason::retry);
      case StepPhase::in_flight: return stop_step(act, timeout_error(act.path, step.attempt_timeout_ms, true));
      case StepPhase::stopping: return;
    }
  }

  void stop_step(Act& act, RunError error) {
    emit(act, StopRequested{std::move(error)}, false);
    turn.actions.push_back(StopActivity{act.id, act.step->attempt});
  }

  // Deadline of a tool or of the run, or the end of a tool's backoff.
  void on_block_timer(Act& act) {
    StepData& step = *act.step;
    if (step.deadline <= now_) {
      RunError error = timeout_error(act.path, step.deadline - (act.kind == ActKind::body ? s_.started_at : step.started_at), false);
      if (step.phase == StepPhase::backing_off) return step_failed(act, std::move(error));
      return emit(act, StopRequested{std::move(error)}, false);
    }
    emit(act, ToolEntered{.input = {}, .deadline = step.deadline, .attempt = step.attempt + 1}, true, act.path);
  }

  void end_tool(Act& act) {
    if (act.step->stop_error) return step_failed(act, *act.step->stop_error);
    if (act.stopping) return emit(act, StepCancelled{}, true, act.path);
    if (act.exit == Exit::failed) {
      RunError error = act.exit_error;
      return attempt_failed(act, std::move(error));
    }
    complete(act, act.exit == Exit::returned ? act.exit_value : Value());
  }

  // ---- containers
  void decide_parallel(Act& act) {
    const auto& node = std::get<ir::ParallelNode>(program_[act.node].data);
    FanData& fan = *act.fan;
    const bool open = !fan.decided && !act.stopping;
    if (open && fan.next < fan.total && (node.limit == 0 || fan.running < node.limit)) {
      const auto branch = static_cast<uint32_t>(fan.next);
      return emit({.act = s_.last_act + 1, .parent = act.id, .node = act.node, .data = BranchStarted{branch}});
    }
    if (fan.running == 0) emit(act, ContainerEnded{}, true, outer_path(act));
  }

  void decide_for(Act& act) {
    const auto& node = std::get<ir::ForNode>(program_[act.node].data);
    FanData& fan = *act.fan;
    const bool open = !fan.decided && !act.stopping;
    if (open && fan.next < fan.total && fan.running < std::max(1U, node.limit)) {
      return emit({.act = s_.last_act + 1, .parent = act.id, .node = act.node, .data = IterationStarted{fan.next}});
    }
    if (fan.running == 0) emit(act, ContainerEnded{}, true, act.path);
  }

  void decide_loop(Act& act) {
    if (act.busy) return;
    const auto& node = std::get<ir::LoopNode>(program_[act.node].data);
    LoopData& loop = *act.loop;
    const bool leaving = act.exit != Exit::none && act.exit != Exit::continued;
    if (act.stopping || leaving || loop.decided) return emit(act, ContainerEnded{}, true, outer_path(act));
    if (loop.started) {
      if (!at_end(act)) return begin_statement(act);
      return decide_after_iteration(act, node, loop);
    }
    const uint64_t next = act.frame->iteration;  // index of the coming iteration: those done so far
    if (next >= loop.max) return emit(act, LoopDecided{.exhausted = true}, false);
    if (node.while_ && !loop.may_start) {
      LoopDecided decided{.go_on = true};
      decided.error = condition({.state = s_, .frame = act.frame, .before_iteration = true}, node.while_, decided.go_on);
      return emit(act, std::move(decided), false);
    }
    emit(act, IterationStarted{next}, true, outer_path(act) + "[" + std::to_string(next + 1) + "]");
  }

  void decide_after_iteration(Act& act, const ir::LoopNode& node, const LoopData& loop) {
    LoopDecided decided{.go_on = true, .after_iteration = true};
    bool until = false;
    if (node.until) decided.error = condition({s_, act.frame}, node.until, until);
    const bool at_max = act.frame->iteration >= loop.max;
    decided.go_on = !until && !at_max && !decided.error;
    // With only a `while`, reaching max says nothing yet: the condition might be false by now, too; max wins.
    decided.exhausted = !until && at_max && !decided.error;
    emit(act, std::move(decided), true, act.path);
  }

  std::optional<RunError> condition(const EvalContext& context, ir::ExprId expr, bool& verdict) {
    Evaluated result = evaluate(context, expr);
    if (auto* error = std::get_if<RunError>(&result)) return std::move(*error);
    const Value& value = std::get<Value>(result);
    if (value.kind() != cel::Kind::boolean) {
      return RunError{.kind = "type", .code = "condition", .message = "a condition must be a bool"};
    }
    verdict = value.as_bool();
    return std::nullopt;
  }

  void decide_try(Act& act) {
    const auto& node = std::get<ir::TryNode>(program_[act.node].data);
    if (act.phase == TryPhase::body && act.exit == Exit::failed && !act.stopping && !node.catches.empty()) {
      return emit(act, choose_catch(act, node), false);
    }
    if (act.phase != TryPhase::finally && node.finally) return emit(act, FinallyStarted{}, false);
    emit(act, ContainerEnded{}, false);
  }

  CatchTaken choose_catch(Act& act, const ir::TryNode& node) {
    CatchTaken taken;
    for (; taken.arm < node.catches.size(); ++taken.arm) {
      const ir::TryNode::Catch& handler = node.catches[taken.arm];
      if (!handler.guard) break;
      // The guard sees the error under the handler's name: bound for the evaluation, recorded by the event.
      Value before;
      if (handler.error != ir::no_slot) before = std::exchange(act.frame->slots[handler.error], to_value(act.exit_error));
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

  void end_run(Act& act) {
    if (s_.cancelling) return emit({.act = 1, .shown = true, .data = RunCancelled{s_.cancel_reason}});
    if (act.step->stop_error) return emit({.act = 1, .shown = true, .data = RunFailed{*act.step->stop_error}});
    if (act.exit == Exit::failed) return emit({.act = 1, .shown = true, .data = RunFailed{act.exit_error}});
    Value value = act.exit == Exit::returned ? act.exit_value : Value();
    emit({.act = 1, .shown = true, .data = RunCompleted{std::move(value)}});
  }

  RunState& s_;
  const ir::Program& program_;
  Millis now_;
};

}  // namespace

Turn start(RunState& state, RunStarted event, Millis now) {
  Planner planner(state, now);
  planner.begin(std::move(event));
  planner.run();
  return std::move(planner.turn);
}

Turn advance(RunState& state, const Input& input, Millis now) {
  Planner planner(state, now);
  if (state.status == RunStatus::running) {
    std::visit(planner, input);
    planner.run();
  }
  return std::move(planner.turn);
}

}  // namespace kflow::machine
