// Reading and writing frames.
#include "compiler/lsp/transport.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace kflow::lsp {
namespace {

constexpr size_t max_header = 8192;

// The length that a block of header lines gives, if it gives one.
std::optional<size_t> content_length(std::string_view headers) {
  constexpr std::string_view name = "content-length:";
  for (size_t at = 0; at < headers.size();) {
    const size_t end = std::min(headers.find("\n", at), headers.size());
    std::string_view line = headers.substr(at, end - at);
    at = end + 1;
    std::string lower(line.substr(0, std::min(line.size(), name.size())));
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (lower != name) continue;
    line.remove_prefix(name.size());
    while (line.starts_with(' ')) line.remove_prefix(1);
    size_t value = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error == std::errc() && rest != line.data()) return value;
  }
  return std::nullopt;
}

}  // namespace

bool Transport::fill() {
  char bytes[1U << 16];
  for (;;) {
    const ssize_t n = ::read(in_, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }
}

bool Transport::has_more() const {
  if (ended_) return false;
  if (buffer_.find("\r\n\r\n") != std::string::npos) return true;
  pollfd waiting{in_, POLLIN, 0};
  // At the end of a pipe there is only the hanging up.
  return ::poll(&waiting, 1, 0) > 0 && waiting.revents != 0;
}

void Transport::wait(int other, int timeout_ms) const {
  if (buffer_.find("\r\n\r\n") != std::string::npos) return;
  // Of what is negative `poll` takes no notice.
  pollfd waiting[2] = {{ended_ ? -1 : in_, POLLIN, 0}, {other, POLLIN, 0}};
  (void)::poll(waiting, 2, timeout_ms);  // interrupted: the caller looks again
}

std::optional<std::string> Transport::read() {
  for (;;) {
    size_t end = buffer_.find("\r\n\r\n");
    size_t gap = 4;
    if (const size_t bare = buffer_.find("\n\n"); bare < end) end = bare, gap = 2;
    if (end == std::string::npos) {
      // What goes on for so long without an empty line is no header.
      if (buffer_.size() > max_header) buffer_.erase(0, buffer_.size() - max_header / 2);
      if (!fill()) return std::nullopt;
      continue;
    }
    const auto length = content_length(std::string_view(buffer_).substr(0, end));
    buffer_.erase(0, end + gap);
    if (!length) continue;
    if (*length > max_message) {
      for (size_t left = *length; left > 0;) {
        if (buffer_.empty() && !fill()) return std::nullopt;
        const size_t n = std::min(left, buffer_.size());
        buffer_.erase(0, n);
        left -= n;
      }
      continue;
    }
    while (buffer_.size() < *length) {
      if (!fill()) return std::nullopt;
    }
    std::string out = buffer_.substr(0, *length);
    buffer_.erase(0, *length);
    return out;
  }
}

void Transport::write(const std::string& content) {
  const std::string frame =
      "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
  for (size_t done = 0; done < frame.size();) {
    const ssize_t n = ::write(out_, frame.data() + done, frame.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nobody reads any more; the end of the input follows
    done += static_cast<size_t>(n);
  }
}

}  // namespace kflow::lsp
