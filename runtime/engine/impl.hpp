// The engine's inside. One thread (the loop) owns all states; a committer thread writes; activities
// answer through the inbox.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "compiler/base/bytes.hpp"
#include "compiler/base/hash.hpp"
#include "runtime/engine/blobs.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/waiting.hpp"
#include "runtime/store/owners.hpp"

namespace kflow::engine {

using machine::RunStatus;
using store::CommitOutcome;
using store::Doorbell;
using store::NewRun;
using store::RunCommit;

inline constexpr size_t max_batch_runs = 4096;
// Two batches take turns, one being committed while the next is decided, where deciding takes
// longer than this part of a commit; else whatever is ready goes into one batch, for fewer syncs.
inline constexpr double overlap_from = 0.5;
// What the events of a step take, mostly.
inline constexpr size_t usual_event_bytes = 384;
// Runs between two looks at the clock while a batch is gathered.
inline constexpr size_t look_up_every = 16;
inline constexpr size_t claim_batch = 256;
// Between a commit and the release of its effects; after a longer time somebody may have taken the
// run over.
inline constexpr std::chrono::milliseconds release_gap(20);
// Children of one run that are looked at when it is taken over.
inline constexpr size_t most_children = 100'000;
// A snapshot is written when the log since the last one is longer than this, and than the last one.
inline constexpr size_t snapshot_after_bytes = 128U << 10;

machine::RunError to_run_error(activities::ActivityError e);
/// The row of a shared value.
std::string kv_row(std::string_view key);

class Engine::Impl {
 public:
  Impl(std::shared_ptr<store::Store> store, EngineOptions options)
      : store_(std::move(store)), options_(std::move(options)) {
    if (!options_.clock) options_.clock = std::make_shared<SystemClock>();
  }

  Result<void> open();

  ~Impl();

  // calls.cpp: calls from outside

