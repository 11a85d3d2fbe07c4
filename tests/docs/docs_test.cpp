// The documents as a reader types them: named blocks become files, blocks of language `console` are
// commands and what they print, in a folder of the document's own.
//
//   ```kflow name.kflow     a file that checks clean
//   ```yaml name            any other file
//   ```console              `$ command`, then its output (both streams), whole; `…` stands for
//                           anything within a line, alone on a line for any lines; `[exit N]` where
//                           the status is not 0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/text_file.hpp"

namespace fs = std::filesystem;
using kflow::test::text_of;

namespace {

struct Block {
  std::string language;
  std::string name;
  std::string text;
  int line = 0;
};

std::vector<Block> blocks_of(const fs::path& document) {
  std::vector<Block> out;
  std::istringstream in(text_of(document));
  bool inside = false;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.starts_with("```")) {
      inside = !inside;
      if (!inside) continue;
      std::istringstream info(line.substr(3));
      Block block{.line = number};
      info >> block.language >> block.name;
      out.push_back(std::move(block));
    } else if (inside) {
      out.back().text += line + "\n";
    }
  }
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

constexpr std::string_view anything = "…";

// A line against one with `…` in it.
bool fits(std::string_view line, std::string_view pattern) {
  const size_t at = pattern.find(anything);
  if (at == std::string_view::npos) return line == pattern;
  if (!line.starts_with(pattern.substr(0, at))) return false;
  const std::string_view rest = pattern.substr(at + anything.size());
  for (size_t i = at; i <= line.size(); ++i) {
    if (fits(line.substr(i), rest)) return true;
  }
  return false;
}

// Lines against a pattern in which some stand for any number of lines.
bool fit(const std::vector<std::string>& lines, size_t i, const std::vector<std::string>& pattern,
         size_t k) {
  if (k == pattern.size()) return i == lines.size();
  if (pattern[k] == anything) {
    for (size_t n = i; n <= lines.size(); ++n) {
      if (fit(lines, n, pattern, k + 1)) return true;
    }
    return false;
  }
  return i < lines.size() && fits(lines[i], pattern[k]) && fit(lines, i + 1, pattern, k + 1);
}

class Reader {
 public:
  explicit Reader(const std::string& document)
      : document_(document),
        folder_(fs::temp_directory_path() /
                ("kflow-docs-" + document + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "work");
  }
  ~Reader() {
    // Servers whose document was left half way.
    for (const auto& entry : fs::directory_iterator(folder_ / "work")) {
      if (entry.path().extension() != ".pid") continue;
      const int pid = std::atoi(text_of(entry.path()).c_str());
      if (pid > 1) ::kill(pid, SIGKILL);
    }
    fs::remove_all(folder_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void follow() {
    size_t commands = 0;
    for (const Block& block :
         blocks_of(fs::path(KFLOW_SOURCE_DIR) / "docs" / (document_ + ".md"))) {
      INFO(document_ << ".md, line " << block.line);
      if (block.language == "console") {
        commands += type(block);
      } else if (!block.name.empty()) {
        std::ofstream(folder_ / "work" / block.name) << block.text;
        if (block.language == "kflow") run("kflowc check --deny warnings " + block.name, {}, 0);
        ++commands;
      }
    }
    CHECK(commands > 0);
  }

 private:
  // Each command with what is said to follow.
  size_t type(const Block& block) {
    size_t count = 0;
    std::string command;
    std::vector<std::string> expected;
    int status = 0;
    const auto go = [&] {
      if (command.empty()) return;
      run(command, expected, status);
      ++count;
      command.clear(), expected.clear(), status = 0;
    };
    for (const std::string& line : lines_of(block.text)) {
      if (line.starts_with("$ ")) {
        go();
        command = line.substr(2);
      } else if (line.starts_with("[exit ")) {
        status = std::atoi(line.c_str() + 6);
      } else {
        expected.push_back(line);
      }
    }
    go();
    return count;
  }

  void run(const std::string& command, const std::vector<std::string>& expected, int status) const {
    const std::string path =
        fs::path(KFLOW_CLI).parent_path().string() + ":" + fs::path(KFLOWC).parent_path().string();
    const std::string whole = "cd '" + (folder_ / "work").string() + "' && PATH='" + path +
                              "':\"$PATH\" NO_COLOR=1 timeout 60 sh -c '" + quoted(command) +
                              "' > ../out.txt 2>&1 < /dev/null";
    const int got = std::system(whole.c_str());
    const std::string out = text_of(folder_ / "out.txt");
    INFO("$ " << command << "\n" << out);
    CHECK(WEXITSTATUS(got) == status);
    CHECK(fit(lines_of(out), 0, expected, 0));
  }
  static std::string quoted(const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (c == '\'') {
        out += R"('\'')";
      } else {
        out += c;
      }
    }
    return out;
  }

  std::string document_;
  fs::path folder_;
};

}  // namespace

TEST_CASE("docs: getting started") { Reader("getting_started").follow(); }
TEST_CASE("docs: command lines") { Reader("cli").follow(); }
TEST_CASE("docs: server") { Reader("server").follow(); }
TEST_CASE("docs: operations") { Reader("operations").follow(); }
TEST_CASE("docs: coming from another engine") { Reader("coming_from").follow(); }

// A document whose commands nobody runs is a document that is wrong one day.
TEST_CASE("every document with commands is followed by a test") {
  const std::string own = text_of(fs::path(KFLOW_SOURCE_DIR) / "tests" / "docs" / "docs_test.cpp");
  for (const auto& entry : fs::directory_iterator(fs::path(KFLOW_SOURCE_DIR) / "docs")) {
    if (entry.path().extension() != ".md") continue;
    const std::string name = entry.path().stem().string();
    INFO(name);
    for (const Block& block : blocks_of(entry.path())) {
      if (block.language == "console")
        CHECK(own.find("Reader(\"" + name + "\")") != std::string::npos);
    }
  }
}
