// Effects against a badly behaved world: programs, files, and a local HTTP server.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/tape.hpp"
#include "tests/unit/activities/world.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using namespace kflow::activities;
using cel::Value;

namespace {

Value argv(std::initializer_list<const char*> words,
           std::initializer_list<std::pair<std::string_view, Value>> more = {}) {
  std::vector<Value> items;
  for (const char* w : words) items.push_back(Value::string(w));
  cel::MapBuilder out;
  out.add("argv", Value::list(std::move(items)));
  for (const auto& [k, v] : more) out.add(k, v);
  return std::move(out).take();
}
Value path(const char* p) { return cel::make_record({{"path", Value::string(p)}}); }

// Answers each connection with fixed bytes by the request's path.
class Server {
 public:
  explicit Server(std::map<std::string, std::string> answers) : answers_(std::move(answers)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&a), size) == 0);
    REQUIRE(::listen(fd_, 64) == 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size);
    base = "http://127.0.0.1:" + std::to_string(ntohs(a.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    stop_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    ::close(fd_);
    thread_.join();
    for (const int c : held_) ::close(c);
  }
  std::string base;
  std::string last_request() {
    const std::lock_guard guard(mutex_);
    return last_;
  }

 private:
  void serve() {
    for (;;) {
      const int c = ::accept(fd_, nullptr, nullptr);
      if (c < 0) return;
      char buffer[8192];
      const ssize_t n = ::recv(c, buffer, sizeof buffer, 0);
      const std::string request(buffer, n > 0 ? static_cast<size_t>(n) : 0);
      {
        const std::lock_guard guard(mutex_);
        last_ = request;
      }
      const size_t space = request.find(' ');
      const auto it =
          answers_.find(request.substr(space + 1, request.find(' ', space + 1) - space - 1));
      if (it == answers_.end()) {
        held_.push_back(c);  // hangs
        continue;
      }
      [[maybe_unused]] const ssize_t sent =
          ::send(c, it->second.data(), it->second.size(), MSG_NOSIGNAL);
      ::close(c);
    }
  }
  std::map<std::string, std::string> answers_;
  int fd_ = -1;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::string last_;
  std::vector<int> held_;
  std::thread thread_;
};

std::string answer(const std::string& head, const std::string& body) {
  return "HTTP/1.1 " + head +
         "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

}  // namespace

