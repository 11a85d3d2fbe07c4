// `kflowc new`: a small project that checks, tests and runs as it is, without a key.
#pragma once

#include <string>

namespace kflow::cli {

/// Makes the folder `path`, whose last part names the project. Exit status.
int run_new(const std::string& path);

}  // namespace kflow::cli
