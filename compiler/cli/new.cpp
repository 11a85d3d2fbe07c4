// The files of a new project.
#include "compiler/cli/new.hpp"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "compiler/base/result.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::cli {
namespace {

namespace fs = std::filesystem;

constexpr int ok = 0;
constexpr int failed = 1;
constexpr int usage = 2;

constexpr std::string_view workflow = R"(kflow 1

/// What was found out about one file.
type Summary {
  file: string
  /// Lines, the last one too if it has no end.
  lines: int
  words: int
}

/// Counts the lines and words of the text files in a folder, four at a time.
workflow @NAME@(
  /// Which files, as in a shell.
  pattern: string = "*.md",
) -> string {
  timeout: 10m
  step files = file.glob(pattern)
  if files.size() == 0 {
    fail {code: "nothing", message: "no file matches ${pattern}"}
  }
  for name in files {
    limit: 4
    step content = file.read(name)
    let text: string = content
    let summary: Summary = {
      file: name,
      lines: text.trim().split("\n").size(),
      words: text.replace("\n", " ").split(" ").filter(w, w != "").size(),
    }
  }
  return markdown_table(summary)
}
)";

constexpr std::string_view test = R"(kflow 1

import "./@FILE@"

test "lines and words are counted" {
  mock file.glob = [["a.md", "b.md"]]
  mock file.read = ["one two\nthree\n", ""]
  run out = @FILE_NAME@.@NAME@()
  expect out.status == "COMPLETED"
  expect out.result.contains("| a.md | 2 | 3 |")
  expect calls(file.read) == 2
}

test "no files are an error that says so" {
  mock file.glob = []
  run out = @FILE_NAME@.@NAME@(pattern: "*.txt")
  expect out.error.code == "nothing"
}
)";

constexpr std::string_view settings =
    R"(# How this project's workflows run. Every key is optional, and checked.

files:
  roots: [.]        # folders that file.* may touch

retention:
  age: 30d          # how long runs that have ended are kept

# models:
#   openai:
#     api_key: OPENAI_API_KEY    # the name of an environment variable
#   anthropic:
#     api_key: ANTHROPIC_API_KEY
)";

constexpr std::string_view readme = R"(# @FILE_NAME@

    kflowc check .                 # all mistakes, before anything runs
    kflow test .                   # the tests: no network, no model, no waiting
    kflow run @FILE@
    kflow run @FILE@ -i pattern='**/*.md' --background
    kflow ps                       # runs are kept in .kflow/
    kflowc fmt .

Next: an agent. With a key in the environment (`OPENAI_API_KEY`) this is one, and a step calls it by its name:

    /// Sums up a text in one sentence.
    agent editor {
      model: "openai/gpt-5.2"
    }
)";

constexpr std::string_view editor_config = R"(root = true

[*]
charset = utf-8
end_of_line = lf
insert_final_newline = true

[*.kflow]
indent_style = space
indent_size = 2
max_line_length = 100
)";

constexpr std::string_view vscode = R"({
  "files.associations": { "*.kflow": "kflow" },
  "[kflow]": { "editor.tabSize": 2, "editor.insertSpaces": true, "editor.formatOnSave": true }
}
)";

std::string filled(std::string_view text, const std::string& file_name, const std::string& name) {
  std::string out(text);
  const auto replace = [&](std::string_view what, const std::string& with) {
    for (size_t at = 0; (at = out.find(what, at)) != std::string::npos; at += with.size())
      out.replace(at, what.size(), with);
  };
  replace("@FILE_NAME@", file_name);
  replace("@FILE@", file_name + ".kflow");
  replace("@NAME@", name);
  return out;
}

int say(const std::string& message, int status) {
  std::fprintf(stderr, "kflowc: error: %s\n", message.c_str());
  return status;
}

bool is_name(const std::string& name) {
  if (name.empty() || name.size() > 60) return false;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && !(c >= '0' && c <= '9' && &c != name.data())) return false;
  }
  return !syntax::is_reserved(name);
}

}  // namespace

int run_new(const std::string& path) {
  fs::path target(path);
  if (!target.has_filename()) target = target.parent_path();
  const std::string name = target.filename().string();
  if (!is_name(name)) {
    return say("`" + name +
                   "` is no name for a project: letters, digits and `_`, and no word of "
                   "the language",
               usage);
  }
  std::error_code error;
  if (fs::exists(target, error)) return say("`" + path + "` exists already", usage);
  // Made beside its place and moved there whole.
  const fs::path made = target.parent_path() / ("." + name + ".new" + std::to_string(::getpid()));
  const std::pair<std::string, std::string_view> files[] = {
      {name + ".kflow", workflow},       {name + "_test.kflow", test},
      {"kflow.yaml", settings},          {"README.md", readme},
      {".gitignore", "/.kflow/\n"},      {".editorconfig", editor_config},
      {".vscode/settings.json", vscode},
  };
  bool good = true;
  for (const auto& [file, text] : files) {
    fs::create_directories((made / file).parent_path(), error);
    std::ofstream out(made / file, std::ios::binary);
    out << filled(text, name, name);
    out.close();
    good = good && out;
  }
  if (good) fs::rename(made, target, error);
  if (!good || error) {
    std::error_code ignored;
    fs::remove_all(made, ignored);
    return say("cannot make `" + path + "`" + (error ? ": " + error.message() : ""), failed);
  }
  std::printf("made %s/\n", path.c_str());
  for (const auto& [file, text] : files) std::printf("  %s\n", file.c_str());
  std::printf("\nnext:\n  cd %s\n  kflow test .\n  kflow run %s.kflow\n", path.c_str(),
              name.c_str());
  return ok;
}

}  // namespace kflow::cli
