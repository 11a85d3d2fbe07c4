// The machine: what a run does next. Pure: no clock, no I/O, no threads, no randomness but what is derived from the run's id.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::machine {

// ---- what the world tells a run

/// A released effect has ended. Ignored when the activation is gone or is at another attempt.
struct OutcomeInput {
  ActId act = no_act;
  uint32_t attempt = 1;
  std::variant<cel::Value, RunError> outcome;
};
struct CancelInput {
  std::string reason;
};
/// Time has passed: `now` is at or after `next_due`.
struct TickInput {};
/// The process that had the run is gone: whatever it had in flight is started again with the reason `interrupted`, or
/// ends in `unknown_outcome` where the step is `at_most_once`.
struct RecoverInput {};
using Input = std::variant<OutcomeInput, CancelInput, TickInput, RecoverInput>;

// ---- what a run asks of the world, only after the events it comes from are durable

/// Perform one effect and answer with an OutcomeInput of the same `act` and `attempt`.
struct StartActivity {
  ActId act = no_act;
  uint32_t attempt = 1;
  ir::CalleeKind kind = ir::CalleeKind::builtin;
  std::string callee;                ///< "http.get", or the extern tool's name
  std::vector<std::string> command;  ///< of an extern tool
  cel::Value input;                  ///< record of arguments, defaults filled in
  std::string idempotency_key;       ///< equal for all attempts of one activation
  std::string path;
  Millis attempt_deadline = never;
};
/// Stop that effect as soon as possible; its outcome (a `cancelled` error or, in a race, a value) is still awaited.
struct StopActivity {
  ActId act = no_act;
  uint32_t attempt = 1;
};
using Action = std::variant<StartActivity, StopActivity>;

// ---- limits (docs: README of runtime/)
inline constexpr uint64_t max_for_items = 1'000'000;
inline constexpr size_t max_value_bytes = 16U << 20;    ///< of one recorded value, encoded
inline constexpr size_t max_tool_depth = 32;            ///< inline tools calling tools
inline constexpr size_t max_events_per_turn = 1000;     ///< then `Turn::more` and the rest in the next commit
inline constexpr Millis stop_deadline_ms = 30'000;      ///< a stopped effect that does not answer is given up after this

class RunState;
/// The state of one run; made only by `apply`.
struct RunStateDeleter {
  void operator()(RunState* state) const;
};
using RunStatePtr = std::unique_ptr<RunState, RunStateDeleter>;

/// A state before its first event.
RunStatePtr make_state(std::shared_ptr<const ir::Program> program);

/// Folds one event. Reads only; aborts on an event that cannot follow (a corrupt log is caught by checksums before).
void apply(RunState& state, const Event& event);

struct Turn {
  std::vector<Event> events;    ///< already applied to the state
  std::vector<Action> actions;  ///< to release once the events are durable
  bool more = false;            ///< call `advance` with a TickInput again, there is more to do now
};

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

/// One thing that a run waits for, for `why`: "step `fetch` (attempt 2 of 3) runs `http.get` since 12 s".
struct Waiting {
  std::string path;
  std::string what;    ///< "running", "retry", "timer", "stopping"
  std::string callee;
  uint32_t attempt = 0;
  uint32_t max_attempts = 0;
  Millis since = 0;
  Millis due = never;  ///< of retry and timer
  std::string error;   ///< of retry: the last attempt's
};
std::vector<Waiting> waiting(const RunState& state);

/// The default policy of a call, as language.md §6 has it; `max` 1 for what is not idempotent.
ir::RetryPolicy default_retry(const ir::Program& program, const ir::Call& call);

// ---- the public stream

/// The JSON of a public event's frame, exactly as every surface shows it (server-api.md), without the SSE envelope.
/// Needs nothing but the event, so a reader at any offset gets the same bytes.
struct FrameContext {
  std::string_view run_id;
  std::string_view workflow;
  std::string_view session_id;
};
std::string frame_json(const ir::Program& program, const FrameContext& context, const Event& event, uint64_t event_index);
/// The public name of an event ("ParallelExecutionStarted").
std::string_view public_name(const ir::Program& program, const Event& event);

}  // namespace kflow::machine
