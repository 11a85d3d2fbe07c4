// LmdbStore: the store on one LMDB file, shared by any number of processes of one machine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/store/store.hpp"

namespace kflow::store {

struct LmdbOptions {
  Durability durability = Durability::sync;       ///< for a store that is made now; an existing one keeps its own
  uint64_t max_bytes = 64ULL << 30;               ///< our own quota
  int lock_timeout_ms = 10'000;
  bool create = true;
  /// Sees every row written (table, key, value), for benchmarks against bare LMDB.
  std::function<void(std::string_view table, std::string_view key, std::string_view value)> row_observer;
};

inline constexpr uint32_t store_format = 1;

/// Opens or makes the store in a folder. Errors: permission, no_space, incompatible (not ours, or of a newer version),
/// corrupt (cut off or damaged), not_found (`create` false).
Result<std::unique_ptr<Store>> open_lmdb_store(const std::string& folder, LmdbOptions options);

}  // namespace kflow::store
