// The standard library as its users find it: documented throughout, clean when imported, fit to be
// tools of agents; and its README, whose lists of functions are made here (KFLOW_UPDATE_GOLDEN=1).
#include "stdlib/stdlib.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/builtins.hpp"
#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using syntax::Cursor;
using syntax::Node;

namespace {

const std::string readme_path = KFLOW_SOURCE_DIR "/stdlib/README.md";
constexpr size_t max_tool_name = 64;  // OpenAI, Anthropic and Gemini alike

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A module's tree, with what it refers to.
struct Parsed {
  source::Manager sources;
  diagnostics::Sink sink;
  syntax::Tree tree;
};

std::unique_ptr<Parsed> parse(std::string_view module) {
  auto out = std::make_unique<Parsed>();
  const auto text = stdlib::find_module(module);
  REQUIRE(text);
  const std::string name = "std/" + std::string(module);
  const auto file = out->sources.add(name, name, std::string(*text));
  out->tree = syntax::parse(out->sources[file], out->sink);
  return out;
}

bool is_type(Cursor c) { return c.kind() >= Node::union_type && c.kind() <= Node::paren_type; }

Cursor type_of(Cursor node) {
  for (Cursor x = node.first(); x; x = node.next(x)) {
    if (is_type(x)) return x;
  }
  return {};
}

std::string first_sentence(const std::string& doc) {
  std::string line = doc;
  std::replace(line.begin(), line.end(), '\n', ' ');
  for (size_t dot = line.find(". "); dot != std::string::npos; dot = line.find(". ", dot + 1))
    return line.substr(0, dot + 1);
  return line;
}

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

std::string signature(std::string_view module, Cursor callable, bool step) {
  std::string out =
      (step ? "step " : "") + std::string(module) + "." + std::string(callable.name()) + "(";
  bool first = true;
  if (const Cursor params = callable.child(Node::params)) {
    for (const Cursor p : params.children(Node::param)) {
      out += (first ? "" : ", ") + std::string(p.name()) + ": " + std::string(type_of(p).text());
      if (const Cursor fallback = p.expression()) out += " = " + std::string(fallback.text());
      first = false;
    }
  }
  out += ")";
  const Cursor holder = callable.child(Node::result_type);
  if (const Cursor result = type_of(holder ? holder : callable))
    out += " -> " + std::string(result.text());
  return out;
}

std::string functions(std::string_view module) {
  const auto parsed = parse(module);
  std::string out = "| call | what it does |\n|---|---|\n";
  for (Cursor c = parsed->tree.root().first(); c; c = parsed->tree.root().next(c)) {
    if (!c.is(Node::fn_decl) && !c.is(Node::callable_decl)) continue;
    if (c.name().starts_with('_')) continue;
    out += "| `" + escaped(signature(module, c, c.is(Node::callable_decl))) + "` | " +
           escaped(first_sentence(c.doc())) + " |\n";
  }
  return out;
}

// The callables that need no import.
std::string builtins() {
  std::string out = "| call | what it does |\n|---|---|\n";
  for (const ir::Builtin& b : ir::all_builtins()) {
    std::string call = "step " + std::string(b.name) + "(";
    for (const ir::BuiltinParam& p : b.params) {
      call += (call.ends_with('(') ? "" : ", ") + std::string(p.name) + ": " + std::string(p.type);
      if (!p.required) call += " = " + std::string(p.fallback);
    }
    out += "| `" + escaped(call + ") -> " + std::string(b.result)) + "` | " +
           escaped(std::string(b.doc)) + (b.idempotent ? " |" : "; tried once") +
           (b.idempotent ? "\n" : " |\n");
  }
  return out;
}

std::string problems(const driver::Compilation& c) {
  return diagnostics::render_human(c.sink, *c.sources, false);
}

}  // namespace

