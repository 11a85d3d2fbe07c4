// The formatter: cases compared whole, every file of the project, and files changed at random.
// KFLOW_UPDATE_GOLDEN=1 writes the expected texts anew, and lays out examples/ and stdlib/.
#include "compiler/format/format.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path root = KFLOW_SOURCE_DIR;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> files(std::initializer_list<const char*> folders) {
  std::vector<fs::path> out;
  for (const char* folder : folders) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.path().extension() == ".kflow") out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What the formatter makes of a text; none if it does not parse.
std::optional<std::string> formatted(const std::string& text) {
  source::Manager sources(nullptr);
  diagnostics::Sink sink;
  const auto id = sources.add("f.kflow", "f.kflow", text);
  auto out = format::format(sources[id], sink);
  if (sink.has_errors()) {
    CHECK_FALSE(out);
    return std::nullopt;
  }
  INFO((out ? "" : out.error().message));
  REQUIRE(out);
  return std::move(*out);
}

size_t longest_line(const std::string& text) {
  size_t longest = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  return longest;
}

// Formatting says the same (format() itself looks at trees and comments), and once is enough.
bool holds(const std::string& text) {
  const auto once = formatted(text);
  if (!once) return false;
  const auto twice = formatted(*once);
  REQUIRE(twice);
  if (*once != *twice) {
    INFO("of:\n" << text << "\nonce:\n" << *once << "\ntwice:\n" << *twice);
    REQUIRE(*once == *twice);
  }
  if (text.find(" \n") == std::string::npos) CHECK(once->find(" \n") == std::string::npos);
  CHECK_FALSE(once->starts_with('\n'));
  CHECK_FALSE(once->ends_with("\n\n"));
  return true;
}

}  // namespace

TEST_CASE("cases are laid out as expected") {
  size_t cases = 0;
  for (const fs::path& path : files({"tests/format/cases"})) {
    ++cases;
    INFO(path.string());
    const auto got = formatted(read(path));
    REQUIRE(got);
    fs::path expected = path;
    expected.replace_extension(".expected");
    if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr)
      std::ofstream(expected, std::ios::binary) << *got;
    CHECK(*got == read(expected));
    CHECK(holds(read(path)));
  }
  CHECK(cases >= 6);
}

TEST_CASE("every file of the project that parses can be formatted, and once is enough") {
  size_t good = 0;
  for (const fs::path& path : files({"examples", "stdlib", "tests"})) {
    INFO(path.string());
    good += holds(read(path));
  }
  CHECK(good > 120);
}

TEST_CASE("examples and the standard library are formatted") {
  for (const fs::path& path : files({"examples", "stdlib"})) {
    const std::string text = read(path);
    const auto want = formatted(text);
    REQUIRE(want);
    if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr && text != *want)
      std::ofstream(path, std::ios::binary) << *want;
    INFO(format::unified_diff(path.string(), text, *want));
    CHECK((std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr || text == *want));
  }
}

TEST_CASE("what does not parse is left alone") {
  CHECK_FALSE(formatted("workflow w( {"));
  CHECK_FALSE(formatted("workflow w() { let x = \xff }"));
  CHECK(formatted("") == "");
  CHECK(formatted("\n\n  \n") == "");
  CHECK(formatted("// only this") == "// only this\n");
  CHECK(formatted("\xef\xbb\xbfkflow   1") == "kflow 1\n");
  CHECK(formatted("kflow 1\r\nsecret A\r\n") == "kflow 1\nsecret A\n");
}

