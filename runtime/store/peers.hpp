// Peers: which of the processes that have the store open are alive.
#pragma once

#include "runtime/store/store.hpp"

namespace kflow::store {

/// Thread-safe.
class Peers {
 public:
  virtual ~Peers() = default;
  /// From now until destruction (or death of the process) we are alive under this id. Called once.
  virtual Result<void> join(OwnerId own) = 0;
  /// Undoes a join whose registration failed.
  virtual void leave() = 0;
  /// When in doubt, true.
  virtual bool alive(OwnerId owner) = 0;
  /// Alive, but stopped (SIGSTOP, a debugger, job control): its runs may be taken, its epoch fences
  /// it when it goes on. When in doubt, false.
  virtual bool stopped(OwnerId owner) = 0;
  /// A dead one that owns nothing any more.
  virtual void forget(OwnerId owner) = 0;
  /// Until another one has died (true, once for each) or `cancel_fd` is readable (false).
  virtual Result<bool> wait_for_death(int cancel_fd) = 0;
};

}  // namespace kflow::store
