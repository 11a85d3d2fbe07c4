// ProcessLock: a robust mutex between processes, with a time limit and the holder's pid.
#pragma once

#include <memory>
#include <string>

#include "compiler/base/result.hpp"

namespace kflow::store {

/// In a small shared file; survives the death of its holder, and is made anew by the first process
/// that opens it when no other has it open (after a power loss it may say that somebody holds it).
/// Threads of one process exclude each other too.
class ProcessLock {
 public:
  static Result<std::unique_ptr<ProcessLock>> open(const std::string& path);
  ~ProcessLock();
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;

  /// timeout: names the process that holds it, and whether that one is stopped.
  Result<void> lock(int timeout_ms);
  void unlock();

 private:
  struct Shared;
  ProcessLock(Shared* shared, int fd) : shared_(shared), fd_(fd) {}
  Shared* shared_;
  int fd_;  // its lock says that we have the file open
};

}  // namespace kflow::store
