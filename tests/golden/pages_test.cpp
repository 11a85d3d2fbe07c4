// Every page of `kflowc explain`: its wrong example gives exactly its code, once, and its right
// example gives nothing.
#include "compiler/diagnostics/pages.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/kflow_pages_XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path_); }

  // Writes the files of an example; gives the first.
  std::string write(std::string_view text) const {
    std::string name = "example.kflow";
    while (true) {
      const size_t next = text.find("\n--- ");
      const bool last = next == std::string_view::npos;
      std::ofstream(path_ / name, std::ios::binary) << text.substr(0, last ? next : next + 1);
      if (last) return (path_ / "example.kflow").string();
      text.remove_prefix(next + 5);
      name = text.substr(0, text.find('\n'));
      text.remove_prefix(name.size() + 1);
    }
  }

 private:
  fs::path path_;
};

std::unique_ptr<driver::Compilation> compile(std::string_view text) {
  const Folder folder;
  auto compiled = driver::compile_file(folder.write(text));
  REQUIRE(compiled);
  return std::move(*compiled);
}

}  // namespace

TEST_CASE("the wrong example of each page gives its code, the right one is clean") {
  for (const diagnostics::KindInfo& row : diagnostics::all_kinds()) {
    INFO(diagnostics::code_text(row.kind) << " " << row.name);
    const diagnostics::Examples e = diagnostics::examples(row.kind);
    REQUIRE_FALSE(e.wrong.empty());
    REQUIRE_FALSE(e.right.empty());
    if (row.kind == diagnostics::Kind::strands_runs) continue;  // of two versions: tests/cli
    const auto wrong = compile(e.wrong);
    INFO(diagnostics::render_human(wrong->sink, *wrong->sources, false));
    const auto found = wrong->sink.sorted();
    REQUIRE(found.size() == 1);
    CHECK(found[0]->kind == row.kind);
    const auto right = compile(e.right);
    CHECK(diagnostics::render_human(right->sink, *right->sources, false) == "");
  }
}

TEST_CASE("a page has the code, the rule and both examples") {
  const std::string page = diagnostics::page(diagnostics::Kind::unknown_option);
  CHECK(page.starts_with("KF2004: an option that does not exist (error)\n"));
  CHECK(page.find("\nWrong:\n\n    agent writer {\n") != std::string::npos);
  CHECK(page.find("\nRight:\n\n    agent writer {\n") != std::string::npos);
  CHECK(page.find("allow(") == std::string::npos);
  CHECK(diagnostics::page(diagnostics::Kind::plain_http).find("// kflow: allow(KF7003)") !=
        std::string::npos);
}
