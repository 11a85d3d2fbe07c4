// RunState: the folded log of one run. Private to the machine; everything else reads it through
// machine.hpp.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/machine/machine.hpp"

namespace kflow::machine {

/// The values of one scope instance: a callable's body, or one iteration of a `for` or `loop`.
struct Frame {
  ir::ScopeId scope;
  Frame* parent = nullptr;  ///< of the surrounding scope; null for a body
  std::vector<cel::Value> slots;
  std::vector<cel::Value> previous;  ///< of the preceding iteration, by slot; empty in the first
  std::vector<cel::Value> facts;     ///< info(name) by slot; empty until one is known
  uint64_t iteration = 0;            ///< from 1 in loops
};

/// How a block of statements ended.
enum class Exit : uint8_t { none, returned, failed, broke, continued, cancelled };

enum class ActKind : uint8_t {
  body,  ///< the run's own block; act 1
  step,  ///< an effect or a sleep: a leaf
  tool,  ///< a step that calls an inline tool: its block
  arm,   ///< of an if or match
  parallel,
  branch,
  for_each,
  iteration,  ///< of a for
  loop,
  try_,
  agent,  ///< a step that calls an agent or a team
};

enum class StepPhase : uint8_t {
  in_flight,  ///< the effect is released, or will be
  sleeping,   ///< a timer of the machine's own
  backing_off,
  stopping,  ///< asked to stop, its outcome awaited
  waiting,   ///< for a signal or the end of another run
  asking,    ///< for a person
};

enum class TryPhase : uint8_t { body, handler, finally };

/// The part of an activation that only steps and tools have.
struct StepData {
  StepPhase phase = StepPhase::in_flight;
  bool counted = false;  ///< in RunState::effects
  uint32_t attempt = 1;
  uint32_t interruptions = 0;  ///< attempts that do not count against the policy
  cel::Value input;
  std::string key;
  Millis started_at = 0;
  Millis attempt_started_at = 0;
  Millis deadline = never;
  Millis attempt_deadline = never;
  Millis attempt_timeout_ms = 0;
  Millis wake =
      never;  ///< end of the sleep, of the backoff, or of the patience with a stopped effect
  std::optional<RunError> last_error;
  std::optional<RunError> stop_error;  ///< what a stopped step ends in; none: cancelled
  StepMode mode = StepMode::effect;
  std::string child;           ///< id of the run it started
  UsageTotal used;             ///< by the runs it started
  bool orphaned = false;       ///< begun by the run that this one was forked from
  bool told = false;           ///< pieces of a model's answer were shown in this attempt
  uint32_t asks = 0;           ///< questions so far
  std::unique_ptr<Asked> ask;  ///< the open one
};

/// What an agent does next, or waits for.
enum class AgentPhase : uint8_t {
  history,  ///< what was said before
  input,    ///< its guards, about what it is told
  turn,     ///< a call of the model is due
  model,    ///< … is under way
  calls,    ///< what the model called, or the members
  answer,   ///< the model's answer is there
  output,   ///< its guards, about the answer
  failed,   ///< `failure` says why
  done,     ///< the answer is good
};

/// Something that the model called.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  ///< JSON, as the model wrote it
  ActId act = no_act;
  bool answered = false;
  bool is_error = false;
  cel::Value value;  ///< what came of it; of an error its message
};

/// A task on the list of a team.
struct TeamTask {
  std::string title;
  bool done = false;
  std::string result;
};

/// The part that agents and teams have.
struct AgentData {
  AgentPhase phase = AgentPhase::history;
  std::string system;
  std::vector<cel::Value> messages;  ///< recorded form
  uint32_t context = 0;              ///< how many of them were there before the first answer
  uint32_t turns = 0;                ///< calls of the model that were begun
  uint64_t turn_seq = 0;             ///< number of events before the last of them
  uint32_t reasks = 0;
  uint32_t model = 0;    ///< 0: its own, n: the n-th fallback
  uint32_t guard = 0;    ///< next guard to ask
  uint32_t made = 0;     ///< calls of tools so far
  uint32_t running = 0;  ///< activations inside
  std::vector<ToolCall> calls;
  std::string text;   ///< of the model's last answer
  uint8_t stop = 0;   ///< conversation::StopReason of it
  cel::Value answer;  ///< when it is good
  std::string answer_text;
  std::optional<RunError> failure;
  UsageTotal own;    ///< of its own model
  UsageTotal total;  ///< with all that it called
  double usd_limit = -1;
  int64_t token_limit = -1;
  std::vector<TeamTask> tasks;
  bool asked_history = false;  ///< live only
};

/// How to compensate a step that has, or may have, done something.
struct UndoEntry {
  ir::NodeId node;   ///< the hidden step to run
  std::string path;  ///< of that
  UndoPlan plan;
  std::vector<ActId> tries;  ///< enclosing `try { compensate: true }`
};

/// The part that `parallel` and `for` have.
struct FanData {
  uint64_t next = 0;  ///< next branch or item to start
  uint64_t total = 0;
  uint64_t running = 0;
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  bool decided = false;  ///< nothing more is started; running ones are being stopped or finished
  bool broke = false;
  cel::Value items;                              ///< for
  std::vector<std::vector<cel::Value>> results;  ///< for: by export, by index
  std::vector<cel::Value> errors;                ///< {index, error}
  std::vector<cel::Value> carried;               ///< sequential for: slots of the last iteration
};

