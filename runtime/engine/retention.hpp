// Retention: what goes before the runs themselves.
#pragma once

#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

struct Trim {
  machine::Millis now = 0;
  machine::Millis age_ms = 0;  ///< after the end of a run
  bool dry_run = false;
};
struct Trimmed {
  std::vector<std::string> runs;  ///< ids
  uint64_t events = 0;            ///< taken out of their logs; 0 with dry_run
};

/// Takes the pieces of models' answers (RunContent, ReasoningContentDelta) out of the logs of runs
/// that ended longer ago than `age_ms`. The whole answers stay, and so does the `event_index` of
/// every other event. May be stopped at any point and begun again.
Result<Trimmed> trim_deltas(store::Store& store, const Trim& trim);

}  // namespace kflow::engine
