// Planner: decides, event by event, what a run does next. Private to the machine; `start` and
// `advance` are its surface.
#pragma once

#include <optional>
#include <string>

#include "runtime/machine/expressions.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

/// Lives for one turn. Every decision is an event that is applied at once and goes into the turn.
class Planner {
 public:
  Planner(RunState& state, Millis now) : s_(state), program_(*state.program), now_(now) {}

  Turn turn;

  void begin(RunStarted started, Limits limits);
  /// Takes one input; `run` then decides what follows.
  void operator()(const OutcomeInput& input);
  void operator()(const RunEndedInput& input);
  void operator()(const CancelInput& input);
  void operator()(const SignalInput& input);
  void operator()(const AnswerInput& input);
  void operator()(const SessionInput& input);
  void operator()(const TickInput& input);
  void operator()(const RecoverInput& input);
  void operator()(const DeltaInput& input);
  void operator()(const HistoryInput& input);
  void run();

 private:
  // plan.cpp
  void emit(Event event);
  void emit(const Act& act, EventData data, bool shown, std::string path = {});
  void emit_new(const Act& parent, ir::NodeId node, EventData data, bool shown,
                std::string path = {});
  std::string outer_path(const Act& act) const;
  void decide(Act& act);
  bool at_end(const Act& act) const;
  void end_run(Act& body);
  bool waits_for_people() const;

  // plan_statements.cpp
  void begin_statement(Act& act);
  void fail_statement(const Act& act, ir::NodeId id, RunError error);
  std::optional<cel::Value> value_of(const Act& act, ir::NodeId id, ir::ExprId expr);
  std::optional<Millis> duration_ms(const EvalContext& context, ir::ExprId expr);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::StepNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::LetNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::SetNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::IfNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::MatchNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::ParallelNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::ForNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::LoopNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::TryNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::ReturnNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::FailNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::EmitNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::BreakNode& node);
  void begin(Act& act, ir::NodeId id, const ir::Node& info, const ir::ContinueNode& node);

  // plan_blocks.cpp
  void decide_parallel(Act& act);
  void decide_for(Act& act);
  void decide_loop(Act& act);
  void decide_after_iteration(Act& act, const ir::LoopNode& node, const LoopData& loop);
  std::optional<RunError> condition(const EvalContext& context, ir::ExprId expr, bool& verdict);
  void decide_try(Act& act);
  CatchTaken choose_catch(Act& act, const ir::TryNode& node);
  /// Starts the newest compensation that belongs to the run's body or to a `try`; false: there is
  /// none.
  bool begin_undo(Act& outer);
  bool begin_hook(Act& body);

  // plan_start.cpp: a step begins
  /// What is to run, once its arguments are there and, if the author wanted it, a person has
  /// agreed.
  struct Launch {
    const Act& block;
    const Act* existing;  ///< the activation, if a person was asked first
    ir::NodeId id;
    std::string path;
    cel::Value input;
    Role role = Role::statement;
    std::string label;  ///< "": none
  };
  /// On the activation that is there already, or as the first event of a new one; gives it.
  Act& emit_step(const Launch& launch, EventData data);
  std::variant<cel::Value, RunError> arguments(const EvalContext& context, const ir::Call& call);
  void fail_to_begin(const Launch& launch, RunError error);
  void launch(Launch launch);
  void launch_leaf(Launch& launch, const ir::StepNode& node, StepStarted started);
  void launch_builtin(Launch& launch, const ir::StepNode& node, StepStarted started);
  void launch_child(Launch& launch, const ir::StepNode& node, StepStarted started);
  void write_shared(Launch& launch, const ir::StepNode& node, StepStarted started);
  void enter_tool(Launch& launch, Millis deadline);
  std::optional<Millis> wake_time(const cel::Value& input) const;
  std::string cache_key(const ir::StepNode& node, const cel::Value& input) const;
  void release(const Act& act);
  void start_again(Act& act, StartReason reason);
  void recover_step(Act& act);

  // plan_end.cpp: a step ends
  const ir::StepNode& node_at(ir::NodeId id) const {
    return std::get<ir::StepNode>(program_[id].data);
  }
  const ir::StepNode& node_of(const Act& act) const { return node_at(act.node); }
  std::string key_of(const Act& act) const;
  void decide_step(Act& act);
  void stop_step(Act& act, std::optional<RunError> error);
  void take_outcome(Act& act, const std::variant<cel::Value, RunError>& outcome, bool cached);
  void complete(Act& act, cel::Value value, bool cached = false);
  void finish(Act& act, cel::Value value, bool cached);
  void attempt_failed(Act& act, RunError error);
  void step_failed(Act& act, RunError error);
  void cancel_step(Act& act);
  bool stopped_from_outside(const Act& act) const;
  void end_stopped(Act& act);
  void end_tool(Act& act);
  void on_timer(Act& act);
  void on_block_timer(Act& act);
  void try_signal(Act& act);
  std::optional<UndoPlan> undo_plan(const Act& act, const cel::Value* value);

  void agent_failed(const Act& act, const RunError& error);

  /// The options that attempts of a step go by; of a call of a model those of its agent's step.
  const ir::StepOptions& options_of(const Act& act) const;

  // plan_agent.cpp: agents and teams
  void launch_agent(Launch& launch, const ir::StepNode& node, Millis deadline,
                    Millis attempt_timeout_ms);
  bool too_deep(const Act& block) const;
  RunError depth_error() const;
  void decide_agent(Act& act);
  void next_guard(Act& act, bool input);
  std::string message_of(const Act& act) const;
  void launch_part(Act& act, ir::NodeId id, std::string path, cel::Value input);
  std::optional<RunError> budget_error(const Act& act) const;
  Limits left_for(const Act& act) const;
  void begin_turn(Act& act);
  RunError at_step(const Act& act, RunError error) const;
  void go_on_with_calls(Act& act);
  void answer_call(Act& act, uint32_t index, std::string text, bool is_error,
                   cel::Value tasks = {});
  void call_tool(Act& act, uint32_t index);
  void call_member(Act& act, uint32_t index);
  bool call_task_tool(Act& act, uint32_t index);
  cel::Value without_nulls(const cel::Value& input) const;
  void synthesise(Act& act);
  bool ask_again(Act& act, const std::string& what);
  void judge_answer(Act& act);
  void give_answer(Act& act);
  std::optional<std::string> unmet(const Act& act, cel::Value& value);

  // plan_asks.cpp: people
  bool begin_ask(const Launch& launch, const ir::StepNode& node);
  void review(Act& act, cel::Value value);
  void answered(Act& act, Answered answer);
  void ask_expired(Act& act);

  RunState& s_;
  const ir::Program& program_;
  Millis now_;
};

/// A number as US dollars.
std::optional<double> money(const cel::Value& value);
RunError timeout_error(const std::string& path, Millis limit_ms, bool attempt);

}  // namespace kflow::machine
