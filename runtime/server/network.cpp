// Listening, accepting, the network's thread.
#include "runtime/server/network.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <future>
#include <thread>

#include "runtime/server/session.hpp"

namespace kflow::server {
namespace {

using asio::ip::tcp;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock,
                                         asio::wait_traits<std::chrono::steady_clock>, Executor>;

constexpr int backlog = 4096;
constexpr auto tick_every = std::chrono::seconds(1);
constexpr auto accept_pause = std::chrono::milliseconds(100);

// "127.0.0.1:80", "[::1]:80", "localhost:80"
Result<tcp::endpoint> endpoint_of(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto wrong = [&] {
    return fail(ErrorCode::invalid_argument,
                "`" + text + "` is no address to listen on; write 127.0.0.1:7777 or [::1]:7777");
  };
  if (colon == std::string::npos) return wrong();
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty() || host == "*") host = "0.0.0.0";
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) return wrong();
  ErrorOf error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return wrong();
  return tcp::endpoint(address, port);
}

Result<std::unique_ptr<asio::ssl::context>> tls_context(const Options& options) {
  if (options.certificate.empty()) return nullptr;
  auto out = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  ErrorOf error;
  out->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                       asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1 | asio::ssl::context::single_dh_use,
                   error);
  out->use_certificate_chain_file(options.certificate, error);
  if (error) {
    return fail(ErrorCode::invalid_argument,
                "the certificate `" + options.certificate + "` cannot be used: " + error.message());
  }
  out->use_private_key_file(options.key, asio::ssl::context::pem, error);
  if (error) {
    return fail(ErrorCode::invalid_argument,
                "the private key `" + options.key + "` cannot be used: " + error.message());
  }
  return out;
}

// Each connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct Network::Impl {
  asio::io_context context{1};
  std::shared_ptr<Hub> hub = std::make_shared<Hub>(context.get_executor());
  std::unique_ptr<asio::ssl::context> tls;
  std::vector<std::unique_ptr<Acceptor>> acceptors;
  std::vector<std::string> addresses;
  Timer timer{context.get_executor()};
  Timer pause{context.get_executor()};
  bool ticking = false;
  asio::executor_work_guard<Executor> work{context.get_executor()};
  std::thread thread;
  std::atomic<uint64_t> connections = 0;
  std::atomic<uint64_t> streams = 0;
  std::atomic<uint64_t> requests = 0;
  std::atomic<uint64_t> accepted = 0;
  std::atomic<uint64_t> refused = 0;
  std::promise<void> all_gone;
  bool told_gone = false;
  bool started = false;

  Result<void> listen(const std::string& address) {
    auto endpoint = endpoint_of(address);
    if (!endpoint) return std::unexpected(std::move(endpoint).error());
    auto acceptor = std::make_unique<Acceptor>(context.get_executor());
    ErrorOf error;
    acceptor->open(endpoint->protocol(), error);
    if (!error) acceptor->set_option(Acceptor::reuse_address(true), error);
    if (!error && endpoint->address().is_v6()) acceptor->set_option(asio::ip::v6_only(true), error);
    if (!error) acceptor->bind(*endpoint, error);
    if (!error) acceptor->listen(backlog, error);
    if (error) {
      return fail(ErrorCode::unavailable, "cannot listen on " + address + ": " + error.message());
    }
    addresses.push_back(fmt::format("{}", [&] {
      const auto local = acceptor->local_endpoint();
      const std::string host = local.address().to_string();
      return (local.address().is_v6() ? "[" + host + "]" : host) + ":" +
             std::to_string(local.port());
    }()));
    acceptors.push_back(std::move(acceptor));
    return {};
  }

  void accept(Acceptor& acceptor) {
    acceptor.async_accept([this, &acceptor](ErrorOf error, TcpSocket socket) {
      if (hub->stopping) return;
      if (error) {
        if (error == asio::error::operation_aborted) return;
        // No descriptors are left, for now.
        pause.expires_after(accept_pause);
        return pause.async_wait([this, &acceptor](ErrorOf stopped) {
          if (!stopped) accept(acceptor);
        });
      }
      take(std::move(socket));
      accept(acceptor);
    });
  }

  void take(TcpSocket socket) {
    if (hub->connections.size() >= hub->limits.connections) {
      ++refused;
      static constexpr std::string_view full =
          "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
          "Connection: close\r\n\r\n";
      ErrorOf ignored;
      socket.non_blocking(true, ignored);
      if (!tls) (void)socket.write_some(asio::buffer(full), ignored);
      return;  // closes it
    }
    ++accepted;
    ErrorOf ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.non_blocking(true, ignored);
    auto session = std::make_shared<Session>(std::move(socket), tls.get(), hub);
    hub->add(session);
    session->start();
    tick_later();
  }

  // Deadlines are looked at once a second, and only while there are connections.
  void tick_later() {
    connections = hub->connections.size();
    if (ticking || hub->connections.empty()) return;
    ticking = true;
    timer.expires_after(tick_every);
    timer.async_wait([this](ErrorOf error) {
      ticking = false;
      if (!error) tick();
    });
  }

  void tick() {
    const auto now = std::chrono::steady_clock::now();
    for (auto it = hub->connections.begin(); it != hub->connections.end();) {
      const auto connection = (it++)->lock();
      if (connection) connection->tick(now);
    }
    streams = hub->streams;
    requests = hub->requests;
    tick_later();
    if (hub->stopping && hub->connections.empty()) gone();
  }

  void gone() {
    if (!told_gone) all_gone.set_value();
    told_gone = true;
  }

  // Of every connection; what they do may end others.
  template <typename Do>
  void each(Do what) {
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& weak : hub->connections) {
      if (auto connection = weak.lock()) all.push_back(std::move(connection));
    }
    for (const auto& connection : all) what(*connection);
  }

  void wind_down() {
    hub->stopping = true;
    ErrorOf ignored;
    for (auto& acceptor : acceptors) acceptor->close(ignored);
    pause.cancel();
    each([](Connection& c) { c.wind_down(); });
    look_for_end();
  }

  void look_for_end() {
    if (hub->connections.empty()) return gone();
    pause.expires_after(std::chrono::milliseconds(20));
    pause.async_wait([this](ErrorOf error) {
      if (!error && !told_gone) look_for_end();
    });
  }
};

