// What a workflow needs of the process that runs it, wherever it goes.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// Everything once, in the order in which it is met.
struct Requirements {
  std::vector<std::string> functions;  ///< of the embedding program: `extern tool`s without command
  std::vector<std::string> secrets;    ///< names that arguments and servers are given
  std::vector<ModelId> models;         ///< each may be stood in for by one of its `fallback`
  std::vector<McpServerId> servers;
};

/// Of all that can be reached from a callable: the steps of its body, tools and members of agents,
/// child workflows, handlers.
Requirements requirements(const Program& program, CallableId entry);

}  // namespace kflow::ir
