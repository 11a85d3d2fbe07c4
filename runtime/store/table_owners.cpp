// Ownership: who has which run, and who may take it.
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

constexpr std::string_view last_owner_key = "last owner";

}  // namespace

Result<OwnerId> TableStore::register_owner(std::string_view doorbell) {
  if (own_ != no_owner && !nameless_.exchange(false))
    return fail(ErrorCode::invalid_argument, "this process is an owner already");
  if (own_ != no_owner) {
    const Key key(own_);
    const OwnerInfo info{.id = own_, .pid = ::getpid(), .doorbell = std::string(doorbell)};
    KFLOW_TRY(change([&](Transaction& txn) {
      return txn.put(Table::owners, key, encode_owner(key, info), {}, PutMode::replace);
    }));
    return OwnerId(own_);
  }
  OwnerId id = no_owner;
  auto done = change([&](Transaction& txn) -> Result<void> {
    const auto last = txn.get(Table::meta, last_owner_key);
    if (!last) return std::unexpected(last.error());
    const auto number = *last ? decode_number(last_owner_key, **last) : Result<uint64_t>(0);
    if (!number) return std::unexpected(number.error());
    id = *number + 1;
    KFLOW_TRY(txn.put(Table::meta, last_owner_key, encode_number(last_owner_key, id), {},
                      PutMode::replace));
    // Alive before the row shows: nobody takes us for dead.
    KFLOW_TRY(peers_->join(id));
    const Key key(id);
    const OwnerInfo info{.id = id, .pid = ::getpid(), .doorbell = std::string(doorbell)};
    return txn.put(Table::owners, key, encode_owner(key, info), {}, PutMode::replace);
  });
  if (!done) {
    peers_->leave();
    return std::unexpected(std::move(done).error());
  }
  own_ = id;
  return id;
}

