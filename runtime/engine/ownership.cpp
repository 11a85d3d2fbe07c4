// Taking runs over and giving them up.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/impl.hpp"
#include "runtime/engine/messages.hpp"

namespace kflow::engine {

Result<void> Engine::Impl::claim(RunKey key, const std::shared_ptr<const ir::Program>& next) {
  auto header = store_->header(key);
  if (!header) return std::unexpected(std::move(header).error());
  if (!*header) return fail(ErrorCode::not_found, "no such run");
  if ((*header)->tape != options_.tape) {
    return fail(
        ErrorCode::conflict,
        (*header)->tape.empty()
            ? "run `" + (*header)->id + "` has no tape, and this process has one"
            : "run `" + (*header)->id + "` goes on with its tape alone (" + (*header)->tape + ")");
  }
  auto claimed = store_->claim(key, (*header)->epoch);
  if (!claimed) return std::unexpected(std::move(claimed).error());
  const bool failed = claimed->status == RunStatus::error;
  auto taken = next != nullptr ? move(std::move(*claimed), *next)
               : failed        ? reopen(std::move(*claimed))
                               : take_up(std::move(*claimed));
  if (taken) claim_children(key);
  return taken;
}

// Whoever goes on with a run goes on with the runs that it waits for, if nobody else does.
void Engine::Impl::claim_children(RunKey parent) {
  const auto children = store_->list({.parent = parent, .limit = most_children});
  if (!children) return trouble(children.error().message);
  for (const RunHeader& child : *children) {
    if (!child.attached || is_final(child.status) || runs_.contains(child.key) ||
        store_->alive(child.owner))
      continue;
    (void)claim(child.key);  // another process may be quicker, or the child waits for its turn
  }
}

// A run that was claimed is not taken up after all.
std::unexpected<Error> Engine::Impl::give_back(const RunHeader& header,
                                               std::optional<Millis> next_due, Error error) {
  RunHeader back = header;
  back.owner = store::no_owner;
  const auto last = store_->last(header.key);
  const uint64_t seq = last && *last ? (*last)->first_seq + (*last)->event_count : 0;
  const RunCommit commit{.run = header.key,
                         .epoch = header.epoch,
                         .expected_seq = seq,
                         .events = "",
                         .header = back,
                         .next_due = next_due,
                         .consumed = {},
                         .snapshot = ""};
  (void)store_->commit(std::span(&commit, 1));
  return std::unexpected(std::move(error));
}

// An ERROR run goes on from what it failed by: the log gets an event that says so, and a new
// attempt of the run.
Result<void> Engine::Impl::reopen(RunHeader header) {
  const auto give_back = [&](Error error) { return this->give_back(header, {}, std::move(error)); };
  if (header.attached) {
    return give_back(
        {ErrorCode::conflict,
         "run `" + header.id +
             "` is a step of another run, which has its failure already; resume or fork that one"});
  }
  auto program = load_program(*store_, header.program);
  if (!program) return give_back(program.error());
  auto loaded = load_state(*store_, header.key, *program);
  if (!loaded) return give_back(loaded.error());
  const machine::ResumePoint point = machine::resume_point(*loaded->state);
  if (!point.refusal.empty())
    return give_back(
        {ErrorCode::conflict, "run `" + header.id + "` cannot be resumed: " + point.refusal});
  const machine::Event event = machine::resumed(*loaded->state, point, now());
  auto rewound = load_resumed(*store_, header.key, *program, event);
  if (!rewound) return give_back(rewound.error());

  auto run = std::make_unique<Run>();
  run->key = header.key;
  run->header = header;
  run->header.status = RunStatus::running;
  run->header.attempt = machine::attempt(*rewound->state);
  run->header.ended_at = 0;
  run->header.error.clear();
  run->program = std::move(*program);
  ByteWriter bytes;
  machine::encode_event(event, bytes);
  const RunCommit commit{.run = header.key,
                         .epoch = header.epoch,
                         .expected_seq = loaded->events,
                         .events = bytes.buffer(),
                         .event_count = 1,
                         .public_count = 1,
                         .header = run->header,
                         .next_due = {},
                         .consumed = {},
                         .snapshot = "",
                         .drop_snapshot = true};
  const auto committed = store_->commit(std::span(&commit, 1));
  if (!committed) return give_back(committed.error());
  if (committed->front() != CommitOutcome::committed)
    return fail(ErrorCode::conflict, "run `" + header.id + "` was taken by another process");
  run->state = std::move(rewound->state);
  run->committed = rewound->events;
  run->inputs.emplace_back(machine::RecoverInput{});
  Run& ref = *run;
  runs_.emplace(ref.key, std::move(run));
  active_ = runs_.size();
  look_into_inbox(ref);
  wake(ref);
  return {};
}

// A run that is ours now: its log is folded, and what was in flight is decided again.
Result<void> Engine::Impl::take_up(RunHeader header) {
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
  // A run that is to be cancelled begins nothing first.
  for (auto it = ref.inputs.begin(); it != ref.inputs.end(); ++it) {
    if (const auto* cancel = std::get_if<machine::CancelInput>(&*it)) {
      ref.inputs.front() = machine::RecoverInput{*cancel};
      ref.inputs.erase(it);
      break;
    }
  }
  if (!machine::requirements(*ref.state).empty() || machine::next_due(*ref.state) == machine::never)
    watching_.insert(key);
  wake(ref);
  return {};
}

void Engine::Impl::adopt() {
  if (stopping_) return;
  const Millis t = now();
  // Runs that were started here and had to wait for a slot, also where nothing else is adopted.
  for (auto it = queued_.begin(); it != queued_.end();) {
    const auto header = store_->header(*it);
    const bool open = header && *header && (*header)->status == RunStatus::pending &&
                      (*header)->owner == store::no_owner;
    if (open && claim(*it).has_value()) {
      it = queued_.erase(it);
    } else if (open) {
      ++it;
    } else {
      it = queued_.erase(it);
    }
  }
  if (!options_.adopt) return;
  const Millis next_schedule = options_.schedules ? run_schedules(t) : machine::never;
  // Files and programs of a run are its project's: a process of that one takes it.
  auto claimable = claimable_here(t);
  auto claimed = claimable ? store_->claim_all(*claimable) : std::move(claimable);
  if (!claimed) {
    trouble(claimed.error().message);
    next_adoption_ = t + 1000;
    return;
  }
  for (RunHeader& header : *claimed) {
    const std::string id = header.id;
    if (auto taken = take_up(std::move(header)); !taken)
      trouble("run " + id + " cannot be resumed: " + taken.error().message);
  }
  if (claimed->size() == claim_batch) {
    next_adoption_ = t;
    return;
  }
  const auto due = store_->next_due(t);
  next_adoption_ = std::min(due ? *due : t + 1000, next_schedule);
}

void Engine::Impl::watch() {
  for (;;) {
    const auto died = store_->wait_for_death(stop_watch_);
    if (!died || !*died) return;
    post([this] { adopt(); });
    // The dead one's row stays until its runs are taken: not asked again at once.
    pollfd fd{stop_watch_, POLLIN, 0};
    if (::poll(&fd, 1, 100) > 0) return;
  }
}

void Engine::Impl::look_into_inbox(Run& run) {
  auto messages = store_->inbox(run.key, 100);
  if (!messages) return trouble(messages.error().message);
  for (const store::InboxMessage& m : *messages) {
    if (m.seq <= run.last_message) continue;  // taken already, its commit may be under way
    run.last_message = m.seq;
    run.consumed.push_back(m.seq);
    take_message(run, m);
    wake(run);
  }
}

void Engine::Impl::take_message(Run& run, const store::InboxMessage& m) {
  using Kind = store::InboxMessage::Kind;
  switch (m.kind) {
    case Kind::cancel:
    case Kind::kill:
      run.inputs.emplace_back(machine::CancelInput{m.body, m.kind == Kind::kill});
      return;
    case Kind::resume:
      return;  // it runs
    case Kind::signal: {
      auto signal = decode_signal(m.body);
      if (!signal) return trouble(signal.error().message);
      run.inputs.emplace_back(std::move(*signal));
      return;
    }
    case Kind::answer: {
      auto answer = decode_answer(m.body);
      if (!answer) return trouble(answer.error().message);
      run.inputs.emplace_back(std::move(*answer));
      return;
    }
    case Kind::child_result:
      break;
  }
  const auto watch = store::read_watch_body(m.body);
  if (!watch) return trouble(watch.error().message);
  machine::RunEndedInput ended{.act = watch->act, .run_id = "", .outcome = {}, .usage = {}};
  if (watch->target == 0) {
    ended.outcome =
        machine::RunError{.kind = "tool",
                          .code = "not_found",
                          .message = "there is no such run, or it could not be started"};
  } else {
    const auto header = store_->header(watch->target);
    if (header && *header) ended.run_id = (*header)->id;
    auto outcome = read_outcome(*store_, watch->target, &ended.usage);
    if (outcome) {
      ended.outcome = std::move(*outcome);
    } else {
      ended.outcome = machine::RunError{
          .kind = "internal", .code = "store", .message = outcome.error().message};
    }
  }
  if (run.children > 0) --run.children;
  run.inputs.emplace_back(std::move(ended));
}

// Whatever runs here is given up; the next process that claims it starts what was in flight again.
void Engine::Impl::shut_down() {
  std::vector<RunCommit> commits;
  for (const auto& [key, run] : runs_) {
    if (is_final(run->header.status)) continue;
    RunHeader header = run->header;
    header.owner = store::no_owner;
    header.usage = machine::usage(*run->state);
    commits.push_back(
        {.run = key,
         .epoch = header.epoch,
         .expected_seq = run->committed,
         .events = "",
         .header = header,
         .next_due = machine::in_flight(*run->state) > 0 ? now() : machine::next_due(*run->state),
         .consumed = {},
         .snapshot = ""});
  }
  if (!commits.empty()) (void)store_->commit(commits);
  for (auto& start : starts_)
    start->finish(fail(ErrorCode::cancelled, "the engine is being closed"));
  runs_.clear();
  store_->ring(store::no_owner);
}

}  // namespace kflow::engine
