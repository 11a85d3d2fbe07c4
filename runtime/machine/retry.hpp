// Retry policies: which errors are tried again, and after how long.
#pragma once

#include <string_view>

#include "runtime/machine/machine.hpp"

namespace kflow::machine {

/// Whether another attempt follows `error` after `attempts_made` counted ones. `written`: the
/// policy stands at the step; without `on` it also covers what programs, tools and child runs fail
/// with, of which nobody knows whether it passes.
bool may_retry(const ir::RetryPolicy& policy, bool written, const RunError& error,
               uint32_t attempts_made);

/// Milliseconds until the next attempt; at least what the server asked for (`retry_after_ms`). The
/// jitter is derived from run, path and attempt, so that a repeated decision is the same.
Millis backoff_ms(const ir::RetryPolicy& policy, uint32_t attempts_made, std::string_view run_id,
                  std::string_view path, const RunError& error);

}  // namespace kflow::machine
