// The machine: what a run does next. Pure: no clock, no I/O, no threads, no randomness but what is
// derived from the run's id.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/conversation/conversation.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::machine {

// ---- what the world tells a run

/// A released effect has ended. Ignored when the activation is gone or is at another attempt.
struct OutcomeInput {
  ActId act = no_act;
  uint32_t attempt = 1;
  std::variant<cel::Value, RunError> outcome;
  /// Where the value is from. `cache_miss`: there is none, a step that waited for the look-up
  /// begins.
  enum class Source : uint8_t { effect, cache, cache_miss } source = Source::effect;
};
/// Another run has ended: the child of a step, or the one it waits for.
struct RunEndedInput {
  ActId act = no_act;
  std::string run_id;
  std::variant<cel::Value, RunError> outcome;
  UsageTotal usage;  ///< of its models; counted for a child
};
struct CancelInput {
  std::string reason;
  bool kill = false;
};
struct SignalInput {
  std::string name;
  cel::Value value;
};
/// A person's answer to the open question of that id.
struct AnswerInput {
  std::string requirement;
  bool accepted = false;
  std::optional<cel::Value> value;  ///< of a form, or instead of a reviewed value
  std::string feedback;
};
/// The committed state of the run's session, after ReadSession.
struct SessionInput {
  ActId act = no_act;
  cel::Value state;
};
/// A piece of a model's answer has come.
struct DeltaInput {
  ActId act = no_act;
  uint32_t attempt = 1;
  DeltaKind kind = DeltaKind::text;
  std::string text;
};
/// What was said before in the session, after ReadHistory: (message, answer) pairs, oldest first.
struct HistoryInput {
  ActId act = no_act;
  std::vector<std::pair<std::string, std::string>> pairs;
};
/// Time has passed: `now` is at or after `next_due`.
struct TickInput {};
/// The process that had the run is gone: whatever it had in flight is started again with the reason
/// `interrupted`, or ends in `unknown_outcome` where the step is `at_most_once`.
struct RecoverInput {
  std::optional<CancelInput> cancel;  ///< known already: nothing is begun before it
};
using Input = std::variant<OutcomeInput, CancelInput, TickInput, RecoverInput, RunEndedInput,
                           SignalInput, AnswerInput, SessionInput, DeltaInput, HistoryInput>;

// ---- what a run asks of the world, only after the events it comes from are durable

/// Perform one effect and answer with an OutcomeInput of the same `act` and `attempt`.
struct StartActivity {
  ActId act = no_act;
  uint32_t attempt = 1;
  ir::CalleeKind kind = ir::CalleeKind::builtin;
  std::string callee;                ///< "http.get", or the extern tool's name
  std::vector<std::string> command;  ///< of an extern tool
  ir::CallableId callable;           ///< of an MCP tool
  cel::Value input;                  ///< record of arguments, defaults filled in
  std::string idempotency_key;       ///< equal for all attempts of one activation
  std::string path;
  Millis attempt_deadline = never;
  std::string cache_key;    ///< look there first; "": do not
  bool cache_only = false;  ///< only look there, there is nothing to perform
  /// Of a call of a model: what it is asked.
  std::shared_ptr<const conversation::ModelRequest> model;
  bool priced = false;  ///< the price must be known: there is a budget in money
};
/// Stop that effect as soon as possible; its outcome (a `cancelled` error or, in a race, a value)
/// is still awaited.
struct StopActivity {
  ActId act = no_act;
  uint32_t attempt = 1;
};
/// What models may cost, at most. Below 0: no limit.
struct Limits {
  double usd = -1;
  int64_t tokens = -1;
};
/// Belongs into the commit of the turn's events: start a run of the same program.
struct StartChild {
  ActId act = no_act;
  std::string run_id;
  ir::CallableId workflow;
  cel::Value input;
  bool attached = true;  ///< answer with a RunEndedInput
  Limits limits;         ///< what is left to the parent
};
/// Belongs into the commit: cancel another run.
struct StopChild {
  std::string run_id;
  std::string reason;
  bool kill = false;
};
/// Belongs into the commit: answer with a RunEndedInput when that run has ended.
struct WatchRun {
  ActId act = no_act;
  std::string run_id;
};
/// Belongs into the commit: a shared value (none: deleted).
struct WriteValue {
  std::string key;
  std::optional<cel::Value> value;
};
/// Belongs into the commit: a value for later steps with the same call.
struct StoreCache {
  std::string key;
  cel::Value value;
  Millis expires = never;
  bool of_program = false;  ///< what is called is defined in the program: the same key in another
                            ///< one is another value
};
/// Answer at once with a SessionInput; what follows from it belongs into the same commit as the
/// session's new state.
struct ReadSession {
  ActId act = no_act;
};
/// Answer at once with a HistoryInput of at most `most` pairs.
struct ReadHistory {
  ActId act = no_act;
  std::string session_id;
  std::string agent;
  uint32_t most = 0;
};
/// Belongs into the commit: one more pair of the session's conversation with an agent.
struct WriteHistory {
  std::string session_id;
  std::string agent;
  std::string message;
  std::string answer;
};
using Action = std::variant<StartActivity, StopActivity, StartChild, StopChild, WatchRun,
                            WriteValue, StoreCache, ReadSession, ReadHistory, WriteHistory>;

