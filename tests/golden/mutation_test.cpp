// Damaged files: the checker always ends, the tree always holds every byte, and one mistake gives
// one message.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> samples() {
  std::vector<fs::path> out;
  for (const char* below : {"examples", "tests/golden/syntax"}) {
    if (!fs::exists(fs::path(KFLOW_SOURCE_DIR) / below)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(KFLOW_SOURCE_DIR) / below)) {
      // One that imports a file beside it is no text of its own.
      if (entry.path().extension() == ".kflow" &&
          read(entry.path()).find("import \"./") == std::string::npos)
        out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Every how many-th place is tried; KFLOW_LONG=1 tries all.
size_t stride(size_t usual) { return std::getenv("KFLOW_LONG") != nullptr ? 1 : usual; }

struct Checked {
  size_t errors = 0;
  bool program = false;
  std::string text;  // the messages, to look at with KFLOW_SHOW=1
};

Checked check(const std::string& text) {
  source::Manager sources;
  diagnostics::Sink sink;
  const source::FileId file = sources.add("m.kflow", "m.kflow", text);
  const syntax::Tree tree = syntax::parse(sources[file], sink);
  REQUIRE(tree.reconstruct() == text);
  const auto compilation = driver::compile_text("m.kflow", text);
  // What the parser finds, the checker does not lose.
  if (sink.has_errors()) REQUIRE(compilation->sink.has_errors());
  REQUIRE(compilation->program.has_value() == !compilation->sink.has_errors());
  return {compilation->sink.errors(), compilation->program.has_value(),
          diagnostics::render_human(compilation->sink, *compilation->sources, false)};
}

struct Rate {
  size_t invalid = 0;
  size_t single = 0;
  void add(const Checked& r) {
    if (r.program) return;
    if (r.errors > 1 && std::getenv("KFLOW_SHOW") != nullptr)
      std::printf("%s\n----\n", r.text.c_str());
    ++invalid;
    single += r.errors == 1;
  }
  double percent() const {
    return invalid == 0 ? 100.0
                        : 100.0 * static_cast<double>(single) / static_cast<double>(invalid);
  }
};

}  // namespace

TEST_CASE("one deleted token or byte gives one message") {
  Rate tokens;
  Rate bytes;
  for (const fs::path& path : samples()) {
    INFO(path.string());
    const std::string text = read(path);
    REQUIRE(check(text).program);
    source::Manager sources;
    diagnostics::Sink sink;
    const syntax::Tree tree = syntax::parse(sources[sources.add("m.kflow", "m.kflow", text)], sink);
    size_t n = 0;
    for (const syntax::NodeData& node : tree.nodes()) {
      if (!syntax::is_leaf(node.kind) || syntax::is_trivia(node.kind) || node.begin == node.end)
        continue;
      if (n++ % stride(5) != 0) continue;
      tokens.add(check(text.substr(0, node.begin) + text.substr(node.end)));
    }
    for (size_t i = 0; i < text.size(); i += stride(19))
      bytes.add(check(text.substr(0, i) + text.substr(i + 1)));
  }
  std::printf("token deletions: %zu invalid, %.1f %% with exactly one message\n", tokens.invalid,
              tokens.percent());
  std::printf("byte deletions: %zu invalid, %.1f %% with exactly one message\n", bytes.invalid,
              bytes.percent());
  CHECK(tokens.percent() >= 85.0);
  CHECK(bytes.percent() >= 80.0);
}

TEST_CASE("junk and truncation anywhere") {
  static const std::string junk[] = {"}",
                                     "{",
                                     "(",
                                     ")",
                                     "\"",
                                     "\"\"\"",
                                     "${",
                                     "step",
                                     "@",
                                     "\xff",
                                     std::string(1, '\0'),
                                     "workflow x() {",
                                     "//",
                                     "?? ",
                                     "1e999"};
  size_t invalid = 0;
  for (const fs::path& path : samples()) {
    INFO(path.string());
    const std::string text = read(path);
    size_t k = 0;
    for (size_t i = 0; i <= text.size(); i += stride(41)) {
      check(text.substr(0, i));
      const Checked r = check(text.substr(0, i) + junk[k++ % std::size(junk)] + text.substr(i));
      invalid += !r.program;
    }
  }
  CHECK(invalid > 0);
}

TEST_CASE("hostile sizes") {
  CHECK(check("workflow w() -> any { return " + std::string(5000, '(') + "1" +
              std::string(5000, ')') + " }")
            .errors == 1);
  CHECK(check("workflow w() -> any { return " + std::string(5000, '[') + " }").errors == 1);
  std::string nested = "workflow w() {";
  for (int i = 0; i < 3000; ++i) nested += " if true {";
  CHECK(check(nested).errors == 1);
  std::string types = "type T = ";
  for (int i = 0; i < 3000; ++i) types += "(";
  CHECK(check(types).errors >= 1);
  std::string chain = "workflow w() -> int { return 1";
  for (int i = 0; i < 20000; ++i) chain += " + 1";
  CHECK(check(chain + " }").errors == 1);
  std::string big = "workflow w() {\n";
  while (big.size() < 3'000'000) big += "  step log(\"a line of a large file, with ${run.id}\")\n";
  CHECK(check(big + "}\n").program);
  CHECK(check(std::string(1'000'000, '}')).errors == 1);
  CHECK(check(std::string(1'000'000, '"')).errors >= 1);
}
