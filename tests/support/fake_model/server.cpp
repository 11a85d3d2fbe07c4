// The stand-in's server: one thread, epoll, answers sent piece by piece when their time has come.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <queue>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/fake_model/fake_model.hpp"
#include "tests/support/fake_model/wire.hpp"

namespace kflow::test {

using cel::Value;

namespace {

using Clock = std::chrono::steady_clock;

struct Request {
  std::string path, body;
};

// Takes the first request off `data` if it is whole.
std::optional<Request> take_request(std::string& data) {
  const size_t head = data.find("\r\n\r\n");
  if (head == std::string::npos) return std::nullopt;
  std::string lower = data.substr(0, head);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  size_t length = 0;
  if (const size_t at = lower.find("content-length:"); at != std::string::npos)
    length = std::strtoul(lower.c_str() + at + 15, nullptr, 10);
  if (data.size() < head + 4 + length) return std::nullopt;
  const size_t path = data.find(' ') + 1;
  Request out{data.substr(path, data.find(' ', path) - path), data.substr(head + 4, length)};
  data.erase(0, head + 4 + length);
  return out;
}

std::string head(int status, const std::string& type, const std::string& more, size_t length) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: " + type +
         "\r\nConnection: keep-alive\r\n" + more +
         (length == SIZE_MAX ? "Transfer-Encoding: chunked"
                             : "Content-Length: " + std::to_string(length)) +
         "\r\n\r\n";
}

std::string chunk_of(std::string_view data) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  return size + std::string(data) + "\r\n";
}

// Fills in the stamp of an event, if it has one.
void stamp(std::string& data) {
  const std::string none = "@" + std::string(stamp_clock_digits, '0') + ";";
  const size_t at = data.find(none);
  if (at == std::string::npos) return;
  std::string now = std::to_string(Clock::now().time_since_epoch().count());
  now.insert(0, stamp_clock_digits - now.size(), '0');
  data.replace(at + 1, stamp_clock_digits, now);
}

// How a body is cut into writes.
std::vector<std::string> cut(const std::string& body, size_t size, bool by_event) {
  std::vector<std::string> out;
  for (size_t at = 0; at < body.size();) {
    size_t end = at + size;
    if (by_event) {
      end = body.find("\n\n", at);
      end = end == std::string::npos ? body.size() : end + 2;
    }
    out.push_back(body.substr(at, end - at));
    at = std::min(end, body.size());
  }
  return out;
}

}  // namespace

