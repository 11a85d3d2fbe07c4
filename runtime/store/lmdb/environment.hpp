// Environment: an open LMDB file with our tables, checked before use; errors of LMDB become our
// own.
#pragma once

#include <lmdb.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/store/blob_files.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "runtime/store/process_lock.hpp"
#include "runtime/store/tables.hpp"

namespace kflow::store {

/// `what` says what was tried.
Error lmdb_error(int code, std::string_view what);

inline MDB_val lmdb_value(std::string_view s) { return {s.size(), const_cast<char*>(s.data())}; }
inline std::string_view view_of(const MDB_val& v) {
  return {static_cast<const char*>(v.mv_data), v.mv_size};
}

/// What the rest works on. Shared by all stores of this process that are open in the same folder:
/// LMDB allows a file to be open only once per process.
struct Environment {
  std::string folder;
  LmdbOptions options;
  Durability durability = Durability::sync;
  MDB_env* env = nullptr;
  std::array<MDB_dbi, table_count> tables{};
  std::unique_ptr<ProcessLock> lock;
  const char* map = nullptr;  ///< where the file is mapped, if known
  uint64_t map_bytes = 0;

  Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment();
  uint64_t page_size() const;
  /// Pages in use or free within the file.
  uint64_t file_bytes() const;
  /// False for a value that a damaged page lets begin or end behind the file, where reading it
  /// would kill us.
  bool is_inside(const MDB_val& value) const;
};

Result<std::shared_ptr<Environment>> open_environment(const std::string& folder,
                                                      const LmdbOptions& options);

/// A consistent copy that is a store of its own, made while this one is in use. The folder must be
/// new or empty.
Result<void> copy_environment(const Environment& e, const BlobFiles& blobs,
                              const std::string& folder, bool compact);

}  // namespace kflow::store