Result<std::vector<OwnerInfo>> TableStore::owners() {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::owners);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<OwnerInfo> out;
  auto more = (*cursor)->seek(Key(0));
  while (more && *more) {
    auto owner = decode_owner((*cursor)->key(), (*cursor)->value());
    if (!owner) return std::unexpected(std::move(owner).error());
    out.push_back(std::move(*owner));
    more = (*cursor)->next();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

bool TableStore::alive(OwnerId owner) {
  return owner != no_owner && (owner == own_ || (peers_->alive(owner) && !peers_->stopped(owner)));
}

bool TableStore::may_claim(const RunHeader& run, uint64_t expected_epoch) {
  if (run.epoch != expected_epoch) return false;
  // An ERROR run may be resumed.
  if (run.status == RunStatus::completed || run.status == RunStatus::cancelled) return false;
  return run.owner == no_owner || run.owner == own_ || !alive(run.owner);
}

Result<RunHeader> TableStore::claim(RunKey run, uint64_t expected_epoch) {
  if (own_ == no_owner)
    return fail(ErrorCode::invalid_argument, "only a registered owner can claim runs");
  RunRow row;
  auto done = change([&](Transaction& txn) -> Result<void> {
    auto found = run_in(txn, run);
    if (!found) return std::unexpected(std::move(found).error());
    if (!*found) return fail(ErrorCode::not_found, "there is no such run in the store");
    row = std::move(**found);
    const RunHeader& h = row.header;
    if (!may_claim(h, expected_epoch)) {
      const bool ended = h.status == RunStatus::completed || h.status == RunStatus::cancelled;
      return fail(ErrorCode::conflict,
                  "run `" + h.id + (ended ? "` has ended" : "` is another process's"));
    }
    const auto waits = must_wait(txn, h);
    if (!waits) return std::unexpected(waits.error());
    if (*waits)
      return fail(ErrorCode::conflict,
                  "run `" + h.id + "` waits for others of its workflow to end");
    return take(txn, row);
  });
  if (!done) return std::unexpected(std::move(done).error());
  return std::move(row.header);
}

Result<std::vector<RunHeader>> TableStore::claim_all(std::span<const RunHeader> runs) {
  if (own_ == no_owner)
    return fail(ErrorCode::invalid_argument, "only a registered owner can claim runs");
  std::vector<RunHeader> out;
  if (runs.empty()) return out;
  auto done = change([&](Transaction& txn) -> Result<void> {
    for (const RunHeader& wanted : runs) {
      auto found = run_in(txn, wanted.key);
      if (!found) return std::unexpected(std::move(found).error());
      if (!*found || !may_claim((*found)->header, wanted.epoch)) continue;
      const auto waits = must_wait(txn, (*found)->header);
      if (!waits) return std::unexpected(waits.error());
      if (*waits) continue;
      KFLOW_TRY(take(txn, **found));
      out.push_back(std::move((*found)->header));
    }
    return {};
  });
  if (!done) return std::unexpected(std::move(done).error());
  return out;
}

// Runs of owners that are dead, until `take` has enough.
Result<void> TableStore::visit_dead(Transaction& txn, std::vector<OwnerId>& dead,
                                    const Take& take) {
  const auto owned = txn.cursor(Table::owned);
  if (!owned) return std::unexpected(owned.error());
  Cursor& cursor = **owned;
  auto more = cursor.seek(Key(0, 0));
  while (more && *more) {
    const OwnerId owner = number_at(cursor.key(), 0);
    if (owner == own_ || alive(owner)) {
      more = cursor.seek(Key(owner + 1, 0));
      continue;
    }
    dead.push_back(owner);
    while (more && *more && number_at(cursor.key(), 0) == owner) {
      const auto go_on = take(number_at(cursor.key(), 8));
      if (!go_on) return std::unexpected(go_on.error());
      if (!*go_on) return {};
      more = cursor.next();
    }
  }
  if (!more) return std::unexpected(more.error());
  return {};
}

namespace {

using Take = std::function<Result<bool>(RunKey)>;

Result<void> visit_due(Transaction& txn, Millis now, const Take& take) {
  const auto timers = txn.cursor(Table::timers);
  if (!timers) return std::unexpected(timers.error());
  const auto last = static_cast<uint64_t>(std::max<Millis>(now, 0));
  auto more = (*timers)->seek(Key(0, 0));
  while (more && *more && number_at((*timers)->key(), 0) <= last) {
    const auto go_on = take(number_at((*timers)->key(), 8));
    if (!go_on) return std::unexpected(go_on.error());
    if (!*go_on) return {};
    more = (*timers)->next();
  }
  if (!more) return std::unexpected(more.error());
  return {};
}

Result<void> visit_inboxes(Transaction& txn, const Take& take) {
  const auto inbox = txn.cursor(Table::inbox);
  if (!inbox) return std::unexpected(inbox.error());
  auto more = (*inbox)->seek(Key(0, 0));
  while (more && *more) {
    const RunKey run = number_at((*inbox)->key(), 0);
    const auto go_on = take(run);
    if (!go_on) return std::unexpected(go_on.error());
    if (!*go_on) return {};
    more = (*inbox)->seek(Key(run + 1, 0));
  }
  if (!more) return std::unexpected(more.error());
  return {};
}

}  // namespace

// Those of the dead first, then timers in order, then messages.
Result<std::vector<RunHeader>> TableStore::claimable(Millis now, size_t limit,
                                                     std::string_view project_root,
                                                     std::string_view tape) {
  auto all = owners();
  if (!all) return std::unexpected(std::move(all).error());
  std::vector<RunHeader> out;
  std::vector<OwnerId> owning;  // dead ones that own runs
  {
    auto txn = tables_->read();
    if (!txn) return std::unexpected(std::move(txn).error());
    std::unordered_set<RunKey> seen;
    const Take take = [&](RunKey key) -> Result<bool> {
      if (out.size() >= limit) return false;
      if (!seen.insert(key).second) return true;
      auto run = run_in(**txn, key);
      if (!run) return std::unexpected(std::move(run).error());
      if (!*run) return true;
      RunHeader& h = (*run)->header;
      const bool free =
          h.owner == no_owner || std::find(owning.begin(), owning.end(), h.owner) != owning.end();
      const bool ours = (project_root.empty() || h.project_root == project_root) && h.tape == tape;
      if (free && ours) {
        const auto waits = must_wait(**txn, h);
        if (!waits) return std::unexpected(waits.error());
        if (!*waits) out.push_back(std::move(h));
      }
      return out.size() < limit;
    };
    KFLOW_TRY(visit_dead(**txn, owning, take));
    if (out.size() < limit) KFLOW_TRY(visit_due(**txn, now, take));
    if (out.size() < limit) KFLOW_TRY(visit_inboxes(**txn, take));
  }
  std::vector<OwnerId> gone;
  for (const OwnerInfo& owner : *all) {
    const bool needed = std::find(owning.begin(), owning.end(), owner.id) != owning.end();
    if (!needed && owner.id != own_ && !peers_->alive(owner.id)) gone.push_back(owner.id);
  }
  if (!gone.empty()) sweep(gone);
  return out;
}

// Rows of the dead that own nothing are of no use; their readers hold pages.
void TableStore::sweep(const std::vector<OwnerId>& dead) {
  tables_->clear_stale_readers();
  const auto swept = change([&](Transaction& txn) -> Result<void> {
    for (const OwnerId id : dead) KFLOW_TRY(txn.erase(Table::owners, Key(id)));
    return drop_stages_of(txn,
                          [&](OwnerId id) { return std::ranges::find(dead, id) != dead.end(); });
  });
  if (!swept) return;
  sweep_files();
  for (const OwnerId id : dead) peers_->forget(id);
}

Result<Millis> TableStore::next_due(Millis after) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  if (after == machine::never) return machine::never;
  const auto cursor = (*txn)->cursor(Table::timers);
  if (!cursor) return std::unexpected(cursor.error());
  const auto first = (*cursor)->seek(Key(static_cast<uint64_t>(std::max<Millis>(after + 1, 0)), 0));
  if (!first) return std::unexpected(first.error());
  return *first ? static_cast<Millis>(number_at((*cursor)->key(), 0)) : machine::never;
}

Result<bool> TableStore::wait_for_death(int cancel_fd) { return peers_->wait_for_death(cancel_fd); }

void TableStore::ring(OwnerId owner) {
  const auto all = owners();
  if (!all) return;
  for (const OwnerInfo& other : *all) {
    if (owner == every_owner || (owner == no_owner ? other.id != own_ : other.id == owner))
      Doorbell::ring(other.doorbell);
  }
}

}  // namespace kflow::store
