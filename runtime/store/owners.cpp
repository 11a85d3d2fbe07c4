// Open-file-description locks, pidfds and abstract datagram sockets.
#include "runtime/store/owners.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

namespace kflow::store {
namespace {

// How often locks are looked at when there is nothing to wait on, and when a process is gone but
// its lock not yet.
constexpr int slow_look_ms = 250;
constexpr int fast_look_ms = 10;

struct flock whole_file(short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// pids mean something only within one namespace.
std::string pid_namespace() {
  std::array<char, 64> text{};
  const ssize_t n = ::readlink("/proc/self/ns/pid", text.data(), text.size());
  return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "?";
}

// What the lock file of a process of our namespace says.
std::string identity(int pid) {
  std::string text = std::to_string(pid);
  text += ' ';
  text += pid_namespace();
  text += '\n';
  return text;
}

std::vector<OwnerId> ids_in(const std::string& folder) {
  std::vector<OwnerId> out;
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return out;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (!name.ends_with(".lock")) continue;
    OwnerId id = no_owner;
    const char* end = name.data() + name.size() - 5;
    if (std::from_chars(name.data(), end, id).ptr == end && id != no_owner) out.push_back(id);
  }
  ::closedir(dir);
  return out;
}

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) > 0;
}

socklen_t fill(sockaddr_un& address, const std::string& name) {
  address = {};
  address.sun_family = AF_UNIX;
  const size_t n = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), n);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + n);
}

}  // namespace

Result<void> OwnerLocks::join(OwnerId own) {
  ::mkdir(folder_.c_str(), 0755);
  const std::string path = path_of(own);
  const auto failed = [&] {
    const ErrorCode code = errno == EACCES || errno == EROFS ? ErrorCode::permission
                           : errno == ENOSPC                 ? ErrorCode::no_space
                                                             : ErrorCode::io;
    return fail(code, "cannot make and lock `" + path + "`: " + std::strerror(errno));
  };
  const std::lock_guard guard(mutex_);
  // Between making and locking it, somebody may take the file for a dead one's and remove it.
  for (;;) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return failed();
    auto lock = whole_file(F_WRLCK);
    const std::string text = identity(::getpid());
    if (::fcntl(fd, F_OFD_SETLK, &lock) != 0 ||
        ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      const auto error = failed();
      ::close(fd);
      ::unlink(path.c_str());
      return error;
    }
    struct stat ours{};
    struct stat named{};
    if (::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
        ours.st_ino == named.st_ino) {
      fd_ = fd;
      own_ = own;
      break;
    }
    ::close(fd);
  }
  for (const OwnerId other : ids_in(folder_)) {
    if (other >= own) continue;
    const int fd = ::open(path_of(other).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    auto lock = whole_file(F_WRLCK);
    if (::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK)
      ::unlink(path_of(other).c_str());
    ::close(fd);
  }
  return {};
}

void OwnerLocks::leave() {
  const std::lock_guard guard(mutex_);
  if (fd_ < 0) return;
  ::unlink(path_of(own_).c_str());
  ::close(fd_);
  fd_ = -1;
}

bool OwnerLocks::alive(OwnerId id) {
  {
    const std::lock_guard guard(mutex_);
    if (id == own_ && fd_ >= 0) return true;
  }
  const int fd = ::open(path_of(id).c_str(), O_RDONLY | O_CLOEXEC);
  // No file: dead. One we cannot read: only its owner knows.
  if (fd < 0) return errno != ENOENT && errno != ENOTDIR;
  auto lock = whole_file(F_WRLCK);
  const bool held = ::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  ::close(fd);
  return held;
}

void OwnerLocks::forget(OwnerId id) { ::unlink(path_of(id).c_str()); }

// Descriptors of one look; the first is the caller's, the second inotify's.
struct OwnerLocks::Watch {
  std::vector<pollfd> fds;
  size_t first_process = 0;
  int timeout_ms = -1;

  void close_processes() {
    for (size_t i = first_process; i < fds.size(); ++i) ::close(fds[i].fd);
    fds.resize(first_process);
    timeout_ms = -1;
  }
  void look_again_in(int ms) { timeout_ms = timeout_ms < 0 ? ms : std::min(timeout_ms, ms); }
};

