// Applier: folds one event into the state, a case for each kind of event. Private to `apply`. Reads
// only; no expression is ever evaluated here.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "compiler/base/check.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

class Applier {
  using Value = cel::Value;

 public:
  Applier(RunState& state, const Event& event) : s_(state), e_(event), program_(*state.program) {}
  void operator()(const RunStarted& p);
  void operator()(const CancelRequested& p);
  void operator()(const RunCompleted& p);
  void operator()(const RunFailed& p);
  void operator()(const RunCancelled&) { end_run(RunStatus::cancelled); }
  void operator()(const RunPaused&) { s_.status = RunStatus::paused; }
  void operator()(const RunContinued&) { s_.status = RunStatus::running; }
  void operator()(const RunResumed& p);
  void operator()(const RunForked& p);
  void operator()(const RunMoved&) {}
  void operator()(const SignalReceived& p);
  void operator()(const StepStarted& p);
  void operator()(const StepCompleted& p);
  void operator()(const Asked& p);
  void operator()(const Answered&) { close_ask(own()); }
  void operator()(const SessionSet& p);
  void operator()(const StepRetryScheduled& p);
  void operator()(const StepFailed& p);
  void operator()(const StopRequested& p);
  void operator()(const StepCancelled& p);

  // ---- agents
  void operator()(const AgentEntered& p);
  void operator()(const AgentBegan&) {}
  void operator()(const HistoryGiven& p);
  void operator()(const MembersCalled&);
  void operator()(const CallAnswered& p);
  void operator()(const Told& p);
  void operator()(const AnswerGiven& p);
  void operator()(const AgentEnded&) { own().agent->phase = AgentPhase::done; }
  void operator()(const AgentFailed& p);
  void operator()(const UsageRecorded& p);
  void operator()(const ContentDelta&) { own().step->told = true; }
  void operator()(const ContentReset&) { own().step->told = false; }
  void operator()(const Trimmed&) { own().step->told = true; }
  void operator()(const BudgetSet& p);
  void operator()(const LetEvaluated& p);
  void operator()(const Emitted&) { next(own()); }
  void operator()(const Left& p);
  void operator()(const ToolEntered& p);
  void operator()(const ArmTaken& p);
  void operator()(const ParallelStarted&);
  void operator()(const BranchStarted& p);
  void operator()(const ForStarted& p);
  void operator()(const LoopStarted& p);
  void operator()(const IterationStarted& p);
  void operator()(const LoopDecided& p);
  void operator()(const TryStarted&);
  void operator()(const CatchTaken& p);
  void operator()(const FinallyStarted&);
  void operator()(const ContainerEnded&);

 private:
  // The record `info(name)` gives.
  static Value make_facts(std::string_view status, uint32_t attempts, Millis started, Millis ended,
                          const RunError* error, Value usage = {},
                          std::initializer_list<std::pair<std::string_view, Value>> more = {});

  // An error that arises in this event.
  RunError caused(RunError error) const {
    error.cause_seq = s_.events;
    return error;
  }

  // ---- agents
  static void set_tasks(AgentData& data, const Value& tasks);
  // A call of the model, of a tool or of a guard begins.
  void begin_part(Act& outer, const Act& act);
  void end_call(Act& act, const Value& value, const RunError* error);
  // For `info(name).usage`.
  static Value used_by(const Act& act);

  // ---- steps
  // A step of the parent's block, or of its compensation.
  Act& add_step();
  static std::string signal_name(const Act& act);
  void take_signal(const Act& act);
  void close_ask(Act& act);
  void remember_undo(const Act& act, const std::optional<UndoPlan>& plan);
  // The newest entry that belongs to `outer`: of the run's body all do.
  void take_undo(const Act& outer);

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
  Act& add(ActKind kind, Act* parent);
  // A container statement of the parent's block.
  Act& add_inside(ActKind kind);
  void open_frame(Act& act, ir::ScopeId scope, Frame* outer);
  void enter_callable(Act& act, const ir::Callable& callable, const Value& input);
  void remove(Act& act);
  void set_phase(Act& act, StepPhase phase);
  void retime(Act& act) { s_.set_timer(act.id, due_of(act)); }

  // ---- blocks
  void next(Act& act) {
    ++act.pc;
    s_.wake(act);
  }
  void leave(Act& act, Exit exit, Value value, RunError error);
  static Exit exit_of(const Act& act) {
    if (act.stopping && act.exit != Exit::failed) return Exit::cancelled;
    return act.exit;
  }
  // The statement that `act` executed has ended: tells the block it stands in, and removes it.
  void end_child(Act& act, Exit exit, Value value = {}, RunError error = {});
  void set_slot(Frame& frame, ir::Slot slot, Value value);
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
  void stop_inside(Act& root, bool itself);
  bool inside(const Act& act, const Act& root) const;
  void mark(Act& act) {
    act.stopping = true;
    s_.wake(act);
  }

  // ---- containers
  static Value indexed_error(uint64_t index, const RunError& error);
  void fail_fan(Act& act, const RunError& error);
  // `any` and `first(n)` fail with the first error and all of them in data.errors.
  void fail_with_all(Act& act, const RunError& last);
  void end_branch(Act& act);
  void judge(Act& fan, const ir::ParallelNode& node, Exit exit, const RunError& error);
  void end_iteration(Act& act);
  void end_for(Act& act);
  void start_loop_iteration(Act& act, uint64_t index);
  void end_loop(Act& act);
  void end_try(Act& act);
  void remove_container(Act& act);
  void end_run(RunStatus status);

  RunState& s_;
  const Event& e_;
  const ir::Program& program_;
};

}  // namespace kflow::machine
