// Those who wait for a run's commits. A few are woken by whoever commits; a crowd is woken by a
// thread of its own, at a pace that leaves the processor to the runs.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "runtime/store/store.hpp"

namespace kflow::engine {

/// More than these together are a crowd.
inline constexpr size_t most_woken_directly = 16;
/// A crowd is woken again after this time for each of it, at the latest after `longest_pace`; an
/// ended run is told at once.
inline constexpr std::chrono::microseconds pace_of_one(50);
inline constexpr std::chrono::milliseconds longest_pace(100);

class Waiting {
 public:
  using RunKey = store::RunKey;
  enum class For { events, end };

  Waiting() = default;
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  /// Wakes those who wait for events of `runs` and for the end of `ended`. Never waits for them.
  void committed(const std::vector<RunKey>& runs, const std::vector<RunKey>& ended);
  /// Wakes everybody: something may have changed anywhere.
  void all();

 private:
  struct Waiter {
    std::condition_variable changed;
    uint64_t generation = 0;
    size_t users = 0;
  };
  using Waiters = std::unordered_map<RunKey, Waiter>;

 public:
  /// One who waits on one run; what is committed between `begin` and `wait` is not missed.
  class Wait {
   public:
    Wait(Waiting& waiting, For what, RunKey run);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    uint64_t begin();
    void wait(uint64_t before, std::optional<std::chrono::steady_clock::time_point> until);

   private:
    Waiting& waiting_;
    Waiters& waiters_;
    RunKey run_;
    Waiter* waiter_ = nullptr;
  };

 private:
  struct News {
    std::set<RunKey> runs;
    std::set<RunKey> ended;
    bool everybody = false;

    bool empty() const { return runs.empty() && ended.empty() && !everybody; }
    bool urgent() const { return !ended.empty() || everybody; }
  };

  bool crowded() const { return users_.load(std::memory_order_relaxed) > most_woken_directly; }
  /// Leaves the news to the thread.
  template <typename Add>
  void leave(Add add);
  void tell(const News& news);
  template <typename Runs>
  static void tell(Waiters& waiters, const Runs& runs);
  void herald();

  std::mutex mutex_;
  Waiters for_events_;
  Waiters for_ends_;  // woken once, not at every step
  std::atomic<size_t> users_ = 0;

  std::mutex news_mutex_;  // held by nobody who waits for a run
  std::condition_variable news_changed_;
  News news_;
  bool stop_ = false;
  std::thread herald_;  // from the first crowd on
};

}  // namespace kflow::engine
