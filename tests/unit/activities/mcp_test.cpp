// Real servers of the stand-in: programs and addresses, decent and not. The way of a user: the
// server is asked for its tools, they are locked, a file is compiled with the lock, tools are
// called.
#include "runtime/activities/mcp.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/lock.hpp"
#include "runtime/activities/spawn.hpp"
#include "runtime/activities/tape.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using namespace kflow::activities;
using cel::Value;

namespace {

const std::string fake = std::string(KFLOW_BINARY_DIR) + "/tests/support/fake-mcp";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <typename F>
bool eventually(F&& holds) {
  for (int i = 0; i < 500; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

/// A stand-in behind an address.
class Behind {
 public:
  Behind(const fs::path& folder, const std::vector<std::string>& modes)
      : port_file_((folder / "port").string()) {
    fs::remove(port_file_);
    std::vector<std::string> argv{fake, "--http", port_file_};
    argv.insert(argv.end(), modes.begin(), modes.end());
    auto spawned = spawn(argv, {}, "");
    REQUIRE(std::holds_alternative<Spawned>(spawned));
    process_ = std::get<Spawned>(spawned);
    REQUIRE(eventually([&] { return fs::exists(port_file_); }));
  }
  ~Behind() {
    ::kill(process_.pid, SIGKILL);
    ::waitpid(process_.pid, nullptr, 0);
    for (int* fd : {&process_.in, &process_.out, &process_.err, &process_.pidfd}) close_fd(*fd);
  }
  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(std::stoi(read(port_file_))) + "/mcp";
  }
  std::string journal() const { return read(port_file_ + ".journal"); }

 private:
  std::string port_file_;
  Spawned process_;
};

class World {
 public:
  explicit World(const std::string& name)
      : root(fs::temp_directory_path() / ("kflow-mcp-" + name + std::to_string(::getpid()))) {
    fs::remove_all(root);
    fs::create_directories(root);
    options.file_roots = {root.string()};
    options.progress = [this](const std::string& line) { note(line); };
    options.on_server_line = [this](const std::string& server, const std::string& line) {
      note(server + ": " + line);
    };
    options.secret = [this](std::string_view secret) -> std::optional<std::string> {
      const auto it = secrets.find(secret);
      return it == secrets.end() ? std::nullopt : std::optional(it->second);
    };
  }
  ~World() {
    activities_.reset();
    fs::remove_all(root);
  }

  /// `mcp s { … }` with these options, locked and compiled.
  void declare(const std::string& inside) {
    const std::string file = (root / "a.kflow").string();
    std::ofstream(file) << "secret TOKEN\nmcp s { " << inside
                        << " }\nagent all { model: \"openai/x\" tools: [s] }\n";
    const auto declared = driver::mcp_servers(file);
    REQUIRE(declared);
    REQUIRE((*declared)->servers.size() == 1);
    auto listed = list_tools((*declared)->servers[0].spec, options);
    if (auto* error = std::get_if<ActivityError>(&listed)) {
      refused = *error;
      return;
    }
    server = std::get<ir::LockedServer>(listed);
    std::ofstream((*declared)->servers[0].lock, std::ios::trunc)
        << ir::write_lock(ir::Lock{{server}});
    compile();
  }
  void compile() {
    auto compiled = driver::compile_file((root / "a.kflow").string());
    REQUIRE(compiled);
    INFO(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, false));
    REQUIRE((*compiled)->program);
    program = std::make_shared<const ir::Program>(std::move(*(*compiled)->program));
  }

  uint64_t start(const std::string& tool, Value input = Value::map({})) {
    if (!activities_) {
      activities_ = std::make_unique<Activities>(options, [this](Completion c) {
        const std::lock_guard guard(mutex_);
        done_[c.token].push_back(std::move(c));
        changed_.notify_all();
      });
    }
    const uint64_t token = ++last_;
    activities_->start({.token = token,
                        .callee = "s." + tool,
                        .command = {},
                        .input = std::move(input),
                        .idempotency_key = "k",
                        .run_id = "r",
                        .mcp = program->find("s." + tool),
                        .program = program});
    return token;
  }
  void cancel(uint64_t token) { activities_->cancel(token); }
  void stop() { activities_.reset(); }
  std::variant<Value, ActivityError> wait(uint64_t token) {
    std::unique_lock lock(mutex_);
    REQUIRE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !done_[token].empty(); }));
    CHECK(done_[token].size() == 1);
    return done_[token].front().outcome;
  }
  Value value(const std::string& tool, Value input = Value::map({})) {
    auto outcome = wait(start(tool, std::move(input)));
    if (const auto* error = std::get_if<ActivityError>(&outcome)) FAIL(error->message);
    return std::get<Value>(outcome);
  }
  ActivityError error(const std::string& tool, Value input = Value::map({})) {
    auto outcome = wait(start(tool, std::move(input)));
    REQUIRE(std::holds_alternative<ActivityError>(outcome));
    return std::get<ActivityError>(outcome);
  }
  Value echo(const std::string& text) {
    return value("echo", cel::make_record({{"message", Value::string(text)}}));
  }
  size_t lines(const std::string& part) {
    const std::lock_guard guard(lines_mutex_);
    size_t n = 0;
    for (const std::string& line : lines_) n += line.find(part) != std::string::npos ? 1 : 0;
    return n;
  }

  fs::path root;
  Options options;
  std::map<std::string, std::string, std::less<>> secrets;
  ir::LockedServer server;
  ActivityError refused;
  std::shared_ptr<const ir::Program> program;

 private:
  void note(const std::string& line) {
    const std::lock_guard guard(lines_mutex_);
    lines_.push_back(line);
  }
  std::unique_ptr<Activities> activities_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::vector<Completion>> done_;
  uint64_t last_ = 0;
  std::mutex lines_mutex_;
  std::vector<std::string> lines_;
};

