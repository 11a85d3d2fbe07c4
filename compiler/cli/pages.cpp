// What is drawn, what is written where.
#include "compiler/cli/pages.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "compiler/diagnostics/render.hpp"
#include "compiler/doc/doc.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/graph/figure.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::cli {
namespace {

namespace fs = std::filesystem;

constexpr int ok = 0;
constexpr int failed = 1;
constexpr int usage = 2;

int say(const std::string& message, int status = failed) {
  std::fprintf(stderr, "kflowc: error: %s\n", message.c_str());
  return status;
}

int write(const std::string& path, const std::string& text) {
  if (path.empty() || path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return ok;
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  return out ? ok : say("cannot write `" + path + "`");
}

bool is_drawn(const ir::Callable& c) {
  return c.kind == ir::CallableKind::workflow || c.kind == ir::CallableKind::tool ||
         c.kind == ir::CallableKind::agent || c.kind == ir::CallableKind::team;
}

// The one that is meant, or what there is to choose from.
Result<ir::CallableId> choose(const ir::Program& program, const std::string& name) {
  std::vector<std::string> workflows;
  std::vector<std::string> others;
  for (uint32_t i = 0; i < program.callables.size(); ++i) {
    const ir::Callable& c = program.callables[i];
    if (!is_drawn(c)) continue;
    if (c.name == name) return ir::CallableId(i);
    if (c.name.find('.') != std::string::npos) continue;
    (c.kind == ir::CallableKind::workflow ? workflows : others).push_back(c.name);
  }
  if (name.empty() && workflows.size() == 1) return program.find(workflows[0]);
  if (name.empty() && workflows.empty() && others.size() == 1) return program.find(others[0]);
  workflows.insert(workflows.end(), others.begin(), others.end());
  if (workflows.empty()) return fail(ErrorCode::not_found, "there is nothing to draw in the file");
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}; name one of {}",
                          name.empty() ? "the file has several workflows"
                                       : "nothing that can be drawn is named `" + name + "`",
                          fmt::join(workflows, ", ")));
}

}  // namespace

int run_graph(const GraphOptions& options) {
  const auto compiled = driver::compile_file(options.file);
  if (!compiled) return say(compiled.error().message);
  const driver::Compilation& c = **compiled;
  if (!c.program) {
    std::fputs(diagnostics::render_human(c.sink, *c.sources, options.colour).c_str(), stderr);
    return failed;
  }
  const auto callable = choose(*c.program, options.callable);
  if (!callable) return say(callable.error().message, usage);
  const graph::Figure figure = graph::figure_of(*c.program, *callable);
  return write(options.output, options.format == "svg"   ? graph::svg(figure)
                               : options.format == "dot" ? graph::dot(figure)
                                                         : graph::mermaid(figure));
}

int run_doc(const DocOptions& options) {
  const std::vector<std::string> files = source::expand(options.paths);
  if (files.empty()) return say("there are no .kflow files in the given folders", usage);
  std::error_code error;
  const bool folder = !options.output.empty() && options.output != "-" &&
                      (files.size() > 1 || fs::is_directory(options.output, error));
  if (folder) {
    fs::create_directories(options.output, error);
    if (error) return say("cannot make `" + options.output + "`: " + error.message());
  }
  int status = ok;
  std::string all;
  for (const std::string& path : files) {
    source::Manager sources(nullptr);
    diagnostics::Sink sink;
    const auto file = sources.load(path);
    if (!file) {
      status = say(file.error().message);
      continue;
    }
    const syntax::Tree tree = syntax::parse(sources[*file], sink);
    if (sink.has_errors()) {
      std::fputs(diagnostics::render_human(sink, sources, options.colour).c_str(), stderr);
      status = failed;
      continue;
    }
    const std::string name = fs::path(path).stem().string();
    const std::string page = doc::page(tree, name);
    if (folder) {
      status = std::max(status, write((fs::path(options.output) / (name + ".md")).string(), page));
    } else {
      all += (all.empty() ? "" : "\n") + page;
    }
  }
  return folder || all.empty() ? status : std::max(status, write(options.output, all));
}

}  // namespace kflow::cli
