// Removing runs, and what nothing refers to any more. Long removals go in slices and are finished
// after a crash.
#include <algorithm>
#include <map>
#include <set>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr size_t rows_of_a_child = 8;  // that `begin_removal` touches, at least

// Keys of a table that begin with `prefix`, at most `most`.
Result<std::vector<std::string>> keys_with(Transaction& txn, Table table, std::string_view prefix,
                                           size_t most) {
  std::vector<std::string> keys;
  const auto cursor = txn.cursor(table);
  if (!cursor) return std::unexpected(cursor.error());
  auto more = (*cursor)->seek(prefix);
  while (more && *more && keys.size() < most && has_prefix((*cursor)->key(), prefix)) {
    keys.emplace_back((*cursor)->key());
    more = (*cursor)->next();
  }
  if (!more) return std::unexpected(more.error());
  return keys;
}

Millis age_of(const Store::Retention& retention, const RunHeader& h) {
  if (h.retention_ms > 0) return h.retention_ms;
  for (const auto& [status, age] : retention.ages) {
    if (status == h.status) return age;
  }
  return retention.default_age_ms;
}

}  // namespace

// From here on nothing finds the run; its long tables are erased bit by bit.
Result<void> TableStore::begin_removal(Transaction& txn, const RunRow& run) {
  const RunHeader& h = run.header;
  KFLOW_TRY(txn.put(Table::removals, Key(h.key), {}, {}, PutMode::replace));
  KFLOW_TRY(txn.erase(Table::ids, h.id));
  KFLOW_TRY(erase_labels(txn, h));
  return txn.erase(Table::runs, Key(h.key));
}

// The runs that this one waited for go after it, as removals of their own.
Result<bool> TableStore::remove_children(Transaction& txn, RunKey run, size_t& budget) {
  const std::string prefix = label_prefix(Label::parent, Key(run));
  const auto rows = keys_with(txn, Table::labels, prefix, SIZE_MAX);
  if (!rows) return std::unexpected(rows.error());
  for (const std::string& key : *rows) {
    const auto child = run_in(txn, number_at(key, prefix.size()));
    if (!child) return std::unexpected(child.error());
    if (!*child || !(*child)->header.attached || !is_final((*child)->header.status)) continue;
    if (budget < rows_of_a_child) return false;
    budget -= rows_of_a_child;
    KFLOW_TRY(begin_removal(txn, **child));
  }
  return true;
}

Result<bool> TableStore::erase_rows(Transaction& txn, RunKey run, size_t& budget) {
  const auto children = remove_children(txn, run, budget);
  if (!children || !*children) return children;
  for (const Table table : {Table::events, Table::snapshots, Table::inbox, Table::dedup,
                            Table::watchers, Table::streams}) {
    const auto keys = keys_with(txn, table, Key(run), budget);
    if (!keys) return std::unexpected(keys.error());
    for (const std::string& key : *keys) {
      KFLOW_TRY(txn.erase(table, key));
      if (table == Table::inbox) KFLOW_TRY(drop_user(txn, side_user(table, key)));
    }
    budget -= keys->size();
    if (budget == 0) return false;
  }
  const std::string prefix = run_blob_key(run, "");
  const auto blobs = keys_with(txn, Table::blobrefs, prefix, budget);
  if (!blobs) return std::unexpected(blobs.error());
  for (const std::string& key : *blobs)
    KFLOW_TRY(drop_blob(txn, run, std::string_view(key).substr(prefix.size())));
  budget -= blobs->size();
  if (budget == 0) return false;
  KFLOW_TRY(txn.erase(Table::removals, Key(run)));
  return true;
}

