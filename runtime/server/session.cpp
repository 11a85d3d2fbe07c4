// HTTP/1.1 on one connection.
#include "runtime/server/session.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/write.hpp>
#include <ctime>

namespace kflow::server {
namespace {

namespace http = beast::http;

constexpr size_t read_idle_bytes = 1024;
constexpr size_t read_body_bytes = 64U << 10;
constexpr size_t stream_bytes = 64U << 10;       // pulled at a time
constexpr size_t body_slice_bytes = 256U << 10;  // written at a time
constexpr size_t most_pieces = 64;
constexpr int64_t linger_ms = 2'000;  // for a client to read why it was refused
constexpr size_t linger_bytes = 4U << 20;
constexpr size_t websocket_key_bytes = 24;
constexpr int64_t for_ever_ms = 1'000'000'000'000;

// IMF-fixdate (RFC 9110 §5.6.7), made anew once a second.
const std::string& date_now() {
  static thread_local std::time_t last = 0;
  static thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now == last) return text;
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char buffer[40];
  const size_t n = std::strftime(buffer, sizeof buffer, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  text.assign(buffer, n);
  last = now;
  return text;
}

Problem problem_of(const ErrorOf& error) {
  if (error == http::error::header_limit)
    return {431, "the request's line and headers are longer than this server reads"};
  if (error == http::error::body_limit) return {413, "the body is larger than this server takes"};
  if (error == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken"};
  if (error == http::error::bad_transfer_encoding || error == http::error::bad_content_length)
    return {400, "the length of the body is said in ways that contradict each other"};
  return {400, "this is no HTTP request: " + error.message()};
}

}  // namespace

Session::Session(TcpSocket socket, asio::ssl::context* tls, std::shared_ptr<Hub> hub)
    : transport_(std::make_unique<Transport>(std::move(socket), tls)), hub_(std::move(hub)) {}

Session::~Session() { hub_->remove(*this); }

void Session::start() {
  if (!transport_->is_tls()) return begin_request();
  enter(State::handshake, hub_->limits.header_ms);
  transport_->async_handshake([self = shared_from_this()](ErrorOf error) {
    if (error) return self->abort();
    if (!self->closed_) self->begin_request();
  });
}

void Session::enter(State state, int64_t ms) {
  state_ = state;
  deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}

void Session::tick(SteadyTime now) {
  if (state_ == State::handling && !watching_) watch_for_end();
  if (unread_ && (state_ == State::handling || state_ == State::streaming) && peer_gone())
    return abort();
  if (closed_) return;
  // A large frame may take its time, as long as some of it goes out.
  const bool sends = state_ == State::writing || (state_ == State::streaming && writing_);
  if (sends && transport_->progressed())
    deadline_ = now + std::chrono::milliseconds(hub_->limits.send_ms);
  if (now < deadline_) return;
  if (state_ == State::streaming && !writing_ && stream_) {
    const Piece piece = stream_->keepalive();
    enter(State::streaming, hub_->limits.keepalive_ms);
    if (piece.bytes.empty()) return;
    pieces_.push_back(piece);
    return write_pieces();
  }
  if (state_ == State::head || state_ == State::body) {
    close_ = true;
    return answer(number_, to_response({408, "the request did not come in time"}));
  }
  const bool deaf = state_ == State::writing || state_ == State::streaming;
  if (deaf) transport_->reset();
  abort();
}

void Session::abort() {
  if (closed_) return;
  closed_ = true;
  if (stream_) --hub_->streams;
  stream_.reset();
  if (transport_) transport_->close();
  if (const auto caller = std::exchange(caller_, nullptr)) caller->leave();
}

void Session::wind_down() {
  close_ = true;
  if (state_ == State::idle || state_ == State::handshake) return abort();
  if (state_ != State::streaming || last_) return;
  leaving_ = true;
  waiting_ = false;
  pump();
}

// ---- reading

void Session::begin_request() {
  if (hub_->stopping) return abort();
  enter(State::idle, hub_->limits.idle_ms);
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(hub_->limits.header_bytes));
  parser_->body_limit(hub_->limits.body_bytes);
  parser_->eager(false);
  request_ = {};
  body_ = {};
  head_only_ = false;
  if (unread_) watching_ = unread_ = false;
  if (buffer_.size() > 0) {
    enter(State::head, hub_->limits.header_ms);
    return parse();
  }
  buffer_.shrink_to_fit();
  read();
}

void Session::read() {
  const size_t size = state_ == State::body ? read_body_bytes : read_idle_bytes;
  transport_->async_read_some(buffer_.prepare(size),
                              [self = shared_from_this()](ErrorOf error, size_t bytes) {
                                if (error || self->closed_) return self->abort();
                                self->buffer_.commit(bytes);
                                if (self->state_ == State::idle)
                                  self->enter(State::head, self->hub_->limits.header_ms);
                                // Else it came after the time was over.
                                if (self->state_ == State::head || self->state_ == State::body)
                                  self->parse();
                              });
}

void Session::parse() {
  for (;;) {
    ErrorOf error;
    const size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    const bool more = error == http::error::need_more;
    if (error && !more) {
      close_ = true;
      return answer(number_, to_response(problem_of(error)));
    }
    if (state_ == State::head && parser_->is_header_done()) {
      if (!head_done()) return;
      if (!parser_->is_done()) {
        parser_->eager(true);
        enter(State::body, hub_->limits.body_ms);
      }
    }
    if (parser_->is_done()) return request_done();
    // A line (of a chunk, too) that does not end.
    if (more && used == 0 && buffer_.size() >= hub_->limits.header_bytes) {
      close_ = true;
      return answer(number_,
                    to_response({state_ == State::head ? 431 : 400, "a line is too long"}));
    }
    if (more || buffer_.size() == 0) return read();
  }
}

bool Session::head_done() {
  take_head();
  ++number_;
  ++hub_->requests;
  const auto& message = parser_->get();
  close_ = !message.keep_alive() || hub_->stopping;
  const auto refused = [&](Response response) {
    // What follows may be its body: nobody reads that as a request.
    close_ = close_ || !parser_->is_done();
    answer(number_, std::move(response));
    return false;
  };
  if (auto problem = framing()) {
    close_ = true;
    return refused(to_response(*problem));
  }
  if (auto response = hub_->handler->admit(request_)) return refused(std::move(*response));
  const std::string* wanted = request_.header("upgrade");
  if (wanted != nullptr && equal_ignoring_case(*wanted, "websocket")) {
    upgrade();
    return false;
  }
  if (request_.header("expect") != nullptr && !parser_->is_done() && buffer_.size() == 0) {
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(*transport_, asio::buffer(go_on),
                      [self = shared_from_this()](ErrorOf error, size_t) {
                        if (error) self->abort();
                      });
  }
  return true;
}

// What proxies and servers are known to read in different ways is refused (RFC 9112 §6, §11.2).
std::optional<Problem> Session::framing() const {
  const std::string* coding = request_.header("transfer-encoding");
  const size_t codings = request_.count("transfer-encoding");
  const size_t lengths = request_.count("content-length");
  if (request_.headers.size() > max_headers)
    return Problem{431, fmt::format("a request has at most {} headers", max_headers)};
  if (codings + lengths > 1) return Problem{400, "the length of the body is said more than once"};
  if (codings == 1 && (coding == nullptr || lower(*coding) != "chunked"))
    return Problem{501, "of transfer codings only `chunked` is understood"};
  const std::string* length = request_.header("content-length");
  if (length != nullptr && (length->empty() || length->size() > 18 ||
                            length->find_first_not_of("0123456789") != std::string::npos))
    return Problem{400, "the length of the body is no number"};
  if (codings == 1 && request_.http10) return Problem{400, "HTTP/1.0 has no transfer codings"};
  if (request_.count("host") != 1) return Problem{400, "a request has one Host header"};
  if (request_.target.size() > max_target_bytes)
    return Problem{414, fmt::format("a target has at most {} bytes", max_target_bytes)};
  if (request_.target.empty() || request_.target.front() != '/')
    return Problem{400, "the target of a request begins with a slash"};
  for (const char c : request_.target) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) == 0x7f)
      return Problem{400, "the target holds a control character"};
  }
  const std::string* expect = request_.header("expect");
  if (request_.count("expect") > 0 && (expect == nullptr || lower(*expect) != "100-continue"))
    return Problem{417, "of expectations only `100-continue` is understood"};
  return std::nullopt;
}

