// Reading runs, their logs and inboxes.
#include <algorithm>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

// Clocks of processes and the order of keys may differ by less than this.
constexpr Millis clock_slack = 3'600'000;

bool wanted(const RunFilter& f, const RunHeader& h) {
  return h.created_at >= f.since && (!f.parent || h.parent == *f.parent) &&
         (!f.status || h.status == *f.status) && (f.workflow.empty() || h.workflow == f.workflow) &&
         (f.session_id.empty() || h.session_id == f.session_id) &&
         (f.tag.empty() || std::find(h.tags.begin(), h.tags.end(), f.tag) != h.tags.end());
}

struct Index {
  Table table = Table::runs;
  std::string prefix;
};

// The narrowest index that a filter allows.
Index index_of(const RunFilter& f) {
  if (f.parent && *f.parent != 0)
    return {Table::labels, label_prefix(Label::parent, Key(*f.parent))};
  if (!f.session_id.empty()) return {Table::labels, label_prefix(Label::session, f.session_id)};
  if (!f.tag.empty()) return {Table::labels, label_prefix(Label::tag, f.tag)};
  if (f.status && !f.workflow.empty())
    return {Table::labels, workflow_status_prefix(f.workflow, *f.status)};
  if (f.status) {
    return {Table::statuses, std::string(1, static_cast<char>(*f.status))};
  }
  if (!f.workflow.empty()) return {Table::labels, label_prefix(Label::workflow, f.workflow)};
  if (f.parent) return {Table::labels, label_prefix(Label::parent, Key(0))};
  return {};
}

// Newest first: rows of `ids` before `bound` while `take` says so.
template <typename Take>
Result<void> scan_ids(Transaction& txn, std::string_view bound, Take take) {
  const auto cursor = txn.cursor(Table::ids);
  if (!cursor) return std::unexpected(cursor.error());
  auto more = (*cursor)->seek_before(bound);
  while (more && *more && take(**cursor)) more = (*cursor)->previous();
  if (!more) return std::unexpected(more.error());
  return {};
}

}  // namespace

Result<std::optional<RunRow>> TableStore::run_in(Transaction& txn, RunKey run) {
  const Key key(run);
  const auto row = txn.get(Table::runs, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  auto decoded = decode_run(key, **row);
  if (!decoded) return std::unexpected(std::move(decoded).error());
  return std::optional(std::move(*decoded));
}

Result<std::optional<RunHeader>> TableStore::header(RunKey run) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  auto row = run_in(**txn, run);
  if (!row) return std::unexpected(std::move(row).error());
  if (!*row) return std::nullopt;
  return std::optional(std::move((*row)->header));
}

Result<std::optional<RunHeader>> TableStore::find(std::string_view id) {
  if (id.empty() || id.size() > 255) return std::nullopt;
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto row = (*txn)->get(Table::ids, id);
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  const auto key = decode_number(id, **row);
  if (!key) return std::unexpected(key.error());
  auto run = run_in(**txn, *key);
  if (!run) return std::unexpected(std::move(run).error());
  if (!*run) return std::nullopt;
  return std::optional(std::move((*run)->header));
}

// An index of reversed ids would cost each start a row at a random place; ends of ids are typed by
// people, and looking through the keys of a million runs takes a tenth of a second.
Result<std::vector<RunHeader>> TableStore::match(std::string_view part, size_t limit) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  std::vector<RunKey> keys;
  std::optional<Error> broken;
  const auto add = [&](const Cursor& at) {
    const auto run = decode_number(at.key(), at.value());
    if (run) {
      keys.push_back(*run);
    } else {
      broken = run.error();
    }
    return !broken && keys.size() < limit;
  };
  // No id is UTF-8 with 0xff.
  const std::string end = std::string(part) + '\xff';
  if (limit == 0) return std::vector<RunHeader>();
  KFLOW_TRY(scan_ids(**txn, end,
                     [&](const Cursor& at) { return at.key().starts_with(part) && add(at); }));
  if (keys.size() < limit && !broken) {
    KFLOW_TRY(scan_ids(**txn, "\xff", [&](const Cursor& at) {
      const bool fits = at.key().ends_with(part) && !at.key().starts_with(part);
      return !fits || add(at);
    }));
  }
  if (broken) return std::unexpected(std::move(*broken));
  std::sort(keys.rbegin(), keys.rend());
  std::vector<RunHeader> out;
  for (const RunKey key : keys) {
    auto run = run_in(**txn, key);
    if (!run) return std::unexpected(std::move(run).error());
    if (*run) out.push_back(std::move((*run)->header));
  }
  return out;
}

