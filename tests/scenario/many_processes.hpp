// Several engines on one store in memory, each a process that can die, stop and go on; the disk,
// the clock and the world that they share, and everything that goes wrong there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/engine/engine.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/scenario/simulator.hpp"

namespace kflow::scenario {

/// How often what went wrong.
struct Faulted {
  size_t deaths = 0;
  size_t stops = 0;
  size_t jumps = 0;
  size_t full = 0;
  size_t slow = 0;
  size_t doubled = 0;
  size_t lost = 0;
  Faulted& operator+=(const Faulted& other);
};

/// Goes faster than time and jumps. Thread-safe.
class FastClock final : public engine::Clock {
 public:
  machine::Millis now() const override;
  std::unique_ptr<engine::Alarm> alarm() const override;
  void jump(machine::Millis by);

 private:
  class FastAlarm;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::atomic<machine::Millis> offset_ = 0;
  mutable std::mutex mutex_;  // of the alarms, and of a jump
  mutable std::set<FastAlarm*> alarms_;
};

/// What effects answer: those of the scripts, by the name in their arguments; models always the
/// same. Answers come on a thread of its own, a moment later, some of them twice.
class AnsweringWorld {
 public:
  /// `scripts` by the part before the slash of an effect's name.
  AnsweringWorld(std::map<std::string, Script> scripts, std::shared_ptr<store::Store> store,
                 uint64_t seed);
  ~AnsweringWorld();
  /// One for each process.
  std::shared_ptr<activities::StandIn> door();
  size_t doubled() const { return doubled_; }
  size_t lost() const { return lost_; }

 private:
  class Door;
  struct Answered {
    std::chrono::steady_clock::time_point due;
    std::shared_ptr<Door> door;
    activities::CompletionHandler done;
    activities::Completion completion;
    bool operator<(const Answered& other) const { return due > other.due; }
  };
  std::variant<cel::Value, activities::ActivityError> outcome(
      const activities::Request& request) const;
  size_t failures_recorded(const activities::Request& request) const;
  void put(std::shared_ptr<Door> door, const activities::CompletionHandler& done,
           activities::Completion completion);
  void loop();

  const std::map<std::string, Script> scripts_;
  const std::shared_ptr<store::Store> store_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::priority_queue<Answered> queue_;
  std::mt19937_64 random_;
  bool stopping_ = false;
  std::atomic<size_t> doubled_ = 0;
  std::atomic<size_t> lost_ = 0;
  std::thread thread_;
};

/// Used by one thread, but for what its processes do.
class Processes {
 public:
  Processes(uint64_t seed, std::map<std::string, Script> scripts);
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  /// Through some process that is not stopped; under the same id again it is the same run.
  Result<engine::StartedRun> start(const std::shared_ptr<const ir::Program>& program,
                                   const std::string& id, uint64_t pick,
                                   const cel::Value& input = cel::Value::map({}));
  /// True: it was acknowledged.
  bool signal(const store::RunHeader& run, const std::string& name, const cel::Value& value,
              const std::string& key, uint64_t pick);
  /// Perhaps lets something go wrong.
  void misbehave(std::mt19937_64& random);
  /// Perhaps answers somebody who asks.
  void answer_people(std::mt19937_64& random);

  /// A handle that nothing happens to.
  store::Store& observer() { return *observer_; }
  std::shared_ptr<store::Store> observer_store() { return observer_; }
  std::string troubles() const;
  Faulted faulted() const;

 private:
  struct Process;
  std::unique_ptr<Process> open(uint64_t pick);
  Process& awake(uint64_t pick);
  void die(size_t index, std::mt19937_64& random);
  void stop(size_t index, std::mt19937_64& random);
  void go_on();

  std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  std::shared_ptr<store::Store> observer_;
  std::shared_ptr<FastClock> clock_ = std::make_shared<FastClock>();
  AnsweringWorld world_;
  std::vector<std::unique_ptr<Process>> processes_;
  mutable std::mutex trouble_mutex_;
  std::string troubles_;
  std::shared_ptr<std::atomic<size_t>> full_ = std::make_shared<std::atomic<size_t>>(0);
  std::shared_ptr<std::atomic<size_t>> slow_ = std::make_shared<std::atomic<size_t>>(0);
  Faulted faulted_;
};

}  // namespace kflow::scenario
