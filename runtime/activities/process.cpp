// Programs: one thread spawns them, feeds and drains their pipes, enforces limits, and reaps them.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/spawn.hpp"
#include "runtime/activities/task_queue.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;
using Clock = std::chrono::steady_clock;

// After the program itself has ended, how long its pipes are read: a grandchild may hold them open
// for ever.
constexpr int drain_ms = 200;

struct Child {
  Request request;
  bool is_tool = false;
  pid_t pid = -1;
  int pidfd = -1;
  int in = -1;
  int out = -1;
  int err = -1;
  std::string input;
  size_t written = 0;
  std::string output;
  std::string errors;
  int64_t max_output = default_max_output;
  bool cancelled = false;
  bool too_much = false;
  bool exited = false;
  int status = 0;
  Clock::time_point kill_at = Clock::time_point::max();  // SIGKILL
  Clock::time_point drain_until = Clock::time_point::max();
};

class ProcessWorker final : public Worker {
 public:
  ProcessWorker(Options options, CompletionHandler done)
      : options_(std::move(options)), done_(std::move(done)) {
    ::signal(SIGPIPE, SIG_IGN);
    thread_ = std::thread([this] { loop(); });
  }
  ~ProcessWorker() override {
    tasks_.post([this] { stopping_ = true; });
    thread_.join();
  }
  void start(Request request) override {
    tasks_.post([this, r = std::move(request)]() mutable { spawn(std::move(r)); });
  }
  void cancel(uint64_t token) override {
    tasks_.post([this, token] {
      const auto it = children_.find(token);
      if (it == children_.end()) return;
      it->second.cancelled = true;
      terminate(it->second);
    });
  }

 private:
  void fail(uint64_t token, ActivityError error) { done_({token, std::move(error)}); }

  void spawn(Request request) {
    const uint64_t token = request.token;
    if (stopping_) return fail(token, cancelled_error());
    Child child;
    child.is_tool = !request.command.empty();
    std::vector<std::string> argv = request.command;
    if (!child.is_tool) {
      if (const Value* list = request.input.find("argv");
          list != nullptr && list->kind() == cel::Kind::list) {
        for (const Value& v : list->as_list())
          argv.emplace_back(v.kind() == cel::Kind::string ? v.as_string() : "");
      }
      child.input = text_argument(request.input, "stdin");
      child.max_output =
          std::max<int64_t>(1, int_argument(request.input, "max_output", default_max_output));
    } else {
      child.input = cel::to_json(request.input) + "\n";
    }
    const std::string_view kind = child.is_tool ? "tool" : "exec";
    if (argv.empty() || argv[0].empty())
      return fail(
          token, {.kind = std::string(kind), .code = "argv", .message = "`argv` names no program"});
    for (const std::string& arg : argv) {
      if (arg.find('\0') != std::string::npos)
        return fail(token, {.kind = std::string(kind),
                            .code = "argv",
                            .message = "an argument contains a NUL character"});
    }
    std::string cwd = text_argument(request.input, "cwd");
    if (!options_.file_roots.empty() && (child.is_tool || cwd.empty() || cwd.front() != '/'))
      cwd = options_.file_roots.front() + (cwd.empty() || child.is_tool ? "" : "/" + cwd);
    child.request = std::move(request);
    if (auto error = launch(child, argv, cwd)) {
      error->kind = kind;
      return fail(token, std::move(*error));
    }
    children_.emplace(token, std::move(child));
  }

  std::vector<std::string> environment(const Request& request) const {
    std::map<std::string, std::string> all;
    for (auto& [name, value] : own_environment()) all[name] = value;
    all["KFLOW_RUN_ID"] = request.run_id;
    all["KFLOW_IDEMPOTENCY_KEY"] = request.idempotency_key;
    all["KFLOW_ATTEMPT"] = std::to_string(request.attempt);
    const Value* own = request.command.empty() ? request.input.find("env") : nullptr;
    if (own != nullptr && own->kind() == cel::Kind::map) {
      for (const cel::MapEntry& e : own->as_map()) {
        if (e.key.kind() == cel::Kind::string && e.value.kind() == cel::Kind::string)
          all[std::string(e.key.as_string())] = e.value.as_string();
      }
    }
    std::vector<std::string> out;
    for (const auto& [name, value] : all) out.push_back(name + "=" + value);
    return out;
  }

  std::optional<ActivityError> launch(Child& child, std::vector<std::string>& argv,
                                      const std::string& cwd) {
    auto spawned = activities::spawn(argv, environment(child.request), cwd);
    if (auto* error = std::get_if<ActivityError>(&spawned)) return std::move(*error);
    const Spawned& started = std::get<Spawned>(spawned);
    child.pid = started.pid;
    child.pidfd = started.pidfd;
    child.in = started.in;
    child.out = started.out;
    child.err = started.err;
    if (child.input.empty()) close_fd(child.in);
    return std::nullopt;
  }

  void terminate(Child& child) {
    if (child.exited) return;
    if (child.kill_at == Clock::time_point::max()) {
      ::kill(-child.pid, SIGTERM);
      child.kill_at = Clock::now() + std::chrono::milliseconds(kill_grace_ms);
    }
  }

  void loop() {
    // The kernel's parent-death signal follows the thread that forked: this one lives as long as
    // the worker.
    for (;;) {
      tasks_.run();
      if (stopping_) {
        for (auto& [token, child] : children_) {
          child.cancelled = true;
          ::kill(-child.pid, SIGKILL);
        }
        if (children_.empty()) return;
      }
      wait();
      collect();
    }
  }