void Session::take_head() {
  const auto& message = parser_->get();
  request_.method = std::string(message.method_string());
  request_.target = std::string(message.target());
  request_.http10 = message.version() < 11;
  request_.tls = transport_->is_tls();
  request_.headers.reserve(8);
  for (const auto& field : message) {
    const auto name = field.name_string();
    const auto value = field.value();
    request_.headers.emplace_back(lower({name.data(), name.size()}),
                                  std::string(value.data(), value.size()));
  }
  head_only_ = request_.method == "HEAD";
  ErrorOf ignored;
  request_.peer = transport_->socket().remote_endpoint(ignored).address().to_string(ignored);
  request_.local = transport_->socket().local_endpoint(ignored).address().to_string(ignored);
}

void Session::request_done() {
  enter(State::handling, for_ever_ms);
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  Request request = std::move(request_);
  request_ = {};
  request_.http10 = request.http10;
  caller_ = std::make_shared<Caller>();
  request.caller = caller_;
  hub_->handler->handle(std::move(request), [self = on_network(shared_from_this(), *hub_),
                                             number = number_](Response response) {
    asio::post(self->hub_->executor, [self, number, response = std::move(response)]() mutable {
      self->answer(number, std::move(response));
    });
  });
}

// What Beast would refuse in its own words, and what would be lost between the two.
std::optional<Response> Session::handshake() const {
  const auto refused = [](int status, std::string detail) {
    return to_response(Problem{status, std::move(detail)});
  };
  if (request_.http10) return refused(400, "a WebSocket is opened with HTTP/1.1");
  const std::string* version = request_.header("sec-websocket-version");
  if (version == nullptr || *version != "13") {
    Response out = refused(426, "of WebSocket, version 13 is spoken");
    out.headers.emplace_back("Sec-WebSocket-Version", "13");
    return out;
  }
  const std::string* key = request_.header("sec-websocket-key");
  if (key == nullptr || key->size() != websocket_key_bytes || !key->ends_with("=="))
    return refused(400, "Sec-WebSocket-Key is 16 bytes in base64");
  if (!beast::http::token_list(parser_->get()[http::field::connection]).exists("upgrade"))
    return refused(400, "a WebSocket is opened with `Connection: Upgrade`");
  if (!parser_->is_done() || request_.count("content-length") > 0)
    return refused(400, "a request to open a WebSocket has no body");
  if (buffer_.size() > 0) return refused(400, "frames may follow when the WebSocket is open");
  return std::nullopt;
}

