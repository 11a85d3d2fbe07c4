// Sockets for tests.
#include "tests/server/client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

namespace kflow::test {
namespace {

constexpr int patience_ms = 60'000;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

Wire::Wire(int port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close();
    return;
  }
  const int one = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

Wire::~Wire() { close(); }

void Wire::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool Wire::send(std::string_view bytes) {
  while (!bytes.empty() && fd_ >= 0) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return fd_ >= 0;
}

bool Wire::fill(int ms) {
  if (fd_ < 0) return false;
  pollfd waiting{fd_, POLLIN, 0};
  if (::poll(&waiting, 1, ms) <= 0) return false;
  char bytes[65536];
  const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

std::optional<std::string> Wire::until(std::string_view end) {
  size_t from = 0;
  for (;;) {
    const size_t at = buffer_.find(end, from);
    if (at != std::string::npos) {
      std::string out = buffer_.substr(0, at + end.size());
      buffer_.erase(0, at + end.size());
      return out;
    }
    from = buffer_.size() < end.size() ? 0 : buffer_.size() - end.size() + 1;
    if (!fill(patience_ms)) return std::nullopt;
  }
}

std::optional<std::string> Wire::exactly(size_t bytes) {
  while (buffer_.size() < bytes) {
    if (!fill(patience_ms)) return std::nullopt;
  }
  std::string out = buffer_.substr(0, bytes);
  buffer_.erase(0, bytes);
  return out;
}

std::string Wire::rest() {
  while (fill(patience_ms)) {
  }
  return std::exchange(buffer_, {});
}

std::string Wire::all_within(int ms) {
  while (fill(ms)) {
  }
  return std::exchange(buffer_, {});
}

bool Wire::closed_within(int ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd waiting{fd_, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) return false;
    char bytes[4096];
    if (::recv(fd_, bytes, sizeof bytes, 0) <= 0) return true;
  }
}

std::string encoded(std::string_view text) {
  static constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto b = static_cast<unsigned char>(c);
    if (std::isalnum(b) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += hex[b >> 4];
      out += hex[b & 15];
    }
  }
  return out;
}

std::string written(const Ask& ask, int port) {
  std::string out = ask.method + " " + ask.target + " HTTP/1.1\r\n";
  bool host = false;
  for (const auto& [name, value] : ask.headers) {
    host = host || lower(name) == "host";
    out += name + ": " + value + "\r\n";
  }
  if (!host) out += "Host: 127.0.0.1:" + std::to_string(port) + "\r\n";
  if (!ask.body.empty() || ask.method == "POST" || ask.method == "PATCH") {
    if (!ask.type.empty()) out += "Content-Type: " + ask.type + "\r\n";
    out += "Content-Length: " + std::to_string(ask.body.size()) + "\r\n";
  }
  return out + "\r\n" + ask.body;
}

Answer read_answer(Wire& wire, bool head_only, std::string_view method) {
  Answer out;
  const auto head = wire.until("\r\n\r\n");
  if (!head || !head->starts_with("HTTP/1.1 ")) return out;
  out.status = std::atoi(head->c_str() + 9);
  size_t at = head->find("\r\n") + 2;
  while (at < head->size() - 2) {
    const size_t end = head->find("\r\n", at);
    const size_t colon = head->find(':', at);
    out.headers[lower(head->substr(at, colon - at))] = head->substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  const auto is = [&](const char* name, const char* value) {
    const auto it = out.headers.find(name);
    return it != out.headers.end() && it->second == value;
  };
  out.closed = is("connection", "close");
  if (out.status == 100) return read_answer(wire, head_only, method);
  if (head_only || out.status == 204 || out.status == 304 || method == "HEAD") return out;
  if (out.headers.contains("content-length")) {
    const auto body =
        wire.exactly(static_cast<size_t>(std::atoll(out.headers["content-length"].c_str())));
    if (!body) {
      out.status = 0;
      return out;
    }
    out.body = *body;
  } else if (is("transfer-encoding", "chunked")) {
    for (;;) {
      const auto line = wire.until("\r\n");
      if (!line) break;
      const auto size = static_cast<size_t>(std::strtoull(line->c_str(), nullptr, 16));
      const auto part = wire.exactly(size + 2);
      if (!part || size == 0) break;
      out.body += part->substr(0, size);
    }
  } else {
    out.body = wire.rest();
  }
  return out;
}

Answer ask(int port, const Ask& request) {
  Wire wire(port);
  Ask closing = request;
  closing.headers.emplace_back("Connection", "close");
  if (!wire.send(written(closing, port))) return {};
  return read_answer(wire, false, request.method);
}

Answer get(int port, const std::string& target) { return ask(port, {.target = target}); }
Answer post(int port, const std::string& target, const std::string& json) {
  return ask(port, {.method = "POST", .target = target, .body = json});
}

Events::Events(int port, const Ask& request) : wire_(port) {
  wire_.send(written(request, port));
  head_ = read_answer(wire_, true);
  if (head_.status == 200 && head_.headers["transfer-encoding"] != "chunked") {
    const auto body =
        wire_.exactly(static_cast<size_t>(std::atoll(head_.headers["content-length"].c_str())));
    if (body) head_.body = *body;
  } else if (head_.status != 200 && head_.status != 0 && head_.headers.contains("content-length")) {
    const auto body =
        wire_.exactly(static_cast<size_t>(std::atoll(head_.headers["content-length"].c_str())));
    if (body) head_.body = *body;
  }
}

bool Events::more() {
  const auto line = wire_.until("\r\n");
  if (!line) return false;
  const auto size = static_cast<size_t>(std::strtoull(line->c_str(), nullptr, 16));
  const auto part = wire_.exactly(size + 2);
  if (!part) return false;
  if (size == 0) {
    ended_well = true;
    return false;
  }
  text_ += part->substr(0, size);
  return true;
}

std::optional<Event> Events::next() {
  if (head_.status != 200 || ended_well) return std::nullopt;
  for (;;) {
    const size_t end = text_.find("\n\n");
    if (end == std::string::npos) {
      if (!more()) return std::nullopt;
      continue;
    }
    Event out;
    out.raw = text_.substr(0, end + 2);
    text_.erase(0, end + 2);
    for (size_t at = 0; at < out.raw.size() - 1;) {
      const size_t stop = out.raw.find('\n', at);
      const std::string line = out.raw.substr(at, stop - at);
      at = stop + 1;
      if (line.starts_with(":")) ++comments;
      if (line.starts_with("id: ")) out.id = line.substr(4);
      if (line.starts_with("event: ")) out.event = line.substr(7);
      if (line.starts_with("data: ")) out.data = line.substr(6);
    }
    if (!out.data.empty()) return out;
  }
}

std::vector<Event> Events::all() {
  std::vector<Event> out;
  while (auto event = next()) out.push_back(std::move(*event));
  return out;
}

}  // namespace kflow::test
