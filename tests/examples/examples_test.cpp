// The examples as a user runs them: the real program, input made here, the transcript compared
// whole.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "tests/support/catch.hpp"

namespace fs = std::filesystem;

namespace {

const fs::path examples = fs::path(KFLOW_SOURCE_DIR) / "examples";

std::string read(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path(fs::temp_directory_path() / ("kflow-example-" + name + std::to_string(::getpid()))) {
    fs::remove_all(path);
    fs::create_directories(path / ".kflow");
  }
  ~Folder() { fs::remove_all(path); }
  // Runs a shell command here; gives what it printed on standard output.
  std::string run(const std::string& command, int expected = 0) const {
    const std::string line =
        "cd '" + path.string() + "' && " + command + " 2>err.txt >out.txt </dev/null";
    const int status = std::system(line.c_str());
    INFO(command << "\n" << read(path / "err.txt"));
    CHECK(WEXITSTATUS(status) == expected);
    return read(path / "out.txt");
  }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
  }
  const fs::path path;
};

std::string example(const std::string& name) {
  return KFLOW_CLI " run '" + (examples / name / (name + ".kflow")).string() + "' ";
}

// 200 to /good, 404 to everything else, on a free port of 127.0.0.1.
class Server {
 public:
  Server() {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(fd_, 64) == 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        const int client = ::accept(fd_, nullptr, nullptr);
        if (client < 0 || stop_) {
          if (client >= 0) ::close(client);
          return;
        }
        char buffer[4096];
        const ssize_t n = ::recv(client, buffer, sizeof buffer, 0);
        const std::string request(buffer, n > 0 ? static_cast<size_t>(n) : 0);
        const bool good = request.find(" /good ") != std::string::npos;
        const std::string answer = std::string("HTTP/1.1 ") + (good ? "200 OK" : "404 Not Found") +
                                   "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        [[maybe_unused]] const ssize_t sent =
            ::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
        ::close(client);
      }
    });
  }
  ~Server() {
    stop_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    ::close(fd_);
    thread_.join();
  }
  int port = 0;

 private:
  int fd_ = -1;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace

TEST_CASE("release_notes") {
  const Folder folder("notes");
  folder.run(
      "git init -q -b main . && git config user.name Ada && git config user.email a@x && "
      "for s in 'First feature' 'Fix the parser' 'Document it'; do git commit -q --allow-empty -m "
      "\"$s\" || exit 1; done && git tag v1");
  CHECK(folder.run(example("release_notes") + "-i out=notes.md") ==
        "3 commits by 1 authors → notes.md\n");
  std::string notes = read(folder.path / "notes.md");
  // The hashes differ from run to run.
  for (size_t at = notes.find(" ("); at != std::string::npos; at = notes.find(" (", at + 2))
    notes.replace(at, notes.find(')', at) + 1 - at, " (#)");
  CHECK(notes == read(examples / "release_notes" / "transcript.txt"));
  folder.run(example("release_notes") + "-i from=v1", 1);
  CHECK(read(folder.path / "err.txt").find("no commits in v1..HEAD") != std::string::npos);
}

TEST_CASE("log_triage") {
  const Folder folder("logs");
  folder.write("logs/a.log",
               "2026-11-24 10:00:01 INFO started\n2026-11-24 10:00:02 ERROR db: connection to "
               "10.0.0.1:5432 failed\n"
               "2026-11-24 10:00:03 ERROR db: connection to 10.0.0.2:5432 failed\n2026-11-24 "
               "10:00:05 FATAL out of memory\n");
  CHECK(folder.run(example("log_triage") + "-i path=logs") ==
        read(examples / "log_triage" / "transcript.txt"));
  CHECK(folder.run(example("log_triage") + "-i path=logs -i pattern=nothing_like_it") ==
        "nothing in 1 files matches nothing_like_it\n");
  folder.run(example("log_triage") + "-i path=missing", 1);
  folder.run(example("log_triage") + "-i path=logs -i top=0", 2);
  CHECK(read(folder.path / "err.txt").find("must be 1 to 100") != std::string::npos);
}

TEST_CASE("link_check") {
  const Folder folder("links");
  const Server server;
  const std::string base = "http://127.0.0.1:" + std::to_string(server.port);
  folder.write("docs/a.md", "[a](" + base + "/good) and [b](" + base + "/bad \"title\")\n");
  folder.write("docs/b.md", "[again](" + base + "/good)\n");
  CHECK(folder.run(example("link_check") + "-i path=docs") ==
        "2 links in 2 files, 1 broken:\n- " + base + "/bad: " + base + "/bad answered 404\n");
  folder.write("docs/a.md", "[a](" + base + "/good)\n");
  CHECK(folder.run(example("link_check") + "-i path=docs") == "1 links in 2 files, all good\n");
}

namespace {

// From the example's tape, without a key and without a network.
std::string replayed(const std::string& name, const std::string& more = "") {
  return example(name) + more + " --replay '" + (examples / name / "tape.jsonl").string() + "' ";
}

}  // namespace

