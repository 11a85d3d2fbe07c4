// Calls of models on a real engine: errors that a workflow can catch, limits, secrets, tapes.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/store/memory/memory_store.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"

using namespace kflow;
using machine::RunStatus;

namespace {

constexpr int patience_ms = 20'000;

// Answers every request with the same octets, and closes.
class RawServer {
 public:
  explicit RawServer(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(fd_, 16) == 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) return;
        std::string request;
        char buffer[8192];
        while (!complete(request)) {
          const ssize_t n = ::recv(client, buffer, sizeof buffer, 0);
          if (n <= 0) break;
          request.append(buffer, static_cast<size_t>(n));
        }
        {
          const std::lock_guard guard(mutex_);
          requests_.push_back(request);
        }
        (void)::send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
        ::shutdown(client, SHUT_WR);
        while (::recv(client, buffer, sizeof buffer, 0) > 0) {
        }
        ::close(client);
      }
    });
  }
  ~RawServer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> requests() const {
    const std::lock_guard guard(mutex_);
    return requests_;
  }

 private:
  static bool complete(const std::string& request) {
    const size_t head = request.find("\r\n\r\n");
    const size_t at = request.find("Content-Length: ");
    if (head == std::string::npos) return false;
    return at == std::string::npos ||
           request.size() >= head + 4 + std::strtoul(request.c_str() + at + 16, nullptr, 10);
  }
  std::string answer_;
  int fd_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

std::string response(const std::string& head, const std::string& body) {
  return "HTTP/1.1 " + head + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

std::shared_ptr<const ir::Program> compile(const std::string& text) {
  auto compiled = driver::compile_text("models.kflow", text);
  REQUIRE(compiled);
  INFO(diagnostics::render_human(compiled->sink, *compiled->sources, false));
  REQUIRE(compiled->program.has_value());
  return std::make_shared<const ir::Program>(std::move(*compiled->program));
}

struct World {
  std::shared_ptr<store::MemoryDisk> disk = std::make_shared<store::MemoryDisk>();
  std::shared_ptr<store::Store> store = store::make_memory_store(disk);
  engine::EngineOptions options;
  std::unique_ptr<engine::Engine> engine;

  void open() {
    auto opened = engine::Engine::open(store, engine::EngineOptions(options));
    REQUIRE(opened);
    engine = std::move(*opened);
  }
  store::RunHeader run(const std::string& text) {
    if (!engine) open();
    const auto program = compile(text);
    auto started = engine->start(program, program->find("w"), cel::Value::map({}), {});
    if (!started) FAIL(started.error().message);
    auto header = engine->wait(started->key, patience_ms);
    REQUIRE(header);
    return *header;
  }
  std::string value(const std::string& text) {
    const store::RunHeader header = run(text);
    INFO(header.error);
    REQUIRE(header.status == RunStatus::completed);
    return cel::to_json(std::get<cel::Value>(*engine::read_outcome(*store, header.key)));
  }
};

constexpr const char* providers[] = {"openai", "openai_chat", "anthropic", "gemini"};

// What a workflow sees of a call that fails, without a second try.
std::string caught(const std::string& provider) {
  return "agent a { model: \"" + provider +
         "/x\" }\nretry once { max: 1 }\nworkflow w() -> string {\n"
         "  try { step x = a(\"hello\") { retry: once }  return \"answered ${x}\" }\n"
         "  catch err { return \"${err.kind} ${err.code} ${err.status}\" }\n  return \"?\"\n}";
}

std::string file_of_tape() {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("kflow_model_tape_" + std::to_string(::getpid())))
          .string();
  std::filesystem::remove(path);
  return path;
}

}  // namespace

