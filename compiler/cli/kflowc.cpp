// kflowc: the compiler's command line.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "compiler/cli/check.hpp"
#include "compiler/cli/eval.hpp"
#include "compiler/cli/fmt.hpp"
#include "compiler/cli/new.hpp"
#include "compiler/cli/pages.hpp"
#include "compiler/cli/print_model.hpp"
#include "compiler/cli/print_tokens.hpp"
#include "compiler/cli/schema.hpp"
#include "compiler/cli/shell/shell.hpp"
#include "compiler/cli/shell/usage.hpp"
#include "compiler/diagnostics/pages.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/lsp/server.hpp"

namespace {

using namespace kflow;
namespace fs = std::filesystem;

constexpr int ok = 0;
constexpr int failed = 1;
constexpr int usage = 2;

const cli::OtherNames other_names{{"lint", "kflowc check"},    {"validate", "kflowc check"},
                                  {"compile", "kflowc build"}, {"format", "kflowc fmt"},
                                  {"init", "kflowc new"},      {"docs", "kflowc doc"},
                                  {"run", "kflow run"},        {"test", "kflow test"},
                                  {"serve", "kflow serve"},    {"chat", "kflow chat"}};

bool wants_colour(const std::string& mode) {
  if (mode == "always") return true;
  if (mode == "never") return false;
  return ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
}

int fail_with(const Error& error) {
  std::fprintf(stderr, "kflowc: error: %s\n", error.message.c_str());
  return failed;
}

int build(const std::string& file, const std::string& output, const std::string& print) {
  if (print == "tree") {
    const auto tree = driver::print_tree(file);
    if (!tree) return fail_with(tree.error());
    std::fputs(tree->c_str(), stdout);
    return ok;
  }
  if (print == "tokens") {
    const auto tokens = cli::print_tokens(file);
    if (!tokens) return fail_with(tokens.error());
    std::fputs(tokens->c_str(), stdout);
    return ok;
  }
  auto compiled = driver::compile_file(file);
  if (!compiled) return fail_with(compiled.error());
  std::fputs(
      diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, wants_colour("auto"))
          .c_str(),
      stderr);
  if (!(*compiled)->program) return failed;
  const ir::Program& program = *(*compiled)->program;
  if (print == "ir") std::fputs(ir::print(program).c_str(), stdout);
  if (print == "model")
    std::fputs(cli::print_model(program, *(*compiled)->sources).c_str(), stdout);
  if (print == "hash") std::printf("%s\n", to_hex(ir::hash(program)).c_str());
  if (output.empty()) return ok;
  const std::string content =
      output.ends_with(".json") ? ir::to_json(program) : ir::encode(program);
  if (output == "-") {
    std::fwrite(content.data(), 1, content.size(), stdout);
    return ok;
  }
  std::ofstream out(output, std::ios::binary | std::ios::trunc);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) return fail_with({ErrorCode::io, "cannot write `" + output + "`"});
  return ok;
}

int explain(const std::string& code) {
  if (code.empty()) {
    for (const diagnostics::KindInfo& row : diagnostics::all_kinds())
      std::printf("%s  %s\n", diagnostics::code_text(row.kind).c_str(),
                  std::string(row.title).c_str());
    return ok;
  }
  std::string upper = code;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const diagnostics::KindInfo* row = diagnostics::find_kind(upper);
  if (row == nullptr) {
    std::fprintf(stderr, "kflowc: error: there is no diagnostic `%s`; `kflowc explain` lists all\n",
                 code.c_str());
    return usage;
  }
  std::fputs(diagnostics::page(row->kind).c_str(), stdout);
  return ok;
}

