// Workers: a few threads for what takes longer than the network's thread may wait.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kflow::server {

/// Runs tasks in the order of the calls, several at a time. Thread-safe. `stop` and the destructor
/// wait for the tasks that have begun and drop the others.
class Workers {
 public:
  explicit Workers(size_t threads) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void post(std::function<void()> task) {
    {
      const std::lock_guard guard(mutex_);
      if (stopping_) return;
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }
  void stop() {
    std::deque<std::function<void()>> dropped;
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
      dropped.swap(tasks_);
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  void work() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
        if (stopping_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kflow::server
