// Reading everything: checksums, gaps in logs, indexes that do not fit their rows. Copies.
#include <algorithm>
#include <unordered_map>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr size_t max_findings = 1000;

class Checker {
 public:
  Checker(Transaction& txn, Store& store, std::vector<Store::Finding>& out)
      : txn_(txn), store_(store), out_(out) {}

  Result<void> run() {
    KFLOW_TRY(each(Table::runs,
                   [&](std::string_view key, std::string_view value) { check_run(key, value); }));
    KFLOW_TRY(each(Table::ids,
                   [&](std::string_view key, std::string_view value) { check_id(key, value); }));
    KFLOW_TRY(each(Table::events,
                   [&](std::string_view key, std::string_view value) { check_chunk(key, value); }));
    KFLOW_TRY(each(Table::streams,
                   [&](std::string_view key, std::string_view value) { check_piece(key, value); }));
    if (!ids_.empty())
      found(Table::runs, std::string(Key(ids_.begin()->first)),
            "run `" + ids_.begin()->second + "` is not found by its id");
    for (const Table table : {Table::snapshots, Table::inbox, Table::idempotency, Table::programs,
                              Table::owners, Table::slots, Table::kv, Table::cache, Table::sessions,
                              Table::blobs, Table::schedules, Table::history}) {
      KFLOW_TRY(each(table, [&](std::string_view key, std::string_view value) {
        check_seal(table, key, value);
      }));
    }
    KFLOW_TRY(each(Table::slots,
                   [&](std::string_view key, std::string_view value) { check_slot(key, value); }));
    for (const auto& [run, id] : in_slots_)
      found(Table::runs, std::string(Key(run)), "run `" + id + "` has no place in its slot");
    KFLOW_TRY(
        each(Table::blobrefs, [&](std::string_view key, std::string_view) { check_blob(key); }));
    KFLOW_TRY(each(Table::timers, [&](std::string_view key, std::string_view) {
      check_index(Table::timers, key, number_at(key, 8));
    }));
    KFLOW_TRY(each(Table::owned, [&](std::string_view key, std::string_view) {
      check_index(Table::owned, key, number_at(key, 8));
    }));
    KFLOW_TRY(each(Table::statuses, [&](std::string_view key, std::string_view) {
      check_index(Table::statuses, key, number_at(key, 1));
    }));
    return each(Table::labels, [&](std::string_view key, std::string_view) {
      check_index(Table::labels, key, key.size() < 8 ? 0 : number_at(key, key.size() - 8));
    });
  }

 private:
  template <typename Visit>
  Result<void> each(Table table, Visit visit) {
    const auto cursor = txn_.cursor(table);
    if (!cursor) return std::unexpected(cursor.error());
    auto more = (*cursor)->seek("");
    for (; more && *more; more = (*cursor)->next()) visit((*cursor)->key(), (*cursor)->value());
    if (!more) return std::unexpected(more.error());
    return {};
  }

  void found(Table table, std::string_view key, std::string what) {
    if (out_.size() >= max_findings) return;
    out_.push_back({std::string(table_names[static_cast<size_t>(table)]) + " " + to_hex(key),
                    std::move(what)});
  }

  void check_run(std::string_view key, std::string_view value) {
    const auto row = decode_run(key, value);
    if (!row) return found(Table::runs, key, row.error().message);
    ids_[row->header.key] = row->header.id;
    known_.insert({row->header.key, 0});
    const RunStatus status = row->header.status;
    if (!row->header.slot.empty() && (status == RunStatus::pending ||
                                      status == RunStatus::running || status == RunStatus::paused))
      in_slots_[row->header.key] = row->header.id;
    const auto program = txn_.get(Table::programs, key_of(row->header.program));
    if (!program || !*program)
      found(Table::runs, key, "the program of run `" + row->header.id + "` is missing");
  }

  void check_id(std::string_view key, std::string_view value) {
    const auto run = decode_number(key, value);
    if (!run) return found(Table::ids, key, run.error().message);
    const auto it = ids_.find(*run);
    if (it == ids_.end() || it->second != key)
      return found(Table::ids, key, "leads to another run than `" + std::string(key) + "`");
    ids_.erase(it);
  }