TEST_CASE("every module, declaration, parameter and field is documented") {
  REQUIRE(stdlib::module_names().size() >= 10);
  for (const std::string_view module : stdlib::module_names()) {
    const auto parsed = parse(module);
    CHECK(parsed->sink.errors() == 0);
    CHECK(parsed->tree.text().starts_with("// "));
    for (Cursor c = parsed->tree.root().first(); c; c = parsed->tree.root().next(c)) {
      const bool callable = c.is(Node::fn_decl) || c.is(Node::callable_decl);
      if (!callable && !c.is(Node::type_decl) && !c.is(Node::record_decl)) continue;
      INFO(module << "." << c.name());
      if (!c.name().starts_with('_')) CHECK_FALSE(c.doc().empty());
      const Cursor params = c.child(Node::params);
      for (const Cursor p : params ? params.children(Node::param) : std::vector<Cursor>()) {
        INFO(p.name());
        CHECK_FALSE(p.doc().empty());
      }
      const Cursor record = callable                  ? Cursor()
                            : c.is(Node::record_decl) ? c
                                                      : c.child(Node::record_type);
      for (const Cursor f : record ? record.children(Node::field) : std::vector<Cursor>()) {
        INFO(f.name());
        CHECK_FALSE(f.doc().empty());
      }
    }
  }
}

TEST_CASE("a file that imports any of them is clean, and an agent can have them as tools") {
  for (const std::string_view module : stdlib::module_names()) {
    const std::string name(module);
    INFO(name);
    const bool has_tools = functions(module).find("| `step ") != std::string::npos;
    const auto compiled = driver::compile_text(
        "test.kflow", "import \"std/" + name + "\"\n" +
                          (has_tools ? "agent helper { model: \"openai/gpt-5.2\" tools: [" + name +
                                           "] }\n"
                                           "workflow w(task: string) -> string {\n"
                                           "  step done = helper(task)\n  return done\n}\n"
                                     : std::string("workflow w() {}\n")));
    INFO(problems(*compiled));
    REQUIRE(compiled->program);
    // One that has only functions is not used here.
    for (const diagnostics::Diagnostic* d : compiled->sink.sorted())
      CHECK(d->kind == diagnostics::Kind::unused);
    std::set<std::string> names;
    for (const ir::Callable& c : compiled->program->callables) {
      for (const ir::AgentTool& tool : c.agent.tools) {
        INFO(tool.name);
        CHECK(tool.name.size() <= max_tool_name);
        CHECK(tool.name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789_-") == std::string::npos);
        CHECK(names.insert(tool.name).second);
        CHECK(tool.name.find("__") == std::string::npos);  // none that begins with `_`
        CHECK_FALSE(tool.description.empty());
        for (const schema::Field& f : compiled->program->types[tool.input].fields)
          CHECK_FALSE(f.doc.empty());
      }
    }
    CHECK(names.empty() != has_tools);
  }
}

TEST_CASE("the README lists what there is, and its examples compile") {
  std::string text = read(readme_path);
  std::string wanted = text;
  std::vector<std::string_view> sections = stdlib::module_names();
  sections.push_back("built-in callables");
  for (const std::string_view module : sections) {
    INFO(module);
    const bool built_in = module == "built-in callables";
    const std::string begin = "<!-- made by stdlib_test: " + std::string(module) + " -->\n";
    const size_t from = wanted.find(begin);
    const size_t to = wanted.find("<!-- end -->", from);
    REQUIRE(from != std::string::npos);
    REQUIRE(to != std::string::npos);
    wanted.replace(from + begin.size(), to - from - begin.size(),
                   built_in ? builtins() : functions(module));
    if (!built_in)
      CHECK(text.find("import \"std/" + std::string(module) + "\"") != std::string::npos);
  }
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(readme_path, std::ios::binary) << wanted;
    text = wanted;
  }
  INFO("stdlib/README.md is not current; KFLOW_UPDATE_GOLDEN=1 writes it anew");
  CHECK((text == wanted));

  size_t examples = 0;
  constexpr std::string_view fence = "```kflow\n";
  for (size_t at = 0; (at = text.find(fence, at)) != std::string::npos; ++examples) {
    at += fence.size();
    const std::string example = text.substr(at, text.find("```", at) - at);
    INFO(example);
    const auto compiled = driver::compile_text("example.kflow", example);
    INFO(problems(*compiled));
    CHECK(compiled->program);
    CHECK(compiled->sink.warnings() == 0);
  }
  CHECK(examples >= stdlib::module_names().size());
}
