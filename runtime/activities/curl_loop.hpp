// curl's transfers on one thread: epoll tells which of them have something to do, so that a
// thousand that are silent cost nothing.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "runtime/activities/task_queue.hpp"

namespace kflow::activities {

/// Everything but `post` on the thread that calls `turn`. Handles that are added are removed before
/// the loop ends.
class CurlLoop {
 public:
  using Ended = std::function<void(CURL*, CURLcode)>;
  /// At most `connections` at a time; more transfers wait for a free one.
  explicit CurlLoop(long connections);
  ~CurlLoop();
  CurlLoop(const CurlLoop&) = delete;
  CurlLoop& operator=(const CurlLoop&) = delete;

  void post(TaskQueue::Task task) { tasks_.post(std::move(task)); }
  void add(CURL* easy);
  void remove(CURL* easy);
  /// Waits until something can be done, for `timeout_ms` at most, and does it: what was posted, and
  /// what the sockets want. `ended` is told of each transfer that is over, and removes it.
  void turn(int timeout_ms, const Ended& ended);

 private:
  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* user, void* known);
  static int on_timer(CURLM* multi, long timeout_ms, void* user);
  void watch(curl_socket_t socket, uint32_t events, bool known);
  int wait_ms(int timeout_ms) const;

  CURLM* multi_ = nullptr;
  int epoll_ = -1;
  int64_t due_ms_ = -1;  // when curl wants to be called though nothing has happened; -1: never
  TaskQueue tasks_;
};

}  // namespace kflow::activities
