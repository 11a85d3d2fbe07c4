// The loop. One thread owns all states; a committer thread writes; activities answer through the inbox.
#include "runtime/engine/engine.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "compiler/base/bytes.hpp"
#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/owners.hpp"

namespace kflow::engine {
namespace {

using machine::RunStatus;
using store::CommitOutcome;
using store::Doorbell;
using store::NewRun;
using store::RunCommit;

// Waits between tries to write when the disk is full.
constexpr int full_disk_wait_ms = 500;
constexpr size_t max_batch_runs = 4096;
constexpr size_t claim_batch = 256;

bool is_final(RunStatus s) { return s == RunStatus::completed || s == RunStatus::cancelled || s == RunStatus::error; }

machine::RunError to_run_error(activities::ActivityError e) {
  return {.kind = std::move(e.kind), .code = std::move(e.code), .message = std::move(e.message), .step = "", .status = e.status, .data = std::move(e.data), .retryable = e.retryable, .retry_after_ms = e.retry_after_ms};
}

}  // namespace

class Engine::Impl {
 public:
  Impl(std::shared_ptr<store::Store> store, EngineOptions options) : store_(std::move(store)), options_(std::move(options)) {
    if (!options_.clock) options_.clock = std::make_shared<SystemClock>();
  }

  Result<void> open() {
    auto bell = Doorbell::open();
    if (!bell) return std::unexpected(std::move(bell).error());
    bell_ = std::move(*bell);
    auto owner = store_->register_owner(bell_->address());
    if (!owner) return std::unexpected(std::move(owner).error());
    owner_ = *owner;
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    stop_watch_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    activities_ = std::make_unique<activities::Activities>(options_.activities, [this](activities::Completion c) { on_completion(std::move(c)); });
    committer_ = std::thread([this] { commit_loop(); });
    loop_ = std::thread([this] { loop(); });
    if (options_.adopt) watcher_ = std::thread([this] { watch(); });
    return {};
  }

  ~Impl() {
    post([this] { stopping_ = true; });
    if (loop_.joinable()) loop_.join();
    {
      const std::lock_guard guard(commit_mutex_);
      commit_stop_ = true;
    }
    commit_changed_.notify_all();
    if (committer_.joinable()) committer_.join();
    signal_fd(stop_watch_);
    if (watcher_.joinable()) watcher_.join();
    activities_.reset();
    if (wake_ >= 0) ::close(wake_);
    if (stop_watch_ >= 0) ::close(stop_watch_);
  }

  // ---------------------------------------------------------------- calls from outside

  Result<StartedRun> start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow, const cel::Value& input, const StartOptions& options) {
    auto checked = check_input(*program, workflow, input);
    if (!checked) return std::unexpected(std::move(checked).error());
    auto pending = std::make_shared<PendingStart>();
    pending->program = std::move(program);
    pending->workflow = workflow;
    pending->input = std::move(*checked);
    pending->options = options;
    post([this, pending] { starts_.push_back(pending); });
    std::unique_lock lock(pending->mutex);
    pending->changed.wait(lock, [&] { return pending->done; });
    return std::move(pending->result);
  }

  Result<void> resume(RunKey run) {
    struct Answer {
      std::mutex mutex;
      std::condition_variable changed;
      std::optional<Result<void>> result;
    };
    auto answer = std::make_shared<Answer>();
    post([this, run, answer] {
      Result<void> result;
      if (!runs_.contains(run)) result = claim(run);
      const std::lock_guard guard(answer->mutex);
      answer->result = std::move(result);
      answer->changed.notify_all();
    });
    std::unique_lock lock(answer->mutex);
    answer->changed.wait(lock, [&] { return answer->result.has_value(); });
    return std::move(*answer->result);
  }

