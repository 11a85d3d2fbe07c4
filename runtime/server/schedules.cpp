// Files' schedules → rows.
#include "runtime/server/schedules.hpp"

#include "runtime/engine/engine.hpp"

namespace kflow::server {

Result<void> put_file_schedules(store::Store& store, const Catalog& catalog,
                                const std::string& project_root, machine::Millis now) {
  for (const auto& [id, entry] : catalog.workflows) {
    if ((*entry.file->program)[entry.callable].workflow.schedule.empty()) continue;
    KFLOW_TRY(
        engine::put_schedule(store, id, *entry.file->program, entry.callable, project_root, now));
  }
  if (!catalog.complete) return {};  // what is missing may come again when its file is mended
  const auto rows = store.schedules();
  if (!rows) return std::unexpected(rows.error());
  for (const store::Schedule& row : *rows) {
    if (row.id.starts_with(added_schedule) || row.project_root != project_root) continue;
    const Catalog::Entry* entry = catalog.find(row.id);
    if (entry != nullptr && !(*entry->file->program)[entry->callable].workflow.schedule.empty())
      continue;
    KFLOW_TRY(store.remove_schedule(row.id));
  }
  return {};
}

}  // namespace kflow::server
