// The files of editors/ that are made from the compiler's tables: TextMate grammar, Vim syntax.
// KFLOW_UPDATE_GOLDEN=1 writes them anew.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/sema/constructs.hpp"
#include "compiler/syntax/parse.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;

namespace {

const fs::path editors = fs::path(KFLOW_SOURCE_DIR) / "editors";

const std::vector<std::string> declarations{"import", "const",  "fn",   "secret",   "type",
                                            "retry",  "model",  "mcp",  "agent",    "team",
                                            "tool",   "extern", "test", "workflow", "kflow"};
const std::vector<std::string> statements{
    "step", "let",  "set",   "if",       "else", "match", "parallel", "branch",
    "for",  "in",   "as",    "loop",     "try",  "catch", "finally",  "return",
    "fail", "emit", "break", "continue", "mock", "run",   "signal",   "expect"};
const std::vector<std::string> types{"bool",     "int",       "uint", "double", "string", "bytes",
                                     "duration", "timestamp", "any",  "file",   "secret", "map"};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void compare(const std::string& got, const fs::path& path) {
  if (std::getenv("KFLOW_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << got;
  INFO(path.string() << " is not current; KFLOW_UPDATE_GOLDEN=1 writes it anew");
  CHECK((got == read(path)));
}

template <typename Words>
std::string joined(const Words& words, std::string_view between) {
  std::string out;
  for (const auto& w : words) out += (out.empty() ? "" : std::string(between)) + std::string(w);
  return out;
}

std::set<std::string> options() {
  std::set<std::string> out;
  for (const sema::OptionRow& row : sema::all_options()) out.emplace(row.name);
  return out;
}

/// Rules of a TextMate grammar.
class Rules {
 public:
  JsonWriter json{2};

  void match(std::string_view scope, const std::string& pattern) {
    json.begin_object();
    json.key("name"), json.string(scope);
    json.key("match"), json.string(pattern);
    json.end_object();
  }
  void include(std::string_view rule) {
    json.begin_object();
    json.key("include"), json.string(rule);
    json.end_object();
  }
  void text(std::string_view scope, std::string_view begin, std::string_view end, bool holes,
            bool escapes) {
    json.begin_object();
    json.key("name"), json.string(scope);
    json.key("begin"), json.string(begin);
    json.key("end"), json.string(end);
    json.key("patterns"), json.begin_array();
    if (escapes)
      match("constant.character.escape.kflow",
            R"(\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.))");
    if (holes) include("#hole");
    json.end_array();
    json.end_object();
  }
};

std::string textmate() {
  Rules r;
  JsonWriter& json = r.json;
  json.begin_object();
  json.key("name"), json.string("kflow");
  json.key("scopeName"), json.string("source.kflow");
  json.key("fileTypes"), json.begin_array(), json.string("kflow"), json.end_array();
  json.key("patterns"), json.begin_array();
  r.include("#all");
  json.end_array();
  json.key("repository"), json.begin_object();
  json.key("hole"), json.begin_object();
  json.key("name"), json.string("meta.embedded.kflow");
  json.key("begin"), json.string(R"(\$\{)");
  json.key("end"), json.string(R"(\})");
  json.key("patterns"), json.begin_array();
  r.include("#braces");
  r.include("#all");
  json.end_array();
  json.end_object();
  json.key("braces"), json.begin_object();
  json.key("begin"), json.string(R"(\{)");
  json.key("end"), json.string(R"(\})");
  json.key("patterns"), json.begin_array();
  r.include("#braces");
  r.include("#all");
  json.end_array();
  json.end_object();
  json.key("all"), json.begin_object();
  json.key("patterns"), json.begin_array();
  r.match("comment.line.documentation.kflow", "///(?!/).*$");
  r.match("comment.line.double-slash.kflow", "//.*$");
  r.text("string.quoted.raw.kflow", "\\b[rR]\"\"\"", "\"\"\"", false, false);
  r.text("string.quoted.raw.kflow", "\\b[rR]\"", "\"|$", false, false);
  r.text("string.quoted.triple.kflow", "\"\"\"", "\"\"\"", true, true);
  r.text("string.quoted.double.kflow", "\"", "\"|$", true, true);
  r.text("string.quoted.single.kflow", "'''", "'''", false, true);
  r.text("string.quoted.single.kflow", "'", "'|$", false, true);
  r.match("constant.numeric.duration.kflow", R"(\b([0-9]+(ms|us|ns|d|h|m|s))+\b)");
  r.match("constant.numeric.kflow",
          R"(\b(0[xX][0-9a-fA-F]+|[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?)u?\b)");
  r.match("constant.language.kflow", R"(\b(true|false|null)\b)");
  r.match("storage.modifier.annotation.kflow", "@[A-Za-z_]\\w*");
  r.match("entity.other.attribute-name.kflow", "\\b(" + joined(options(), "|") + ")(?=\\s*:)");
  r.match("variable.other.property.kflow", "\\b[A-Za-z_]\\w*(?=\\s*:)");
  r.match("keyword.declaration.kflow",
          "(?m)^\\s*(" + joined(declarations, "|") + ")\\b(?=\\s+[\\w\"])");
  r.match("keyword.control.kflow", "(?<![.\\w])(" + joined(statements, "|") + ")\\b(?!\\s*[(.:])");
  r.match("support.type.kflow", "(?<![.\\w])(" + joined(types, "|") + ")\\b(?!\\s*\\()");
  r.match("entity.name.function.kflow", "\\b[A-Za-z_]\\w*(?=\\s*\\()");
  r.match("keyword.operator.kflow", R"(->|\?\?|&&|\|\||[=!<>]=|[-+*/%<>!?=|])");
  json.end_array();
  json.end_object();
  json.end_object();
  json.end_object();
  return json.take() + "\n";
}

std::string vim() {
  return "\" Syntax of kflow; made by tests/golden/editors_test.cpp from the compiler's tables.\n"
         "if exists(\"b:current_syntax\")\n  finish\nendif\n\n"
         "syn iskeyword @,48-57,_\n"
         "syn match kflowOption /\\<\\(" +
         joined(options(), "\\|") +
         "\\)\\ze\\s*:/\n"
         "syn keyword kflowDeclaration " +
         joined(declarations, " ") + "\nsyn keyword kflowStatement " + joined(statements, " ") +
         "\nsyn keyword kflowType " + joined(types, " ") +
         "\nsyn keyword kflowConstant true false null\n"
         "syn match kflowNumber /\\<\\d\\+\\(\\.\\d\\+\\)\\?\\([eE][-+]\\?\\d\\+\\)\\?u\\?\\>/\n"
         "syn match kflowNumber /\\<0[xX]\\x\\+u\\?\\>/\n"
         "syn match kflowNumber /\\<\\(\\d\\+\\(ms\\|us\\|ns\\|d\\|h\\|m\\|s\\)\\)\\+\\>/\n"
         "syn match kflowAnnotation /@\\h\\w*/\n"
         "syn match kflowEscape /\\\\./ contained\n"
         "syn region kflowHole matchgroup=kflowDelimiter start=/${/ end=/}/ contained "
         "contains=TOP\n"
         "syn region kflowString start=/\"/ skip=/\\\\./ end=/\"\\|$/ "
         "contains=kflowEscape,kflowHole\n"
         "syn region kflowString start=/'/ skip=/\\\\./ end=/'\\|$/ contains=kflowEscape\n"
         "syn region kflowString start=/\"\"\"/ skip=/\\\\./ end=/\"\"\"/ "
         "contains=kflowEscape,kflowHole\n"
         "syn region kflowString start=/\\<[rR]\"/ end=/\"\\|$/\n"
         "syn match kflowComment /\\/\\/.*$/\n"
         "syn match kflowDoc /\\/\\/\\/.*$/\n\n"
         "hi def link kflowOption Identifier\nhi def link kflowDeclaration Keyword\n"
         "hi def link kflowStatement Statement\nhi def link kflowType Type\n"
         "hi def link kflowConstant Constant\nhi def link kflowNumber Number\n"
         "hi def link kflowAnnotation PreProc\nhi def link kflowEscape SpecialChar\n"
         "hi def link kflowDelimiter Delimiter\nhi def link kflowString String\n"
         "hi def link kflowComment Comment\nhi def link kflowDoc SpecialComment\n\n"
         "let b:current_syntax = \"kflow\"\n";
}

// Whether a text parses as it stands.
bool parses(const std::string& text) {
  source::Manager sources(nullptr);
  diagnostics::Sink sink;
  syntax::parse(sources[sources.add("a", "a", text)], sink);
  return !sink.has_errors();
}

}  // namespace

TEST_CASE("syntaxes of editors are made from the tables") {
  const std::string grammar = textmate();
  REQUIRE(cel::from_json(grammar));
  compare(grammar, editors / "vscode/syntaxes/kflow.tmLanguage.json");
  compare(vim(), editors / "vim/syntax/kflow.vim");
}

TEST_CASE("what editors are told are keywords are some") {
  for (const std::string& word : declarations) {
    // Before a name and what follows, each begins a declaration; any other word does not.
    bool begins = parses(word + " 1") || parses(word + " \"x\"") || parses(word + " \"x\" {}");
    for (const char* rest : {" x", " x = 1", " x {}", " x() = 1", " tool x()"})
      begins = begins || parses(word + rest);
    INFO(word);
    CHECK(begins);
  }
  CHECK_FALSE(parses("agnt x {}"));
}

TEST_CASE("files of the extension are what they claim") {
  for (const char* name : {"package.json", "language-configuration.json"}) {
    INFO(name);
    CHECK(cel::from_json(read(editors / "vscode" / name)));
  }
  const auto package = cel::from_json(read(editors / "vscode/package.json"));
  REQUIRE(package);
  CHECK(fs::exists(editors / "vscode" / std::string(package->find("main")->as_string())));
}
