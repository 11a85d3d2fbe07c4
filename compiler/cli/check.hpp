// `kflowc check`: all diagnostics of files and folders, and their fixes.
#pragma once

#include <string>
#include <vector>

namespace kflow::cli {

struct CheckOptions {
  std::vector<std::string> paths;
  std::string format = "human";  ///< human, json, sarif, github
  std::string colour = "auto";
  bool colours = false;
  bool fix = false;
  std::string deny;     ///< "warnings"
  std::string against;  ///< a revision of git
  bool stats = false;
  std::string version;  ///< of the tool, for SARIF
};

/// Exit status: 0 clean or warnings only, 1 errors, 2 usage.
int run_check(const CheckOptions& options);

}  // namespace kflow::cli
