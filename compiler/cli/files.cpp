// Finding and replacing files.
#include "compiler/cli/files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kflow::cli {

namespace fs = std::filesystem;

Result<void> replace_file(const std::string& path, const std::string& content) {
  std::error_code error;
  const fs::path target = fs::canonical(path, error);
  const auto failed = [&](const char* what) {
    return fail(ErrorCode::io, "cannot write `" + path + "`: " + what);
  };
  if (error) return failed(error.message().c_str());
  struct stat old{};
  if (::stat(target.c_str(), &old) != 0) return failed(std::strerror(errno));
  std::string temporary = (target.parent_path() / (".kflow-XXXXXX")).string();
  const int fd = ::mkstemp(temporary.data());
  if (fd < 0) return failed(std::strerror(errno));
  size_t done = 0;
  bool good = ::fchmod(fd, old.st_mode & 07777) == 0;
  while (good && done < content.size()) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    good = n > 0;
    if (good) done += static_cast<size_t>(n);
  }
  good = good && ::fsync(fd) == 0;
  const int why = errno;
  good = ::close(fd) == 0 && good;
  if (good && ::rename(temporary.c_str(), target.c_str()) == 0) return {};
  const std::string message = std::strerror(good ? errno : why);
  ::unlink(temporary.c_str());
  return failed(message.c_str());
}

}  // namespace kflow::cli
