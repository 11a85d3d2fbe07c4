// The step graph as JSON, as pages draw it. KFLOW_UPDATE_GOLDEN=1 writes the expected text anew.
#include "compiler/ir/outline.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path root(KFLOW_SOURCE_DIR);

ir::Program compiled(const fs::path& path) {
  auto compilation = driver::compile_file(path.string());
  REQUIRE(compilation);
  INFO(diagnostics::render_human((*compilation)->sink, *(*compilation)->sources, false));
  REQUIRE((*compilation)->program);
  return std::move(*(*compilation)->program);
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("the outline has every statement, and what they call") {
  fs::current_path(root / "tests/golden/outline");
  const ir::Program program = compiled("statements.kflow");
  const auto json = cel::from_json(ir::outline_json(program, program.find("all")));
  REQUIRE(json);
  const std::string got = cel::to_json(*json, 2) + "\n";
  const fs::path expected = "statements.json";
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(expected, std::ios::binary) << got;
    return;
  }
  CHECK(got == read(expected));
}

TEST_CASE("every callable of the examples has an outline") {
  size_t callables = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root / "examples")) {
    if (entry.path().extension() != ".kflow") continue;
    INFO(entry.path().string());
    const ir::Program program = compiled(entry.path());
    for (uint32_t i = 0; i < program.callables.size(); ++i) {
      const auto json = cel::from_json(ir::outline_json(program, ir::CallableId{i}));
      REQUIRE(json);
      CHECK(json->find("name")->as_string() == program.callables[i].name);
      ++callables;
    }
  }
  CHECK(callables > 20);
}
