// Functions on texts: regular expressions, CSV, pieces of texts, HTML as Markdown.
#include <random>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/html_markdown.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/cel/support.hpp"

namespace kflow::cel {
namespace {

using test::dialect;
using test::shown;

struct Row {
  const char* text;
  const char* wanted;
};
void check_all(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(shown(dialect(row.text)) == row.wanted);
  }
}

std::string message(std::string_view text) { return dialect(text).message; }

TEST_CASE("regular expressions find and replace") {
  check_all({{R"~(regex.extract("item-42b", "[0-9]+"))~", R"~(optional.of("42"))~"},
             {R"~(regex.extract("key = value", "= (\\w+)"))~", R"~(optional.of("value"))~"},
             {R"~(regex.extract("none", "[0-9]+"))~", "optional.none()"},
             {R"~(regex.extract("a", "a|(b)"))~", "optional.none()"},
             {R"~(regex.extract("none", "[0-9]+") ?? "x")~", R"~("x")~"},
             {R"~(regex.extractAll("a1 b22 c", "[0-9]+"))~", R"~(["1", "22"])~"},
             {R"~(regex.extractAll("id:1, id:2", "id:(\\d)"))~", R"~(["1", "2"])~"},
             {R"~(regex.extractAll("äöü", ""))~", R"~(["", "", "", ""])~"},
             {R"~(regex.extractAll("", "x*"))~", R"~([""])~"},
             {R"~(regex.extractAll("aaa", "^a"))~", R"~(["a"])~"},
             {R"~(regex.extractAll("ab", "(a)(b)"))~", "error: invalid_argument"},
             {R"~(regex.extract("a", "("))~", "error: invalid_argument"},
             {R"~(["a1", "b2"].map(t, regex.extract(t, "[a-z]") ?? ""))~", R"~(["a", "b"])~"},
             {R"~(["1", "b"].map(p, regex.extract("1b", p) ?? ""))~", R"~(["1", "b"])~"},
             {R"~(regex.replace("2024-08-23", "(\\d+)-(\\d+)-(\\d+)", "\\3.\\2.\\1"))~",
              R"~("23.08.2024")~"},
             {R"~(regex.replace("aaaa", "a", "b", 2))~", R"~("bbaa")~"},
             {R"~(regex.replace("aaaa", "a", "b", 0))~", R"~("aaaa")~"},
             {R"~(regex.replace("aaaa", "a", "b", -1))~", R"~("bbbb")~"},
             {R"~(regex.replace("ab", "", "-"))~", R"~("-a-b-")~"},
             {R"~(regex.replace("a", "a", "\\0\\0\\\\"))~", R"~("aa\\")~"},
             {R"~(regex.replace("a", "a", "\\1"))~", "error: invalid_argument"},
             {R"~(regex.replace("a", "a", "x\\"))~", "error: invalid_argument"},
             {R"~(regex.replace("a", "b", 1))~", "error: no_such_overload"}});
  CHECK(message(R"~(regex.extractAll("ab", "(a)(b)"))~").find("(?:…)") != std::string::npos);
  CHECK(test::shown(test::strict(R"~(regex.extract("a", "a"))~")) == "optional.of(\"a\")");
}

TEST_CASE("a search that would take too long is an error") {
  // Each match may be searched for up to the end of the text.
  const auto out =
      dialect("regex.extractAll(t, 'a')", {{"t", Value::string(std::string(4 << 20, 'a'))}});
  CHECK(out.error == "cost_exceeded");
}

TEST_CASE("CSV is read") {
  check_all(
      {{R"(csv_parse("a,b\n1,2\n"))", R"([["a", "b"], ["1", "2"]])"},
       {R"(csv_parse("a,b\r\n1,\r\n"))", R"([["a", "b"], ["1", ""]])"},
       {R"(csv_parse("a\rb\r"))", R"([["a"], ["b"]])"},
       {R"(csv_parse('"x, ""y""","line 1\nline 2"\n'))", R"([["x, \"y\"", "line 1\nline 2"]])"},
       {R"(csv_parse("\ufeffa\n"))", R"([["a"]])"},
       {R"(csv_parse("a\n\n\nb"))", R"([["a"], ["b"]])"},
       {R"(csv_parse('""\n'))", R"([[""]])"},
       {R"(csv_parse('a"b,c'))", R"([["a\"b", "c"]])"},
       {R"(csv_parse(" a , b "))", R"([[" a ", " b "]])"},
       {R"(csv_parse(","))", R"([["", ""]])"},
       {R"(csv_parse(""))", "[]"},
       {R"(csv_parse("a;b,c", ";"))", R"([["a", "b,c"]])"},
       {R"(csv_parse("a\tb", "\t"))", R"([["a", "b"]])"},
       {R"(csv_parse("a", ""))", "error: invalid_argument"},
       {R"(csv_parse("a", "ab"))", "error: invalid_argument"},
       {R"(csv_parse("a", '"'))", "error: invalid_argument"},
       {R"(csv_parse('a\n"b'))", "error: invalid_argument"},
       {R"(csv_parse('a\n"b\n"c'))", "error: invalid_argument"},
       {R"(csv_parse(1))", "error: no_such_overload"}});
  CHECK(message(R"(csv_parse('a\n"b\nc'))") ==
        "line 2 of the CSV text has a field in quotes that is not closed");
  CHECK(message(R"(csv_parse('a\n"b\n"c'))") ==
        "line 3 of the CSV text goes on after the closing quote of a field");
}

TEST_CASE("CSV is written") {
  check_all({{R"(csv_format([["a", 1, true, null, 1.5], []]))", R"("a,1,true,,1.5\r\n\r\n")"},
             {R"(csv_format([{a: "x"}, {b: 'q"'}]))", R"("a,b\r\nx,\r\n,\"q\"\"\"\r\n")"},
             {R"(csv_format([["a;b", "c,d", " e"]], ";"))", R"("\"a;b\";c,d;\" e\"\r\n")"},
             {R"(csv_format([[""], [null]]))", R"("\"\"\r\n\"\"\r\n")"},
             {R"(csv_format([[[1], {a: 2}]]))", R"("[1],\"{\"\"a\"\":2}\"\r\n")"},
             {R"(csv_format([]))", R"("")"},
             {R"(csv_format([{a: 1}, [2]]))", "error: no_such_overload"},
             {R"(csv_format(["a"]))", "error: no_such_overload"}});
}

TEST_CASE("what is written as CSV is read back") {
  std::mt19937 random(7);
  const std::string letters = "ab,;\"\r\n \xc3\xa4";
  for (int round = 0; round < 300; ++round) {
    std::vector<Value> rows;
    for (size_t r = random() % 4 + 1; r > 0; --r) {
      std::vector<Value> row;
      for (size_t f = random() % 4 + 1; f > 0; --f) {
        std::string text;
        for (size_t n = random() % 6; n > 0; --n) {
          const char c = letters[random() % (letters.size() - 1)];
          text += c == '\xc3' ? "ä" : std::string(1, c);
        }
        row.push_back(Value::string(text));
      }
      rows.push_back(Value::list(std::move(row)));
    }
    const Value table = Value::list(std::move(rows));
    const auto out = dialect("csv_parse(csv_format(t)) == t", {{"t", table}});
    INFO(to_display(table));
    REQUIRE(out.value);
    CHECK(out.value->as_bool());
  }
}

TEST_CASE("long texts are cut where they can be") {
  check_all(
      {{R"(text_chunks("", 10, 0))", "[]"},
       {R"(text_chunks("short", 10, 0))", R"(["short"])"},
       {R"(text_chunks("One is here. Two is there", 18, 0))",
        R"(["One is here. ", "Two is there"])"},
       {R"(text_chunks("first par\n\nnext one is long", 15, 0))",
        R"(["first par\n\n", "next one is ", "long"])"},
       {R"(text_chunks("one two three four", 10, 4))", R"(["one two ", "two three ", "four"])"},
       {R"(text_chunks("äöüßäöüß", 3, 0))", R"(["äöü", "ßäö", "üß"])"},
       {R"(text_chunks("äöüßä", 4, 2))", R"(["äöüß", "üßä"])"},
       {R"(text_chunks("a\n\n\n\n\n\nb", 2, 0))", R"(["a\n", "\nb"])"},
       {R"(text_chunks("abc", 1, 0))", R"(["a", "b", "c"])"},
       {R"(text_chunks("abc", 0, 0))", "error: invalid_argument"},
       {R"(text_chunks("abc", 4, 3))", "error: invalid_argument"},
       {R"(text_chunks("abc", 4, -1))", "error: invalid_argument"},
       {R"(text_chunks("abc", 9223372036854775807, 0))", R"(["abc"])"}});
}

TEST_CASE("no piece is too long and nothing is lost") {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t n = random() % 200; n > 0; --n) {
      static constexpr std::string_view parts[] = {"a", "bc", " ", ". ", "\n", "\n\n", "ü", "漢"};
      text += parts[random() % std::size(parts)];
    }
    const int64_t size = 1 + static_cast<int64_t>(random() % 20);
    const auto out =
        dialect("text_chunks(t, n, 0)", {{"t", Value::string(text)}, {"n", Value::integer(size)}});
    REQUIRE(out.value);
    std::string joined;
    for (const Value& piece : out.value->as_list()) {
      CHECK(piece.size() <= size);
      joined += piece.as_string();
    }
    const auto ink = [](std::string s) {
      std::erase_if(s, [](char c) { return c == ' ' || c == '\n'; });
      return s;
    };
    CHECK(ink(joined) == ink(text));
    // With an overlap it still ends, and the pieces are no longer.
    const auto over = dialect("text_chunks(t, n, n / 2)",
                              {{"t", Value::string(text)}, {"n", Value::integer(size)}});
    REQUIRE(over.value);
    for (const Value& piece : over.value->as_list()) CHECK(piece.size() <= size);
  }
}

std::string markdown(std::string_view html) {
  return html_markdown(html, "https://example.com/a/b.html?q=1");
}

TEST_CASE("HTML as Markdown: blocks") {
  CHECK(markdown("plain  text\n here") == "plain text here");
  CHECK(markdown("<h1>A</h1><h3> B </h3><p>one<p>two<br>three") ==
        "# A\n\n### B\n\none\n\ntwo\nthree");
  CHECK(markdown("<p>a</p><hr><p>b</p>") == "a\n\n---\n\nb");
  CHECK(markdown("<div>a<div>b</div></div><div>c</div>") == "a\nb\nc");
  CHECK(markdown("<ul><li>a<li>b <ol start=1><li>x<li>y</ol><li>c</ul>d") ==
        "- a\n- b\n  1. x\n  2. y\n- c\n\nd");
  CHECK(markdown("<blockquote><p>a</p><p>b</p><ul><li>c</ul></blockquote>d") ==
        "> a\n>\n> b\n>\n> - c\n\nd");
  CHECK(markdown("<pre>  a &lt; b\n\n    c\n</pre>x") == "```\n  a < b\n\n    c\n```\n\nx");
  CHECK(markdown("<ul><li>x<pre class=\"lang-py\">a\nb</pre></ul>") ==
        "- x\n\n  ```py\n  a\n  b\n  ```");
  CHECK(markdown("<dl><dt>a<dd>b</dl>") == "a\nb");
}

TEST_CASE("HTML as Markdown: inside a paragraph") {
  CHECK(markdown("<b>bold</b>, <i> it </i>, <code>c()</code> <del>no</del><b></b>") ==
        "**bold**, *it* , `c()` ~~no~~");
  CHECK(markdown("<p><b>open<p>next</b>") == "**open**\n\nnext");
  CHECK(markdown("<b><b>x</b></b>") == "**x**");
  CHECK(markdown("<i>a<b>b</i>c") == "*a**b***c");
  CHECK(markdown("<a href='c.html'>c</a> <a href=/d>d</a> <a href=\"?p=2\">e</a>") ==
        "[c](https://example.com/a/c.html) [d](https://example.com/d) "
        "[e](https://example.com/a/b.html?p=2)");
  CHECK(markdown("<a href='javascript:x()'>no</a> <a href='#top'>top</a> <a>bare</a>") ==
        "no top bare");
  CHECK(markdown("<a href='x'><h2>Title</h2><p>more</p></a>") ==
        "## [Title](https://example.com/a/x)\n\nmore");
  CHECK(markdown("<img src=i.png alt='An\nimage'><img src=j.png><img alt=x "
                 "src='data:image/png;base64,AA'>") == "![An image](https://example.com/a/i.png)");
  CHECK(markdown("&lt;p&gt; &amp;amp; &#8364; &nosuch; 3 < 4") == "<p> &amp; € &nosuch; 3 < 4");
}

TEST_CASE("HTML as Markdown: tables") {
  CHECK(markdown("<table><thead><tr><th>a<th>b</thead><tr><td>1</td><td>x<br>y</td></tr>"
                 "<tr><td>2</table>z") == "| a | b |\n| --- | --- |\n| 1 | x y |\n| 2 |  |\n\nz");
  CHECK(markdown("<table><tr><td><p>one</p></td></tr><tr><td>two</table>") == "one\ntwo");
  // A table that holds another is there for the layout.
  CHECK(markdown("<table><tr><td>menu</td><td><table><tr><td>a<td>b</tr></table></td></table>") ==
        "menu\n\n| a | b |\n| --- | --- |");
  CHECK(markdown("<table><tr><td>a") == "a");
  CHECK(markdown("<table>") == "");
}

TEST_CASE("HTML as Markdown: only what is to read") {
  CHECK(markdown("<head><title>t</title></head><body><nav>menu</nav>x<script>a<b</script>"
                 "<svg><text>s</text></svg><footer>f</footer></body>") == "x");
  CHECK(markdown("<div>around</div><main><p>inside</p></main><div>after</div>") == "inside");
  CHECK(markdown("<article><p>one</p></article>rest") == "one");
  CHECK(markdown("<article><p>one</p></article><article><p>two</p></article>") == "one\n\ntwo");
  CHECK(markdown("<main><div id=app></div></main>text") == "text");
  CHECK(markdown("<head><title>t</title><body>no end of the head") == "no end of the head");
  CHECK(markdown("<nav>a<nav>b</nav>c</nav>d") == "d");
  CHECK(markdown("<!-- c --><script>never closed") == "");
}

TEST_CASE("links are resolved") {
  const auto to = [](std::string_view link) { return resolve_url("http://a/b/c/d;p?q", link); };
  CHECK(to("g") == "http://a/b/c/g");
  CHECK(to("./g/") == "http://a/b/c/g/");
  CHECK(to("/g?x#y") == "http://a/g?x#y");
  CHECK(to("//g") == "http://g");
  CHECK(to("?y") == "http://a/b/c/d;p?y");
  CHECK(to("../../g") == "http://a/g");
  CHECK(to("../../../../g") == "http://a/g");
  CHECK(to("..") == "http://a/b/");
  CHECK(to(" HTTP://X/y z ") == "HTTP://X/y%20z");
  CHECK(to("mailto:a@b") == "mailto:a@b");
  CHECK(to("data:x") == "");
  CHECK(to("") == "");
  CHECK(resolve_url("http://a", "g(1)") == "http://a/g%281%29");
  CHECK(resolve_url("http://a?x=/y", "?z") == "http://a/?z");
  CHECK(resolve_url("", "g.html") == "g.html");
}

TEST_CASE("HTML as Markdown ends for whatever it is given") {
  static constexpr std::string_view parts[] = {"<p>",
                                               "</p>",
                                               "<ul>",
                                               "</ul>",
                                               "<li>",
                                               "<pre>",
                                               "</pre>",
                                               "<table>",
                                               "</table>",
                                               "<tr>",
                                               "<td>",
                                               "</td>",
                                               "<b>",
                                               "</b>",
                                               "<a href=x>",
                                               "</a>",
                                               "<blockquote>",
                                               "</blockquote>",
                                               "<h2>",
                                               "</h2>",
                                               "<main>",
                                               "</main>",
                                               "<br>",
                                               "<hr>",
                                               "text",
                                               " ",
                                               "\n",
                                               "&amp;",
                                               "<",
                                               ">",
                                               "ü",
                                               "<script>",
                                               "</script>",
                                               "<img alt=i src=j>",
                                               "<code>",
                                               "<nav>",
                                               "</nav>",
                                               "</li>"};
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string html;
    for (size_t n = random() % 40; n > 0; --n) html += parts[random() % std::size(parts)];
    const std::string out = markdown(html);
    INFO(html);
    CHECK(find_invalid_utf8(out) == std::string_view::npos);
    CHECK(out.size() <= html.size() * 40 + 100);
  }
  // Deep and long, in linear time.
  std::string deep;
  for (int i = 0; i < 20'000; ++i) deep += "<blockquote><ul><li><b><table>";
  CHECK(markdown(deep + "x").find('x') != std::string::npos);
  std::string open;
  for (int i = 0; i < 200'000; ++i) open += "<table><tr><td>";
  CHECK(markdown(open).empty());
}

}  // namespace
}  // namespace kflow::cel
