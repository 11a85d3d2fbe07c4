// `kflow serve` as a program: started, killed, stopped, with the other verbs beside it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using namespace kflow::test;

namespace {

std::string read(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// One that nobody listens on at present.
int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

// A project with a store and a server that comes and goes.
class Project {
 public:
  explicit Project(const std::string& flows) : port(free_port()) {
    char name[] = "/tmp/kflow_serve_XXXXXX";
    folder = ::mkdtemp(name);
    fs::create_directories(folder / ".kflow");
    std::ofstream(folder / "f.kflow") << flows;
  }
  ~Project() {
    end(SIGKILL);
    fs::remove_all(folder);
  }
  void serve(std::vector<std::string> more = {}) {
    std::vector<std::string> words = {KFLOW_CLI, "serve", "f.kflow", "--listen",
                                      "127.0.0.1:" + std::to_string(port)};
    words.insert(words.end(), more.begin(), more.end());
    pid = ::fork();
    if (pid == 0) {
      if (::chdir(folder.c_str()) != 0) ::_exit(127);
      const int log = ::open((folder / "serve.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(log, 1);
      ::dup2(log, 2);
      ::unsetenv("KFLOW_STORE");
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execv(KFLOW_CLI, argv.data());
      ::_exit(127);
    }
    for (int i = 0; i < 3000 && get(port, "/health").status != 200; ++i) {
      int status = 0;
      if (::waitpid(pid, &status, WNOHANG) == pid) {
        pid = -1;
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  // The exit status; -1: it was killed.
  int end(int signal) {
    if (pid <= 0) return -2;
    ::kill(pid, signal);
    int status = 0;
    ::waitpid(pid, &status, 0);
    pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string sh(const std::string& command) const {
    const std::string whole = "cd '" + folder.string() + "' && timeout 60 '" KFLOW_CLI "' " +
                              command + " >out.txt 2>err.txt </dev/null";
    if (std::system(whole.c_str()) != 0) return "failed: " + read(folder / "err.txt");
    std::string out = read(folder / "out.txt");
    while (out.ends_with('\n')) out.pop_back();
    return out;
  }
  cel::Value wait(const std::string& run, const std::string& status) const {
    cel::Value document;
    for (int i = 0; i < 6000; ++i) {
      document = json_of(get(port, "/runs/" + run).body);
      if (field(document, "status") == status) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return document;
  }

  int port;
  fs::path folder;
  pid_t pid = -1;
};

constexpr const char* flow = R"(
workflow ticks(n: int) -> int {
  for i in lists.range(n) {
    limit: 4
    step nap = sleep(8ms)
    emit {i: i}
  }
  step last = inner(n)
  return last
}
workflow inner(n: int) -> int {
  for i in lists.range(10) { emit i }
  return n
}
workflow waiter() -> any {
  step go = signal.wait("go")
  return go
}
)";

struct Seen {
  std::vector<std::string> frames;  // by index
  size_t connections = 0;
  std::string problem;
};

// Takes a frame that must be the next one.
bool take(Seen& seen, const std::string& id, const std::string& data) {
  if (id != std::to_string(seen.frames.size())) {
    seen.problem =
        "event " + id + " came where " + std::to_string(seen.frames.size()) + " was awaited";
    return false;
  }
  seen.frames.push_back(data);
  return true;
}

// Follows to the end over lost connections, some of which it loses itself.
void follow_by_sse(int port, const std::string& path, unsigned seed, Seen& seen) {
  std::mt19937 random(seed);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(240);
  while (std::chrono::steady_clock::now() < until) {
    Ask request{.target = path};
    if (!seen.frames.empty())
      request.headers = {{"Last-Event-ID", std::to_string(seen.frames.size() - 1)}};
    Events events(port, request);
    ++seen.connections;
    if (events.head().status == 204) return;
    if (events.head().status != 200) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    size_t patience = 20 + random() % 400;
    while (patience-- > 0) {
      const auto event = events.next();
      if (!event) break;
      if (!take(seen, event->id, event->data)) return;
    }
  }
  seen.problem = "the stream did not end";
}

void follow_by_socket(int port, const std::string& run, unsigned seed, Seen& seen) {
  std::mt19937 random(seed);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(240);
  while (std::chrono::steady_clock::now() < until) {
    WebSocket socket(port);
    ++seen.connections;
    if (socket.status() != 101 || socket.next().is_null()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    socket.say(R"({"action":"reconnect","run_id":")" + run + R"(","last_event_index":)" +
               std::to_string(static_cast<int64_t>(seen.frames.size()) - 1) + "}");
    size_t patience = 20 + random() % 400;
    while (patience-- > 0) {
      const auto text = socket.text();
      if (!text) break;
      const cel::Value frame = json_of(*text);
      if (frame.find("event_index") == nullptr) continue;  // catch_up, subscribed, replay
      if (!take(seen, field(frame, "event_index"), *text)) return;
      if (field(frame, "event") == "WorkflowCompleted" && frame.find("nested_depth") == nullptr)
        return;
    }
  }
  seen.problem = "the stream did not end";
}

}  // namespace

TEST_CASE(
    "streams are gap-free, duplicate-free and identical over disconnects, restarts and kills") {
  const bool lengthy = std::getenv("KFLOW_LONG") != nullptr;
  const size_t readers = lengthy ? 200 : 24;
  const int n = lengthy ? 2500 : 300;
  const size_t deaths = lengthy ? 20 : 4;
  Project p(flow);
  p.serve();
  REQUIRE(p.pid > 0);
  const Answer started = post(
      p.port, "/workflows/ticks/runs",
      R"({"stream":false,"background":true,"run_id":"r","input":{"n":)" + std::to_string(n) + "}}");
  REQUIRE(started.status == 202);
  const std::string path = "/workflows/ticks/runs/r/events";
  std::vector<Seen> seen(readers);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < readers; ++i) {
    threads.emplace_back([&, i] {
      const auto seed = static_cast<unsigned>(i + 1);
      if (i % 4 == 3) {
        follow_by_socket(p.port, "r", seed, seen[i]);
      } else {
        follow_by_sse(p.port, path, seed, seen[i]);
      }
    });
  }
  for (size_t i = 0; i < deaths; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(lengthy ? 900 : 350));
    const int status = p.end(i % 3 == 2 ? SIGTERM : SIGKILL);
    CHECK(status == (i % 3 == 2 ? 0 : -1));
    p.serve();
    REQUIRE(p.pid > 0);
  }
  for (std::thread& thread : threads) thread.join();
  const auto document = p.wait("r", "COMPLETED");
  CHECK(field(document, "content") == std::to_string(n));
  // What everybody saw, and what is there afterwards, over HTTP and from the command line.
  Events canonical(p.port, {.target = path});
  const auto all = canonical.all();
  REQUIRE(all.size() > static_cast<size_t>(3 * n));
  std::string lines;
  for (size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].id == std::to_string(i));
    lines += all[i].data + "\n";
  }
  size_t connections = 0;
  for (const Seen& s : seen) {
    CHECK(s.problem.empty());
    CHECK(s.frames.size() == all.size());
    bool same = s.frames.size() == all.size();
    for (size_t i = 0; i < s.frames.size() && same; ++i) same = s.frames[i] == all[i].data;
    CHECK(same);
    connections += s.connections;
  }
  CHECK(connections > readers);
  CHECK(p.sh("get r --events") + "\n" == lines);
}

TEST_CASE("kflow run --background and the other verbs hand their runs to the server") {
  Project p(flow);
  p.serve();
  REQUIRE(p.pid > 0);
  const std::string run = p.sh("run f.kflow waiter --background");
  const cel::Value document = p.wait(run, "RUNNING");
  CHECK(field(document, "workflow_id") == "waiter");
  CHECK_FALSE(fs::exists(p.folder / ".kflow/logs/worker.log"));  // no process of its own
  Events events(p.port, {.target = "/workflows/waiter/runs/" + run + "/events"});
  CHECK(events.next()->event == "WorkflowStarted");
  CHECK(p.sh("signal " + run + " go '{\"by\":1}'").empty());
  CHECK(events.all().back().event == "WorkflowCompleted");
  CHECK(field(p.wait(run, "COMPLETED"), "content") == R"({"by":1})");
  CHECK_FALSE(fs::exists(p.folder / ".kflow/logs/worker.log"));
}

TEST_CASE("a server takes over what a killed one left, and says what is wrong with its options") {
  Project p(flow);
  p.serve();
  const std::string body = R"({"stream":false,"background":true,"run_id":"left"})";
  REQUIRE(post(p.port, "/workflows/waiter/runs", body).status == 202);
  p.wait("left", "RUNNING");
  CHECK(p.end(SIGKILL) == -1);
  p.serve();
  REQUIRE(p.pid > 0);
  CHECK(post(p.port, "/workflows/waiter/runs/left/signal", R"({"name":"go"})").status == 202);
  CHECK(field(p.wait("left", "COMPLETED"), "status") == "COMPLETED");
  // The port is taken; other machines need a token.
  CHECK(p.sh("serve f.kflow --listen 127.0.0.1:" + std::to_string(p.port)).find("cannot listen") !=
        std::string::npos);
  CHECK(p.sh("serve f.kflow --listen 0.0.0.0:0").find("KFLOW_TOKEN") != std::string::npos);
  CHECK(p.sh("serve nothing.kflow").find("there is no file") != std::string::npos);
  CHECK(p.sh("serve --config nothing.yaml").find("--config") != std::string::npos);
  CHECK(p.end(SIGTERM) == 0);
}
