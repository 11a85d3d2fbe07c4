// Events: everything that has happened to a run, in order; folding them with `apply` gives the
// run's state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"

namespace kflow::conversation {
struct ModelAnswer;
}  // namespace kflow::conversation

namespace kflow::machine {

/// Number of an activation (one execution of one node) within its run, counted from 1 in order of
/// creation.
using ActId = uint32_t;
inline constexpr ActId no_act = 0;

/// Milliseconds since 1970-01-01T00:00:00Z. Stamped on events by the engine's clock, never read by
/// the machine itself.
using Millis = int64_t;
inline constexpr Millis never = INT64_MAX;

/// An error as the language sees it: `{kind, code, message, step, status, cause, data}`
/// (language.md §6).
struct RunError {
  std::string kind;  ///< timeout http exec model tool type check budget rejected cancelled limit
                     ///< unknown_outcome internal user
  std::string code;
  std::string message;
  std::string step;  ///< path of the step it came from
  int64_t status = 0;
  cel::Value data;
  bool retryable = false;
  Millis retry_after_ms = 0;
  /// Number of events before the one that this error arose in; known to a state only, not recorded.
  uint64_t cause_seq = 0;
};
/// The record that `catch err` binds.
cel::Value to_value(const RunError& error);

enum class RunStatus : uint8_t { pending, running, paused, completed, cancelled, error };
/// "PENDING" … as on every surface.
std::string_view to_string(RunStatus status);
/// Such a run changes no more, but for a failed one that is taken up again.
constexpr bool is_final(RunStatus s) {
  return s == RunStatus::completed || s == RunStatus::cancelled || s == RunStatus::error;
}

enum class StartReason : uint8_t { first, retry, interrupted };

// ---- the run
struct RunStarted {
  ir::CallableId workflow;
  cel::Value input;  ///< record of the parameters, defaults filled in
  std::string run_id;
  std::string session_id;
  std::string user_id;
  Millis deadline = never;  ///< the workflow's `timeout`
  cel::Value session;       ///< the session's state when the run began: record of its fields
  std::string parent_id;    ///< of a child run
};
struct CancelRequested {
  std::string reason;
  bool kill = false;  ///< nothing is waited for, undone or called
};
struct RunCompleted {
  cel::Value value;
};
struct RunFailed {
  RunError error;
};
struct RunCancelled {
  std::string reason;
};
/// All that is left to do waits for people.
struct RunPaused {};
struct RunContinued {};
/// An ERROR run goes on: the state is that after `rewind_to` events, with what was completed since
/// then.
struct RunResumed {
  uint32_t attempt = 2;     ///< of the run
  uint64_t rewind_to = 0;   ///< number of events that count
  ActId last_act = no_act;  ///< numbers up to this one are used up
  Millis deadline = never;
};
/// The events before this one were copied from another run: nothing that is in flight in them is
/// ours.
struct RunForked {
  std::string run_id;
  std::string from_id;
  std::string session_id;
  cel::Value session;
};
/// The run goes on with another program, in which everything in its log has its place.
struct RunMoved {
  std::string program;  ///< SHA-256 of the one that was given, in hex
};
struct SignalReceived {
  std::string name;
  cel::Value value;
};

// ---- steps
/// How a step waits for its value.
enum class StepMode : uint8_t {
  effect,   ///< an activity is released
  timer,    ///< sleeps
  signal,   ///< a signal of the name in its input
  run,      ///< the end of another run
  child,    ///< the end of the attached run `child`, started in the same commit
  at_once,  ///< completed in the same commit (a detached child, a write to the shared values)
};
/// What compensates a step, ready to run: its arguments, or why they could not be had.
struct UndoPlan {
  cel::Value arguments;
  std::optional<RunError> error;
};
struct StepStarted {
  uint32_t attempt = 1;  ///< repeats have the same `act`
  StartReason reason = StartReason::first;
  cel::Value input;                 ///< record of arguments; null when attempt > 1
  std::string key;                  ///< explicit idempotency key, else ""
  Millis deadline = never;          ///< end of all attempts
  Millis attempt_deadline = never;  ///< end of this attempt
  Millis attempt_timeout_ms = 0;    ///< 0: none; for later attempts
  Millis timer = never;             ///< sleeps: when it is over
  StepMode mode = StepMode::effect;
  std::string child;  ///< id of the run that was started
};
struct StepCompleted {
  cel::Value value;
  bool cached = false;
  std::optional<UndoPlan> undo;
};
/// An attempt failed and another follows at `due`.
struct StepRetryScheduled {
  RunError error;
  Millis due = 0;
};
/// The step has failed for good. `continued`: on_error let the run go on, with `value`.
struct StepFailed {
  RunError error;
  bool continued = false;
  cel::Value value;
  std::optional<UndoPlan> undo;  ///< of an unknown outcome
};
/// A started step, a tool or the whole run is asked to stop: by a cancel or a join, or by its own
/// deadline (then with the error that it will end in).
struct StopRequested {
  std::optional<RunError> error;
};
/// A stopped step has ended without a value that counts.
struct StepCancelled {
  std::optional<UndoPlan> undo;  ///< of an unknown outcome
};

// ---- people
enum class AskKind : uint8_t {
  confirm,  ///< before a step: may it run?
  review,   ///< after a step: is its value good?
  decide,   ///< human.confirm
  form,     ///< human.ask
};
/// A person is asked; `act` waits. On the first event of an activation with `confirm`, decide and
/// form.
struct Asked {
  AskKind kind = AskKind::confirm;
  uint32_t number = 1;  ///< of the questions of this activation
  std::string question;
  cel::Value show;
  cel::Value input;  ///< of the step
  cel::Value value;  ///< review: what is reviewed
  ir::TypeId form;   ///< of the answer's value
  Millis expires = never;
  bool has_default = false;
  cel::Value fallback;  ///< the answer when it expires
};
struct Answered {
  bool accepted = false;
  cel::Value value;  ///< of a form, or an edited value
  bool edited = false;
  std::string feedback;
  bool expired = false;  ///< nobody answered in time
};

// ---- agents and teams
/// A step that calls an agent or a team begins. Messages are in their recorded form
/// (conversation::to_value).
struct AgentEntered {
  cel::Value input;  ///< record of arguments
  Millis deadline = never;
  Millis attempt_timeout_ms = 0;    ///< of each call of the model
  std::string system;               ///< role and instructions
  std::vector<cel::Value> context;  ///< of a team that shares its conversation
  cel::Value message;               ///< what it is told
  double usd_limit = -1;            ///< below 0: none
  int64_t token_limit = -1;
};
struct AgentBegan {};
/// What was said in earlier runs of the session.
struct HistoryGiven {
  std::vector<cel::Value> messages;
};
/// All members of a team are called at once.
struct MembersCalled {};
/// A call of the model's that needed no step: it could not be made, or it is about the list of
/// tasks.
struct CallAnswered {
  uint32_t index = 0;
  std::string text;
  bool is_error = false;
  cel::Value tasks;  ///< the list after it; null: unchanged
};
/// The model is told something more before its next turn: what was wrong with its answer, or what
/// the members said.
struct Told {
  std::string text;
  bool reask = false;
};
/// The model's answer is good: `value` is of the agent's result type.
struct AnswerGiven {
  cel::Value value;
  std::string text;
};
/// What an agent, or a run, has used of models.
struct UsageTotal {
  int64_t input_tokens = 0;   ///< all of them, cached ones included
  int64_t output_tokens = 0;  ///< all of them, reasoning included
  double usd = 0;
  int64_t calls = 0;
  int64_t cached_input_tokens = 0;
  int64_t cache_write_tokens = 0;
  int64_t reasoning_tokens = 0;
  UsageTotal& operator+=(const UsageTotal& more);
  friend bool operator==(const UsageTotal&, const UsageTotal&) = default;
};
/// What one recorded answer of a model used.
UsageTotal used_by(const conversation::ModelAnswer& answer);
/// `{input_tokens, cached_input_tokens, …, usd, calls}`.
cel::Value to_value(const UsageTotal& usage);
struct AgentEnded {
  UsageTotal usage;  ///< of its own model
};
/// It gives no answer; the step's own end follows.
struct AgentFailed {
  RunError error;
  UsageTotal usage;  ///< of its own model
};
/// What a run has used in all, just before its end; on a step, what the child run that it waited
/// for has used.
struct UsageRecorded {
  UsageTotal usage;
};
enum class DeltaKind : uint8_t { text, reasoning };
/// A piece of an answer as it comes; `act` is the call of the model.
struct ContentDelta {
  DeltaKind kind = DeltaKind::text;
  uint32_t attempt = 1;  ///< of the call
  std::string text;
};
/// The call is made again: what was shown of its answer does not count.
struct ContentReset {};
/// In the place of a ContentDelta that retention has removed: its `event_index` stays, and nobody is
/// shown it.
struct Trimmed {};
/// The workflow's budget, or what is left of the one that the run was started under. Below 0: no
/// limit.
struct BudgetSet {
  double usd = -1;
  int64_t tokens = -1;
};

// ---- the session
/// `set session.…`: the whole state after it.
struct SessionSet {
  cel::Value state;
};

// ---- pure statements (no activation of their own: `act` is the block's)
struct LetEvaluated {
  cel::Value value;
};
struct Emitted {
  cel::Value value;
};
/// A return, fail, break or continue, with its evaluated value; or an expression of the statement
/// failed (`error`).
struct Left {
  enum class How : uint8_t { returned, failed, broke, continued };
  How how = How::returned;
  cel::Value value;
  RunError error;
};

// ---- containers: entered and left, one event each
struct ToolEntered {  ///< an inline tool called by a step
  cel::Value input;
  Millis deadline = never;
  uint32_t attempt = 1;
};
/// `if` and `match`: which arm was taken; `arm` = number of arms: none.
struct ArmTaken {
  uint32_t arm = 0;
};
struct ParallelStarted {};
/// `parent` is the parallel.
struct BranchStarted {
  uint32_t branch = 0;
};
struct ForStarted {
  cel::Value items;  ///< list, or map (entries are visited in order)
};
struct LoopStarted {
  uint64_t max = 0;
};
/// One more iteration: of a `for` a new activation (`parent` is the for), of a `loop` its own.
struct IterationStarted {
  uint64_t index = 0;  ///< from 0
};
/// The verdict after (`until`, `max`) or before (`while`) an iteration: whether the loop goes on.
struct LoopDecided {
  bool go_on = false;
  bool exhausted = false;
  bool after_iteration = false;
  std::optional<RunError> error;  ///< the condition could not be evaluated
};
struct TryStarted {};
/// The body failed: which catch takes it; `arm` = number of catches: none.
struct CatchTaken {
  uint32_t arm = 0;
  std::optional<RunError> error;  ///< a guard could not be evaluated: the new error
};
struct FinallyStarted {};
/// The container has ended; what its parent learns follows from the state.
struct ContainerEnded {};

using EventData = std::variant<
    RunStarted, CancelRequested, RunCompleted, RunFailed, RunCancelled,                      //
    StepStarted, StepCompleted, StepRetryScheduled, StepFailed, StopRequested,               //
    StepCancelled, LetEvaluated, Emitted, Left, ToolEntered, ArmTaken, ParallelStarted,      //
    BranchStarted, ForStarted, LoopStarted, IterationStarted, LoopDecided, TryStarted,       //
    CatchTaken, FinallyStarted, ContainerEnded, RunPaused, RunContinued, RunResumed,         //
    RunForked, SignalReceived, Asked, Answered, SessionSet, RunMoved,                        //
    AgentEntered, AgentBegan, HistoryGiven, MembersCalled, CallAnswered, Told, AnswerGiven,  //
    AgentEnded, ContentDelta, ContentReset, BudgetSet, AgentFailed, UsageRecorded,
    Trimmed>;

/// What an activation is there for.
enum class Role : uint8_t {
  statement,
  undo,  ///< compensates a step
  hook,  ///< the workflow's on_failure or on_cancel
  call,  ///< a part of an agent's turn: a call of the model, a tool, a guard
};

struct Event {
  ActId act = no_act;  ///< whose event it is; 1 is the run's body
  ActId parent =
      no_act;  ///< only on the event that makes the activation: the one whose block it stands in
  ir::NodeId node;  ///< the statement; none for events of the run
  Millis time = 0;
  /// Shown to readers of the run's stream, and so has an `event_index`; decided when the event is
  /// made.
  bool shown = false;
  Role role = Role::statement;  ///< of a step's or tool's first event
  /// Path of the activation, only on shown events, so that a reader needs no state:
  /// `refine[2].draft`.
  std::string path;
  /// Only on the first event of a step with a `label`: what people are shown instead of its name.
  std::string label;
  EventData data;
};

/// Stable name for logs and tests ("StepStarted").
std::string_view name_of(const Event& event);

/// Appends one event. The format is part of the store's: tags and field orders are never reused,
/// `events_format` says which layout a chunk was written in.
inline constexpr uint32_t events_format = 3;
void encode_event(const Event& event, ByteWriter& out);
/// On malformed input the reader has failed.
Event decode_event(ByteReader& in);

}  // namespace kflow::machine
