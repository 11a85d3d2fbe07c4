// The server: starts a second over HTTP beside the engine alone, a thousand readers of one run, ten
// thousand idle streams, a poll. Client and server share the machine.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>

#include "compiler/driver/driver.hpp"
#include "runtime/server/server.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/bench/bench.hpp"

using namespace kflow;
using bench::Clock;

namespace {

constexpr const char* flows = R"(
workflow noop() -> int { return 1 }
workflow ticks(n: int) -> int {
  for i in lists.range(n) {
    limit: 24
    step nap = sleep(96ms)
    emit i
  }
  return n
}
workflow waiter() -> any {
  step go = signal.wait("go")
  return go
}
)";

constexpr size_t connections = 64;

server::Compile compiler() {
  return [](const std::string& path) -> Result<server::Compiled> {
    auto compiled = driver::compile_file(path);
    if (!compiled) return std::unexpected(std::move(compiled).error());
    server::Compiled out{.diagnostics = "[]"};
    if ((*compiled)->program)
      out.program = std::make_shared<const ir::Program>(std::move(*(*compiled)->program));
    return out;
  };
}

// When each event of the stream was durable.
class Moments final : public engine::Observer {
 public:
  void committed(const store::RunHeader& run, const ir::Program&,
                 std::span<const machine::Event> events) override {
    if (run.workflow != "ticks") return;
    const auto now = Clock::now();
    const std::lock_guard guard(mutex_);
    for (const machine::Event& e : events) {
      if (e.shown) at_.push_back(now);
    }
  }
  // Since the event of that index, counted in this run alone.
  double ms_since(size_t index, Clock::time_point now) {
    const std::lock_guard guard(mutex_);
    if (index >= at_.size()) return 0;
    return std::chrono::duration<double, std::milli>(now - at_[index]).count();
  }
  void clear() {
    const std::lock_guard guard(mutex_);
    at_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<Clock::time_point> at_;
};

struct World {
  bench::Scratch scratch{"server"};
  std::shared_ptr<store::Store> store;
  std::shared_ptr<Moments> moments = std::make_shared<Moments>();
  std::atomic<uint64_t> commits = 0;
  std::unique_ptr<server::Server> server;
  int port = 0;

  World() {
    std::filesystem::create_directories(scratch / "flows");
    std::ofstream(scratch / "flows" / "f.kflow") << flows;
    auto opened = store::open_lmdb_store((scratch / "store").string(), {.create = true});
    if (!opened) bench::die(opened.error().message);
    store = std::move(*opened);
    server::ServerSetup setup{
        .paths = {(scratch / "flows").string()},
        .project_root = (scratch / "flows").string(),
        .version = "bench",
        .compile = compiler(),
        .say = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }};
    setup.options.listen = {"127.0.0.1:0"};
    setup.engine.observer = moments;
    setup.engine.on_commit = [this] { ++commits; };
    auto served = server::Server::open(store, std::move(setup));
    if (!served) bench::die(served.error().message);
    server = std::move(*served);
    const std::string url = server->urls()[0];
    port = std::atoi(url.c_str() + url.rfind(':') + 1);
  }
};

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    bench::die("cannot connect");
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

std::string request(const std::string& method, const std::string& target,
                    const std::string& body = "") {
  std::string out = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n";
  if (!body.empty())
    out +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return out + "\r\n" + body;
}

void send_all(int fd, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (n <= 0) bench::die("cannot send");
    at += static_cast<size_t>(n);
  }
}

// One response with a length; its body.
std::string receive(int fd) {
  std::string text;
  char buffer[16384];
  for (;;) {
    const size_t end = text.find("\r\n\r\n");
    if (end != std::string::npos) {
      const size_t at = text.find("Content-Length: ");
      const size_t size = at == std::string::npos ? 0 : std::strtoull(&text[at + 16], nullptr, 10);
      if (text.size() >= end + 4 + size) return text.substr(end + 4, size);
    }
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) bench::die("the server has closed the connection");
    text.append(buffer, static_cast<size_t>(n));
  }
}

double percentile(std::vector<double>& all, double p) {
  if (all.empty()) return 0;
  std::sort(all.begin(), all.end());
  return all[std::min(all.size() - 1, static_cast<size_t>(p * static_cast<double>(all.size())))];
}

