// Bodies → step graph: statements are checked for names, types and visibility while they become
// nodes.
#pragma once

#include <optional>

#include "compiler/ir/program.hpp"
#include "compiler/ir/tests.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::lower {

struct Lowered {
  ir::Program program;
  std::optional<ir::TestSuite> tests;  ///< of the root file; none if it has none
};

/// Lowers every workflow and tool of the root file and the tools they reach in others, and the root
/// file's tests. Problems go to the model's sink; nothing is given when there were errors, also
/// earlier ones.
std::optional<Lowered> lower(sema::Model& model);

/// Looks only into the declarations of the root file that stand at an offset: what is noted of them
/// goes to the model's index, for editors.
void look_into(sema::Model& model, uint32_t offset);

}  // namespace kflow::lower
