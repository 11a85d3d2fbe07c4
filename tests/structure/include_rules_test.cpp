// The real tree keeps the rules of layers.txt, and the checker finds what breaks them.
#include "tests/structure/include_rules.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/catch.hpp"

using namespace kflow::structure;

static std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

static std::string join(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

static Rules read_rules() {
  const std::filesystem::path root = KFLOW_SOURCE_DIR;
  std::vector<std::string> problems;
  Rules rules = parse_rules(read_file(root / "tests/structure/layers.txt"), problems);
  REQUIRE(join(problems).empty());
  return rules;
}

static Files read_tree() {
  const std::filesystem::path root = KFLOW_SOURCE_DIR;
  Files files;
  for (const char* top : {"grammar", "compiler", "runtime", "stdlib", "examples", "tests"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".cpp" && extension != ".hpp" && extension != ".def" && extension != ".h") {
        continue;
      }
      files.emplace(entry.path().lexically_relative(root).generic_string(),
                    read_file(entry.path()));
    }
  }
  return files;
}

/// What is found in the real tree with one file added.
static std::string found_with(const std::string& path, const std::string& text) {
  static const Rules rules = read_rules();
  static const Files tree = read_tree();
  Files files = tree;
  files.insert_or_assign(path, text);
  return join(check(rules, files));
}

TEST_CASE("the tree keeps the include rules") {
  const Files tree = read_tree();
  CHECK(tree.size() > 100);
  CHECK(join(check(read_rules(), tree)) == "");
}

TEST_CASE("the layers have no cycles") {
  Rules rules = read_rules();
  // grammar/ and compiler/syntax are one layer in two folders: the rules of the former record into
  // the latter.
  std::erase(rules.layers.at("grammar"), "compiler/syntax");
  rules.layers.erase("tests");
  CHECK(join(find_layer_cycles(rules)) == "");
  rules.layers.at("compiler/base").push_back("compiler/ir");
  CHECK(join(find_layer_cycles(rules)).find("`compiler/base` uses itself") != std::string::npos);
}

TEST_CASE("a seeded violation is found") {
  const auto finds = [](const char* path, const std::string& text, const std::string& problem) {
    INFO(path << "\n" << text);
    CHECK(found_with(path, text) == problem);
  };
  SECTION("an arrow upwards") {
    finds("runtime/machine/bad.cpp", "// Bad.\n#include \"runtime/store/store.hpp\"\n",
          "runtime/machine/bad.cpp:2: runtime/machine may not use runtime/store\n");
    finds("compiler/cel/bad.cpp", "// Bad.\n#  include \"compiler/ir/program.hpp\" // why\n",
          "compiler/cel/bad.cpp:2: compiler/cel may not use compiler/ir\n");
    finds("runtime/cli/bad.cpp", "// Bad.\n#include \"compiler/syntax/tree.hpp\"\n",
          "runtime/cli/bad.cpp:2: runtime/cli may not use compiler/syntax\n");
    finds("runtime/store/lmdb/bad.cpp", "// Bad.\n#include \"runtime/engine/engine.hpp\"\n",
          "runtime/store/lmdb/bad.cpp:2: runtime/store may not use runtime/engine\n");
    finds("compiler/base/bad.cpp", "// Bad.\n#include \"tests/structure/include_rules.hpp\"\n",
          "compiler/base/bad.cpp:2: compiler/base may not use tests\n");
  }
  SECTION("a folder without a layer") {
    finds("compiler/new/bad.cpp", "// Bad.\n#include \"compiler/base/hash.hpp\"\n",
          "compiler/new/bad.cpp:2: `compiler/new/bad.cpp` is in no layer of layers.txt\n");
  }
  SECTION("a header of another owner") {
    finds("runtime/engine/bad.cpp", "// Bad.\n\n#include <curl/curl.h>\n",
          "runtime/engine/bad.cpp:3: `curl/curl.h` belongs to runtime/activities\n");
    finds("compiler/base/bad.cpp", "// Bad.\n#include <nlohmann/json_fwd.hpp>\n",
          "compiler/base/bad.cpp:2: `nlohmann/json_fwd.hpp` belongs to compiler/base/json.cpp\n");
    finds("compiler/syntax/bad.cpp", "// Bad.\n#include <tao/pegtl.hpp>\n",
          "compiler/syntax/bad.cpp:2: `tao/pegtl.hpp` belongs to grammar\n");
    finds("runtime/store/lmdbx/bad.cpp", "// Bad.\n#include <lmdb.h>\n",
          "runtime/store/lmdbx/bad.cpp:2: `lmdb.h` belongs to runtime/store/lmdb\n");
  }
  SECTION("a heavy header that leaks through its owner's header") {
    finds("runtime/cli/bad.cpp", "// Bad.\n#include \"runtime/store/lmdb/environment.hpp\"\n",
          "runtime/cli/bad.cpp:1: `lmdb.h` gets in here through "
          "runtime/store/lmdb/environment.hpp\n");
  }
  SECTION("an impure machine") {
    finds("runtime/machine/bad.cpp", "// Bad.\n#include <sys/stat.h>\n#include <thread>\n",
          "runtime/machine/bad.cpp:2: runtime/machine never includes `sys/stat.h`\n"
          "runtime/machine/bad.cpp:3: runtime/machine never includes `thread`\n");
  }
  SECTION("form") {
    finds("compiler/base/bad.cpp", "int x;\n",
          "compiler/base/bad.cpp:1: the first line does not say what the file is for\n");
    finds("compiler/base/bad.hpp", "// Bad.\nint x;\n",
          "compiler/base/bad.hpp:1: the header has no `#pragma once`\n");
    finds("compiler/base/bad.cpp", "// Bad.\n#include \"hash.hpp\"\n",
          "compiler/base/bad.cpp:2: `hash.hpp` is not a file, seen from the repository's root\n");
  }
  SECTION("coroutines") {
    finds("runtime/engine/bad.cpp", "// Bad.\nint f() { co_return 1; }\n",
          "runtime/engine/bad.cpp:2: `co_return`: GCC 12 miscompiles coroutines\n");
  }
}

TEST_CASE("comments and literals are not code") {
  CHECK(found_with("runtime/machine/fine.cpp",
                   "// Fine: co_await in words.\n/*\n#include <thread>\n*/\n"
                   "const char* a = \"co_yield \\\" co_yield\"; int b = 1'000; char c = '\\'';\n"
                   "const char* d = R\"x(\n#include <mutex>\nco_return )\" )x\";\n") == "");
  CHECK(without_comments_and_literals("a // b\nc") == "a     \nc");
  CHECK(without_comments_and_literals("1'0 + 'x' + x") == "1'0 +     + x");
  CHECK(without_comments_and_literals("/* \n */ d") == "   \n    d");
  CHECK(without_comments_and_literals("\"open\n e") == "     \n e");
}

TEST_CASE("a broken layers.txt is told") {
  std::vector<std::string> problems;
  parse_rules("layer a :\nlayer a :\nlayer b : c\nonly x :\nfoo\n", problems);
  CHECK(join(problems) ==
        "layers.txt:2: `a` twice\nlayers.txt:4: not a rule\nlayers.txt:5: not a rule\n"
        "layers.txt: `b` uses `c`, which is no layer\n");
}
