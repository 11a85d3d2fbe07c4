// Evaluation beyond the conformance data: kinds of errors, places, limits.
#include "compiler/cel/evaluate.hpp"

#include "compiler/cel/functions.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

using test::shown;
using test::strict;

struct Row {
  const char* text;
  const char* wanted;
};

TEST_CASE("errors have kinds") {
  for (const Row& row : {Row{"1 / 0", "divide_by_zero"},
                         {"1u % 0u", "modulus_by_zero"},
                         {"9223372036854775807 + 1", "overflow"},
                         {"-(-9223372036854775808)", "overflow"},
                         {"-9223372036854775808 / -1", "overflow"},
                         {"uint(-1)", "range"},
                         {"int(1e19)", "range"},
                         {"timestamp(253402300800)", "range"},
                         {"1 + 1u", "no_such_overload"},
                         {"'a' in 'abc'", "no_such_overload"},
                         {"1 && true", "no_such_overload"},
                         {"{'a': 1}.b", "no_such_key"},
                         {"{'a': 1}['b']", "no_such_key"},
                         {"[1]['x']", "invalid_index"},
                         {"[1][1]", "index_out_of_bounds"},
                         {"[1][-1]", "index_out_of_bounds"},
                         {"{1.5: 1}", "bad_map_key"},
                         {"{1: 1, 1u: 2}", "duplicate_map_key"},
                         {"nowhere", "undeclared_variable"},
                         {"nowhere()", "undeclared_function"},
                         {"1.nowhere()", "undeclared_function"},
                         {"string(b'\\xff')", "invalid_utf8"},
                         {"int('1x')", "conversion"},
                         {"int(' 5')", "conversion"},
                         {"double('')", "conversion"},
                         {"'a'.matches('(')", "invalid_argument"},
                         {"timestamp(0).getHours('Nowhere/At_All')", "invalid_argument"},
                         {"'%d'.format(['x'])", "format"},
                         {"'x'.charAt(2)", "index_out_of_bounds"},
                         {"optional.none().value()", "invalid_argument"},
                         {"9223372036854775808", "parse"},
                         {"1 +", "parse"},
                         {"'\\ud800'", "parse"},
                         {"[1].map(x.y, 1)", "parse"},
                         {"has(1)", "parse"}}) {
    INFO(row.text);
    CHECK(strict(row.text).error == row.wanted);
  }
}

TEST_CASE("errors are absorbed where CEL says so, and only there") {
  CHECK(shown(strict("1 / 0 > 0 || true")) == "true");
  CHECK(shown(strict("true || 1 / 0 > 0")) == "true");
  CHECK(shown(strict("'x' && false")) == "false");
  CHECK(strict("'x' && true").error == "no_such_overload");
  CHECK(strict("1 / 0 > 0 && 'x'").error == "divide_by_zero");
  CHECK(strict("'x' && 1 / 0 > 0").error == "divide_by_zero");
  CHECK(shown(strict("[0, 2].exists(x, 4 / x == 2)")) == "true");
  CHECK(strict("[0, 1].exists(x, 4 / x == 2)").error == "divide_by_zero");
  CHECK(shown(strict("[0, 1].all(x, 4 / x == 2)")) == "false");
  CHECK(strict("[1, 1, 0].exists_one(x, 4 / x == 4)").error == "divide_by_zero");
  CHECK(shown(strict("optional.of(1).orValue(1 / 0)")) == "1");
  CHECK(shown(strict("true ? 1 : 1 / 0")) == "1");
}

TEST_CASE("messages say what was wrong with what") {
  CHECK(strict("math.ceil(1)").message == "`math.ceil` does not take (int)");
  CHECK(strict("'a'.replace(1, 'b')").message == "`replace` does not take (string, int, string)");
  CHECK(strict("'a'.replace()").message == "`replace` does not take 1 arguments");
  CHECK(strict("[1].join()").message == "`join` takes a list of strings, not of int");
  CHECK(strict("int('1x')").message == "\"1x\" does not convert to int");
  CHECK(strict("[1].filter(x, x)").message == "a condition is a bool, not int");
  CHECK(strict("{'a': 1}.b").message == "no such key `b`");
}

