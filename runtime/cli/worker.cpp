// The detached process that goes on with runs when no terminal does.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "runtime/cli/session.hpp"
#include "runtime/engine/needs.hpp"

namespace kflow::cli {

// A fresh process of this program that outlives the terminal; its messages go to a file beside the
// store.
Result<void> spawn_worker(const Place& place, const std::string& project_root,
                          const std::string& run_id) {
  std::error_code error;
  std::filesystem::create_directories(place.store + "/logs", error);
  const std::string log = place.store + "/logs/worker.log";
  const pid_t pid = ::fork();
  if (pid < 0)
    return fail(ErrorCode::unavailable,
                fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (pid == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    if (::chdir(project_root.c_str()) != 0) ::_exit(127);
    const int in = ::open("/dev/null", O_RDONLY);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(in, 0);
    ::dup2(out < 0 ? in : out, 1);
    ::dup2(out < 0 ? in : out, 2);
    for (int fd = 3; fd < 1024; ++fd) ::close(fd);
    ::execl("/proc/self/exe", "kflow", "work", "--store", place.store.c_str(), run_id.c_str(),
            nullptr);
    ::_exit(127);
  }
  ::waitpid(pid, nullptr, 0);
  return {};
}

Result<bool> ensure_worker(store::Store& store, const Place& place, const store::RunHeader& run) {
  const auto header = store.header(run.key);
  if (!header) return std::unexpected(header.error());
  if (!*header || is_final((*header)->status) || store.alive((*header)->owner)) return false;
  auto options = engine_options(place, run.project_root);
  if (!options) return std::unexpected(std::move(options).error());
  if (auto tape = use_tape_of(*options, run); !tape) return std::unexpected(tape.error());
  if (auto fits = engine::check_needs(store, run, options->activities); !fits) {
    std::fprintf(stderr, "kflow: it is not continued here: %s\n", fits.error().message.c_str());
    return false;
  }
  auto spawned = spawn_worker(place, run.project_root, run.id);
  if (!spawned) return std::unexpected(std::move(spawned).error());
  return true;
}

}  // namespace kflow::cli
