// A robust, process-shared pthread mutex in a mapped file.
#include "runtime/store/process_lock.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>

#include "compiler/base/check.hpp"

namespace kflow::store {

struct ProcessLock::Shared {
  std::atomic<uint32_t> ready;
  std::atomic<int32_t> holder;
  pthread_mutex_t mutex;
};

namespace {

constexpr uint32_t ready_mark = 0x6b666c31;

// "T" of a stopped process, by /proc.
bool is_stopped(int32_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  const size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() && (text[end + 2] == 'T' || text[end + 2] == 't');
}

}  // namespace

Result<std::unique_ptr<ProcessLock>> ProcessLock::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    const ErrorCode code = errno == EACCES || errno == EROFS ? ErrorCode::permission : errno == ENOSPC ? ErrorCode::no_space : ErrorCode::io;
    return fail(code, "cannot open `" + path + "`: " + std::strerror(errno));
  }
  // One process initialises it; the others wait for that.
  ::flock(fd, LOCK_EX);
  struct stat info {};
  bool good = ::fstat(fd, &info) == 0;
  if (good && info.st_size < static_cast<off_t>(sizeof(Shared))) good = ::posix_fallocate(fd, 0, sizeof(Shared)) == 0;
  void* memory = good ? ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (memory == MAP_FAILED) {
    const int error = errno;
    ::flock(fd, LOCK_UN);
    ::close(fd);
    return fail(error == ENOSPC ? ErrorCode::no_space : ErrorCode::io, "cannot map `" + path + "`: " + std::strerror(error));
  }
  auto* shared = static_cast<Shared*>(memory);
  if (shared->ready.load() != ready_mark) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    shared->holder = 0;
    shared->ready = ready_mark;
  }
  ::flock(fd, LOCK_UN);
  ::close(fd);
  return std::unique_ptr<ProcessLock>(new ProcessLock(shared));
}

ProcessLock::~ProcessLock() { ::munmap(shared_, sizeof(Shared)); }

Result<void> ProcessLock::lock(int timeout_ms) {
  timespec until{};
  ::clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += timeout_ms / 1000;
  until.tv_nsec += static_cast<long>(timeout_ms % 1000) * 1'000'000;
  if (until.tv_nsec >= 1'000'000'000) ++until.tv_sec, until.tv_nsec -= 1'000'000'000;
  int result = pthread_mutex_timedlock(&shared_->mutex, &until);
  if (result == EOWNERDEAD) {
    // Its holder died; LMDB rolls an unfinished transaction back by itself.
    pthread_mutex_consistent(&shared_->mutex);
    result = 0;
  }
  if (result == ETIMEDOUT) {
    const int32_t pid = shared_->holder.load();
    return fail(ErrorCode::timeout, "the store is being written by process " + std::to_string(pid) + (is_stopped(pid) ? ", which is stopped; continue it with `kill -CONT " + std::to_string(pid) + "`" : "") +
                                        " (waited " + std::to_string(timeout_ms / 1000) + " s)");
  }
  KFLOW_CHECK(result == 0, "the store's lock is unusable");
  shared_->holder = ::getpid();
  return {};
}

void ProcessLock::unlock() {
  shared_->holder = 0;
  pthread_mutex_unlock(&shared_->mutex);
}

}  // namespace kflow::store
