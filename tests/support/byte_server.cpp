// One thread a connection, one request a connection.
#include "tests/support/byte_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace kflow::test {
namespace {

constexpr size_t piece = 64U << 10;

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

ByteServer::ByteServer(std::map<std::string, ByteAnswer> answers) : answers_(std::move(answers)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 64) != 0)
    std::abort();
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard guard(mutex_);
      if (stopping_) {
        ::close(fd);
        return;
      }
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  });
}

ByteServer::~ByteServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard guard(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& t : threads_) t.join();
}

std::vector<ByteRequest> ByteServer::requests() const {
  const std::lock_guard guard(mutex_);
  return requests_;
}

void ByteServer::serve(int fd) {
  std::string in;
  std::string buffer(piece, '\0');
  size_t end = 0;
  while ((end = in.find("\r\n\r\n")) == std::string::npos) {
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    in.append(buffer, 0, static_cast<size_t>(n));
  }
  if (end != std::string::npos) {
    ByteRequest request{.head = in.substr(0, end)};
    std::string rest = in.substr(end + 4);
    std::string lower = request.head;
    std::ranges::transform(lower, lower.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    const size_t at = lower.find("content-length: ");
    const uint64_t length = at == std::string::npos ? 0 : std::stoull(lower.substr(at + 16));
    Sha256Stream sum;
    const auto take = [&](std::string_view bytes) {
      sum.add(bytes);
      request.size += bytes.size();
      request.begin += bytes.substr(0, piece - std::min(piece, request.begin.size()));
    };
    take(rest);
    while (request.size < length) {
      const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) break;
      take({buffer.data(), static_cast<size_t>(n)});
    }
    request.hash = sum.finish();
    const size_t space = request.head.find(' ');
    const std::string path =
        request.head.substr(space + 1, request.head.find(' ', space + 1) - space - 1);
    {
      const std::lock_guard guard(mutex_);
      requests_.push_back(std::move(request));
    }
    const auto found = answers_.find(path);
    const ByteAnswer answer =
        found != answers_.end() ? found->second : ByteAnswer{.status = "404 Not Found"};
    const uint64_t size = answer.body.empty() ? answer.length : answer.body.size();
    std::string head = "HTTP/1.1 " + answer.status + "\r\nConnection: close\r\n" + answer.headers;
    if (answer.say_length) head += "Content-Length: " + std::to_string(size) + "\r\n";
    bool fine = send_all(fd, head + "\r\n");
    for (uint64_t sent = 0; fine && sent < std::min(size, answer.break_after) && !stopping_;) {
      const size_t n =
          static_cast<size_t>(std::min<uint64_t>(piece, std::min(size, answer.break_after) - sent));
      if (answer.body.empty()) {
        for (size_t i = 0; i < n; ++i) buffer[i] = generated_byte(sent + i);
        fine = send_all(fd, {buffer.data(), n});
      } else {
        fine = send_all(fd, std::string_view(answer.body).substr(sent, n));
      }
      sent += n;
    }
  }
  ::shutdown(fd, SHUT_RDWR);
  const std::lock_guard guard(mutex_);
  std::erase(open_, fd);
  ::close(fd);
}

}  // namespace kflow::test