std::string command(const std::string& modes = "") {
  return "command: [\"" + fake + "\"" + (modes.empty() ? "" : ", \"" + modes + "\"") + "]";
}

}  // namespace

TEST_CASE("a server is started once, its tools listed, called and typed") {
  World w("decent");
  ::setenv("FAKE_API_KEY", "not for servers", 1);
  w.secrets["TOKEN"] = "sesame";
  w.declare(command() + " env: { TOKEN: TOKEN, PLAIN: \"p\" }");
  CHECK(w.server.protocol == "2025-11-25");
  CHECK(w.server.server == "fake 1.0");
  CHECK(w.server.tools.size() == 16);  // over several pages
  CHECK(w.echo("hällo") == Value::string("hällo"));
  CHECK(w.value("add", cel::make_record({{"a", Value::number(1)}, {"b", Value::number(2)}})) ==
        cel::make_record({{"sum", Value::number(3)}}));
  CHECK(w.value("image").size() == 3);
  const auto variable = [&](const char* name) {
    return w.value("get_env", cel::make_record({{"name", Value::string(name)}}));
  };
  CHECK(variable("TOKEN") == Value::string("sesame"));
  CHECK(variable("PLAIN") == Value::string("p"));
  CHECK(variable("FAKE_API_KEY") == Value::string("(not set)"));
  const ActivityError failed = w.error("fail");
  CHECK(failed.kind == "tool");
  CHECK(failed.code == "tool_error");
  CHECK(failed.message == "it did not work out");
  CHECK(w.error("wrong").code == "output_schema");
  CHECK(w.error("ask").code == "input_required");
  CHECK(w.value("sample") == Value::string("asked"));
  CHECK(w.value("progress") == Value::string("done"));
  CHECK(w.lines("s.progress: 1 of 3, at it") == 1);
  CHECK(w.lines("fake-mcp is running") == 2);  // one to list, one for all calls
}

TEST_CASE("a hundred calls at once share one server") {
  World w("many");
  w.declare(command());
  std::vector<uint64_t> tokens;
  for (int i = 0; i < 100; ++i)
    tokens.push_back(
        w.start("echo", cel::make_record({{"message", Value::string(std::to_string(i))}})));
  for (int i = 0; i < 100; ++i)
    CHECK(std::get<Value>(w.wait(tokens[static_cast<size_t>(i)])) ==
          Value::string(std::to_string(i)));
  CHECK(w.lines("fake-mcp is running") == 2);
}

TEST_CASE(
    "a server that dies, floods or talks rubbish is an error, and the next call has a new one") {
  World w("bad");
  w.declare(command());
  const ActivityError crash = w.error("crash");
  CHECK(crash.kind == "tool");
  CHECK(crash.code == "mcp_exited");
  CHECK(crash.retryable);
  CHECK(crash.message.find("exit status 3") != std::string::npos);
  CHECK(crash.message.find("something broke") != std::string::npos);
  CHECK(w.echo("again") == Value::string("again"));
  const ActivityError flood = w.error("flood");
  CHECK(flood.kind == "limit");
  CHECK(flood.code == "mcp_message");
  CHECK(w.echo("again") == Value::string("again"));
  CHECK(w.error("garbage").code == "protocol");
  CHECK(w.echo("again") == Value::string("again"));
  CHECK(w.value("strange") == Value::string("in spite of all"));
}

