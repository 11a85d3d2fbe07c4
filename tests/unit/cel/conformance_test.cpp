// The shared CEL data: all value tests pass, all parser inputs are accepted or rejected as they
// should be.
#include "compiler/cli/conformance.hpp"

#include <fstream>
#include <sstream>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

TEST_CASE("the conformance tests pass") {
  const std::string path = test::shared_data("cel-public.jsonl");
  if (path.empty()) return;
  std::ifstream in(path, std::ios::binary);
  std::FILE* out = std::tmpfile();
  REQUIRE(out != nullptr);
  const auto counts = cli::run_conformance(in, out, stderr);
  std::fclose(out);
  REQUIRE(counts);
  CHECK(counts->failed == 0);
  CHECK(counts->passed >= 1018);
}

TEST_CASE("data that is no test is an error, not a crash") {
  for (const char* line : {"{", "[]", R"({"expr": 1})",
                           R"({"expr": "1", "expect": {}, "bindings": {}, "features": 3})"}) {
    std::istringstream in(line);
    CHECK_FALSE(cli::run_conformance(in, stdout, stderr));
  }
  std::FILE* out = std::tmpfile();
  REQUIRE(out != nullptr);
  std::istringstream odd(
      R"({"id":"x","file":"f","expr":"a","expect":{"value":{"list":3}},"bindings":{"a":{"map":[1]}},"features":[1]})");
  const auto counts = cli::run_conformance(odd, out, out);
  std::fclose(out);
  REQUIRE(counts);
  CHECK(counts->failed == 1);
}

// Message literals `T{…}` are no part of the language, strict or not.
bool has_message_literal(std::string_view ast) {
  return ast.find("Expr_StructExpr") != std::string_view::npos;
}

TEST_CASE("the parser accepts and rejects what it should") {
  const std::string path = test::shared_data("cel-parser.jsonl");
  if (path.empty()) return;
  std::ifstream in(path, std::ios::binary);
  std::string line;
  std::string wrong;
  int checked = 0;
  while (std::getline(in, line)) {
    const Value row = test::json(line);
    const Value* ast = row.find("ast");
    if (ast != nullptr && ast->kind() == Kind::string && has_message_literal(ast->as_string()))
      continue;
    const std::string text(row.find("expr")->as_string());
    const ParsedExpression parsed = parse_strict(text);
    const bool two = row.find("suite")->as_string() != "comprehensions";
    bool ok = parsed.errors.empty();
    if (ok)
      ok = build_ast(parsed.tree.root().expression(), {.strict = true, .two_variable_macros = two})
               .errors.empty();
    ++checked;
    if (ok != row.find("parse_ok")->as_bool())
      wrong += (ok ? "accepted: " : "rejected: ") + text + "\n";
  }
  CHECK(wrong == "");
  CHECK(checked > 250);
}

}  // namespace
}  // namespace kflow::cel
