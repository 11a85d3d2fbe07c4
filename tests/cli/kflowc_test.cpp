// `kflowc` as a user types it: check with its formats and fixes, explain, schema, build --print
// model.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/shell.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using cel::Kind;
using cel::Value;

namespace {

using test::has;

class Folder : public test::ShellFolder {
 public:
  Folder() : ShellFolder(fs::path(KFLOWC_CLI).parent_path().string()) {}
  Value json(const std::string& command, int expected = 0) {
    const std::string text = sh(command, expected);
    INFO(text);
    auto v = cel::from_json(text);
    REQUIRE(v);
    return *v;
  }
};

const Value& at(const Value& v, std::initializer_list<const char*> path) {
  const Value* now = &v;
  for (const char* key : path) {
    INFO(key);
    if (now->kind() == Kind::list) {
      const auto index = static_cast<size_t>(std::atoi(key));
      REQUIRE(index < now->as_list().size());
      now = &now->as_list()[index];
      continue;
    }
    REQUIRE(now->kind() == Kind::map);
    now = now->find(key);
    REQUIRE(now != nullptr);
  }
  return *now;
}
std::string text(const Value& v, std::initializer_list<const char*> path) {
  const Value& found = at(v, path);
  REQUIRE(found.kind() == Kind::string);
  return std::string(found.as_string());
}

constexpr const char* mistaken = R"(agent writer {
  model: "openai/gpt-5.2"
  instruction: "Grüße, write"
}
workflow w(topic: string) -> string {
  step text = wrtier("About ${topic}")
  return text
}
)";

}  // namespace

TEST_CASE("fixes are applied, and what is left is reported") {
  Folder f;
  f.write("a.kflow", mistaken);
  f.sh("kflowc check a.kflow", 1);
  CHECK(has(f.errors, "error[KF2004]"));
  CHECK(has(f.errors, "error[KF2008]"));
  CHECK(has(f.errors, "2 errors"));
  f.sh("kflowc check --fix a.kflow");
  CHECK(f.errors == "a.kflow: 2 fixed\n");
  CHECK(has(f.content("a.kflow"), "instructions: \"Grüße, write\""));
  CHECK(has(f.content("a.kflow"), "step text = writer(\"About"));
  f.sh("kflowc check --fix a.kflow");
  CHECK(f.errors.empty());
  // A file without a certain fix is left as it is.
  const std::string stuck = "workflow w() -> int { return \"a\" }\n";
  f.write("b.kflow", stuck);
  f.sh("kflowc check --fix b.kflow", 1);
  CHECK(f.content("b.kflow") == stuck);
  f.sh("kflowc check --fix missing.kflow", 1);
  CHECK(has(f.errors, "cannot read `missing.kflow`"));
  f.sh("kflowc check --fix -", 2);
}

TEST_CASE("warnings can be denied, and suppressed with a reason") {
  Folder f;
  const std::string open =
      "workflow w() -> any {\n  step page = http.get(\"http://example.org/\")\n  return "
      "page.body\n}\n";
  f.write("a.kflow", open);
  f.sh("kflowc check a.kflow");
  CHECK(has(f.errors, "warning[KF7003]"));
  f.sh("kflowc check --deny warnings a.kflow", 1);
  f.write("b.kflow",
          "workflow w() -> any {\n  // kflow: allow(KF7003) an old machine\n  step page = "
          "http.get(\"http://example.org/\")\n  return page.body\n}\n");
  f.sh("kflowc check --deny warnings b.kflow");
  CHECK(f.errors.empty());
  f.write("c.kflow",
          "workflow w() -> any {\n  step page = http.get(\"http://example.org/\")  // kflow: "
          "allow(KF7003)\n  return page.body\n}\n");
  f.sh("kflowc check --deny warnings c.kflow", 1);
  CHECK(has(f.errors, "gives its reason"));
  f.write(
      "d.kflow",
      "workflow w() -> int {\n  return 1  // kflow: allow(KF7003, KF2001, KF9999) because\n}\n");
  f.sh("kflowc check d.kflow");
  CHECK(has(f.errors, "there is no diagnostic `KF9999`"));
  f.write("e.kflow", "workflow w() -> int {\n  // kflow: allow(KF7003) no more\n  return 1\n}\n");
  f.sh("kflowc check --fix e.kflow");
  CHECK_FALSE(has(f.content("e.kflow"), "allow"));
}

