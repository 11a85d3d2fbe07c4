// Open-file-description locks, pidfds and abstract datagram sockets.
#include "runtime/store/owners.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace kflow::store {
namespace {

struct flock whole_file(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

socklen_t fill(sockaddr_un& address, const std::string& name) {
  address = {};
  address.sun_family = AF_UNIX;
  const size_t n = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), n);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + n);
}

}  // namespace

OwnerLocks::~OwnerLocks() {
  if (fd_ < 0) return;
  ::unlink(path_of(own_).c_str());
  ::close(fd_);
}

Result<void> OwnerLocks::hold(OwnerId id) {
  const int fd = ::open(path_of(id).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return fail(ErrorCode::io, "cannot create `" + path_of(id) + "`: " + std::strerror(errno));
  auto lock = whole_file(F_WRLCK);
  if (::fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    ::close(fd);
    return fail(ErrorCode::io, "cannot lock `" + path_of(id) + "`: " + std::strerror(errno));
  }
  fd_ = fd;
  own_ = id;
  return {};
}

bool OwnerLocks::alive(OwnerId id) const {
  if (id == own_ && fd_ >= 0) return true;
  const int fd = ::open(path_of(id).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  auto lock = whole_file(F_WRLCK);
  const bool held = ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(fd);
  return held;
}

void OwnerLocks::remove(OwnerId id) const { ::unlink(path_of(id).c_str()); }

Result<bool> OwnerLocks::wait(const std::vector<OwnerInfo>& watched, int cancel_fd) const {
  std::vector<pollfd> fds{{cancel_fd, POLLIN, 0}};
  const int notify = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (notify >= 0) {
    ::inotify_add_watch(notify, folder_.c_str(), IN_CREATE | IN_DELETE);
    fds.push_back({notify, POLLIN, 0});
  }
  bool dead = false;
  const size_t first_process = fds.size();
  for (const OwnerInfo& owner : watched) {
    const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(owner.pid), 0));
    if (pidfd >= 0) fds.push_back({pidfd, POLLIN, 0});
    // Between the list and now it may have died.
    if (pidfd < 0 || !alive(owner.id)) dead = true;
  }
  int n = 0;
  if (!dead) {
    do {
      n = ::poll(fds.data(), fds.size(), -1);
    } while (n < 0 && errno == EINTR);
  }
  for (size_t i = first_process; i < fds.size(); ++i) ::close(fds[i].fd);
  if (notify >= 0) ::close(notify);
  return dead || fds[0].revents == 0;
}

Result<std::unique_ptr<Doorbell>> Doorbell::open() {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(ErrorCode::io, std::string("cannot make a socket: ") + std::strerror(errno));
  std::random_device random;
  std::string name = "kflow-" + std::to_string(::getpid()) + "-" + std::to_string(random()) + std::to_string(random());
  sockaddr_un address{};
  const socklen_t size = fill(address, name);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    ::close(fd);
    return fail(ErrorCode::io, std::string("cannot bind a socket: ") + std::strerror(errno));
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
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  sockaddr_un address{};
  const socklen_t size = fill(address, name);
  ::sendto(fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size);
  ::close(fd);
}

}  // namespace kflow::store
