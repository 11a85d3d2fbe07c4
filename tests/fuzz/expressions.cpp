// Expressions: parsed, checked, compiled and evaluated, strictly and in the language's dialect.
#include "tests/fuzz/expressions.hpp"

#include <utility>

#include "compiler/base/bytes.hpp"
#include "compiler/base/check.hpp"
#include "compiler/base/utf8.hpp"
#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/front/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::fuzz {
namespace {

using cel::Value;

/// Enough for what a fuzzer can write, and quick to use up.
constexpr uint64_t budget = 50'000;
constexpr size_t longest = 4'000;

class Variables : public cel::NameResolver, public cel::Bindings {
 public:
  Variables() {
    const auto add = [&](const char* name, const char* json) {
      names_.emplace_back(name);
      values_.push_back(*cel::from_json(json));
    };
    add("a", R"({"b": {"c": [1, 2.5, "x", null]}, "n": 7, "s": "text"})");
    add("l", R"([1, 2, 3, "a", ["b"], {"k": "v"}])");
    add("x.y", "3");
    add("s", R"("Grüße, world")");
  }
  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool) override {
    for (uint32_t i = 0; i < names_.size(); ++i) {
      if (names_[i] == dotted) return i;
    }
    return std::nullopt;
  }
  const Value* lookup(uint32_t v) override { return v < values_.size() ? &values_[v] : nullptr; }

 private:
  std::vector<std::string> names_;
  std::vector<Value> values_;
};

std::string text_of(const cel::EvalResult& r) {
  if (const auto* e = std::get_if<cel::EvalError>(&r)) return std::string(cel::to_string(e->kind));
  return cel::to_display(std::get<Value>(r));
}

// A stored program gives what the compiled one gives, and a value can be written out.
void evaluate(const cel::Program& program, Variables& variables) {
  const cel::EvalResult result = cel::evaluate(program, variables, budget);
  ByteWriter out;
  cel::encode_program(program, out);
  ByteReader in(out.buffer());
  const cel::Program again = cel::decode_program(in);
  KFLOW_CHECK(in.done(), "a compiled program can be read back");
  const std::string shown = text_of(result);
  KFLOW_CHECK(text_of(cel::evaluate(again, variables, budget)) == shown, "and gives the same");
  if (const auto* value = std::get_if<Value>(&result)) {
    ByteWriter bytes;
    cel::encode_value(*value, bytes);
    ByteReader reader(bytes.buffer());
    KFLOW_CHECK(Value::identical(cel::decode_value(reader), *value), "a value is read back");
    (void)cel::to_json(*value);
  }
}

void strictly(std::string_view text) {
  const cel::ParsedExpression parsed = cel::parse_strict(text);
  KFLOW_CHECK(parsed.tree.reconstruct() == text, "a tree holds every byte");
  const cel::Ast ast =
      cel::build_ast(parsed.tree.root().expression(), {.strict = true, .block_macros = true});
  if (!parsed.errors.empty() || !ast.errors.empty()) return;
  cel::Declarations declared(&cel::standard_declarations());
  declared.add_variable("a", cel::TypeStore::simple(cel::StaticKind::dyn));
  declared.add_variable("l", *cel::parse_type(declared.types(), "list(dyn)"));
  declared.add_variable("s", cel::TypeStore::simple(cel::StaticKind::string));
  const cel::CheckResult checked = cel::check_static(ast, declared, "x");
  for (const cel::CheckError& e : checked.errors)
    KFLOW_CHECK(e.begin <= e.end && e.end <= text.size(), "an error has a place in the text");
  Variables variables;
  evaluate(cel::compile(ast, variables, true), variables);
}

void in_dialect(std::string_view text) {
  source::Manager sources;
  diagnostics::Sink sink;
  const auto file = sources.add("<fuzz>", "<fuzz>", "const value = " + std::string(text));
  const syntax::Tree tree = syntax::parse(sources[file], sink);
  KFLOW_CHECK(tree.reconstruct() == sources[file].text(), "a tree holds every byte");
  const syntax::Cursor declaration = tree.root().child(syntax::Node::const_decl);
  const cel::Ast ast =
      cel::build_ast(declaration ? declaration.expression() : syntax::Cursor(), {});
  if (sink.has_errors() || !ast.errors.empty()) return;
  Variables variables;
  evaluate(cel::compile(ast, variables, false), variables);
}

}  // namespace

void fuzz_expression(std::string_view bytes) {
  if (bytes.empty() || bytes.size() > longest) return;
  const std::string_view text = bytes.substr(1);
  if (find_invalid_utf8(text) != std::string_view::npos) return;
  if (static_cast<uint8_t>(bytes[0]) % 2 == 0) {
    strictly(text);
  } else {
    in_dialect(text);
  }
}

std::vector<std::string> expression_corpus() {
  std::vector<std::string> out;
  for (const char* text :
       {"a.b.c[0] + 1 > 2 && l.exists(x, x == 'a')",
        "l.map(i, v, {'k': [i, v]}).filter(e, has(e.k)).size()",
        "cel.bind(v, [1, 2].map(x, x * 2), v[0] < v[1] ? v : [])",
        "cel.block([a.n, cel.index(0) + 1], cel.index(1))",
        "{1: 'a', 2u: b'\\xff', true: null, ?'o': optional.of(1)}.transformMap(k, v, string(k))",
        "optional.of({'x': 1}).?x.optMap(y, y + 1).orValue(-1)",
        "s.replace('ü', 'ue').split(',').join('-').upperAscii() + \"${a.n} ${1h30m}\"",
        "timestamp('2024-02-29T00:00:00Z') + duration('1h') - timestamp(0)",
        "'%s %d %.3f %x'.format([a, 1, 2.5, 'z'])",
        "math.greatest([1, 2.0, 3u]) == 3 ? regex.replace(s, '(w)', '\\\\1!') : s.substring(1, 4)",
        "ip('::1').isLoopback() || cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "a.?b.?missing ?? l[?9] ?? \"\"\"\n  x\n    y ${json(l)}\n  \"\"\"",
        "sets.contains(l, [1]) && [3, 1].sortBy(x, -x) == lists.range(3).slice(1, 2)",
        "T{f: 1, `g-h`: [-0x7f, 1e-3, .5, 18446744073709551615u]}.f.`a b`",
        "r'\\d' in {'a': b\"\"\"x\"\"\"} || !(-5 % 3 != 1u) && type(1.0) == double"}) {
    out.push_back(std::string(1, '\0') + text);
    out.push_back(std::string(1, '\1') + text);
  }
  return out;
}

}  // namespace kflow::fuzz
