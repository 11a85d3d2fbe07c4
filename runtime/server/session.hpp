// Session: one connection, from its first byte to its end.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/server/http.hpp"
#include "runtime/server/options.hpp"
#include "runtime/server/transport.hpp"

namespace kflow::server {

using SteadyTime = std::chrono::steady_clock::time_point;

/// Something with a connection that the network looks at once a second.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void tick(SteadyTime now) = 0;
  /// The server stops: end what waits, at once or after what is under way.
  virtual void wind_down() = 0;
  virtual void abort() = 0;
  std::list<std::weak_ptr<Connection>>::iterator place;
};

/// What connections share. Used on the network's thread.
struct Hub {
  explicit Hub(Executor e) : executor(e) {}
  Executor executor;
  Limits limits;
  std::shared_ptr<Handler> handler;
  std::list<std::weak_ptr<Connection>> connections;
  uint64_t streams = 0;
  uint64_t requests = 0;
  bool stopping = false;
  void add(const std::shared_ptr<Connection>& connection) {
    connection->place = connections.insert(connections.end(), connection);
  }
  void remove(Connection& connection) { connections.erase(connection.place); }
};

/// A reference for other threads: wherever it is dropped, the connection is let go on the
/// network's thread.
template <typename T>
std::shared_ptr<T> on_network(std::shared_ptr<T> connection, const Hub& hub) {
  T* const raw = connection.get();
  return {raw, [held = std::move(connection), executor = hub.executor](T*) mutable {
            if (executor.running_in_this_thread()) return held.reset();
            asio::post(executor, [last = std::move(held)] {});
          }};
}

/// What is written, for asio's operations to copy: a view.
struct Buffers {
  using value_type = asio::const_buffer;
  using const_iterator = const asio::const_buffer*;
  const_iterator first = nullptr;
  const_iterator last = nullptr;
  const_iterator begin() const { return first; }
  const_iterator end() const { return last; }
};

/// Speaks HTTP/1.1 on a connection: one request at a time, kept alive. Lives as long as something
/// of it is under way.
class Session final : public Connection, public std::enable_shared_from_this<Session> {
 public:
  Session(TcpSocket socket, asio::ssl::context* tls, std::shared_ptr<Hub> hub);
  ~Session() override;
  void start();
  void tick(SteadyTime now) override;
  void wind_down() override;
  void abort() override;

 private:
  enum class State : uint8_t {
    handshake,
    idle,
    head,
    body,
    handling,
    writing,
    streaming,
    lingering
  };
  using Parser = beast::http::request_parser<beast::http::string_body>;

  void enter(State state, int64_t ms);
  void begin_request();
  void read();
  void parse();
  /// False: it was refused, or is no request any more.
  bool head_done();
  std::optional<Problem> framing() const;
  void take_head();
  void request_done();
  std::optional<Response> handshake() const;
  void upgrade();
  void answer(uint64_t number, Response response);
  std::string head_of(const Response& response) const;
  void write_body(bool with_head);
  void answered();
  void linger();
  void pump();
  void write_pieces();
  void end_stream();
  void watch_for_end();
  bool peer_gone();

  std::unique_ptr<Transport> transport_;
  std::shared_ptr<Hub> hub_;
  State state_ = State::idle;
  SteadyTime deadline_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Request request_;
  uint64_t number_ = 0;  // of the request that is handled
  bool close_ = false;   // after the response
  bool continue_sent_ = false;
  bool head_only_ = false;  // HEAD
  bool closed_ = false;
  // What is being written must stay.
  std::string head_;
  std::string body_;
  size_t sent_ = 0;  // of the body
  std::shared_ptr<Stream> stream_;
  std::vector<Piece> pieces_;
  std::vector<asio::const_buffer> buffers_;  // over them
  std::string chunk_;                        // the size before them
  bool chunked_ = false;
  bool writing_ = false;  // of a stream
  bool waiting_ = false;  // for the stream to have something
  bool leaving_ = false;  // the server stops
  bool last_ = false;     // the stream has ended
  bool watching_ = false;
  bool unread_ = false;  // something came while nothing is read
  std::shared_ptr<Caller> caller_;
  size_t drained_ = 0;
};

/// Takes the connection over after a good upgrade request.
void start_socket(std::unique_ptr<Transport> transport, std::shared_ptr<Hub> hub,
                  beast::http::request<beast::http::string_body> request,
                  std::shared_ptr<SocketPeer> peer);

}  // namespace kflow::server
