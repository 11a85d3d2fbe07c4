// See support.hpp.
#include "tests/unit/cel/support.hpp"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

namespace kflow::cel::test {
namespace {

Outcome outcome_of(EvalResult result) {
  Outcome out;
  if (auto* error = std::get_if<EvalError>(&result)) {
    out.error = to_string(error->kind);
    out.message = error->message;
  } else {
    out.value = std::get<Value>(std::move(result));
  }
  return out;
}

Outcome parse_failure(std::string message) {
  Outcome out;
  out.error = "parse";
  out.message = std::move(message);
  return out;
}

}  // namespace

Value json(std::string_view text) {
  auto v = from_json(text);
  REQUIRE(v);
  return std::move(*v);
}

Outcome strict(std::string_view text, Variables variables, uint64_t cost_limit) {
  const ParsedExpression parsed = parse_strict(text);
  if (!parsed.errors.empty()) return parse_failure(parsed.errors.front().message);
  const Ast ast = build_ast(parsed.tree.root().expression(), {.strict = true});
  if (!ast.errors.empty()) return parse_failure(ast.errors.front().message);
  return outcome_of(evaluate(compile(ast, variables, true), variables, cost_limit));
}

namespace {
// The syntax tree points into the text, so both stay together.
struct Parsed {
  source::Manager sources;
  diagnostics::Sink sink;
  syntax::Tree tree;
  Ast ast;
  std::string error;

  explicit Parsed(std::string_view text) {
    const auto file = sources.add("<test>", "<test>", "const value = " + std::string(text));
    tree = syntax::parse(sources[file], sink);
    const auto declaration = tree.root().child(syntax::Node::const_decl);
    ast = build_ast(declaration ? declaration.expression() : syntax::Cursor(), {});
    if (sink.has_errors()) error = sink.sorted().front()->message;
    if (!ast.errors.empty()) error = ast.errors.front().message;
  }
};
}  // namespace

Outcome dialect(std::string_view text, Variables variables, uint64_t cost_limit) {
  const Parsed parsed(text);
  if (!parsed.error.empty()) return parse_failure(parsed.error);
  return outcome_of(evaluate(compile(parsed.ast, variables, false), variables, cost_limit));
}

std::string shown(const Outcome& outcome) {
  return outcome.value ? to_display(*outcome.value) : "error: " + outcome.error;
}

Program program_of(std::string_view text, Variables& variables) {
  const Parsed parsed(text);
  return parsed.error.empty() ? compile(parsed.ast, variables, false) : Program();
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

std::string shared_data(const std::string& name) {
  const char* set = std::getenv("KFLOW_SHARED_DIR");
  const std::string folder = set != nullptr ? set : KFLOW_SHARED_DIR;
  std::string path = folder + "/cel/" + name;
  if (read_file(path)) return path;
  WARN("skipped: " << path
                   << " is not there; set KFLOW_SHARED_DIR to the folder of the shared data");
  return "";
}

}  // namespace kflow::cel::test