TEST_CASE("changed files: layout of any kind, comments anywhere, tokens gone or twice") {
  const bool lasting = std::getenv("KFLOW_LONG") != nullptr;
  const char* seed = std::getenv("KFLOW_SEED");
  std::mt19937 random(seed != nullptr ? static_cast<unsigned>(std::atoi(seed)) : 20261128U);
  const auto pick = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  static const std::string between[] = {"\n", " // note\n",  "\n// own line\n",
                                        "  ", "\n\n\n",      "\n  // a\n\n  // b\n",
                                        "\t", "\n/// doc\n", " // x\n// y\n"};
  size_t good = 0;
  size_t tried = 0;
  const auto all = files(
      {"examples", "stdlib", "tests/format/cases", "tests/golden/check", "tests/scenario/cases"});
  const size_t rounds = lasting ? 40 : 2;
  for (size_t round = 0; round < rounds; ++round) {
    for (const fs::path& path : all) {
      const std::string text = read(path);
      source::Manager sources(nullptr);
      diagnostics::Sink sink;
      const auto id = sources.add("m.kflow", "m.kflow", text);
      const syntax::Tree tree = syntax::parse(sources[id], sink);
      if (sink.has_errors()) continue;
      std::string changed;
      const size_t every = 1 + pick(40);
      const bool breaks_tokens = pick(3) == 0;
      bool in_string = false;
      for (const syntax::NodeData& node : tree.nodes()) {
        if (!syntax::is_leaf(node.kind)) continue;
        const std::string token = text.substr(node.begin, node.end - node.begin);
        in_string = node.kind == syntax::Node::string_open ||
                    node.kind == syntax::Node::string_text ||
                    (in_string && node.kind != syntax::Node::string_close);
        if (!syntax::is_trivia(node.kind) && breaks_tokens && pick(200) == 0) {
          if (pick(2) == 0) continue;
          changed += token;
        }
        if (node.kind == syntax::Node::whitespace && pick(6) == 0) {
          changed += token.find('\n') == std::string::npos ? token : pick(2) == 0 ? " " : "\n";
        } else {
          changed += token;
        }
        if (!in_string && node.kind != syntax::Node::comment &&
            node.kind != syntax::Node::doc_comment && pick(every) == 0)
          changed += between[pick(std::size(between))];
      }
      INFO(path.string() << "\n" << changed);
      ++tried;
      good += holds(changed);
    }
  }
  INFO(good << " of " << tried);
  CHECK(good * 2 > tried);
}

TEST_CASE("large and deep files") {
  std::string wide = "fn f() -> int[] = [";
  for (int i = 0; i < 20000; ++i) wide += std::to_string(i) + ", ";
  CHECK(longest_line(*formatted(wide + "]")) < 20);
  std::string deep = "fn f() -> any = ";
  for (int i = 0; i < 90; ++i) deep += "[";
  for (int i = 0; i < 90; ++i) deep += "]";
  CHECK(holds(deep));
  std::string big = "workflow w() {\n";
  while (big.size() < 3'000'000) big += "step log(\"a line of a large file, with ${run.id}\")\n";
  CHECK(holds(big + "}\n"));
}

TEST_CASE("trees are compared by what they say") {
  const auto differ = [](const std::string& a, const std::string& b) {
    source::Manager sources(nullptr);
    diagnostics::Sink sink;
    const auto x = sources.add("a", "a", a);
    const auto y = sources.add("b", "b", b);
    const auto left = syntax::parse(sources[x], sink);
    return !format::difference_but_for_layout(left, syntax::parse(sources[y], sink)).empty();
  };
  CHECK_FALSE(differ("const a = [1,2]", "const  a=[\n1,\n2,\n]"));
  CHECK(differ("const a = [1,2]", "const a = [2,1]"));
  CHECK(differ("const a = 1 // x", "const a = 1"));
  CHECK(differ("// x\nconst a = 1", "const a = 1 // x"));
  CHECK(differ("const a = \"x\"", "const a = 'x'"));
  CHECK(differ("const a = \"${b}\"", "const a = \"${c}\""));
  CHECK(differ("const a = (1)", "const a = 1"));
  CHECK_FALSE(differ("const a = \"\"\"\n  x\n   y\n  \"\"\"", "const a = \"\"\"\nx\n y\n\"\"\""));
  CHECK(differ("const a = \"\"\"\n  x\n   y\n  \"\"\"", "const a = \"\"\"\nx\ny\n\"\"\""));
}

TEST_CASE("diffs") {
  CHECK(format::unified_diff("f", "a\nb\n", "a\nb\n").empty());
  CHECK(format::unified_diff("f", "a\nb\nc\n", "a\nx\nc\n") ==
        "--- f\n+++ f\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
  CHECK(format::unified_diff("f", "", "a\n") == "--- f\n+++ f\n@@ -0,0 +1 @@\n+a\n");
  CHECK(format::unified_diff("f", "a", "a\n") ==
        "--- f\n+++ f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
  std::string before;
  std::string after;
  for (int i = 0; i < 40; ++i) {
    before += std::to_string(i) + "\n";
    after += i == 5 ? "five\n" : i == 30 ? "" : std::to_string(i) + "\n";
  }
  CHECK(format::unified_diff("f", before, after) ==
        "--- f\n+++ f\n@@ -3,7 +3,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        "@@ -28,7 +28,6 @@\n 27\n 28\n 29\n-30\n 31\n 32\n 33\n");
}
