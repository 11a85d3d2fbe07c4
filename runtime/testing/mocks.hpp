// Mocks: a program in which what is mocked is answered from outside.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compiler/ir/tests.hpp"

namespace kflow::testing {

/// The program with every call of the targets made a call of an external tool of the target's name,
/// wherever it stands: in steps, as tools of agents, as compensation.
std::shared_ptr<const ir::Program> with_mocks(const ir::Program& program,
                                              const std::vector<ir::TestTarget>& targets);

/// The name under which calls of a target are known in a program: that of its declaration.
std::string target_name(const ir::Program& program, const ir::TestTarget& target);
/// The same of what a step calls.
std::string called_name(const ir::Program& program, const ir::Call& call);

}  // namespace kflow::testing