TEST_CASE("a secret that a server prints is not in its error") {
  World w("leak");
  w.secrets["TOKEN"] = "sesame";
  w.declare(command() + " env: { TOKEN: TOKEN }");
  const ActivityError crash = w.error("crash");
  CHECK(crash.message.find("something broke***") != std::string::npos);
}

TEST_CASE("a call that is stopped or takes too long is cancelled at the server") {
  World w("slow");
  w.declare(command() + " timeout: 1500ms");
  const uint64_t token = w.start("slow");
  CHECK(eventually([&] { return w.lines("s: slow begins") == 1; }));
  w.cancel(token);
  CHECK(std::get<ActivityError>(w.wait(token)).kind == "cancelled");
  CHECK(eventually([&] { return w.lines("s: stopped") == 1; }));
  const ActivityError late = w.error("silent");
  CHECK(late.kind == "timeout");
  CHECK(late.code == "mcp_call");
  CHECK(w.error("slow").kind == "timeout");
  CHECK(eventually([&] { return w.lines("s: stopped") == 2; }));
  CHECK(w.echo("on") == Value::string("on"));
}

TEST_CASE("servers of other revisions, and those that cannot be started") {
  const auto declared = [](const char* mode) {
    World w(mode);
    w.declare(command(mode));
    return std::pair(w.server.protocol, w.refused);
  };
  CHECK(declared("old").first == "2024-11-05");
  CHECK(declared("modern").first == "2026-07-28");
  CHECK(declared("banner").first == "2025-11-25");
  CHECK(declared("suicidal").first == "2025-11-25");  // ends when it is asked what it does not know
  CHECK(declared("future").second.code == "protocol");
  CHECK(declared("endless").second.code == "mcp_tools");
  const ActivityError dies = declared("dies").second;
  CHECK(dies.code == "mcp_exited");
  CHECK(dies.message.find("no license") != std::string::npos);
  World none("none");
  none.declare("command: [\"/nowhere/at/all\"]");
  CHECK(none.refused.code == "mcp_start");
  CHECK(none.refused.message.find("/nowhere/at/all") != std::string::npos);
  World secret("secret");
  secret.declare(command() + " env: { TOKEN: TOKEN }");
  CHECK(secret.refused.code == "no_secret");
}

TEST_CASE("a server without a handshake is spoken to in its own way") {
  World w("modern");
  w.declare(command("modern"));
  CHECK(w.echo("new") == Value::string("new"));
  CHECK(w.value("grow") == Value::string("grown"));
}

TEST_CASE("what a server has become must be what was locked") {
  World w("lock");
  w.declare(command());
  // The same command, but another server is behind it.
  const std::string link = (w.root / "server").string();
  std::ofstream(link) << "#!/bin/sh\nexec " << fake << " $(cat mode)\n";
  fs::permissions(link, fs::perms::owner_all);
  std::ofstream((w.root / "mode").string()) << "\n";
  w.declare("command: [\"./server\"]");
  CHECK(w.echo("same") == Value::string("same"));
  w.stop();
  std::ofstream((w.root / "mode").string(), std::ios::trunc) << "changed\n";
  const ActivityError e = w.error("echo", cel::make_record({{"message", Value::string("x")}}));
  CHECK(e.code == "mcp_lock");
  CHECK(e.message.find("kflowc mcp sync") != std::string::npos);
  // What has not changed is called all the same.
  CHECK(w.value("progress") == Value::string("done"));
}

