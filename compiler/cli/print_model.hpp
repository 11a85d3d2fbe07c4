// `kflowc build --print model`: what is known of every name, as editors show it.
#pragma once

#include <string>

#include "compiler/ir/program.hpp"
#include "compiler/source/source.hpp"

namespace kflow::cli {

/// JSON: of each callable its parameters, result, and names: path, place, type where the name is
/// defined; `previous`: type of a read before that, in the next iteration; `outside`: type after
/// the blocks around it, innermost first.
std::string print_model(const ir::Program& program, const source::Manager& sources);

}  // namespace kflow::cli