  int timeout() const {
    auto first = Clock::time_point::max();
    for (const auto& [token, child] : children_)
      first = std::min({first, child.exited ? child.drain_until : child.kill_at});
    if (first == Clock::time_point::max()) return -1;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(first - Clock::now()).count();
    return static_cast<int>(std::clamp<int64_t>(left + 1, 0, 60'000));
  }

  void wait() {
    std::vector<pollfd> fds{{tasks_.fd(), POLLIN, 0}};
    for (const auto& [token, child] : children_) {
      if (!child.exited) fds.push_back({child.pidfd, POLLIN, 0});
      if (child.in >= 0) fds.push_back({child.in, POLLOUT, 0});
      if (child.out >= 0) fds.push_back({child.out, POLLIN, 0});
      if (child.err >= 0) fds.push_back({child.err, POLLIN, 0});
    }
    ::poll(fds.data(), fds.size(), timeout());
  }

  void collect() {
    for (auto it = children_.begin(); it != children_.end();) {
      Child& child = it->second;
      feed(child);
      drain(child, child.out, child.output);
      drain(child, child.err, child.errors);
      const auto now = Clock::now();
      if (!child.exited && child.kill_at <= now) {
        ::kill(-child.pid, SIGKILL);
        child.kill_at = now + std::chrono::seconds(1);
      }
      if (!child.exited && ::waitpid(child.pid, &child.status, WNOHANG) == child.pid) {
        child.exited = true;
        child.drain_until = now + std::chrono::milliseconds(drain_ms);
        drain(child, child.out, child.output);
        drain(child, child.err, child.errors);
      }
      if (!child.exited || ((child.out >= 0 || child.err >= 0) && now < child.drain_until)) {
        ++it;
        continue;
      }
      finish(child);
      it = children_.erase(it);
    }
  }

  static void feed(Child& child) {
    while (child.in >= 0 && child.written < child.input.size()) {
      const ssize_t n =
          ::write(child.in, child.input.data() + child.written, child.input.size() - child.written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) break;
      child.written += static_cast<size_t>(n);
    }
    if (child.in >= 0 && (child.written >= child.input.size() || errno != EAGAIN))
      close_fd(child.in);
  }

  void drain(Child& child, int& fd, std::string& into) {
    char buffer[1U << 16];
    // Not for ever: a program that prints without end must not starve the others.
    for (int rounds = 0; fd >= 0 && rounds < 16; ++rounds) {
      const ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return close_fd(fd);
      if (into.size() + static_cast<size_t>(n) > static_cast<size_t>(child.max_output)) {
        child.too_much = true;
        ::kill(-child.pid, SIGKILL);
        return close_fd(fd);
      }
      into.append(buffer, static_cast<size_t>(n));
    }
  }

  void finish(Child& child) {
    ::kill(-child.pid, SIGKILL);  // whatever it left behind in its group
    close_fd(child.in);
    close_fd(child.out);
    close_fd(child.err);
    close_fd(child.pidfd);
    const uint64_t token = child.request.token;
    const std::string name = child.is_tool ? child.request.callee : [&] {
      const Value* argv = child.request.input.find("argv");
      return std::string(argv->as_list()[0].as_string());
    }();
    if (child.cancelled) return fail(token, cancelled_error());
    const std::string kind = child.is_tool ? "tool" : "exec";
    if (child.too_much) {
      return fail(token, {.kind = "limit",
                          .code = "output",
                          .message = fmt::format("`{}` printed more than {} bytes and was stopped",
                                                 name, child.max_output)});
    }
    const bool signalled = WIFSIGNALED(child.status);
    const int exit_code = signalled ? 128 + WTERMSIG(child.status) : WEXITSTATUS(child.status);
    const Value result =
        cel::make_record({{"exit_code", Value::integer(exit_code)},
                          {"stdout", Value::string(replace_invalid_utf8(child.output))},
                          {"stderr", Value::string(replace_invalid_utf8(child.errors))}});
    if (exit_code != 0 && (child.is_tool || bool_argument(child.request.input, "check", true))) {
      std::string message =
          signalled ? fmt::format("`{}` was ended by signal {}", name, WTERMSIG(child.status))
                    : fmt::format("`{}` ended with exit status {}", name, exit_code);
      if (const std::string errors = printed_tail(child.errors); !errors.empty())
        message += ": " + errors;
      return fail(token, {.kind = kind,
                          .code = signalled ? "signal" : "exit_status",
                          .message = std::move(message),
                          .status = exit_code,
                          .data = result});
    }
    if (!child.is_tool) return done_({token, result});
    auto value = cel::from_json(child.output);
    if (!value) {
      return fail(token, {.kind = "tool",
                          .code = "output",
                          .message = fmt::format(
                              "`{}` did not print one JSON value: {}; it printed: {}", name,
                              value.error().message, printed_tail(child.output.substr(0, 200)))});
    }
    done_({token, std::move(*value)});
  }

  Options options_;
  CompletionHandler done_;
  TaskQueue tasks_;
  std::map<uint64_t, Child> children_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Worker> make_process_worker(Options options, CompletionHandler done) {
  return std::make_unique<ProcessWorker>(std::move(options), std::move(done));
}

}  // namespace kflow::activities
