// Waking those who wait for a run's commits.
#include "runtime/engine/waiting.hpp"

#include <algorithm>

namespace kflow::engine {

Waiting::~Waiting() {
  {
    const std::lock_guard guard(news_mutex_);
    stop_ = true;
  }
  news_changed_.notify_all();
  if (herald_.joinable()) herald_.join();
}

Waiting::Wait::Wait(Waiting& waiting, For what, RunKey run)
    : waiting_(waiting),
      waiters_(what == For::events ? waiting.for_events_ : waiting.for_ends_),
      run_(run) {
  const std::lock_guard guard(waiting_.mutex_);
  waiter_ = &waiters_[run];
  ++waiter_->users;
  ++waiting_.users_;
}

Waiting::Wait::~Wait() {
  const std::lock_guard guard(waiting_.mutex_);
  --waiting_.users_;
  if (--waiter_->users == 0) waiters_.erase(run_);
}

uint64_t Waiting::Wait::begin() {
  const std::lock_guard guard(waiting_.mutex_);
  return waiter_->generation;
}

void Waiting::Wait::wait(uint64_t before,
                         std::optional<std::chrono::steady_clock::time_point> until) {
  std::unique_lock lock(waiting_.mutex_);
  // Commits of other processes ring the bell; the limit is only against a lost ring.
  auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  if (until) limit = std::min(limit, *until);
  waiter_->changed.wait_until(lock, limit, [&] { return waiter_->generation != before; });
}

template <typename Runs>
void Waiting::tell(Waiters& waiters, const Runs& runs) {
  if (waiters.empty()) return;
  for (const RunKey run : runs) {
    const auto it = waiters.find(run);
    if (it == waiters.end()) continue;
    ++it->second.generation;
    it->second.changed.notify_all();
  }
}

void Waiting::committed(const std::vector<RunKey>& runs, const std::vector<RunKey>& ended) {
  if (crowded()) {
    return leave([&](News& news) {
      news.runs.insert(runs.begin(), runs.end());
      news.ended.insert(ended.begin(), ended.end());
    });
  }
  const std::lock_guard guard(mutex_);
  tell(for_events_, runs);
  tell(for_ends_, ended);
}

void Waiting::all() {
  if (crowded()) return leave([](News& news) { news.everybody = true; });
  const std::lock_guard guard(mutex_);
  tell({.runs = {}, .ended = {}, .everybody = true});
}

template <typename Add>
void Waiting::leave(Add add) {
  {
    const std::lock_guard guard(news_mutex_);
    add(news_);
    if (!herald_.joinable()) herald_ = std::thread([this] { herald(); });
  }
  news_changed_.notify_one();
}

void Waiting::tell(const News& news) {
  if (!news.everybody) {
    tell(for_events_, news.runs);
    tell(for_ends_, news.ended);
    return;
  }
  for (Waiters* waiters : {&for_events_, &for_ends_}) {
    for (auto& [run, waiter] : *waiters) {
      ++waiter.generation;
      waiter.changed.notify_all();
    }
  }
}

void Waiting::herald() {
  std::unique_lock lock(news_mutex_);
  for (;;) {
    news_changed_.wait(lock, [&] { return stop_ || !news_.empty(); });
    if (stop_) return;
    const News news = std::exchange(news_, {});
    lock.unlock();
    {
      const std::lock_guard guard(mutex_);
      tell(news);
    }
    const auto pace =
        std::min<std::chrono::microseconds>(pace_of_one * users_.load(), longest_pace);
    lock.lock();
    news_changed_.wait_for(lock, pace, [&] { return stop_ || news_.urgent(); });
  }
}

}  // namespace kflow::engine
