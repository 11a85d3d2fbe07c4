// Committing batches, and letting out what follows from them.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "compiler/base/check.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/impl.hpp"
#include "runtime/engine/messages.hpp"

namespace kflow::engine {

machine::RunError to_run_error(activities::ActivityError e) {
  return {.kind = std::move(e.kind),
          .code = std::move(e.code),
          .message = std::move(e.message),
          .step = "",
          .status = e.status,
          .data = std::move(e.data),
          .retryable = e.retryable,
          .retry_after_ms = e.retry_after_ms};
}

// What the store needs of children, in place.
void Engine::Impl::prepare(Batch& batch) {
  for (Part& part : batch.parts) {
    for (Child& child : part.children) {
      NewRun row{.header = child.run->header,
                 .events = std::string_view(child.events.buffer()),
                 .event_count = static_cast<uint32_t>(child.run->committed),
                 .public_count = 1};
      row.when_full = child.when_full;
      row.blobs = child.blobs->blobs();
      part.child_rows.push_back(std::move(row));
    }
  }
}

void Engine::Impl::hand_over(Batch batch) {
  committing_ = true;
  prepare(batch);
  {
    const std::lock_guard guard(commit_mutex_);
    to_commit_.emplace(std::move(batch));
  }
  commit_changed_.notify_one();
}

void Engine::Impl::commit_here(Batch batch) {
  prepare(batch);
  auto result = commit(batch);
  after_commit(std::move(batch), std::move(result));
}

// On either thread.
Result<store::Store::BatchResult> Engine::Impl::commit(Batch& batch) {
  const auto begin = std::chrono::steady_clock::now();
  auto result = write(batch);
  batch.written = std::chrono::steady_clock::now();
  batch.seconds = std::chrono::duration<double>(batch.written - begin).count();
  if (result && options_.on_commit) options_.on_commit();
  return result;
}

// What was gathered meanwhile goes on its way before the effects of what is durable now are let
// out, if that takes longer than another sync: its runs are others.
void Engine::Impl::finish_commit() {
  if (!commit_done_.load(std::memory_order_relaxed)) return;
  std::optional<std::pair<Batch, Result<store::Store::BatchResult>>> done;
  {
    const std::lock_guard guard(commit_mutex_);
    done.swap(committed_);
    commit_done_ = false;
  }
  auto& [batch, result] = *done;
  committing_ = false;
  const double next = decide_cost_ * static_cast<double>(batch.size());
  if (result && !gathered_.empty() && next > overlap_from * batch.seconds)
    hand_over(take_gathered());
  after_commit(std::move(batch), std::move(result));
}

void Engine::Impl::commit_loop() {
  for (;;) {
    Batch batch;
    {
      std::unique_lock lock(commit_mutex_);
      commit_changed_.wait(lock, [&] { return commit_stop_ || to_commit_; });
      if (!to_commit_) return;
      batch = std::move(*to_commit_);
      to_commit_.reset();
    }
    auto result = commit(batch);
    {
      const std::lock_guard guard(commit_mutex_);
      committed_.emplace(std::move(batch), std::move(result));
      commit_done_ = true;
    }
    signal_fd(wake_);
  }
}

Result<store::Store::BatchResult> Engine::Impl::write(const Batch& batch) {
  std::vector<NewRun> starts;
  std::vector<RunCommit> commits;
  for (const Part& p : batch.starts) {
    NewRun run{.header = *p.header,
               .program = p.program_bytes,
               .events = std::string_view(const_cast<Part&>(p).events.buffer()),
               .event_count = p.event_count,
               .public_count = p.public_count};
    if (p.next_due) run.next_due = *p.next_due;
    run.idempotency_key = p.start->options.idempotency_key;
    run.input_hash = p.input_hash;
    run.blobs = p.blobs->blobs();
    run.stages = p.start->options.stages;
    run.when_full = static_cast<NewRun::WhenFull>(
        (*p.start->program)[p.start->workflow].workflow.concurrency.when_full);
    starts.push_back(std::move(run));
  }
  for (const Part& p : batch.parts) {
    commits.push_back({.run = p.key,
                       .epoch = p.epoch,
                       .expected_seq = p.expected_seq,
                       .events = std::string_view(const_cast<Part&>(p).events.buffer()),
                       .event_count = p.event_count,
                       .public_count = p.public_count,
                       .header = p.header,
                       .next_due = p.next_due,
                       .consumed = p.consumed,
                       .snapshot = p.snapshot,
                       .drop_snapshot = false,
                       .posts = p.posts,
                       .watches = p.watches,
                       .writes = p.writes,
                       .session = p.session,
                       .blobs = p.blobs->blobs(),
                       .stages = p.stages,
                       .children = p.child_rows});
    auto& posts = commits.back().posts;
    posts.insert(posts.end(), p.sent.begin(), p.sent.end());
  }
  return store_->write(starts, commits);
}

void Engine::Impl::after_commit(Batch batch, Result<store::Store::BatchResult> result) {
  last_commit_ = batch.seconds;
  for (const Part& part : batch.parts) {
    if (const auto it = runs_.find(part.key); it != runs_.end()) it->second->batch = 0;
  }
  if (!result) return commit_failed(std::move(batch), std::move(result).error());
  for (size_t i = 0; i < batch.starts.size(); ++i)
    started(std::move(batch.starts[i]), result->started[i]);
  if (options_.observer) {
    size_t events = 0;
    for (const auto* parts : {&batch.starts, &batch.parts}) {
      for (const Part& part : *parts) events += part.event_count;
    }
    options_.observer->batch(batch.starts.size() + batch.parts.size(), events, batch.seconds);
  }
  std::span<const store::Started> children = result->children;
  std::set<RunKey> told;  // runs of ours that may have got a message in this commit
  std::vector<RunKey> changed;
  for (size_t i = 0; i < batch.parts.size(); ++i) {
    Part& part = batch.parts[i];
    const auto rows = children.first(part.children.size());
    children = children.subspan(part.children.size());
    const auto it = runs_.find(part.key);
    if (it == runs_.end()) continue;
    if (result->outcomes[i] == CommitOutcome::fenced) {
      trouble("run " + it->second->header.id + " was taken over by another process");
      drop(part.key);
      continue;
    }
    if (result->outcomes[i] == CommitOutcome::stale) {
      refold(part, {ErrorCode::conflict, "the session has moved on"});
      continue;
    }
    if (lost(*it->second, batch)) {
      trouble("run " + it->second->header.id +
              " was taken over by another process while this one stood still");
      drop(part.key);
      continue;
    }
    add_followed(*it->second, changed);
    started_children(part, rows);
    if (!part.watches.empty()) told.insert(part.key);
    for (const auto* posts : {&part.posts, &part.sent}) {
      for (const store::Post& post : *posts) {
        for (const auto& [key, run] : runs_) {
          if (run->header.id == post.run_id) told.insert(key);
        }
      }
    }
    if (is_final(it->second->header.status)) {
      told.insert(it->second->header.parent);
      told.insert(watching_.begin(), watching_.end());
      // Its slot may be somebody's now.
      if (!it->second->header.slot.empty()) post([this] { adopt(); });
    }
    released(*it->second, part);
  }
  for (const RunKey key : told) {
    if (const auto it = runs_.find(key); it != runs_.end()) look_into_inbox(*it->second);
  }
  std::vector<RunKey> ended;
  for (const Part& part : batch.parts) {
    changed.push_back(part.key);
    if (part.header && is_final(part.header->status)) ended.push_back(part.key);
  }
  notify_commit(changed, ended);
  store_->ring(store::no_owner);
}

void Engine::Impl::started_children(Part& part, std::span<const store::Started> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].queued) {
      queued_.insert(rows[i].key);
      for (const auto& [key, run] : runs_) {
        if (run->header.slot == part.children[i].run->header.slot) look_into_inbox(*run);
      }
    }
    if (rows[i].refused || rows[i].queued)
      continue;  // the parent hears of it; whoever comes when a slot is free takes it
    auto run = std::move(part.children[i].run);
    run->key = run->header.key = rows[i].key;
    Run& ref = *run;
    runs_.emplace(ref.key, std::move(run));
    active_ = runs_.size();
    set_timer(ref);
    wake(ref);
  }
}