Result<void> TableStore::finish_removals(Collected& out) {
  for (bool more = true; more;) {
    more = false;
    auto done = change([&](Transaction& txn) -> Result<void> {
      const auto runs = keys_with(txn, Table::removals, "", removal_slice);
      if (!runs) return std::unexpected(runs.error());
      size_t budget = removal_slice;
      const uint64_t blobs = txn.count(Table::blobs);
      const size_t files = unused_files_.size();
      for (const std::string& key : *runs) {
        const auto whole = erase_rows(txn, number_at(key, 0), budget);
        if (!whole) return std::unexpected(whole.error());
        more = !*whole;
        if (more) break;
      }
      more = more || runs->size() == removal_slice;
      out.blobs += blobs - txn.count(Table::blobs) + unused_files_.size() - files;
      return {};
    });
    if (!done) return done;
    sweep_files();
  }
  return {};
}

Result<void> TableStore::remove(RunKey run) {
  auto done = change([&](Transaction& txn) -> Result<void> {
    const auto row = run_in(txn, run);
    if (!row) return std::unexpected(row.error());
    if (!*row) return fail(ErrorCode::not_found, "there is no such run in the store");
    const RunHeader& h = (*row)->header;
    if (!is_final(h.status) || h.owner != no_owner) {
      return fail(ErrorCode::conflict, "run `" + h.id + "` has not ended (" +
                                           std::string(machine::to_string(h.status)) +
                                           "); cancel it first");
    }
    return begin_removal(txn, **row);
  });
  if (!done) return done;
  Collected ignored;
  return finish_removals(ignored);
}

Result<void> TableStore::rewrite(RunKey run, std::span<const EventChunk> chunks, bool trimmed) {
  return change([&](Transaction& txn) -> Result<void> {
    const auto row = run_in(txn, run);
    if (!row) return std::unexpected(row.error());
    if (!*row) return fail(ErrorCode::not_found, "there is no such run in the store");
    if (!is_final((*row)->header.status) || (*row)->header.owner != no_owner)
      return fail(ErrorCode::conflict, "run `" + (*row)->header.id + "` has not ended");
    for (const EventChunk& chunk : chunks) {
      const Key key(run, chunk.first_seq);
      const auto there = txn.get(Table::events, key);
      if (!there) return std::unexpected(there.error());
      if (!*there) return fail(ErrorCode::conflict, "the run's log has changed");
      const auto old = decode_chunk_head(key, **there);
      if (!old) return std::unexpected(old.error());
      if (old->event_count != chunk.event_count || old->public_count != chunk.public_count ||
          old->first_public != chunk.first_public)
        return fail(ErrorCode::conflict, "the run's log has changed");
      KFLOW_TRY(txn.put(Table::events, key, encode_chunk_head(key, chunk, xxh3(chunk.events)),
                        chunk.events, PutMode::replace));
    }
    if (!trimmed) return {};
    RunRow now = **row;
    now.header.trimmed = true;
    return replace_run(txn, **row, now);
  });
}

