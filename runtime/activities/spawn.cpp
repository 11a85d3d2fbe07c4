// fork, exec and what can go wrong between them.
#include "runtime/activities/spawn.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "compiler/base/utf8.hpp"

extern char** environ;

namespace kflow::activities {
namespace {

constexpr size_t tail_shown = 2000;

struct Pipes {
  int in[2] = {-1, -1};
  int out[2] = {-1, -1};
  int err[2] = {-1, -1};
  int status[2] = {-1, -1};  // the child's errno if exec fails
  bool open() {
    return ::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0 &&
           ::pipe2(err, O_CLOEXEC) == 0 && ::pipe2(status, O_CLOEXEC) == 0;
  }
  void close_all() {
    for (int* p : {in, out, err, status}) {
      close_fd(p[0]);
      close_fd(p[1]);
    }
  }
};

// What the child does between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(const Pipes& pipes, char* const* argv, char* const* env, const char* cwd,
                         pid_t owner) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != owner) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGQUIT})
    ::signal(signal, SIG_DFL);
  ::dup2(pipes.in[0], 0);
  ::dup2(pipes.out[1], 1);
  ::dup2(pipes.err[1], 2);
  int error = 0;
  if (*cwd != '\0' && ::chdir(cwd) != 0) {
    error = -errno;
  } else {
    ::execvpe(argv[0], argv, env);
    error = errno;
  }
  [[maybe_unused]] const ssize_t n = ::write(pipes.status[1], &error, sizeof error);
  ::_exit(127);
}

ActivityError resources(std::string message) {
  return {.kind = "", .code = "resources", .message = std::move(message), .retryable = true};
}

}  // namespace

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

std::string printed_tail(const std::string& text) {
  std::string out = replace_invalid_utf8(
      text.size() > tail_shown ? "…" + text.substr(text.size() - tail_shown) : text);
  while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
  return out;
}

std::vector<std::pair<std::string, std::string>> own_environment() {
  std::vector<std::pair<std::string, std::string>> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    const size_t equal = entry.find('=');
    if (equal != std::string::npos)
      out.emplace_back(entry.substr(0, equal), entry.substr(equal + 1));
  }
  return out;
}

std::variant<Spawned, ActivityError> spawn(std::vector<std::string> argv,
                                           std::vector<std::string> env, const std::string& cwd) {
  Pipes pipes;
  if (!pipes.open()) {
    pipes.close_all();
    return resources(fmt::format("cannot make pipes: {}", std::strerror(errno)));
  }
  std::vector<char*> argv_pointers;
  std::vector<char*> env_pointers;
  for (std::string& s : argv) argv_pointers.push_back(s.data());
  for (std::string& s : env) env_pointers.push_back(s.data());
  argv_pointers.push_back(nullptr);
  env_pointers.push_back(nullptr);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(pipes, argv_pointers.data(), env_pointers.data(), cwd.c_str(), self);
  const int fork_error = errno;
  close_fd(pipes.in[0]);
  close_fd(pipes.out[1]);
  close_fd(pipes.err[1]);
  close_fd(pipes.status[1]);
  if (pid < 0) {
    pipes.close_all();
    return resources(fmt::format("cannot start `{}`: {}", argv[0], std::strerror(fork_error)));
  }
  int error = 0;
  const ssize_t n = ::read(pipes.status[0], &error, sizeof error);
  close_fd(pipes.status[0]);
  if (n == sizeof error) {
    ::waitpid(pid, nullptr, 0);
    pipes.close_all();
    if (error < 0)
      return ActivityError{
          .kind = "",
          .code = "cwd",
          .message = fmt::format("cannot enter the folder `{}`: {}", cwd, std::strerror(-error))};
    return ActivityError{
        .kind = "",
        .code = error == ENOENT ? "not_found" : "not_executable",
        .message = fmt::format("cannot run `{}`: {}", argv[0], std::strerror(error))};
  }
  Spawned out{.pid = pid,
              .pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)),
              .in = pipes.in[1],
              .out = pipes.out[0],
              .err = pipes.err[0]};
  for (const int fd : {out.in, out.out, out.err}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return out;
}

}  // namespace kflow::activities
