// A robust, process-shared pthread mutex in a mapped file.
#include "runtime/store/process_lock.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <fstream>

#include "compiler/base/check.hpp"

namespace kflow::store {

struct ProcessLock::Shared {
  std::atomic<int32_t> holder;
  pthread_mutex_t mutex;
};

namespace {

// Bytes of the file that are locked: one while opening, one shared as long as it is open.
constexpr off_t opening_byte = 0;
constexpr off_t open_byte = 1;

bool lock_byte(int fd, off_t byte, short type, bool wait) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  int result;
  do {
    result = ::fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

// "T" (stopped) or "t" (by a debugger) in /proc.
bool is_stopped(int32_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  const size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() &&
         (text[end + 2] == 'T' || text[end + 2] == 't');
}

void make_mutex(pthread_mutex_t* mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int made = pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  KFLOW_CHECK(made == 0, "this system has no robust mutexes between processes");
}

ErrorCode code_of(int error) {
  if (error == EACCES || error == EPERM || error == EROFS) return ErrorCode::permission;
  return error == ENOSPC || error == EDQUOT ? ErrorCode::no_space : ErrorCode::io;
}

}  // namespace

Result<std::unique_ptr<ProcessLock>> ProcessLock::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    const int error = errno;
    return fail(code_of(error), "cannot open `" + path + "`: " + std::strerror(error));
  }
  void* memory = MAP_FAILED;
  bool good = lock_byte(fd, opening_byte, F_WRLCK, true);
  // Real blocks: touching a hole of a mapped file on a full disk would kill us.
  if (good) {
    const int error = ::posix_fallocate(fd, 0, sizeof(Shared));
    good = error == 0;
    errno = error;
  }
  if (good) memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    return fail(code_of(error), "cannot use `" + path + "` as a lock: " + std::strerror(error));
  }
  auto* shared = static_cast<Shared*>(memory);
  if (lock_byte(fd, open_byte, F_WRLCK, false)) {
    shared->holder = 0;
    make_mutex(&shared->mutex);
  }
  good = lock_byte(fd, open_byte, F_RDLCK, true);
  lock_byte(fd, opening_byte, F_UNLCK, true);
  KFLOW_CHECK(good, "a lock that nobody else can hold was refused");
  return std::unique_ptr<ProcessLock>(new ProcessLock(shared, fd));
}

ProcessLock::~ProcessLock() {
  ::munmap(shared_, sizeof(Shared));
  ::close(fd_);
}

Result<void> ProcessLock::lock(int timeout_ms) {
  int result = pthread_mutex_trylock(&shared_->mutex);
  if (result == EBUSY) {
    timespec until{};
    ::clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += static_cast<long>(timeout_ms % 1000) * 1'000'000;
    if (until.tv_nsec >= 1'000'000'000) ++until.tv_sec, until.tv_nsec -= 1'000'000'000;
    result = pthread_mutex_timedlock(&shared_->mutex, &until);
  }
  if (result == EOWNERDEAD) {
    // Its holder died; an unfinished transaction leaves nothing behind.
    pthread_mutex_consistent(&shared_->mutex);
    result = 0;
  }
  if (result == ETIMEDOUT) {
    const int32_t pid = shared_->holder.load();
    const std::string number = std::to_string(pid);
    const std::string hint =
        is_stopped(pid) ? ", which is stopped; continue it (`kill -CONT " + number + "`) or end it"
                        : "; see what it does, or end it";
    return fail(ErrorCode::timeout, "process " + number + " has been writing to the store for " +
                                        std::to_string((timeout_ms + 999) / 1000) + " s" + hint);
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
