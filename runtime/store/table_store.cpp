// The frame of a TableStore: one write at a time, what it remembers of its own runs, what it says
// about itself.
#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {

TableStore::TableStore(std::shared_ptr<Tables> tables, std::unique_ptr<Peers> peers)
    : tables_(std::move(tables)), peers_(std::move(peers)) {}

TableStore::~TableStore() {
  const OwnerId own = own_;
  if (own == no_owner) return;
  // If this fails, others find us dead by our lock.
  (void)change([&](Transaction& txn) -> Result<void> {
    KFLOW_TRY(drop_stages_of(txn, [&](OwnerId id) { return id == own; }));
    return txn.erase(Table::owners, Key(own));
  });
  sweep_files();
}

Result<void> TableStore::change(const std::function<Result<void>(Transaction&)>& body) {
  const std::lock_guard guard(writing_);
  undo_.clear();
  auto done = tables_->write(body);
  if (!done) {
    for (auto it = undo_.rbegin(); it != undo_.rend(); ++it) {
      if (it->second) {
        tails_[it->first] = *it->second;
      } else {
        tails_.erase(it->first);
      }
    }
  }
  return done;
}

void TableStore::set_tail(RunKey run, const Tail& tail) {
  const auto [it, fresh] = tails_.try_emplace(run);
  undo_.emplace_back(run, fresh ? std::nullopt : std::optional(it->second));
  it->second = tail;
}

void TableStore::drop_tail(RunKey run) {
  const auto it = tails_.find(run);
  if (it == tails_.end()) return;
  undo_.emplace_back(run, it->second);
  tails_.erase(it);
}

Result<TableStore::Tail> TableStore::tail_of(Transaction& txn, RunKey run, uint64_t epoch) {
  const auto known = tails_.find(run);
  if (known != tails_.end() && known->second.epoch == epoch) return known->second;
  Tail tail{.epoch = epoch};
  const auto row = run_in(txn, run);
  if (!row) return std::unexpected(row.error());
  if (*row) {
    auto above = waiting_above(txn, (*row)->header.parent, (*row)->header.attached);
    if (!above) return std::unexpected(std::move(above).error());
    tail.above = std::move(*above);
  }
  const auto streamed = is_streamed(txn, run);
  if (!streamed) return std::unexpected(streamed.error());
  tail.streamed = *streamed;
  const auto cursor = txn.cursor(Table::events);
  if (!cursor) return std::unexpected(cursor.error());
  const auto found = (*cursor)->seek_before(Key(run + 1, 0));
  if (!found) return std::unexpected(found.error());
  if (!*found || number_at((*cursor)->key(), 0) != run) return tail;
  const auto last = decode_chunk_head((*cursor)->key(), (*cursor)->value());
  if (!last) return std::unexpected(last.error());
  tail.next_seq = last->first_seq + last->event_count;
  tail.next_public = last->first_public + last->public_count;
  return tail;
}

Result<StoreInfo> TableStore::info() {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  StoreInfo out{.format = store_format,
                .durability = tables_->durability(),
                .runs = (*txn)->count(Table::runs),
                .bytes_used = 0,
                .bytes_limit = tables_->bytes_limit()};
  const auto bytes = file_bytes(**txn, &out.files);
  if (!bytes) return std::unexpected(bytes.error());
  out.file_bytes = *bytes;
  txn->reset();
  out.bytes_used = tables_->bytes_used() + out.file_bytes;
  return out;
}

}  // namespace kflow::store
