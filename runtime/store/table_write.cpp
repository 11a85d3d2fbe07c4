// Writing runs: starts, commits, messages.
#include <algorithm>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr std::string_view last_run_key = "last run";

Result<void> erase_all_of(Transaction& txn, Table table, RunKey run) {
  std::vector<std::string> keys;
  {
    const auto cursor = txn.cursor(table);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(Key(run));
    while (more && *more && number_at((*cursor)->key(), 0) == run) {
      keys.emplace_back((*cursor)->key());
      more = (*cursor)->next();
    }
    if (!more) return std::unexpected(more.error());
  }
  for (const std::string& key : keys) KFLOW_TRY(txn.erase(table, key));
  return {};
}

Key timer_key(Millis due, RunKey run) {
  return {static_cast<uint64_t>(std::max<Millis>(due, 0)), run};
}
Key status_key(RunStatus status, RunKey run) {
  return Key::of_byte(static_cast<uint8_t>(status), run);
}
bool has_timer(const RunRow& run) {
  return run.header.owner == no_owner && run.due != machine::never && !is_final(run.header.status);
}

Result<void> put_status(Transaction& txn, const RunHeader& h) {
  KFLOW_TRY(txn.put(Table::labels,
                    workflow_status_prefix(h.workflow, h.status) + std::string(Key(h.key)), {}, {},
                    PutMode::replace));
  return txn.put(Table::statuses, status_key(h.status, h.key), {}, {}, PutMode::replace);
}
Result<void> erase_status(Transaction& txn, const RunHeader& h) {
  KFLOW_TRY(txn.erase(Table::labels,
                      workflow_status_prefix(h.workflow, h.status) + std::string(Key(h.key))));
  return txn.erase(Table::statuses, status_key(h.status, h.key));
}

// The rows of the indexes that follow from the row of a run.
Result<void> move_indexes(Transaction& txn, const RunRow& from, const RunRow& to) {
  const RunKey run = to.header.key;
  const bool had = has_timer(from);
  const bool has = has_timer(to);
  if (had && !(has && from.due == to.due)) {
    KFLOW_TRY(txn.erase(Table::timers, timer_key(from.due, run)));
  }
  if (has && !(had && from.due == to.due)) {
    KFLOW_TRY(txn.put(Table::timers, timer_key(to.due, run), {}, {}, PutMode::replace));
  }
  if (from.header.owner != to.header.owner) {
    if (from.header.owner != no_owner) {
      KFLOW_TRY(txn.erase(Table::owned, Key(from.header.owner, run)));
    }
    if (to.header.owner != no_owner) {
      KFLOW_TRY(txn.put(Table::owned, Key(to.header.owner, run), {}, {}, PutMode::replace));
    }
  }
  if (from.header.status != to.header.status) {
    KFLOW_TRY(erase_status(txn, from.header));
    KFLOW_TRY(put_status(txn, to.header));
  }
  return {};
}

std::vector<std::string> label_prefixes(const RunHeader& h) {
  std::vector<std::string> out;
  const auto label = [&](Label kind, std::string_view text) {
    if (!text.empty()) out.push_back(label_prefix(kind, text));
  };
  label(Label::workflow, h.workflow);
  label(Label::session, h.session_id);
  for (const std::string& tag : h.tags) label(Label::tag, tag);
  label(Label::parent, Key(h.parent));
  return out;
}

Result<void> put_new_indexes(Transaction& txn, const RunRow& run) {
  const RunHeader& h = run.header;
  for (const std::string& prefix : label_prefixes(h)) {
    KFLOW_TRY(txn.put(Table::labels, prefix + std::string(Key(h.key)), {}, {}, PutMode::replace));
  }
  if (h.owner != no_owner) {
    KFLOW_TRY(txn.put(Table::owned, Key(h.owner, h.key), {}, {}, PutMode::replace));
  }
  if (has_timer(run)) {
    KFLOW_TRY(txn.put(Table::timers, timer_key(run.due, h.key), {}, {}, PutMode::replace));
  }
  return put_status(txn, h);
}

Result<void> put_program(Transaction& txn, const Sha256& hash, std::string_view program) {
  const std::string_view key = key_of(hash);
  const auto there = txn.get(Table::programs, key);
  if (!there) return std::unexpected(there.error());
  if (*there) return {};
  return txn.put(Table::programs, key, seal(key, program), {}, PutMode::replace);
}

}  // namespace

Result<uint64_t> next_number(Transaction& txn, std::string_view counter) {
  const auto row = txn.get(Table::meta, counter);
  if (!row) return std::unexpected(row.error());
  uint64_t number = 0;
  if (*row) {
    const auto last = decode_number(counter, **row);
    if (!last) return std::unexpected(last.error());
    number = *last;
  }
  ++number;
  KFLOW_TRY(txn.put(Table::meta, counter, encode_number(counter, number), {}, PutMode::replace));
  return number;
}

