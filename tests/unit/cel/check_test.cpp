// The static checker of strict CEL, rule by rule.
#include "compiler/cel/front/check.hpp"

#include <set>

#include "compiler/cel/functions.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

struct Name {
  const char* name;
  const char* type;
};

// The type of an expression, or "error: " and the kind of the first error.
std::string type_of(const std::string& text, std::initializer_list<Name> names = {},
                    std::string_view container = "") {
  const ParsedExpression parsed = parse_strict(text);
  if (!parsed.errors.empty()) return "error: parse";
  const Ast ast = build_ast(parsed.tree.root().expression(),
                            {.strict = true, .container = std::string(container)});
  if (!ast.errors.empty()) return "error: parse";
  Declarations declared(&standard_declarations());
  for (const Name& n : names) {
    const auto type = parse_type(declared.types(), n.type);
    REQUIRE(type);
    declared.add_variable(n.name, *type);
  }
  REQUIRE(declared.add_function("pair", "(A,B)tuple(A,B)"));
  REQUIRE(declared.add_function("com.example.twice", "(int)int"));
  const CheckResult result = check_static(ast, declared, container);
  if (result.ok()) return result.type;
  return "error: " + std::string(to_string(result.errors.front().kind));
}

struct Row {
  const char* text;
  const char* type;
};
void check_all(std::initializer_list<Row> rows, std::initializer_list<Name> names = {}) {
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(type_of(row.text, names) == row.type);
  }
}

TEST_CASE("literals and the joins of their types") {
  check_all({{"1", "int"},
             {"1u", "uint"},
             {"null", "null_type"},
             {"b''", "bytes"},
             {"[]", "list(dyn)"},
             {"{}", "map(dyn,dyn)"},
             {"[1, 2]", "list(int)"},
             {"[1, 'a']", "list(dyn)"},
             {"[1, dyn('a')]", "list(dyn)"},
             {"[[], [1]]", "list(list(int))"},
             {"[[1], []]", "list(list(int))"},
             {"[[1], ['a']]", "list(dyn)"},
             {"{1: 1, 'a': 2}", "map(dyn,int)"},
             {"{'a': [], 'b': [1u]}", "map(string,list(uint))"},
             {"[null, duration('1s')]", "list(duration)"},
             {"[timestamp(0), null]", "list(timestamp)"},
             {"[optional.of(1), null]", "list(optional_type(int))"},
             {"[1, null]", "list(dyn)"},
             {"[?optional.of(1), 2]", "list(int)"},
             {"[?1]", "error: no_such_overload"},
             {"{?'a': optional.of(1)}", "map(string,int)"},
             {"{?'a': 1}", "error: no_such_overload"},
             {"T{f: 1}", "error: undeclared_variable"}});
}

TEST_CASE("operators take what their overloads say") {
  check_all({{"1 + 1u", "error: no_such_overload"},
             {"1 + dyn(1u)", "int"},
             {"dyn(1) + dyn(1u)", "dyn"},
             {"timestamp(0) - timestamp(0)", "duration"},
             {"timestamp(0) - duration('1s')", "timestamp"},
             {"duration('1s') + timestamp(0)", "timestamp"},
             {"[1] + []", "list(int)"},
             {"[] + []", "list(dyn)"},
             {"-1u", "error: no_such_overload"},
             {"-dyn(1)", "dyn"},
             {"1 < 1.0", "error: no_such_overload"},
             {"1 < dyn(1.0)", "bool"},
             {"[1] < [2]", "error: no_such_overload"},
             {"1 == 'a'", "error: no_such_overload"},
             {"1 == dyn('a')", "bool"},
             {"null == 1", "error: no_such_overload"},
             {"null == duration('1s')", "bool"},
             {"[1] == []", "bool"},
             {"1 in [1]", "bool"},
             {"'a' in {'a': 1}", "bool"},
             {"1 in ['a']", "error: no_such_overload"},
             {"'a' in 'abc'", "error: no_such_overload"},
             {"true ? 1 : 2", "int"},
             {"true ? 1 : 'a'", "error: no_such_overload"},
             {"true ? 1 : dyn('a')", "dyn"},
             {"1 ? 1 : 2", "error: no_such_overload"},
             {"dyn(1) && true", "bool"},
             {"1 && true", "error: no_such_overload"},
             {"!1", "error: no_such_overload"},
             {"5.0 % 2.0", "error: no_such_overload"}});
}

