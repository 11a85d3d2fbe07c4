// Files within values.
#pragma once

#include <vector>

#include "compiler/cel/value.hpp"

namespace kflow::cel {

/// Appends every file that `v` is or holds, in order; one that occurs twice stands there twice.
void files_in(const Value& v, std::vector<File>& out);
std::vector<Sha256> file_hashes(const Value& v);

}  // namespace kflow::cel
