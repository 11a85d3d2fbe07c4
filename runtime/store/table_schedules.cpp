// Schedules: when a workflow starts by itself next, moved on in the transaction that starts it.
#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {

Result<void> TableStore::put_schedule(const Schedule& schedule) {
  if (schedule.id.empty() || schedule.id.size() > longest_id) {
    return fail(ErrorCode::invalid_argument,
                "a schedule's id has 1 to " + std::to_string(longest_id) + " bytes");
  }
  return change([&](Transaction& txn) -> Result<void> {
    const auto known = exists(txn, Table::programs, key_of(schedule.program));
    if (!known) return std::unexpected(known.error());
    if (!*known) {
      const std::string_view key = key_of(schedule.program);
      KFLOW_TRY(
          txn.put(Table::programs, key, seal(key, schedule.program_bytes), {}, PutMode::replace));
    }
    return txn.put(Table::schedules, schedule.id, encode_schedule(schedule.id, schedule), {},
                   PutMode::replace);
  });
}

Result<void> TableStore::remove_schedule(std::string_view id) {
  return change([&](Transaction& txn) -> Result<void> {
    const auto known = exists(txn, Table::schedules, id);
    if (!known) return std::unexpected(known.error());
    if (!*known)
      return fail(ErrorCode::not_found, "there is no schedule `" + std::string(id) + "`");
    return txn.erase(Table::schedules, id);
  });
}

Result<std::vector<Schedule>> TableStore::schedules() {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::schedules);
  if (!cursor) return std::unexpected(cursor.error());
  std::vector<Schedule> out;
  auto more = (*cursor)->seek("");
  for (; more && *more; more = (*cursor)->next()) {
    auto row = decode_schedule((*cursor)->key(), (*cursor)->value());
    if (!row) return std::unexpected(std::move(row).error());
    out.push_back(std::move(*row));
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

Result<std::optional<Started>> TableStore::fire_schedule(std::string_view id, Millis expected_due,
                                                         Millis next_due, const NewRun* run) {
  std::optional<Started> started;
  auto done = change([&](Transaction& txn) -> Result<void> {
    started.reset();
    const auto row = txn.get(Table::schedules, id);
    if (!row) return std::unexpected(row.error());
    if (!*row) return fail(ErrorCode::not_found, "there is no schedule `" + std::string(id) + "`");
    auto schedule = decode_schedule(id, **row);
    if (!schedule) return std::unexpected(std::move(schedule).error());
    if (schedule->next_due != expected_due || !schedule->enabled) {
      return fail(ErrorCode::conflict,
                  "the schedule `" + std::string(id) + "` was moved on by another process");
    }
    schedule->next_due = next_due;
    if (run != nullptr) {
      KFLOW_TRY(insert(txn, *run, xxh3(run->events), started.emplace()));
      if (!started->refused) schedule->last_run = started->key;
    }
    return txn.put(Table::schedules, id, encode_schedule(id, *schedule), {}, PutMode::replace);
  });
  if (!done) return std::unexpected(std::move(done).error());
  return started;
}

}  // namespace kflow::store
