// Why: what a run waits for, a sentence for each thing.
#pragma once

#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

struct WhyLine {
  std::string path;     ///< of the step; "": the run itself
  std::string what;     ///< as machine::Waiting has it; "queued": another run must end; "": nothing
  std::string subject;  ///< the signal, the id of the run, the question
  uint32_t attempt = 0;
  std::string text;  ///< "step `fetch` runs `http.get` since 12 s"
  machine::Millis since = 0;
  machine::Millis due = machine::never;
  bool needs_process = false;  ///< it does not go on while nobody runs it
  std::string run_id;          ///< of a run below that it is about; "": the run itself
  uint32_t depth = 0;          ///< 0: the run itself
};

/// Runs below are looked into so deep, and not any more after so many lines.
inline constexpr uint32_t deepest_why = 8;
inline constexpr size_t most_why_lines = 200;

/// Of a run that has not ended; at least one line. What a run that it waits for waits for itself
/// follows the line of that run.
Result<std::vector<WhyLine>> why(store::Store& store, const store::RunHeader& run,
                                 machine::Millis now);

/// Last eight characters of an id, as people are shown it.
std::string short_id(const std::string& id);
/// "1.2 s", "3 min 5 s".
std::string duration_text(machine::Millis ms);

}  // namespace kflow::engine
