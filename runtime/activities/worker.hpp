// The three workers behind Activities; each owns one kind of thread.
#pragma once

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

class Worker {
 public:
  virtual ~Worker() = default;
  virtual void start(Request request) = 0;
  virtual void cancel(uint64_t token) = 0;
};

/// All HTTP on one curl-multi thread.
std::unique_ptr<Worker> make_http_worker(Options options, CompletionHandler done);
/// Programs: spawned, read and reaped on one thread; each in its own process group.
std::unique_ptr<Worker> make_process_worker(Options options, CompletionHandler done);
/// Files, on one thread.
std::unique_ptr<Worker> make_file_worker(Options options, CompletionHandler done);

/// The error of something that was stopped.
inline ActivityError cancelled_error() {
  return {.kind = "cancelled", .code = "cancelled", .message = "the step was stopped"};
}

}  // namespace kflow::activities