void Session::upgrade() {
  if (auto refused = handshake()) {
    close_ = true;
    return answer(number_, std::move(*refused));
  }
  Response refusal;
  auto peer = hub_->handler->upgrade(request_, refusal);
  if (peer == nullptr) {
    close_ = true;
    return answer(number_, std::move(refusal));
  }
  closed_ = true;  // it is a session no more
  start_socket(std::move(transport_), hub_, parser_->release(), std::move(peer));
}

// ---- answering

std::string Session::head_of(const Response& r) const {
  std::string out =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", r.status, reason_of(r.status), date_now());
  if (!r.content_type.empty()) out += fmt::format("Content-Type: {}\r\n", r.content_type);
  for (const auto& [name, value] : r.headers) out += fmt::format("{}: {}\r\n", name, value);
  out += "X-Content-Type-Options: nosniff\r\n";
  if (r.stream != nullptr) {
    out += chunked_ ? "Transfer-Encoding: chunked\r\n" : "";
  } else if (r.status != 204 && r.status != 304) {
    out += fmt::format("Content-Length: {}\r\n", r.body.size());
  }
  out += close_ ? "Connection: close\r\n\r\n" : "\r\n";
  if (!close_ && request_.http10) out.insert(out.size() - 2, "Connection: keep-alive\r\n");
  return out;
}

void Session::answer(uint64_t number, Response response) {
  if (closed_ || number != number_ || state_ == State::writing || state_ == State::streaming)
    return;
  close_ = close_ || hub_->stopping;
  caller_ = nullptr;
  stream_ = head_only_ ? nullptr : response.stream;
  if (stream_) {
    chunked_ = !request_.http10;
    close_ = close_ || !chunked_;
    ++hub_->streams;
  }
  head_ = head_of(response);
  body_ = head_only_ ? "" : std::move(response.body);
  sent_ = 0;
  enter(State::writing, hub_->limits.send_ms);
  write_body(true);
}

// A slice at a time, so that a slow client that takes something is not given up.
void Session::write_body(bool with_head) {
  const size_t size = std::min(body_.size() - sent_, body_slice_bytes);
  const std::array<asio::const_buffer, 2> buffers{
      asio::buffer(head_.data(), with_head ? head_.size() : 0), asio::buffer(&body_[sent_], size)};
  sent_ += size;
  asio::async_write(*transport_, buffers, [self = shared_from_this()](ErrorOf error, size_t) {
    if (error || self->closed_) return self->abort();
    if (self->sent_ == self->body_.size()) return self->answered();
    self->enter(State::writing, self->hub_->limits.send_ms);
    self->write_body(false);
  });
}

