// One mistake in a real-looking file: one diagnostic, at the right place, with the right
// suggestion. Fixes that are offered mend it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path folder = fs::path(KFLOW_SOURCE_DIR) / "tests/golden/seeded";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void replace_all(std::string& s, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = s.find(what, at)) != std::string::npos; at += by.size())
    s.replace(at, what.size(), by);
}

/// A mistake that a file says of itself, in its first two lines:
///   //! seed: WHAT => BY WHAT          (`(nothing)`; `\n` is a line end)
///   //! gives: KF1234 at `TEXT`, suggests `WORD`
struct Mistake {
  std::string file, find, make, code, marked, suggestion;
};

std::vector<Mistake> mistakes() {
  std::vector<Mistake> out;
  std::istringstream in(read(folder / "mistakes.txt"));
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::vector<std::string> fields;
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find(" | ", begin), line.size());
      std::string field = line.substr(begin, end - begin);
      replace_all(field, "\\n", "\n");
      replace_all(field, "\\p", "|");
      if (field == "\\-") field.clear();
      fields.push_back(std::move(field));
      begin = end + 3;
    }
    INFO(line);
    REQUIRE(fields.size() == 6);
    out.push_back({fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]});
  }
  return out;
}

std::vector<std::string> whole_files() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder / "files")) {
    if (entry.path().extension() == ".kflow")
      out.push_back("files/" + entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What stands between two texts, and what comes after the second.
std::string between(std::string_view& rest, std::string_view open, std::string_view close) {
  INFO(std::string(rest.substr(0, 80)));
  REQUIRE(rest.starts_with(open));
  rest.remove_prefix(open.size());
  const size_t end = rest.find(close);
  REQUIRE(end != std::string_view::npos);
  std::string out(rest.substr(0, end));
  rest.remove_prefix(end + close.size());
  return out;
}

Mistake mistake_of(const std::string& file, std::string_view text) {
  INFO(file);
  Mistake out{.file = file, .find = "", .make = "", .code = "", .marked = "", .suggestion = ""};
  out.find = between(text, "//! seed: ", " => ");
  out.make = between(text, "", "\n");
  out.code = between(text, "//! gives: ", " at `");
  out.marked = between(text, "", "`");
  if (text.starts_with(",")) out.suggestion = between(text, ", suggests `", "`");
  REQUIRE(text.starts_with("\n"));
  for (std::string* s : {&out.find, &out.make, &out.marked}) replace_all(*s, "\\n", "\n");
  if (out.make == "(nothing)") out.make.clear();
  return out;
}

std::unique_ptr<driver::Compilation> compile(const std::string& file, const std::string& text) {
  return driver::compile_text_of((folder / file).string(), text);
}

std::string shown(const driver::Compilation& c) {
  return diagnostics::render_human(c.sink, *c.sources, false);
}

}  // namespace

TEST_CASE("the files without a mistake are clean") {
  std::set<std::string> files;
  for (const Mistake& m : mistakes()) files.insert(m.file);
  CHECK(files.size() >= 4);
  for (const std::string& file : files) CHECK(shown(*compile(file, read(folder / file))) == "");
}

namespace {

// The one mistake gives the one message; what is certain mends it.
void check_mistake(const Mistake& m, const std::string& text) {
  const auto c = compile(m.file, text);
  INFO(m.file << ": " << m.find << " → " << m.make << "\n" << shown(*c));
  const auto found = c->sink.sorted();
  REQUIRE(found.size() == 1);
  const diagnostics::Diagnostic& d = *found[0];
  CHECK(diagnostics::code_text(d.kind) == m.code);
  if (m.marked != "-") CHECK(text.substr(d.span.begin, d.span.end - d.span.begin) == m.marked);
  if (!m.suggestion.empty() && m.suggestion != "-") {
    REQUIRE_FALSE(d.suggestions.empty());
    CHECK(d.suggestions[0] == m.suggestion);
  }
  // A fix that is certain leaves nothing to say.
  if (d.fixes.empty()) return;
  std::string fixed = text;
  for (const diagnostics::Fix& fix : d.fixes)
    fixed.replace(fix.span.begin, fix.span.end - fix.span.begin, fix.text);
  CHECK(shown(*compile(m.file, fixed)) == "");
}

}  // namespace

TEST_CASE("a mistake gives one diagnostic, at its place, with what was meant") {
  const auto all = mistakes();
  CHECK(all.size() >= 60);
  for (const Mistake& m : all) {
    std::string text = read(folder / m.file);
    const size_t at = text.find(m.find);
    INFO(m.file << ": " << m.find);
    REQUIRE(at != std::string::npos);
    text.replace(at, m.find.size(), m.make);
    check_mistake(m, text);
  }
}

TEST_CASE("files of many kinds of work, with a mistake of another kind each") {
  const auto files = whole_files();
  CHECK(files.size() >= 60);
  std::set<std::string> codes;
  for (const std::string& file : files) {
    INFO(file);
    std::string text = read(folder / file);
    CHECK(shown(*compile(file, text)) == "");
    const Mistake m = mistake_of(file, text);
    codes.insert(m.code);
    const size_t body = text.find("\nkflow ");
    REQUIRE(body != std::string::npos);
    const size_t at = text.find(m.find, body);
    REQUIRE(at != std::string::npos);
    CHECK(text.find(m.find, at + 1) == std::string::npos);
    text.replace(at, m.find.size(), m.make);
    check_mistake(m, text);
  }
  CHECK(codes.size() >= 40);
}