void Engine::Impl::started(Part part, const store::Started& row) {
  if (row.refused) return part.start->finish(std::unexpected(*row.refused));
  if (row.queued) {
    queued_.insert(row.key);
    // The oldest may have been told to make room.
    for (const auto& [key, run] : runs_) {
      if (run->header.slot == part.header->slot) look_into_inbox(*run);
    }
  }
  if (!row.existed && !row.queued && !part.start->options.detached) {
    Run& run = *part.fresh;
    run.key = run.header.key = row.key;
    run.committed = part.event_count;
    runs_.emplace(row.key, std::move(part.fresh));
    active_ = runs_.size();
    part.key = row.key;
    set_timer(run);
    released(run, part);
  }
  part.start->finish(StartedRun{row.key, row.id, row.existed, row.queued});
}

// The events are durable: now, and not before, effects go out.
void Engine::Impl::released(Run& run, Part& part) {
  const RunKey key = run.key;
  observe(run, part);
  for (machine::Action& action : part.actions) release(run, action);
  if (is_final(run.header.status) || part.give_up) return drop(key);
  if (run.more || !run.inputs.empty() || !run.consumed.empty() || !run.posts.empty()) wake(run);
}

bool Engine::Impl::lost(const Run& run, const Batch& batch) const {
  if (std::chrono::steady_clock::now() - batch.written < release_gap) return false;
  const auto header = store_->header(run.key);
  // Ended by this very commit, it has no owner any more and lets nothing out.
  return header && *header && !is_final((*header)->status) && run.header.owner == owner_ &&
         (*header)->epoch != run.header.epoch;
}

