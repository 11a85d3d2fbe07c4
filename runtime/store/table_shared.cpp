// What the commits of runs touch besides their own rows: messages, watchers, slots, sessions,
// shared values, blobs.
#include <algorithm>

#include "compiler/base/bytes.hpp"
#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr std::string_view last_message_key = "last message";
constexpr std::string_view last_history_key = "last history";

std::string watcher_key(RunKey target, RunKey waiting, uint32_t act) {
  return std::string(Key(target, waiting)) + std::string(Key(act));
}

std::string slot_key(const std::string& prefix, RunKey run) {
  return prefix + std::string(Key(run));
}

Table table_of(SideWrite::Kind kind) {
  return kind == SideWrite::Kind::kv ? Table::kv : Table::cache;  // a history has no such rows
}

// The rows of one slot in the order in which the runs came.
struct SlotRow {
  RunKey run = 0;
  char state = 0;
};
Result<std::vector<SlotRow>> slot_rows(Transaction& txn, const std::string& prefix) {
  const auto cursor = txn.cursor(Table::slots);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<SlotRow> out;
  auto more = (*cursor)->seek(prefix);
  while (more && *more && has_prefix((*cursor)->key(), prefix)) {
    const auto state = unseal((*cursor)->key(), (*cursor)->value(), "the row of a slot");
    if (!state) return std::unexpected(state.error());
    out.push_back(
        {number_at((*cursor)->key(), prefix.size()), state->empty() ? '\0' : state->front()});
    more = (*cursor)->next();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

Result<void> put_slot(Transaction& txn, const std::string& prefix, RunKey run, char state) {
  const std::string key = slot_key(prefix, run);
  return txn.put(Table::slots, key, seal(key, std::string_view(&state, 1)), {}, PutMode::replace);
}

}  // namespace

std::string watch_body(uint32_t act, RunKey target) {
  ByteWriter out;
  out.varint(act);
  out.varint(target);
  return out.take();
}

Result<WatchResult> read_watch_body(std::string_view body) {
  ByteReader in(body);
  WatchResult out;
  out.act = in.varint32();
  out.target = in.varint();
  if (!in.done()) return fail(ErrorCode::corrupt, "a message to a run is malformed");
  return out;
}

// ---- messages

Result<std::optional<RunRow>> TableStore::run_of_id(Transaction& txn, std::string_view id) {
  if (id.empty() || id.size() > longest_id) return std::nullopt;
  const auto row = txn.get(Table::ids, id);
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  const auto key = decode_number(id, **row);
  if (!key) return std::unexpected(key.error());
  return run_in(txn, *key);
}

Result<void> TableStore::post_in(Transaction& txn, const RunRow& target,
                                 const InboxMessage& message) {
  const RunKey run = target.header.key;
  if (!message.dedup.empty()) {
    const std::string key = std::string(Key(run)) + bounded(message.dedup);
    const auto seen = exists(txn, Table::dedup, key);
    if (!seen) return std::unexpected(seen.error());
    if (*seen) return {};
    KFLOW_TRY(txn.put(Table::dedup, key, {}, {}, PutMode::replace));
  }
  // One counter for all runs: a number is never used again after its message was consumed.
  const auto seq = next_number(txn, last_message_key);
  if (!seq) return std::unexpected(seq.error());
  const Key key(run, *seq);
  if (!message.files.empty())
    KFLOW_TRY(set_files(txn, side_user(Table::inbox, key), message.files));
  return txn.put(Table::inbox, key, encode_message(key, message), {}, PutMode::replace);
}

Result<void> TableStore::watch(Transaction& txn, RunKey waiting, const Watch& watch) {
  const auto target = run_of_id(txn, watch.run_id);
  if (!target) return std::unexpected(target.error());
  if (*target && !is_final((*target)->header.status)) {
    return txn.put(Table::watchers, watcher_key((*target)->header.key, waiting, watch.act), {}, {},
                   PutMode::replace);
  }
  RunRow self;
  self.header.key = waiting;
  return post_in(txn, self,
                 {.kind = InboxMessage::Kind::child_result,
                  .dedup = "",
                  .body = watch_body(watch.act, *target ? (*target)->header.key : 0)});
}

Result<void> TableStore::tell_watchers(Transaction& txn, RunKey ended) {
  std::vector<std::string> keys;
  {
    const auto cursor = txn.cursor(Table::watchers);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(Key(ended));
    while (more && *more && number_at((*cursor)->key(), 0) == ended) {
      keys.emplace_back((*cursor)->key());
      more = (*cursor)->next();
    }
    if (!more) return std::unexpected(more.error());
  }
  for (const std::string& key : keys) {
    const auto waiting = run_in(txn, number_at(key, 8));
    if (!waiting) return std::unexpected(waiting.error());
    if (*waiting && !is_final((*waiting)->header.status)) {
      const auto act = static_cast<uint32_t>(number_at(key, 16));
      KFLOW_TRY(post_in(
          txn, **waiting,
          {.kind = InboxMessage::Kind::child_result, .dedup = "", .body = watch_body(act, ended)}));
    }
    KFLOW_TRY(txn.erase(Table::watchers, key));
  }
  return {};
}

// ---- slots

Result<bool> TableStore::enter_slot(Transaction& txn, const NewRun& run, RunHeader& h,
                                    Started& out) {
  if (h.slot.empty() || h.slot_limit == 0) return false;
  const std::string prefix = slot_prefix(h.slot);
  const auto rows = slot_rows(txn, prefix);
  if (!rows) return std::unexpected(rows.error());
  const auto running = static_cast<uint64_t>(std::count_if(
      rows->begin(), rows->end(), [](const SlotRow& r) { return r.state == slot_running; }));
  if (running < h.slot_limit) {
    KFLOW_TRY(put_slot(txn, prefix, h.key, slot_running));
    return false;
  }
  if (run.when_full == NewRun::WhenFull::reject) {
    const std::string count = running == 1 ? "a run" : std::to_string(running) + " runs";
    out.refused = Error{ErrorCode::limit, count + " of `" + h.workflow + "` " +
                                              (running == 1 ? "goes" : "go") +
                                              " on already, and its `concurrency` says reject"};
    return false;
  }
  if (run.when_full == NewRun::WhenFull::cancel_oldest) {
    const auto oldest = std::find_if(rows->begin(), rows->end(),
                                     [](const SlotRow& r) { return r.state == slot_running; });
    const auto target = run_in(txn, oldest->run);
    if (!target) return std::unexpected(target.error());
    if (*target) {
      // Once: who comes after this one finds the next oldest no sooner than this one has ended.
      KFLOW_TRY(post_in(txn, **target,
                        {.kind = InboxMessage::Kind::cancel,
                         .dedup = "slot",
                         .body = "a newer run takes its place"}));
    }
  }
  KFLOW_TRY(put_slot(txn, prefix, h.key, slot_queued));
  h.status = RunStatus::pending;
  h.owner = no_owner;
  return true;
}

Result<void> TableStore::reenter_slot(Transaction& txn, const RunHeader& h) {
  if (h.slot.empty()) return {};
  return put_slot(txn, slot_prefix(h.slot), h.key, slot_running);
}

Result<void> TableStore::leave_slot(Transaction& txn, const RunHeader& ended) {
  if (ended.slot.empty()) return {};
  const std::string prefix = slot_prefix(ended.slot);
  KFLOW_TRY(txn.erase(Table::slots, slot_key(prefix, ended.key)));
  const auto rows = slot_rows(txn, prefix);
  if (!rows) return std::unexpected(rows.error());
  auto running = static_cast<uint64_t>(std::count_if(
      rows->begin(), rows->end(), [](const SlotRow& r) { return r.state == slot_running; }));
  for (const SlotRow& row : *rows) {
    if (row.state != slot_queued || running >= ended.slot_limit) continue;
    const auto next = run_in(txn, row.run);
    if (!next) return std::unexpected(next.error());
    if (!*next) continue;
    KFLOW_TRY(put_slot(txn, prefix, row.run, slot_running));
    RunRow to = **next;
    to.due = 0;  // claimable at once
    KFLOW_TRY(replace_run(txn, **next, to));
    ++running;
  }
  return {};
}

Result<bool> TableStore::must_wait(Transaction& txn, const RunHeader& run) {
  if (run.slot.empty() || run.status != RunStatus::pending) return false;
  const std::string key = slot_key(slot_prefix(run.slot), run.key);
  const auto row = txn.get(Table::slots, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return false;
  const auto state = unseal(key, **row, "the row of a slot");
  if (!state) return std::unexpected(state.error());
  if (state->empty() || state->front() != slot_queued) return false;
  const auto cursor = txn.cursor(Table::inbox);
  if (!cursor) return std::unexpected(cursor.error());
  auto more = (*cursor)->seek(Key(run.key, 0));
  while (more && *more && number_at((*cursor)->key(), 0) == run.key) {
    const auto message = decode_message((*cursor)->key(), (*cursor)->value());
    if (!message) return std::unexpected(message.error());
    if (message->kind == InboxMessage::Kind::cancel || message->kind == InboxMessage::Kind::kill)
      return false;
    more = (*cursor)->next();
  }
  if (!more) return std::unexpected(more.error());
  return true;
}

// ---- sessions, shared values, blobs

Result<bool> TableStore::session_is_at(Transaction& txn, const SessionWrite& write) {
  const std::string key = bounded(write.id);
  const auto row = txn.get(Table::sessions, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return write.expected_version == 0;
  const auto session = decode_numbered(key, **row, "the state of a session");
  if (!session) return std::unexpected(session.error());
  return session->number == write.expected_version;
}

Result<void> TableStore::write_session(Transaction& txn, const SessionWrite& write) {
  const std::string key = bounded(write.id);
  KFLOW_TRY(txn.put(Table::sessions, key,
                    encode_numbered(key, write.expected_version + 1, write.state), {},
                    PutMode::replace));
  return set_files(txn, side_user(Table::sessions, key), write.files);
}

Result<void> TableStore::put_session(const SessionWrite& write) {
  if (write.id.empty()) return fail(ErrorCode::invalid_argument, "a session has an id");
  return change([&](Transaction& txn) -> Result<void> {
    const auto current = session_is_at(txn, write);
    if (!current) return std::unexpected(current.error());
    if (!*current)
      return fail(ErrorCode::conflict, "the session was changed at the same time; read it again");
    return write_session(txn, write);
  });
}

Result<void> TableStore::remove_session(std::string_view id) {
  if (id.empty()) return {};
  return change([&](Transaction& txn) -> Result<void> {
    const std::string key = bounded(std::string(id));
    KFLOW_TRY(txn.erase(Table::sessions, key));
    KFLOW_TRY(drop_user(txn, side_user(Table::sessions, key)));
    // What agents said in it.
    const std::string prefix = std::string(id) + '\0';
    std::vector<std::string> rows;
    const auto cursor = txn.cursor(Table::history);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek(prefix);
    while (more && *more && has_prefix((*cursor)->key(), prefix)) {
      rows.emplace_back((*cursor)->key());
      more = (*cursor)->next();
    }
    if (!more) return std::unexpected(more.error());
    for (const std::string& row : rows) KFLOW_TRY(txn.erase(Table::history, row));
    return {};
  });
}

Result<void> TableStore::write_shared(Transaction& txn, const RunCommit& commit) {
  if (commit.session) KFLOW_TRY(write_session(txn, *commit.session));
  for (const SideWrite& write : commit.writes) {
    if (write.kind == SideWrite::Kind::history) {
      const auto number = next_number(txn, last_history_key);
      if (!number) return std::unexpected(number.error());
      const std::string key = bounded(write.key) + std::string(Key(*number));
      KFLOW_TRY(
          txn.put(Table::history, key, seal(key, write.value.value_or("")), {}, PutMode::replace));
      continue;
    }
    const Table table = table_of(write.kind);
    if (write.value) {
      const uint64_t expires = write.expires == machine::never
                                   ? 0
                                   : static_cast<uint64_t>(std::max<Millis>(write.expires, 1));
      KFLOW_TRY(txn.put(table, write.key, encode_numbered(write.key, expires, *write.value), {},
                        PutMode::replace));
    } else {
      KFLOW_TRY(txn.erase(table, write.key));
    }
    KFLOW_TRY(set_files(txn, side_user(table, write.key), write.files));
  }
  for (const Post& post : commit.posts) {
    const auto target = run_of_id(txn, post.run_id);
    if (!target) return std::unexpected(target.error());
    if (*target && !is_final((*target)->header.status))
      KFLOW_TRY(post_in(txn, **target, post.message));
  }
  for (const Watch& w : commit.watches) KFLOW_TRY(watch(txn, commit.run, w));
  return {};
}

Result<std::optional<std::string>> TableStore::side_value(SideWrite::Kind kind,
                                                          std::string_view key, Millis now) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  if (key.empty() || key.size() > max_side_key) return std::nullopt;
  const auto row = (*txn)->get(table_of(kind), key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  auto value = decode_numbered(key, **row,
                               kind == SideWrite::Kind::kv ? "a shared value" : "a cached value");
  if (!value) return std::unexpected(std::move(value).error());
  if (value->number != 0 && static_cast<Millis>(value->number) <= now) return std::nullopt;
  return std::optional(std::move(value->bytes));
}

Result<std::vector<std::string>> TableStore::recent(std::string_view key, size_t most) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const std::string prefix = bounded(std::string(key));
  const auto cursor = (*txn)->cursor(Table::history);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<std::string> out;
  auto more = (*cursor)->seek_before(prefix + std::string(Key(UINT64_MAX)));
  while (more && *more && out.size() < most && has_prefix((*cursor)->key(), prefix) &&
         (*cursor)->key().size() == prefix.size() + sizeof(uint64_t)) {
    const auto row = unseal((*cursor)->key(), (*cursor)->value(), "a row of a history");
    if (!row) return std::unexpected(row.error());
    out.emplace_back(*row);
    more = (*cursor)->previous();
  }
  if (!more) return std::unexpected(more.error());
  std::reverse(out.begin(), out.end());
  return out;
}

Result<Session> TableStore::session(std::string_view id) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const std::string key = bounded(std::string(id));
  if (key.empty()) return Session{};
  const auto row = (*txn)->get(Table::sessions, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return Session{};
  auto session = decode_numbered(key, **row, "the state of a session");
  if (!session) return std::unexpected(std::move(session).error());
  return Session{session->number, std::move(session->bytes)};
}

}  // namespace kflow::store