// Servers are started by the runtime, which this program does not carry along: it is `kflow mcp`.
int mcp_sync(const std::vector<std::string>& files, bool check_only) {
  std::vector<std::string> words{"kflow", "mcp", "sync"};
  if (check_only) words.emplace_back("--check");
  words.insert(words.end(), files.begin(), files.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Beside this program: where it is installed, or where it is built.
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    for (const char* near : {"kflow", "../../runtime/cli/kflow"})
      ::execv((self.parent_path() / near).c_str(), argv.data());
  }
  ::execvp("kflow", argv.data());
  std::fprintf(stderr,
               "kflowc: error: `kflow`, which starts the servers, is neither beside kflowc nor in "
               "the PATH\n");
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("kflowc checks and compiles .kflow files", "kflowc");
  app.set_version_flag("--version", "kflowc " KFLOW_VERSION);
  app.require_subcommand(1);

  cli::CheckOptions checking;
  auto* check_verb = app.add_subcommand("check", "report all problems of files and folders");
  check_verb->add_option("FILE", checking.paths, "files, folders, or - for standard input")
      ->required();
  check_verb->add_option("--format", checking.format, "human, json, sarif or github")
      ->check(CLI::IsMember({"human", "json", "sarif", "github"}));
  check_verb->add_option("--color", checking.colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  check_verb->add_flag("--fix", checking.fix, "apply the fixes that are certain, then check again");
  check_verb->add_option("--deny", checking.deny, "fail also on: warnings")
      ->check(CLI::IsMember({"warnings"}));
  check_verb->add_option("--against", checking.against,
                         "say which edits since this revision of git would keep runs from being "
                         "moved to the new program");
  check_verb->add_flag("--stats", checking.stats, "print what was read and how long it took");
  check_verb->footer("example: kflowc check examples/");

  std::string file;
  std::string output;
  std::string print;
  auto* build_verb = app.add_subcommand("build", "compile a file to a program");
  build_verb->add_option("FILE", file, "the file")->required();
  build_verb->add_option("-o,--output", output,
                         "where to write the program; .json is readable, others are binary");
  build_verb
      ->add_option("--print", print, "print ir, tree, tokens, model (types of all names) or hash")
      ->check(CLI::IsMember({"ir", "tree", "tokens", "model", "hash"}));
  build_verb->footer("example: kflowc build report.kflow -o report.kir");

  cli::FmtOptions formatting;
  auto* fmt_verb = app.add_subcommand("fmt", "lay out files, in place");
  fmt_verb
      ->add_option("FILE", formatting.paths,
                   "files, folders, or - for standard input to standard output")
      ->required();
  fmt_verb->add_flag("--check", formatting.check, "write nothing; fail if a file would change");
  fmt_verb->add_flag("--diff", formatting.diff, "write nothing; print what would change");
  fmt_verb->footer("example: kflowc fmt --check examples/");

  cli::GraphOptions drawing;
  auto* graph_verb = app.add_subcommand("graph", "draw the steps of a workflow");
  graph_verb->add_option("FILE", drawing.file, "the file")->required();
  graph_verb->add_option("WORKFLOW", drawing.callable,
                         "which workflow, tool, agent or team, if the file has several");
  graph_verb->add_option("--format", drawing.format, "mermaid, dot or svg")
      ->check(CLI::IsMember({"mermaid", "dot", "svg"}));
  graph_verb->add_option("-o,--output", drawing.output, "where to write it");
  graph_verb->footer("example: kflowc graph --format svg -o report.svg report.kflow");

  cli::DocOptions documenting;
  auto* doc_verb =
      app.add_subcommand("doc", "reference pages (Markdown) from the doc comments of files");
  doc_verb->add_option("FILE", documenting.paths, "files and folders")->required();
  doc_verb->add_option("-o,--output", documenting.output,
                       "where to write it; a folder for a page of each file");
  doc_verb->footer("example: kflowc doc -o docs/ lib/");

  auto* lsp_verb =
      app.add_subcommand("lsp", "a language server for editors, on standard input and output");
  bool stdio = false;
  lsp_verb->add_flag("--stdio", stdio, "the only way there is; some editors say so");
  lsp_verb->footer("example: kflowc lsp");

  std::string new_path;
  auto* new_verb = app.add_subcommand(
      "new", "make a project: a workflow, a test, kflow.yaml, settings of editors");
  new_verb->add_option("NAME", new_path, "its folder; the last part is its name")->required();
  new_verb->footer("example: kflowc new report");
  cli::SchemaVerb schema;
  auto* schema_verb =
      app.add_subcommand("schema", "JSON Schema of types and callables, and the other way round");
  schema_verb->add_option("FILE", schema.file, "the .kflow file, or with --from the JSON Schema")
      ->required();
  schema_verb->add_option("TYPE", schema.name,
                          "a type, workflow, tool or agent; all of the file if not given");
  schema_verb->add_flag("--from", schema.from,
                        "FILE is a JSON Schema (or -): print it as types of the language");
  schema_verb->add_flag("--model", schema.model, "fields by the names that models see (@alias)");
  schema_verb->footer("example: kflowc schema report.kflow Plan");

  std::string code;
  auto* explain_verb =
      app.add_subcommand("explain", "explain a diagnostic; without a code, list all");
  explain_verb->add_option("CODE", code, "such as KF2004");
  explain_verb->footer("example: kflowc explain KF2004");

  std::vector<std::string> sync_files;
  bool sync_check = false;
  auto* mcp_verb = app.add_subcommand("mcp", "servers of the Model Context Protocol");
  mcp_verb->require_subcommand(1);
  auto* sync_verb = mcp_verb->add_subcommand(
      "sync", "ask the servers that files declare for their tools, and write kflow.lock.json");
  sync_verb->add_option("FILE", sync_files, "the .kflow files")->required();
  sync_verb->add_flag("--check", sync_check, "write nothing; fail if the lock is out of date");
  sync_verb->footer("example: kflowc mcp sync research.kflow");

  cli::EvalOptions evaluation;
  auto* eval_verb = app.add_subcommand("eval", "evaluate an expression");
  eval_verb->add_option("EXPR", evaluation.expression, "the expression");
  eval_verb->add_option("-i", evaluation.inputs, "a variable: name=json")->allow_extra_args(false);
  eval_verb->add_flag("--strict", evaluation.strict,
                      "exactly CEL, without the language's additions");
  eval_verb->add_flag("--conformance", evaluation.conformance,
                      "run conformance tests (JSON Lines) from standard input");
  eval_verb->add_flag("--no-check", evaluation.no_check,
                      "without the static checker (of --strict and --conformance)");
  eval_verb
      ->add_option("--skip-feature", evaluation.skip_features,
                   "leave out conformance tests that need this")
      ->allow_extra_args(false);
  eval_verb->add_option("--only", evaluation.only,
                        "run the conformance tests whose ids match, such as 'macros/*'");
  eval_verb->add_option("--json", evaluation.json,
                        "write a JSON line about each conformance test to this file");
  eval_verb->footer("example: kflowc eval '[1, 2, 3].map(x, x * 2)'");

  const cli::ShellVerbs shell(app);

  if (const auto status = cli::read_command_line(app, argc, argv, other_names)) return *status;
  if (const auto text = shell.text(KFLOW_VERSION, "")) {
    std::fputs(text->c_str(), stdout);
    return ok;
  }
  if (check_verb->parsed()) {
    checking.colours = wants_colour(checking.colour);
    checking.version = KFLOW_VERSION;
    return cli::run_check(checking);
  }
  if (build_verb->parsed()) return build(file, output, print);
  if (fmt_verb->parsed()) {
    formatting.colour = wants_colour("auto");
    return cli::run_fmt(formatting);
  }
  if (graph_verb->parsed()) {
    drawing.colour = wants_colour("auto");
    return cli::run_graph(drawing);
  }
  if (doc_verb->parsed()) {
    documenting.colour = wants_colour("auto");
    return cli::run_doc(documenting);
  }
  if (lsp_verb->parsed()) return lsp::serve(STDIN_FILENO, STDOUT_FILENO);
  if (new_verb->parsed()) return cli::run_new(new_path);
  if (schema_verb->parsed()) return cli::run_schema(schema);
  if (explain_verb->parsed()) return explain(code);
  if (sync_verb->parsed()) return mcp_sync(sync_files, sync_check);
  if (evaluation.expression.empty() && !evaluation.conformance) {
    std::fprintf(stderr, "kflowc: error: eval needs an expression, or --conformance\n");
    return usage;
  }
  return cli::run_eval(evaluation);
}
