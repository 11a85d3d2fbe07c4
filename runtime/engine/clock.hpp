// Clock: the only source of time in the runtime; a virtual one stands in for tests.
#pragma once

#include <chrono>

#include "runtime/machine/events.hpp"

namespace kflow::engine {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since 1970.
  virtual machine::Millis now() const = 0;
};

class SystemClock final : public Clock {
 public:
  machine::Millis now() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace kflow::engine
