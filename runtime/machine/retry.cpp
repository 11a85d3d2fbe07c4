// Which errors are tried again, and when.
#include "runtime/machine/retry.hpp"

#include <algorithm>
#include <cmath>

#include "compiler/base/bytes.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/ir/builtins.hpp"

namespace kflow::machine {
namespace {

bool idempotent(const ir::Program& program, const ir::Call& call) {
  switch (call.kind) {
    case ir::CalleeKind::builtin: {
      const ir::Builtin* builtin = ir::find_builtin(call.name);
      return builtin != nullptr && builtin->idempotent;
    }
    case ir::CalleeKind::extern_tool:
    case ir::CalleeKind::mcp_tool:
      return program[call.callable].idempotent;
    case ir::CalleeKind::tool:  // its steps have their own policies
    case ir::CalleeKind::workflow:
    case ir::CalleeKind::workflow_start:
    case ir::CalleeKind::agent:
    case ir::CalleeKind::team:
      return false;
    case ir::CalleeKind::model:
      return true;
  }
  std::unreachable();
}

bool matches(const ir::ErrorMatcher& matcher, const RunError& error) {
  if (matcher.kind != error.kind) return false;
  if (matcher.status_from == 0) return true;
  return error.status >= matcher.status_from && error.status <= matcher.status_to;
}

// [0, 1), the same for the same step and attempt of a run: the machine has no randomness of its
// own.
double derived_fraction(std::string_view run_id, std::string_view path, uint32_t attempt) {
  ByteWriter seed;
  seed.string(run_id);
  seed.string(path);
  seed.varint(attempt);
  return static_cast<double>(xxh3(seed.buffer()) >> 11) * 0x1.0p-53;
}

}  // namespace

ir::RetryPolicy default_retry(const ir::Program& program, const ir::Call& call) {
  ir::RetryPolicy policy;
  if (!idempotent(program, call)) policy.max = 1;
  return policy;
}

bool may_retry(const ir::RetryPolicy& policy, bool written, const RunError& error,
               uint32_t attempts_made) {
  if (attempts_made >= policy.max) return false;
  if (policy.on.empty()) {
    const bool unknown = error.kind == "tool" || error.kind == "exec" || error.kind == "user";
    return error.retryable || (written && unknown);
  }
  return std::any_of(policy.on.begin(), policy.on.end(),
                     [&](const auto& m) { return matches(m, error); });
}

Millis backoff_ms(const ir::RetryPolicy& policy, uint32_t attempts_made, std::string_view run_id,
                  std::string_view path, const RunError& error) {
  const double n = attempts_made;
  double delay = static_cast<double>(policy.base_ms);
  switch (policy.backoff) {
    case ir::BackoffKind::constant:
      break;
    case ir::BackoffKind::linear:
      delay *= n;
      break;
    case ir::BackoffKind::exponential:
      delay *= std::pow(policy.factor, n - 1);
      break;
  }
  delay = std::min(delay, static_cast<double>(policy.cap_ms));
  const double fraction = derived_fraction(run_id, path, attempts_made);
  switch (policy.jitter) {
    case ir::Jitter::none:
      break;
    case ir::Jitter::full:
      delay *= fraction;
      break;
    case ir::Jitter::equal:
      delay *= 0.5 + fraction / 2;
      break;
  }
  return std::max(static_cast<Millis>(delay), error.retry_after_ms);
}

}  // namespace kflow::machine
