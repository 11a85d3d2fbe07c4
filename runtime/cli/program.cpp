// Compiling, and choosing.
#include "runtime/cli/program.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/cli/markdown.hpp"
#include "runtime/cli/session.hpp"

namespace kflow::cli {

namespace {
bool wants_colour(const std::string& mode, int fd) {
  if (mode == "always") return true;
  if (mode == "never") return false;
  return ::isatty(fd) != 0 && std::getenv("NO_COLOR") == nullptr;
}
}  // namespace

bool wants_colour(const std::string& mode) { return wants_colour(mode, STDERR_FILENO); }

void print_value(const Common& common, const cel::Value& value) {
  const bool text = value.kind() == cel::Kind::string;
  if (text && wants_colour(common.colour, STDOUT_FILENO)) {
    std::fputs(render_markdown(value.as_string()).c_str(), stdout);
  } else {
    std::printf("%s\n", value_text(value).c_str());
  }
}

namespace {

bool is_agent(const ir::Callable& c) {
  return c.kind == ir::CallableKind::agent || c.kind == ir::CallableKind::team;
}

}  // namespace

Result<ir::CallableId> choose(const ir::Program& program, const std::string& name) {
  for (uint32_t i = 0; i < program.callables.size() && !name.empty(); ++i) {
    const ir::Callable& c = program.callables[i];
    if (is_agent(c) && c.name == name) return ir::CallableId(i);
  }
  std::vector<std::string> names;
  for (uint32_t i = 0; i < program.callables.size(); ++i) {
    const ir::Callable& c = program.callables[i];
    if (c.kind != ir::CallableKind::workflow || c.name.find('.') != std::string::npos) continue;
    if (c.name == name) return ir::CallableId(i);
    names.push_back(c.name);
  }
  if (name.empty() && names.size() == 1) return program.find(names[0]);
  if (names.empty() && name.empty()) {
    // A file of one agent means that one.
    for (const ir::Callable& c : program.callables) {
      if (is_agent(c) && c.name.find('.') == std::string::npos) names.push_back(c.name);
    }
    if (names.size() == 1) return program.find(names[0]);
    if (!names.empty())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the file has no workflow; name one of its agents: {}",
                              fmt::join(names, ", ")));
  }
  if (names.empty()) return fail(ErrorCode::invalid_argument, "the file has no workflow");
  if (name.empty())
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("the file has several workflows; name one of {}", fmt::join(names, ", ")));
  for (const ir::Callable& c : program.callables) {
    if (is_agent(c) && c.name.find('.') == std::string::npos) names.push_back(c.name);
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("the file has no workflow or agent `{}`; it has {}", name,
                          fmt::join(names, ", ")));
}

Result<ir::CallableId> choose_partner(const ir::Program& program, const std::string& name) {
  std::vector<std::string> names;
  for (const ir::Callable& c : program.callables) {
    if (!is_agent(c) || !c.agent.message) continue;
    if (c.name == name) return program.find(name);
    if (c.name.find('.') == std::string::npos) names.push_back(c.name);
  }
  if (name.empty() && names.size() == 1) return program.find(names[0]);
  const std::string known = names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
  if (name.empty()) {
    return fail(ErrorCode::invalid_argument,
                names.empty() ? "the file has no agent or team that takes a message"
                              : "the file has several agents; name one of " + known);
  }
  const ir::CallableId other = program.find(name);
  const bool agent = other && is_agent(program[other]);
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("{} `{}`{}; those that do: {}",
                  agent ? "the agent" : "no agent or team that takes a message is named", name,
                  agent ? " has parameters of its own instead of a message" : "", known));
}

Result<std::shared_ptr<const ir::Program>> compile(const std::string& file, const Common& common) {
  auto compiled = driver::compile_file(file);
  if (!compiled) return std::unexpected(std::move(compiled).error());
  std::fputs(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources,
                                       wants_colour(common.colour))
                 .c_str(),
             stderr);
  if (!(*compiled)->program) return fail(ErrorCode::invalid_argument, "");
  return std::make_shared<const ir::Program>(std::move(*(*compiled)->program));
}

}  // namespace kflow::cli
