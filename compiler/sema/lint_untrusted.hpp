// The lint for texts from the network that become part of a command.
#pragma once

#include "compiler/sema/model.hpp"

namespace kflow::sema {

/// Follows what was fetched through lets, loops, and calls of tools, workflows and agents of the
/// module.
void untrusted_commands(Model& model, Module& module);

}  // namespace kflow::sema
