// AtomicFile: a file within the roots that is there as a whole, or as it was before.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/activities/roots.hpp"

namespace kflow::activities {

/// One owner, any thread. Dropped before `finish`, it leaves nothing but the folders it made.
class AtomicFile {
 public:
  AtomicFile(const Roots& roots, std::string path) : roots_(roots), path_(std::move(path)) {}
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Makes the folders above it. A symbolic link is replaced, never followed; the mode of an
  /// existing file is kept.
  std::optional<ActivityError> open();
  std::optional<ActivityError> write(std::string_view bytes);
  /// Synced and renamed to its place.
  std::optional<ActivityError> finish();

 private:
  const Roots& roots_;
  const std::string path_;
  Fd folder_;
  Fd file_;
  std::string name_;
  std::string temporary_;  ///< "": there is none
};

/// Makes the folders above a file; gives the folder, opened beneath `base`, and the file's name.
int make_parent(int base, const std::string& inner, std::string& name);
/// False: errno says why.
bool write_all(int fd, std::string_view bytes);

}  // namespace kflow::activities
