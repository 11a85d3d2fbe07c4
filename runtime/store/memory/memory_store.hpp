// The store in memory, with the same rows and meaning as on disk, for tests and simulated worlds.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>

#include "runtime/store/tables.hpp"

namespace kflow::store {

/// What goes wrong for one simulated process. Called without any lock, on the threads that use the
/// store: they may be held up there.
class MemoryFaults {
 public:
  virtual ~MemoryFaults() = default;
  /// An error: this is not done.
  virtual std::optional<Error> before(bool write) = 0;
  /// A write is durable. An error: its writer does not hear of that, because it is dead.
  virtual std::optional<Error> after_write() = 0;
};

/// What simulated processes share: the disk and who is alive. Outlives its stores. Thread-safe.
class MemoryDisk {
 public:
  /// Asked before each write, with its number from 1; an error makes the write fail with nothing
  /// changed.
  void set_fault(std::function<std::optional<Error>(uint64_t write)> fault);
  /// Sees that write number `write` is durable, before its writer does.
  void set_observer(std::function<void(uint64_t write)> observer);
  uint64_t writes() const;
  /// The process is as one that was stopped: others may take its runs.
  void set_stopped(OwnerId owner, bool stopped);

 private:
  friend class MemoryTables;
  friend class MemoryPeers;
  friend class MemoryTransaction;
  using Rows = std::map<std::string, std::string, std::less<>>;

  mutable std::shared_mutex rows_mutex_;
  std::array<Rows, table_count> rows_;
  uint64_t writes_ = 0;
  std::function<std::optional<Error>(uint64_t)> fault_;
  std::function<void(uint64_t)> observer_;

  std::mutex peers_mutex_;
  std::set<uint64_t> alive_;
  std::set<uint64_t> stopped_;
  std::set<int> waiters_;  // event descriptors to wake at a death
  uint64_t deaths_ = 0;
};

/// One handle is one simulated process: dropping it, whatever it owns, is its death.
std::unique_ptr<Store> make_memory_store(
    std::shared_ptr<MemoryDisk> disk = std::make_shared<MemoryDisk>(),
    std::shared_ptr<MemoryFaults> faults = nullptr);

}  // namespace kflow::store
