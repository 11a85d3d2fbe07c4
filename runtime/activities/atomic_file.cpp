// Written aside, synced, renamed, the folder synced.
#include "runtime/activities/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

namespace kflow::activities {

namespace fs = std::filesystem;

int make_parent(int base, const std::string& inner, std::string& name) {
  const fs::path normal = fs::path(inner).lexically_normal();
  name = normal.filename().string();
  std::string so_far = ".";
  int current = open_beneath(base, so_far, O_PATH | O_DIRECTORY);
  for (const fs::path& part : normal.parent_path()) {
    if (current < 0) return current;
    so_far = so_far == "." ? part.string() : so_far + "/" + part.string();
    int next = open_beneath(base, so_far, O_PATH | O_DIRECTORY);
    if (next < 0 && errno == ENOENT) {
      if (::mkdirat(current, part.c_str(), 0777) == 0 || errno == EEXIST)
        next = open_beneath(base, so_far, O_PATH | O_DIRECTORY);
    }
    const int error = errno;
    ::close(current);
    errno = error;
    current = next;
  }
  return current;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlinkat(folder_.fd, temporary_.c_str(), 0);
}

std::optional<ActivityError> AtomicFile::open() {
  static std::atomic<uint64_t> counter = 0;
  const auto place = roots_.locate(path_);
  if (!place) return file_error("write", path_, EXDEV);
  const Fd base{::open(place->root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (base.fd < 0) return file_error("open", place->root, errno);
  folder_.fd = make_parent(base.fd, place->inner, name_);
  if (folder_.fd < 0) return file_error("write", path_, errno);
  if (name_.empty() || name_ == "." || name_ == "..") return file_error("write", path_, EISDIR);
  struct stat old{};
  const bool existed = ::fstatat(folder_.fd, name_.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
  if (existed && S_ISDIR(old.st_mode)) return file_error("write", path_, EISDIR);
  std::string temporary =
      fmt::format(".{}.{}.{}.tmp", name_.substr(0, 100), ::getpid(), counter.fetch_add(1));
  file_.fd = ::openat(folder_.fd, temporary.c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file_.fd < 0) return file_error("write", path_, errno);
  temporary_ = std::move(temporary);
  if (existed && S_ISREG(old.st_mode)) ::fchmod(file_.fd, old.st_mode & 07777);
  return std::nullopt;
}

std::optional<ActivityError> AtomicFile::write(std::string_view bytes) {
  if (write_all(file_.fd, bytes)) return std::nullopt;
  return file_error("write", path_, errno);
}

std::optional<ActivityError> AtomicFile::finish() {
  if (::fsync(file_.fd) != 0 ||
      ::renameat(folder_.fd, temporary_.c_str(), folder_.fd, name_.c_str()) != 0)
    return file_error("write", path_, errno);
  temporary_.clear();
  const Fd synced{::openat(folder_.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (synced.fd >= 0) ::fsync(synced.fd);
  return std::nullopt;
}

}  // namespace kflow::activities
