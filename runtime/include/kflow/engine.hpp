// The engine: runs programs durably on a store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kflow/functions.hpp"
#include "kflow/program.hpp"
#include "kflow/result.hpp"
#include "kflow/value.hpp"

namespace kflow::embed {

namespace detail {
struct StoreData;
struct ProjectData;
struct ClockData;
struct EngineData;
}  // namespace detail

/// What survives of what was acknowledged: `sync` a power loss, `process` the death of the process,
/// `none` nothing is promised. A property of a store, chosen when it is made.
enum class Durability : std::uint8_t { sync, process, none };

/// Where runs are kept. A handle; copies are one. Thread-safe.
class Store {
 public:
  /// A folder; it is made if it is not there. Any number of processes may have it open, those of
  /// the `kflow` command line too. Errors: permission, no_space, incompatible, corrupt.
  static Result<Store> open(const std::string& folder, Durability durability = Durability::sync);
  /// For tests. It lives as long as a handle or an engine on it.
  static Store in_memory();

 private:
  friend class Project;
  friend struct detail::StoreData;
  explicit Store(std::shared_ptr<detail::StoreData> data) : data_(std::move(data)) {}
  std::shared_ptr<detail::StoreData> data_;
};

/// A clock that stands until it is set, for tests: timers of days are over at once. A handle;
/// copies are one. Thread-safe.
class ManualClock {
 public:
  explicit ManualClock(std::int64_t now_ms = 1'700'000'000'000);
  std::int64_t now_ms() const;
  void set(std::int64_t now_ms);
  void advance(std::int64_t ms);

 private:
  friend struct detail::ClockData;
  std::shared_ptr<detail::ClockData> data_;
};

/// A folder with a kflow.yaml, read as the command line reads it: models (endpoints, keys, limits,
/// prices), where secrets come from, what `file.*` may touch, the quota of its store. An immutable
/// handle; thread-safe. What it says of `kflow gc` and `kflow serve` is checked, and for them.
class Project {
 public:
  /// A folder (one without the file has the defaults), or the file itself. not_found;
  /// invalid_argument: what is wrong in the file, a line each.
  static Result<Project> open(const std::string& path = ".");
  const std::string& root() const;
  /// The store of the project's command line: $KFLOW_STORE, or `.kflow` in its folder.
  Result<Store> open_store(Durability durability = Durability::sync) const;

 private:
  friend struct detail::ProjectData;
  explicit Project(std::shared_ptr<const detail::ProjectData> data) : data_(std::move(data)) {}
  std::shared_ptr<const detail::ProjectData> data_;
};

struct EngineOptions {
  Functions functions;
  /// Its kflow.yaml counts; what is set below goes first. None: no file is read.
  std::optional<Project> project;
  /// Base of relative paths in runs, and what `file.*` may touch if `file_roots` is empty. "": the
  /// project's folder, or the current one.
  std::string project_root;
  std::vector<std::string> file_roots;
  /// The value of a secret or key; none: it is not set. Empty: what the project says, else the
  /// environment. Called on any thread.
  std::function<std::optional<std::string>(std::string_view name)> secret;
  /// All models are called there instead, without a key: a gateway, or a stand-in in tests.
  std::string models_url;
  /// Runs whose process is gone, and those that nobody has and that have something to do, are taken
  /// over, as far as this process has what they need.
  bool adopt = true;
  std::optional<ManualClock> clock;
  /// What `log(…)` of workflows says; what happens to the engine (a full disk, a run that was lost
  /// to another process). Called on threads of the engine: they must not call it.
  std::function<void(const std::string& line)> on_log;
  std::function<void(const std::string& what)> on_trouble;
};

struct StartOptions {
  std::string id;  ///< "": a new one; already_exists: there is a run of that id
  std::string session_id;
  std::string user_id;
  std::vector<std::string> tags;
  /// A further start of the workflow under the same key, with the same input, is the first one's
  /// run. conflict: the input is another.
  std::string idempotency_key;
};

enum class Status : std::uint8_t { pending, running, paused, completed, cancelled, error };
inline bool has_ended(Status s) { return s >= Status::completed; }

/// Why a run failed.
struct RunError {
  std::string kind;
  std::string code;
  std::string message;
  std::string step;  ///< path of the step it came from
  Value data;
};

struct Run {
  std::string id;
  std::string workflow;
  Status status = Status::pending;
  std::int64_t created_at_ms = 0;
  std::int64_t ended_at_ms = 0;  ///< 0: not yet
  Value value;                   ///< of a completed one
  RunError error;                ///< of one that failed or was cancelled
};

/// Something that a run asks a person.
struct Question {
  std::string id;
  std::string step;  ///< path
  std::string text;
  Value show;                      ///< what there is to be looked at
  std::string form;                ///< JSON Schema of the value that is asked for; "": a yes or no
  std::int64_t expires_at_ms = 0;  ///< 0: it waits for ever
};
struct Answer {
  bool approve = true;
  std::optional<Value> value;
  std::string feedback;
};

struct Event {
  std::uint64_t index = 0;
  std::string json;  ///< the frame, as every surface of kflow shows it
};

/// One engine of one process on a store. Thread-safe; calls wait for the disk where they say
/// "durable". The destructor stops gently: steps under way are stopped, their runs are given up,
/// and the next engine on the store goes on with them. It must not be called from a function or
/// callback of the engine: that ends the program with a message. An engine that was moved away
/// answers with invalid_argument.
class Engine {
 public:
  static Result<Engine> open(const Store& store, EngineOptions options = {});
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  /// Durable when it returns; gives the id. invalid_argument: what is wrong with the input, a line
  /// each.
  Result<std::string> start(const Program& program, const std::string& workflow, const Value& input,
                            const StartOptions& options = {});
  Result<Run> get(const std::string& run_id) const;
  /// Waits until the run has ended, or for `timeout_ms` (below 0: without limit); as it is then.
  Result<Run> await(const std::string& run_id, int timeout_ms = -1) const;
  /// Newest first. `status` none: any.
  Result<std::vector<Run>> list(std::optional<Status> status = std::nullopt,
                                std::size_t limit = 100) const;

  /// Durable; waits in the run's mailbox until it is taken. Of signals with one key (not "") the
  /// first counts.
  Result<void> signal(const std::string& run_id, const std::string& name, const Value& value,
                      const std::string& key = "");
  Result<std::vector<Question>> questions(const std::string& run_id) const;
  /// Durable. invalid_argument: the value is no answer to the question.
  Result<void> answer(const std::string& run_id, const std::string& question_id,
                      const Answer& answer);
  /// Durable request; steps are stopped and compensated. `kill`: nothing is waited for.
  Result<void> cancel(const std::string& run_id, const std::string& reason = "", bool kill = false);
  /// Goes on with a run that failed, or whose process is gone. conflict: another process has it.
  Result<void> resume(const std::string& run_id);

  /// What there is from index `from` on, in order; `visit` gives false to stop.
  using Visitor = std::function<bool(const Event&)>;
  Result<void> read_events(const std::string& run_id, std::uint64_t from,
                           const Visitor& visit) const;
  /// The same, and waits for more until the run has ended, `visit` gives false or `timeout_ms` is
  /// over. True: the run has ended and all was read.
  Result<bool> follow(const std::string& run_id, std::uint64_t from, const Visitor& visit,
                      int timeout_ms = -1) const;

 private:
  explicit Engine(std::unique_ptr<detail::EngineData> data);
  std::unique_ptr<detail::EngineData> data_;
};

/// "0.1.0"
const char* version();

}  // namespace kflow::embed
