// Gates: how many calls of models are let through at a time and in a minute. Pure: no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kflow::activities {

/// What kflow.yaml says under `limits`; 0: no limit.
struct Limits {
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t concurrent = 0;
  bool any() const { return requests_per_minute > 0 || tokens_per_minute > 0 || concurrent > 0; }
};

/// A call passes all gates that its provider, its model and its declaration have. What was said of
/// each counts for whatever passes it.
using GateList = std::vector<std::pair<std::string, Limits>>;

/// One owner, no threads. Milliseconds are of any clock that does not go back.
class Gates {
 public:
  /// 0: it may begin now. Otherwise how long at least until it is worth to ask again; calls that
  /// end make room earlier. `tokens`: an estimate of what it will use.
  int64_t wait_ms(const GateList& list, int64_t tokens, int64_t now);
  void begun(const GateList& list, int64_t tokens, int64_t now);
  /// `tokens`: the estimate that it began with; `used`: what it used in truth.
  void ended(const GateList& list, int64_t tokens, int64_t used, int64_t now);

 private:
  struct Gate {
    int64_t active = 0;
    int64_t reserved = 0;  ///< estimates of those under way
    int64_t used = 0;      ///< sum of `tokens`
    std::deque<int64_t> begun_at;
    std::deque<std::pair<int64_t, int64_t>> tokens;  ///< when, how many
  };
  static void forget(Gate& gate, int64_t now);
  std::map<std::string, Gate> gates_;
};

}  // namespace kflow::activities
