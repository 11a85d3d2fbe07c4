// Inputs for the fuzz targets: runs of workflows with everything in them, on an engine and a store
// in memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compiler/ir/program.hpp"

namespace kflow::fuzz {

struct RealRun {
  std::shared_ptr<const ir::Program> program;
  std::vector<std::string> chunks;  ///< of its log
  std::string log;                  ///< all of them, as a portable file has them
  uint32_t events = 0;
  std::vector<std::string> snapshots;  ///< after each chunk
  std::string file;                    ///< portable
};

/// Made once.
const std::vector<RealRun>& real_runs();

}  // namespace kflow::fuzz
