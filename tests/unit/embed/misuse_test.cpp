// What a host does wrong, or at an awkward moment: run under the sanitizers too.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kflow/kflow.h"
#include "kflow/kflow.hpp"
#include "tests/support/catch.hpp"

namespace kf = kflow::embed;

namespace {

constexpr int patience_ms = 20'000;

kf::Program compile(const char* text) {
  auto program = kf::compile_text("misuse.kflow", text);
  if (!program) FAIL(program.error().message);
  return *program;
}
kf::Engine open(const kf::Store& store, kf::EngineOptions options = {}) {
  auto engine = kf::Engine::open(store, std::move(options));
  if (!engine) FAIL(engine.error().message);
  return std::move(*engine);
}
void breathe() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

}  // namespace

TEST_CASE("misuse: an engine that was moved away answers with errors") {
  const auto program = compile("workflow main() -> int { return 1 }");
  kf::Engine first = open(kf::Store::in_memory());
  kf::Engine second = std::move(first);
  const auto wrong = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code == kf::ErrorCode::invalid_argument);
  };
  // NOLINTBEGIN(bugprone-use-after-move)
  wrong(first.start(program, "main", {}));
  wrong(first.get("x"));
  wrong(first.await("x", 1));
  wrong(first.list());
  wrong(first.signal("x", "s", 1));
  wrong(first.questions("x"));
  wrong(first.answer("x", "q", {}));
  wrong(first.cancel("x"));
  wrong(first.resume("x"));
  wrong(first.follow("x", 0, [](const kf::Event&) { return true; }));
  // NOLINTEND(bugprone-use-after-move)
  wrong(second.follow("x", 0, nullptr));
  first = std::move(second);
  const auto id = first.start(program, "main", {});
  REQUIRE(id);
  CHECK(first.await(*id, patience_ms)->value == kf::Value(1));
}

TEST_CASE("misuse: callbacks that throw") {
  std::atomic<int> lines{0};
  kf::EngineOptions options;
  options.on_log = [&](const std::string&) {
    ++lines;
    throw std::runtime_error("log");
  };
  options.on_trouble = [](const std::string&) { throw std::runtime_error("trouble"); };
  options.secret = [](std::string_view) -> std::optional<std::string> {
    throw std::runtime_error("secret");
  };
  options.functions.add("empty", nullptr);
  kf::Engine engine = open(kf::Store::in_memory(), std::move(options));
  const auto program = compile(R"(
    extern tool empty() -> int
    workflow main() -> string {
      step l = log("a line")
      try { step a = empty() { retry: { max: 1 } } } catch err { return err.kind }
      return "fine"
    }
    secret TOKEN
    workflow needy() -> string {
      try { step a = http.get("http://127.0.0.1:1/", bearer: TOKEN) { retry: { max: 1 } } } catch err { return err.message }
      return "fine"
    }
  )");
  const auto needy = engine.start(program, "needy", {});
  REQUIRE(needy);
  CHECK(engine.await(*needy, patience_ms)->value.as_text()->find("TOKEN") != std::string::npos);
  const auto plain = compile(R"(
    extern tool empty() -> int
    workflow main() -> string {
      step l = log("a line")
      try { step a = empty() { retry: { max: 1 } } } catch err { return err.kind }
      return "fine"
    }
  )");
  const auto id = engine.start(plain, "main", {});
  REQUIRE(id);
  CHECK(engine.await(*id, patience_ms)->value == kf::Value("tool"));
  CHECK(lines == 1);
  // A visitor's exception is the caller's; what it has open is closed.
  CHECK_THROWS_AS(
      (void)engine.follow(*id, 0, [](const kf::Event&) -> bool { throw std::runtime_error("v"); }),
      std::runtime_error);
  CHECK(*engine.follow(*id, 0, [](const kf::Event&) { return true; }));
}

TEST_CASE("misuse: an engine used from within its functions and visitors") {
  const auto program = compile(R"(
    extern tool nested(id: string) -> int
    extern tool later(id: string) -> int
    workflow child() -> int { return 4 }
    workflow main() -> int {
      step a = nested("run")
      step b = later("run")
      return a + b
    }
  )");
  kf::Engine* engine = nullptr;
  std::atomic<bool> ready{false};
  const auto nested = [&](const kf::Value&, const kf::Call& call) -> kf::FunctionResult {
    while (!ready) breathe();
    const auto id = engine->start(program, "child", {});
    if (!id) return kf::Failure{"start", id.error().message, false, {}};
    const auto ended = engine->await(*id, patience_ms);
    int seen = 0;
    // Its own run, which waits for this very function.
    (void)engine->follow(call.run_id(), 0, [&](const kf::Event&) { return ++seen > 0; }, 20);
    return ended->value.as_int().value_or(0) + (seen > 0 ? 1 : 0);
  };
  kf::EngineOptions options;
  options.functions.add("nested", nested);
  options.functions.add_async(
      "later", [&](const kf::Value& a, const kf::Call& c, const kf::Completion& done) {
        std::thread([nested, a, c, done] {
          auto result = nested(a, c);
          if (auto* v = std::get_if<kf::Value>(&result)) done.value(*v);
        }).detach();
      });
  kf::Engine own = open(kf::Store::in_memory(), std::move(options));
  engine = &own;
  ready = true;
  const auto id = own.start(program, "main", {});
  REQUIRE(id);
  const auto ended = own.await(*id, patience_ms);
  REQUIRE(ended);
  CHECK(ended->value == kf::Value(10));
  // Reading from within a visitor.
  int inner = 0;
  CHECK(*own.follow(*id, 0, [&](const kf::Event& e) {
    return own.read_events(*id, e.index, [&](const kf::Event&) { return ++inner, false; }).ok();
  }));
  CHECK(inner > 3);
}