// ---- limits (docs: README of runtime/)
inline constexpr uint64_t max_for_items = 1'000'000;
inline constexpr size_t max_value_bytes = 16U << 20;  ///< of one recorded value, encoded
inline constexpr size_t max_tool_depth = 32;          ///< inline tools calling tools
inline constexpr size_t max_events_per_turn =
    1000;  ///< then `Turn::more` and the rest in the next commit
inline constexpr Millis stop_deadline_ms =
    30'000;  ///< a stopped effect that does not answer is given up after this
inline constexpr Millis child_stop_deadline_ms =
    600'000;  ///< the same for a child run, which may have to compensate
inline constexpr uint32_t undo_attempts = 5;  ///< of a compensation, whatever its error
inline constexpr size_t max_mailbox =
    100'000;  ///< signals that wait to be taken; more are dropped, oldest first
inline constexpr size_t max_session_bytes = 1U << 20;  ///< of a session's state
inline constexpr size_t max_kv_bytes = 4U << 20;       ///< of a shared value
inline constexpr size_t max_kv_key = 300;              ///< bytes
inline constexpr size_t max_label_bytes = 1024;        ///< of a step's label
inline constexpr size_t max_tool_calls = 512;          ///< in one answer of a model
inline constexpr size_t max_calls_in_flight = 64;      ///< of one agent's tools
inline constexpr size_t max_tool_result = 1U << 20;    ///< bytes of a tool's answer to its model
inline constexpr size_t max_tasks = 200;               ///< of a team in the mode `tasks`

/// What the run has used of models so far.
UsageTotal usage(const class RunState& state);

class RunState;
/// The state of one run; made only by `apply`.
struct RunStateDeleter {
  void operator()(RunState* state) const;
};
using RunStatePtr = std::unique_ptr<RunState, RunStateDeleter>;

/// A state before its first event.
RunStatePtr make_state(std::shared_ptr<const ir::Program> program);

/// Folds one event. Reads only; aborts on an event that cannot follow (a corrupt log is caught by
/// checksums before).
void apply(RunState& state, const Event& event);

/// A state as bytes. `decode_state` gives null for bytes of another version, another program, or
/// damaged ones: then the whole log is folded. Decoded and folded states behave alike.
std::string encode_state(const RunState& state, LargeSink* large = nullptr);
RunStatePtr decode_state(std::shared_ptr<const ir::Program> program, std::string_view bytes,
                         LargeSource* large = nullptr);

struct Turn {
  std::vector<Event> events;    ///< already applied to the state
  std::vector<Action> actions;  ///< to release once the events are durable
  bool more = false;            ///< call `advance` with a TickInput again, there is more to do now
};

/// The first events of a run and nothing that follows from them; `advance` with a RecoverInput goes
/// on. `limits`: what is left of the budget that it is started under.
Turn begin(RunState& state, RunStarted event, Millis now, Limits limits = {});
/// The first turn of a run.
Turn start(RunState& state, RunStarted event, Millis now);
/// Takes one input and goes on until the run waits for something or has ended.
Turn advance(RunState& state, const Input& input, Millis now);