  Result<RunHeader> wait(RunKey run, int timeout_ms) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms < 0 ? 0 : timeout_ms);
    Wait waiting(*this, run);
    for (;;) {
      const uint64_t before = waiting.begin();
      auto header = store_->header(run);
      if (!header) return std::unexpected(std::move(header).error());
      if (!*header) return fail(ErrorCode::not_found, "no such run");
      if (is_final((*header)->status)) return std::move(**header);
      if (timeout_ms >= 0 && std::chrono::steady_clock::now() >= until) return std::move(**header);
      waiting.wait(before, timeout_ms < 0 ? std::nullopt : std::optional(until));
    }
  }

  bool wait_for_events(RunKey run, uint64_t seq, int timeout_ms) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    Wait waiting(*this, run);
    for (;;) {
      const uint64_t before = waiting.begin();
      const auto chunks = store_->read(run, seq, 1);
      if (!chunks || !chunks->empty()) return true;
      if (std::chrono::steady_clock::now() >= until) return false;
      waiting.wait(before, until);
    }
  }

  size_t active() const { return active_.load(); }

 private:
  // ---------------------------------------------------------------- types

  struct PendingStart {
    std::shared_ptr<const ir::Program> program;
    ir::CallableId workflow;
    cel::Value input;
    StartOptions options;
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    Result<StartedRun> result;
    // Of the run as it goes into the batch.
    std::string id;

    void finish(Result<StartedRun> r) {
      const std::lock_guard guard(mutex);
      result = std::move(r);
      done = true;
      changed.notify_all();
    }
  };

  /// A run that this process owns.
  struct Run {
    RunKey key = 0;
    RunHeader header;             // as it is in the store, or will be when the present commit is done
    machine::RunStatePtr state;
    std::shared_ptr<const ir::Program> program;
    uint64_t committed = 0;       // events in the store
    Millis due = machine::never;  // as the store has it
    std::map<std::pair<machine::ActId, uint32_t>, uint64_t> tokens;  // effects in flight
    std::deque<machine::Input> inputs;
    std::vector<uint64_t> consumed;
    uint64_t last_message = 0;    // newest message taken from the store's inbox
    bool more = false;            // the last turn was cut off by its limit
  };

  /// What one run adds to a batch.
  struct Part {
    RunKey key = 0;               // 0 until the store has given a number to a new run
    ByteWriter events;
    uint32_t event_count = 0;
    uint32_t public_count = 0;
    std::vector<machine::Action> actions;
    std::vector<machine::Input> taken;
    std::vector<uint64_t> consumed;
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
    std::vector<Part> starts;
    std::vector<Part> parts;
    bool empty() const { return starts.empty() && parts.empty(); }
  };

  // ---------------------------------------------------------------- inbox of the loop

  static void signal_fd(int fd) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
  }

  void post(std::function<void()> task) {
    {
      const std::lock_guard guard(inbox_mutex_);
      inbox_.push_back(std::move(task));
    }
    signal_fd(wake_);
  }

  void on_completion(activities::Completion completion) {
    {
      const std::lock_guard guard(inbox_mutex_);
      completions_.push_back(std::move(completion));
    }
    signal_fd(wake_);
  }

  void trouble(const std::string& what) const {
    if (options_.on_trouble) options_.on_trouble(what);
  }

  Millis now() const { return options_.clock->now(); }

  // ---------------------------------------------------------------- the loop

  void loop() {
    if (options_.adopt) adopt();
    for (;;) {
      drain();
      if (stopping_ && !committing_) {
        shut_down();
        return;
      }
      if (!committing_ && !stopping_) {
        Batch batch = gather();
        if (!batch.empty()) {
          hand_over(std::move(batch));
          continue;
        }
      }
      sleep();
    }
  }

  void drain() {
    std::vector<std::function<void()>> tasks;
    std::vector<activities::Completion> completions;
    {
      const std::lock_guard guard(inbox_mutex_);
      tasks.swap(inbox_);
      completions.swap(completions_);
    }
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(wake_, &count, sizeof count);
    for (auto& task : tasks) task();
    for (auto& completion : completions) take(std::move(completion));
    if (rung_) {
      rung_ = false;
      for (const auto& [key, run] : runs_) look_into_inbox(*run);
      if (options_.adopt) adopt();
      notify_all();  // another process may have written what somebody here waits for
    }
    std::deque<std::pair<Batch, Result<store::Store::BatchResult>>> done;
    {
      const std::lock_guard guard(commit_mutex_);
      done.swap(committed_);
    }
    for (auto& [batch, result] : done) after_commit(std::move(batch), std::move(result));
    const Millis t = now();
    while (!timers_.empty() && timers_.begin()->first <= t) {
      const RunKey key = timers_.begin()->second;
      timers_.erase(timers_.begin());
      if (const auto it = runs_.find(key); it != runs_.end()) {
        it->second->inputs.emplace_back(machine::TickInput{});
        ready_.insert(key);
      }
    }
    if (options_.adopt && next_adoption_ <= t) adopt();
  }

  void take(activities::Completion completion) {
    const auto it = effects_.find(completion.token);
    if (it == effects_.end()) return;  // of a run that is not ours any more
    const Effect effect = it->second;
    effects_.erase(it);
    const auto run = runs_.find(effect.run);
    if (run == runs_.end()) return;
    run->second->tokens.erase({effect.act, effect.attempt});
    machine::OutcomeInput input{.act = effect.act, .attempt = effect.attempt, .outcome = {}};
    if (auto* value = std::get_if<cel::Value>(&completion.outcome)) {
      input.outcome = std::move(*value);
    } else {
      input.outcome = to_run_error(std::get<activities::ActivityError>(std::move(completion.outcome)));
    }
    run->second->inputs.emplace_back(std::move(input));
    ready_.insert(effect.run);
  }

  void sleep() {
    Millis due = timers_.empty() ? machine::never : timers_.begin()->first;
    if (options_.adopt) due = std::min(due, next_adoption_);
    int timeout = -1;
    if (!committing_ && retry_at_ != 0) due = std::min(due, retry_at_);
    if (due != machine::never) timeout = static_cast<int>(std::clamp<Millis>(due - now(), 0, 3'600'000));
    pollfd fds[2] = {{wake_, POLLIN, 0}, {bell_->fd(), POLLIN, 0}};
    ::poll(fds, 2, timeout);
    if (fds[1].revents != 0) {
      bell_->drain();
      rung_ = true;
    }
  }

  // ---------------------------------------------------------------- gathering a batch

  Batch gather() {
    Batch batch;
    if (retry_at_ != 0 && now() < retry_at_) return batch;
    retry_at_ = 0;
    const Millis t = now();
    while (!starts_.empty() && batch.starts.size() < max_batch_runs) {
      prepare_start(batch, std::move(starts_.front()), t);
      starts_.pop_front();
    }
    while (!ready_.empty() && batch.parts.size() < max_batch_runs) {
      const RunKey key = *ready_.begin();
      ready_.erase(ready_.begin());
      const auto it = runs_.find(key);
      if (it != runs_.end()) advance(batch, *it->second, t);
    }
    return batch;
  }

  void add_turn(Part& part, machine::Turn turn) {
    for (const machine::Event& event : turn.events) {
      machine::encode_event(event, part.events);
      ++part.event_count;
      part.public_count += event.shown;
    }
    for (machine::Action& action : turn.actions) part.actions.push_back(std::move(action));
  }

  void prepare_start(Batch& batch, std::shared_ptr<PendingStart> pending, Millis t) {
    Part part;
    auto run = std::make_unique<Run>();
    run->program = pending->program;
    run->state = machine::make_state(pending->program);
    RunHeader& h = run->header;
    h.id = pending->options.id.empty() ? new_run_id(t) : pending->options.id;
    h.workflow = (*pending->program)[pending->workflow].name;
    h.tags = (*pending->program)[pending->workflow].workflow.tags;
    h.tags.insert(h.tags.end(), pending->options.tags.begin(), pending->options.tags.end());
    h.session_id = pending->options.session_id.empty() ? h.id : pending->options.session_id;
    h.user_id = pending->options.user_id;
    h.project_root = pending->options.project_root;
    h.created_at = h.started_at = t;
    part.program_bytes = encoded_program(pending->program, h.program);
    ByteWriter input;
    cel::encode_value(pending->input, input);
    part.input_hash = sha256(input.buffer());
    machine::RunStarted started{.workflow = pending->workflow, .input = pending->input, .run_id = h.id, .session_id = h.session_id, .user_id = h.user_id};
    machine::Turn turn = machine::start(*run->state, std::move(started), t);
    if (pending->options.detached) {
      turn.events.resize(1);  // event 0 alone: the process that takes the run goes on from there
      turn.actions.clear();
      turn.more = false;
      h.status = RunStatus::pending;
      part.next_due = t;
      h.owner = store::no_owner;
    } else {
      h.owner = owner_;
      h.epoch = 1;
      run->more = turn.more;
      settle(*run, part, t);
    }
    add_turn(part, std::move(turn));
    part.header = h;
    part.start = std::move(pending);
    part.fresh = std::move(run);
    batch.starts.push_back(std::move(part));
  }

  // Header and timer changes that follow from the state after a turn.
  void settle(Run& run, Part& part, Millis t) {
    const RunStatus status = machine::status(*run.state);
    if (status != run.header.status) {
      run.header.status = status;
      if (is_final(status)) {
        run.header.ended_at = t;
        run.header.owner = store::no_owner;
        if (const machine::RunError* error = machine::error(*run.state)) run.header.error = error->message;
      }
      part.header = run.header;
    }
    const Millis due = machine::next_due(*run.state);
    if (!is_final(status) && options_.park && machine::in_flight(*run.state) == 0 && !run.more && due != machine::never && due > t + park_after_ms) {
      run.header.owner = store::no_owner;
      part.header = run.header;
      part.give_up = true;
    }
    if (!is_final(status) && due != run.due) {
      // Timers of a run that is owned matter to nobody else: the row is written when the run is given up.
      if (part.give_up) part.next_due = due;
      run.due = due;
    }
    if (part.give_up) part.next_due = due;
  }

  void advance(Batch& batch, Run& run, Millis t) {
    Part part;
    part.key = run.key;
    part.expected_seq = run.committed;
    part.epoch = run.header.epoch;
    if (run.inputs.empty() && run.more) run.inputs.emplace_back(machine::TickInput{});
    while (!run.inputs.empty()) {
      machine::Input input = std::move(run.inputs.front());
      run.inputs.pop_front();
      machine::Turn turn = machine::advance(*run.state, input, t);
      run.more = turn.more;
      add_turn(part, std::move(turn));
      part.taken.push_back(std::move(input));
    }
    part.consumed = std::move(run.consumed);
    run.consumed.clear();
    settle(run, part, t);
    set_timer(run);
    if (part.event_count == 0 && !part.header && part.consumed.empty() && !part.next_due) {
      if (run.more) ready_.insert(run.key);
      return;
    }
    run.committed += part.event_count;
    batch.parts.push_back(std::move(part));
  }

  std::string encoded_program(const std::shared_ptr<const ir::Program>& program, Sha256& hash) {
    auto& cached = encoded_[program.get()];
    if (cached.program != program) cached = {program, ir::encode(*program), ir::hash(*program)};
    hash = cached.hash;
    return cached.bytes;
  }

  void set_timer(Run& run) {
    const auto known = timer_of_.find(run.key);
    const Millis due = machine::next_due(*run.state);
    if (known != timer_of_.end()) {
      if (known->second == due) {
        if (timers_.contains({due, run.key}) || due == machine::never) return;
      }
      timers_.erase({known->second, run.key});
      timer_of_.erase(known);
    }
    if (due == machine::never) return;
    timers_.insert({due, run.key});
    timer_of_[run.key] = due;
  }

  // ---------------------------------------------------------------- committing

  void hand_over(Batch batch) {
    committing_ = true;
    {
      const std::lock_guard guard(commit_mutex_);
      to_commit_.emplace(std::move(batch));
    }
    commit_changed_.notify_one();
  }

  void commit_loop() {
    for (;;) {
      Batch batch;
      {
        std::unique_lock lock(commit_mutex_);
        commit_changed_.wait(lock, [&] { return commit_stop_ || to_commit_; });
        if (!to_commit_) return;
        batch = std::move(*to_commit_);
        to_commit_.reset();
      }
      auto result = write(batch);
      if (result && options_.on_commit) options_.on_commit();
      {
        const std::lock_guard guard(commit_mutex_);
        committed_.emplace_back(std::move(batch), std::move(result));
      }
      signal_fd(wake_);
    }
  }

  Result<store::Store::BatchResult> write(const Batch& batch) {
    std::vector<NewRun> starts;
    std::vector<RunCommit> commits;
    for (const Part& p : batch.starts) {
      NewRun run{.header = *p.header, .program = p.program_bytes, .events = std::string_view(const_cast<Part&>(p).events.buffer()), .event_count = p.event_count, .public_count = p.public_count};
      if (p.next_due) run.next_due = *p.next_due;
      run.idempotency_key = p.start->options.idempotency_key;
      run.input_hash = p.input_hash;
      starts.push_back(std::move(run));
    }
    for (const Part& p : batch.parts) {
      commits.push_back({.run = p.key, .epoch = p.epoch, .expected_seq = p.expected_seq, .events = std::string_view(const_cast<Part&>(p).events.buffer()), .event_count = p.event_count, .public_count = p.public_count, .header = p.header, .next_due = p.next_due, .consumed = p.consumed, .snapshot = ""});
    }
    return store_->write(starts, commits);
  }

  void after_commit(Batch batch, Result<store::Store::BatchResult> result) {
    committing_ = false;
    if (!result) return commit_failed(std::move(batch), std::move(result).error());
    for (size_t i = 0; i < batch.starts.size(); ++i) started(std::move(batch.starts[i]), result->started[i]);
    for (size_t i = 0; i < batch.parts.size(); ++i) {
      Part& part = batch.parts[i];
      const auto it = runs_.find(part.key);
      if (it == runs_.end()) continue;
      if (result->outcomes[i] == CommitOutcome::fenced) {
        trouble("run " + it->second->header.id + " was taken over by another process");
        drop(part.key);
        continue;
      }
      released(*it->second, part);
    }
    std::vector<RunKey> changed;
    for (const Part& part : batch.parts) changed.push_back(part.key);
    notify_commit(changed);
    store_->ring(store::no_owner);
  }

  void started(Part part, const store::Started& row) {
    if (row.refused) return part.start->finish(std::unexpected(*row.refused));
    if (!row.existed && !part.start->options.detached) {
      Run& run = *part.fresh;
      run.key = run.header.key = row.key;
      run.committed = part.event_count;
      runs_.emplace(row.key, std::move(part.fresh));
      active_ = runs_.size();
      part.key = row.key;
      set_timer(run);
      released(run, part);
    }
    part.start->finish(StartedRun{row.key, row.id, row.existed});
  }

  // The events are durable: now, and not before, effects go out.
  void released(Run& run, Part& part) {
    const RunKey key = run.key;
    for (machine::Action& action : part.actions) release(run, action);
    if (is_final(run.header.status) || part.give_up) return drop(key);
    if (run.more || !run.inputs.empty()) ready_.insert(key);
  }

  void release(Run& run, machine::Action& action) {
    if (auto* stop = std::get_if<machine::StopActivity>(&action)) {
      const auto it = run.tokens.find({stop->act, stop->attempt});
      if (it != run.tokens.end()) activities_->cancel(it->second);
      return;
    }
    auto& start = std::get<machine::StartActivity>(action);
    const uint64_t token = ++last_token_;
    activities::Request request{.token = token, .callee = std::move(start.callee), .command = std::move(start.command), .input = std::move(start.input), .idempotency_key = std::move(start.idempotency_key), .run_id = run.header.id, .attempt = start.attempt};
    if (activities::Activities::is_native(request.callee)) {
      machine::OutcomeInput input{.act = start.act, .attempt = start.attempt, .outcome = {}};
      auto outcome = activities_->run_native(request);
      if (auto* value = std::get_if<cel::Value>(&outcome)) {
        input.outcome = std::move(*value);
      } else {
        input.outcome = to_run_error(std::get<activities::ActivityError>(std::move(outcome)));
      }
      run.inputs.emplace_back(std::move(input));
      ready_.insert(run.key);
      return;
    }
    effects_[token] = {run.key, start.act, start.attempt};
    run.tokens[{start.act, start.attempt}] = token;
    activities_->start(std::move(request));
  }

  // Nothing was written: the states built on it are folded again from the store, and the inputs wait for the next try.
  void commit_failed(Batch batch, Error error) {
    const bool later = error.code == ErrorCode::no_space || error.code == ErrorCode::timeout || error.code == ErrorCode::unavailable;
    for (Part& part : batch.starts) {
      if (later && error.code != ErrorCode::no_space) {
        starts_.push_back(std::move(part.start));
      } else {
        part.start->finish(std::unexpected(error));
      }
    }
    if (batch.parts.empty()) return;
    trouble(error.message);
    for (Part& part : batch.parts) refold(part, error);
    retry_at_ = now() + full_disk_wait_ms;
  }

  void refold(Part& part, const Error& error) {
    const auto it = runs_.find(part.key);
    if (it == runs_.end()) return;
    Run& run = *it->second;
    auto loaded = load_state(*store_, run.key, run.program);
    auto header = store_->header(run.key);
    if (!loaded || !header || !*header) {
      trouble("run " + run.header.id + " cannot be read: " + (loaded ? error.message : loaded.error().message));
      drop(part.key);
      return;
    }
    run.state = std::move(loaded->state);
    run.header = std::move(**header);
    run.committed = loaded->events;
    run.due = machine::never;
    run.consumed.insert(run.consumed.begin(), part.consumed.begin(), part.consumed.end());
    // The folded state has nothing decided yet that was lost; its inputs come again, in order, before newer ones.
    for (auto input = part.taken.rbegin(); input != part.taken.rend(); ++input) run.inputs.push_front(std::move(*input));
    set_timer(run);
    ready_.insert(run.key);
  }

  void drop(RunKey key) {
    const auto it = runs_.find(key);
    if (it == runs_.end()) return;
    for (const auto& [act, token] : it->second->tokens) {
      effects_.erase(token);
      activities_->cancel(token);
    }
    if (const auto timer = timer_of_.find(key); timer != timer_of_.end()) {
      timers_.erase({timer->second, key});
      timer_of_.erase(timer);
    }
    ready_.erase(key);
    runs_.erase(it);
    active_ = runs_.size();
  }

  // ---------------------------------------------------------------- ownership

  Result<void> claim(RunKey key) {
    auto header = store_->header(key);
    if (!header) return std::unexpected(std::move(header).error());
    if (!*header) return fail(ErrorCode::not_found, "no such run");
    auto claimed = store_->claim(key, (*header)->epoch);
    if (!claimed) return std::unexpected(std::move(claimed).error());
    return take_up(std::move(*claimed));
  }

  // A run that is ours now: its log is folded, and what was in flight is decided again.
  Result<void> take_up(RunHeader header) {
    const RunKey key = header.key;
    auto run = std::make_unique<Run>();
    run->key = key;
    run->header = std::move(header);
    auto program = load_program(*store_, run->header.program);
    if (!program) return std::unexpected(std::move(program).error());
    run->program = std::move(*program);
    auto loaded = load_state(*store_, key, run->program);
    if (!loaded) return std::unexpected(std::move(loaded).error());
    run->state = std::move(loaded->state);
    run->committed = loaded->events;
    run->inputs.emplace_back(machine::RecoverInput{});
    Run& ref = *run;
    runs_.emplace(key, std::move(run));
    active_ = runs_.size();
    look_into_inbox(ref);
    ready_.insert(key);
    return {};
  }

  void adopt() {
    if (stopping_) return;
    const Millis t = now();
    // Files and programs of a run are its project's: a process of that one takes it.
    auto claimable = store_->claimable(t, claim_batch, options_.project_root);
    if (claimable) std::erase_if(*claimable, [&](const RunHeader& h) { return runs_.contains(h.key); });
    auto claimed = claimable ? store_->claim_all(*claimable) : std::move(claimable);
    if (!claimed) {
      trouble(claimed.error().message);
      next_adoption_ = t + 1000;
      return;
    }
    for (RunHeader& header : *claimed) {
      const std::string id = header.id;
      if (auto taken = take_up(std::move(header)); !taken) trouble("run " + id + " cannot be resumed: " + taken.error().message);
    }
    if (claimed->size() == claim_batch) {
      next_adoption_ = t;
      return;
    }
    const auto due = store_->next_due(t);
    next_adoption_ = due ? *due : t + 1000;
  }

  void watch() {
    for (;;) {
      const auto died = store_->wait_for_death(stop_watch_);
      if (!died || !*died) return;
      post([this] { adopt(); });
      // The dead one's row stays until its runs are taken: not asked again at once.
      pollfd fd{stop_watch_, POLLIN, 0};
      if (::poll(&fd, 1, 100) > 0) return;
    }
  }

  void look_into_inbox(Run& run) {
    auto messages = store_->inbox(run.key, 100);
    if (!messages) return trouble(messages.error().message);
    for (const store::InboxMessage& m : *messages) {
if (m.seq <= run.last_message) continue;  // taken already, its commit may be under way
      run.last_message = m.seq;
      run.consumed.push_back(m.seq);
      if (m.kind == store::InboxMessage::Kind::cancel) run.inputs.emplace_back(machine::CancelInput{m.body});
      ready_.insert(run.key);
    }
  }

  // ---------------------------------------------------------------- ending

  // Whatever runs here is given up; the next process that claims it starts what was in flight again.
  void shut_down() {
    std::vector<RunCommit> commits;
    for (const auto& [key, run] : runs_) {
      if (is_final(run->header.status)) continue;
      RunHeader header = run->header;
      header.owner = store::no_owner;
      commits.push_back({.run = key, .epoch = header.epoch, .expected_seq = run->committed, .events = "", .header = header, .next_due = machine::in_flight(*run->state) > 0 ? now() : machine::next_due(*run->state), .consumed = {}, .snapshot = ""});
    }
    if (!commits.empty()) (void)store_->commit(commits);
    for (auto& start : starts_) start->finish(fail(ErrorCode::cancelled, "the engine is being closed"));
    runs_.clear();
    store_->ring(store::no_owner);
  }

  // ---------------------------------------------------------------- waiting for commits

  /// Those who wait for something of one run.
  struct Waiter {
    std::condition_variable changed;
    uint64_t generation = 0;
    size_t users = 0;
  };

  void notify_commit(const std::vector<RunKey>& runs) {
    const std::lock_guard guard(waiters_mutex_);
    for (const RunKey run : runs) {
      const auto it = waiters_.find(run);
      if (it == waiters_.end()) continue;
      ++it->second.generation;
      it->second.changed.notify_all();
    }
  }
  void notify_all() {
    const std::lock_guard guard(waiters_mutex_);
    for (auto& [run, waiter] : waiters_) {
      ++waiter.generation;
      waiter.changed.notify_all();
    }
  }

  /// Waits on one run; what is committed between `begin` and `wait` is not missed.
  class Wait {
   public:
    Wait(Impl& impl, RunKey run) : impl_(impl), run_(run) {
      const std::lock_guard guard(impl_.waiters_mutex_);
      ++impl_.waiters_[run].users;
    }
    ~Wait() {
      const std::lock_guard guard(impl_.waiters_mutex_);
      if (--impl_.waiters_[run_].users == 0) impl_.waiters_.erase(run_);
    }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    uint64_t begin() {
      const std::lock_guard guard(impl_.waiters_mutex_);
      return impl_.waiters_[run_].generation;
    }
    void wait(uint64_t before, std::optional<std::chrono::steady_clock::time_point> until) {
      std::unique_lock lock(impl_.waiters_mutex_);
      Waiter& waiter = impl_.waiters_[run_];
      // Commits of other processes ring the bell; the limit is only against a lost ring.
      auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
      if (until) limit = std::min(limit, *until);
      waiter.changed.wait_until(lock, limit, [&] { return waiter.generation != before; });
    }

   private:
    Impl& impl_;
    RunKey run_;
  };

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
  store::OwnerId owner_ = store::no_owner;
  int wake_ = -1;
  int stop_watch_ = -1;
  std::unique_ptr<activities::Activities> activities_;

  std::mutex inbox_mutex_;
  std::vector<std::function<void()>> inbox_;
  std::vector<activities::Completion> completions_;

  // Only the loop's thread touches these.
  std::unordered_map<RunKey, std::unique_ptr<Run>> runs_;
  std::unordered_set<RunKey> ready_;
  std::set<std::pair<Millis, RunKey>> timers_;
  std::unordered_map<RunKey, Millis> timer_of_;
  std::unordered_map<uint64_t, Effect> effects_;
  std::unordered_map<const ir::Program*, EncodedProgram> encoded_;
  std::deque<std::shared_ptr<PendingStart>> starts_;
  uint64_t last_token_ = 0;
  bool committing_ = false;
  bool stopping_ = false;
  bool rung_ = false;
  Millis retry_at_ = 0;
  Millis next_adoption_ = machine::never;

  std::mutex commit_mutex_;
  std::condition_variable commit_changed_;
  std::optional<Batch> to_commit_;
  std::deque<std::pair<Batch, Result<store::Store::BatchResult>>> committed_;
  bool commit_stop_ = false;

  std::mutex waiters_mutex_;
  std::unordered_map<RunKey, Waiter> waiters_;
  std::atomic<size_t> active_ = 0;

  std::thread loop_;
  std::thread committer_;
  std::thread watcher_;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(std::shared_ptr<store::Store> store, EngineOptions options) {
  auto impl = std::make_unique<Impl>(std::move(store), std::move(options));
  if (auto ok = impl->open(); !ok) return std::unexpected(std::move(ok).error());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<StartedRun> Engine::start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow, const cel::Value& input, const StartOptions& options) {
  return impl_->start(std::move(program), workflow, input, options);
}
Result<void> Engine::resume(RunKey run) { return impl_->resume(run); }
Result<RunHeader> Engine::wait(RunKey run, int timeout_ms) { return impl_->wait(run, timeout_ms); }
bool Engine::wait_for_events(RunKey run, uint64_t seq, int timeout_ms) { return impl_->wait_for_events(run, seq, timeout_ms); }
size_t Engine::active() const { return impl_->active(); }

Result<void> request_cancel(store::Store& store, const RunHeader& run, const std::string& reason) {
  if (is_final(run.status)) return fail(ErrorCode::conflict, "the run has ended already (" + std::string(machine::to_string(run.status)) + ")");
  auto posted = store.post(run.key, {.kind = store::InboxMessage::Kind::cancel, .dedup = "", .body = reason});
  if (!posted) return posted;
  store.ring(run.owner);
  return {};
}

std::string new_run_id(Millis now) {
  thread_local std::mt19937_64 engine{std::random_device{}()};
  const uint64_t a = (static_cast<uint64_t>(now) << 16) | 0x7000 | (engine() & 0xfff);
  const uint64_t b = (engine() >> 2) | (1ULL << 63);
  const std::string hex = to_hex(store_key(a) + store_key(b));
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}

}  // namespace kflow::engine