struct LoopData {
  uint64_t max = 0;
  bool started = false;    ///< the current iteration has begun
  bool decided = false;    ///< LoopDecided said no
  bool may_start = false;  ///< `while` said yes for the next iteration
  bool exhausted = false;
};

/// One execution of one node. Owned by RunState; removed when it has ended.
struct Act {
  ActId id = no_act;
  ActId parent = no_act;
  ir::NodeId node;
  ActKind kind = ActKind::step;
  Role role = Role::statement;
  bool awaiting_session =
      false;               ///< live only: the session's state was asked for, `set` goes on with it
  std::string path;        ///< a step's own; of a block, what the paths inside it begin with
  Frame* frame = nullptr;  ///< where the statements inside read and write
  std::unique_ptr<Frame> own_frame;
  Millis started_at = 0;

  // A block of statements, in all kinds but step, parallel and for_each.
  ir::BlockId block;
  uint32_t pc = 0;
  bool busy = false;  ///< the statement at pc has an activation
  Exit exit = Exit::none;
  cel::Value exit_value;
  RunError exit_error;

  bool stopping = false;  ///< nothing new is begun inside
  bool queued = false;    ///< in RunState::ready
  uint64_t index = 0;     ///< of a branch or iteration
  TryPhase phase = TryPhase::body;
  Exit saved_exit = Exit::none;  ///< try: of body and handlers, while `finally` runs
  cel::Value saved_value;
  RunError saved_error;
  bool saved_stopping = false;

  std::unique_ptr<StepData> step;  ///< step, tool
  std::unique_ptr<FanData> fan;    ///< parallel, for_each
  std::unique_ptr<LoopData> loop;
  std::unique_ptr<AgentData> agent;
};

class RunState {
 public:
  explicit RunState(std::shared_ptr<const ir::Program> p) : program(std::move(p)) {}

  const std::shared_ptr<const ir::Program> program;
  RunStatus status = RunStatus::pending;
  uint64_t events = 0;
  uint64_t shown_events = 0;
  uint32_t attempt = 1;
  std::string run_id;
  std::string session_id;
  std::string user_id;
  ir::CallableId workflow;
  Millis started_at = 0;
  bool cancelling = false;
  std::string cancel_reason;
  Millis time_limit_ms = 0;  ///< of the run; 0: none
  bool killed = false;
  bool hook_called = false;
  uint64_t failed_at = 0;  ///< events before the one that an ERROR run failed by
  bool undone = false;     ///< compensation has begun
  std::string parent_id;
  cel::Value session;
  cel::Value result;
  RunError error;
  std::vector<UndoEntry> undo;  ///< in order of completion
  std::map<std::string, std::deque<cel::Value>, std::less<>>
      mailbox;                                                    ///< signals that nobody has taken
  std::map<std::string, std::set<ActId>, std::less<>> listening;  ///< steps that wait for a signal
  std::vector<std::string> followers;  ///< detached runs that end with this one
  size_t asking = 0;                   ///< open questions
  UsageTotal usage;
  double usd_limit = -1;  ///< below 0: none
  int64_t token_limit = -1;

  ActId last_act = no_act;
  std::unordered_map<ActId, std::unique_ptr<Act>> acts;
  std::set<std::pair<Millis, ActId>> timers;  ///< at most one per act
  std::unordered_map<ActId, Millis> due;      ///< what `timers` holds for an act
  std::deque<ActId> ready;                    ///< activations at which a decision may be due
  size_t effects = 0;                         ///< in flight or stopping
  /// Live only: (agent, message, answer) of this turn, which a read of the history does not have
  /// yet.
  std::vector<std::array<std::string, 3>> unsaved_history;

  Act* find(ActId id) {
    const auto it = acts.find(id);
    return it == acts.end() ? nullptr : it->second.get();
  }
  const Act* find(ActId id) const {
    const auto it = acts.find(id);
    return it == acts.end() ? nullptr : it->second.get();
  }
  /// Looks at `act` in the current turn.
  void wake(Act& act) {
    if (act.queued) return;
    act.queued = true;
    ready.push_back(act.id);
  }
  /// Sets the act's only timer; `never` removes it.
  void set_timer(ActId id, Millis when);
};

/// Folds what came of a part of an agent's turn: `value`, or `error` if that is given.
void take_part(RunState& state, Act& agent, const Act& part, const cel::Value& value,
               const RunError* error);
/// Models were used inside `act`: counted for it and all around it.
void count_usage(RunState& state, Act& act, const UsageTotal& used);
/// If all calls are answered, their results go into the conversation and the next turn is due.
void settle_calls(const RunState& state, Act& agent);
/// The model of a call: the agent's own or one of its fallbacks.
ir::ModelId model_of(const RunState& state, const Act& agent);
const ir::Callable& callable_of(const RunState& state, const Act& agent);
/// Whether the tool of that name is a member of the team.
bool is_member(const ir::AgentOptions& team, std::string_view name);

/// The timer that a step or tool needs in its present phase.
Millis due_of(const Act& act);

/// `outer.name`; `name` at the top.
std::string child_path(std::string_view outer, std::string_view name);

}  // namespace kflow::machine
