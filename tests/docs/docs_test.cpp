// The documents as a reader types them: named blocks become files, blocks of language `console` are
// commands and what they print, in a folder of the document's own.
//
//   ```kflow name.kflow     a file that checks clean
//   ```kflow                the same; `<!-- kflow`, lines, `-->` before it is what it leaves out
//   ```kflow unlocked       a file whose only errors are that its MCP servers are in no lock
//   ```yaml name            any other file; `kflow.yaml` is one that every verb reads without an
//   error
//   ```json script.json     a script of the stand-in for models
//   ```console              `$ command`, then its output (both streams), whole; `…` stands for
//                           anything within a line, alone on a line for any lines; `[exit N]` where
//                           the status is not 0
//
// Nothing is skipped in silence: a block of another kind is a failure, unless it stands in
// `elsewhere`.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
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
  std::string hidden;  ///< of a comment before it
  int line = 0;
};

// What another test runs, or nobody can: document, language of the blocks.
constexpr std::pair<std::string_view, std::string_view> elsewhere[] = {
    {"embedding", "cpp"},       // tests/consumer builds and runs them
    {"embedding", "c"},         // the same
    {"embedding", "cmake"},     // the same
    {"coming_from", "python"},  // the other engine's side of a comparison
    {"coming_from", "go"},      // the same
};
// Documents with a test of their own.
constexpr std::string_view own_test[] = {"language"};  // tests/golden/language_test.cpp

fs::path path_of(const std::string& document) {
  const fs::path root = KFLOW_SOURCE_DIR;
  return document == "README" ? root / "README.md" : root / "docs" / (document + ".md");
}

std::vector<Block> blocks_of(const fs::path& document) {
  std::vector<Block> out;
  std::istringstream in(text_of(document));
  bool inside = false;
  bool comment = false;
  std::string hidden;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.starts_with("```")) {
      inside = !inside;
      if (!inside) continue;
      std::istringstream info(line.substr(3));
      Block block{.hidden = std::exchange(hidden, {}), .line = number};
      info >> block.language >> block.name;
      out.push_back(std::move(block));
    } else if (inside) {
      out.back().text += line + "\n";
    } else if (line == "<!-- kflow") {
      comment = true;
    } else if (line == "-->") {
      comment = false;
    } else if (comment) {
      hidden += line + "\n";
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
    for (const Block& block : blocks_of(path_of(document_))) {
      INFO(document_ << ".md, line " << block.line);
      const bool runs_elsewhere = std::ranges::any_of(elsewhere, [&](const auto& e) {
        return e.first == document_ && e.second == block.language;
      });
      if (runs_elsewhere) continue;
      ++commands;
      if (block.language == "console") {
        commands += type(block);
      } else if (block.language == "kflow") {
        check(block);
      } else if (!block.name.empty()) {
        std::ofstream(folder_ / "work" / block.name) << block.text;
        use(block.name);
      } else {
        FAIL_CHECK("nothing is done with this block of `" << block.language << "`");
      }
    }
    CHECK(commands > 0);
  }

 private:
  void check(const Block& block) {
    const bool unlocked = block.name == "unlocked";
    const std::string name = block.name.empty() || unlocked
                                 ? "line" + std::to_string(block.line) + ".kflow"
                                 : block.name;
    std::ofstream(folder_ / "work" / name) << block.text << block.hidden;
    if (!unlocked) return run("kflowc check --deny warnings " + name, {}, 0);
    run("kflowc check --deny warnings --format json " + name + " | grep -o \"KF[0-9]*\" | sort -u",
        {"KF5003"}, 0);
  }

  // What a file is for, where no command of the document needs it.
  void use(const std::string& name) {
    if (name == "kflow.yaml") {
      std::ofstream(folder_ / "probe.kflow") << "workflow probe() -> int { return 1 }\n";
      run("kflow --store ../probe run ../probe.kflow --quiet", {"1"}, 0);
    } else if (name == "script.json") {
      run("timeout 1 fake-model script.json", {"…"}, 124);  // it stands in until it is stopped
    }
  }

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
    const std::string path = fs::path(KFLOW_CLI).parent_path().string() + ":" +
                             fs::path(KFLOWC).parent_path().string() + ":" +
                             fs::path(KFLOW_FAKE_MODEL).parent_path().string();
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
TEST_CASE("docs: agents and teams") { Reader("agents").follow(); }
TEST_CASE("docs: models") { Reader("models").follow(); }
TEST_CASE("docs: MCP servers") { Reader("mcp").follow(); }
TEST_CASE("README") { Reader("README").follow(); }

// A document whose commands nobody runs is a document that is wrong one day.
TEST_CASE("every document with blocks is followed by a test") {
  const std::string own = text_of(fs::path(KFLOW_SOURCE_DIR) / "tests" / "docs" / "docs_test.cpp");
  for (const auto& entry : fs::directory_iterator(fs::path(KFLOW_SOURCE_DIR) / "docs")) {
    if (entry.path().extension() != ".md") continue;
    const std::string name = entry.path().stem().string();
    INFO(name);
    if (std::ranges::find(own_test, name) != std::end(own_test)) continue;
    const bool followed = own.find("Reader(\"" + name + "\")") != std::string::npos;
    for (const Block& block : blocks_of(entry.path())) {
      const bool runs_elsewhere = std::ranges::any_of(
          elsewhere, [&](const auto& e) { return e.first == name && e.second == block.language; });
      CHECK((followed || runs_elsewhere));
    }
  }
}
