// A queue of documents, a thread, and an eventfd.
#include "compiler/lsp/worker.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace kflow::lsp {

Worker::Worker() : ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { work(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    jobs_.clear();
  }
  more_.notify_one();
  thread_.join();
  if (ready_ >= 0) ::close(ready_);
}

void Worker::submit(Job job) {
  {
    const std::lock_guard lock(mutex_);
    const auto same = std::find_if(jobs_.begin(), jobs_.end(),
                                   [&](const Job& other) { return other.uri == job.uri; });
    if (same != jobs_.end()) {
      *same = std::move(job);
    } else {
      jobs_.push_back(std::move(job));
    }
  }
  more_.notify_one();
}

std::vector<Worker::Done> Worker::take() {
  uint64_t count = 0;
  while (ready_ >= 0 && ::read(ready_, &count, sizeof count) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

void Worker::work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
      if (stop_) return;
      job = std::move(jobs_.front());
      jobs_.erase(jobs_.begin());
    }
    Done done{job.uri, job.generation, analyse(job.path, job.text, job.open)};
    {
      const std::lock_guard lock(mutex_);
      done_.push_back(std::move(done));
    }
    const uint64_t one = 1;
    while (ready_ >= 0 && ::write(ready_, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace kflow::lsp
