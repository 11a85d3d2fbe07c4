// The folders that effects may touch, and opening files without leaving them.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

/// A path split into the root it lies under and the rest.
struct Place {
  std::string root;
  std::string inner;
};

class Roots {
 public:
  explicit Roots(const std::vector<std::string>& roots);
  /// Relative paths lie under the first root. None: it is outside all of them, as it is written;
  /// where symbolic links lead is for `open_beneath` to see.
  std::optional<Place> locate(const std::string& path) const;
  /// The path of a file, or of one to be made in a folder that is there, without symbolic links,
  /// after the kernel has checked that it lies within the roots.
  std::variant<std::string, ActivityError> real_path(const std::string& path) const;

 private:
  std::vector<std::string> roots_;
};

/// openat2 that refuses to leave `base`; a descriptor, or -1 and errno.
int open_beneath(int base, const std::string& inner, int flags, mode_t mode = 0);

/// What an errno of a file means to its user.
ActivityError file_error(std::string_view what, const std::string& path, int error);

struct Fd {
  int fd = -1;
  explicit Fd(int descriptor = -1) : fd(descriptor) {}
  ~Fd();
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
};

}  // namespace kflow::activities
