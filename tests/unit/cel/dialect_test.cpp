// What the language adds to CEL: interpolation, `??`, durations, mixed numbers, null-safe access,
// its own functions.
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

using test::dialect;
using test::shown;
using test::strict;

test::Variables input() {
  return {
      {"input",
       test::json(
           R"({"topic": "AI", "count": 3, "ratio": 0.5, "none": null, "list": [1, 2], "m": {"k": "v"}})")},
      {"none", Value()},
      {"when", Value::timestamp({1'700'000'000, 0})}};
}

struct Row {
  const char* text;
  const char* wanted;
};
void check_all(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(shown(dialect(row.text, input())) == row.wanted);
  }
}

TEST_CASE("strings interpolate") {
  check_all({{R"("about ${input.topic}!")", R"("about AI!")"},
             {R"("${input.count} ${input.ratio} ${true} ${2u} ${1h30m} ${when}")",
              R"("3 0.5 true 2 1h30m 2023-11-14T22:13:20Z")"},
             {R"("${input.m["k"]}${"in ${"out"}"}")", R"("vin out")"},
             {R"("\${no}" + '${no}' + r"${no}")", R"("${no}${no}${no}")"},
             {R"("")", R"("")"},
             {R"("${input.list}")", "error: no_such_overload"},
             {R"("${input.m}")", "error: no_such_overload"},
             {R"("${none}")", "error: no_such_overload"},
             {R"("${json(input.list)}")", R"("[1,2]")"}});
  CHECK(dialect(R"("${input.list}")", input()).message.find("json(") != std::string::npos);
  CHECK(dialect(R"("${}")").error == "parse");
  CHECK(dialect(R"("${1")").error == "parse");
}

TEST_CASE("text blocks lose their indentation") {
  CHECK(shown(dialect("\"\"\"\n    a\n      b ${1 + 1}\n\n    c\n    \"\"\"")) ==
        R"("a\n  b 2\n\nc\n")");
  CHECK(shown(dialect("\"\"\"one ${'line'}\"\"\"")) == R"("one line")");
  CHECK(shown(strict("\"\"\"\n    a\"\"\"")) == R"("\n    a")");
}

TEST_CASE("?? gives a value for null and for nothing") {
  check_all({{"none ?? 1", "1"},
             {"input.none ?? 'x'", R"("x")"},
             {"input.?missing ?? 'x'", R"("x")"},
             {"input.?topic ?? 'x'", R"("AI")"},
             {"none ?? none ?? 3", "3"},
             {"input.count ?? 1 / 0", "3"},
             {"1 / 0 ?? 1", "error: divide_by_zero"},
             {"input.missing ?? 1", "error: no_such_key"},
             {"none ?? 2 == 2", "true"},
             {"true ? none ?? 1 : 2", "1"},
             {"input.m.?k ?? 'x' + 'y'", R"("v")"}});
  CHECK(dialect("none ?? true || false", input()).error == "parse");
  CHECK(shown(dialect("(none ?? true) || false", input())) == "true");
  CHECK(strict("null ?? 1").error == "parse");
}

TEST_CASE("access to what may be null gives none") {
  check_all({{"input.none.?f", "optional.none()"},
             {"input.none.?f.g.h", "optional.none()"},
             {"none[?0]", "optional.none()"},
             {"input.?none.?f", "optional.none()"},
             {"input.?none.f[?0].g", "optional.none()"},
             {"input.?topic.?f", "error: no_such_key"},
             {"input.list[?5]", "optional.none()"},
             {"input.list[?1]", "optional.of(2)"},
             {"input.none.?f ?? 'x'", R"("x")"},
             {"has(input.none.f)", "false"},
             {"input.none.f", "error: no_such_field"},
             {"none[0]", "error: no_such_overload"},
             {"input.topic.?f", "error: no_such_field"}});
  CHECK(strict("null.?f").error == "no_such_field");
  CHECK(strict("{'a': null}.?a.?f").error == "no_such_key");
}

TEST_CASE("int, uint and double mix") {
  check_all({{"1 + 0.5", "1.5"},
             {"input.count * 2.0", "6.0"},
             {"3u + 1", "4.0"},
             {"1 / 2", "0"},
             {"1 / 2.0", "0.5"},
             {"7 % 4", "3"},
             {"7 % 4.0", "error: no_such_overload"},
             {"1 < 1.5 && 2u > 1.5 && 1 == 1.0", "true"},
             {"'a' + 1", "error: no_such_overload"},
             {"9223372036854775807 + 1", "error: overflow"}});
  CHECK(strict("1 + 0.5").error == "no_such_overload");
}

TEST_CASE("durations are literals") {
  check_all({{"1h30m", R"(duration("5400s"))"},
             {"250ms + 10s", R"(duration("10.25s"))"},
             {"7d > 100h", "true"},
             {"when + 1d - when", R"(duration("86400s"))"},
             {"-5m", "error: no_such_overload"},
             {"[1m, 60s].distinct()", R"([duration("60s")])"}});
  CHECK(dialect("999999999d").error == "parse");
  CHECK(strict("1h").error == "parse");
}

TEST_CASE("a bare map key is a string") {
  check_all({{"{title: input.topic, if: 1}", R"({"title": "AI", "if": 1})"},
             {"{(input.topic): 1}", R"({"AI": 1})"},
             {"{'a': 1, ?b: input.?missing}", R"({"a": 1})"}});
  CHECK(shown(strict("{title: 1}")) == "error: undeclared_variable");
}

TEST_CASE("the text of HTML") {
  const auto text = [](std::string_view html) {
    const auto out = dialect("html_text(html)", {{"html", Value::string(html)}});
    REQUIRE(out.value);
    return std::string(out.value->as_string());
  };
  CHECK(text("a  b\n\tc") == "a b c");
  CHECK(text("<H1 class=\"a>b\">A &amp; B</H1><P>one<BR/>two") == "A & B\none\ntwo");
  CHECK(text("<p>x<script>if (a < b) { y(\"</p>\"); }</script> z<style>p{}</STYLE></p>") == "x z");
  CHECK(text("it&#x27;s 1&#x2F;2 &#8364; &euro; &nosuch; AT&T &#0; &#xD800; &#99999999;") ==
        "it's 1/2 € € &nosuch; AT&T &#0; &#xD800; &#99999999;");
  CHECK(text("a < b && c > d <3") == "a < b && c > d <3");
  CHECK(text("<!-- a > b --><!DOCTYPE html><ul><li>1<li>2</ul>") == "1\n2");
  CHECK(text("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>") == "a b\nc");
  CHECK(text("x <a href='unclosed") == "x");
  CHECK(text("<script>never closed") == "");
  CHECK(text("ü&nbsp;&nbsp;ß") == "ü ß");
}

TEST_CASE("functions of the language") {
  check_all({{R"(json({a: [1, 2.0, null]}))", R"("{\"a\":[1,2.0,null]}")"},
             {R"(parse_json('{"a": [1, 2.5]}'))", R"({"a": [1, 2.5]})"},
             {R"(parse_json('{'))", "error: invalid_argument"},
             {R"(url_encode("a b/ü?&=~"))", R"("a%20b%2F%C3%BC%3F%26%3D~")"},
             {R"(html_text('<h1>A &amp; B</h1><p>one<br>two <script>x()</script>&lt;3</p>'))",
              R"("A & B\none\ntwo <3")"},
             {R"(sha256('abc'))",
              R"("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")"},
             {R"(base64.encode('hi') + string(base64.decode('aGk')))", R"("aGk=hi")"},
             {R"(markdown_table([{a: 1, b: "x|y"}, {a: 2, c: null}]))",
              R"("| a | b | c |\n| --- | --- | --- |\n| 1 | x\\|y |  |\n| 2 |  |  |")"},
             {R"(format_time(when, "%Y-%m-%d %H:%M", "Europe/Berlin"))", R"("2023-11-14 23:13")"},
             {R"(format_time(when, "%A %d %B %j %I%p %z %%"))",
              R"("Tuesday 14 November 318 10PM +0000 %")"},
             {R"(format_time(when, "%Q"))", "error: invalid_argument"},
             {R"(format_time(when, "%Y", "Nowhere"))", "error: invalid_argument"},
             {R"([3, 1, 2].sort())", "[1, 2, 3]"},
             {R"([[1], [2, 3], 4].flatten())", "[1, 2, 3, 4]"},
             {R"([1, 1.0, 'a', 'a'].distinct())", R"([1, "a"])"},
             {R"([1, 2, 3].slice(1, 3))", "[2, 3]"},
             {R"([1, 2, 3].first())", "optional.of(1)"},
             {R"([].last() ?? 0)", "0"},
             {R"([1, 2].reverse() + lists.range(2))", "[2, 1, 0, 1]"}});
  CHECK(strict("json(1)").error == "undeclared_function");
}

}  // namespace
}  // namespace kflow::cel
