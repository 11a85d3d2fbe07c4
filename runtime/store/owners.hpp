// OwnerLocks: who is alive, by locks that the kernel releases at death; and doorbells between
// processes.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "runtime/store/peers.hpp"

namespace kflow::store {

/// The lock files `<folder>/<owner>.lock`, each held by its owner's process as long as it lives,
/// with its pid as text. A lock cannot be waited for together with a descriptor that cancels, so a
/// death is seen by the process's pidfd (and by inotify, when others come or go in good order); the
/// lock alone says who is dead. Where there is no pidfd (another pid namespace), the locks are
/// looked at a few times a second.
class OwnerLocks final : public Peers {
 public:
  explicit OwnerLocks(std::string folder) : folder_(std::move(folder)) {}
  ~OwnerLocks() override { leave(); }
  OwnerLocks(const OwnerLocks&) = delete;
  OwnerLocks& operator=(const OwnerLocks&) = delete;

  Result<void> join(OwnerId own) override;
  void leave() override;
  bool alive(OwnerId owner) override;
  bool stopped(OwnerId owner) override;
  void forget(OwnerId owner) override;
  Result<bool> wait_for_death(int cancel_fd) override;

 private:
  struct Watch;
  std::string path_of(OwnerId id) const { return folder_ + "/" + std::to_string(id) + ".lock"; }
  bool look(Watch& watch);
  /// The pid of an owner in our pid namespace; 0: not known.
  int pid_of(OwnerId owner) const;
  void watch_process(Watch& watch, OwnerId owner);

  const std::string folder_;
  std::mutex mutex_;  // of all that follows
  int fd_ = -1;
  OwnerId own_ = no_owner;
  std::set<OwnerId> seen_;      // alive at some time
  std::set<OwnerId> reported_;  // as dead
};

/// A datagram socket that others ring. Its address is a name in the abstract namespace.
class Doorbell {
 public:
  static Result<std::unique_ptr<Doorbell>> open();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  int fd() const { return fd_; }
  const std::string& address() const { return address_; }
  /// Takes all rings that are waiting.
  void drain() const;
  /// Best effort, never blocks.
  static void ring(const std::string& address);

 private:
  Doorbell(int fd, std::string address) : fd_(fd), address_(std::move(address)) {}
  int fd_;
  std::string address_;
};

}  // namespace kflow::store