TEST_CASE("what an import has wrong is reported once") {
  Folder f;
  f.write("lib.kflow", "fn half(n: int) -> int = n / tow\n");
  f.write("a.kflow", "import \"./lib.kflow\"\nworkflow w() -> int { return lib.half(2) }\n");
  f.write("b.kflow", "import \"./lib.kflow\"\nworkflow w() -> int { return lib.half(3) }\n");
  const Value all = f.json("kflowc check --format json .", 1);
  size_t found = 0;
  for (const Value& d : at(all, {"diagnostics"}).as_list())
    found += text(d, {"code"}) == "KF2001" && text(d, {"file"}).ends_with("lib.kflow");
  CHECK(found >= 1);
  CHECK(at(all, {"errors"}).as_int() == static_cast<int64_t>(at(all, {"diagnostics"}).size()));
}

TEST_CASE("GitHub's annotations") {
  Folder f;
  f.write("a.kflow", mistaken);
  const std::string out = f.sh("kflowc check --format github a.kflow", 1);
  CHECK(out ==
        "::error file=a.kflow,line=3,endLine=3,col=3,endColumn=14,title=KF2004::`agent` has no "
        "option `instruction`; did you mean `instructions`?%0Aoptions of `agent`: model, role, "
        "instructions, tools, prompt, max_turns, history, confirm, guard, parallel_tools, reask, "
        "budget, tool_options\n"
        "::error file=a.kflow,line=6,endLine=6,col=15,endColumn=21,title=KF2008::nothing that can "
        "be called is named `wrtier`; did you mean `writer`?\n");
}

// What the schema of SARIF 2.1.0 asks of the parts that are used: required properties, types,
// closed sets of words, and least values.
namespace {
void check_region(const Value& region) {
  for (const char* key : {"startLine", "startColumn", "endLine", "endColumn"}) {
    REQUIRE(at(region, {key}).kind() == Kind::int_);
    CHECK(at(region, {key}).as_int() >= 1);
  }
  CHECK(at(region, {"byteOffset"}).as_int() >= -1);
  CHECK(at(region, {"byteLength"}).as_int() >= 0);
  for (const cel::MapEntry& e : region.as_map()) {
    const std::string_view key = e.key.as_string();
    CHECK((key == "startLine" || key == "startColumn" || key == "endLine" || key == "endColumn" ||
           key == "byteOffset" || key == "byteLength"));
  }
}
void check_location(const Value& location, bool related) {
  check_region(at(location, {"physicalLocation", "region"}));
  const std::string uri = text(location, {"physicalLocation", "artifactLocation", "uri"});
  CHECK_FALSE(uri.empty());
  CHECK(uri.find(' ') == std::string::npos);
  if (related) CHECK_FALSE(text(location, {"message", "text"}).empty());
}
}  // namespace

