// Clock: the only source of time in the runtime; a virtual one stands in for tests.
#pragma once

#include <memory>

#include "runtime/machine/events.hpp"

namespace kflow::engine {

/// Wakes a thread that sleeps on a descriptor. Used by one thread.
class Alarm {
 public:
  virtual ~Alarm() = default;
  /// Readable from `due` on, and when the clock was set in a way that may have passed it.
  virtual int fd() const = 0;
  /// `machine::never`: not at all.
  virtual void set(machine::Millis due) = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since 1970.
  virtual machine::Millis now() const = 0;
  /// Null if there is none: then a sleeper counts the milliseconds itself, and does not notice that
  /// the clock is set.
  virtual std::unique_ptr<Alarm> alarm() const { return nullptr; }
};

class SystemClock final : public Clock {
 public:
  machine::Millis now() const override;
  /// Goes off in time after the clock was set or the machine was suspended.
  std::unique_ptr<Alarm> alarm() const override;
};

}  // namespace kflow::engine
