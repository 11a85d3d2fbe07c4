// Former paths: what the log of a run that was moved calls a step of its present program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// Most paths that are given for one.
inline constexpr size_t max_former_paths = 64;

/// The path itself, then those that the same step may have been recorded under before it, or
/// something that it stands in, got its present name (`@was`).
std::vector<std::string> recorded_paths(const Program& program, std::string_view path);

}  // namespace kflow::ir
