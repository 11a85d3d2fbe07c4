// The input that a run is started with.
#pragma once

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"

namespace kflow::machine {

/// The record of the callable's parameters with defaults filled in, or all that is wrong with the
/// input, a line each.
Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input);

}  // namespace kflow::machine
