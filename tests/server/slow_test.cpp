// Clients that do not read, read late, or leave: nothing of the server waits for them, nothing
// grows.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/server/flows.hpp"
#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

constexpr size_t deaf_clients = 40;
constexpr int small_buffer = 4096;
// What all of them together may take: a segment that is shared, a few pulled frames each. The
// stream that they do not read is four times as long for each one.
constexpr size_t most_growth = 64U << 20;

Served::Setup impatient(int64_t send_ms) {
  Served::Setup setup{.files = {{"flows.kflow", flows}}};
  setup.options.limits.send_ms = send_ms;
  return setup;
}

void hear_little(const Wire& wire, int bytes = small_buffer) {
  ::setsockopt(wire.fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

size_t resident_bytes() {
  size_t pages = 0;
  size_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

size_t metric(const Served& s, const std::string& name) {
  const std::string text = s.get("/metrics").body;
  const size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? 0
                                 : std::strtoull(text.c_str() + at + name.size() + 2, nullptr, 10);
}

bool becomes(const std::function<bool()>& what) {
  for (int i = 0; i < 600; ++i) {
    if (what()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

std::string reconnect_to(const std::string& run) {
  return R"({"action":"reconnect","run_id":")" + run + "\"}";
}

Ask waiting_start(const std::string& key) {
  return {.method = "POST",
          .target = "/workflows/waiter/runs",
          .headers = {{"Idempotency-Key", key}},
          .body = R"({"stream":false})"};
}

}  // namespace

TEST_CASE("clients that never read are let go, in bounded time and memory, and slow nobody") {
  Served s(impatient(1000));
  const std::string run = s.start("count", R"({"n":30000})");
  s.wait("count", run, {"COMPLETED"});
  const std::string target = "/workflows/count/runs/" + run + "/events";
  const size_t bytes = Events(s.port(), {.target = target}).all().size() * 200;
  REQUIRE(bytes > (4U << 20));  // more than the system keeps for a socket
  const size_t before = resident_bytes();
  std::vector<Wire> streams;
  std::vector<std::unique_ptr<WebSocket>> sockets;
  for (size_t i = 0; i < deaf_clients; ++i) {
    streams.emplace_back(s.port());
    hear_little(streams.back());
    streams.back().send(written({.target = target}, s.port()));
    sockets.push_back(std::make_unique<WebSocket>(s.port()));
    REQUIRE(sockets.back()->status() == 101);
    hear_little(sockets.back()->wire());
    sockets.back()->say(reconnect_to(run));
  }
  // Others are served meanwhile, also readers of the same run.
  CHECK(becomes([&] { return metric(s, "kflow_http_streams") >= 2 * deaf_clients; }));
  CHECK(Events(s.port(), {.target = target}).all().size() == 30'004);
  const std::string other = s.start("hello");
  CHECK(field(s.wait("hello", other, {"COMPLETED"}), "content") == "hello world");
  CHECK(resident_bytes() < before + most_growth);
  CHECK(becomes([&] { return metric(s, "kflow_http_streams") == 0; }));
  CHECK(becomes([&] { return metric(s, "kflow_http_connections") <= 1; }));
  for (Wire& wire : streams) {
    const std::string taken = wire.rest();
    CHECK(taken.find("event: WorkflowStarted") != std::string::npos);
    CHECK(taken.find("event: WorkflowCompleted") == std::string::npos);
  }
}

TEST_CASE("a WebSocket client that wakes up after the time it has reads whole frames and 1013") {
  // Whether it wakes up before the connection is cut, the machine decides: a few tries.
  int code = 0;
  for (int attempt = 0; attempt < 5 && code != 1013; ++attempt) {
    Served s(impatient(2000));
    const std::string run = s.start("count", R"({"n":30000})");
    s.wait("count", run, {"COMPLETED"});
    WebSocket sleepy(s.port());
    hear_little(sleepy.wire(), 256 << 10);
    sleepy.say(reconnect_to(run));
    std::this_thread::sleep_for(std::chrono::milliseconds(3400));
    size_t frames = 0;
    for (auto text = sleepy.text(); text; text = sleepy.text(), ++frames)
      REQUIRE(json_of(*text).kind() == cel::Kind::map);
    CHECK(frames > 10);
    CHECK(frames < 30'000);
    code = sleepy.close_code;
  }
  CHECK(code == 1013);
}

TEST_CASE(
    "a WebSocket client that sends and never reads is slowed down, not listened to without end") {
  Served s(impatient(2000));
  WebSocket socket(s.port());
  hear_little(socket.wire());
  const size_t before = resident_bytes();
  std::string pings;
  for (int i = 0; i < 1000; ++i) {
    pings += std::string("\x81\x91\0\0\0\0", 6) + R"({"action":"ping"})";
  }
  ::fcntl(socket.wire().fd(), F_SETFL, O_NONBLOCK);
  constexpr size_t most_sent = 256U << 20;
  size_t sent = 0;
  for (int quiet = 0; quiet < 20 && sent < most_sent;) {
    const ssize_t n = ::send(socket.wire().fd(), pings.data(), pings.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) break;  // closed
    if (n > 0) sent += static_cast<size_t>(n);
    quiet = n > 0 ? 0 : quiet + 1;
    if (n <= 0) std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  CHECK(sent < most_sent);
  CHECK(resident_bytes() < before + most_growth);
  CHECK(becomes([&] { return metric(s, "kflow_http_streams") == 0; }));
  // One that reads is answered, however much it sends at a time.
  WebSocket quick(s.port());
  quick.until("connected");
  std::thread sender([&] { quick.raw(pings + pings); });
  size_t pongs = 0;
  while (pongs < 2000 && field(quick.next(), "event") == "pong") ++pongs;
  sender.join();
  CHECK(pongs == 2000);
}

TEST_CASE("a slow client gets an event that takes longer than the time it has, piece by piece") {
  Served s(impatient(3000));
  const std::string large(14U << 20, 'x');
  const Answer started = s.post(
      "/workflows/hello/runs",
      R"({"stream":false,"background":true,"run_id":"big","input":{"name":")" + large + "\"}}");
  REQUIRE(started.status == 202);
  s.wait("hello", "big", {"COMPLETED"});
  Wire stream(s.port());
  WebSocket socket(s.port());
  hear_little(stream, 64 << 10);
  hear_little(socket.wire(), 64 << 10);
  stream.send(written({.target = "/workflows/hello/runs/big/events"}, s.port()));
  socket.say(reconnect_to("big"));
  // 2 MB a second each; the system keeps 4 MB at most of what was written.
  const auto slowly = [&](Wire& wire) {
    size_t bytes = 0;
    while (bytes < large.size()) {
      const auto part = wire.exactly(256U << 10);
      if (!part) break;
      bytes += part->size();
      std::this_thread::sleep_for(std::chrono::milliseconds(128));
    }
    return bytes;
  };
  size_t of_stream = 0;
  std::thread other([&] { of_stream = slowly(stream); });
  CHECK(slowly(socket.wire()) >= large.size());
  other.join();
  CHECK(of_stream >= large.size());
}

TEST_CASE("who waits for a run's end and leaves is forgotten at once, thousands of them too") {
  Served s({.files = {{"flows.kflow", flows}}});
  constexpr size_t clients = 2000;
  // All wait for one run.
  Wire patient(s.port());
  patient.send(written(waiting_start("k"), s.port()));
  REQUIRE(becomes([&] { return metric(s, "kflow_http_waiting") == 1; }));
  {
    std::vector<Wire> gone;
    for (size_t i = 0; i < clients; ++i) {
      gone.emplace_back(s.port());
      REQUIRE(gone.back().connected());
      std::string request = written(waiting_start("k"), s.port());
      // Some have sent more already when they leave.
      if (i % 3 == 0) request += written({.target = "/health"}, s.port());
      REQUIRE(gone.back().send(request));
    }
    CHECK(becomes([&] { return metric(s, "kflow_http_waiting") == clients + 1; }));
  }
  CHECK(becomes([&] { return metric(s, "kflow_http_waiting") == 1; }));
  CHECK(becomes([&] { return metric(s, "kflow_http_connections") <= 2; }));
  const cel::Value runs = json_of(s.get("/workflows/waiter/runs").body);
  REQUIRE(runs.find("data")->as_list().size() == 1);
  const std::string id = field(runs.find("data")->as_list()[0], "run_id");
  CHECK(s.post("/workflows/waiter/runs/" + id + "/signal", R"({"name":"go","value":7})").status ==
        202);
  const Answer answer = read_answer(patient);
  CHECK(answer.status == 200);
  CHECK(field(json_of(answer.body), "content") == "7");
  CHECK(metric(s, "kflow_http_waiting") == 0);
}

TEST_CASE("who waits for the answer to a question and leaves is forgotten, and the run goes on") {
  Served s({.files = {{"flows.kflow", flows}}});
  const std::string run = s.start("ask", R"({"topic":"it"})");
  const cel::Value paused = s.wait("ask", run, {"PAUSED"});
  const std::string id = field(paused.find("step_requirements")->as_list()[0], "id");
  {
    Wire wire(s.port());
    wire.send(written({.method = "POST",
                       .target = "/workflows/ask/runs/" + run + "/continue",
                       .body = R"({"stream":false,"step_requirements":[{"id":")" + id +
                               R"(","confirmed":true}]})"},
                      s.port()));
    REQUIRE(
        becomes([&] { return field(s.wait("ask", run, {"COMPLETED"}), "status") == "COMPLETED"; }));
  }
  CHECK(becomes([&] { return metric(s, "kflow_http_waiting") == 0; }));
  CHECK(field(s.wait("ask", run, {"COMPLETED"}), "content") == "published");
}

TEST_CASE("a server that stops tells those who wait for a run's end to come again") {
  Served s({.files = {{"flows.kflow", flows}}});
  Wire wire(s.port());
  wire.send(written(waiting_start("k"), s.port()));
  REQUIRE(becomes([&] { return metric(s, "kflow_http_waiting") == 1; }));
  std::thread stop([&] { s.stop(); });
  CHECK(read_answer(wire).status == 503);
  wire.close();
  stop.join();
}