TEST_CASE("parts of values") {
  const std::initializer_list<Name> names = {
      {"m", "map(string,list(int))"},  {"d", "dyn"},
      {"l", "list(map(string,bool))"}, {"o", "optional_type(map(string,int))"},
      {"w", "wrapper(int)"},           {"a.b", "string"}};
  check_all({{"m.x", "list(int)"},
             {"m['x'][0]", "int"},
             {"m[1]", "error: no_such_overload"},
             {"l[0].x", "bool"},
             {"l['a']", "error: no_such_overload"},
             {"l.x", "error: no_such_field"},
             {"d.x.y[1]", "dyn"},
             {"has(m.x)", "bool"},
             {"has(l.x)", "error: no_such_field"},
             {"m.?x", "optional_type(list(int))"},
             {"m.?x[0]", "optional_type(int)"},
             {"m[?'x']", "optional_type(list(int))"},
             {"o.x", "optional_type(int)"},
             {"o['x']", "optional_type(int)"},
             {"has(o.x)", "bool"},
             {"w", "wrapper(int)"},
             {"w + 1", "int"},
             {"w == null", "bool"},
             {"[w, 1]", "list(wrapper(int))"},
             {"[1, w]", "list(wrapper(int))"},
             {"a.b", "string"},
             {"a.c", "error: undeclared_variable"},
             {"int", "type(int)"},
             {"type(int)", "type(type(int))"},
             {"type([1])", "type(list(int))"},
             {"google.protobuf.Timestamp", "type(timestamp)"},
             {"net.IP", "type(net.IP)"}},
            names);
}

TEST_CASE("loops and bindings") {
  check_all({{"[1].map(x, string(x))", "list(string)"},
             {"{'a': 1}.map(k, k)", "list(string)"},
             {"[1].map(x, x > 0, [x])", "list(list(int))"},
             {"[1].map(x, x, [x])", "error: no_such_overload"},
             {"[1].filter(x, dyn(x))", "list(int)"},
             {"{'a': 1}.filter(k, true)", "list(string)"},
             {"[1].all(x, 'a')", "error: no_such_overload"},
             {"[1].exists_one(x, x == 1)", "bool"},
             {"1.all(x, true)", "error: no_such_overload"},
             {"dyn(1).all(x, x > 1)", "bool"},
             {"['a'].transformList(i, v, i)", "list(int)"},
             {"['a'].transformMap(i, v, v)", "map(int,string)"},
             {"{'a': 1u}.transformMap(k, v, v > 0u, [v])", "map(string,list(uint))"},
             {"{'a': 1}.transformMapEntry(k, v, {v: k})", "map(int,string)"},
             {"{'a': 1}.transformMapEntry(k, v, k)", "error: no_such_overload"},
             {"{'a': 1u}.exists(k, v, v == 1u && k == 'a')", "bool"},
             {"([].map(x, x))[0].foo", "dyn"},
             {"cel.bind(x, 1, [x])", "list(int)"},
             {"['b', 'a'].sortBy(x, size(x))", "list(string)"},
             {"[[1]].sortBy(x, x)", "error: no_such_overload"},
             {"{'a': 1}.sortBy(x, x)", "error: no_such_overload"},
             {"[1].map(x, y)", "error: undeclared_variable"}});
}

TEST_CASE("functions") {
  check_all({{"size([1]) + 'a'.size()", "int"},
             {"size(1)", "error: no_such_overload"},
             {"size(dyn(1))", "int"},
             {"nothing(1)", "error: undeclared_function"},
             {"'a'.nothing()", "error: undeclared_function"},
             {"nowhere.size()", "error: undeclared_variable"},
             {"'a'.size(1)", "error: no_such_overload"},
             {"pair(1, 'a')", "tuple(int,string)"},
             {"[pair(1, 'a'), pair(dyn(1), 'b')]", "list(tuple(dyn,string))"},
             {"pair(1, 2) == pair(1, 'a')", "error: no_such_overload"},
             {"com.example.twice(1)", "int"},
             {"twice(1)", "error: undeclared_function"},
             {"math.greatest(1, 2)", "int"},
             {"math.greatest(1, 2.0)", "dyn"},
             {"math.greatest(1, 2, 3)", "int"},
             {"math.greatest(1, 2, 3u)", "dyn"},
             {"math.greatest([1u, 2u])", "uint"},
             {"math.greatest('a')", "error: no_such_overload"},
             {"math.greatest([])", "error: no_such_overload"},
             {"['a'].join()", "string"},
             {"[1].join()", "error: no_such_overload"},
             {"[3, 1].sort()", "list(int)"},
             {"[[1]].flatten()", "list(int)"},
             {"sets.contains([1], [1u])", "error: no_such_overload"},
             {"optional.none()", "optional_type(dyn)"},
             {"optional.of(1).orValue('a')", "error: no_such_overload"},
             {"optional.of(1).optMap(x, string(x))", "optional_type(string)"},
             {"optional.of(1).optFlatMap(x, optional.of('a'))", "optional_type(string)"},
             {"optional.of(1).optFlatMap(x, x)", "error: no_such_overload"},
             {"dyn(1).optMap(x, 1)", "optional_type(int)"},
             {"ip('::1').family()", "int"},
             {"isIP(cidr('::/0'))", "error: no_such_overload"},
             {"cidr('::/0').containsIP(ip('::1')) || cidr('::/0').containsIP('::1')", "bool"}});
  CHECK(type_of("twice(1)", {}, "com.example") == "int");
  CHECK(type_of("example.twice(1)", {}, "com.sample") == "int");
  CHECK(type_of("example.twice(1)", {}, "org") == "error: undeclared_variable");
}