double starts_over_http(World& world, size_t count, double& p50, double& p99) {
  const std::string text =
      request("POST", "/workflows/noop/runs", R"({"stream":false,"background":true})");
  const int epoll = ::epoll_create1(0);
  struct Client {
    int fd = -1;
    std::string in;
    Clock::time_point sent;
  };
  std::vector<Client> clients(connections);
  size_t sent = 0;
  for (size_t i = 0; i < connections; ++i) {
    clients[i].fd = connect_to(world.port);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event);
  }
  std::vector<double> times;
  const auto begin = Clock::now();
  for (Client& c : clients) {
    c.sent = Clock::now();
    send_all(c.fd, text);
    ++sent;
  }
  std::vector<epoll_event> events(connections);
  char buffer[4096];
  while (times.size() < count) {
    const int n = ::epoll_wait(epoll, events.data(), static_cast<int>(connections), 10'000);
    if (n <= 0) bench::die("no answer");
    for (int i = 0; i < n; ++i) {
      Client& c = clients[events[static_cast<size_t>(i)].data.u64];
      const ssize_t size = ::recv(c.fd, buffer, sizeof buffer, 0);
      if (size <= 0) bench::die("the server has closed the connection");
      c.in.append(buffer, static_cast<size_t>(size));
      if (!c.in.ends_with("}")) continue;
      if (c.in.find(" 202 ") == std::string::npos) bench::die(c.in);
      times.push_back(bench::seconds_since(c.sent) * 1000);
      c.in.clear();
      if (sent >= count) continue;
      c.sent = Clock::now();
      send_all(c.fd, text);
      ++sent;
    }
  }
  const double seconds = bench::seconds_since(begin);
  for (Client& c : clients) ::close(c.fd);
  ::close(epoll);
  p50 = percentile(times, 0.5);
  p99 = percentile(times, 0.99);
  return static_cast<double>(count) / seconds;
}

// As many starts under way, with nothing between caller and engine.
double starts_of_the_engine(size_t count) {
  bench::Scratch scratch("server-engine");
  auto store = store::open_lmdb_store((scratch / "store").string(), {.create = true});
  if (!store) bench::die(store.error().message);
  auto engine = engine::Engine::open(std::move(*store), {});
  if (!engine) bench::die(engine.error().message);
  auto compiled = driver::compile_text("f", flows);
  auto program = std::make_shared<const ir::Program>(std::move(*compiled->program));
  const ir::CallableId workflow = program->find("noop");
  std::atomic<size_t> done = 0;
  std::atomic<size_t> sent = connections;
  std::function<void()> next = [&] {
    (*engine)->start(program, workflow, cel::Value::map({}), {},
                     [&](Result<engine::StartedRun> started) {
                       if (!started) bench::die(started.error().message);
                       ++done;
                       if (sent++ < count) next();
                     });
  };
  const auto begin = Clock::now();
  for (size_t i = 0; i < connections; ++i) next();
  while (done < count) std::this_thread::sleep_for(std::chrono::microseconds(200));
  return static_cast<double>(count) / bench::seconds_since(begin);
}

