// Lints: what is allowed and yet hardly meant. Looked for only in files without errors.
#pragma once

#include "compiler/sema/model.hpp"

namespace kflow::sema {

/// Reports what is suspicious in a module: unused declarations, plain http, texts from the network
/// in commands, constant conditions, hidden names, racing sets of the session.
void lint(Model& model, Module& module);

/// Drops the warnings that a comment `// kflow: allow(KF7003) reason` suppresses, on its own line
/// or the next one with something on it, and reports comments that suppress nothing.
void apply_suppressions(Model& model, Module& module);

}  // namespace kflow::sema
