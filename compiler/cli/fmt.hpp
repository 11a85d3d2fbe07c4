// `kflowc fmt`: files in the one layout.
#pragma once

#include <string>
#include <vector>

namespace kflow::cli {

struct FmtOptions {
  std::vector<std::string> paths;  ///< files, folders, or `-`: standard input to standard output
  bool check = false;              ///< write nothing; fail if a file would change
  bool diff = false;               ///< write nothing; print what would change
  bool colour = false;             ///< of diagnostics
};

/// Gives the exit status: 1 if something does not parse, cannot be written, or (`check`) would
/// change.
int run_fmt(const FmtOptions& options);

}  // namespace kflow::cli
