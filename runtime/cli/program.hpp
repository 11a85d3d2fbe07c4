// The program that a command means: a file compiled, and what of it is run.
#pragma once

#include <memory>
#include <string>

#include "compiler/ir/program.hpp"
#include "runtime/cli/commands.hpp"

namespace kflow::cli {

/// Compiles a file; its diagnostics go to standard error. Without a program the error's message may
/// be
/// "": all has been said.
Result<std::shared_ptr<const ir::Program>> compile(const std::string& file, const Common& common);
/// The workflow, agent or team of that name; "": the only one.
Result<ir::CallableId> choose(const ir::Program& program, const std::string& name);
/// The agent or team of that name that takes a message; "": the only one.
Result<ir::CallableId> choose_partner(const ir::Program& program, const std::string& name);
bool wants_colour(const std::string& mode);
/// A value on standard output: a text as Markdown where that is a terminal, else as it is.
void print_value(const Common& common, const cel::Value& value);

}  // namespace kflow::cli
