// `kflowc build --print tokens`: the tokens of a file with their places.
#pragma once

#include <string>

#include "compiler/base/result.hpp"

namespace kflow::cli {

/// A line for each token and comment: `3:7 identifier title`; also of a file that does not parse.
Result<std::string> print_tokens(const std::string& path);

}  // namespace kflow::cli
