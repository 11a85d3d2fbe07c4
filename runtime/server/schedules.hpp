// Schedules of the workflows in files, as rows of the store.
#pragma once

#include <string>

#include "runtime/server/programs.hpp"
#include "runtime/store/store.hpp"

namespace kflow::server {

/// The id of a file's schedule is its workflow's name; those that people add have this before.
inline constexpr std::string_view added_schedule = "added-";

/// Puts what the catalog's workflows say, and takes away what no file says any more (if every file
/// could be read).
Result<void> put_file_schedules(store::Store& store, const Catalog& catalog,
                                const std::string& project_root, machine::Millis now);

}  // namespace kflow::server
