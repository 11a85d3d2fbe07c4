// Transport: messages of JSON-RPC between `Content-Length` headers, over two file descriptors.
#pragma once

#include <optional>
#include <string>

namespace kflow::lsp {

/// Larger messages are skipped.
inline constexpr size_t max_message = 64U << 20;

/// One thread.
class Transport {
 public:
  Transport(int in, int out) : in_(in), out_(out) {}

  /// The next message's content; none at the end of the input. Headers that make no sense are
  /// skipped up to the next that do.
  std::optional<std::string> read();
  /// Whether something more has come already.
  bool has_more() const;
  /// Waits until something comes, `other` can be read, or the time (-1: none) is over.
  void wait(int other, int timeout_ms) const;
  void write(const std::string& content);

 private:
  bool fill();
  int in_;
  int out_;
  bool ended_ = false;  // nothing more comes
  std::string buffer_;
};

}  // namespace kflow::lsp
