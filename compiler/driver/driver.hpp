// driver: one call from a file to a verified program; what the command lines and tests use.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/base/result.hpp"
#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/ir/program.hpp"
#include "compiler/ir/tests.hpp"
#include "compiler/source/source.hpp"

namespace kflow::driver {

/// Everything that came of one compilation. The diagnostics refer to the sources.
struct Compilation {
  std::unique_ptr<source::Manager> sources;
  diagnostics::Sink sink;
  std::optional<ir::Program> program;  ///< none if there were errors
  std::optional<ir::TestSuite> tests;  ///< none if the file has none, or if there were errors
};

/// Compiles a file and what it imports. An error only when the file itself cannot be read.
Result<std::unique_ptr<Compilation>> compile_file(const std::string& path);
/// Compiles a text that is not a file; imports are relative to the current folder.
std::unique_ptr<Compilation> compile_text(std::string name, std::string text);
/// Compiles a text as if the file had it; imports are relative to that file.
std::unique_ptr<Compilation> compile_text_of(const std::string& path, std::string text);
/// An MCP server that a file declares, and the lock that its tools belong into.
struct DeclaredServer {
  ir::McpServer spec;
  std::string lock;
};
struct Declarations {
  std::unique_ptr<source::Manager> sources;
  diagnostics::Sink sink;  ///< what is wrong outside of bodies, a missing lock not counted
  std::vector<DeclaredServer> servers;
};
/// The servers that a file and what it imports declare, whether they are locked or not.
Result<std::unique_ptr<Declarations>> mcp_servers(const std::string& path);
/// The tree of a file as `--print tree` shows it.
Result<std::string> print_tree(const std::string& path);

}  // namespace kflow::driver