Result<std::vector<RunHeader>> TableStore::list(const RunFilter& filter) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  std::vector<RunHeader> out;
  const Index index = index_of(filter);
  const auto cursor = (*txn)->cursor(index.table);
  if (!cursor) return std::unexpected(cursor.error());
  auto more = (*cursor)->seek_before(index.prefix + std::string(Key(filter.before)));
  while (more && *more && out.size() < filter.limit && (*cursor)->key().starts_with(index.prefix)) {
    auto run = run_in(**txn, number_at((*cursor)->key(), index.prefix.size()));
    if (!run) return std::unexpected(std::move(run).error());
    if (*run) {
      RunHeader& h = (*run)->header;
      if (h.created_at < filter.since - clock_slack) break;
      if (wanted(filter, h)) out.push_back(std::move(h));
    }
    more = (*cursor)->previous();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

Result<std::vector<EventChunk>> TableStore::read(RunKey run, uint64_t from_seq, size_t max_bytes) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto opened = (*txn)->cursor(Table::events);
  if (!opened) return std::unexpected(opened.error());
  Cursor& cursor = **opened;
  // The chunk that holds `from_seq` is the last one that begins at or before it.
  auto more =
      from_seq == UINT64_MAX ? Result<bool>(false) : cursor.seek_before(Key(run, from_seq + 1));
  if (more && (!*more || number_at(cursor.key(), 0) != run)) more = cursor.seek(Key(run, from_seq));
  std::vector<EventChunk> out;
  size_t bytes = 0;
  while (more && *more && number_at(cursor.key(), 0) == run && (out.empty() || bytes < max_bytes)) {
    auto chunk = decode_chunk(cursor.key(), cursor.value());
    if (!chunk) return std::unexpected(std::move(chunk).error());
    if (chunk->first_seq + chunk->event_count > from_seq) {
      bytes += chunk->events.size();
      out.push_back(std::move(*chunk));
    }
    more = cursor.next();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

Result<std::optional<EventChunk>> TableStore::last(RunKey run) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::events);
  if (!cursor) return std::unexpected(cursor.error());
  const auto found = (*cursor)->seek_before(Key(run + 1, 0));
  if (!found) return std::unexpected(found.error());
  if (!*found || number_at((*cursor)->key(), 0) != run) return std::nullopt;
  auto chunk = decode_chunk((*cursor)->key(), (*cursor)->value());
  if (!chunk) return std::unexpected(std::move(chunk).error());
  return std::optional(std::move(*chunk));
}

Result<std::string> TableStore::program(const Sha256& hash) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto row = (*txn)->get(Table::programs, key_of(hash));
  if (!row) return std::unexpected(row.error());
  if (!*row) return fail(ErrorCode::not_found, "the store does not hold program " + to_hex(hash));
  const auto payload = unseal(key_of(hash), **row, "a stored program");
  if (!payload) return std::unexpected(payload.error());
  return std::string(*payload);
}

Result<std::optional<Store::Snapshot>> TableStore::snapshot(RunKey run) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const Key key(run);
  const auto row = (*txn)->get(Table::snapshots, key);
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  auto out = decode_snapshot(key, **row);
  if (!out) return std::unexpected(std::move(out).error());
  return std::optional(std::move(*out));
}

Result<std::vector<InboxMessage>> TableStore::inbox(RunKey run, size_t limit) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::inbox);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<InboxMessage> out;
  auto more = (*cursor)->seek(Key(run, 0));
  while (more && *more && number_at((*cursor)->key(), 0) == run && out.size() < limit) {
    auto message = decode_message((*cursor)->key(), (*cursor)->value());
    if (!message) return std::unexpected(std::move(message).error());
    out.push_back(std::move(*message));
    more = (*cursor)->next();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

}  // namespace kflow::store
