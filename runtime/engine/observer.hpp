// Observer: the seam for whoever watches the engine: traces, metrics, logs.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "compiler/ir/program.hpp"
#include "runtime/machine/events.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// Called on the engine's loop thread, after what it is told is durable. Must not block and must
/// not call the engine.
class Observer {
 public:
  virtual ~Observer() = default;
  /// New events of one run, in order; the header is as it is after them.
  virtual void committed(const store::RunHeader&, const ir::Program&,
                         std::span<const machine::Event>) {}
  /// One durable batch: entries, events and how long the write took.
  virtual void batch(size_t /*runs*/, size_t /*events*/, double /*seconds*/) {}
  /// A run was taken over, or could not be written: what on_trouble says.
  virtual void trouble(const std::string&) {}
};

}  // namespace kflow::engine
