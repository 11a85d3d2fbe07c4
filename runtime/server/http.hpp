// What a request and a response are to everything above the network: no Beast below this line.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kflow::server {

/// Whoever waits for a response. Thread-safe.
class Caller {
 public:
  /// Calls `then` once, as soon as nobody waits any more; at once if that is so already.
  void when_gone(std::function<void()> then);
  /// Nobody waits any more.
  void leave();

 private:
  std::mutex mutex_;
  std::function<void()> then_;
  bool gone_ = false;
};

/// A request whose head has been read, and later its body. Value type.
struct Request {
  std::string method;                                        ///< "GET", as sent
  std::string target;                                        ///< "/runs?limit=2", as sent
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;
  std::string peer;   ///< address of the other end
  std::string local;  ///< address of ours that was connected to, without a port
  bool tls = false;
  bool http10 = false;                  ///< HTTP/1.0: no chunks
  std::shared_ptr<Caller> caller = {};  ///< null: nobody who could go

  /// The only header of that name (lower case); null if there is none or there are several.
  const std::string* header(std::string_view name) const;
  size_t count(std::string_view name) const;
};

/// A part of a text that several connections send.
struct Piece {
  std::shared_ptr<const std::string> owner;
  std::string_view bytes;
};
Piece make_piece(std::string text);

/// A body without an end that is known: events of a run. `pull` and the others are called by one
/// thread, one after another; implementations share what they send.
class Stream {
 public:
  virtual ~Stream() = default;
  struct Pull {
    std::vector<Piece> pieces;
    bool end = false;  ///< nothing follows the pieces
  };
  /// What there is, about `most` bytes at most. If there is nothing, `ready` is called once, from
  /// any thread, when it is worth asking again.
  virtual Pull pull(size_t most, std::function<void()> ready) = 0;
  /// Sent when nothing was for a while; empty: nothing.
  virtual Piece keepalive() = 0;
  /// Sent last when the server stops before the end.
  virtual Piece goodbye() = 0;
};

struct Response {
  int status = 200;
  std::string content_type = {};  ///< "": no body
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  std::shared_ptr<Stream> stream = {};  ///< instead of `body`
};
/// Takes the response to a request: once, from any thread.
using Reply = std::function<void(Response)>;

/// One end of a WebSocket: what is sent is pulled, what comes is pushed. Calls come from one
/// thread, one after another.
class SocketPeer {
 public:
  virtual ~SocketPeer() = default;
  /// False: that is enough for now; `more`, from any thread, when the next one is welcome. Else
  /// `more` is dropped.
  virtual bool received(std::string text, std::function<void()> more) = 0;
  /// Whole messages, a vector of pieces each; as Stream::pull otherwise. `end`: close normally.
  struct Pull {
    std::vector<std::vector<Piece>> messages;
    bool end = false;
  };
  virtual Pull pull(size_t most, std::function<void()> ready) = 0;
  /// Whether it is known who speaks. Until then a connection is not kept for long.
  virtual bool admitted() = 0;
  /// The connection is gone; nothing is called after this.
  virtual void closed() = 0;
};

/// What stands behind the connections. Called on the network's thread; must not block it.
class Handler {
 public:
  virtual ~Handler() = default;
  /// Looks at a head before its body is read: a response refuses it.
  virtual std::optional<Response> admit(const Request& head) = 0;
  virtual void handle(Request request, Reply reply) = 0;
  /// Of a WebSocket upgrade that was admitted: its peer, or why not.
  virtual std::shared_ptr<SocketPeer> upgrade(const Request& head, Response& refusal) = 0;
};

/// Reason phrase ("Not Found").
std::string_view reason_of(int status);

/// An error for people and programs: application/problem+json (RFC 9457), with `detail`.
struct Problem {
  int status = 500;
  std::string detail;
  std::vector<std::pair<std::string, std::string>> errors = {};  ///< path of a field, what is wrong
};
Response to_response(const Problem& problem);
Response json_response(int status, std::string json);

/// Percent-decoding (RFC 3986); none if it is malformed or holds a zero byte. `plus`: as forms
/// have it, `+` is a space.
std::optional<std::string> percent_decode(std::string_view text, bool plus);
/// Names and values of a query or an urlencoded form; none if it is malformed.
std::optional<std::vector<std::pair<std::string, std::string>>> parse_form(std::string_view text);

bool equal_ignoring_case(std::string_view a, std::string_view b);
std::string lower(std::string_view text);

}  // namespace kflow::server
