// A client for tests: sockets, HTTP/1.1 as it is written, Server-Sent Events. Nothing of the
// server's own code.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kflow::test {

/// A connection to 127.0.0.1. Everything ends after `patience`.
class Wire {
 public:
  explicit Wire(int port);
  ~Wire();
  Wire(Wire&& other) noexcept : fd_(other.fd_), buffer_(std::move(other.buffer_)) {
    other.fd_ = -1;
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes);
  /// Up to and with `end`; none: the connection ended, or nothing came.
  std::optional<std::string> until(std::string_view end);
  std::optional<std::string> exactly(size_t bytes);
  /// What comes until the other side closes.
  std::string rest();
  /// What comes until the other side closes, or nothing comes for `ms`.
  std::string all_within(int ms);
  /// True if the other side has closed within `ms`.
  bool closed_within(int ms);
  void close();
  int fd() const { return fd_; }

 private:
  bool fill(int ms);
  int fd_ = -1;
  std::string buffer_;
};

struct Answer {
  int status = 0;                              ///< 0: there was none
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  bool closed = false;  ///< the server said so
};

struct Ask {
  std::string method = "GET";
  std::string target = "/";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  std::string type = "application/json";
};
std::string written(const Ask& ask, int port);
/// In a path, a query or a form: all but RFC 3986's unreserved characters is percent-encoded.
std::string encoded(std::string_view text);

/// Reads one response; of a stream its head alone (`head_only`).
Answer read_answer(Wire& wire, bool head_only = false, std::string_view method = "GET");
/// One request on a connection of its own.
Answer ask(int port, const Ask& request);
Answer get(int port, const std::string& target);
Answer post(int port, const std::string& target, const std::string& json);

struct Event {
  std::string id;  ///< "": none
  std::string event;
  std::string data;
  std::string raw;  ///< the whole frame
};
/// The frames of a stream.
class Events {
 public:
  /// Sends the request and reads the head.
  Events(int port, const Ask& request);
  const Answer& head() const { return head_; }
  /// The next frame that has data; none: the stream ended. Comments and `retry` are counted.
  std::optional<Event> next();
  std::vector<Event> all();
  size_t comments = 0;
  bool ended_well = false;  ///< with the last chunk
  Wire& wire() { return wire_; }

 private:
  bool more();
  Wire wire_;
  Answer head_;
  std::string text_;
};

}  // namespace kflow::test
