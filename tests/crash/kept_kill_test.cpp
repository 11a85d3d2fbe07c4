// A conversation that the provider keeps, and a process that is killed in its middle: the call that
// was under way is made again as it was, and no turn is lost.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/support/fake_model/fake_model.hpp"
#include "tests/support/program.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Project {
  fs::path folder = fs::temp_directory_path() / ("kflow-kept-kill-" + std::to_string(::getpid()));
  explicit Project(const test::FakeModel& model) {
    fs::remove_all(folder);
    fs::create_directories(folder / ".kflow");
    std::ofstream(folder / "kflow.yaml")
        << "models:\n  openai: { base_url: \"" + model.base_url() +
               "/v1\" }\n  keeps: { previous_response_id: true }\n";
    std::ofstream(folder / "w.kflow") << R"(kflow 1
model keeps { provider: "openai"  id: "x" }
/// Looks something up.
tool look(what: string) -> string { return "it is ${what}" }
agent a { model: keeps  instructions: "Be brief."  tools: [look] }
workflow w() -> string {
  step said = a("the first question")
  return said
}
)";
  }
  ~Project() { fs::remove_all(folder); }
  Project(const Project&) = delete;
  Project& operator=(const Project&) = delete;

  // Waits until the model was asked that often, and kills the process that asked.
  void kill_at(pid_t pid, const test::FakeModel& model, size_t asked) const {
    for (int i = 0; i < 4000 && model.requests().size() < asked; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    REQUIRE(model.requests().size() == asked);
    ::kill(pid, SIGKILL);
    REQUIRE(test::finish(pid) == 128 + SIGKILL);
  }
  pid_t start() const {
    return test::start_kflow(folder, {"run", "w.kflow", "--id", "r", "--json"});
  }
  pid_t resume() const { return test::start_kflow(folder, {"resume", "r", "--json"}); }
};

constexpr const char* first =
    R"({"kept": "resp_a", "calls": [{"name": "look", "arguments": {"what": "red"}}]})";

}  // namespace

TEST_CASE("killed twice in the middle of a kept conversation: the kept id is used again") {
  const test::FakeModel model(R"([{"contains": "previous_response_id", "answers": [
      {"hang": true}, {"kept": "resp_b", "calls": [{"name": "look", "arguments": {"what": "blue"}}]},
      {"hang": true}, {"text": "red and blue"}]}, {"contains": "", "answers": [)" +
                              std::string(first) + "]}]");
  const Project project(model);
  project.kill_at(project.start(), model, 2);
  project.kill_at(project.resume(), model, 4);
  CHECK(test::finish(project.resume()) == 0);
  CHECK(has(test::text_of(project.folder / "out.txt"), "red and blue"));
  const auto asked = model.requests();
  for (const std::string& body : asked) UNSCOPED_INFO(body);
  REQUIRE(asked.size() == 5);
  CHECK(has(asked[1], "\"previous_response_id\":\"resp_a\""));
  CHECK(has(asked[1], "it is red"));
  CHECK(asked[2] == asked[1]);  // the same call, once more
  CHECK(has(asked[3], "\"previous_response_id\":\"resp_b\""));
  CHECK(has(asked[3], "it is blue"));
  CHECK_FALSE(has(asked[3], "it is red"));  // the provider has it
  CHECK(asked[4] == asked[3]);
}

TEST_CASE("killed in the middle, and the provider has forgotten: all of the conversation is sent") {
  const test::FakeModel model(R"([{"contains": "previous_response_id", "answers": [
      {"hang": true}, {"error": {"status": 400, "code": "previous_response_not_found", "message": "no such response"}}]},
      {"contains": "it is red", "answers": [{"text": "red"}]}, {"contains": "", "answers": [)" +
                              std::string(first) + "]}]");
  const Project project(model);
  project.kill_at(project.start(), model, 2);
  CHECK(test::finish(project.resume()) == 0);
  const auto asked = model.requests();
  REQUIRE(asked.size() == 4);
  CHECK(asked[2] == asked[1]);
  CHECK_FALSE(has(asked[3], "previous_response_id"));
  CHECK(has(asked[3], "the first question"));
  CHECK(has(asked[3], "it is red"));
}