void Session::answered() {
  if (stream_) {
    enter(State::streaming, hub_->limits.keepalive_ms);
    buffer_.shrink_to_fit();
    parser_.reset();
    head_ = {};
    watch_for_end();
    return pump();
  }
  if (close_) return linger();
  begin_request();
}

// Closing while something of the client's has not been read would make the system throw away what
// the client has not read yet.
void Session::linger() {
  if (state_ != State::lingering) {
    enter(State::lingering, linger_ms);
    ErrorOf ignored;
    transport_->socket().shutdown(TcpSocket::shutdown_send, ignored);
    buffer_.clear();
  }
  transport_->socket().async_read_some(
      buffer_.prepare(read_idle_bytes), [self = shared_from_this()](ErrorOf error, size_t bytes) {
        self->drained_ += bytes;
        if (error || self->closed_ || self->drained_ > linger_bytes) return self->abort();
        self->linger();
      });
}

// ---- streams

void Session::pump() {
  if (closed_ || writing_ || waiting_ || !stream_) return;
  if (leaving_) {
    last_ = true;
    pieces_.push_back(stream_->goodbye());
    return write_pieces();
  }
  waiting_ = true;
  auto pulled = stream_->pull(stream_bytes, [self = on_network(shared_from_this(), *hub_)] {
    asio::dispatch(self->hub_->executor, [self] {
      self->waiting_ = false;
      self->pump();
    });
  });
  if (pulled.pieces.empty() && !pulled.end) return;
  waiting_ = false;
  last_ = pulled.end;
  pieces_ = std::move(pulled.pieces);
  if (pieces_.empty()) return end_stream();
  write_pieces();
}

void Session::write_pieces() {
  buffers_.clear();
  size_t size = 0;
  for (const Piece& piece : pieces_) size += piece.bytes.size();
  chunk_ = fmt::format("{:x}\r\n", size);
  static constexpr std::string_view chunk_end = "\r\n";
  if (size == 0) return end_stream();
  if (chunked_) buffers_.push_back(asio::buffer(chunk_));
  for (const Piece& piece : pieces_)
    buffers_.push_back(asio::buffer(piece.bytes.data(), piece.bytes.size()));
  if (chunked_) buffers_.push_back(asio::buffer(chunk_end));
  writing_ = true;
  enter(State::streaming, hub_->limits.send_ms);
  const Buffers view{buffers_.data(), buffers_.data() + buffers_.size()};
  asio::async_write(*transport_, view, [self = shared_from_this()](ErrorOf error, size_t) {
    self->writing_ = false;
    if (error || self->closed_) return self->abort();
    self->pieces_.clear();
    self->enter(State::streaming, self->hub_->limits.keepalive_ms);
    if (self->last_) return self->end_stream();
    self->pump();
  });
}

void Session::end_stream() {
  pieces_.clear();
  stream_.reset();
  --hub_->streams;
  last_ = waiting_ = false;
  if (!chunked_) return linger();
  static constexpr std::string_view end = "0\r\n\r\n";
  enter(State::writing, hub_->limits.send_ms);
  asio::async_write(*transport_, asio::buffer(end),
                    [self = shared_from_this()](ErrorOf error, size_t) {
                      if (error || self->closed_) return self->abort();
                      self->answered();
                    });
}

// Sees that the client has gone while nothing is read from it.
void Session::watch_for_end() {
  if (watching_ || closed_) return;
  watching_ = true;
  transport_->socket().async_wait(TcpSocket::wait_read, [self = shared_from_this()](ErrorOf error) {
    self->watching_ = false;
    if (error || self->closed_) return;
    if (self->state_ != State::handling && self->state_ != State::streaming) return;
    char byte = 0;
    const auto n =
        ::recv(self->transport_->socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Another request that waits its turn, or what TLS says at the end: from now on it is looked
    // at once a second.
    if (n > 0) {
      self->watching_ = self->unread_ = true;
      return;
    }
    self->abort();
  });
}

bool Session::peer_gone() {
  pollfd looked_at{transport_->socket().native_handle(), POLLRDHUP, 0};
  return ::poll(&looked_at, 1, 0) > 0;
}

}  // namespace kflow::server
