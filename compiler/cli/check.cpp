// Files are compiled on all cores; what is found is shown in the order of the files.
#include "compiler/cli/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <thread>

#include "compiler/cli/against.hpp"
#include "compiler/cli/files.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"

namespace kflow::cli {
namespace {

using diagnostics::Findings;
using diagnostics::Fix;

constexpr int ok = 0;
constexpr int failed = 1;
constexpr int usage = 2;

/// Most rounds of fixing and checking again: a fix may bring another one to light.
constexpr int max_fix_rounds = 10;

struct Checked {
  std::unique_ptr<driver::Compilation> compilation;
  std::string unreadable;  ///< why there is none
  size_t statements = 0;
};

Checked compile(const std::string& file) {
  if (file == "-") {
    return {
        driver::compile_text("<stdin>", std::string(std::istreambuf_iterator<char>(std::cin), {})),
        "", 0};
  }
  auto compiled = driver::compile_file(file);
  if (!compiled) return {nullptr, compiled.error().message, 0};
  return {std::move(*compiled), "", 0};
}

// Programs that nobody asks for any more are given up where they were made, not all at the end.
std::vector<Checked> compile_all(const std::vector<std::string>& files, bool keep_programs) {
  std::vector<Checked> out(files.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < files.size(); i = next++) {
      out[i] = compile(files[i]);
      driver::Compilation* c = out[i].compilation.get();
      if (c == nullptr || !c->program) continue;
      out[i].statements = c->program->nodes.size();
      c->tests.reset();
      if (!keep_programs) c->program.reset();
    }
  };
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::jthread> others;
  for (size_t i = 1; i < std::min(cores, files.size()); ++i) others.emplace_back(work);
  work();
  others.clear();
  return out;
}

// ---- fixes

// The text with every fix that does not touch another one, from the end to the front.
std::string with_fixes(std::string text, std::vector<Fix> fixes, size_t& applied) {
  std::sort(fixes.begin(), fixes.end(),
            [](const Fix& a, const Fix& b) { return a.span.begin > b.span.begin; });
  size_t before = text.size() + 1;
  for (const Fix& fix : fixes) {
    if (fix.span.end > before || (fix.span.end == before && fix.span.begin == before)) continue;
    text.replace(fix.span.begin, fix.span.end - fix.span.begin, fix.text);
    before = fix.span.begin;
    ++applied;
  }
  return text;
}

std::vector<Fix> fixes_of(const driver::Compilation& c, source::FileId file) {
  std::vector<Fix> out;
  for (const diagnostics::Diagnostic* d : c.sink.sorted()) {
    for (const Fix& fix : d->fixes) {
      if (fix.span.file == file) out.push_back(fix);
    }
  }
  return out;
}

// Fixes one file until there is nothing left to fix; each round is kept only if there are no more
// errors after it than before. The file is replaced in one step, or not at all.
Result<size_t> fix_file(const std::string& path) {
  auto compiled = driver::compile_file(path);
  if (!compiled) return std::unexpected(compiled.error());
  std::unique_ptr<driver::Compilation> current = std::move(*compiled);
  const source::FileId root(0U);
  size_t all = 0;
  for (int round = 0; round < max_fix_rounds; ++round) {
    size_t applied = 0;
    const std::string before((*current->sources)[root].text());
    std::string after = with_fixes(before, fixes_of(*current, root), applied);
    if (applied == 0 || after == before) break;
    auto again = driver::compile_text_of(path, std::move(after));
    if (again->sink.errors() > current->sink.errors()) break;
    all += applied;
    current = std::move(again);
  }
  if (all == 0) return all;
  if (auto written = replace_file(path, std::string((*current->sources)[root].text())); !written)
    return std::unexpected(written.error());
  return all;
}

// False: a file could not be read or written.
bool fix_all(const std::vector<std::string>& files) {
  bool good = true;
  for (const std::string& file : files) {
    const auto fixed = fix_file(file);
    if (!fixed) {
      std::fprintf(stderr, "kflowc: error: %s\n", fixed.error().message.c_str());
      good = false;
    } else if (*fixed > 0) {
      std::fprintf(stderr, "%s: %zu fixed\n", file.c_str(), *fixed);
    }
  }
  return good;
}

void show(const Findings& findings, const CheckOptions& options) {
  if (options.format == "human") {
    std::fputs(diagnostics::render_human(findings, options.colours).c_str(), stderr);
    return;
  }
  const std::string text = options.format == "json" ? diagnostics::render_json(findings)
                           : options.format == "sarif"
                               ? diagnostics::render_sarif(findings, options.version)
                               : diagnostics::render_github(findings);
  std::fputs(text.c_str(), stdout);
}

}  // namespace

int run_check(const CheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> files = source::expand(options.paths);
  if (files.empty()) {
    std::fprintf(stderr, "kflowc: error: there are no .kflow files in the given folders\n");
    return usage;
  }
  if (std::count(files.begin(), files.end(), "-") > 1 ||
      (options.fix && std::find(files.begin(), files.end(), "-") != files.end())) {
    std::fprintf(stderr, "kflowc: error: standard input is read once, and cannot be fixed\n");
    return usage;
  }
  bool bad = options.fix && !fix_all(files);
  std::vector<Checked> checked = compile_all(files, !options.against.empty());
  if (!options.against.empty()) {
    Revision revision(options.against);
    for (size_t i = 0; i < files.size(); ++i) {
      if (checked[i].compilation == nullptr) continue;
      if (const auto compared = revision.compare(files[i], *checked[i].compilation); !compared) {
        std::fprintf(stderr, "kflowc: error: %s\n", compared.error().message.c_str());
        return usage;
      }
    }
  }
  Findings findings;
  size_t statements = 0;
  size_t lines = 0;
  for (const Checked& c : checked) {
    if (c.compilation == nullptr) {
      std::fprintf(stderr, "kflowc: error: %s\n", c.unreadable.c_str());
      bad = true;
      continue;
    }
    findings.add(c.compilation->sink, *c.compilation->sources);
    statements += c.statements;
    lines += (*c.compilation->sources)[source::FileId(0U)].line_count();
  }
  show(findings, options);
  bad |= findings.errors() > 0 || (options.deny == "warnings" && findings.warnings() > 0);
  if (options.stats) {
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::fprintf(stderr, "%zu files, %zu lines, %zu statements, %.1f ms\n", files.size(), lines,
                 statements, took.count());
  }
  return bad ? failed : ok;
}

}  // namespace kflow::cli