// Newest first, so that `keep_newest` counts the right ones.
Result<std::vector<RunHeader>> TableStore::removable(const Retention& retention) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::runs);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<RunHeader> out;
  std::map<std::string, size_t> kept;
  auto more = (*cursor)->seek_before(Key(UINT64_MAX));
  for (; more && *more; more = (*cursor)->previous()) {
    auto row = decode_run((*cursor)->key(), (*cursor)->value());
    if (!row) return std::unexpected(std::move(row).error());
    RunHeader& h = row->header;
    if (!is_final(h.status) || h.owner != no_owner) continue;
    const Millis age = age_of(retention, h);
    const bool old = age > 0 && h.ended_at + age <= retention.now;
    const bool many = retention.keep_newest > 0 && ++kept[h.workflow] > retention.keep_newest;
    if (old || many) out.push_back(std::move(h));
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

// A program goes when no run and no schedule names it. Runs that come meanwhile are noticed by
// their number.
Result<void> TableStore::collect_programs(Collected& out) {
  std::set<std::string, std::less<>> unused;
  std::string last_run;
  const auto last_number = [](Transaction& txn) -> Result<std::string> {
    const auto row = txn.get(Table::meta, "last run");
    if (!row) return std::unexpected(row.error());
    return std::string(row->value_or(std::string_view()));
  };
  {
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    auto number = last_number(**txn);
    if (!number) return std::unexpected(std::move(number).error());
    last_run = std::move(*number);
    auto programs = keys_with(**txn, Table::programs, "", SIZE_MAX);
    if (!programs) return std::unexpected(std::move(programs).error());
    unused.insert(programs->begin(), programs->end());
    for (const Table table : {Table::runs, Table::schedules}) {
      const auto cursor = (*txn)->cursor(table);
      if (!cursor) return std::unexpected(cursor.error());
      auto more = (*cursor)->seek("");
      for (; more && *more && !unused.empty(); more = (*cursor)->next()) {
        Sha256 hash{};
        if (table == Table::runs) {
          const auto row = decode_run((*cursor)->key(), (*cursor)->value());
          if (!row) return std::unexpected(row.error());
          hash = row->header.program;
        } else {
          const auto row = decode_schedule((*cursor)->key(), (*cursor)->value());
          if (!row) return std::unexpected(row.error());
          hash = row->program;
        }
        if (const auto it = unused.find(key_of(hash)); it != unused.end()) unused.erase(it);
      }
      if (!more) return std::unexpected(more.error());
    }
  }
  if (unused.empty()) return {};
  return change([&](Transaction& txn) -> Result<void> {
    const auto number = last_number(txn);
    if (!number) return std::unexpected(number.error());
    if (*number != last_run) return {};
    for (const std::string& key : unused) KFLOW_TRY(txn.erase(Table::programs, key));
    out.programs += unused.size();
    return {};
  });
}

Result<void> TableStore::collect_cache(Millis now, Collected& out) {
  std::vector<std::string> expired;
  {
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    const auto cursor = (*txn)->cursor(Table::cache);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek("");
    for (; more && *more; more = (*cursor)->next()) {
      const auto row = decode_numbered((*cursor)->key(), (*cursor)->value(), "a cached value");
      if (!row) return std::unexpected(row.error());
      if (row->number != 0 && static_cast<Millis>(row->number) <= now)
        expired.emplace_back((*cursor)->key());
    }
    if (!more) return std::unexpected(more.error());
  }
  for (size_t at = 0; at < expired.size(); at += removal_slice) {
    auto done = change([&](Transaction& txn) -> Result<void> {
      for (size_t i = at; i < std::min(at + removal_slice, expired.size()); ++i) {
        const auto row = txn.get(Table::cache, expired[i]);
        if (!row) return std::unexpected(row.error());
        if (!*row) continue;
        const auto value = decode_numbered(expired[i], **row, "a cached value");
        if (!value) return std::unexpected(value.error());
        if (value->number == 0 || static_cast<Millis>(value->number) > now)
          continue;  // renewed meanwhile
        KFLOW_TRY(txn.erase(Table::cache, expired[i]));
        KFLOW_TRY(drop_user(txn, side_user(Table::cache, expired[i])));
        ++out.cache_entries;
      }
      return {};
    });
    if (!done) return done;
  }
  return {};
}

Result<Store::Collected> TableStore::collect(const Retention& retention) {
  Collected out;
  const auto runs = removable(retention);
  if (!runs) return std::unexpected(runs.error());
  for (const RunHeader& h : *runs) out.ids.push_back(h.id);
  out.runs = runs->size();
  if (retention.dry_run) return out;
  for (size_t at = 0; at < runs->size(); at += removal_slice) {
    auto done = change([&](Transaction& txn) -> Result<void> {
      for (size_t i = at; i < std::min(at + removal_slice, runs->size()); ++i) {
        const auto row = run_in(txn, (*runs)[i].key);
        if (!row) return std::unexpected(row.error());
        // It may have been resumed or removed since.
        if (!*row || !is_final((*row)->header.status) || (*row)->header.owner != no_owner) continue;
        KFLOW_TRY(begin_removal(txn, **row));
      }
      return {};
    });
    if (!done) return std::unexpected(std::move(done).error());
  }
  KFLOW_TRY(finish_removals(out));
  KFLOW_TRY(collect_cache(retention.now, out));
  KFLOW_TRY(collect_programs(out));
  KFLOW_TRY(collect_files());
  return out;
}

}  // namespace kflow::store
