// Transport: a TCP connection, in the clear or under TLS, as one type, so that what stands above is
// compiled once.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/role.hpp>
#include <optional>
#include <utility>

namespace kflow::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Executor = asio::io_context::executor_type;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using ErrorOf = boost::system::error_code;

/// An AsyncStream (Networking TS). Used by one thread.
class Transport {
 public:
  using executor_type = Executor;

  Transport(TcpSocket socket, asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(socket_, *tls);
  }
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  executor_type get_executor() { return socket_.get_executor(); }
  TcpSocket& socket() { return socket_; }
  bool is_tls() const { return tls_.has_value(); }

  template <typename Then>
  void async_handshake(Then then) {
    tls_->async_handshake(asio::ssl::stream_base::server, std::move(then));
  }
  template <typename Buffers, typename Then>
  void async_read_some(const Buffers& buffers, Then&& then) {
    if (tls_) {
      tls_->async_read_some(buffers, std::forward<Then>(then));
    } else {
      socket_.async_read_some(buffers, std::forward<Then>(then));
    }
  }
  template <typename Buffers, typename Then>
  void async_write_some(const Buffers& buffers, Then&& then) {
    // The one before it has ended: the client takes something.
    progress_ = true;
    if (tls_) {
      tls_->async_write_some(buffers, std::forward<Then>(then));
    } else {
      socket_.async_write_some(buffers, std::forward<Then>(then));
    }
  }
  /// Of a client that takes nothing: what was not sent is thrown away with the connection, instead
  /// of being kept by the system for minutes.
  void reset() {
    ErrorOf ignored;
    socket_.set_option(TcpSocket::linger(true, 0), ignored);
    socket_.close(ignored);
  }
  /// Whether a part of something was written, or begun, since this was last asked.
  bool progressed() { return std::exchange(progress_, false); }
  void close() {
    ErrorOf ignored;
    socket_.shutdown(TcpSocket::shutdown_both, ignored);
    socket_.close(ignored);
  }

 private:
  TcpSocket socket_;
  std::optional<asio::ssl::stream<TcpSocket&>> tls_;
  bool progress_ = false;
};

inline void beast_close_socket(Transport& transport) { transport.close(); }
/// How Beast ends a WebSocket's connection.
inline void teardown(beast::role_type, Transport& transport, ErrorOf& error) {
  transport.socket().shutdown(TcpSocket::shutdown_both, error);
}
template <typename Then>
void async_teardown(beast::role_type, Transport& transport, Then&& then) {
  ErrorOf error;
  transport.socket().shutdown(TcpSocket::shutdown_send, error);
  asio::post(transport.get_executor(),
             beast::bind_front_handler(std::forward<Then>(then), ErrorOf()));
}

}  // namespace kflow::server
