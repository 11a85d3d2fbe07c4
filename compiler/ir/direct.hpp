// Direct: a workflow around one agent, team or tool, so that it can be run on its own.
#pragma once

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// The program with one more workflow, `NAME.run`, whose only step `answer` calls that with its own
/// parameters and whose result is the answer.
struct Direct {
  Program program;
  CallableId workflow;
};
Direct run_directly(const Program& program, CallableId agent);

}  // namespace kflow::ir