Result<bool> exists(Transaction& txn, Table table, std::string_view key) {
  const auto row = txn.get(table, key);
  if (!row) return std::unexpected(row.error());
  return row->has_value();
}

Result<void> erase_labels(Transaction& txn, const RunHeader& h) {
  for (const std::string& prefix : label_prefixes(h)) {
    KFLOW_TRY(txn.erase(Table::labels, prefix + std::string(Key(h.key))));
  }
  return erase_status(txn, h);
}

Result<void> replace_run(Transaction& txn, const RunRow& from, const RunRow& to) {
  KFLOW_TRY(move_indexes(txn, from, to));
  const Key key(to.header.key);
  return txn.put(Table::runs, key, encode_run(key, to), {}, PutMode::replace);
}

Result<Store::BatchResult> TableStore::write(std::span<const NewRun> runs,
                                             std::span<const RunCommit> batch) {
  // Everything long is done before the lock is taken.
  std::vector<uint64_t> hashes;
  hashes.reserve(runs.size() + batch.size());
  for (const NewRun& run : runs) hashes.push_back(xxh3(run.events));
  for (const RunCommit& commit : batch) hashes.push_back(xxh3(commit.events));
  Prepared prepared;
  for (const NewRun& run : runs) KFLOW_TRY(prepare_blobs(run.blobs, prepared));
  for (const RunCommit& commit : batch) KFLOW_TRY(prepare_blobs(commit.blobs, prepared));
  BatchResult out;
  auto done = change([&](Transaction& txn) -> Result<void> {
    prepared_ = &prepared;
    struct Forget {
      Prepared*& which;
      ~Forget() { which = nullptr; }
    } forget{prepared_};
    out.started.resize(runs.size());
    out.outcomes.reserve(batch.size());
    // Starts come first in the row order of `runs`; a full store refuses them and goes on with the
    // others.
    auto room = runs.empty() ? Result<void>() : tables_->room_for_new_runs();
    for (size_t i = 0; i < runs.size(); ++i) {
      if (!room) {
        out.started[i].refused = room.error();
        continue;
      }
      KFLOW_TRY(insert(txn, runs[i], hashes[i], out.started[i]));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      const auto outcome = append(txn, batch[i], hashes[runs.size() + i], out.children);
      if (!outcome) return std::unexpected(outcome.error());
      out.outcomes.push_back(*outcome);
      if (*outcome == CommitOutcome::committed) continue;
      for (size_t n = 0; n < batch[i].children.size(); ++n) {
        out.children.push_back(
            {.key = 0,
             .id = "",
             .refused = Error{ErrorCode::conflict, "its parent was not committed"}});
      }
    }
    return {};
  });
  if (!done) return std::unexpected(std::move(done).error());
  return out;
}

Result<std::vector<Started>> TableStore::start(std::span<const NewRun> runs) {
  auto out = write(runs, {});
  if (!out) return std::unexpected(std::move(out).error());
  return std::move(out->started);
}

Result<std::vector<CommitOutcome>> TableStore::commit(std::span<const RunCommit> batch) {
  auto out = write({}, batch);
  if (!out) return std::unexpected(std::move(out).error());
  return std::move(out->outcomes);
}

// Whether the idempotency key decides the start: the first run, or a refusal.
Result<bool> TableStore::known_by_key(Transaction& txn, const NewRun& run, std::string_view scope,
                                      Started& out) {
  const auto row = txn.get(Table::idempotency, scope);
  if (!row) return std::unexpected(row.error());
  if (!*row) return false;
  const auto payload = unseal(scope, **row, "the row of an idempotency key");
  if (!payload) return std::unexpected(payload.error());
  const RunKey key = number_at(*payload, 0);
  if (payload->substr(sizeof(RunKey)) != key_of(run.input_hash)) {
    out.refused = Error{ErrorCode::conflict, "the idempotency key `" + run.idempotency_key +
                                                 "` was used before with another input"};
    return true;
  }
  const auto first = run_in(txn, key);
  if (!first) return std::unexpected(first.error());
  if (!*first) return false;
  out = {.key = key, .id = (*first)->header.id, .existed = true};
  return true;
}

