// Starting a program with pipes: its own process group, ended with the thread that started it.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

/// A program that runs. Whoever has it closes the descriptors and reaps the process.
struct Spawned {
  pid_t pid = -1;
  int pidfd = -1;
  int in = -1;  ///< all not blocking
  int out = -1;
  int err = -1;
};

/// Starts `argv` in `cwd` ("": the present folder) with exactly the environment `env`
/// ("NAME=value"). It gets SIGKILL when the calling thread ends, so that must live as long as it
/// may. Errors without a kind: `resources`, `cwd`, `not_found`, `not_executable`.
std::variant<Spawned, ActivityError> spawn(std::vector<std::string> argv,
                                           std::vector<std::string> env, const std::string& cwd);

void close_fd(int& fd);
/// The last part of what a program printed, for messages: valid UTF-8, without the last newline.
std::string printed_tail(const std::string& text);
/// The variables of this process.
std::vector<std::pair<std::string, std::string>> own_environment();

}  // namespace kflow::activities
