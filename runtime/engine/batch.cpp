// A batch: starts and turns of runs that go into one commit.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "compiler/base/check.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/impl.hpp"

namespace kflow::engine {

void Engine::Impl::wake(Run& run) {
  if (run.queued) return;
  run.queued = true;
  ready_.push_back(run.key);
}

void Engine::Impl::gather() {
  if (retry_at_ != 0 && steady_ms() < retry_at_) return;
  retry_at_ = 0;
  if (starts_.empty() && ready_.empty()) return;
  const Millis t = now();
  const auto begin = std::chrono::steady_clock::now();
  const size_t before = gathered_.size();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  // Enough for the committer to go on with.
  auto enough = [&, count = size_t{0}]() mutable {
    if (++count % look_up_every != 0) return false;
    return committing_ ? commit_done_.load(std::memory_order_relaxed)
                       : elapsed() > overlap_from * last_commit_;
  };
  bool full = false;
  while (!full && !starts_.empty() && gathered_.starts.size() < max_batch_runs) {
    auto pending = std::move(starts_.front());
    starts_.pop_front();
    prepare_start(std::move(pending), t);
    full = enough();
  }
  while (!full && !ready_.empty() && gathered_.parts.size() < max_batch_runs) {
    const auto it = runs_.find(ready_.front());
    ready_.pop_front();
    if (it == runs_.end()) continue;
    it->second->queued = false;
    advance(*it->second, t);
    full = enough();
  }
  if (const size_t decided = gathered_.size() - before; decided > 0) {
    const double cost = elapsed() / static_cast<double>(decided);
    decide_cost_ = decide_cost_ == 0 ? cost : 0.9 * decide_cost_ + 0.1 * cost;
  }
}

Engine::Impl::Batch Engine::Impl::take_gathered() {
  Batch out = std::move(gathered_);
  gathered_ = {};
  gathered_.number = out.number + 1;
  return out;
}

namespace {

bool belongs_into_commit(const machine::Action& a) {
  return !std::holds_alternative<machine::StartActivity>(a) &&
         !std::holds_alternative<machine::StopActivity>(a);
}

std::string encoded(const cel::Value& value) {
  ByteWriter out;
  cel::encode_value(value, out);
  return out.take();
}

}  // namespace

std::string history_key(std::string_view session, std::string_view agent) {
  return std::string(session) + '\0' + std::string(agent) + '\0';
}

// What agents were told before in the session, at once.
void Engine::Impl::serve_histories(Run& run, machine::Turn& turn, Millis t) {
  for (;;) {
    const auto read = std::find_if(
        turn.actions.begin(), turn.actions.end(),
        [](const machine::Action& a) { return std::holds_alternative<machine::ReadHistory>(a); });
    if (read == turn.actions.end()) return;
    const auto wanted = std::get<machine::ReadHistory>(*read);
    turn.actions.erase(read);
    machine::HistoryInput input{.act = wanted.act, .pairs = {}};
    auto rows = store_->recent(history_key(wanted.session_id, wanted.agent), wanted.most);
    if (!rows) trouble(rows.error().message);
    for (const std::string& row : rows ? *rows : std::vector<std::string>()) {
      ByteReader in(row);
      const std::string message(in.string());
      const std::string answer(in.string());
      if (in.done()) input.pairs.emplace_back(message, answer);
    }
    machine::Turn more = machine::advance(*run.state, input, t);
    for (machine::Event& event : more.events) turn.events.push_back(std::move(event));
    for (machine::Action& action : more.actions) turn.actions.push_back(std::move(action));
    turn.more = more.more;
  }
}

void Engine::Impl::serve_sessions(Run& run, Part& part, machine::Turn& turn, Millis t) {
  for (;;) {
    const auto read = std::find_if(
        turn.actions.begin(), turn.actions.end(),
        [](const machine::Action& a) { return std::holds_alternative<machine::ReadSession>(a); });
    if (read == turn.actions.end()) return;
    const machine::ActId act = std::get<machine::ReadSession>(*read).act;
    turn.actions.erase(read);
    store::SessionWrite write{.id = run.header.session_id, .expected_version = 0, .state = ""};
    if (part.session) {
      write = *part.session;
    } else if (auto session = store_->session(write.id)) {
      write.expected_version = session->version;
      write.state = std::move(session->state);
    } else {
      trouble(session.error()
                  .message);  // the commit will find the session moved on, and this is tried again
    }
    machine::SessionInput input{.act = act, .state = {}};
    if (!write.state.empty()) {
      ByteReader in(write.state);
      input.state = cel::decode_value(in);
    }
    machine::Turn more = machine::advance(*run.state, input, t);
    for (machine::Event& event : more.events) {
      if (const auto* set = std::get_if<machine::SessionSet>(&event.data)) {
        write.state = encoded(set->state);
        write.files = cel::file_hashes(set->state);
        part.session = write;
      }
      turn.events.push_back(std::move(event));
    }
    for (machine::Action& action : more.actions) turn.actions.push_back(std::move(action));
    turn.more = more.more;
  }
}

void Engine::Impl::add_turn(Run& run, Part& part, machine::Turn turn, Millis t) {
  // Each may ask for the other.
  const auto asks = [](const machine::Action& a) {
    return std::holds_alternative<machine::ReadSession>(a) ||
           std::holds_alternative<machine::ReadHistory>(a);
  };
  while (std::any_of(turn.actions.begin(), turn.actions.end(), asks)) {
    serve_sessions(run, part, turn, t);
    serve_histories(run, turn, t);
  }
  run.more = turn.more;
  for (const machine::Event& event : turn.events) {
    machine::encode_event(event, part.events);
    ++part.event_count;
    part.public_count += event.shown;
  }
  if (options_.observer)
    part.observed.insert(part.observed.end(), std::make_move_iterator(turn.events.begin()),
                         std::make_move_iterator(turn.events.end()));
  for (machine::Action& action : turn.actions) {
    if (const auto* child = std::get_if<machine::StartChild>(&action)) {
      add_child(run, part, *child, t);
    } else if (auto* stop = std::get_if<machine::StopChild>(&action)) {
      const auto kind =
          stop->kill ? store::InboxMessage::Kind::kill : store::InboxMessage::Kind::cancel;
      part.posts.push_back({stop->run_id,
                            {.kind = kind,
                             .dedup = stop->kill ? "parent kills" : "parent cancels",
                             .body = stop->reason}});
    } else if (auto* watch = std::get_if<machine::WatchRun>(&action)) {
      part.watches.push_back({watch->run_id, watch->act});
      watching_.insert(run.key);
    } else if (auto* write = std::get_if<machine::WriteValue>(&action)) {
      store::SideWrite row{
          .kind = store::SideWrite::Kind::kv, .key = kv_row(write->key), .value = {}};
      if (write->value) {
        row.value = encoded(*write->value);
        row.files = cel::file_hashes(*write->value);
      }
      part.writes.push_back(std::move(row));
    } else if (auto* said = std::get_if<machine::WriteHistory>(&action)) {
      ByteWriter pair;
      pair.string(said->message);
      pair.string(said->answer);
      part.writes.push_back({.kind = store::SideWrite::Kind::history,
                             .key = history_key(said->session_id, said->agent),
                             .value = pair.take()});
    } else if (auto* cache = std::get_if<machine::StoreCache>(&action)) {
      part.writes.push_back({.kind = store::SideWrite::Kind::cache,
                             .key = cache_row(run, cache->key, cache->of_program),
                             .value = encoded(cache->value),
                             .expires = cache->expires,
                             .files = cel::file_hashes(cache->value)});
    } else {
      part.actions.push_back(std::move(action));
    }
  }
}

// What the header says of the workflow itself.
void Engine::Impl::describe(RunHeader& h, const ir::Program& program,
                            ir::CallableId workflow) const {
  const ir::Callable& callable = program[workflow];
  h.workflow = callable.name;
  h.tags = callable.workflow.tags;
  h.retention_ms = callable.workflow.retention_ms;
}

Result<void> Engine::Impl::enter_slot(RunHeader& h, const ir::Program& program,
                                      ir::CallableId workflow, const cel::Value& input) const {
  const ir::Concurrency& concurrency = program[workflow].workflow.concurrency;
  if (concurrency.limit == 0) return {};
  auto key = machine::concurrency_key(program, workflow, input);
  if (const auto* error = std::get_if<machine::RunError>(&key)) {
    return fail(ErrorCode::invalid_argument, "the `key` of `concurrency`: " + error->message);
  }
  h.slot = std::get<std::string>(std::move(key));
  h.slot_limit = concurrency.limit;
  return {};
}

// The declared fields, with what runs before have set.
cel::Value Engine::Impl::session_of(const std::string& id, const ir::Program& program,
                                    ir::CallableId workflow) const {
  cel::Value first = machine::initial_session(program, workflow);
  if (!program[workflow].workflow.session) return first;
  const auto stored = store_->session(id);
  if (!stored || stored->version == 0) return first;
  ByteReader in(stored->state);
  const cel::Value state = cel::decode_value(in);
  if (in.failed() || state.kind() != cel::Kind::map) return first;
  cel::MapBuilder out;
  for (const cel::MapEntry& e : first.as_map()) out.add(e.key, e.value);
  for (const cel::MapEntry& e : state.as_map()) {
    if (e.key.kind() == cel::Kind::string) out.set(e.key.as_string(), e.value);
  }
  return std::move(out).take();
}

void Engine::Impl::add_child(Run& run, Part& part, const machine::StartChild& start, Millis t) {
  Child child;
  child.run = std::make_unique<Run>();
  child.run->program = run.program;
  child.run->state = machine::make_state(run.program);
  RunHeader& h = child.run->header;
  describe(h, *run.program, start.workflow);
  h.id = start.run_id;
  h.program = run.header.program;
  h.session_id = run.header.session_id;
  h.user_id = run.header.user_id;
  h.project_root = run.header.project_root;
  h.tape = run.header.tape;
  h.created_at = h.started_at = t;
  h.parent = run.key;
  h.attached = start.attached;
  h.owner = owner_;
  h.epoch = 1;
  h.status = RunStatus::running;
  // A key that cannot be evaluated counts as one of its own.
  if (!enter_slot(h, *run.program, start.workflow, start.input)) h.slot.clear();
  const ir::WhenFull when_full = (*run.program)[start.workflow].workflow.concurrency.when_full;
  child.when_full = static_cast<NewRun::WhenFull>(when_full);
  machine::RunStarted started{.workflow = start.workflow,
                              .input = start.input,
                              .run_id = h.id,
                              .session_id = h.session_id,
                              .user_id = h.user_id};
  started.session = session_of(h.session_id, *run.program, start.workflow);
  started.parent_id = run.header.id;
  // It goes on from there in a commit of its own.
  const machine::Turn turn = machine::begin(*child.run->state, std::move(started), t, start.limits);
  for (const machine::Event& event : turn.events) machine::encode_event(event, child.events);
  child.run->committed = turn.events.size();
  child.run->inputs.emplace_back(machine::RecoverInput{});
  if (start.attached) {
    part.watches.push_back({h.id, start.act});
    ++run.children;
  }
  part.children.push_back(std::move(child));
}

void Engine::Impl::prepare_start(std::shared_ptr<PendingStart> pending, Millis t) {
  Part part;
  auto run = std::make_unique<Run>();
  const StartOptions& options = pending->options;
  const ir::Program& program = *pending->program;
  run->program = pending->program;
  run->state = machine::make_state(pending->program);
  RunHeader& h = run->header;
  describe(h, program, pending->workflow);
  h.id = options.id.empty() ? new_run_id(t) : options.id;
  h.tags.insert(h.tags.end(), options.tags.begin(), options.tags.end());
  h.session_id = options.session_id.empty() ? h.id : options.session_id;
  h.user_id = options.user_id;
  h.project_root = options.project_root;
  h.tape = options_.tape;
  h.created_at = h.started_at = t;
  if (auto slot = enter_slot(h, program, pending->workflow, pending->input); !slot)
    return pending->finish(std::unexpected(std::move(slot).error()));
  part.program_bytes = encoded_program(pending->program, h.program);
  if (!pending->options.detached) at_home_.insert(h.program);
  part.input_hash = sha256(encoded(pending->input));
  machine::RunStarted started{.workflow = pending->workflow,
                              .input = pending->input,
                              .run_id = h.id,
                              .session_id = h.session_id,
                              .user_id = h.user_id};
  started.session = session_of(h.session_id, program, pending->workflow);
  machine::Turn turn = options.detached ? machine::begin(*run->state, started, t)
                                        : machine::start(*run->state, started, t);
  // What a run does to others needs its number, and a run that may have to wait for a slot has done
  // nothing yet.
  const bool cut =
      !h.slot.empty() || std::any_of(turn.actions.begin(), turn.actions.end(), belongs_into_commit);
  if (cut) {
    run->state = machine::make_state(pending->program);
    turn = machine::begin(*run->state, std::move(started), t);
  }
  if (options.detached) {
    h.status = RunStatus::pending;
    part.next_due = t;
    h.owner = store::no_owner;
  } else {
    h.owner = owner_;
    h.epoch = 1;
    if (cut) run->inputs.emplace_back(machine::RecoverInput{});
  }
  add_turn(*run, part, std::move(turn), t);
  if (!options.detached) settle(*run, part, t);
  part.header = h;
  part.start = std::move(pending);
  part.fresh = std::move(run);
  gathered_.starts.push_back(std::move(part));
}

// Header and timer changes that follow from the state after a turn.
void Engine::Impl::settle(Run& run, Part& part, Millis t) {
  const RunStatus status = machine::status(*run.state);
  if (status != run.header.status) {
    run.header.status = status;
    run.header.usage = machine::usage(*run.state);
    if (is_final(status)) {
      run.header.ended_at = t;
      run.header.owner = store::no_owner;
      if (const machine::RunError* error = machine::error(*run.state))
        run.header.error = error->message;
    }
    part.header = run.header;
  }
  const Millis due = machine::next_due(*run.state);
  // It waits for a far timer, a signal, a person or another run: whoever serves the store takes it
  // up when that comes.
  const bool idle =
      machine::in_flight(*run.state) == 0 && !run.more && run.inputs.empty() && run.children == 0;
  if (!is_final(status) && options_.park && idle && due > t + park_after_ms) {
    run.header.owner = store::no_owner;
    run.header.usage = machine::usage(*run.state);
    part.header = run.header;
    part.give_up = true;
  }
  if (!is_final(status) && due != run.due) {
    // Timers of a run that is owned matter to nobody else: the row is written when the run is given
    // up.
    if (part.give_up) part.next_due = due;
    run.due = due;
  }
  if (part.give_up) part.next_due = due;
}

void Engine::Impl::advance(Run& run, Millis t) {
  // What was decided before goes first; its commit wakes the run again.
  const bool open = run.batch == gathered_.number && !run.sealed;
  if (run.batch != 0 && !open) return;
  Part& part = open ? gathered_.parts[run.part] : gathered_.parts.emplace_back();
  if (!open) {
    part.events.buffer().reserve(usual_event_bytes);
    part.key = run.key;
    part.expected_seq = run.committed;
    part.epoch = run.header.epoch;
  }
  const size_t bytes_before = part.events.size();
  const uint32_t events_before = part.event_count;
  if (run.inputs.empty() && run.more) run.inputs.emplace_back(machine::TickInput{});
  while (!run.inputs.empty()) {
    machine::Input input = std::move(run.inputs.front());
    run.inputs.pop_front();
    add_turn(run, part, machine::advance(*run.state, input, t), t);
    part.taken.push_back(std::move(input));
  }
  run.log_bytes += part.events.size() - bytes_before;
  if (run.log_bytes > std::max(snapshot_after_bytes, run.snapshot_bytes) && !run.more &&
      !is_final(machine::status(*run.state))) {
    part.snapshot = machine::encode_state(*run.state, part.blobs.get());
    run.snapshot_bytes = part.snapshot.size();
    run.log_bytes = 0;
  }
  part.consumed.insert(part.consumed.end(), run.consumed.begin(), run.consumed.end());
  run.consumed.clear();
  part.sent.insert(part.sent.end(), std::make_move_iterator(run.posts.begin()),
                   std::make_move_iterator(run.posts.end()));
  run.posts.clear();
  part.stages.insert(part.stages.end(), run.stages.begin(), run.stages.end());
  run.stages.clear();
  settle(run, part, t);
  set_timer(run);
  if (part.event_count == 0 && !part.header && part.consumed.empty() && !part.next_due &&
      part.sent.empty() && part.stages.empty()) {
    gathered_.parts.pop_back();
    if (run.more) wake(run);
    return;
  }
  run.committed += part.event_count - events_before;
  run.sealed = !part.snapshot.empty() || part.give_up || is_final(run.header.status);
  if (open) return;
  run.batch = gathered_.number;
  run.part = gathered_.parts.size() - 1;
}

std::string Engine::Impl::encoded_program(const std::shared_ptr<const ir::Program>& program,
                                          Sha256& hash) {
  auto& cached = encoded_[program.get()];
  if (cached.program != program) cached = {program, ir::encode(*program), ir::hash(*program)};
  hash = cached.hash;
  return cached.bytes;
}

void Engine::Impl::set_timer(Run& run) {
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

}  // namespace kflow::engine
