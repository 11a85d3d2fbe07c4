// What a run needs and this process does not have.
#pragma once

#include <string>
#include <vector>

#include "runtime/engine/engine.hpp"

namespace kflow::engine {

/// What a run needs and a process with these options does not have (functions, secrets, keys of
/// models, programs of MCP servers): a phrase each, with where to give it. An engine adopts no such
/// run; who resumes one all the same sees the steps fail that need it.
Result<std::vector<std::string>> lacking(store::Store& store, const RunHeader& run,
                                         const activities::Options& options);
/// unavailable: what is missing, all of it.
Result<void> check_needs(store::Store& store, const RunHeader& run,
                         const activities::Options& options);

}  // namespace kflow::engine