TEST_CASE("whatever a server answers, the workflow can catch it") {
  const std::string html = "<!DOCTYPE html><html><title>Sign in</title></html>";
  const std::string events = "Content-Type: text/event-stream";
  struct Case {
    std::string answer;
    std::string seen;
  };
  const Case cases[] = {
      {response("200 OK\r\nContent-Type: text/html", html), "model malformed 0"},
      {response("502 Bad Gateway\r\nContent-Type: text/html", html), "model server 502"},
      {response("200 OK\r\n" + events, ""), "model incomplete 0"},
      {response("200 OK\r\n" + events, "data: {\"half\":"), "model incomplete 0"},
      {response("200 OK\r\n" + events, ": only a comment\n\n"), "model incomplete 0"},
      {response("200 OK\r\nContent-Type: application/json", "{}"), "model malformed 0"},
      {response("200 OK\r\nContent-Type: application/json", "[]"), "model malformed 0"},
      {response("200 OK\r\nContent-Type: text/plain", "hello"), "model incomplete 0"},
      {response("200 OK\r\n" + events, "data: nothing\n\n"), "model malformed 0"},
      {response("401 Unauthorized", R"({"error":{"message":"bad key"}})"), "model auth 401"},
      {response("402 Payment Required", R"({"error":{"message":"no credit"}})"), "model quota 402"},
      {response("413 Payload Too Large", "too large"), "model context_length 413"},
      {response(
           "400 Bad Request",
           R"({"error":{"code":"content_filter","type":"content_filter","status":"CONTENT_FILTER","message":"filtered"}})"),
       "model content_filter 400"},
      {response("429 Too Many Requests\r\nRetry-After: 1", "{}"), "model rate_limit 429"},
      {response("529 Overloaded", "{}"), "model overloaded 529"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ndata: {}\n\n", "http transport 0"},
      {"no HTTP at all\r\n\r\n", "http protocol 0"},
  };
  for (const Case& c : cases) {
    const RawServer server(c.answer);
    World world;
    world.options.activities.models_url = server.url();
    for (const char* provider : providers) {
      INFO(provider << ": " << c.answer.substr(0, 200));
      CHECK(world.value(caught(provider)) == "\"" + c.seen + "\"");
    }
    CHECK(server.requests().size() == 4);
  }
}

TEST_CASE("who asks to wait for years is not waited for") {
  const RawServer server(response("429 Too Many Requests\r\nRetry-After: 999999999", "{}"));
  World world;
  world.options.activities.models_url = server.url();
  const store::RunHeader run = world.run(
      R"(agent a { model: "openai/x" }
         workflow w() -> string { step x = a("hello")  return x })");
  CHECK(run.status == RunStatus::error);
  CHECK(run.error.find("asks to wait") != std::string::npos);
  CHECK(server.requests().size() == 1);
}

TEST_CASE("an answer that is complete counts, whatever becomes of its connection") {
  const std::string body =
      test::model_body("anthropic", *cel::from_json(R"({"text":"all of it"})"), true);
  const RawServer server("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " +
                         std::to_string(body.size() + 100) + "\r\n\r\n" + body);
  World world;
  world.options.activities.models_url = server.url();
  CHECK(world.value(caught("anthropic")) == "\"answered all of it\"");
}

TEST_CASE("keys and headers: from secrets, and nowhere else to be seen") {
  const RawServer server(
      response("200 OK\r\nContent-Type: application/json",
               test::model_body("openai_chat", *cel::from_json(R"({"text":"yes"})"), false)));
  World world;
  world.options.activities.models["openai_chat"] = {
      .base_url = server.url() + "/v1/",
      .api_key_variable = "TEAM_KEY",
      .headers = {{"x-team", "search"}, {"x-token", "t ${TOKEN}."}},
      .stream = false};
  world.options.activities.secret = [](std::string_view name) -> std::optional<std::string> {
    if (name == "TEAM_KEY") return "sk-team-key";
    if (name == "TOKEN") return "token-value";
    return std::nullopt;
  };
  CHECK(world.value(caught("openai_chat")) == "\"answered yes\"");
  const std::string request = server.requests().at(0);
  CHECK(request.starts_with("POST /v1/chat/completions "));
  CHECK(request.find("Authorization: Bearer sk-team-key\r\n") != std::string::npos);
  CHECK(request.find("x-token: t token-value.\r\n") != std::string::npos);
  CHECK(request.find("x-team: search\r\n") != std::string::npos);
  CHECK(request.find("\"stream\"") == std::string::npos);
  // Nothing of them is in the store.
  const auto all = world.store->list({.limit = 10});
  REQUIRE(all);
  std::string recorded;
  for (const store::RunHeader& h : *all) {
    const auto exported = world.store->read(h.key, 0, SIZE_MAX);
    REQUIRE(exported);
    for (const auto& chunk : *exported) recorded += chunk.events;
  }
  CHECK_FALSE(recorded.empty());
  CHECK(recorded.find("sk-team-key") == std::string::npos);
  CHECK(recorded.find("token-value") == std::string::npos);

  World without;
  without.options.activities.models["openai_chat"] = {.base_url = server.url(),
                                                      .headers = {{"x-token", "${TOKEN}"}}};
  CHECK(without.value(caught("openai_chat")) == "\"model no_key 0\"");
}

TEST_CASE("a secret that a server says back in pieces is not on the tape") {
  for (const char* provider : providers) {
    for (const bool stream : {true, false}) {
      INFO(provider << " " << stream);
      const std::string path = file_of_tape();
      const std::string secret = "sk-very-secret-0123456789";
      const std::string text = "secret KEY\nmodel m { provider: \"" + std::string(provider) +
                               "\"  id: \"x\"  api_key: KEY }\nagent a { model: m }\n"
                               "workflow w() -> string { step x = a(\"hi\")  return x }";
      // It knows the key from the request's header, as it were.
      const std::string script = "[{\"answers\":[{\"text\":\"your key is " + secret +
                                 " I think\",\"reasoning\":\"" + secret + "\",\"chunk\":11}]}]";
      {
        test::FakeModel server(script);
        World world;
        const bool openai = std::string_view(provider).starts_with("openai");
        world.options.activities.models[provider] = {
            .base_url = server.base_url() + (openai ? "/v1" : ""), .stream = stream};
        world.options.activities.secret = [&](std::string_view name) {
          return name == "KEY" ? std::optional(secret) : std::nullopt;
        };
        auto tape = activities::Tape::begin(path, {});
        REQUIRE(tape);
        world.options.activities.tape = *tape;
        CHECK(world.value(text).find(secret) != std::string::npos);
      }
      std::ifstream in(path);
      const std::string recorded{std::istreambuf_iterator<char>(in), {}};
      for (const char* piece : {"very-secret", "-secret-0", "y-sec", "12345", "56789"})
        CHECK(recorded.find(piece) == std::string::npos);
      World replayed;
      auto tape = activities::Tape::load(path, {});
      REQUIRE(tape);
      replayed.options.activities.tape = *tape;
      replayed.options.activities.models[provider].stream = stream;
      CHECK(replayed.value(text) == "\"your key is *** I think\"");
      std::filesystem::remove(path);
    }
  }
}

TEST_CASE("a run with a tape is taken by who has that tape, and by nobody else") {
  const std::string path = file_of_tape();
  {
    REQUIRE(activities::Tape::begin(path, {}));
  }
  const auto tape = activities::Tape::load(path, {});
  REQUIRE(tape);
  World world;
  world.options.tape = "replay " + path;
  world.options.activities.tape = *tape;
  world.options.adopt = true;
  world.open();
  const auto program = compile(R"(
    agent a { model: "openai/x" }
    workflow inner() -> bool { step ok = human.confirm("go on?")  return ok }
    workflow w() -> string {
      step sure = inner()
      try { step x = a("hello")  return x } catch err { return err.code }
      return "?"
    })");
  auto started = world.engine->start(program, program->find("w"), cel::Value::map({}), {});
  REQUIRE(started);
  const auto paused = [&]() -> std::optional<store::RunHeader> {
    for (int i = 0; i < 500; ++i) {
      const auto all = world.store->list({.limit = 10});
      for (const store::RunHeader& h : *all) {
        if (h.workflow == "inner" && h.status == RunStatus::paused) return h;
      }
      ::usleep(10'000);
    }
    return std::nullopt;
  }();
  REQUIRE(paused);
  CHECK(paused->tape == "replay " + path);  // children have it too
  world.engine.reset();                     // the process goes
  engine::EngineOptions other;
  other.adopt = true;
  {
    auto stranger = engine::Engine::open(store::make_memory_store(world.disk), std::move(other));
    REQUIRE(stranger);
    const auto refused = (*stranger)->resume(started->key);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find(path) != std::string::npos);
    const auto asked = engine::open_requirements(*world.store, *paused);
    REQUIRE(asked);
    REQUIRE(asked->size() == 1);
    REQUIRE(engine::answer(*world.store, *paused, *program, asked->front(),
                           {.requirement = asked->front().id, .accepted = true}));
    ::usleep(200'000);
    CHECK((*stranger)->active() == 0);
  }
  world.store = store::make_memory_store(world.disk);
  world.open();
  REQUIRE(world.engine->resume(started->key));  // as `kflow resume` does, with the tape
  const auto header = world.engine->wait(started->key, patience_ms);
  REQUIRE(header);
  INFO(header->error);
  CHECK(header->status == RunStatus::completed);
  CHECK(cel::to_json(std::get<cel::Value>(*engine::read_outcome(*world.store, header->key))) ==
        "\"not_on_tape\"");
  std::filesystem::remove(path);
}

TEST_CASE("usage stands in the run's row, with what was cached and thought") {
  test::FakeModel server("");
  World world;
  world.options.activities.models_url = server.base_url();
  const store::RunHeader run = world.run(
      R"(agent a { model: "openai/x" }
         workflow w() -> string {
           step x = a("one")
           step y = a("two")
           let u = info(y).usage
           return "${u.cached_input_tokens} ${u.reasoning_tokens} ${u.calls}"
         })");
  INFO(run.error);
  REQUIRE(run.status == RunStatus::completed);
  CHECK(cel::to_json(std::get<cel::Value>(*engine::read_outcome(*world.store, run.key))) ==
        "\"3 2 1\"");
  CHECK(run.usage == machine::UsageTotal{.input_tokens = 24,
                                         .output_tokens = 14,
                                         .usd = 0,
                                         .calls = 2,
                                         .cached_input_tokens = 6,
                                         .cache_write_tokens = 0,
                                         .reasoning_tokens = 4});
}