TEST_CASE("SARIF is as its schema wants it") {
  Folder f;
  f.write("a b.kflow", mistaken);
  f.write(
      "w.kflow",
      "workflow w(x: int) -> int {\n  let y = 1\n  let y = 2\n  return x\n}\n"
      "workflow v() -> any {\n  step p = http.get(\"http://example.org\")\n  return p.body\n}\n");
  const Value log = f.json("kflowc check --format sarif .", 1);
  CHECK(text(log, {"version"}) == "2.1.0");
  CHECK(has(text(log, {"$schema"}), "sarif-schema-2.1.0.json"));
  REQUIRE(at(log, {"runs"}).size() == 1);
  const Value& run = at(log, {"runs", "0"});
  CHECK(text(run, {"columnKind"}) == "unicodeCodePoints");
  CHECK(text(run, {"tool", "driver", "name"}) == "kflowc");
  CHECK_FALSE(text(run, {"tool", "driver", "version"}).empty());
  const Value& rules = at(run, {"tool", "driver", "rules"});
  for (const Value& rule : rules.as_list()) {
    CHECK(text(rule, {"id"}).starts_with("KF"));
    for (const char* key : {"shortDescription", "fullDescription", "help"})
      CHECK_FALSE(text(rule, {key, "text"}).empty());
    const std::string level = text(rule, {"defaultConfiguration", "level"});
    CHECK((level == "error" || level == "warning"));
  }
  const Value& results = at(run, {"results"});
  CHECK(results.size() >= 3);
  size_t fixes = 0;
  size_t related = 0;
  for (const Value& r : results.as_list()) {
    const auto index = at(r, {"ruleIndex"}).as_int();
    REQUIRE(index >= 0);
    REQUIRE(index < rules.size());
    CHECK(text(rules.as_list()[static_cast<size_t>(index)], {"id"}) == text(r, {"ruleId"}));
    CHECK_FALSE(text(r, {"message", "text"}).empty());
    const std::string level = text(r, {"level"});
    CHECK((level == "error" || level == "warning"));
    for (const Value& l : at(r, {"locations"}).as_list()) check_location(l, false);
    if (const Value* more = r.find("relatedLocations")) {
      for (const Value& l : more->as_list()) check_location(l, true), ++related;
    }
    if (const Value* offered = r.find("fixes")) {
      for (const Value& fix : offered->as_list()) {
        ++fixes;
        CHECK_FALSE(text(fix, {"description", "text"}).empty());
        const Value& change = at(fix, {"artifactChanges", "0"});
        CHECK_FALSE(text(change, {"artifactLocation", "uri"}).empty());
        check_region(at(change, {"replacements", "0", "deletedRegion"}));
        CHECK(at(change, {"replacements", "0", "insertedContent", "text"}).kind() == Kind::string);
      }
    }
  }
  CHECK(fixes >= 2);
  CHECK(related >= 1);
  // Columns count code points: `ü` and `ß` are two bytes each.
  CHECK(has(f.sh("kflowc check --format sarif \"a b.kflow\"", 1), "a%20b.kflow"));
  // Nothing found is a run without results.
  f.write("clean/c.kflow", "workflow w() -> int { return 1 }\n");
  CHECK(at(f.json("kflowc check --format sarif clean"), {"runs", "0", "results"}).size() == 0);
}

TEST_CASE("edits that would strand runs are found against a revision") {
  Folder f;
  const std::string base = R"(workflow report(topic: string) -> string {
  step first = now()
  step second = uuid()
  return "${topic} ${first} ${second}"
}
)";
  f.write("report.kflow", base);
  f.sh(
      "git init -q . && git -c user.name=a -c user.email=a@b add -A && git -c user.name=a -c "
      "user.email=a@b commit -qm one");
  f.sh("kflowc check --against HEAD report.kflow");
  CHECK(f.errors.empty());
  // More at the end is fine; another callee, or another order, is not.
  std::string more = base;
  more.replace(more.find("  return"), 0, "  step third = uuid()\n");
  f.write("report.kflow", more);
  f.sh("kflowc check --against HEAD report.kflow");
  std::string renamed = base;
  renamed.replace(renamed.find("first = now"), 5, "start");
  renamed.replace(renamed.find("${first}"), 8, "${start}");
  f.write("report.kflow", renamed);
  f.sh("kflowc check --against HEAD report.kflow");
  CHECK(has(f.errors, "warning[KF8001]"));
  CHECK(has(f.errors, "`first` (line 2) has run, and the new program has the step `start`"));
  f.sh("kflowc check --against HEAD --deny warnings report.kflow", 1);
  // A rename that says so is none of these.
  renamed.replace(renamed.find("start = now"), 5, "start @was(\"first\")");
  renamed.replace(renamed.find("report(topic: string) -> string"), 31,
                  "summary(subject: string @was(\"topic\")) -> string @was(\"report\")");
  renamed.replace(renamed.find("${topic}"), 8, "${subject}");
  f.write("report.kflow", renamed);
  f.sh("kflowc check --against HEAD report.kflow");
  CHECK(f.errors.empty());
  f.write("new.kflow", "workflow w() -> int { return 1 }\n");
  f.sh("kflowc check --against HEAD new.kflow");
  CHECK(f.errors.empty());
  f.sh("kflowc check --against no-such-revision report.kflow", 2);
  CHECK(has(f.errors, "git knows no revision `no-such-revision`"));
  Folder outside;
  outside.write("a.kflow", base);
  outside.sh("kflowc check --against HEAD a.kflow", 2);
  CHECK(has(outside.errors, "is in no git repository"));
}

