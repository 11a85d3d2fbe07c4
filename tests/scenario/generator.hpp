// Random programs, and what a naive interpreter makes of them.
#pragma once

#include <set>

#include "tests/scenario/simulator.hpp"

namespace kflow::scenario {

/// How a block ended, in the interpreter.
struct Ended {
  enum class How { normal, failed, broke, continued, returned } how = How::normal;
  std::set<std::string> kinds;  ///< of a failure: whichever came first
  int64_t value = 0;
};

/// Values are ints; names are read only where they are certain.
struct RandomProgram {
  std::string text;
  Script script;  ///< what its effects answer, by the name of the step
  Ended expected;
  int64_t session_sets = 0;
  bool session_is_exact = false;  ///< so many sets, whatever is cut off by a failure beside it
  bool has_child_runs = false;
};

/// What the world knows: the machine alone, or a whole engine with its store (signals, people,
/// shared values, caches, detached runs, slots, agents and teams).
enum class Dialect { machine, engine };

RandomProgram random_program(uint64_t seed, Dialect dialect);

/// The value that every agent of a random program answers.
inline constexpr int64_t agent_answer = 4;

}  // namespace kflow::scenario