TEST_CASE("programs") {
  World world;
  const Value r =
      world.value("exec.run", argv({"sh", "-c", "cat; echo $A $KFLOW_IDEMPOTENCY_KEY >&2; pwd"},
                                   {{"stdin", Value::string("in\n")},
                                    {"env", cel::make_record({{"A", Value::string("x")}})}}));
  CHECK(r.find("exit_code")->as_int() == 0);
  CHECK(r.find("stdout")->as_string() == "in\n" + fs::canonical(world.root).string() + "\n");
  CHECK(r.find("stderr")->as_string() == "x key-1\n");

  const ActivityError failed = world.error("exec.run", argv({"sh", "-c", "echo why >&2; exit 3"}));
  CHECK(failed.kind == "exec");
  CHECK(failed.status == 3);
  CHECK(failed.message.find("why") != std::string::npos);
  CHECK(world.value("exec.run", argv({"sh", "-c", "exit 3"}, {{"check", Value::boolean(false)}}))
            .find("exit_code")
            ->as_int() == 3);

  CHECK(world.error("exec.run", argv({"no-such-program-anywhere"})).code == "not_found");
  CHECK(world.error("exec.run", argv({"/"})).code == "not_executable");
  CHECK(world.error("exec.run", argv({})).code == "argv");
  CHECK(world.error("exec.run", argv({"true"}, {{"cwd", Value::string("no-such-folder")}})).code ==
        "cwd");
  const ActivityError endless =
      world.error("exec.run", argv({"yes"}, {{"max_output", Value::integer(100'000)}}));
  CHECK(endless.kind == "limit");
  // A grandchild that keeps the pipes open does not keep the step.
  CHECK(world.value("exec.run", argv({"sh", "-c", "sleep 1000 & echo done"}))
            .find("stdout")
            ->as_string() == "done\n");
  // Bytes that are no text.
  CHECK(world.value("exec.run", argv({"printf", "a\\377b"})).find("stdout")->as_string() ==
        "a\xef\xbf\xbd"
        "b");
}

TEST_CASE("a program that ignores SIGTERM is stopped with its whole group") {
  World world;
  const uint64_t token = world.start(
      "exec.run",
      argv(
          {"sh", "-c",
           "trap '' TERM; echo $$ > pid; (trap '' TERM; sleep 1000) & while :; do sleep 1; done"}));
  while (!fs::exists(world.root / "pid") || fs::file_size(world.root / "pid") == 0)
    std::this_thread::yield();
  world.cancel(token);
  const auto outcome = world.wait(token);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "cancelled");
  int pid = 0;
  std::ifstream(world.root / "pid") >> pid;
  REQUIRE(pid > 0);
  // Nothing of the group is left; the kernel may need a moment to bury it.
  for (int i = 0; i < 200 && ::kill(-pid, 0) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(::kill(-pid, 0) != 0);
}

TEST_CASE("extern tools speak JSON") {
  World world;
  const Value in = cel::make_record({{"n", Value::integer(2)}});
  CHECK(world.value("double", in, {"sh", "-c", "read line; echo \"[$line, 1.5]\""})
            .as_list()[0]
            .find("n")
            ->as_int() == 2);
  CHECK(world.error("broken", in, {"echo", "no json"}).code == "output");
  CHECK(world.error("fails", in, {"sh", "-c", "echo oops >&2; exit 1"}).kind == "tool");
}

TEST_CASE("files stay within their roots") {
  World world;
  world.value("file.write", cel::make_record({{"path", Value::string("a/b/c.txt")},
                                              {"content", Value::string("one")}}));
  world.value("file.append", cel::make_record({{"path", Value::string("a/b/c.txt")},
                                               {"content", Value::string("two")}}));
  CHECK(world.value("file.read", path("a/b/c.txt")).as_string() == "onetwo");
  CHECK(world.value("file.exists", path("a/b")).as_bool());
  CHECK_FALSE(world.value("file.exists", path("a/x")).as_bool());
  CHECK(world.value("file.glob", cel::make_record({{"pattern", Value::string("**/*.txt")}}))
            .as_list()[0]
            .as_string() == "a/b/c.txt");
  for (const char* outside : {"../x", "/etc/passwd", "a/../../x"})
    CHECK(world.error("file.read", path(outside)).kind == "rejected");
  fs::create_symlink("/etc", world.root / "link");
  CHECK(world.error("file.read", path("link/passwd")).kind == "rejected");
  CHECK(world
            .error("file.write", cel::make_record({{"path", Value::string("link/x")},
                                                   {"content", Value::string("")}}))
            .kind == "rejected");
  CHECK(world.error("file.read", path("missing")).code == "not_found");
  // Patterns: what they find, and none that takes for ever.
  const auto found = [&](const std::string& pattern) {
    return cel::to_json(
        world.value("file.glob", cel::make_record({{"pattern", Value::string(pattern)}})));
  };
  world.value("file.write", cel::make_record({{"path", Value::string("top.txt")}}));
  world.value("file.write", cel::make_record({{"path", Value::string("a/x/y/c.txt")}}));
  world.value("file.write",
              cel::make_record({{"path", Value::string("a/" + std::string(200, 'a') + ".md")}}));
  CHECK(found("*.txt") == R"(["top.txt"])");
  CHECK(found("?op.*") == R"(["top.txt"])");
  CHECK(found("**/c.txt") == R"(["a/b/c.txt","a/x/y/c.txt"])");
  CHECK(found("a/**/y/*.txt") == R"(["a/x/y/c.txt"])");
  CHECK(found("a/*/c.txt") == R"(["a/b/c.txt"])");
  CHECK(found("**/b/**") == R"(["a/b/c.txt"])");
  CHECK(found("a/*").find("c.txt") == std::string::npos);
  CHECK(found("**/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b") == "[]");
  CHECK(world.error("file.read", path("a")).code == "is_folder");
}

TEST_CASE("HTTP") {
  World world;
  Server server(
      {{"/json", answer("200 OK\r\nContent-Type: application/json", R"({"a": 1})")},
       {"/text", answer("200 OK", "hello")},
       {"/see_other", answer("303 See Other\r\nLocation: /text", "")},
       {"/latin", answer("200 OK\r\nContent-Type: text/plain; charset=ISO-8859-1",
                         "Gr\xfc\xdf"
                         "e \x80")},
       {"/meta", answer("200 OK\r\nContent-Type: text/html",
                        "<html><head><meta http-equiv=\"Content-Type\" "
                        "content=\"text/html; charset=windows-1252\"></head>\xfc</html>")},
       {"/octets", answer("200 OK\r\nContent-Type: application/octet-stream", "\xff\xfe")},
       {"/missing", answer("404 Not Found", "nothing here")},
       {"/busy", answer("429 Too Many Requests\r\nRetry-After: 7", "")},
       {"/loop", answer("302 Found\r\nLocation: /loop", "")},
       {"/file", answer("302 Found\r\nLocation: file:///etc/passwd", "")},
       {"/garbage", std::string("\x00\xff\xfe", 3) + "garbage\r\n"},
       {"/bad_json", answer("200 OK\r\nContent-Type: application/json", "{oops")},
       {"/empty", ""},
       {"/short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"},
       {"/large", answer("200 OK", std::string(5000, 'x'))}});
  const auto url = [&](const std::string& p) {
    return cel::make_record({{"url", Value::string(server.base + p)}});
  };
  const Value json = world.value("http.get", url("/json"));
  CHECK(json.find("body")->find("a")->as_int() == 1);
  CHECK(json.find("headers")->find("content-type")->as_string() == "application/json");
  CHECK(world.value("http.get", url("/text")).find("body")->as_string() == "hello");
  const ActivityError missing = world.error("http.get", url("/missing"));
  CHECK(missing.status == 404);
  CHECK_FALSE(missing.retryable);
  CHECK(missing.data.find("body")->as_string() == "nothing here");
  CHECK(world
            .value("http.get", cel::make_record({{"url", Value::string(server.base + "/missing")},
                                                 {"expect_status", Value::integer(404)}}))
            .find("status")
            ->as_int() == 404);
  const ActivityError busy = world.error("http.get", url("/busy"));
  CHECK(busy.retryable);
  CHECK(busy.retry_after_ms == 7000);
  CHECK(world.error("http.get", url("/loop")).code == "redirects");
  CHECK(world.error("http.get", url("/file")).kind == "http");
  CHECK(world.error("http.get", url("/garbage")).kind == "http");
  CHECK(world.error("http.get", url("/bad_json")).code == "malformed_json");
  CHECK(world.error("http.get", url("/empty")).retryable);
  CHECK(world.error("http.get", url("/short")).retryable);
  CHECK(world
            .error("http.get", cel::make_record({{"url", Value::string(server.base + "/large")},
                                                 {"max_bytes", Value::integer(1000)}}))
            .kind == "limit");
  CHECK(world.error("http.get", cel::make_record({{"url", Value::string("ftp://127.0.0.1/x")}}))
            .code == "url");
  CHECK(world.error("http.get", cel::make_record({{"url", Value::string("http://127.0.0.1:1/")}}))
            .code == "connect");
  world.value("http.post",
              cel::make_record({{"url", Value::string(server.base + "/text")},
                                {"json", cel::make_record({{"x", Value::integer(1)}})}}));
  CHECK(server.last_request().find("Idempotency-Key: key-1") != std::string::npos);
  CHECK(server.last_request().find("{\"x\":1}") != std::string::npos);
  // A request has one body; what came of a POST is read where it points to.
  const auto post = [&](const std::string& p,
                        std::initializer_list<std::pair<std::string_view, Value>> more) {
    cel::MapBuilder out;
    out.add("url", Value::string(server.base + p));
    for (const auto& [name, value] : more) out.add(name, value);
    return std::move(out).take();
  };
  const Value one = cel::make_record({{"a", Value::integer(1)}});
  CHECK(world.error("http.post", post("/text", {{"json", one}, {"form", one}})).code == "body");
  CHECK(world.error("http.get", post("/text", {{"expect_status", Value::string("2xx")}})).code ==
        "expect_status");
  CHECK(world.value("http.post", post("/see_other", {{"json", one}})).find("body")->as_string() ==
        "hello");
  CHECK(server.last_request().starts_with("GET /text "));
  world.value("http.post", post("/text", {}));
  CHECK(server.last_request().starts_with("POST /text "));
  CHECK(server.last_request().find("Content-Length: 0\r\n") != std::string::npos);
  world.value("http.put", post("/text", {{"body", Value::string("x")}}));
  CHECK(server.last_request().starts_with("PUT /text "));
  world.value(
      "http.post",
      post("/text", {{"headers", cel::make_record({{"Idempotency-Key", Value::string("mine")}})}}));
  CHECK(server.last_request().find("Idempotency-Key: mine\r\n") != std::string::npos);
  CHECK(server.last_request().find("key-1") == std::string::npos);
  world.value(
      "http.post",
      post("/text", {{"form", cel::make_record(
                                  {{"tag", Value::list({Value::string("a b"), Value::integer(2)})},
                                   {"none", Value()},
                                   {"x", Value::string("ü&=")}})}}));
  CHECK(server.last_request().ends_with("\r\n\r\ntag=a%20b&tag=2&x=%C3%BC%26%3D"));
  // Texts in other encodings, named by the server or by the page.
  CHECK(world.value("http.get", url("/latin")).find("body")->as_string() ==
        "Gr\u00fc\u00dfe \u20ac");
  CHECK(world.value("http.get", url("/meta")).find("body")->as_string().find("\u00fc") !=
        std::string::npos);
  CHECK(world.value("http.get", url("/octets")).find("body")->kind() == cel::Kind::bytes);
  CHECK(world.error("http.get", url(std::string("/te\0xt", 6))).code == "url");

  // A URL that is a secret as a whole is shown nowhere.
  World hidden(Secrets{{"HOOK", server.base + "/missing"},
                       {"GOOD", server.base + "/text"},
                       {"NO_URL", "hidden-word"},
                       {"DEAD", "http://127.0.0.1:1/hidden-word"}});
  for (const char* name : {"HOOK", "NO_URL", "DEAD", "UNSET"}) {
    const ActivityError e =
        hidden.error("http.get", cel::make_record({{"url", kflow::activities::secret(name)}}));
    INFO(e.message);
    CHECK(e.message.find("hidden-word") == std::string::npos);
    CHECK(e.message.find("/missing") == std::string::npos);
    CHECK(e.message.find(name) != std::string::npos);
  }

  const Value good =
      hidden.value("http.get", cel::make_record({{"url", kflow::activities::secret("GOOD")}}));
  CHECK(good.find("body")->as_string() == "hello");
  CHECK(good.find("url")->as_string().empty());

  const ActivityError secret = world.error(
      "http.get",
      cel::make_record({{"url", Value::string("http://user:secret@127.0.0.1:1/?token=secret")}}));
  CHECK(secret.message.find("secret") == std::string::npos);
  // One that hangs is given up when it is cancelled.
  const uint64_t token = world.start("http.get", url("/hangs"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  world.cancel(token);
  const auto outcome = world.wait(token);
  REQUIRE(std::holds_alternative<ActivityError>(outcome));
  CHECK(std::get<ActivityError>(outcome).kind == "cancelled");
}

TEST_CASE("everything under way completes when the activities are closed") {
  auto world = std::make_unique<World>();
  world->start("exec.run", argv({"sleep", "1000"}));
  world->start("exec.run", argv({"sleep", "1000"}));
  world.reset();
  CHECK(world == nullptr);
}

TEST_CASE("a tape holds no secret, and needs none") {
  const fs::path file =
      fs::temp_directory_path() / ("kflow-tape-" + std::to_string(::getpid()) + ".jsonl");
  fs::remove(file);
  Server server({{"/hook-hidden-path", answer("200 OK", "you are hidden-token")},
                 {"/open", answer("200 OK\r\nX-Echo: hidden-token", "open")}});
  const Value by_url = cel::make_record({{"url", secret("HOOK")}});
  const Value by_token = cel::make_record(
      {{"url", Value::string(server.base + "/open")}, {"bearer", secret("TOKEN")}});
  {
    auto tape = Tape::begin(file.string(), {});
    REQUIRE(tape);
    World world(Secrets{{"HOOK", server.base + "/hook-hidden-path"}, {"TOKEN", "hidden-token"}},
                *tape);
    world.value("http.get", by_token);
    CHECK(world.value("http.get", by_url).find("body")->as_string() == "you are hidden-token");
  }
  std::ifstream in(file);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  CHECK(text.find("GET secret:HOOK") != std::string::npos);
  CHECK(text.find("hidden") == std::string::npos);
  auto replayed = Tape::load(file.string(), {});
  REQUIRE(replayed);
  World world({}, *replayed);
  CHECK(world.value("http.get", by_url).find("body")->as_string() == "you are ***");
  CHECK(world.value("http.get", by_token).find("body")->as_string() == "open");
  fs::remove(file);
}