TEST_CASE("a page explains a code") {
  Folder f;
  const std::string page = f.sh("kflowc explain KF2004");
  CHECK(has(page, "Wrong:\n\n    agent writer {"));
  CHECK(has(page, "Right:"));
  CHECK(f.sh("kflowc explain kf2004") == page);
  CHECK(has(f.sh("kflowc explain"), "KF7003  an address that is not encrypted"));
  f.sh("kflowc explain KF9999", 2);
  CHECK(has(f.errors, "there is no diagnostic `KF9999`"));
}

TEST_CASE("schemas of types and callables, and types of schemas") {
  Folder f;
  f.write("p.kflow", R"(/// One post.
type Post {
  title: string @length(1, 80)
  day: int @range(1, 31)
  channel: "blog" | "x" = "blog"
  replies: Post[] = []
  notes: string? = null
}
workflow publish(posts: Post[], dry: bool = false) -> string { return "${posts.size()} ${dry}" }
)");
  const Value post = f.json("kflowc schema p.kflow Post");
  CHECK(has(cel::to_json(post), "\"maxLength\":80"));
  CHECK(has(cel::to_json(post), "#/$defs/Post"));
  const Value publish = f.json("kflowc schema p.kflow publish");
  CHECK(text(publish, {"input", "type"}) == "object");
  CHECK(cel::to_json(at(publish, {"input", "required"})) == R"(["posts"])");
  const Value all = f.json("kflowc schema p.kflow");
  at(all, {"types", "Post"});
  at(all, {"callables", "publish", "output"});
  f.sh("kflowc schema p.kflow Psot", 1);
  CHECK(has(f.errors, "did you mean `Post`?"));
  // There and back again: the declarations of the schema give the schema.
  f.sh("kflowc schema p.kflow Post > post.json");
  const std::string back = f.sh("kflowc schema --from post.json Post");
  CHECK(has(back, "type Post {"));
  CHECK(has(back, "title: string @length(1, 80)"));
  f.write("q.kflow", back + "\nworkflow w(p: Post) -> string { return p.title }\n");
  f.sh("kflowc check q.kflow");
  CHECK(cel::to_json(f.json("kflowc schema q.kflow Post")) == cel::to_json(post));
  f.write("odd.json",
          R"({"title": "Odd one", "type": "object", "properties": {"a": {"not": {}}}})");
  CHECK(has(f.sh("kflowc schema --from odd.json"), "type Odd_one {"));
  f.write("bad.json", "{");
  f.sh("kflowc schema --from bad.json", 1);
  f.sh("kflowc schema missing.kflow", 1);
}

