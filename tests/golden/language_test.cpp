// The language reference: every example compiles (or gives the one diagnostic it says), is laid out
// as the formatter does it, and its tables are the compiler's. KFLOW_UPDATE_GOLDEN=1 makes tables
// and layout anew.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "compiler/cel/functions.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/format/format.hpp"
#include "compiler/sema/constructs.hpp"
#include "runtime/testing/runner.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;

namespace {

const std::string path = KFLOW_SOURCE_DIR "/docs/language.md";

std::string read() {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What stands around a `kflow body` example.
constexpr std::string_view before = R"(
/// Writes.
agent writer { model: "openai/gpt-5.2" }
type Review { score: double  notes: string }
/// Judges.
agent critic -> Review { model: "openai/gpt-5.2" }
/// Pays back.
tool refund(id: string) { step log(id) }
workflow other(topic: string) { step log(topic) }
workflow example(topic: string, items: string[]) {
)";

struct Example {
  std::string kind;  // "", "body", "wrong KF1234"
  std::string text;
  size_t begin = 0;  // of the text in the document
};

std::vector<Example> examples(const std::string& document) {
  std::vector<Example> out;
  constexpr std::string_view fence = "```kflow";
  for (size_t at = 0; (at = document.find(fence, at)) != std::string::npos;) {
    const size_t line = document.find('\n', at);
    const size_t end = document.find("```", line);
    std::string kind = document.substr(at + fence.size(), line - at - fence.size());
    if (kind.starts_with(' ')) kind.erase(0, 1);
    out.push_back({kind, document.substr(line + 1, end - line - 1), line + 1});
    at = end + 3;
  }
  return out;
}

std::string whole(const Example& e) {
  return e.kind == "body" ? std::string(before) + e.text + "}\n" : e.text;
}

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

std::string_view kind_name(const sema::OptionRow& row) {
  switch (row.kind) {
    case sema::OptionKind::expression:
      return "expression";
    case sema::OptionKind::constant:
      return "constant";
    case sema::OptionKind::symbol:
      return "word";
    case sema::OptionKind::reference:
      return "reference";
    case sema::OptionKind::call:
      return "call";
    case sema::OptionKind::block:
      return "block";
    case sema::OptionKind::anything:
      return "";
  }
  return "";
}

std::string options_tables() {
  std::string out;
  std::string construct;
  for (const sema::OptionRow& row : sema::all_options()) {
    if (row.construct != construct) {
      construct = row.construct;
      out += "\n**`" + construct + "`**\n\n| option | takes | |\n|---|---|---|\n";
    }
    std::string takes(kind_name(row));
    if (row.kind == sema::OptionKind::symbol) {
      takes.clear();
      for (const char c : row.detail) takes += c == ' ' ? std::string(", ") : std::string(1, c);
    } else if (row.kind == sema::OptionKind::block) {
      takes = "block of `" + std::string(row.detail) + "`";
    } else if (!row.detail.empty() && row.kind != sema::OptionKind::call) {
      takes += " `" + escaped(std::string(row.detail)) + "`";
    }
    out += "| `" + std::string(row.name) + "`" + (row.required ? " (required)" : "") + " | " +
           takes + " | " + escaped(std::string(row.doc)) + " |\n";
  }
  return out + "\n";
}

std::string functions_table() {
  std::map<std::string, std::string> rows;
  for (const auto functions :
       {cel::standard_functions(), cel::string_functions(), cel::math_functions(),
        cel::dialect_functions(), cel::text_functions(), cel::network_functions(),
        cel::set_functions()}) {
    for (const cel::Function& f : functions) {
      const size_t least = f.member && f.min_args > 0 ? f.min_args - 1U : f.min_args;
      const size_t most = f.member && f.max_args > 0 ? f.max_args - 1U : f.max_args;
      std::string arguments;
      const char* names[] = {"a", "b", "c", "d"};
      for (size_t i = 0; i < std::min<size_t>(most, 4); ++i)
        arguments += (i == 0 ? "" : ", ") + std::string(names[i]) + (i >= least ? "?" : "");
      if (most > 4) arguments = "…";
      const std::string call = (f.member ? "x." : "") + std::string(f.name) + "(" + arguments + ")";
      rows.emplace(std::string(f.name) + (f.member ? " m" : " f"),
                   "| `" + call + "` | " + escaped(std::string(f.doc)) + " |\n");
    }
  }
  std::string out = "\n| function | |\n|---|---|\n";
  for (const auto& [name, row] : rows) out += row;
  return out + "\n";
}

std::string with_tables(std::string text) {
  const auto replace = [&](std::string_view name, const std::string& content) {
    const std::string begin = "<!-- made by language_test: " + std::string(name) + " -->\n";
    const size_t from = text.find(begin);
    REQUIRE(from != std::string::npos);
    const size_t to = text.find("<!-- end -->", from);
    REQUIRE(to != std::string::npos);
    text.replace(from + begin.size(), to - from - begin.size(), content);
  };
  replace("options", options_tables());
  replace("functions", functions_table());
  return text;
}

std::string formatted(const std::string& text) {
  source::Manager sources(nullptr);
  diagnostics::Sink sink;
  const auto out = format::format(sources[sources.add("e", "e", text)], sink);
  return out ? *out : text;
}

// Of a piece of a workflow: laid out inside of one, and taken out again.
std::string laid_out(const Example& e) {
  if (e.kind != "body") return formatted(e.text);
  const std::string wrapped = formatted("workflow w() {\n" + e.text + "}\n");
  std::string out;
  size_t at = wrapped.find('\n') + 1;
  while (at < wrapped.size() && wrapped.substr(at) != "}\n") {
    const size_t end = wrapped.find('\n', at);
    std::string line = wrapped.substr(at, end - at);
    out += (line.starts_with("  ") ? line.substr(2) : line) + "\n";
    at = end + 1;
  }
  return out;
}

}  // namespace

TEST_CASE("every example of the reference is what it says") {
  const std::string document = read();
  const auto all = examples(document);
  REQUIRE(all.size() >= 15);
  size_t tests = 0;
  for (const Example& e : all) {
    const auto compiled = driver::compile_text("example.kflow", whole(e));
    const std::string messages =
        diagnostics::render_human(compiled->sink, *compiled->sources, false);
    INFO("```kflow " << e.kind << "\n" << e.text << "```\n" << messages);
    if (e.kind.starts_with("wrong ")) {
      CHECK(messages.find("[" + e.kind.substr(6) + "]") != std::string::npos);
      CHECK(compiled->sink.errors() == 1);
      continue;
    }
    CHECK((e.kind.empty() || e.kind == "body"));
    CHECK(compiled->program);
    // A part of a file names what it does not use.
    for (const diagnostics::Diagnostic* d : compiled->sink.sorted())
      CHECK(d->kind == diagnostics::Kind::unused);
    if (!compiled->tests) continue;
    for (const testing::TestResult& t : testing::run_tests(*compiled->tests, "")) {
      ++tests;
      for (const testing::Failure& f : t.failures) CHECK(f.message.empty());
    }
  }
  CHECK(tests >= 4);
}

TEST_CASE("the reference is current and laid out") {
  std::string text = read();
  std::string wanted = with_tables(text);
  auto all = examples(wanted);
  std::reverse(all.begin(), all.end());
  for (const Example& e : all) wanted.replace(e.begin, e.text.size(), laid_out(e));
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << wanted;
    text = wanted;
  }
  INFO(format::unified_diff("docs/language.md", text, wanted));
  CHECK((text == wanted));
}