TEST_CASE("names are looked for from the innermost namespace outwards") {
  const std::initializer_list<Name> names = {{"x.y.v", "int"},
                                             {"x.v", "string"},
                                             {"v", "bool"},
                                             {"y.z", "double"},
                                             {"a", "map(string,int)"}};
  CHECK(type_of("v", names, "x.y") == "int");
  CHECK(type_of("v", names, "x") == "string");
  CHECK(type_of("v", names, "q") == "bool");
  CHECK(type_of(".v", names, "x.y") == "bool");
  CHECK(type_of("[{'z': 0}].exists(y, y.z == 0)", names) == "bool");
  CHECK(type_of("[{'z': 0}].map(y, .y.z)", names) == "list(double)");
  CHECK(type_of("[1].map(v, v)", names, "x.y") == "list(int)");
  CHECK(type_of("cel.bind(y, {'z': 'a'}, y.z)", names) == "string");
}

TEST_CASE("formats of literals are looked at") {
  check_all({{"'%s %d %.2f %x %b %o %%'.format(['a', 1, 2.0, b'c', true, 1u])", "string"},
             {"'%d'.format(['a'])", "error: format"},
             {"'%b'.format(['a'])", "error: format"},
             {"'%x'.format([null])", "error: format"},
             {"'%e'.format([null])", "error: format"},
             {"'%o'.format(['a'])", "error: format"},
             {"'%s'.format([])", "error: format"},
             {"'%s'.format([1, 2])", "error: format"},
             {"'%q'.format([1])", "error: format"},
             {"'%'.format([1])", "error: format"},
             {"'%s'.format([optional.of(1)])", "error: format"},
             {"'%d'.format([dyn('a')])", "string"},
             {"dyn('%d').format(['a'])", "string"}});
}

TEST_CASE("a wrong part causes one error, at its place") {
  const auto errors = [](const std::string& text) {
    const ParsedExpression parsed = parse_strict(text);
    const Ast ast = build_ast(parsed.tree.root().expression(), {.strict = true});
    return check_static(ast, standard_declarations()).errors;
  };
  const auto found = errors("[1, nowhere].map(x, x.y)[0].z > 3");
  REQUIRE(found.size() == 1);
  CHECK(found[0].begin == 4);
  CHECK(found[0].end == 11);
  CHECK(found[0].message == "undeclared reference to `nowhere`");
  const auto overload = errors("'a'.charAt(true)");
  REQUIRE(overload.size() == 1);
  CHECK(overload[0].message ==
        "found no matching overload for `charAt` applied to `string.(bool)`");
}

TEST_CASE("every function of CEL has a declaration") {
  std::set<std::string> declared;
  for (const std::string& name : standard_declarations().function_names())
    if (name.find('_') == std::string::npos) declared.insert(name);
  std::set<std::string> implemented;
  for (const auto rows :
       {standard_functions(), string_functions(), math_functions(), dialect_functions(),
        text_functions(), network_functions(), set_functions()}) {
    for (const Function& f : rows) {
      if (f.dialect_only) continue;
      implemented.insert(std::string(f.name));
      bool style = false;
      standard_declarations().each_overload(f.name, [&](const Overload& o) {
        if (o.member != f.member) return;
        style = true;
        INFO(f.name);
        CHECK(o.params.size() >= f.min_args);
        CHECK(o.params.size() <= f.max_args);
      });
      INFO(f.name);
      CHECK(style);
    }
  }
  CHECK(declared == implemented);
}

TEST_CASE("types of any size are refused softly") {
  std::string text = "[1]";
  for (int i = 0; i < 40; ++i) {
    std::string next = "cel.bind(v";
    next += std::to_string(i);
    text = next + ", {1: " + (i == 0 ? "1" : "v" + std::to_string(i - 1)) + ", 2: " +
           (i == 0 ? "1" : "[v" + std::to_string(i - 1) + ", v" + std::to_string(i - 1) + "]") +
           "}, " + (i == 39 ? "v39" : "TAIL") + ")";
    static std::string whole;
    whole = i == 0 ? text : whole.replace(whole.find("TAIL"), 4, text);
    text = whole;
  }
  const std::string type = type_of(text);
  CHECK(type.size() < 100'000);
}

}  // namespace
}  // namespace kflow::cel
