// The store in one LMDB file, shared by any number of processes of one machine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/store/store.hpp"

namespace kflow::store {

struct LmdbOptions {
  Durability durability =
      Durability::sync;              ///< of a store that is made now; an existing one keeps its own
  uint64_t max_bytes = 64ULL << 30;  ///< our own quota
  int lock_timeout_ms = 10'000;      ///< for another process that writes
  bool create = true;
  bool read_only = false;  ///< every write fails with `permission`
  /// Sees every row written (table, key, value), for benchmarks against bare LMDB.
  std::function<void(std::string_view table, std::string_view key, std::string_view value)>
      row_observer;
};

/// Opens or makes the store in a folder. Several in one process share one file mapping, and the
/// options of the first. Errors: permission, no_space, incompatible (not ours, or of a newer
/// version), corrupt (cut off or damaged), not_found
/// (`create` false). No fork while it is open.
Result<std::unique_ptr<Store>> open_lmdb_store(const std::string& folder, LmdbOptions options);

}  // namespace kflow::store
