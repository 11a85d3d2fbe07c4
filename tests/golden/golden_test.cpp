// Files with mistakes and the messages they give. KFLOW_UPDATE_GOLDEN=1 writes the expected texts
// anew.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/builtins.hpp"
#include "compiler/sema/constructs.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path folder = fs::path(KFLOW_SOURCE_DIR) / "tests/golden/check";

std::vector<fs::path> files() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".kflow") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string messages(const fs::path& path) {
  fs::current_path(folder);
  auto compiled = driver::compile_file(path.filename().string());
  if (!compiled) return compiled.error().message + "\n";
  std::string out = diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, false);
  if ((*compiled)->program) out += ir::print(*(*compiled)->program);
  return out;
}

}  // namespace

TEST_CASE("messages are as expected") {
  REQUIRE(files().size() >= 20);
  for (const fs::path& path : files()) {
    INFO(path.string());
    const std::string got = messages(path);
    fs::path expected = path;
    expected.replace_extension(".expected");
    if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(expected, std::ios::binary) << got;
      continue;
    }
    CHECK(got == read(expected));
  }
}

TEST_CASE("every kind of diagnostic occurs in a case") {
  std::string all;
  for (const fs::path& path : files()) all += messages(path);
  for (const diagnostics::KindInfo& row : diagnostics::all_kinds()) {
    const std::string code = diagnostics::code_text(row.kind);
    INFO(code << " " << row.name);
    // Of two versions of a file: tests/cli.
    if (row.kind != diagnostics::Kind::strands_runs)
      CHECK(all.find("[" + code + "]") != std::string::npos);
    CHECK_FALSE(row.title.empty());
    CHECK_FALSE(row.explanation.empty());
  }
}

TEST_CASE("every option and built-in occurs in a case, an example or a scenario") {
  std::string all;
  for (const char* below : {"tests", "examples"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(KFLOW_SOURCE_DIR) / below)) {
      if (entry.path().extension() == ".kflow") all += read(entry.path()) + "\n";
    }
  }
  for (const sema::OptionRow& row : sema::all_options()) {
    INFO(row.construct << " " << row.name);
    CHECK(all.find(std::string(row.name) + ":") != std::string::npos);
  }
  for (const ir::Builtin& row : ir::all_builtins()) {
    INFO(row.name);
    CHECK(all.find(std::string(row.name) + "(") != std::string::npos);
  }
}