  // Chunks of a run follow one another without a gap.
  void check_chunk(std::string_view key, std::string_view value) {
    const auto chunk = decode_chunk(key, value);
    const RunKey run = number_at(key, 0);
    if (!chunk) return found(Table::events, key, chunk.error().message);
    if (!known_.contains(run)) {
      const auto removal = txn_.get(Table::removals, Key(run));
      if (!removal || !*removal) found(Table::events, key, "a log without its run");
      return;
    }
    if (run != run_) run_ = run, seq_ = 0, shown_ = 0;
    if (chunk->first_seq != seq_ || chunk->first_public != shown_)
      found(Table::events, key, "a gap in the log of run " + std::to_string(run));
    seq_ = chunk->first_seq + chunk->event_count;
    shown_ = chunk->first_public + chunk->public_count;
  }

  // Pieces of a stream follow one another without a gap.
  void check_piece(std::string_view key, std::string_view value) {
    const auto piece = decode_piece(key, value);
    const RunKey run = number_at(key, 0);
    if (!piece) return found(Table::streams, key, piece.error().message);
    if (!known_.contains(run)) {
      const auto removal = txn_.get(Table::removals, Key(run));
      if (!removal || !*removal) found(Table::streams, key, "a stream without its run");
      return;
    }
    if (run == stream_ && piece->first_index != stream_end_)
      found(Table::streams, key, "a gap in the stream of run " + std::to_string(run));
    stream_ = run;
    stream_end_ = piece->first_index + piece->count;
  }

  void check_seal(Table table, std::string_view key, std::string_view value) {
    const auto payload = unseal(key, value, "the row");
    if (!payload) return found(table, key, payload.error().message);
    if (table == Table::blobs && key_of(sha256(*payload)) != key)
      found(table, key, "the bytes are not those of the hash");
  }

  // Whoever has a place in a slot has not ended.
  void check_slot(std::string_view key, std::string_view value) {
    const auto state = unseal(key, value, "the row");
    if (!state) return;  // said already
    const RunKey run = key.size() < 8 ? 0 : number_at(key, key.size() - 8);
    if (in_slots_.erase(run) == 0)
      found(Table::slots, key, "a place of run " + std::to_string(run) + ", which has ended");
  }

  // A user of a blob that is there; a file that is whole.
  void check_blob(std::string_view key) {
    const std::string hash(key.substr(key.starts_with('r') ? 9 : 1, sizeof(Sha256)));
    if (hash.size() != sizeof(Sha256)) return found(Table::blobrefs, key, "a malformed key");
    const auto row = exists(txn_, Table::blobs, hash);
    const auto file = exists(txn_, Table::blobrefs, blob_file_key(hash));
    if (!row || !file) return found(Table::blobrefs, key, "cannot be read");
    if (!*row && !*file)
      return found(Table::blobrefs, key, "a reference to a blob that is not there");
    if (!key.starts_with('f')) return;
    Sha256 wanted{};
    std::copy(hash.begin(), hash.end(), wanted.begin());
    auto reader = store_.open_blob(wanted);
    if (!reader) return found(Table::blobrefs, key, reader.error().message);
    std::string buffer(1U << 20, '\0');
    for (;;) {
      const auto n = (*reader)->read(buffer);
      if (!n) return found(Table::blobrefs, key, n.error().message);
      if (*n == 0) return;
    }
  }

  void check_index(Table table, std::string_view key, RunKey run) {
    if (!known_.contains(run)) found(table, key, "an index row of a run that is not there");
  }

  Transaction& txn_;
  Store& store_;
  std::vector<Store::Finding>& out_;
  std::unordered_map<RunKey, std::string> ids_;
  std::unordered_map<RunKey, char> known_;
  std::unordered_map<RunKey, std::string> in_slots_;  // runs that must have a place in one
  RunKey run_ = 0;
  uint64_t seq_ = 0;
  uint64_t shown_ = 0;
  RunKey stream_ = 0;
  uint64_t stream_end_ = 0;
};

}  // namespace

Result<std::vector<Store::Finding>> TableStore::check() {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  std::vector<Finding> out;
  KFLOW_TRY(Checker(**txn, *this, out).run());
  return out;
}

Result<void> TableStore::backup(const std::string& folder, bool compact) {
  // Meanwhile no file goes that the copy of the tables may name.
  BlobFiles* files = tables_->blob_files();
  const auto hold = files == nullptr ? BlobFiles::Hold(-1) : files->hold_shared();
  return tables_->copy_to(folder, compact);
}

}  // namespace kflow::store