TEST_CASE("servers are stopped with the engine, also those that do not want to") {
  const auto begin = std::chrono::steady_clock::now();
  {
    World w("immortal");
    w.declare(command("immortal"));
    CHECK(w.echo("x") == Value::string("x"));
    const uint64_t token = w.start("slow");
    w.stop();
    CHECK(std::get<ActivityError>(w.wait(token)).kind == "cancelled");
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("calls stand on a tape and are answered from it without a server") {
  World w("tape");
  w.declare(command());
  const std::string path = (w.root / "t.tape").string();
  {
    auto tape = Tape::begin(path, {"sesame"});
    REQUIRE(tape);
    w.options.tape = *tape;
    CHECK(w.echo("sesame opens") == Value::string("sesame opens"));
    CHECK(w.error("fail").message == "it did not work out");
    w.value("add", cel::make_record({{"a", Value::number(1)}, {"b", Value::number(2)}}));
    w.stop();
    w.options.tape.reset();
  }
  CHECK(read(path).find("sesame") == std::string::npos);
  const size_t started = w.lines("fake-mcp is running");
  auto tape = Tape::load(path, {"sesame"});
  REQUIRE(tape);
  w.options.tape = *tape;
  CHECK(w.echo("sesame opens") == Value::string("*** opens"));
  CHECK(w.error("fail").code == "tool_error");
  CHECK(w.value("add", cel::make_record({{"a", Value::number(1)}, {"b", Value::number(2)}})) ==
        cel::make_record({{"sum", Value::number(3)}}));
  const ActivityError missing =
      w.error("echo", cel::make_record({{"message", Value::string("other")}}));
  CHECK(missing.code == "not_on_tape");
  CHECK(w.lines("fake-mcp is running") == started);
}

TEST_CASE("servers behind an address: sessions, streams, resumption") {
  World w("http");
  SECTION("JSON answers, and streams where the server likes") {
    const Behind server(w.root, {});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.server.protocol == "2025-11-25");
    CHECK(w.echo("hi") == Value::string("hi"));
    CHECK(w.value("progress") == Value::string("done"));
    CHECK(w.value("sample") == Value::string("asked"));
    CHECK(w.error("fail").code == "tool_error");
    const uint64_t token = w.start("slow");
    CHECK(eventually([&] {
      return server.journal().find("slow") != std::string::npos || server.journal().size() > 0;
    }));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    w.cancel(token);
    CHECK(std::get<ActivityError>(w.wait(token)).kind == "cancelled");
    w.stop();
    const std::string journal = server.journal();
    CHECK(journal.find("POST tools/call mcp-session-id=session-1 "
                       "mcp-protocol-version=2025-11-25") != std::string::npos);
    CHECK(journal.find("POST notifications/cancelled") != std::string::npos);
    CHECK(journal.find("GET ") != std::string::npos);
    CHECK(journal.find("DELETE ") != std::string::npos);
  }
  SECTION("a stream that breaks off is taken up where it ended") {
    const Behind server(w.root, {"breaks", "sse"});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.echo("in pieces") == Value::string("in pieces"));
    CHECK(w.value("progress") == Value::string("done"));
    CHECK(server.journal().find("last-event-id=e1") != std::string::npos);
  }
  SECTION("a session that is forgotten is made anew, and the call with it") {
    const Behind server(w.root, {"forgetful"});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.echo("twice") == Value::string("twice"));
    CHECK(server.journal().find("mcp-session-id=session-2") != std::string::npos);
  }
  SECTION("a token") {
    const Behind server(w.root, {"secret"});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.refused.code == "unauthorized");
    CHECK(w.refused.message.find("bearer") != std::string::npos);
    w.secrets["TOKEN"] = "sesame";
    w.declare("url: \"" + server.url() + "\" bearer: TOKEN");
    CHECK(w.echo("in") == Value::string("in"));
  }
  SECTION("without a handshake") {
    const Behind server(w.root, {"modern"});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.server.protocol == "2026-07-28");
    CHECK(w.echo("plain") == Value::string("plain"));
    INFO(server.journal());
    CHECK(server.journal().find("POST tools/call mcp-protocol-version=2026-07-28 "
                                "mcp-method=tools/call mcp-name=echo mcp-param-said=plain") !=
          std::string::npos);
  }
  SECTION("the server's own stream tells of new tools") {
    const Behind server(w.root, {"stream"});
    w.declare("url: \"" + server.url() + "\"");
    CHECK(w.value("grow") == Value::string("grown"));
    CHECK(eventually([&] {
      const std::string j = server.journal();
      const size_t first = j.rfind("GET ");
      return j.find("POST tools/list", first) != std::string::npos;
    }));
  }
  SECTION("nobody there") {
    w.declare("url: \"http://127.0.0.1:1/mcp\"");
    CHECK(w.refused.code == "mcp_connect");
    CHECK(w.refused.retryable);
  }
  SECTION("a server that goes away in the middle of a call") {
    auto server = std::make_unique<Behind>(w.root, std::vector<std::string>{});
    w.declare("url: \"" + server->url() + "\"");
    const uint64_t token = w.start("slow");
    CHECK(eventually([&] { return server->journal().find("tools/call") != std::string::npos; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    server.reset();
    CHECK(std::get<ActivityError>(w.wait(token)).retryable);
  }
}