void Engine::Impl::add_followed(const Run& run, std::vector<RunKey>& out) const {
  const RunHeader* h = &run.header;
  while (h->attached && h->parent != 0) {
    out.push_back(h->parent);
    const auto parent = runs_.find(h->parent);
    if (parent == runs_.end()) return;
    h = &parent->second->header;
  }
}

void Engine::Impl::observe(const Run& run, const Part& part) const {
  if (options_.observer && !part.observed.empty())
    options_.observer->committed(run.header, *run.program, part.observed);
}

void Engine::Impl::release(Run& run, machine::Action& action) {
  if (auto* stop = std::get_if<machine::StopActivity>(&action)) {
    const auto it = run.tokens.find({stop->act, stop->attempt});
    if (it != run.tokens.end()) activities_->cancel(it->second);
    return;
  }
  auto& start = std::get<machine::StartActivity>(action);
  machine::OutcomeInput answer{.act = start.act, .attempt = start.attempt, .outcome = cel::Value()};
  const bool performed = perform(run, start, answer);
  const uint64_t token = ++last_token_;
  activities::Request request{.token = token,
                              .callee = std::move(start.callee),
                              .command = std::move(start.command),
                              .input = std::move(start.input),
                              .idempotency_key = std::move(start.idempotency_key),
                              .run_id = run.header.id,
                              .path = std::move(start.path),
                              .attempt = start.attempt,
                              .model = std::move(start.model),
                              .priced = start.priced,
                              .mcp = start.callable,
                              .program = start.callable ? run.program : nullptr};
  machine::OutcomeInput input{.act = start.act, .attempt = start.attempt, .outcome = {}};
  if (performed) {
    run.inputs.emplace_back(std::move(answer));
    wake(run);
    return;
  }
  if (request.model == nullptr && activities::Activities::is_native(request.callee)) {
    auto outcome = activities_->run_native(request);
    if (auto* value = std::get_if<cel::Value>(&outcome)) {
      input.outcome = std::move(*value);
    } else {
      input.outcome = to_run_error(std::get<activities::ActivityError>(std::move(outcome)));
    }
    run.inputs.emplace_back(std::move(input));
    wake(run);
    return;
  }
  effects_[token] = {run.key, start.act, start.attempt};
  run.tokens[{start.act, start.attempt}] = token;
  activities_->start(std::move(request));
}

std::string kv_row(std::string_view key) {
  return std::string("default") + '\0' + std::string(key);
}

std::string Engine::Impl::cache_row(const Run& run, const std::string& key, bool of_program) const {
  return of_program ? key + to_hex(run.header.program) : key;
}