TEST_CASE("misuse: an engine goes while functions run and readers follow") {
  const auto program = compile(R"(
    extern tool slow() -> int
    workflow main() -> int {
      for i in lists.range(20) { step a = slow() }
      return 1
    }
  )");
  const kf::Store store = kf::Store::in_memory();
  std::atomic<int> running{0};
  std::string id;
  {
    kf::EngineOptions options;
    options.functions.add("slow",
                          [&](const kf::Value&, const kf::Call& call) -> kf::FunctionResult {
                            ++running;
                            for (int i = 0; i < 500 && !call.stopped(); ++i) breathe();
                            return 1;
                          });
    kf::Engine engine = open(store, std::move(options));
    id = *engine.start(program, "main", {});
    while (running == 0) breathe();
  }
  kf::EngineOptions options;
  options.functions.add("slow",
                        [](const kf::Value&, const kf::Call&) -> kf::FunctionResult { return 1; });
  kf::Engine engine = open(store, std::move(options));
  CHECK(engine.await(id, patience_ms)->status == kf::Status::completed);
}

TEST_CASE("misuse: two engines of one process on one store share its runs") {
  struct Folder {
    std::string path = std::string(KFLOW_TEST_FOLDER) + "/two-" + std::to_string(::getpid());
    ~Folder() { std::filesystem::remove_all(path); }
  } const folder_of_store;
  const std::string& folder = folder_of_store.path;
  const auto store = kf::Store::open(folder, kf::Durability::none);
  REQUIRE(store);
  const auto program = compile(R"(
    workflow main(n: int) -> int {
      step s = signal.wait("go")
      for i in lists.range(3) { step a = sleep(1ms) }
      return n
    }
  )");
  kf::Engine first = open(*store);
  kf::Engine second = open(*store);
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {
    kf::Engine& engine = i % 2 == 0 ? first : second;
    ids.push_back(*engine.start(program, "main", kf::Value::record({{"n", i}})));
  }
  std::vector<std::thread> readers;
  std::atomic<int> gaps{0};
  for (const std::string& id : ids) {
    readers.emplace_back([&first, &second, &gaps, id] {
      std::uint64_t next = 0;
      (void)second.follow(
          id, 0, [&](const kf::Event& e) { return e.index == next++ || ++gaps < 0; }, patience_ms);
      (void)first;
    });
  }
  // Signalled by the engine that has not started it.
  for (size_t i = 0; i < ids.size(); ++i)
    REQUIRE((i % 2 == 0 ? second : first).signal(ids[i], "go", nullptr));
  for (size_t i = 0; i < ids.size(); ++i)
    CHECK((i % 2 == 0 ? second : first).await(ids[i], patience_ms)->value ==
          kf::Value(static_cast<int>(i)));
  for (auto& reader : readers) reader.join();
  CHECK(gaps == 0);
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("misuse: an engine closed from within its own function ends with a message") {
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  const pid_t child = ::fork();  // no store is open yet
  if (child == 0) {
    ::dup2(pipe[1], 2);
    ::signal(SIGABRT, SIG_DFL);
    static kf::Engine* engine = nullptr;
    kf::EngineOptions options;
    options.functions.add("close", [](const kf::Value&, const kf::Call&) -> kf::FunctionResult {
      while (engine == nullptr) breathe();
      delete engine;
      return 1;
    });
    const auto program = compile(R"(
      extern tool close() -> int
      workflow main() -> int { step a = close()  return a }
    )");
    auto* own = new kf::Engine(open(kf::Store::in_memory(), std::move(options)));
    const auto id = own->start(program, "main", {});
    engine = own;
    std::this_thread::sleep_for(std::chrono::seconds(20));
    ::_exit(id ? 0 : 1);
  }
  ::close(pipe[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n = 0; (n = ::read(pipe[0], buffer, sizeof buffer)) > 0;)
    said.append(buffer, static_cast<size_t>(n));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(said.find("closed from within") != std::string::npos);
}
#endif

TEST_CASE("misuse of C: NULL everywhere") {
  const auto wrong = [](kflow_error* error) {
    REQUIRE(error != nullptr);
    CHECK(kflow_error_get_code(error) == KFLOW_INVALID_ARGUMENT);
    kflow_error_free(error);
  };
  wrong(kflow_store_open("x", KFLOW_SYNC, nullptr));
  wrong(kflow_store_in_memory(nullptr));
  wrong(kflow_project_open("/", nullptr));
  wrong(kflow_project_open_store(nullptr, KFLOW_SYNC, nullptr));
  wrong(kflow_program_load(nullptr, nullptr));
  wrong(kflow_program_decode(nullptr, 1, nullptr));
  wrong(kflow_functions_new(nullptr));
  wrong(kflow_functions_add(nullptr, "x", nullptr, nullptr));
  wrong(kflow_functions_add_async(nullptr, "x", nullptr, nullptr));
  wrong(kflow_clock_new(0, nullptr));
  wrong(kflow_engine_open(nullptr, nullptr, nullptr));
  wrong(kflow_start(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr));
  wrong(kflow_get(nullptr, nullptr, nullptr));
  wrong(kflow_list(nullptr, nullptr, 1, nullptr));
  wrong(kflow_await(nullptr, nullptr, 0, nullptr));
  wrong(kflow_signal(nullptr, nullptr, nullptr, nullptr, nullptr));
  wrong(kflow_questions(nullptr, nullptr, nullptr));
  wrong(kflow_answer(nullptr, nullptr, nullptr, 1, nullptr, nullptr));
  wrong(kflow_cancel(nullptr, nullptr, nullptr));
  wrong(kflow_kill(nullptr, nullptr, nullptr));
  wrong(kflow_resume(nullptr, nullptr));
  wrong(kflow_follow(nullptr, nullptr, 0, nullptr, nullptr, 0, nullptr));
  kflow_project_free(nullptr);
  kflow_clock_set(nullptr, 1);
  kflow_call_value(nullptr, "1");
  kflow_call_fail(nullptr, nullptr, nullptr, 0);
  CHECK(kflow_call_stopped(nullptr) == 1);
  CHECK(kflow_call_attempt(nullptr) == 0);
  CHECK(std::string(kflow_call_run_id(nullptr)).empty());
  CHECK(std::string(kflow_call_idempotency_key(nullptr)).empty());
  CHECK(std::string(kflow_error_message(nullptr)).empty());
}

TEST_CASE("misuse of C: a visitor of C++ that throws is an error, runs are listed and killed") {
  const auto fine = [](kflow_error* error) {
    if (error != nullptr) FAIL(kflow_error_message(error));
  };
  kflow_store* store = nullptr;
  kflow_engine* engine = nullptr;
  kflow_program* program = nullptr;
  char* text = nullptr;
  fine(kflow_store_in_memory(&store));
  fine(kflow_engine_open(store, nullptr, &engine));
  kflow_store_close(store);  // the engine keeps it
  const std::string bytes =
      compile("workflow main() -> int { step s = signal.wait(\"never\")  return 1 }").encode();
  fine(kflow_program_decode(bytes.data(), bytes.size(), &program));
  kflow_start_options options = KFLOW_INIT(kflow_start_options);
  options.id = "mine";
  options.tags = "[1]";
  kflow_error* error = kflow_start(engine, program, "main", nullptr, &options, &text);
  REQUIRE(error != nullptr);
  kflow_error_free(error);
  options.tags = R"(["a", "b"])";
  fine(kflow_start(engine, program, "main", nullptr, &options, &text));
  kflow_string_free(text);
  kflow_program_free(program);
  error = kflow_follow(
      engine, "mine", 0,
      [](void*, uint64_t, const char*) -> int { throw std::runtime_error("oops"); }, nullptr, 0,
      nullptr);
  REQUIRE(error != nullptr);
  CHECK(std::string(kflow_error_message(error)) == "oops");
  kflow_error_free(error);
  error = kflow_list(engine, "SLEEPY", 10, &text);
  REQUIRE(error != nullptr);
  kflow_error_free(error);
  fine(kflow_kill(engine, "mine", "enough"));
  fine(kflow_await(engine, "mine", patience_ms, &text));
  CHECK(std::string(text).find("\"status\":\"CANCELLED\"") != std::string::npos);
  kflow_string_free(text);
  fine(kflow_list(engine, "CANCELLED", 10, &text));
  CHECK(std::string(text).find("\"id\":\"mine\"") != std::string::npos);
  kflow_string_free(text);
  fine(kflow_list(engine, "RUNNING", 10, &text));
  CHECK(std::string(text) == "[]");
  kflow_string_free(text);
  kflow_engine_close(engine);
}
