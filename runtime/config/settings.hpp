// Settings: the project's kflow.yaml. Every key is checked, and a wrong one is named with its line.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "compiler/base/result.hpp"

namespace kflow::config {

/// How long ended runs are kept; 0: for ever, or without a limit.
struct Retention {
  int64_t age_ms = 0;
  std::vector<std::pair<std::string, int64_t>>
      by_status;      ///< "COMPLETED", "ERROR", "CANCELLED" → ms, instead of `age_ms`
  uint64_t keep = 0;  ///< newest ended runs of each workflow that are kept
};

struct Settings {
  Retention retention;
  std::vector<std::string>
      file_roots;  ///< folders that file.* may touch, as written; empty: the project's folder
  uint64_t store_max_mib = 0;  ///< quota of the store; 0: as built in
};

/// retention: { age: 30d, completed: 7d, error: 90d, cancelled: 7d, keep: 1000 }; files: { roots:
/// [., ../data] }; store: { max_mib: 4096 }. All problems in one invalid_argument error, a line
/// each, with `name` before the line's number.
Result<Settings> read_settings(std::string_view text, const std::string& name);
/// Of `folder`/kflow.yaml; the defaults where there is no such file.
Result<Settings> load_settings(const std::string& folder);

}  // namespace kflow::config
