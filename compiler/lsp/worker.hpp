// Worker: analyses whole documents on a thread of its own, so that answers need not wait for it.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compiler/lsp/analysis.hpp"

namespace kflow::lsp {

/// Made and used by one thread, which is told through a file descriptor when something is done.
/// What is under way when it is destroyed is finished first.
class Worker {
 public:
  struct Job {
    std::string uri;
    uint64_t generation = 0;  ///< of the text, as the caller counts
    std::string path;
    std::string text;
    std::map<std::string, std::string> open;
  };
  struct Done {
    std::string uri;
    uint64_t generation = 0;
    std::unique_ptr<Analysis> analysis;
  };

  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// In place of a job of the same document that has not begun.
  void submit(Job job);
  std::vector<Done> take();
  /// Readable when there is something to take; -1: the system has no more descriptors, ask `take`.
  int ready() const { return ready_; }

 private:
  void work();

  int ready_ = -1;
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<Job> jobs_;
  std::vector<Done> done_;
  bool stop_ = false;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace kflow::lsp
