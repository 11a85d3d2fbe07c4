// Pictures and pages of files, compared whole; KFLOW_UPDATE_GOLDEN=1 writes them anew.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "compiler/diagnostics/render.hpp"
#include "compiler/doc/doc.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/graph/figure.hpp"
#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path root = KFLOW_SOURCE_DIR;
const fs::path folder = root / "tests/pages";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void compare(const std::string& got, const std::string& name) {
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr)
    std::ofstream(folder / name, std::ios::binary) << got;
  INFO(name);
  CHECK((got == read(folder / name)));
}

std::unique_ptr<driver::Compilation> compiled(const fs::path& path) {
  auto out = driver::compile_file(path.string());
  REQUIRE(out);
  INFO(diagnostics::render_human((*out)->sink, *(*out)->sources, false));
  REQUIRE((*out)->program);
  return std::move(*out);
}

graph::Figure figure(const driver::Compilation& c, std::string_view name) {
  return graph::figure_of(*c.program, c.program->find(name));
}

// Every element is closed, in order; attributes are quoted.
bool well_formed(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = xml.find('<', at)) != std::string::npos;) {
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = xml.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(
        tag.starts_with('/') ? 1 : 0, tag.find_first_of(" /", 1) - (tag.starts_with('/') ? 1 : 0));
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return false;
    at = end;
  }
  return open.empty();
}

}  // namespace

TEST_CASE("a workflow with everything in it, drawn") {
  const auto c = compiled(folder / "everything.kflow");
  const graph::Figure all = figure(*c, "everything");
  compare(graph::mermaid(all), "everything.mmd");
  compare(graph::dot(all), "everything.dot");
  compare(graph::svg(all), "everything.svg");
  compare(graph::mermaid(figure(*c, "research")), "research.mmd");
  CHECK(well_formed(graph::svg(all)));
  CHECK(well_formed(graph::svg(figure(*c, "small"))));
  CHECK(well_formed(graph::svg(figure(*c, "writer"))));
  CHECK(well_formed(graph::svg(figure(*c, "unsend"))));
}

TEST_CASE("every workflow of the examples and scenarios can be drawn") {
  size_t drawn = 0;
  for (const char* below : {"examples", "tests/scenario/cases"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / below)) {
      if (entry.path().extension() != ".kflow") continue;
      INFO(entry.path());
      const auto c = compiled(entry.path());
      for (const ir::Callable& x : c->program->callables) {
        if (x.kind == ir::CallableKind::extern_tool || x.kind == ir::CallableKind::mcp_tool)
          continue;
        const graph::Figure f = figure(*c, x.name);
        CHECK(well_formed(graph::svg(f)));
        CHECK(graph::mermaid(f).starts_with("flowchart TD\n"));
        CHECK(graph::dot(f).starts_with("digraph "));
        ++drawn;
      }
    }
  }
  CHECK(drawn > 100);
}

TEST_CASE("the page of a file") {
  const std::string text = read(folder / "everything.kflow");
  source::Manager sources(nullptr);
  diagnostics::Sink sink;
  const auto tree = syntax::parse(sources[sources.add("e", "e", text)], sink);
  REQUIRE_FALSE(sink.has_errors());
  compare(doc::page(tree, "everything"), "everything.md");
}
