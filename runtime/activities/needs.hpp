// What a program needs, against what this process has.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/requirements.hpp"
#include "runtime/activities/activity.hpp"

namespace kflow::activities {

/// What is missing, a phrase each with where to give it: "the secret `K` (set …)". Nothing is
/// started and nobody is asked: a server of MCP that does not start, or a key that is refused, is
/// found out by the step.
std::vector<std::string> missing(const ir::Program& program, const ir::Requirements& needs,
                                 const Options& options);

}  // namespace kflow::activities