TEST_CASE("the model says what every name is, inside and outside its block") {
  Folder f;
  f.write("m.kflow", R"(workflow w(items: string[], flag: bool) -> string {
  for item in items {
    /// The page.
    step page = http.get(item)
  }
  if flag { step only = uuid() }
  loop refine {
    max: 3
    let text = "a"
  }
  parallel {
    join: any
    step left = uuid()
    step right = uuid()
  }
  return text
}
)");
  const Value model = f.json("kflowc build --print model m.kflow");
  const Value& names = at(model, {"callables", "0", "names"});
  const auto name = [&](const std::string& path) -> const Value& {
    for (const Value& n : names.as_list())
      if (text(n, {"path"}) == path) return n;
    FAIL("no name " << path << " in " << cel::to_json(names));
    return names;
  };
  CHECK(text(name("for[].page"), {"doc"}) == "The page.");
  CHECK(at(name("for[].page"), {"line"}).as_int() == 4);
  CHECK(has(text(name("for[].page"), {"outside", "0"}), "[]"));
  CHECK(text(name("if.only"), {"type"}) == "string");
  CHECK(text(name("if.only"), {"outside", "0"}) == "string?");
  CHECK(has(text(name("refine[].text"), {"previous"}), "?"));
  CHECK_FALSE(text(name("refine[].text"), {"outside", "0"}).ends_with("?"));
  CHECK(text(name("parallel.left"), {"outside", "0"}) == "string?");
  CHECK(text(model, {"callables", "0", "params", "0", "type"}) == "string[]");
}

TEST_CASE("many files are checked at once, in their order") {
  Folder f;
  for (int i = 0; i < 60; ++i) {
    f.write(
        "f" + std::to_string(100 + i) + ".kflow",
        "workflow w(x: int) -> int { return x" + std::string(i % 10 == 0 ? " + y" : "") + " }\n");
  }
  const Value all = f.json("kflowc check --format json --stats .", 1);
  CHECK(at(all, {"errors"}).as_int() == 6);
  std::string before;
  for (const Value& d : at(all, {"diagnostics"}).as_list()) {
    CHECK(before <= text(d, {"file"}));
    before = text(d, {"file"});
  }
  CHECK(has(f.errors, "60 files, "));
}

TEST_CASE("a file's tokens are printed, also of one that does not parse") {
  Folder f;
  f.write("t.kflow", "const a = [1, // one\n\"x\"\n");
  CHECK(f.sh("kflowc build --print tokens t.kflow") ==
        "1:1 keyword const\n1:7 identifier a\n1:9 punctuation =\n1:11 punctuation [\n"
        "1:12 int_literal 1\n1:13 punctuation ,\n1:15 comment // one\n2:1 string_literal \"x\"\n");
  f.sh("kflowc build --print tokens nothing.kflow", 1);
  CHECK(has(f.errors, "cannot read `nothing.kflow`"));
}

TEST_CASE("strict CEL is checked before it is evaluated") {
  Folder f;
  CHECK(f.sh("kflowc eval -i x=2 \"x + 1\"") == "3\n");
  CHECK(f.sh("kflowc eval --strict \"x + 1 > 2\" -i x=2") == "true\n");
  // What is never evaluated is checked all the same, unless that is not wanted.
  f.sh("kflowc eval --strict \"true || 1 + true == 2\"", 1);
  CHECK(has(f.errors, "no_such_overload"));
  CHECK(f.sh("kflowc eval --strict --no-check \"true || 1 + true == 2\"") == "true\n");
  f.sh("kflowc eval --strict y", 1);
  CHECK(has(f.errors, "undeclared"));
}

TEST_CASE("bad input of check, schema and eval is an error with a remedy") {
  Folder f;
  f.sh("kflowc check", 2);
  f.sh("kflowc check --format xml a.kflow", 2);
  f.sh("kflowc check /dev/null", 0);
  f.sh("head -c 20000000 /dev/zero > big.kflow; kflowc check big.kflow", 1);
  CHECK(has(f.errors, "16 MiB"));
  f.sh("head -c 100000 /dev/urandom > noise.kflow; kflowc check noise.kflow", 1);
  f.sh("kflowc eval --conformance --json /no/such/folder/x < /dev/null", 2);
  CHECK(has(f.errors, "cannot write"));
}
