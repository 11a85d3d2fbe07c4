// Work that is handed to a thread: one that waits for descriptors too, or one of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kflow::activities {

/// The tasks of a thread that waits in poll or epoll. `post` from any thread; all else on that one.
/// What was posted before the queue ends and was not run is dropped.
class TaskQueue {
 public:
  using Task = std::move_only_function<void()>;
  TaskQueue();
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  void post(Task task);
  /// Readable while there is something to run.
  int fd() const { return wake_; }
  /// Runs what has been posted until now, in order.
  void run();

 private:
  int wake_ = -1;
  std::mutex mutex_;
  std::vector<Task> tasks_;
};

/// A thread that does one thing after another, for what may wait for a disk. It starts with the
/// first task; the destructor waits until all are done.
class TaskThread {
 public:
  using Task = TaskQueue::Task;
  TaskThread() = default;
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  void post(Task task);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace kflow::activities