TEST_CASE("doubles are formatted by their shortest digits, without an exponent") {
  CHECK(shown(strict("'%s %s %s'.format([1e30, 0.0000001, -123.456])")) ==
        R"("1000000000000000000000000000000 0.0000001 -123.456")");
  CHECK(shown(strict("'%s %s %d'.format([0.0, -0.0, 1e21])")) ==
        R"("0 -0 1000000000000000000000")");
}

TEST_CASE("an error names its place") {
  test::Variables none;
  const ParsedExpression parsed = parse_strict("[1, 2].map(x, x / (x - 1))");
  const Program p =
      compile(build_ast(parsed.tree.root().expression(), {.strict = true}), none, true);
  const EvalResult result = evaluate(p, none);
  REQUIRE(std::holds_alternative<EvalError>(result));
  CHECK(std::get<EvalError>(result).begin == 14);
}

TEST_CASE("the innermost variable wins, and its own again after the inner loop") {
  CHECK(shown(strict("[1, 2].map(x, [10].map(x, x + 1)[0] + x)")) == "[12, 13]");
  CHECK(shown(strict("cel.bind(x, 1, cel.bind(x, x + 1, x) + x)")) == "3");
  // First read within a loop, by loops of its own.
  CHECK(shown(strict("cel.bind(n, [7].map(i, string(i)), ['a', 'b'].map(r, n.map(k, k + r)))")) ==
        shown(strict("[['7a'], ['7b']]")));
  CHECK(shown(strict("cel.bind(a, [[1, 2]], cel.bind(n, a[0].map(i, i + 1), a.map(r, n.map(k, "
                     "[k, r[0]]))))")) == shown(strict("[[[2, 1], [3, 1]]]")));
  CHECK(shown(strict("cel.bind(a, [1, 2], a.map(b, a.map(a, a * b)))")) == "[[1, 2], [2, 4]]");
  CHECK(shown(strict("[[1], [2, 3]].map(l, l.filter(v, v > 1)).map(l, l.size())")) == "[0, 2]");
  CHECK(shown(strict("{'a': 1}.transformMap(k, v, cel.bind(v, v + 1, v))")) == R"({"a": 2})");
}

TEST_CASE("whatever is written ends within its budget") {
  const char* const expensive[] = {
      // More rounds than the budget.
      "lists.range(4000).all(a, lists.range(4000).all(b, lists.range(4000).all(c, a + b + c >= "
      "0)))",
      // Values that double.
      "cel.bind(a, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', cel.bind(b, a+a+a+a+a+a+a+a, cel.bind(c, "
      "b+b+b+b+b+b+b+b, "
      "cel.bind(d, c+c+c+c+c+c+c+c, cel.bind(e, d+d+d+d+d+d+d+d, cel.bind(f, e+e+e+e+e+e+e+e, "
      "cel.bind(g, f+f+f+f+f+f+f+f, "
      "cel.bind(h, g+g+g+g+g+g+g+g, h.size()))))))))",
      "lists.range(1000000000)",
      "[9223372036854775807].map(n, lists.range(n))",
      // Reading something long over and over.
      "cel.bind(s, lists.range(100000).map(i, 'abcdefghij').join(), lists.range(100000).all(i, "
      "s.contains('jjj') || true))",
      "cel.bind(s, lists.range(100000).map(i, 'abcdefghij').join(), lists.range(100000).all(i, "
      "s.size() > 0))",
      "cel.bind(s, lists.range(100000).map(i, 'abcdefghij').join(), lists.range(100000).all(i, "
      "s.trim() != ''))",
      "cel.bind(l, lists.range(100000), l.all(i, l == l))",
      "cel.bind(l, lists.range(100000), l.all(i, -1 in l || true))",
      "lists.range(100000).map(i, '%s%s%s%s'.format([lists.range(1000), 1, 2, 3]))",
      // Patterns that are no constants.
      "lists.range(1000000).all(i, 'x'.matches('x' + string(i)) || true)",
  };
  for (const char* text : expensive) {
    INFO(text);
    CHECK(strict(text, {}, 2'000'000).error == "cost_exceeded");
  }
  CHECK(strict("1 + 1", {}, 2).error == "cost_exceeded");
  CHECK(strict("(1 / 0 == 0 || true) && [1, 2, 3].all(x, x > 0)", {}, 9).error == "cost_exceeded");
}