void bench_starts(World& world) {
  double p50 = 0;
  double p99 = 0;
  starts_over_http(world, 2000, p50, p99);
  const double http = starts_over_http(world, 20'000, p50, p99);
  const double engine = starts_of_the_engine(20'000);
  bench::Line("server starts over HTTP")
      .count("connections", connections)
      .number("per_s", http, 0)
      .number("engine_alone_per_s", engine, 0)
      .number("share", http / engine)
      .number("p50_ms", p50)
      .number("p99_ms", p99)
      .met((http >= 5000 || http >= engine / 2) && p99 < 30);
}

void bench_poll(World& world) {
  const int fd = connect_to(world.port);
  send_all(fd, request("POST", "/workflows/noop/runs",
                       R"({"stream":false,"background":true,"run_id":"polled"})"));
  receive(fd);
  std::vector<double> times;
  for (int i = 0; i < 3000; ++i) {
    const auto begin = Clock::now();
    send_all(fd, request("GET", "/workflows/noop/runs/polled"));
    receive(fd);
    times.push_back(bench::seconds_since(begin) * 1000);
  }
  ::close(fd);
  const double p50 = percentile(times, 0.5);
  bench::Line("server poll of a run")
      .number("p50_ms", p50, 3)
      .number("p99_ms", percentile(times, 0.99), 3)
      .met(p50 < 1);
}

// The last `id: N` in the bytes that have come; -1: none.
int64_t last_id(const std::string& text) {
  const size_t at = text.rfind("\nid: ");
  if (at == std::string::npos) return -1;
  return std::strtoll(text.c_str() + at + 5, nullptr, 10);
}

void bench_readers(World& world, size_t readers) {
  world.moments->clear();
  const uint64_t before = bench::own_bytes();
  const int starter = connect_to(world.port);
  send_all(starter,
           request("POST", "/workflows/ticks/runs",
                   R"({"stream":false,"background":true,"run_id":"t","input":{"n":2500}})"));
  receive(starter);
  const int epoll = ::epoll_create1(0);
  struct Reader {
    int fd = -1;
    std::string tail;
    int64_t seen = -1;
    bool ended = false;
  };
  std::vector<Reader> all(readers);
  for (size_t i = 0; i < readers; ++i) {
    all[i].fd = connect_to(world.port);
    send_all(all[i].fd, request("GET", "/workflows/ticks/runs/t/events"));
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  const auto begin = Clock::now();
  std::vector<double> delays;
  std::vector<epoll_event> events(256);
  std::string buffer(256U << 10, '\0');
  uint64_t bytes = 0;
  uint64_t most = 0;
  size_t ended = 0;
  while (ended < readers) {
    const int n = ::epoll_wait(epoll, events.data(), 256, 20'000);
    if (n <= 0) bench::die("nothing came");
    for (int i = 0; i < n; ++i) {
      Reader& r = all[events[static_cast<size_t>(i)].data.u64];
      const ssize_t size = ::recv(r.fd, buffer.data(), buffer.size(), 0);
      if (size <= 0) bench::die("a stream was cut off");
      bytes += static_cast<uint64_t>(size);
      const std::string_view piece(buffer.data(), static_cast<size_t>(size));
      std::string text = r.tail;
      text += piece;
      const int64_t id = last_id(text);
      r.tail = text.substr(text.size() - std::min<size_t>(text.size(), 32));
      // The newest event of what came, when all are up to date.
      if (id > r.seen && bench::seconds_since(begin) > 2)
        delays.push_back(world.moments->ms_since(static_cast<size_t>(id), Clock::now()));
      r.seen = std::max(r.seen, id);
      if (!r.ended && text.find("WorkflowCompleted") != std::string::npos) {
        r.ended = true;
        ++ended;
      }
    }
    most = std::max(most, bench::own_bytes());
  }
  const double seconds = bench::seconds_since(begin);
  const auto events_of_run = static_cast<double>(all[0].seen + 1);
  for (const Reader& r : all) {
    if (r.seen != all[0].seen) bench::die("readers saw different ends");
    ::close(r.fd);
  }
  ::close(epoll);
  ::close(starter);
  const double p99 = percentile(delays, 0.99);
  bench::Line("server readers of one run")
      .count("readers", readers)
      .number("events_per_s", events_of_run / seconds, 0)
      .number("delivered_per_s", events_of_run * static_cast<double>(readers) / seconds, 0)
      .number("mb_per_s", static_cast<double>(bytes) / seconds / 1e6)
      .number("p50_ms", percentile(delays, 0.5))
      .number("p99_ms", p99)
      .number("own_mb", static_cast<double>(most - std::min(most, before)) / 1e6)
      .met(p99 < 50 && most - std::min(most, before) < 200'000'000);
}

void bench_idle(World& world, size_t streams) {
  const int starter = connect_to(world.port);
  send_all(starter, request("POST", "/workflows/waiter/runs",
                            R"({"stream":false,"background":true,"run_id":"idle"})"));
  receive(starter);
  // Their other ends are another process's: its descriptors and its time are not the server's.
  int ready[2];
  int stop[2];
  if (::pipe(ready) != 0 || ::pipe(stop) != 0) bench::die("no pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    std::vector<int> fds;
    const std::string text = request("GET", "/workflows/waiter/runs/idle/events");
    for (size_t i = 0; i < streams; ++i) {
      fds.push_back(connect_to(world.port));
      send_all(fds.back(), text);
    }
    char buffer[4096];
    for (const int fd : fds) {
      if (::recv(fd, buffer, sizeof buffer, 0) <= 0) ::_exit(1);
    }
    (void)!::write(ready[1], "r", 1);
    (void)!::read(stop[0], buffer, 1);
    ::_exit(0);
  }
  char byte = 0;
  if (::read(ready[0], &byte, 1) != 1) bench::die("the streams did not open");
  std::this_thread::sleep_for(std::chrono::seconds(3));
  const uint64_t commits = world.commits;
  const double cpu = bench::process_seconds();
  const auto begin = Clock::now();
  std::this_thread::sleep_for(std::chrono::seconds(16));  // more than one keepalive
  const double share = (bench::process_seconds() - cpu) / bench::seconds_since(begin) * 100;
  const uint64_t written = world.commits - commits;
  (void)!::write(stop[1], "s", 1);
  ::waitpid(child, nullptr, 0);
  ::close(starter);
  bench::Line("server idle streams")
      .count("streams", streams)
      .number("cpu_percent", share)
      .count("commits", written)
      .number("own_mb", static_cast<double>(bench::own_bytes()) / 1e6)
      .met(share < 1 && written == 0);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t readers = bench::number_argument(argc, argv, 1000);
  World world;
  bench_starts(world);
  bench_poll(world);
  bench_readers(world, readers);
  bench_idle(world, 10 * readers);
  return 0;
}
