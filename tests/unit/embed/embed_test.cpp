// The embedding library as a host uses it: by its public headers alone.
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kflow/kflow.hpp"
#include "tests/support/catch.hpp"

namespace kf = kflow::embed;

namespace {

constexpr int patience_ms = 20'000;

kf::Program compile(const std::string& text) {
  auto program = kf::compile_text("embed.kflow", text);
  if (!program) FAIL(program.error().message);
  return *program;
}

kf::Engine open(const kf::Store& store, kf::EngineOptions options = {}) {
  auto engine = kf::Engine::open(store, std::move(options));
  if (!engine) FAIL(engine.error().message);
  return std::move(*engine);
}

kf::Run run(kf::Engine& engine, const kf::Program& program, const kf::Value& input = {}) {
  const auto id = engine.start(program, "main", input);
  if (!id) FAIL(id.error().message);
  const auto ended = engine.await(*id, patience_ms);
  REQUIRE(ended);
  return *ended;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("values are what JSON has, and more") {
  const auto v =
      kf::Value::from_json(R"({"a": [1, 2.5, "x", true, null], "b": {"c": 9007199254740993}})");
  REQUIRE(v);
  CHECK(v->kind() == kf::Kind::record);
  CHECK(v->names() == std::vector<std::string>{"a", "b"});
  CHECK(v->find("a").size() == 5);
  CHECK(v->find("a").at(0).as_int() == 1);
  CHECK(v->find("a").at(1).as_number() == 2.5);
  CHECK_FALSE(v->find("a").at(1).as_int());
  CHECK(v->find("a").at(2).as_text() == "x");
  CHECK(v->find("a").at(3).as_bool() == true);
  CHECK(v->find("a").at(4).is_null());
  CHECK(v->find("a").at(5).is_null());
  CHECK(v->find("b").find("c").as_int() == 9007199254740993);
  CHECK(v->find("nothing").is_null());
  CHECK_FALSE(v->contains("nothing"));
  CHECK(v->json() == R"({"a":[1,2.5,"x",true,null],"b":{"c":9007199254740993}})");
  CHECK(kf::Value::record({{"a", 1}, {"b", "x"}, {"a", 2}}).json() == R"({"a":2,"b":"x"})");
  CHECK(kf::Value::bytes("\xff") == kf::Value::bytes("\xff"));
  CHECK(kf::Value::bytes("\xff").as_bytes() == "\xff");
  CHECK(kf::Value("\xff") == kf::Value("\xEF\xBF\xBD"));
  CHECK(kf::Value() == kf::Value(nullptr));
  CHECK(kf::Value(1) != kf::Value("1"));
  CHECK_FALSE(kf::Value::from_json("{"));
  CHECK(kf::Value::from_json("{").error().code == kf::ErrorCode::invalid_argument);
}

TEST_CASE("what is wrong is said: files, programs, inputs, runs") {
  const auto broken = kf::compile_text("x.kflow", "workflow main() -> string { return 7 }");
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == kf::ErrorCode::invalid_argument);
  CHECK(has(broken.error().message, "x.kflow:1:"));
  CHECK_FALSE(kf::compile_file("/nowhere/x.kflow"));
  CHECK(kf::Program::load("/nowhere/x.kir").error().code == kf::ErrorCode::not_found);
  CHECK(kf::Program::decode("none").error().code == kf::ErrorCode::incompatible);
  CHECK_FALSE(kf::Store::open("/proc/none"));

  const auto program = compile("workflow main(n: int) -> int { return n }");
  const auto again = kf::Program::decode(program.encode());
  REQUIRE(again);
  CHECK(again->hash() == program.hash());
  CHECK(program.workflows() == std::vector<std::string>{"main"});
  kf::Engine engine = open(kf::Store::in_memory());
  CHECK(has(engine.start(program, "mian", {}).error().message, "it has `main`"));
  const auto wrong = engine.start(program, "main", kf::Value::record({{"n", "x"}}));
  CHECK(wrong.error().code == kf::ErrorCode::invalid_argument);
  CHECK(has(wrong.error().message, "`n`"));
  CHECK(engine.get("none").error().code == kf::ErrorCode::not_found);
  CHECK_FALSE(engine.signal("none", "x", {}));
  CHECK_FALSE(engine.cancel("none"));
  CHECK_FALSE(engine.follow("none", 0, [](const kf::Event&) { return true; }));
  CHECK(run(engine, *again, kf::Value::record({{"n", 7}})).value == kf::Value(7));
}

TEST_CASE(
    "functions: typed, with a call, later; failures and exceptions are errors of their steps") {
  kf::EngineOptions options;
  std::string key;
  options.functions
      .add_typed("join", {"words", "last"},
                 [](const std::vector<std::string>& words, std::optional<std::string> last) {
                   std::string out;
                   for (const auto& w : words) out += w;
                   return out + last.value_or("!");
                 })
      .add_typed("small", {"n"}, [](int8_t n) { return n; })
      .add("keyed",
           [&key](const kf::Value&, const kf::Call& call) -> kf::FunctionResult {
             key = call.idempotency_key();
             if (call.attempt() == 1) return kf::Failure{"busy", "not now", true, {}};
             return call.attempt();
           })
      .add("throws",
           [](const kf::Value&, const kf::Call&) -> kf::FunctionResult {
             throw std::runtime_error("out of cheese");
           })
      .add_async("later",
                 [](const kf::Value& arguments, const kf::Call&, kf::Completion done) {
                   std::thread([n = *arguments.find("n").as_int(), done] {
                     std::this_thread::sleep_for(std::chrono::milliseconds(5));
                     done.value(n + 1);
                     done.value(0);  // the first counts
                   }).detach();
                 })
      .add_async("drops", [](const kf::Value&, const kf::Call&, kf::Completion) {})
      .add_async("throws_late", [](const kf::Value&, const kf::Call&, kf::Completion) {
        throw std::runtime_error("late cheese");
      });
  kf::Engine engine = open(kf::Store::in_memory(), std::move(options));
  const auto program = compile(R"(
    extern tool join(words: string[], last: string?) -> string
    extern tool small(n: int) -> int
    extern tool keyed() -> int
    extern tool throws() -> int
    extern tool later(n: int) -> int
    extern tool drops() -> int
    extern tool throws_late() -> int
    retry once { max: 1 }
    retry quick { max: 3  backoff: constant(1ms) }
    workflow main() -> any[] {
      step a = join(["x", "y"])
      step b = join(["z"], last: "?")
      step c = keyed() { retry: quick }
      step d = later(6)
      return [a, b, c, d]
    }
    workflow errors(which: string) -> string {
      try {
        if which == "small" { step x0 = small(1000) { retry: once } }
        if which == "throws" { step x1 = throws() { retry: once } }
        if which == "drops" { step x2 = drops() { retry: once } }
        if which == "throws_late" { step x3 = throws_late() { retry: once } }
      } catch err { return "${err.kind}/${err.code}: ${err.message}" }
      return "nothing"
    }
  )");
  CHECK(program.functions().size() == 7);
  CHECK(run(engine, program).value.json() == R"(["xy!","z?",2,7])");
  CHECK_FALSE(key.empty());
  const auto error = [&](const char* which) {
    const auto id = engine.start(program, "errors", kf::Value::record({{"which", which}}));
    REQUIRE(id);
    return engine.await(*id, patience_ms)->value.as_text().value_or("");
  };
  CHECK(has(error("small"), "tool/argument: the argument `n` is of another type"));
  CHECK(has(error("throws"), "out of cheese"));
  CHECK(has(error("drops"), "tool/abandoned"));
  CHECK(has(error("throws_late"), "late cheese"));

  kf::Engine poor = open(kf::Store::in_memory());
  const auto refused = poor.start(program, "main", {});
  REQUIRE_FALSE(refused);
  CHECK(has(refused.error().message, "`join`"));
}

TEST_CASE("an asynchronous call that is stopped, and one that outlives its engine") {
  // The threads may outlive the test.
  const auto seen_stop = std::make_shared<std::atomic<bool>>(false);
  std::vector<kf::Completion> kept;
  std::mutex mutex;
  const auto program = compile(R"(
    extern tool never() -> int
    workflow main() -> int { step a = never()  return a }
  )");
  {
    kf::EngineOptions options;
    options.functions.add_async("never",
                                [&](const kf::Value&, const kf::Call& call, kf::Completion done) {
                                  {
                                    const std::lock_guard guard(mutex);
                                    kept.push_back(done);
                                  }
                                  std::thread([seen_stop, call] {
                                    for (int i = 0; i < 2000 && !call.stopped(); ++i)
                                      std::this_thread::sleep_for(std::chrono::milliseconds(5));
                                    if (call.stopped()) *seen_stop = true;
                                  }).detach();
                                });
    kf::Engine engine = open(kf::Store::in_memory(), std::move(options));
    const auto id = engine.start(program, "main", {});
    REQUIRE(id);
    while (true) {
      const std::lock_guard guard(mutex);
      if (!kept.empty()) break;
    }
    REQUIRE(engine.cancel(*id, "enough"));
    const auto ended = engine.await(*id, patience_ms);
    REQUIRE(ended);
    CHECK(ended->status == kf::Status::cancelled);
    for (int i = 0; i < 1000 && !*seen_stop; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(*seen_stop);
    const auto second = engine.start(program, "main", {});
    REQUIRE(second);
    while (true) {
      const std::lock_guard guard(mutex);
      if (kept.size() == 2) break;
    }
  }
  for (const kf::Completion& done : kept) done.value(1);  // for nobody
}

TEST_CASE("a run goes on in the next engine of its store, under the same key") {
  const kf::Store store = kf::Store::in_memory();
  const auto program = compile(R"(
    workflow main() -> string {
      step ok: string = human.ask("which colour?")
      step more: int = signal.wait("more")
      return "${ok} ${more}"
    }
  )");
  std::string id;
  {
    kf::Engine engine = open(store);
    kf::StartOptions once;
    once.id = "order-7";
    once.idempotency_key = "the order of Ada";
    const auto started = engine.start(program, "main", {}, once);
    REQUIRE(started);
    id = *started;
    once.id = "";
    const auto again = engine.start(program, "main", {}, once);
    REQUIRE(again);
    CHECK(*again == id);  // the same run
    once = {};
    once.id = id;
    CHECK(engine.start(program, "main", {}, once).error().code == kf::ErrorCode::already_exists);
    while (engine.questions(id)->empty()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(engine.get(id)->status == kf::Status::paused);
  }
  kf::Engine engine = open(store);
  const auto questions = engine.questions(id);
  REQUIRE(questions);
  REQUIRE(questions->size() == 1);
  CHECK(questions->front().text == "which colour?");
  CHECK_FALSE(questions->front().form.empty());
  kf::Answer answer;
  CHECK_FALSE(engine.answer(id, "none", answer));
  answer.value = kf::Value::list({});
  CHECK(engine.answer(id, questions->front().id, answer).error().code ==
        kf::ErrorCode::invalid_argument);
  answer.value = "red";
  REQUIRE(engine.answer(id, questions->front().id, answer));
  REQUIRE(engine.signal(id, "more", 3, "k"));
  REQUIRE(engine.signal(id, "more", 4, "k"));  // the first of a key counts
  const auto ended = engine.await(id, patience_ms);
  REQUIRE(ended);
  CHECK(ended->value == kf::Value("red 3"));

  // Events: without gaps, the same again, from anywhere.
  std::vector<std::string> all;
  const auto over = engine.follow(id, 0, [&](const kf::Event& e) {
    CHECK(e.index == all.size());
    all.push_back(e.json);
    return true;
  });
  REQUIRE(over);
  CHECK(*over);
  REQUIRE(all.size() > 4);
  std::vector<std::string> tail;
  REQUIRE(engine.read_events(id, 3, [&](const kf::Event& e) {
    tail.push_back(e.json);
    return tail.size() < 2;
  }));
  CHECK(tail == std::vector<std::string>(all.begin() + 3, all.begin() + 5));
  CHECK(*engine.follow(id, all.size() + 10, [](const kf::Event&) { return true; }, 1000));
  CHECK(engine.list(kf::Status::completed)->size() == 1);
  CHECK(engine.list(kf::Status::error)->empty());
}

TEST_CASE("a clock of one's own: days are over at once") {
  kf::ManualClock clock;
  kf::EngineOptions options;
  options.clock = clock;
  kf::Engine engine = open(kf::Store::in_memory(), std::move(options));
  const auto program =
      compile("workflow main() -> string { step a = sleep(30d)  return \"later\" }");
  const auto id = engine.start(program, "main", {});
  REQUIRE(id);
  CHECK_FALSE(kf::has_ended(engine.await(*id, 30)->status));
  const auto begin = std::chrono::steady_clock::now();
  while (!kf::has_ended(engine.await(*id, 10)->status)) {
    clock.advance(86'400'000);
    REQUIRE(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
  }
  CHECK(engine.get(*id)->value == kf::Value("later"));
  CHECK(engine.get(*id)->ended_at_ms - engine.get(*id)->created_at_ms >= 30LL * 86'400'000);
}
