// Fuzz targets: what reads bytes that somebody else may have written. Each takes any bytes and must
// neither crash nor hang nor give back what it would not take again.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::fuzz {

struct Target {
  const char* name;
  /// Aborts (KFLOW_CHECK) when something does not hold.
  void (*run)(std::string_view bytes);
  /// Whole inputs, made by real runs.
  std::vector<std::string> (*corpus)();
};

std::span<const Target> targets();

}  // namespace kflow::fuzz
