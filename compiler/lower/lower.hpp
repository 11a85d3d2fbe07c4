// Bodies → step graph: statements are checked for names, types and visibility while they become
// nodes.
#pragma once

#include <optional>

#include "compiler/ir/program.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::lower {

/// Lowers every workflow and tool of the root file and the tools they reach in others. Problems go
/// to the model's sink; nothing is given when there were errors, also earlier ones.
std::optional<ir::Program> lower(sema::Model& model);

}  // namespace kflow::lower
