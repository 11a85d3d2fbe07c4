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
};

/// Of a run that has not ended; at least one line.
Result<std::vector<WhyLine>> why(store::Store& store, const store::RunHeader& run,
                                 machine::Millis now);

/// Last eight characters of an id, as people are shown it.
std::string short_id(const std::string& id);
/// "1.2 s", "3 min 5 s".
std::string duration_text(machine::Millis ms);

}  // namespace kflow::engine