int OwnerLocks::pid_of(OwnerId owner) const {
  std::array<char, 128> text{};
  const int file = ::open(path_of(owner).c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t n = file < 0 ? 0 : ::read(file, text.data(), text.size() - 1);
  if (file >= 0) ::close(file);
  const std::string_view line(text.data(), n > 0 ? static_cast<size_t>(n) : 0);
  int pid = 0;
  const auto bad = std::from_chars(line.data(), line.data() + line.size(), pid).ec;
  return bad == std::errc() && line == identity(pid) ? pid : 0;
}

// The state of the process, as proc(5) has it: the field after the name, which may hold anything
// but ends at the last `)`.
bool OwnerLocks::stopped(OwnerId owner) {
  const int pid = pid_of(owner);
  if (pid <= 0) return false;
  const int file = ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  std::array<char, 512> text{};
  const ssize_t n = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  const std::string_view line(text.data(), n > 0 ? static_cast<size_t>(n) : 0);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 >= line.size()) return false;
  const char state = line[name_end + 2];
  // The pid is still the owner's: its lock is held.
  return (state == 'T' || state == 't') && alive(owner);
}

void OwnerLocks::watch_process(Watch& watch, OwnerId owner) {
  const int pid = pid_of(owner);
  const int fd = pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1;
  // The lock is still held, so the pid was not given to another process before we got hold of it.
  if (fd >= 0 && !readable(fd) && alive(owner)) {
    watch.fds.push_back({fd, POLLIN, 0});
    return;
  }
  watch.look_again_in(fd >= 0 ? fast_look_ms : slow_look_ms);
  if (fd >= 0) ::close(fd);
}

// True: somebody has died. Else `watch` has what to wait for.
bool OwnerLocks::look(Watch& watch) {
  watch.close_processes();
  const std::vector<OwnerId> present = ids_in(folder_);
  for (const OwnerId id : present) {
    {
      const std::lock_guard guard(mutex_);
      if (id == own_ || reported_.contains(id)) continue;
    }
    if (!alive(id)) {
      const std::lock_guard guard(mutex_);
      reported_.insert(id);
      seen_.erase(id);
      return true;
    }
    {
      const std::lock_guard guard(mutex_);
      seen_.insert(id);
    }
    watch_process(watch, id);
  }
  // Gone together with its file: closed in good order, or swept by another.
  const std::lock_guard guard(mutex_);
  for (const OwnerId id : seen_) {
    if (std::find(present.begin(), present.end(), id) != present.end()) continue;
    seen_.erase(id);
    return true;
  }
  return false;
}

Result<bool> OwnerLocks::wait_for_death(int cancel_fd) {
  Watch watch;
  watch.fds.push_back({cancel_fd, POLLIN, 0});
  const int notify = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ::mkdir(folder_.c_str(), 0755);
  const bool notified =
      notify >= 0 && ::inotify_add_watch(notify, folder_.c_str(), IN_MODIFY | IN_DELETE) >= 0;
  watch.fds.push_back({notified ? notify : -1, POLLIN, 0});
  watch.first_process = watch.fds.size();
  Result<bool> died = true;
  while (!look(watch)) {
    if (!notified) watch.look_again_in(slow_look_ms);
    const int n = ::poll(watch.fds.data(), watch.fds.size(), watch.timeout_ms);
    if (n < 0 && errno != EINTR) {
      died = fail(ErrorCode::io,
                  std::string("cannot wait for other processes: ") + std::strerror(errno));
      break;
    }
    if (n > 0 && watch.fds[0].revents != 0) {
      died = false;
      break;
    }
    std::array<char, 4096> events;
    while (notified && ::read(notify, events.data(), events.size()) > 0) {
    }
  }
  watch.close_processes();
  if (notify >= 0) ::close(notify);
  return died;
}

Result<std::unique_ptr<Doorbell>> Doorbell::open() {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return fail(ErrorCode::io, std::string("cannot make a socket: ") + std::strerror(errno));
  std::random_device random;
  std::string name = "kflow-" + std::to_string(::getpid()) + "-" + std::to_string(random()) +
                     std::to_string(random());
  sockaddr_un address{};
  const socklen_t size = fill(address, name);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    const int error = errno;
    ::close(fd);
    return fail(ErrorCode::io, std::string("cannot bind a socket: ") + std::strerror(error));
  }
  return std::unique_ptr<Doorbell>(new Doorbell(fd, std::move(name)));
}

Doorbell::~Doorbell() { ::close(fd_); }

void Doorbell::drain() const {
  char byte;
  while (::recv(fd_, &byte, 1, MSG_DONTWAIT) >= 0) {
  }
}

void Doorbell::ring(const std::string& name) {
  if (name.empty()) return;
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  sockaddr_un address{};
  const socklen_t size = fill(address, name);
  ::sendto(fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size);
  ::close(fd);
}

}  // namespace kflow::store
