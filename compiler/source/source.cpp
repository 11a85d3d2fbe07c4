// Reading files and finding imports.
#include "compiler/source/source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kflow::source {

namespace fs = std::filesystem;

File::File(FileId id, std::string path, std::string name, std::string text)
    : id_(id), path_(std::move(path)), name_(std::move(name)), text_(std::move(text)) {
  line_starts_.push_back(0);
  for (size_t at = text_.find('\n'); at != std::string::npos; at = text_.find('\n', at + 1)) {
    line_starts_.push_back(static_cast<uint32_t>(at + 1));
  }
}

Position File::position(uint32_t offset) const {
  const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  const auto line = static_cast<uint32_t>(after - line_starts_.begin());
  return {line, offset - line_starts_[line - 1] + 1};
}

std::string_view File::line(uint32_t number) const {
  if (number == 0 || number > line_starts_.size()) return {};
  const uint32_t begin = line_starts_[number - 1];
  size_t end = number < line_starts_.size() ? line_starts_[number] - 1 : text_.size();
  if (end > begin && text_[end - 1] == '\r') --end;
  return std::string_view(text_).substr(begin, end - begin);
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int error = errno;
    const ErrorCode code = error == ENOENT || error == ENOTDIR ? ErrorCode::not_found
                           : error == EACCES                   ? ErrorCode::permission
                                                               : ErrorCode::io;
    return fail(code, fmt::format("cannot read `{}`: {}", path, std::strerror(error)));
  }
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat info{};
  if (::fstat(fd, &info) != 0)
    return fail(ErrorCode::io, fmt::format("cannot read `{}`: {}", path, std::strerror(errno)));
  if (S_ISDIR(info.st_mode))
    return fail(ErrorCode::invalid_argument, fmt::format("`{}` is a folder, not a file", path));
  std::string text;
  if (info.st_size > 0) text.reserve(std::min(static_cast<size_t>(info.st_size), limit) + 1);
  char buffer[1U << 16];
  for (;;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(ErrorCode::io, fmt::format("cannot read `{}`: {}", path, std::strerror(errno)));
    }
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > limit) {
      return fail(ErrorCode::limit, fmt::format("`{}` is larger than {} MiB, the most that is read",
                                                path, limit >> 20));
    }
  }
}

Manager::Manager(StdProvider std_provider) : std_provider_(std::move(std_provider)) {}

FileId Manager::add(std::string path, std::string name, std::string text) {
  const FileId id(files_.size());
  by_path_.emplace(path, id);
  files_.push_back(std::make_unique<File>(id, std::move(path), std::move(name), std::move(text)));
  return id;
}

Result<FileId> Manager::load(const std::string& path) {
  std::error_code error;
  fs::path absolute = fs::weakly_canonical(path, error);
  if (error) absolute = fs::absolute(path, error);
  if (const auto it = by_path_.find(absolute.string()); it != by_path_.end()) return it->second;
  auto text = read_file(path, max_file_size);
  if (!text) return std::unexpected(std::move(text).error());
  return add(absolute.string(), path, std::move(*text));
}

std::string Manager::place_in_project(FileId from, std::string_view name) const {
  const File& file = (*this)[from];
  std::error_code error;
  const fs::path folder = fs::absolute(file.path(), error).parent_path();
  for (fs::path at = folder; !at.empty(); at = at.parent_path()) {
    // Shown as the file itself is.
    if (fs::exists(at / "kflow.yaml", error)) {
      if (at != folder) return (at / name).string();
      break;
    }
    if (at == at.parent_path()) break;
  }
  return (fs::path(file.name()).parent_path() / name).lexically_normal().string();
}

Result<FileId> Manager::load_of_project(FileId from, std::string_view name) {
  if ((*this)[from].path().starts_with("std/"))
    return fail(ErrorCode::not_found, "the standard library is in no project");
  return load(place_in_project(from, name));
}

Result<FileId> Manager::load_import(FileId from, std::string_view target) {
  if (target.starts_with("std/")) {
    const std::string path(target);
    if (const auto it = by_path_.find(path); it != by_path_.end()) return it->second;
    const auto text = std_provider_ ? std_provider_(target.substr(4)) : std::nullopt;
    if (!text)
      return fail(ErrorCode::not_found,
                  fmt::format("the standard library has no module `{}`", target));
    return add(path, path, std::string(*text));
  }
  if (!target.starts_with("./") && !target.starts_with("../")) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("an import is `std/…` or begins with `./` or `../`; write `./{}` for a "
                            "file beside this one",
                            target));
  }
  const File& file = (*this)[from];
  if (file.path().starts_with("std/")) {
    return fail(ErrorCode::invalid_argument,
                "a module of the standard library imports only `std/…`");
  }
  fs::path shown = fs::path(file.name()).parent_path() / fs::path(target);
  return load(shown.lexically_normal().string());
}

std::vector<std::string> expand(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      out.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (fs::recursive_directory_iterator
             it(path, fs::directory_options::skip_permission_denied, error),
         end;
         it != end; it.increment(error)) {
      if (error) break;
      const std::string name = it->path().filename().string();
      if (name.starts_with('.') && it->is_directory(error)) {
        it.disable_recursion_pending();
      } else if (it->path().extension() == ".kflow" && it->is_regular_file(error)) {
        found.push_back(it->path().string());
      }
    }
    std::sort(found.begin(), found.end());
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

}  // namespace kflow::source
