// The bounded pool: effects that block a thread while they last (databases, mail).
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

class PoolWorker final : public Worker {
 public:
  PoolWorker(StoringJob job, CompletionHandler done, size_t threads)
      : job_(std::move(job)), done_(std::move(done)), most_(threads) {}
  ~PoolWorker() override {
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
      for (Running& r : running_) r.stopped = true;
    }
    changed_.notify_all();
    threads_.clear();  // joins them: each gives its completion, and those of the queue theirs
  }

  void start(Request request) override {
    {
      const std::lock_guard guard(mutex_);
      queue_.push_back(std::move(request));
      if (idle_ < queue_.size() && threads_.size() < most_)
        threads_.emplace_back([this] { loop(); });
    }
    changed_.notify_one();
  }

  void cancel(uint64_t token) override {
    {
      const std::lock_guard guard(mutex_);
      for (Running& r : running_) {
        if (r.token == token) r.stopped = true;
      }
      const auto it = std::find_if(queue_.begin(), queue_.end(),
                                   [&](const Request& r) { return r.token == token; });
      if (it == queue_.end()) return;
      queue_.erase(it);
    }
    done_({token, cancelled_error()});
  }

 private:
  struct Running {
    uint64_t token = 0;
    std::atomic<bool> stopped = false;
  };

  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      --idle_;
      if (queue_.empty()) return;
      Request request = std::move(queue_.front());
      queue_.pop_front();
      Running& mine = running_.emplace_back();
      mine.token = request.token;
      mine.stopped = stopping_;
      lock.unlock();
      std::vector<StageId> stages;
      Outcome outcome =
          mine.stopped ? Outcome(cancelled_error()) : job_(request, mine.stopped, stages);
      // What is done in spite of the request to stop is told as it is.
      done_({request.token, std::move(outcome), std::move(stages)});
      lock.lock();
      running_.remove_if([&](const Running& r) { return &r == &mine; });
    }
  }

  StoringJob job_;
  CompletionHandler done_;
  const size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> queue_;
  std::list<Running> running_;
  size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace

std::unique_ptr<Worker> make_pool_worker(StoringJob job, CompletionHandler done, size_t threads) {
  return std::make_unique<PoolWorker>(std::move(job), std::move(done), threads);
}

std::unique_ptr<Worker> make_pool_worker(Job job, CompletionHandler done, size_t threads) {
  return make_pool_worker(
      StoringJob([job = std::move(job)](const Request& request, const std::atomic<bool>& stopped,
                                        std::vector<StageId>&) { return job(request, stopped); }),
      std::move(done), threads);
}

}  // namespace kflow::activities
