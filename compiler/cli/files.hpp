// Writing files that a command line names.
#pragma once

#include <string>

#include "compiler/base/result.hpp"

namespace kflow::cli {

/// Replaces a file's content in one step: it is the old one or the new one at any moment. Its
/// permissions stay; of a link, what it points to is written.
Result<void> replace_file(const std::string& path, const std::string& content);

}  // namespace kflow::cli