TEST_CASE("sharing does not get round the size limit") {
  std::string text = "x9";
  for (int i = 9; i > 0; --i) {
    const std::string inner = "x" + std::to_string(i - 1);
    std::string list = "[" + inner;
    for (int k = 0; k < 19; ++k) list += ", " + inner;
    text = "cel.bind(x" + std::to_string(i) + ", " + list + "], " + text + ")";
  }
  const test::Variables start{{"x0", Value::string("x")}};
  CHECK(strict(text, start).error == "cost_exceeded");
  // Comparing, printing and converting shared structures costs what it would cost written out.
  std::string shallow =
      "cel.bind(a, [x0, x0, x0, x0, x0, x0, x0, x0, x0, x0], cel.bind(b, [a, a, a, a, a, a, a, a, "
      "a, a], "
      "cel.bind(c, [b, b, b, b, b, b, b, b, b, b], cel.bind(d, [c, c, c, c, c, c, c, c, c, c], "
      "cel.bind(e, [d, d, d, d, d, d, d, d, d, d], lists.range(1000).all(i, e == [d, d, d, d, d, "
      "d, d, d, d, d]))))))";
  CHECK(strict(shallow, start).error == "cost_exceeded");
}

TEST_CASE("values do not grow deeper than can be stored") {
  Value deep = Value::integer(0);
  for (uint32_t i = 0; i < max_value_depth; ++i) deep = Value::list({deep});
  const test::Variables variables{{"x", deep}};
  CHECK(strict("x == x", variables).value.has_value());
  CHECK(strict("[x]", variables).error == "range");
  CHECK(strict("{'a': x}", variables).error == "range");
  CHECK(strict("[0].map(i, x)", variables).error == "range");
  CHECK(strict("optional.of(x)", variables).error == "range");
}

