// `kflowc eval`: evaluates one expression, or a file of conformance tests.
#pragma once

#include <string>
#include <vector>

namespace kflow::cli {

struct EvalOptions {
  std::string expression;
  std::vector<std::string> inputs;  ///< name=json
  bool strict = false;
  bool conformance = false;  ///< tests as JSON Lines on standard input
  bool no_check = false;     ///< without the static checker of strict CEL
  std::vector<std::string> skip_features;
  std::string only;  ///< pattern of the ids of tests
  std::string json;  ///< file for a JSON line about each test
};

/// Exit status of the verb.
int run_eval(const EvalOptions& options);

}  // namespace kflow::cli
