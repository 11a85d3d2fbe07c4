// OwnerLocks: who is alive, by locks that the kernel releases at death; and doorbells between processes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/store/store.hpp"

namespace kflow::store {

/// The lock files `<folder>/<owner>.lock`. Thread-safe.
class OwnerLocks {
 public:
  explicit OwnerLocks(std::string folder) : folder_(std::move(folder)) {}
  ~OwnerLocks();
  OwnerLocks(const OwnerLocks&) = delete;
  OwnerLocks& operator=(const OwnerLocks&) = delete;
  /// Takes the lock of our own id, until destruction.
  Result<void> hold(OwnerId id);
  bool alive(OwnerId id) const;
  void remove(OwnerId id) const;
  /// Waits until a process of `watched` ends, a new owner appears, or `cancel_fd` is readable (false).
  Result<bool> wait(const std::vector<OwnerInfo>& watched, int cancel_fd) const;

 private:
  std::string path_of(OwnerId id) const { return folder_ + "/" + std::to_string(id) + ".lock"; }
  std::string folder_;
  int fd_ = -1;
  OwnerId own_ = no_owner;
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