Result<void> TableStore::insert(Transaction& txn, const NewRun& run, uint64_t events_hash,
                                Started& out) {
  RunRow row{.header = run.header, .due = run.next_due};
  RunHeader& h = row.header;
  const std::string scope = bounded(h.workflow + '\0' + run.idempotency_key);
  if (!run.idempotency_key.empty()) {
    const auto known = known_by_key(txn, run, scope, out);
    if (!known) return std::unexpected(known.error());
    if (*known) return {};
  }
  if (h.id.empty() || h.id.size() > longest_id) {
    out.refused = Error{ErrorCode::invalid_argument,
                        "a run's id has 1 to " + std::to_string(longest_id) + " bytes"};
    return {};
  }
  const auto taken = exists(txn, Table::ids, h.id);
  if (!taken) return std::unexpected(taken.error());
  if (*taken) {
    out.refused = Error{ErrorCode::already_exists, "there is a run `" + h.id + "` already"};
    return {};
  }
  const auto missing = missing_file(txn, run.blobs);
  if (!missing) return std::unexpected(missing.error());
  if (*missing) {
    out.refused = Error{ErrorCode::not_found, "the store does not hold the file with the SHA-256 " +
                                                  to_hex(**missing) + " that the input names"};
    return {};
  }
  KFLOW_TRY(put_program(txn, h.program, run.program));

  const auto number = next_number(txn, last_run_key);
  if (!number) return std::unexpected(number.error());
  h.key = *number;
  const auto queued = enter_slot(txn, run, h, out);
  if (!queued) return std::unexpected(queued.error());
  if (out.refused) return {};
  const Key key(h.key);
  // Started for whoever comes first.
  if (!*queued && h.owner == no_owner && row.due == machine::never &&
      h.status <= RunStatus::running) {
    row.due = 0;
  }
  if (is_final(h.status)) h.owner = no_owner;
  if (!run.idempotency_key.empty()) {
    const std::string payload = std::string(key) + std::string(key_of(run.input_hash));
    KFLOW_TRY(txn.put(Table::idempotency, scope, seal(scope, payload), {}, PutMode::replace));
  }
  KFLOW_TRY(txn.put(Table::ids, h.id, encode_number(h.id, h.key), {}, PutMode::replace));
  KFLOW_TRY(txn.put(Table::runs, key, encode_run(key, row), {}, PutMode::append));
  if (run.event_count > 0) {
    const Key first(h.key, 0);
    const EventChunk head{.event_count = run.event_count,
                          .public_count = run.public_count,
                          .format = machine::events_format,
                          .events = {}};
    KFLOW_TRY(txn.put(Table::events, first, encode_chunk_head(first, head, events_hash), run.events,
                      PutMode::append));
  }
  const auto above = waiting_above(txn, h.parent, h.attached);
  if (!above) return std::unexpected(above.error());
  KFLOW_TRY(add_to_streams(txn, h.key, false, *above, 0, run.public_count));
  KFLOW_TRY(put_new_indexes(txn, row));
  KFLOW_TRY(put_blobs(txn, h.key, run.blobs));
  KFLOW_TRY(drop_stages(txn, run.stages));
  out = {.key = h.key, .id = h.id, .queued = *queued};
  if (h.owner != no_owner) {
    set_tail(h.key, {.epoch = h.epoch,
                     .next_seq = run.event_count,
                     .next_public = run.public_count,
                     .due = run.next_due,
                     .above = *above});
  }
  return {};
}

