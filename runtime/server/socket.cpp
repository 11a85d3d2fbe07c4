// WebSocket (RFC 6455) on one connection.
#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>

#include "runtime/server/session.hpp"

namespace kflow::server {
namespace {

namespace websocket = beast::websocket;

constexpr size_t most_message_bytes = 8U << 20;  // from a client
constexpr size_t pull_bytes = 64U << 10;
constexpr int64_t close_ms = 10'000;                  // at most, for a client that is told to go
constexpr auto idle_time = std::chrono::seconds(30);  // then it is pinged, then let go

class Socket final : public Connection, public std::enable_shared_from_this<Socket> {
 public:
  Socket(std::unique_ptr<Transport> transport, std::shared_ptr<Hub> hub,
         std::shared_ptr<SocketPeer> peer)
      : transport_(std::move(transport)),
        socket_(*transport_),
        hub_(std::move(hub)),
        peer_(std::move(peer)) {
    ++hub_->streams;
  }
  ~Socket() override {
    --hub_->streams;
    hub_->remove(*this);
  }

  void start(beast::http::request<beast::http::string_body> request) {
    request_ = std::move(request);
    websocket::stream_base::timeout times{};
    times.handshake_timeout = std::chrono::milliseconds(hub_->limits.header_ms);
    times.idle_timeout = idle_time;
    times.keep_alive_pings = true;
    socket_.set_option(times);
    socket_.read_message_max(most_message_bytes);
    socket_.auto_fragment(false);
    socket_.text(true);
    socket_.async_accept(request_, [self = shared_from_this()](ErrorOf error) {
      self->request_ = {};
      if (error) return self->abort();
      self->open_ = true;
      self->admit_by_ = std::chrono::steady_clock::now() +
                        std::chrono::milliseconds(self->hub_->limits.header_ms);
      self->read();
      self->pump();
    });
  }

  void tick(SteadyTime now) override {
    // A large message may take its time, as long as some of it goes out.
    if (writing_ && transport_->progressed())
      deadline_ = now + std::chrono::milliseconds(hub_->limits.send_ms);
    if (closing_ && now >= deadline_) {
      if (writing_) transport_->reset();
      return abort();
    }
    if (open_ && !admitted_ && peer_) {
      admitted_ = peer_->admitted();
      if (!admitted_ && now >= admit_by_) close(websocket::close_code::policy_error);
    }
    // It reads nothing.
    if (writing_ && now >= deadline_) close(websocket::close_code::try_again_later);
  }
  void wind_down() override { close(websocket::close_code::service_restart); }
  void abort() override {
    if (peer_) {
      peer_->closed();
      peer_ = nullptr;
    }
    open_ = false;
    transport_->close();
  }

 private:
  void read() {
    socket_.async_read(buffer_, [self = shared_from_this()](ErrorOf error, size_t) {
      // One that has spoken against the protocol has been told so by Beast.
      if (error || !self->peer_) return self->abort();
      std::string text(static_cast<const char*>(self->buffer_.data().data()), self->buffer_.size());
      self->buffer_.consume(self->buffer_.size());
      if (text.size() > pull_bytes) self->buffer_.shrink_to_fit();
      // What is not read stays with the client, which is then slowed down.
      const bool go_on =
          self->peer_->received(std::move(text), [again = on_network(self, *self->hub_)] {
            asio::post(again->hub_->executor, [again] {
              if (again->peer_) again->read();
            });
          });
      if (go_on) self->read();
    });
  }

  void pump() {
    if (!open_ || writing_ || waiting_ || closing_ || !peer_) return;
    if (messages_.empty()) {
      waiting_ = true;
      auto pulled = peer_->pull(pull_bytes, [self = on_network(shared_from_this(), *hub_)] {
        asio::dispatch(self->hub_->executor, [self] {
          self->waiting_ = false;
          self->pump();
        });
      });
      if (pulled.messages.empty() && !pulled.end) return;
      waiting_ = false;
      for (auto& message : pulled.messages) messages_.push_back(std::move(message));
      if (messages_.empty()) return close(websocket::close_code::normal);
    }
    write();
  }

  void write() {
    std::vector<asio::const_buffer> buffers;
    for (const Piece& piece : messages_.front())
      buffers.push_back(asio::buffer(piece.bytes.data(), piece.bytes.size()));
    writing_ = true;
    deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(hub_->limits.send_ms);
    socket_.async_write(buffers, [self = shared_from_this()](ErrorOf error, size_t) {
      self->writing_ = false;
      if (error || !self->peer_) return self->abort();
      self->messages_.pop_front();
      self->pump();
    });
  }

  void close(websocket::close_code code) {
    if (closing_) return;
    if (!open_) return abort();
    closing_ = true;
    deadline_ = std::chrono::steady_clock::now() +
                std::chrono::milliseconds(std::min(close_ms, hub_->limits.send_ms));
    socket_.async_close(code, [self = shared_from_this()](ErrorOf) { self->abort(); });
  }

  std::unique_ptr<Transport> transport_;
  websocket::stream<Transport&, false> socket_;
  std::shared_ptr<Hub> hub_;
  std::shared_ptr<SocketPeer> peer_;
  beast::http::request<beast::http::string_body> request_;
  beast::flat_buffer buffer_;
  std::deque<std::vector<Piece>> messages_;
  SteadyTime deadline_;
  SteadyTime admit_by_;
  bool admitted_ = false;
  bool open_ = false;
  bool writing_ = false;
  bool waiting_ = false;
  bool closing_ = false;
};

}  // namespace

void start_socket(std::unique_ptr<Transport> transport, std::shared_ptr<Hub> hub,
                  beast::http::request<beast::http::string_body> request,
                  std::shared_ptr<SocketPeer> peer) {
  auto socket = std::make_shared<Socket>(std::move(transport), hub, std::move(peer));
  hub->add(socket);
  socket->start(std::move(request));
}

}  // namespace kflow::server
