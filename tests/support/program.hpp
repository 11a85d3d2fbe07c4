// kflow as a process that a test starts, kills and waits for; its output goes into files beside the
// store. The test's target defines KFLOW_CLI.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/text_file.hpp"

namespace kflow::test {

/// Starts kflow in that folder: `out.txt` is written anew, `err.txt` goes on.
inline pid_t start_kflow(const std::filesystem::path& folder, std::vector<std::string> args) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (::chdir(folder.c_str()) != 0) ::_exit(126);
  const int out = ::open("out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const int err = ::open("err.txt", O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(out, 1);
  ::dup2(err, 2);
  std::vector<char*> argv;
  std::string program = KFLOW_CLI;
  argv.push_back(program.data());
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

/// Its exit status, or 128 + the signal that ended it.
inline int finish(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace kflow::test