TEST_CASE("a resumed run says of the step it went on with what it says of others") {
  const Folder folder("resumed");
  folder.write(
      "w.kflow",
      "tool t() -> string { step exec.run([\"test\", \"-e\", \"there\"])  return \"ok\" }\n"
      "workflow w() -> string { step x = t()  return x }\n");
  folder.run(KFLOW_CLI " run w.kflow", 1);
  folder.write("there", "");
  CHECK(folder.run(KFLOW_CLI " resume @last") == "ok\n");
  const std::string said = read(folder.path / "err.txt");
  INFO(said);
  CHECK(said.find("✓ x  ") != std::string::npos);
  CHECK(said.find(" d ") == std::string::npos);  // it did not take days
}

TEST_CASE("content_creation: a team with tools, then a planner") {
  const Folder folder("content");
  CHECK(folder.run(replayed("content_creation") + "-i 'topic=AI trends'") ==
        read(examples / "content_creation" / "transcript.txt"));
  // Every call is a step of its own, and says what it used.
  const std::string shown = folder.run(KFLOW_CLI " get @last");
  for (const char* step :
       {"\n  research ", "\n    hackernews_agent[1] ", "\n      hackernews_top_stories[1] ",
        "\n          for[5].got ", "\n      yfinance_quote[3] ", "\n    model[2] ",
        "openai/gpt-5.2", "8 calls of models"}) {
    INFO(shown);
    CHECK(shown.find(step) != std::string::npos);
  }
  // It is the one of the language's own description, word for word.
  const std::string readme = read(fs::path(KFLOW_SOURCE_DIR) / "README.md");
  CHECK(readme.find(read(examples / "content_creation" / "content_creation.kflow")) !=
        std::string::npos);
}

TEST_CASE("research_with_review: a loop until the critic is satisfied, then a person") {
  const Folder folder("research");
  folder.run(replayed("research_with_review") + "-i 'topic=heat pumps'", 3);
  CHECK(read(folder.path / "err.txt").find("waits for an answer") != std::string::npos);
  folder.run(KFLOW_CLI " answer @last --value '{\"publish\": \"perhaps\"}'", 2);
  folder.run(KFLOW_CLI " answer @last --value '{\"publish\": true}'");
  folder.run(KFLOW_CLI " get @last --wait");
  const std::string run = folder.run(KFLOW_CLI " get @last");
  CHECK(run.find("edit[1].refine[2].review") != std::string::npos);
  CHECK(run.substr(run.find("\n\n", run.find("\n\n") + 2) + 2) ==
        read(examples / "research_with_review" / "transcript.txt"));
  CHECK(folder.run(KFLOW_CLI " get @last --json").find("\"COMPLETED\"") != std::string::npos);
}

TEST_CASE("support_triage: typed classification, child workflows, the session") {
  const Folder folder("support");
  const std::string command = KFLOW_CLI " run '" +
                              (examples / "support_triage" / "support_triage.kflow").string() +
                              "' support_triage --session ada --replay '" +
                              (examples / "support_triage" / "tape.jsonl").string() + "' ";
  std::string said;
  for (const char* message :
       {"You charged me twice this month!", "The PDF export crashes with large reports.",
        "How many rows can I export?"})
    said += folder.run(command + "-i 'message=" + message + "'");
  CHECK(said == read(examples / "support_triage" / "transcript.txt"));
  // What is not on the tape fails with its name.
  folder.run(command + "-i 'message=Something else'", 1);
  CHECK(read(folder.path / "err.txt").find("holds no answer") != std::string::npos);
}

TEST_CASE("code_review: three reviewers, SARIF") {
  const Folder folder("review");
  folder.run("sh '" KFLOW_SOURCE_DIR "/tests/examples/review_repository.sh'");
  CHECK(folder.run(replayed("code_review")) == read(examples / "code_review" / "transcript.txt"));
}

TEST_CASE("chat_with_history: what was said is told again") {
  const Folder folder("chat");
  const std::string command =
      "printf 'My name is Ada.\nWhat is my name?\n' | " KFLOW_CLI " chat '" +
      (examples / "chat_with_history" / "chat_with_history.kflow").string() + "' --replay '" +
      (examples / "chat_with_history" / "tape.jsonl").string() + "' </dev/stdin";
  std::string said = folder.run("sh -c \"" + command + "\"");
  CHECK(said == read(examples / "chat_with_history" / "transcript.txt"));
  const std::string file =
      "'" + (examples / "content_creation" / "content_creation.kflow").string() + "'";
  folder.run(KFLOW_CLI " chat " + file, 2);
  CHECK(read(folder.path / "err.txt").find("name one of hackernews_agent, finance_agent") !=
        std::string::npos);
  folder.run(KFLOW_CLI " chat " + file + " writer", 2);
  CHECK(read(folder.path / "err.txt").find("is named `writer`; those that do:") !=
        std::string::npos);
}
