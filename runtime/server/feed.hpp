// Feed: the frames of one run for any number of readers, live and from the log.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/server/frames.hpp"
#include "runtime/server/http.hpp"
#include "runtime/server/workers.hpp"
#include "runtime/store/store.hpp"

namespace kflow::server {

inline constexpr size_t feed_cache_bytes = 4U << 20;  ///< of frames that one run's feed keeps
inline constexpr size_t segment_bytes = 128U << 10;   ///< read from the log at a time
inline constexpr size_t small_segment_bytes = 16U
                                              << 10;  ///< a shorter one grows by what comes next

/// What feeds need of the server around them.
struct FeedWorld {
  std::shared_ptr<store::Store> store;
  Workers* workers = nullptr;
  /// Runs a task on the network's thread.
  std::function<void(std::function<void()>)> on_network;
};

/// Encodes each frame once, for all readers of its run. A reader that is behind what is kept is fed
/// from the log. Thread-safe; made by Feeds, lives as long as its readers.
class Feed : public std::enable_shared_from_this<Feed> {
 public:
  Feed(const FeedWorld& world, store::RunHeader run);

  /// Where the run stands, as the feed knows it.
  struct State {
    machine::RunStatus status = machine::RunStatus::running;
    uint64_t next_index = 0;  ///< of the event after the last one
    bool ended = false;       ///< its last event is a terminal one
    bool gone = false;        ///< it was removed, or cannot be read any more
  };
  State state() const;
  const store::RunHeader& run() const { return run_; }

  struct Taken {
    std::shared_ptr<const Segment> segment;  ///< null: nothing at hand
    size_t frame = 0;                        ///< first one with an index of at least the cursor
    State state;
  };
  /// The segment that holds `cursor`. If there is none and the run has not ended there, `ready` (if
  /// it is given) is called once, on the network's thread, after something has changed; `id` takes
  /// that back.
  Taken take(uint64_t cursor, std::function<void()>* ready, uint64_t& id);
  /// Calls `ready` once after something has changed.
  uint64_t park(std::function<void()> ready);
  void unpark(uint64_t id);

  /// The run may have new events.
  void changed();
  /// First reading; on a thread that may wait for the disk.
  Result<void> load();

 private:
  uint64_t park_now(std::function<void()> ready);
  void schedule();
  void work();
  bool refresh(store::RunHeader& header);
  void read_wanted(uint64_t index);
  void read_tail();
  void add(std::shared_ptr<const Segment> segment, bool tail);
  void trim_cache();

  const FeedWorld& world_;
  store::RunHeader run_;  // as it was when the feed was made
  mutable std::mutex mutex_;
  State state_;
  struct Kept {
    std::shared_ptr<const Segment> segment;
    uint64_t used = 0;
  };
  std::map<uint64_t, Kept> segments_;  // by first index; they do not overlap
  size_t bytes_ = 0;
  uint64_t tick_ = 0;
  std::set<uint64_t> wanted_;
  std::vector<std::pair<uint64_t, std::function<void()>>> parked_;  // by id; empty: taken back
  size_t taken_back_ = 0;
  uint64_t last_id_ = 0;
  bool scheduled_ = false;  // a worker is at it, or the network has not heard of the last one yet
  bool again_ = false;
  bool loaded_ = false;
  uint64_t tail_index_ = 0;  // up to here the stream has been read, or left to who wants it
  // One worker at a time.
  engine::RunStream tail_;
  engine::RunStream behind_;
};

/// Finds or makes the feed of a run. Thread-safe.
class Feeds {
 public:
  explicit Feeds(FeedWorld world) : world_(std::move(world)) {}
  Result<std::shared_ptr<Feed>> open(const store::RunHeader& run);
  /// As EngineOptions::on_events.
  void changed(std::span<const store::RunKey> runs);
  size_t size() const;

 private:
  FeedWorld world_;
  mutable std::mutex mutex_;
  std::unordered_map<store::RunKey, std::weak_ptr<Feed>> feeds_;
  size_t sweep_at_ = 64;  // number of feeds at which those without readers are forgotten
};

}  // namespace kflow::server
