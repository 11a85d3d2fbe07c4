// A folder in which a test types commands, with the built programs before any installed ones.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/catch.hpp"
#include "tests/support/text_file.hpp"

namespace kflow::test {

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Removed with all it holds.
class ShellFolder {
 public:
  /// `programs`: folders that come first in PATH, with `:` between them.
  explicit ShellFolder(std::string programs) : programs_(std::move(programs)) {
    char name[] = "/tmp/kflow_shell_XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~ShellFolder() { std::filesystem::remove_all(path_); }
  ShellFolder(const ShellFolder&) = delete;
  ShellFolder& operator=(const ShellFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }
  std::string content(const std::string& name) const { return text_of(path_ / name); }
  /// Gives what was printed; `errors` is what came on standard error.
  std::string sh(const std::string& command, int expected = 0) {
    const std::string line = "cd '" + path_.string() + "' && PATH=" + programs_ +
                             ":$PATH timeout 60 bash -c '" + command +
                             "' >.out.txt 2>.err.txt </dev/null";
    const int status = std::system(line.c_str());
    errors = content(".err.txt");
    INFO(command << "\n" << errors);
    CHECK(WEXITSTATUS(status) == expected);
    return content(".out.txt");
  }
  std::string errors;

 private:
  std::string programs_;
  std::filesystem::path path_;
};

}  // namespace kflow::test
