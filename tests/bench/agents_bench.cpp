// A thousand agents that stream at once through the stand-in for providers (a process of its own):
// memory, order and completeness of what they say, how long a piece takes from the provider's
// socket until it is durable; and what a turn costs besides the model. `agents_bench [AGENTS]`.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "compiler/driver/driver.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"
#include "tests/bench/bench.hpp"

namespace kflow::bench {
namespace {

namespace fs = std::filesystem;

constexpr int pieces = 40;
constexpr int between_ms = 100;

// The stand-in, started by hand as a user would.
class StandIn {
 public:
  StandIn(const fs::path& folder, const std::string& script) {
    std::ofstream(folder / "script.json") << script;
    const std::string port_file = (folder / "port").string();
    fs::remove(port_file);
    child_ = ::fork();
    if (child_ == 0) {
      std::freopen("/dev/null", "w", stdout);
      ::execl(FAKE_MODEL, FAKE_MODEL, (folder / "script.json").c_str(), "--port-file",
              port_file.c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 500 && port_ == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      std::ifstream(port_file) >> port_;
    }
    if (port_ == 0) die("the stand-in does not start");
  }
  ~StandIn() {
    ::kill(child_, SIGTERM);
    ::waitpid(child_, nullptr, 0);
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }

 private:
  pid_t child_ = -1;
  int port_ = 0;
};

std::shared_ptr<const ir::Program> program_for(const std::string& url) {
  const std::string text = R"(
model fake { provider: "openai_chat" id: "fake" base_url: ")" +
                           url + R"(" }
agent speaker { model: fake instructions: "Speak." }
workflow one(n: int) -> string {
  step said = speaker("say ${n}")
  return said
}
workflow ten() {
  step a = speaker("a")  step b = speaker("b")  step c = speaker("c")  step d = speaker("d")
  step e = speaker("e")  step f = speaker("f")  step g = speaker("g")  step h = speaker("h")
  step i = speaker("i")  step j = speaker("j")
}
workflow ten_steps() {
  step a = uuid()  step b = uuid()  step c = uuid()  step d = uuid()  step e = uuid()
  step f = uuid()  step g = uuid()  step h = uuid()  step i = uuid()  step j = uuid()
}
)";
  const auto compiled = driver::compile_text("bench", text);
  if (!compiled->program) die("the program of the benchmark does not compile");
  return std::make_shared<const ir::Program>(*compiled->program);
}

// Reads what is durable as it becomes so.
class Listener : public engine::Observer {
 public:
  void committed(const store::RunHeader& run, const ir::Program&,
                 std::span<const machine::Event> events) override {
    const auto now = static_cast<double>(Clock::now().time_since_epoch().count());
    for (const machine::Event& e : events) {
      const auto* delta = std::get_if<machine::ContentDelta>(&e.data);
      if (delta == nullptr) continue;
      ++events_;
      std::string& heard = heard_[run.id];
      heard += delta->text;
      // Stamps are never cut: a piece is one.
      for (size_t at = 0; at + 28 <= delta->text.size(); at += 28) {
        const double sent = std::strtod(delta->text.c_str() + at + 7, nullptr);
        added_.push_back((now - sent) / 1e6);
      }
    }
  }
  std::map<std::string, std::string> heard_;
  std::vector<double> added_;
  size_t events_ = 0;
};

void streaming(const fs::path& folder, size_t agents, store::Durability durability) {
  const std::string script = R"([{"contains": "", "answers": [{"stamps": )" +
                             std::to_string(pieces) + R"(, "delay_ms": )" +
                             std::to_string(between_ms) + "}]}]";
  fs::create_directories(folder);
  const StandIn server(folder, script);
  const double commit = bare_commit_ms(folder / "bare");
  const auto program = program_for(server.url());
  store::LmdbOptions options;
  options.durability = durability;
  auto opened = store::open_lmdb_store((folder / "store").string(), options);
  if (!opened) die(opened.error().message);
  const std::shared_ptr<store::Store> store = std::move(*opened);
  auto listener = std::make_shared<Listener>();
  engine::EngineOptions engine_options;
  engine_options.observer = listener;
  auto engine = engine::Engine::open(store, engine_options);
  if (!engine) die(engine.error().message);
  std::vector<store::RunKey> keys(agents);
  uint64_t most = 0;
  const double cpu_before = process_seconds();
  const auto begin = Clock::now();
  {
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> clients;
    for (int c = 0; c < 32; ++c) {
      clients.emplace_back([&] {
        for (size_t n = next.fetch_add(1); n < agents; n = next.fetch_add(1)) {
          const auto input =
              cel::make_record({{"n", cel::Value::integer(static_cast<int64_t>(n))}});
          auto run = (*engine)->start(program, program->find("one"), input, {});
          if (!run) die(run.error().message);
          keys[n] = run->key;
        }
      });
    }
  }
  const double started = seconds_since(begin);
  while ((*engine)->active() > 0) {
    most = std::max(most, resident_bytes());
    if (seconds_since(begin) > 120) die("the agents do not end");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const double seconds = seconds_since(begin);
  const double cpu = process_seconds() - cpu_before;
  engine->reset();
  size_t wrong = 0;
  for (const store::RunKey key : keys) {
    const auto header = store->header(key);
    const bool ended = header && *header && (*header)->status == machine::RunStatus::completed;
    const std::string& heard = ended ? listener->heard_[(*header)->id] : "";
    bool good = heard.size() == pieces * 28;
    for (int i = 0; good && i < pieces; ++i)
      good = std::atoi(heard.substr(static_cast<size_t>(i) * 28, 6).c_str()) == i;
    wrong += !good;
  }
  const double added = median(listener->added_);
  const double mib = static_cast<double>(most) / (1 << 20);
  const bool sync = durability == store::Durability::sync;
  const double goal = sync ? 2 * commit : 2;
  Line("streaming_agents")
      .count("agents", agents)
      .text("durability", store::to_string(durability))
      .number("deltas_per_s", static_cast<double>(listener->added_.size()) / seconds, 0)
      .number("pieces_an_event",
              static_cast<double>(listener->added_.size()) / static_cast<double>(listener->events_))
      .number("all_started_s", started)
      .number("seconds", seconds)
      .number("cpu_us_a_delta", cpu * 1e6 / static_cast<double>(listener->added_.size()), 1)
      .number("resident_mib", mib, 0)
      .count("goal_mib", 300)
      .count("lost_or_reordered", wrong)
      .number("added_ms_median", added, 3)
      .number("bare_commit_ms", commit, 3)
      .number("goal_added_ms", goal, 3)
      .met(wrong == 0 && mib < 300 && added <= goal);
}

// Ten agents one after another, each with one turn, less the time of the same requests without
// kflow: what a turn costs.
void overhead(const fs::path& folder) {
  fs::create_directories(folder);
  const StandIn server(folder,
                       R"([{"contains": "", "answers": [{"text": "yes", "chunk": 65536}]}])");
  const auto program = program_for(server.url());
  store::LmdbOptions options;
  options.durability = store::Durability::process;
  auto opened = store::open_lmdb_store((folder / "store").string(), options);
  if (!opened) die(opened.error().message);
  const std::shared_ptr<store::Store> store = std::move(*opened);
  auto engine = engine::Engine::open(store, {});
  if (!engine) die(engine.error().message);
  const auto time_of = [&](const char* workflow) {
    std::vector<double> all;
    for (int i = 0; i < 60; ++i) {
      const auto begin = Clock::now();
      auto run = (*engine)->start(program, program->find(workflow), cel::Value::map({}), {});
      if (!run) die(run.error().message);
      const auto header = (*engine)->wait(run->key, -1);
      if (!header || header->status != machine::RunStatus::completed) die("an agent failed");
      all.push_back(seconds_since(begin) * 1000 / 10);
    }
    return median(std::move(all));
  };
  const double step = time_of("ten_steps");
  const double turn = time_of("ten");
  Line("agent_turn")
      .number("turn_ms", turn, 3)
      .number("plain_step_ms", step, 3)
      .count("goal_ms", 1)
      .met(turn < 1);
}

}  // namespace
}  // namespace kflow::bench

int main(int argc, char** argv) {
  using namespace kflow;
  using namespace kflow::bench;
  const size_t agents = number_argument(argc, argv, 1000);
  const Scratch scratch("agents_bench");
  overhead(scratch / "turn");
  streaming(scratch / "sync", agents, store::Durability::sync);
  streaming(scratch / "process", agents, store::Durability::process);
}
