// Stores to test: both kinds behind one name, a folder that goes away, short ways to make runs and
// commits.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/store/lmdb/lmdb_store.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "runtime/store/store.hpp"

namespace kflow::store::test {

/// A new folder under the system's temporary one, removed with all it holds.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A place for a store that several (simulated) processes open.
class World {
 public:
  virtual ~World() = default;
  /// One more process: closing it is its death.
  virtual std::unique_ptr<Store> open() = 0;
};
enum class Kind { memory, lmdb };
std::unique_ptr<World> make_world(Kind kind);

/// A run of workflow `w` with one public event.
NewRun new_run(const std::string& id, OwnerId owner = no_owner, uint64_t epoch = 0);
RunHeader header_of(Store& store, RunKey run);
/// A commit of `count` events, all public, after `seq`.
RunCommit commit_of(const RunHeader& header, uint64_t seq, std::string_view events,
                    uint32_t count = 1);
/// Starts one run, which must work.
RunKey start_one(Store& store, const NewRun& run);

}  // namespace kflow::store::test
