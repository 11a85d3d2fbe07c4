// `kflowc graph` and `kflowc doc`: pictures and pages of files.
#pragma once

#include <string>
#include <vector>

namespace kflow::cli {

struct GraphOptions {
  std::string file;
  std::string callable;            ///< "": the only workflow
  std::string format = "mermaid";  ///< mermaid, dot or svg
  std::string output;              ///< "" or "-": standard output
  bool colour = false;             ///< of diagnostics
};
int run_graph(const GraphOptions& options);

struct DocOptions {
  std::vector<std::string> paths;
  std::string output;  ///< "": standard output; a folder for a page of each file
  bool colour = false;
};
int run_doc(const DocOptions& options);

}  // namespace kflow::cli
