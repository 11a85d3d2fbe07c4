// curl_multi_socket_action over epoll: https://curl.se/libcurl/c/curl_multi_socket_action.html
#include "runtime/activities/curl_loop.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "compiler/base/check.hpp"

namespace kflow::activities {
namespace {

constexpr size_t events_at_a_time = 256;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

CurlLoop::CurlLoop(long connections)
    : multi_(curl_multi_init()), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  KFLOW_CHECK(multi_ != nullptr && epoll_ >= 0, "the thread of HTTP can wait for its sockets");
  curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS, connections);
  curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  watch(tasks_.fd(), EPOLLIN, false);
}

CurlLoop::~CurlLoop() {
  curl_multi_cleanup(multi_);  // closes connections that were kept, and tells so
  ::close(epoll_);
}

void CurlLoop::add(CURL* easy) { curl_multi_add_handle(multi_, easy); }
void CurlLoop::remove(CURL* easy) { curl_multi_remove_handle(multi_, easy); }

int CurlLoop::on_socket(CURL*, curl_socket_t socket, int what, void* user, void* known) {
  auto& loop = *static_cast<CurlLoop*>(user);
  if (what == CURL_POLL_REMOVE) {
    // A socket that is closed already has left by itself.
    ::epoll_ctl(loop.epoll_, EPOLL_CTL_DEL, socket, nullptr);
    return 0;
  }
  const bool in = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
  const bool out = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
  loop.watch(socket, (in ? EPOLLIN : 0U) | (out ? EPOLLOUT : 0U), known != nullptr);
  curl_multi_assign(loop.multi_, socket, &loop);
  return 0;
}

// Whether the kernel knows a descriptor is not always what curl thinks: one that was closed is
// forgotten, and its number comes back.
void CurlLoop::watch(curl_socket_t socket, uint32_t events, bool known) {
  epoll_event event{.events = events, .data = {.fd = socket}};
  const int first = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (::epoll_ctl(epoll_, first, socket, &event) == 0) return;
  const int second = errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  const bool done = ::epoll_ctl(epoll_, second, socket, &event) == 0;
  KFLOW_CHECK(done || errno != ENOSPC,
              "the system watches all sockets (fs.epoll.max_user_watches)");
}

int CurlLoop::on_timer(CURLM*, long timeout_ms, void* user) {
  static_cast<CurlLoop*>(user)->due_ms_ = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
  return 0;
}

int CurlLoop::wait_ms(int timeout_ms) const {
  if (due_ms_ < 0) return timeout_ms;
  return static_cast<int>(std::clamp<int64_t>(due_ms_ - now_ms(), 0, timeout_ms));
}

void CurlLoop::turn(int timeout_ms, const Ended& ended) {
  std::array<epoll_event, events_at_a_time> events;
  const int n = ::epoll_wait(epoll_, events.data(), events.size(), wait_ms(timeout_ms));
  int running = 0;
  for (int i = 0; i < n; ++i) {
    const epoll_event& e = events[static_cast<size_t>(i)];
    if (e.data.fd == tasks_.fd()) {
      tasks_.run();
      continue;
    }
    int what = ((e.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
               ((e.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0);
    if ((e.events & (EPOLLERR | EPOLLHUP)) != 0) what = 0;  // curl looks for itself what it is
    curl_multi_socket_action(multi_, e.data.fd, what, &running);
  }
  if (due_ms_ >= 0 && due_ms_ <= now_ms()) {
    due_ms_ = -1;  // it is set anew by what follows, if there is more to come
    curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg == CURLMSG_DONE) ended(message->easy_handle, message->data.result);
  }
}

}  // namespace kflow::activities
