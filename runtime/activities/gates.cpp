// Counting over the last minute.
#include "runtime/activities/gates.hpp"

#include <algorithm>

namespace kflow::activities {

namespace {
constexpr int64_t minute_ms = 60'000;
}  // namespace

void Gates::forget(Gate& gate, int64_t now) {
  while (!gate.begun_at.empty() && gate.begun_at.front() <= now - minute_ms)
    gate.begun_at.pop_front();
  while (!gate.tokens.empty() && gate.tokens.front().first <= now - minute_ms) {
    gate.used -= gate.tokens.front().second;
    gate.tokens.pop_front();
  }
}

int64_t Gates::wait_ms(const GateList& list, int64_t tokens, int64_t now) {
  int64_t wait = 0;
  for (const auto& [name, limits] : list) {
    Gate& gate = gates_[name];
    forget(gate, now);
    if (limits.concurrent > 0 && gate.active >= limits.concurrent) wait = minute_ms;
    if (limits.requests_per_minute > 0 &&
        static_cast<int64_t>(gate.begun_at.size()) >= limits.requests_per_minute)
      wait = std::max(wait, gate.begun_at.front() + minute_ms - now);
    if (limits.tokens_per_minute <= 0) continue;
    // What is larger than the limit passes alone.
    int64_t busy = gate.used + gate.reserved;
    if (busy == 0 || busy + tokens <= limits.tokens_per_minute) continue;
    int64_t until = minute_ms;
    for (const auto& [when, n] : gate.tokens) {
      busy -= n;
      if (busy != 0 && busy + tokens > limits.tokens_per_minute) continue;
      until = when + minute_ms - now;
      break;
    }
    wait = std::max(wait, until);
  }
  return wait;
}

void Gates::begun(const GateList& list, int64_t tokens, int64_t now) {
  for (const auto& [name, limits] : list) {
    Gate& gate = gates_[name];
    ++gate.active;
    if (limits.requests_per_minute > 0) gate.begun_at.push_back(now);
    gate.reserved += tokens;
  }
}

void Gates::ended(const GateList& list, int64_t tokens, int64_t used, int64_t now) {
  for (const auto& [name, limits] : list) {
    Gate& gate = gates_[name];
    --gate.active;
    gate.reserved -= tokens;
    if (used <= 0 || limits.tokens_per_minute <= 0) continue;
    gate.tokens.emplace_back(now, used);
    gate.used += used;
  }
}

}  // namespace kflow::activities
