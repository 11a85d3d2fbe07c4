// Successor: a program that goes on with a run of another one. It is the new program, laid out so
// that what the run's log refers to stands where it stood.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// What a run has done of its program.
struct Progress {
  CallableId workflow;       ///< its own
  std::set<NodeId> visited;  ///< nodes that events which still count refer to
};

struct Succession {
  Program program;  ///< only if there are no problems
  /// Why the run cannot go on with the new program, a sentence each.
  std::vector<std::string> problems;
};

/// Makes of `next` a program that folds every log of `before` with this progress to a state from
/// which it can go on. The rule: statements that have been reached stay, in their order and with
/// their names, kinds, callees and types; what comes after them is free.
Succession succeed(const Program& before, const Program& next, const Progress& progress);

}  // namespace kflow::ir
