// Paths below the roots; the kernel resolves them.
#include "runtime/activities/roots.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kflow::activities {

namespace fs = std::filesystem;

Fd::~Fd() {
  if (fd >= 0) ::close(fd);
}

ActivityError file_error(std::string_view what, const std::string& path, int error) {
  const std::string code = error == ENOENT                     ? "not_found"
                           : error == EACCES || error == EPERM ? "permission"
                           : error == ENOSPC                   ? "no_space"
                           : error == EISDIR                   ? "is_folder"
                                                               : "io";
  if (error == EXDEV || error == ELOOP) {
    return {.kind = "rejected",
            .code = "outside_roots",
            .message = fmt::format("`{}` is outside the folders that files may be in", path)};
  }
  return {.kind = "tool",
          .code = code,
          .message = fmt::format("cannot {} `{}`: {}", what, path, std::strerror(error))};
}

int open_beneath(int base, const std::string& inner, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, base, inner.c_str(), &how, sizeof how));
}

Roots::Roots(const std::vector<std::string>& roots) {
  for (const std::string& root : roots) {
    std::error_code error;
    roots_.push_back(fs::weakly_canonical(root, error).string());
  }
}

std::optional<Place> Roots::locate(const std::string& path) const {
  if (roots_.empty() || path.empty()) return std::nullopt;
  if (path.front() != '/') return Place{roots_.front(), path};
  const std::string normal = fs::path(path).lexically_normal().string();
  for (const std::string& r : roots_) {
    if (normal != r && !normal.starts_with(r == "/" ? r : r + "/")) continue;
    return Place{r, normal.size() == r.size() ? "." : normal.substr(r == "/" ? 1 : r.size() + 1)};
  }
  return std::nullopt;
}

std::variant<std::string, ActivityError> Roots::real_path(const std::string& path) const {
  const auto place = locate(path);
  if (!place) return file_error("open", path, EXDEV);
  const Fd base{::open(place->root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (base.fd < 0) return file_error("open", place->root, errno);
  std::string name;
  Fd file{open_beneath(base.fd, place->inner, O_PATH)};
  if (file.fd < 0 && errno == ENOENT) {
    const fs::path inner = fs::path(place->inner).lexically_normal();
    name = inner.filename().string();
    const std::string folder = inner.parent_path().string();
    file.fd = open_beneath(base.fd, folder.empty() ? "." : folder, O_PATH | O_DIRECTORY);
    if (name.empty() || name == "." || name == "..") return file_error("open", path, EISDIR);
  }
  if (file.fd < 0) return file_error("open", path, errno);
  std::error_code error;
  const fs::path real = fs::read_symlink(fmt::format("/proc/self/fd/{}", file.fd), error);
  if (error) return file_error("open", path, error.value());
  return name.empty() ? real.string() : (real / name).string();
}

}  // namespace kflow::activities
