// The language server on a file of 2 000 lines: how long after an edit an answer takes, and the
// diagnostics (which wait for a pause of 40 ms). Prints JSON Lines; on a busy machine the times of
// the clock say little.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "compiler/base/json.hpp"
#include "tests/bench/bench.hpp"

extern char** environ;  // NOLINT: POSIX

namespace kflow::bench {
namespace {

constexpr const char* uri = "file:///nowhere/large.kflow";

/// `kflowc lsp`, and what an editor says to it.
class Server {
 public:
  Server() {
    int in[2];
    int out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) die("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string program = KFLOWC_PROGRAM;
    std::string verb = "lsp";
    char* argv[] = {program.data(), verb.data(), nullptr};
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ) != 0)
      die("kflowc does not start");
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    to_ = in[1];
    from_ = out[0];
  }
  ~Server() {
    ::close(to_);
    ::close(from_);
    int status = 0;
    ::waitpid(pid_, &status, 0);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void send(const std::string& content) const {
    const std::string frame =
        "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
    for (size_t done = 0; done < frame.size();) {
      const ssize_t n = ::write(to_, frame.data() + done, frame.size() - done);
      if (n <= 0) die("the server is gone");
      done += static_cast<size_t>(n);
    }
  }
  void wait_for(const std::string& part) {
    while (next().find(part) == std::string::npos) {
    }
  }

 private:
  std::string next() {
    for (;;) {
      const size_t end = buffer_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const size_t length = std::stoul(buffer_.substr(buffer_.find(": ") + 2));
        if (buffer_.size() >= end + 4 + length) {
          std::string out = buffer_.substr(end + 4, length);
          buffer_.erase(0, end + 4 + length);
          return out;
        }
      }
      char bytes[1U << 16];
      const ssize_t n = ::read(from_, bytes, sizeof bytes);
      if (n <= 0) die("the server says nothing more");
      buffer_.append(bytes, static_cast<size_t>(n));
    }
  }
  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::string buffer_;
};

// A workflow of 18 lines.
std::string workflow(size_t n) {
  std::string text = R"(
/// One order.
type Order# { id: string @length(1, 40), sums: double[], express: bool = false }

/// From the order to the parcel.
workflow fulfil#(order: Order#, note: string = "none") -> string {
  timeout: 3d
  let heavy = order.sums.map(s, s * 2.0).filter(s, s > 10.0).size()
  for sum in order.sums {
    limit: 4
    step picked = http.post("https://shop.example.org/picks", body: {sum: sum}) { timeout: 2m }
    let label = "${sum}: ${picked.status}"
  }
  loop wait {
    max: 12
    until: ready.status == 200
    step ready = http.get("https://shop.example.org/orders/${order.id}", expect_status: [200, 404])
  }
  return "${note} ${heavy} ${label.join(", ")} ${ready.status}"
}
)";
  const std::string number = std::to_string(n);
  for (size_t at = 0; (at = text.find('#', at)) != std::string::npos; at += number.size())
    text.replace(at, 1, number);
  return text;
}

std::string json_text(const std::string& text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

struct Editing {
  Server server;
  size_t line = 0;  // of `return` in the middle of the file, from 0
  int version = 1;
  int id = 0;

  void open() {
    std::string text = "kflow 1\n";
    while (std::count(text.begin(), text.end(), '\n') < 2000) text += workflow(++id);
    const size_t middle = text.find("  return", text.size() / 2);
    line = static_cast<size_t>(
        std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(middle), '\n'));
    server.send(R"({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"rootUri":null}})");
    server.wait_for(R"("id":0)");
    server.send(R"({"jsonrpc":"2.0","method":"initialized","params":{}})");
    server.send(R"({"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":)"
                R"({"uri":")" +
                std::string(uri) + R"(","languageId":"kflow","version":1,"text":)" +
                json_text(text) + "}}}");
    server.wait_for("publishDiagnostics");
  }
  // A line is put in before `return`.
  void edit() {
    const std::string place = R"({"line":)" + std::to_string(line) + R"(,"character":0})";
    server.send(R"({"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":)"
                R"({"uri":")" +
                std::string(uri) + R"(","version":)" + std::to_string(++version) +
                R"(},"contentChanges":[{"range":{"start":)" + place + R"(,"end":)" + place +
                R"(},"text":"  // more\n"}]}})");
    ++line;
  }
  void ask(const std::string& method) {
    server.send(R"({"jsonrpc":"2.0","id":)" + std::to_string(++id) + R"(,"method":"textDocument/)" +
                method + R"(","params":{"textDocument":{"uri":")" + std::string(uri) +
                R"("},"position":{"line":)" + std::to_string(line) + R"(,"character":20}}})");
    server.wait_for(R"("id":)" + std::to_string(id) + ",");
  }
};

void measure(const char* name, Editing& editing, const std::function<void()>& answer) {
  std::vector<double> ms;
  for (int i = 0; i < 40; ++i) {
    editing.edit();
    const auto start = Clock::now();
    answer();
    ms.push_back(seconds_since(start) * 1e3);
  }
  std::sort(ms.begin(), ms.end());
  Line(name)
      .count("lines", 2000)
      .number("ms", ms[ms.size() / 2])
      .number("slowest_ms", ms.back())
      .count("goal_ms", 50)
      .met(ms.back() < 50);
}

}  // namespace
}  // namespace kflow::bench

int main() {
  using namespace kflow::bench;
  Editing editing;
  editing.open();
  measure("lsp_edit_hover", editing, [&] { editing.ask("hover"); });
  measure("lsp_edit_completion", editing, [&] { editing.ask("completion"); });
  measure("lsp_edit_definition", editing, [&] { editing.ask("definition"); });
  std::vector<double> ms;
  for (int i = 0; i < 20; ++i) {
    editing.edit();
    const auto start = Clock::now();
    editing.server.wait_for(R"("version":)" + std::to_string(editing.version) + ",");
    ms.push_back(seconds_since(start) * 1e3);
  }
  Line("lsp_edit_diagnostics").count("lines", 2000).number("ms", median(ms)).count("pause_ms", 40);
}
