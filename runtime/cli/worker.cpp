// The detached process that goes on with runs when no terminal does.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

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

namespace {

// What a process that serves the store may take to notice a run that nobody has.
constexpr auto hand_over_time = std::chrono::milliseconds(400);
constexpr auto hand_over_look = std::chrono::milliseconds(5);

bool others_are_there(store::Store& store) {
  const auto owners = store.owners();
  if (!owners) return false;
  return std::any_of(owners->begin(), owners->end(), [&](const store::OwnerInfo& o) {
    return o.pid != ::getpid() && store.alive(o.id);
  });
}

}  // namespace

Result<bool> handed_over(store::Store& store, const store::RunHeader& before) {
  // Somebody may have it for a moment only, and let it wait again: the number of its owners tells.
  std::optional<uint64_t> unowned;
  if (before.owner == store::no_owner) unowned = before.epoch;
  store.ring(store::every_owner);
  const auto until = std::chrono::steady_clock::now() + hand_over_time;
  for (;;) {
    const auto header = store.header(before.key);
    if (!header) return std::unexpected(header.error());
    if (!*header || is_final((*header)->status) || store.alive((*header)->owner)) return true;
    if (unowned && (*header)->epoch > *unowned) return true;
    if (!unowned && (*header)->owner == store::no_owner) unowned = (*header)->epoch;
    if (std::chrono::steady_clock::now() >= until || !others_are_there(store)) return false;
    std::this_thread::sleep_for(hand_over_look);
  }
}

Result<bool> ensure_worker(store::Store& store, const Place& place, const store::RunHeader& run) {
  const auto taken = handed_over(store, run);
  if (!taken) return std::unexpected(taken.error());
  if (*taken) return false;
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