TEST_CASE("an expression that is too deep or too long is an error of parsing") {
  CHECK(strict(std::string(5'000, '(') + "1" + std::string(5'000, ')')).error == "parse");
  CHECK(strict(std::string(5'000, '-') + "1").error == "parse");
  CHECK(strict(std::string(5'000, '[')).error == "parse");
  std::string sum = "1";
  for (int i = 0; i < 100'000; ++i) sum += "+1";
  CHECK(strict(sum).error == "parse");
  std::string selects = "x";
  for (int i = 0; i < 100'000; ++i) selects += ".y";
  CHECK(strict(selects).error == "parse");
  std::string list = "[1";
  for (int i = 0; i < 20'000; ++i) list += ",1";
  CHECK(strict("size(" + list + "])").value.has_value());
  std::string terms = "true";
  for (int i = 0; i < 200; ++i) terms += " && true";
  CHECK(shown(strict(terms)) == "true");
}

TEST_CASE("a long pattern in a long text is found in linear time") {
  const std::string a(200'000, 'a');
  const test::Variables variables{{"text", Value::string(a)},
                                  {"pattern", Value::string(a.substr(0, 100'000) + "b")}};
  CHECK(shown(strict("text.contains(pattern)", variables)) == "false");
  CHECK(shown(strict("text.indexOf(pattern)", variables)) == "-1");
  CHECK(shown(strict("('b' + text).lastIndexOf('b' + text)", variables)) == "0");
  CHECK(shown(strict("text.lastIndexOf(pattern)", variables)) == "-1");
  CHECK(shown(strict("text.split(pattern).size()", variables)) == "1");
  CHECK(find_last_text("abcabc", "abc", 5) == 3);
  CHECK(find_last_text("abcabc", "abc", 2) == 0);
  const std::string forty(40, 'x');
  CHECK(find_last_text("-" + forty + "-" + forty, forty, 100) == 42);
  CHECK(find_last_text("-" + forty + "-" + forty, forty, 41) == 1);
}

TEST_CASE("the table of functions is complete and in order") {
  std::string wrong;
  for (const auto rows :
       {standard_functions(), string_functions(), math_functions(), dialect_functions()}) {
    for (const Function& f : rows) {
      const std::string_view all = "nbiudsytDTLMO*S";
      bool result = false;
      bool ok = f.call != nullptr && !f.doc.empty() && f.min_args <= f.max_args &&
                (!f.member || f.min_args > 0);
      for (const char c : f.signatures) {
        if (c == '>') result = true;
        ok = ok && (c == '>' || c == ';' || c == ',' || c == ' ' ||
                    all.find(c) != std::string_view::npos);
      }
      if (!ok || !result || find_function(f.name, f.member) != &f)
        wrong += std::string(f.name) + "\n";
    }
  }
  CHECK(wrong == "");
  CHECK(function_names().size() > 80);
}

// Every function with every combination of a few values: a value or an error with a kind, never
// anything else.
TEST_CASE("functions take anything without harm") {
  const std::vector<Value> pool{
      Value(),
      Value::boolean(true),
      Value::integer(INT64_MIN),
      Value::integer(-1),
      Value::integer(3),
      Value::unsigned_integer(UINT64_MAX),
      Value::number(-1e308),
      Value::number(__builtin_nan("")),
      Value::string(""),
      Value::string("%.9s ü <p>&amp; 12:30"),
      Value::bytes("\xff\x00"),
      Value::timestamp({253'402'300'799, 999'999'999}),
      Value::duration({INT64_MIN}),
      Value::type(Kind::map),
      Value::list({}),
      Value::list({Value::string("a"), Value::integer(1), Value::list({Value()})}),
      make_record({{"a", Value::integer(1)}}),
      Value::none(),
      Value::some(Value::string("x"))};
  size_t calls = 0;
  for (const auto rows :
       {standard_functions(), string_functions(), math_functions(), dialect_functions()}) {
    for (const Function& f : rows) {
      for (uint32_t n = f.min_args; n <= std::min<uint32_t>(f.max_args, 3); ++n) {
        std::vector<std::pair<std::string, Value>> none;
        size_t combinations = 1;
        for (uint32_t i = 0; i < n; ++i) combinations *= pool.size();
        for (size_t c = 0; c < combinations; ++c) {
          Program p;
          p.names.emplace_back(f.name);
          size_t rest = c;
          for (uint32_t i = 0; i < n; ++i, rest /= pool.size()) {
            p.constants.push_back(pool[rest % pool.size()]);
            p.links.push_back(i);
            p.optional_marks.push_back(0);
            p.ops.push_back({.code = OpCode::constant, .a = i});
          }
          p.ops.push_back({.code = OpCode::call,
                           .flags = f.member ? op_flag::member : uint8_t{0},
                           .link_count = n});
          p.link();
          test::Variables variables;
          const EvalResult result = evaluate(p, variables, 10'000);
          if (const auto* error = std::get_if<EvalError>(&result))
            REQUIRE_FALSE(error->message.empty());
          ++calls;
        }
      }
    }
  }
  CHECK(calls > 10'000);
}

}  // namespace
}  // namespace kflow::cel