Network::Network(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Network>> Network::open(const Options& options) {
  raise_descriptor_limit();
  auto impl = std::make_unique<Impl>();
  impl->hub->limits = options.limits;
  auto tls = tls_context(options);
  if (!tls) return std::unexpected(std::move(tls).error());
  impl->tls = std::move(*tls);
  for (const std::string& address : options.listen) KFLOW_TRY(impl->listen(address));
  return std::unique_ptr<Network>(new Network(std::move(impl)));
}

Network::~Network() { stop(); }

void Network::start(std::shared_ptr<Handler> handler) {
  impl_->hub->handler = std::move(handler);
  impl_->started = true;
  for (auto& acceptor : impl_->acceptors) impl_->accept(*acceptor);
  impl_->thread = std::thread([this] { impl_->context.run(); });
}

std::vector<std::string> Network::addresses() const { return impl_->addresses; }
bool Network::tls() const { return impl_->tls != nullptr; }

void Network::post(std::function<void()> task) {
  asio::post(impl_->context.get_executor(), std::move(task));
}

NetworkCounts Network::counts() const {
  return {.connections = impl_->connections,
          .streams = impl_->streams,
          .accepted = impl_->accepted,
          .refused = impl_->refused,
          .requests = impl_->requests};
}

void Network::stop() {
  if (!impl_->thread.joinable()) return;
  auto gone = impl_->all_gone.get_future();
  asio::post(impl_->context.get_executor(), [this] { impl_->wind_down(); });
  (void)gone.wait_for(std::chrono::milliseconds(impl_->hub->limits.shutdown_ms));
  asio::post(impl_->context.get_executor(), [this] {
    impl_->each([](Connection& c) { c.abort(); });
    impl_->hub->handler = nullptr;
    impl_->work.reset();
    impl_->context.stop();
  });
  impl_->thread.join();
}

}  // namespace kflow::server