// ---- reading a state
RunStatus status(const RunState& state);
uint64_t event_count(const RunState& state);
uint64_t public_count(const RunState& state);
/// Earliest moment at which `advance(TickInput)` has something to do; `never` if none.
Millis next_due(const RunState& state);
/// Effects released and not yet answered.
size_t in_flight(const RunState& state);
/// The value of a COMPLETED run; null otherwise.
cel::Value result(const RunState& state);
/// The error of an ERROR run.
const RunError* error(const RunState& state);
/// Rough bytes held.
size_t memory(const RunState& state);

/// One thing that a run waits for, for `why`: "step `fetch` (attempt 2 of 3) runs `http.get` since
/// 12 s".
struct Waiting {
  std::string path;
  std::string what;     ///< "running", "retry", "timer", "stopping", "signal", "run", "person"
  std::string subject;  ///< name of the signal, id of the run, the question
  std::string callee;
  uint32_t attempt = 0;
  uint32_t max_attempts = 0;
  Millis since = 0;
  Millis due = never;  ///< of retry and timer
  std::string error;   ///< of retry: the last attempt's
};
std::vector<Waiting> waiting(const RunState& state);

/// A question to a person that is open.
struct Requirement {
  std::string id;
  std::string path;
  ir::NodeId node;
  AskKind kind = AskKind::confirm;
  bool of_tool = false;  ///< about a call that a model wants to make
  std::string question;
  cel::Value show;
  cel::Value input;
  cel::Value value;
  ir::TypeId form;  ///< of the answer's value; none: it has none
  Millis since = 0;
  Millis expires = never;
  bool has_default = false;  ///< `fallback` is the answer when it expires
  cel::Value fallback;
};
std::vector<Requirement> requirements(const RunState& state);
/// Why a value is no answer to the question (a line each), or nothing.
std::string check_answer(const ir::Program& program, const Requirement& requirement,
                         const cel::Value& value);

/// The state's session record, for the first commit of another run of the session.
const cel::Value& session(const RunState& state);
uint32_t attempt(const RunState& state);
/// Where an ERROR run can be taken up again, or why not.
struct ResumePoint {
  uint64_t rewind_to = 0;
  ActId last_act = no_act;
  std::string refusal;
};
ResumePoint resume_point(const RunState& state);
/// The event that takes it up again there.
Event resumed(const RunState& state, const ResumePoint& point, Millis now);
/// Which events of a log count, when it holds RunResumed events at these places (numbers of events
/// before each) that rewind to those: a list of half-open ranges in order. Of what lies between
/// only completions count.
struct CountedRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool completions_only = false;
};
std::vector<CountedRange> counted_ranges(const std::vector<std::pair<uint64_t, uint64_t>>& resumes,
                                         uint64_t events);
/// Folds an event out of a range of completions: only if the step is still under way in the state.
void apply_completion(RunState& state, const Event& event);
/// The state holds what `events` events say, whatever was folded to get there.
void set_event_count(RunState& state, uint64_t events, uint64_t shown);

/// The text that the workflow's `concurrency` counts a run with this input under; an error if the
/// key cannot be evaluated.
std::variant<std::string, RunError> concurrency_key(const ir::Program& program,
                                                    ir::CallableId workflow,
                                                    const cel::Value& input);
/// A session's state before its first `set`: the declared defaults.
cel::Value initial_session(const ir::Program& program, ir::CallableId workflow);
/// A run id (UUIDv7 of `now`) that is the same for the same seed.
std::string derived_run_id(Millis now, std::string_view seed);

/// The default policy of a call, as language.md §6 has it; `max` 1 for what is not idempotent.
ir::RetryPolicy default_retry(const ir::Program& program, const ir::Call& call);

// ---- the public stream

/// The JSON of a public event's frame, exactly as every surface shows it (server-api.md), without
/// the SSE envelope. Needs nothing but the event, so a reader at any offset gets the same bytes.
struct FrameContext {
  std::string_view run_id;
  std::string_view workflow;
  std::string_view session_id;
  /// In the stream of a run that waits for this one: the run that started it, and how many runs are
  /// between it and the one whose stream it is.
  std::string_view parent_run_id = {};
  uint32_t nested_depth = 0;
};
std::string frame_json(const ir::Program& program, const FrameContext& context, const Event& event,
                       uint64_t event_index);
/// The public name of an event ("ParallelExecutionStarted").
std::string_view public_name(const ir::Program& program, const Event& event);

}  // namespace kflow::machine