bool Engine::Impl::perform(Run& run, const machine::StartActivity& start,
                           machine::OutcomeInput& input) {
  using Kind = store::SideWrite::Kind;
  const auto decoded = [&](const Result<std::optional<std::string>>& row) -> bool {
    if (!row) {
      input.outcome = machine::RunError{
          .kind = "internal", .code = "store", .message = row.error().message, .retryable = true};
      return true;
    }
    if (!*row) return false;
    ByteReader in(**row);
    input.outcome = cel::decode_value(in);
    return true;
  };
  if (!start.cache_key.empty()) {
    if (decoded(store_->side_value(Kind::cache, cache_row(run, start.cache_key, start.cache_only),
                                   now()))) {
      input.source = machine::OutcomeInput::Source::cache;
      return true;
    }
    input.source = machine::OutcomeInput::Source::cache_miss;
    if (start.cache_only) return true;
    input.source = machine::OutcomeInput::Source::effect;
  }
  if (start.kind != ir::CalleeKind::builtin) return false;
  if (start.callee == "kv.get") {
    decoded(
        store_->side_value(Kind::kv, kv_row(activities::text_argument(start.input, "key")), now()));
    return true;
  }
  const bool signal = start.callee == "signal.send";
  if (!signal && start.callee != "runs.cancel") return false;
  const std::string id = activities::text_argument(start.input, signal ? "run_id" : "id");
  const auto target = store_->find(id);
  if (!target || !*target || is_final((*target)->status)) {
    const std::string why = !target    ? target.error().message
                            : !*target ? "there is no run `" + id + "`"
                                       : "run `" + id + "` has ended";
    input.outcome = machine::RunError{.kind = "tool",
                                      .code = !target    ? "store"
                                              : !*target ? "not_found"
                                                         : "ended",
                                      .message = why};
    return true;
  }
  store::InboxMessage message{.dedup = start.callee + " " + start.idempotency_key,
                              .body = "by run " + run.header.id};
  if (signal) {
    const cel::Value* value = start.input.find("value");
    message.kind = store::InboxMessage::Kind::signal;
    message.body = encode_signal(
        {activities::text_argument(start.input, "name"), value == nullptr ? cel::Value() : *value});
    if (value != nullptr) message.files = cel::file_hashes(*value);
  }
  run.posts.push_back({id, std::move(message)});
  return true;
}

// Nothing was written: the states built on it are folded again from the store, and the inputs wait
// for the next try.
void Engine::Impl::commit_failed(Batch batch, Error error) {
  const bool later = error.code == ErrorCode::no_space || error.code == ErrorCode::timeout ||
                     error.code == ErrorCode::unavailable;
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
  retry_at_ = steady_ms() + options_.full_disk_wait_ms;
}

void Engine::Impl::refold(Part& part, const Error& error) {
  const auto it = runs_.find(part.key);
  if (it == runs_.end()) return;
  Run& run = *it->second;
  auto loaded = load_state(*store_, run.key, run.program);
  auto header = store_->header(run.key);
  if (!loaded || !header || !*header) {
    trouble("run " + run.header.id +
            " cannot be read: " + (loaded ? error.message : loaded.error().message));
    drop(part.key);
    return;
  }
  run.state = std::move(loaded->state);
  run.header = std::move(**header);
  run.committed = loaded->events;
  run.due = machine::never;
  run.consumed.insert(run.consumed.begin(), part.consumed.begin(), part.consumed.end());
  run.posts.insert(run.posts.begin(), part.sent.begin(), part.sent.end());
  run.stages.insert(run.stages.end(), part.stages.begin(), part.stages.end());
  run.children = 0;
  // The folded state has nothing decided yet that was lost; its inputs come again, in order, before
  // newer ones.
  for (auto input = part.taken.rbegin(); input != part.taken.rend(); ++input)
    run.inputs.push_front(std::move(*input));
  set_timer(run);
  wake(run);
}

void Engine::Impl::drop(RunKey key) {
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
  runs_.erase(it);
  watching_.erase(key);
  active_ = runs_.size();
}

}  // namespace kflow::engine