Result<CommitOutcome> TableStore::append(Transaction& txn, const RunCommit& commit,
                                         uint64_t events_hash, std::vector<Started>& children) {
  const Key key(commit.run);
  const auto row = txn.get(Table::runs, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return CommitOutcome::fenced;
  const auto fence = decode_fence(key, **row);
  if (!fence) return std::unexpected(fence.error());
  if (fence->epoch != commit.epoch) {
    drop_tail(commit.run);
    return CommitOutcome::fenced;
  }
  auto tail = tail_of(txn, commit.run, fence->epoch);
  if (!tail) return std::unexpected(tail.error());
  if (tail->next_seq != commit.expected_seq) return CommitOutcome::fenced;
  if (commit.session) {
    const auto current = session_is_at(txn, *commit.session);
    if (!current) return std::unexpected(current.error());
    if (!*current) return CommitOutcome::stale;
  }

  KFLOW_TRY(put_blobs(txn, commit.run, commit.blobs));
  if (commit.event_count > 0) {
    const Key chunk_key(commit.run, tail->next_seq);
    const EventChunk head{.first_public = tail->next_public,
                          .event_count = commit.event_count,
                          .public_count = commit.public_count,
                          .format = machine::events_format,
                          .events = {}};
    KFLOW_TRY(txn.put(Table::events, chunk_key, encode_chunk_head(chunk_key, head, events_hash),
                      commit.events, PutMode::insert));
    KFLOW_TRY(add_to_streams(txn, commit.run, tail->streamed, tail->above, tail->next_public,
                             commit.public_count));
    tail->next_seq += commit.event_count;
    tail->next_public += commit.public_count;
  }
  for (const uint64_t message : commit.consumed) {
    const Key row_key(commit.run, message);
    KFLOW_TRY(txn.erase(Table::inbox, row_key));
    KFLOW_TRY(drop_user(txn, side_user(Table::inbox, row_key)));
  }
  if (!commit.snapshot.empty()) {
    KFLOW_TRY(txn.put(Table::snapshots, key, encode_snapshot(key, tail->next_seq, commit.snapshot),
                      {}, PutMode::replace));
  }
  if (!commit.program.empty() && commit.header) {
    KFLOW_TRY(put_program(txn, commit.header->program, commit.program));
    // Whoever collects programs notices by this number that one more is in use.
    KFLOW_TRY(next_number(txn, last_run_key));
  }
  if (commit.drop_snapshot) KFLOW_TRY(txn.erase(Table::snapshots, key));
  for (const NewRun& child : commit.children) {
    KFLOW_TRY(insert(txn, child, xxh3(child.events), children.emplace_back()));
    tail->streamed |= child.header.attached && !children.back().refused;
  }
  KFLOW_TRY(write_shared(txn, commit));
  KFLOW_TRY(drop_stages(txn, commit.stages));
  const bool unowned = fence->owner == no_owner;
  if (commit.header || (unowned && commit.next_due)) {
    KFLOW_TRY(change_run(txn, commit, *tail));
  } else if (!unowned) {
    if (commit.next_due) tail->due = commit.next_due;
    set_tail(commit.run, *tail);
  }
  return CommitOutcome::committed;
}

// Writes the run's row with what the commit changes in it.
Result<void> TableStore::change_run(Transaction& txn, const RunCommit& commit, Tail tail) {
  const auto old = run_in(txn, commit.run);
  if (!old) return std::unexpected(old.error());
  const RunRow& from = **old;
  RunRow to{.header = commit.header ? *commit.header : from.header};
  RunHeader& h = to.header;
  // What a run is called and found by never changes.
  h.key = commit.run;
  h.id = from.header.id;
  h.workflow = from.header.workflow;
  h.session_id = from.header.session_id;
  h.tags = from.header.tags;
  const bool final = is_final(h.status);
  if (final) h.owner = no_owner;
  h.epoch = from.header.epoch + (h.owner == from.header.owner ? 0 : 1);
  const Millis known = from.header.owner != no_owner && tail.due ? *tail.due : from.due;
  to.due = final ? machine::never : commit.next_due.value_or(known);

  h.parent = from.header.parent;
  h.attached = from.header.attached;
  h.slot = from.header.slot;
  h.slot_limit = from.header.slot_limit;
  h.retention_ms = from.header.retention_ms;
  h.trimmed = from.header.trimmed && is_final(h.status);  // a resumed run gets new pieces
  KFLOW_TRY(replace_run(txn, from, to));
  if (!final && is_final(from.header.status)) KFLOW_TRY(reenter_slot(txn, h));
  if (final) {
    KFLOW_TRY(tell_watchers(txn, commit.run));
    if (!is_final(from.header.status)) KFLOW_TRY(leave_slot(txn, h));
    KFLOW_TRY(drop_messages(txn, commit.run));
    KFLOW_TRY(erase_all_of(txn, Table::inbox, commit.run));
    KFLOW_TRY(erase_all_of(txn, Table::dedup, commit.run));
  }
  if (h.owner == no_owner || h.owner != own_) {
    drop_tail(commit.run);
  } else {
    tail.epoch = h.epoch;
    tail.due = to.due;
    set_tail(commit.run, tail);
  }
  return {};
}

// Makes a run ours.
Result<void> TableStore::take(Transaction& txn, RunRow& run) {
  RunRow to = run;
  to.header.owner = own_;
  ++to.header.epoch;
  KFLOW_TRY(replace_run(txn, run, to));
  drop_tail(to.header.key);
  run = std::move(to);
  return {};
}

Result<void> TableStore::post(RunKey run, const InboxMessage& message) {
  return change([&](Transaction& txn) -> Result<void> {
    const auto target = run_in(txn, run);
    if (!target) return std::unexpected(target.error());
    if (!*target) return fail(ErrorCode::not_found, "there is no such run in the store");
    const RunHeader& h = (*target)->header;
    const bool may_resume =
        h.status == RunStatus::error && message.kind == InboxMessage::Kind::resume;
    if (is_final(h.status) && !may_resume) {
      return fail(ErrorCode::conflict, "run `" + h.id + "` has ended (" +
                                           std::string(machine::to_string(h.status)) + ")");
    }
    return post_in(txn, **target, message);
  });
}

}  // namespace kflow::store