class FakeModel::Server {
 public:
  Server(FakeModel& owner, int port) : owner_(owner) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, 4096) != 0) {
      ::close(listener_);
      throw std::runtime_error("the stand-in cannot listen");
    }
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    owner_.port_ = ntohs(address.sin_port);
    poll_ = ::epoll_create1(EPOLL_CLOEXEC);
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
    watch(stop_, EPOLLIN, EPOLL_CTL_ADD);
    thread_ = std::thread([this] { run(); });
  }
  ~Server() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(stop_, &one, sizeof one);
    thread_.join();
    for (const auto& [fd, connection] : connections_) ::close(fd);
    for (const int fd : {listener_, poll_, stop_}) ::close(fd);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  struct Connection {
    uint64_t number = 0;  // file descriptors come again
    std::string in;
    std::string out;                  // to be sent now
    std::vector<std::string> pieces;  // to be sent after it, one by one
    size_t next = 0;
    bool answering = false;
    bool stamped = false;
    bool hangs = false;    // says nothing more until the other side goes
    bool ends = false;     // goes after the last piece
    bool blocked = false;  // the other side does not take more at present
    std::chrono::milliseconds delay{0};
  };
  struct Timer {
    Clock::time_point at;
    int fd = -1;
    uint64_t number = 0;
    bool operator>(const Timer& other) const { return at > other.at; }
  };

  void watch(int fd, uint32_t events, int operation) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    ::epoll_ctl(poll_, operation, fd, &event);
  }

  void run() {
    std::vector<epoll_event> events(256);
    for (;;) {
      int timeout = -1;
      if (!timers_.empty()) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(timers_.top().at - Clock::now());
        timeout = static_cast<int>(std::max<int64_t>(0, left.count()));
      }
      const int n = ::epoll_wait(poll_, events.data(), static_cast<int>(events.size()), timeout);
      for (int i = 0; i < n; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd == stop_) return;
        if (fd == listener_) {
          accept_all();
          continue;
        }
        if (!serve(fd, events[static_cast<size_t>(i)].events)) close(fd);
      }
      const auto now = Clock::now();
      while (!timers_.empty() && timers_.top().at <= now) {
        const Timer timer = timers_.top();
        timers_.pop();
        const auto it = connections_.find(timer.fd);
        if (it == connections_.end() || it->second.number != timer.number) continue;
        if (!go_on(timer.fd, it->second)) close(timer.fd);
      }
    }
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (fd < 0) return;
      const int one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      connections_[fd].number = ++last_number_;
      watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  void close(int fd) {
    if (connections_[fd].answering) --at_once_;
    connections_.erase(fd);
    ::close(fd);
  }

  // False: the connection has ended.
  bool serve(int fd, uint32_t events) {
    Connection& c = connections_[fd];
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
      char buffer[16384];
      for (;;) {
        const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) return false;
        c.in.append(buffer, static_cast<size_t>(n));
      }
    }
    if ((events & EPOLLOUT) != 0 && !send_out(fd, c)) return false;
    return next_request(fd, c);
  }

  bool next_request(int fd, Connection& c) {
    while (!c.answering) {
      const auto request = take_request(c.in);
      if (!request) return true;
      const int now = ++at_once_;
      owner_.most_at_once_ = std::max(owner_.most_at_once_.load(), now);
      c.answering = true;
      begin(c, *request);
      if (!send_out(fd, c)) return false;
    }
    return true;
  }

  void begin(Connection& c, const Request& request) {
    c.pieces.clear();
    c.next = 0;
    c.stamped = c.hangs = c.ends = false;
    const Value answer = owner_.answer_to(request.body);
    if (const Value* error = at(&answer, "error")) {
      const std::string body = error_body(*error);
      const int64_t after = int_at(error, "retry_after", -1);
      const std::string more = after < 0 ? "" : "Retry-After: " + std::to_string(after) + "\r\n";
      c.out = head(static_cast<int>(int_at(error, "status", 500)), "application/json", more,
                   body.size()) +
              body;
      return;
    }
    if (const Value* raw = at(&answer, "raw"); raw != nullptr && raw->kind() == cel::Kind::string) {
      const std::string type = text_at(&answer, "content_type");
      const std::string body(raw->as_string());
      c.out = head(static_cast<int>(int_at(&answer, "status", 200)),
                   type.empty() ? "text/event-stream" : type, "", body.size()) +
              body;
      return;
    }
    bool stream = false;
    auto body = wire_answer(request.path, request.body, answer, stream);
    if (!body) {
      c.out = head(404, "text/plain", "", 9) + "not found";
      return;
    }
    c.hangs = at(&answer, "hang") != nullptr;
    if (stream) c.out = head(200, "text/event-stream", "", SIZE_MAX);
    if (c.hangs) return;
    if (!stream) {
      c.out = head(200, "application/json", "", body->size()) + *body;
      return;
    }
    c.ends = text_at(&answer, "break") == "middle";
    if (c.ends) body->resize(body->size() / 2);
    c.stamped = int_at(&answer, "stamps", 0) > 0;
    c.delay = std::chrono::milliseconds(int_at(&answer, "delay_ms", 0));
    c.pieces = cut(*body, static_cast<size_t>(int_at(&answer, "chunk", 4096)), c.stamped);
  }

  // Sends what is due, as far as the other side takes it.
  bool send_out(int fd, Connection& c) {
    for (;;) {
      while (!c.out.empty()) {
        const ssize_t n = ::send(fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
          watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
          c.blocked = true;
          return true;
        }
        if (n <= 0) return false;
        c.out.erase(0, static_cast<size_t>(n));
        if (c.out.empty() && std::exchange(c.blocked, false)) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
      }
      if (!c.answering || c.hangs) return true;
      const bool began = c.next > 0;
      if (began && c.delay.count() > 0) {
        timers_.push({Clock::now() + c.delay, fd, c.number});
        return true;
      }
      if (!take_piece(c)) return false;
      if (!c.answering && c.out.empty()) return true;
    }
  }

  // The time of the next piece has come.
  bool go_on(int fd, Connection& c) {
    return take_piece(c) && send_out(fd, c) && next_request(fd, c);
  }

  bool take_piece(Connection& c) {
    if (c.next < c.pieces.size()) {
      std::string& piece = c.pieces[c.next++];
      if (c.stamped) stamp(piece);
      c.out = chunk_of(piece);
      return true;
    }
    if (c.ends) return false;
    if (!c.pieces.empty()) c.out = "0\r\n\r\n";
    c.answering = false;
    --at_once_;
    return true;
  }

  FakeModel& owner_;
  int listener_ = -1;
  int poll_ = -1;
  int stop_ = -1;
  int at_once_ = 0;
  uint64_t last_number_ = 0;
  std::unordered_map<int, Connection> connections_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  std::thread thread_;
};

FakeModel::FakeModel(const std::string& script, int port) {
  if (!script.empty()) {
    auto rules = cel::from_json(script);
    if (!rules || rules->kind() != cel::Kind::list)
      throw std::runtime_error("the script of the stand-in is a list of rules");
    for (const Value& r : rules->as_list()) {
      Rule rule{.contains = text_at(&r, "contains"), .answers = {}};
      if (const Value* answers = at(&r, "answers")) {
        for (const Value& a : answers->as_list()) rule.answers.push_back(a);
      }
      if (rule.answers.empty()) throw std::runtime_error("a rule without answers");
      rules_.push_back(std::move(rule));
    }
  }
  server_ = std::make_unique<Server>(*this, port);
}

FakeModel::~FakeModel() = default;

std::vector<std::string> FakeModel::requests() const {
  const std::lock_guard guard(mutex_);
  return requests_;
}

Value FakeModel::answer_to(const std::string& body) {
  const std::lock_guard guard(mutex_);
  requests_.push_back(body);
  for (Rule& rule : rules_) {
    if (!rule.contains.empty() && body.find(rule.contains) == std::string::npos) continue;
    const Value& answer = rule.answers[std::min(rule.next, rule.answers.size() - 1)];
    ++rule.next;
    return answer;
  }
  auto request = cel::from_json(body);
  return cel::make_record({{"text", Value::string(request ? last_text(*request) : "")}});
}

}  // namespace kflow::test