  Result<StartedRun> start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
                           const cel::Value& input, const StartOptions& options);
  void start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
             const cel::Value& input, const StartOptions& options, Then then);

  Result<void> resume(RunKey run, std::shared_ptr<const ir::Program> next);

  Result<RunHeader> wait(RunKey run, int timeout_ms);

  bool wait_for_events(RunKey run, uint64_t seq, int timeout_ms);
  bool wait_for_stream(RunKey run, uint64_t size, int timeout_ms);

  size_t active() const { return active_.load(); }

 private:
  // types

  struct PendingStart {
    std::shared_ptr<const ir::Program> program;
    ir::CallableId workflow;
    cel::Value input;
    StartOptions options;
    Then then;
    std::string id;  // of the run as it goes into the batch

    void finish(Result<StartedRun> result) {
      if (then) std::exchange(then, {})(std::move(result));
    }
  };

  /// A run that this process owns.
  struct Run {
    RunKey key = 0;
    RunHeader header;  // as it is in the store, or will be when the present commit is done
    machine::RunStatePtr state;
    std::shared_ptr<const ir::Program> program;
    uint64_t committed = 0;                                          // events in the store
    Millis due = machine::never;                                     // as the store has it
    std::map<std::pair<machine::ActId, uint32_t>, uint64_t> tokens;  // effects in flight
    std::deque<machine::Input> inputs;
    std::vector<uint64_t> consumed;
    uint64_t last_message = 0;       // newest message taken from the store's inbox
    bool more = false;               // the last turn was cut off by its limit
    std::vector<store::Post> posts;  // to go with the next commit: what native steps sent
    std::vector<StageId> stages;     // of files that outcomes brought, to be let go with it
    size_t children = 0;             // attached ones that have not ended
    size_t log_bytes = 0;            // written since the last snapshot
    size_t snapshot_bytes = 0;       // size of that
    bool queued = false;             // in `ready_`
    uint64_t batch = 0;              // number of the batch that has a part of it; 0: none
    size_t part = 0;                 // which one
    bool sealed = false;             // that part is complete: what comes now is for the next batch
  };

  /// A run that a step starts, in the commit of that step's event.
  struct Child {
    std::unique_ptr<Run> run;
    std::unique_ptr<BlobSink> blobs = std::make_unique<BlobSink>();
    ByteWriter events{blobs.get()};
    NewRun::WhenFull when_full = NewRun::WhenFull::queue;
  };

  /// What one run adds to a batch.
  struct Part {
    RunKey key = 0;  // 0 until the store has given a number to a new run
    std::unique_ptr<BlobSink> blobs = std::make_unique<BlobSink>();
    ByteWriter events{blobs.get()};
    uint32_t event_count = 0;
    uint32_t public_count = 0;
    std::vector<machine::Action> actions;
    std::vector<machine::Input> taken;
    std::vector<uint64_t> consumed;
    std::vector<store::Post> posts;
    std::vector<store::Post> sent;  // of native steps: kept if the commit fails
    std::vector<StageId> stages;
    std::vector<store::Watch> watches;
    std::vector<store::SideWrite> writes;
    std::optional<store::SessionWrite> session;
    std::vector<Child> children;
    std::vector<NewRun> child_rows;  // what `children` look like to the store
    std::string snapshot;
    std::vector<machine::Event> observed;  // only if somebody observes
    std::optional<RunHeader> header;
    std::optional<Millis> next_due;
    uint64_t expected_seq = 0;
    uint64_t epoch = 0;
    bool give_up = false;
    // of a new run
    std::shared_ptr<PendingStart> start;
    std::unique_ptr<Run> fresh;
    std::string program_bytes;
    Sha256 input_hash{};
  };
  struct Batch {
    uint64_t number = 1;
    std::deque<Part> starts;  // parts are large: they stay where they are
    std::deque<Part> parts;
    double seconds = 0;  // that the write took
    size_t size() const { return starts.size() + parts.size(); }
    std::chrono::steady_clock::time_point written{};
    bool empty() const { return starts.empty() && parts.empty(); }
  };

  // loop.cpp: inbox of the loop

  static void signal_fd(int fd);

  void post(std::function<void()> task);

  void on_completion(activities::Completion completion);

  void trouble(const std::string& what) const;

  Millis now() const { return options_.clock->now(); }
  static Millis steady_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  // loop.cpp: the loop

  void loop();

  void drain();
  /// Lets the run decide in the next batch.
  void wake(Run& run);
  /// The batch that was being committed, if it is done.
  void finish_commit();

  void take(activities::Completion completion);
  void on_delta(uint64_t token, bool reasoning, std::string text);
  void take_deltas();

  void sleep();

  // batch.cpp: gathering a batch

  /// Decides for starts and runs that are ready, into `gathered_`.
  void gather();
  Batch take_gathered();

  void add_turn(Run& run, Part& part, machine::Turn turn, Millis t);
  /// Answers the machine's questions for the session's state, until it has none left.
  void serve_histories(Run& run, machine::Turn& turn, Millis t);
  void serve_sessions(Run& run, Part& part, machine::Turn& turn, Millis t);
  void add_child(Run& run, Part& part, const machine::StartChild& start, Millis t);
  void describe(RunHeader& h, const ir::Program& program, ir::CallableId workflow) const;
  Result<void> enter_slot(RunHeader& h, const ir::Program& program, ir::CallableId workflow,
                          const cel::Value& input) const;
  cel::Value session_of(const std::string& id, const ir::Program& program,
                        ir::CallableId workflow) const;

  void prepare_start(std::shared_ptr<PendingStart> pending, Millis t);

  void settle(Run& run, Part& part, Millis t);

  void advance(Run& run, Millis t);

  std::string encoded_program(const std::shared_ptr<const ir::Program>& program, Sha256& hash);

  void set_timer(Run& run);

  // commit.cpp: committing

  static void prepare(Batch& batch);
  void hand_over(Batch batch);
  void commit_here(Batch batch);
  Result<store::Store::BatchResult> commit(Batch& batch);

  void commit_loop();

  Result<store::Store::BatchResult> write(const Batch& batch);

  void after_commit(Batch batch, Result<store::Store::BatchResult> result);

  void started(Part part, const store::Started& row);

  void started_children(Part& part, std::span<const store::Started> rows);
  void released(Run& run, Part& part);
  /// Whether the run is still ours, asked where the process may have been stopped since the commit.
  bool lost(const Run& run, const Batch& batch) const;
  void observe(const Run& run, const Part& part) const;
  /// Whoever follows the run follows those that it waits for, too.
  void add_followed(const Run& run, std::vector<RunKey>& out) const;

  void release(Run& run, machine::Action& action);
  /// What the engine does itself: look-ups in the store and messages to other runs. False: it is an
  /// activity's.
  bool perform(Run& run, const machine::StartActivity& start, machine::OutcomeInput& input);
  std::string cache_row(const Run& run, const std::string& key, bool of_program) const;

  void commit_failed(Batch batch, Error error);

  void refold(Part& part, const Error& error);

  void drop(RunKey key);

  // ownership.cpp: ownership

  Result<void> claim(RunKey key, const std::shared_ptr<const ir::Program>& next = nullptr);

  // needs.cpp
  Result<std::vector<RunHeader>> claimable_here(Millis t);

  void claim_children(RunKey parent);
  Result<void> take_up(RunHeader header);
  Result<void> reopen(RunHeader header);
  Result<void> move(RunHeader header, const ir::Program& next);
  std::unexpected<Error> give_back(const RunHeader& header, std::optional<Millis> next_due,
                                   Error error);

  void adopt();
  /// Starts what is due; gives when to look again.
  Millis run_schedules(Millis t);
  bool fire(const store::Schedule& schedule, Millis t, Millis& next);

  void watch();

  void look_into_inbox(Run& run);
  void take_message(Run& run, const store::InboxMessage& message);

  // ownership.cpp: ending

  void shut_down();

  // calls.cpp: who waits for commits

  void notify_commit(const std::vector<RunKey>& runs, const std::vector<RunKey>& ended);
  void notify_all();

  struct Effect {
    RunKey run = 0;
    machine::ActId act = machine::no_act;
    uint32_t attempt = 0;
  };
  struct EncodedProgram {
    std::shared_ptr<const ir::Program> program;
    std::string bytes;
    Sha256 hash{};
  };

  std::shared_ptr<store::Store> store_;
  EngineOptions options_;
  std::unique_ptr<Doorbell> bell_;
  std::unique_ptr<Alarm> alarm_;
  store::OwnerId owner_ = store::no_owner;
  int wake_ = -1;
  int stop_watch_ = -1;
  std::unique_ptr<activities::Activities> activities_;
  struct Piece {
    uint64_t token = 0;
    bool reasoning = false;
    std::string text;
  };
  std::mutex delta_mutex_;
  std::vector<Piece> deltas_;  // of models' answers, not taken yet

  std::mutex inbox_mutex_;
  std::vector<std::function<void()>> inbox_;
  std::vector<activities::Completion> completions_;

  // Only the loop's thread touches these.
  std::unordered_map<RunKey, std::unique_ptr<Run>> runs_;
  std::deque<RunKey> ready_;  // may hold runs that are gone
  Batch gathered_;            // the next one; its runs have no part in the one being committed
  double last_commit_ = 0;    // seconds
  double decide_cost_ = 0;    // seconds that a run takes here in a batch, on average
  std::set<std::pair<Millis, RunKey>> timers_;
  std::unordered_map<RunKey, Millis> timer_of_;
  std::unordered_map<uint64_t, Effect> effects_;
  std::unordered_map<const ir::Program*, EncodedProgram> encoded_;
  std::deque<std::shared_ptr<PendingStart>> starts_;
  std::unordered_set<RunKey> watching_;    // runs that wait for others, and perhaps for one of ours
  std::set<Sha256> at_home_;               // programs whose runs this process can go on with
  std::unordered_set<RunKey> left_alone_;  // for want of something, as was said
  std::unordered_set<RunKey> queued_;      // started here, waiting for a slot
  uint64_t last_token_ = 0;
  bool committing_ = false;
  bool stopping_ = false;
  bool rung_ = false;
  Millis retry_at_ = 0;  // on the steady clock: a full disk has nothing to do with the time of day
  Millis next_adoption_ = machine::never;

  std::mutex commit_mutex_;
  std::condition_variable commit_changed_;
  std::optional<Batch> to_commit_;
  std::optional<std::pair<Batch, Result<store::Store::BatchResult>>> committed_;
  std::atomic<bool> commit_done_ = false;  // there is something in `committed_`
  bool commit_stop_ = false;

  Waiting waiting_;
  std::atomic<size_t> active_ = 0;

  std::thread loop_;
  std::thread committer_;
  std::thread watcher_;
};

}  // namespace kflow::engine
