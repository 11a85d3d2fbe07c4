// Engine: runs programs durably on a store. One loop: drain inputs → decide → commit → only then
// release effects.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/activities/activity.hpp"
#include "runtime/engine/clock.hpp"
#include "runtime/engine/observer.hpp"
#include "runtime/machine/input.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

using machine::Millis;
using store::RunHeader;
using store::RunKey;

/// A run with nothing in flight whose next timer is further away than this is dropped from memory
/// and given up; whoever serves the store claims it again when the timer is due.
inline constexpr Millis park_after_ms = 60'000;

struct EngineOptions {
  std::shared_ptr<Clock> clock;  ///< system clock if none
  activities::Options activities;
  bool adopt = false;  ///< take over runs whose process is gone, and unowned ones that are due
  std::string project_root;  ///< with `adopt`: only runs of this project are taken; "": all
  std::string tape;        ///< of `activities.tape`; runs of this name alone are started and taken
  bool schedules = false;  ///< start the workflows whose schedule is due (with `adopt`)
  bool park = false;  ///< give up runs that only wait for a far timer (needs some adopting process)
  int full_disk_wait_ms = 500;         ///< between tries to write when there is no space
  std::shared_ptr<Observer> observer;  ///< none: nothing is kept for one
  std::function<void()> on_commit;     ///< after each durable batch, on the committer's thread
  /// Runs that have new events, after they are durable; none named: another process has written
  /// something. On the loop's thread: must not block.
  std::function<void(std::span<const RunKey> runs)> on_events;
  std::function<void(const std::string&)>
      on_trouble;  ///< the disk is full, a run was lost to another process, …
};

struct StartOptions {
  std::string id;  ///< "": a new UUIDv7
  std::string session_id;
  std::string user_id;
  std::vector<std::string> tags;
  std::string idempotency_key;
  std::string project_root;
  std::vector<StageId> stages;  ///< of files in the input
  bool detached = false;        ///< not run here: the first adopting process takes it
};

struct StartedRun {
  RunKey key = 0;
  std::string id;
  bool existed = false;
  bool queued = false;  ///< waits until other runs of its workflow have ended
};

/// Thread-safe. Destruction stops gently: effects are stopped, their runs given up and resumed by
/// whoever claims them.
class Engine {
 public:
  static Result<std::unique_ptr<Engine>> open(std::shared_ptr<store::Store> store,
                                              EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Durable when it returns. The input is validated against the parameters; an invalid_argument
  /// error lists what is wrong.
  Result<StartedRun> start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
                           const cel::Value& input, const StartOptions& options);
  /// The same without waiting: `then` is called once the run is durable or refused, on a thread of
  /// the engine's (or this one), and must not block. Not after the engine is gone.
  using Then = std::function<void(Result<StartedRun>)>;
  void start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
             const cel::Value& input, const StartOptions& options, Then then);
  /// Takes over a run whose process is gone; fine if it runs here already. conflict: another
  /// process has it.
  Result<void> resume(RunKey run);
  /// The same with another program (ir/successor.hpp), for good. conflict: it does not fit what the
  /// run has done, for each of the reasons in the message; or the run is being executed.
  Result<void> move(RunKey run, std::shared_ptr<const ir::Program> program);
  /// Waits until the run has ended or `timeout_ms` is over (-1: no limit); gives its header then.
  Result<RunHeader> wait(RunKey run, int timeout_ms);
  /// Waits until something was committed to the run after `seq` events, or the time is over; false:
  /// time over.
  bool wait_for_events(RunKey run, uint64_t seq, int timeout_ms);
  /// Waits until the run's stream (stream.hpp) is longer than `size`, or the time is over; false:
  /// time over.
  bool wait_for_stream(RunKey run, uint64_t size, int timeout_ms);
  /// Runs that this engine has in memory.
  size_t active() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

using machine::CheckedInput;
using machine::InputProblem;
using machine::inspect_input;
/// Checks and completes an input record: defaults, types, unknown names. All problems in one
/// invalid_argument error, a line each.
Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input);

/// Durable request to cancel, to whoever has the run. `kill`: nothing is waited for, compensated or
/// called.
Result<void> request_cancel(store::Store& store, const RunHeader& run, const std::string& reason,
                            bool kill = false);
/// Puts a signal into the run's mailbox. A second one with the same non-empty key is dropped.
Result<void> send_signal(store::Store& store, const RunHeader& run, const std::string& name,
                         const cel::Value& value, const std::string& key = "");
/// What the run asks people at present.
Result<std::vector<machine::Requirement>> open_requirements(store::Store& store,
                                                            const RunHeader& run);
/// Answers one of them. The value is checked here: an invalid_argument error lists what is wrong.
Result<void> answer(store::Store& store, const RunHeader& run, const ir::Program& program,
                    const machine::Requirement& requirement, machine::AnswerInput answer);

/// Lets the workflow start by itself, as its `schedule` says; under the same id again it is
/// replaced, and what is due stays due if the schedule is the same. Some engine with `schedules`
/// must have the store open.
Result<void> put_schedule(store::Store& store, const std::string& id, const ir::Program& program,
                          ir::CallableId workflow, const std::string& project_root, Millis now);
/// The tag of the runs that a schedule has started.
std::string schedule_tag(std::string_view id);

struct ForkOptions {
  std::string from;  ///< path of the step that is begun anew
  std::vector<std::pair<std::string, cel::Value>>
      values;  ///< recorded values to change, by path; that of `from` ends it
  std::vector<std::pair<std::string, cel::Value>> inputs;  ///< parameters to change
  std::string id;                                          ///< "": a new UUIDv7
};
/// A new run that shares the recorded events before a step. It has no owner yet: whoever serves the
/// store takes it.
Result<StartedRun> fork(store::Store& store, const RunHeader& run, const ForkOptions& options,
                        Millis now);

/// A new run id: UUIDv7 of `now`.
std::string new_run_id(Millis now);

}  // namespace kflow::engine
