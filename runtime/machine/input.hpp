// The input that a run is started with.
#pragma once

#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"

namespace kflow::machine {

/// What is wrong with an input: `path` as `posts[2].title`, the rule that it breaks, and all of it
/// as a sentence for people.
struct InputProblem {
  std::string path;
  std::string rule;
  std::string sentence;
};
struct CheckedInput {
  cel::Value value;  ///< complete, if there are no problems
  std::vector<InputProblem> problems;
};
CheckedInput inspect_input(const ir::Program& program, ir::CallableId workflow,
                           const cel::Value& input);
/// The record of the callable's parameters with defaults filled in, or all that is wrong with the
/// input, a line each.
Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input);

}  // namespace kflow::machine
