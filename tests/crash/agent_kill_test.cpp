// Kills `kflow run` with SIGKILL in the middle of an agent's turn of twenty calls, again and again:
// each kill repeats at most the one call that was under way.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>
#include <vector>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"
#include "tests/support/program.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

constexpr int calls = 20;
constexpr int kills = 15;

// What the model does follows from what it was told, so a repeated request has the same answer.
std::string script() {
  std::string out =
      R"([{"contains": "noted )" + std::to_string(calls) + R"(.", "answers": [{"text": "done"}]})";
  for (int n = calls - 1; n >= 1; --n) {
    out += R"(,{"contains": "noted )" + std::to_string(n) +
           R"(.", "answers": [{"calls": [{"name": "note", "arguments": {"n": )" +
           std::to_string(n + 1) + R"(}}], "chunk": 100, "delay_ms": 2}]})";
  }
  return out + R"(,{"answers": [{"calls": [{"name": "note", "arguments": {"n": 1}}]}]}])";
}

}  // namespace

TEST_CASE("an agent survives kills in the middle of its turn") {
  const test::FakeModel server(script());
  const fs::path folder =
      fs::temp_directory_path() / ("kflow-agent-kill-" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder / ".kflow");
  std::ofstream(folder / "kflow.yaml")
      << "models:\n  openai: { base_url: \"" << server.base_url() << "/v1\" }\n";
  std::ofstream(folder / "w.kflow") << R"k(kflow 1
    /// Takes a note.
    tool note(n: int) -> string {
      step exec.run(["sh", "-c", "echo ${n} >> effects"])
      return "noted ${n}."
    }
    agent worker { model: "openai/x"  tools: [note]  max_turns: 50 }
    workflow w() -> string { step work = worker("Work.")  return work }
  )k";
  std::mt19937 random(20261127);
  const std::vector<std::string> first = {"run", "w.kflow", "--id", "the-run", "--json"};
  pid_t pid = test::start_kflow(folder, first);
  int killed = 0;
  int exit = -1;
  for (int round = 0; round < 10 * kills; ++round) {
    if (killed < kills) {
      // Once it has gone on by a call, at some moment of that or of what follows.
      const size_t before = server.requests().size();
      for (int i = 0; i < 2000 && server.requests().size() == before; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(
          std::chrono::microseconds(std::uniform_int_distribution<int>(0, 25'000)(random)));
      ::kill(pid, SIGKILL);
    }
    exit = test::finish(pid);
    if (exit == 0) break;
    killed += exit == 128 + SIGKILL;
    const bool exists = test::finish(test::start_kflow(folder, {"get", "the-run", "--json"})) == 0;
    pid = test::start_kflow(
        folder, exists ? std::vector<std::string>{"resume", "the-run", "--json"} : first);
  }
  INFO(test::text_of(folder / "err.txt"));
  REQUIRE(exit == 0);
  std::printf("killed %d times, %zu requests\n", killed, server.requests().size());
  CHECK(killed >= 3);

  REQUIRE(test::finish(test::start_kflow(folder, {"get", "the-run", "--events"})) == 0);
  std::istringstream events(test::text_of(folder / "out.txt"));
  std::map<std::string, int> completed;
  int64_t index = 0;
  std::string last;
  for (std::string line; std::getline(events, line);) {
    const auto event = cel::from_json(line);
    REQUIRE(event);
    CHECK(event->find("event_index")->as_int() == index++);
    last = event->find("event")->as_string();
    const cel::Value* step = event->find("step_id");
    if (last == "ModelRequestCompleted" || last == "ToolCallCompleted")
      ++completed[std::string(step->as_string())];
  }
  CHECK(last == "WorkflowCompleted");
  CHECK(completed.size() == 2 * calls + 1);
  for (const auto& [step, times] : completed) {
    INFO(step);
    CHECK(times == 1);
  }
  // Each kill repeated one call at most: of the model, or of the tool.
  const int requests = static_cast<int>(server.requests().size());
  std::map<int, int> notes;
  std::istringstream effects(test::text_of(folder / "effects"));
  int written = 0;
  for (int n = 0; effects >> n; ++written) ++notes[n];
  CHECK(static_cast<int>(notes.size()) == calls);
  CHECK(requests >= calls + 1);
  CHECK(written >= calls);
  CHECK((requests - (calls + 1)) + (written - calls) <= killed);
  fs::remove_all(folder);
}
