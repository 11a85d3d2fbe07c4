// Files of blobs: written aside, synced, renamed to their place, the folder synced.
#include "runtime/store/blob_files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

namespace kflow::store {
namespace {

namespace fs = std::filesystem;

// So much stays free for the tables.
constexpr uint64_t disk_reserve = 16ULL << 20;
constexpr size_t copy_bytes = 1U << 20;

std::unexpected<Error> os_error(int error, const std::string& what) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const ErrorCode code = full ? ErrorCode::no_space
                         : error == EACCES || error == EPERM || error == EROFS
                             ? ErrorCode::permission
                         : error == ENOENT ? ErrorCode::not_found
                                           : ErrorCode::io;
  return fail(
      code, what + ": " + std::strerror(error) + (full ? "; free some space, then try again" : ""));
}

Result<void> write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error(errno, "cannot write `" + path + "`");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return os_error(errno, "cannot open `" + folder + "`");
  const bool synced = ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (!synced) return os_error(error, "cannot sync `" + folder + "`");
  return {};
}

// True: it was not there before.
Result<bool> make_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0755) == 0) return true;
  if (errno == EEXIST) return false;
  return os_error(errno, "cannot make `" + folder + "`");
}

Result<void> copy_file(const std::string& from, const std::string& to) {
  const int in = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (in < 0) return os_error(errno, "cannot read `" + from + "`");
  const int out = ::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  Result<void> done;
  if (out < 0) {
    done = os_error(errno, "cannot make `" + to + "`");
  } else {
    std::string buffer(copy_bytes, '\0');
    while (done) {
      const ssize_t n = ::read(in, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) done = os_error(errno, "cannot read `" + from + "`");
      if (n <= 0) break;
      done = write_all(out, std::string_view(buffer).substr(0, static_cast<size_t>(n)), to);
    }
    if (done && ::fsync(out) != 0) done = os_error(errno, "cannot sync `" + to + "`");
    ::close(out);
  }
  ::close(in);
  return done;
}

}  // namespace

NewBlobFile::~NewBlobFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<void> NewBlobFile::write(std::string_view bytes) {
  KFLOW_TRY(write_all(fd_, bytes, path_));
  size_ += bytes.size();
  return {};
}

Result<void> NewBlobFile::sync() {
  if (::fsync(fd_) != 0) return os_error(errno, "cannot sync `" + path_ + "`");
  // What a full disk or a quota says only now.
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0 && errno != EINTR) return os_error(errno, "cannot write `" + path_ + "`");
  return {};
}

std::string BlobFiles::path_of(const Sha256& hash) const {
  const std::string name = to_hex(hash);
  return folder_ + "/" + name.substr(0, 2) + "/" + name;
}

Result<void> BlobFiles::room_for(uint64_t bytes) const {
  struct statvfs disk{};
  if (::statvfs(folder_.c_str(), &disk) != 0 &&
      ::statvfs(fs::path(folder_).parent_path().c_str(), &disk) != 0)
    return {};  // writing will tell
  const uint64_t there = disk.f_bavail * disk.f_frsize;
  if (there >= disk_reserve && there - disk_reserve >= bytes) return {};
  return fail(ErrorCode::no_space, "the disk of the store has " + std::to_string(there >> 20) +
                                       " MiB left, too little for " + std::to_string(bytes) +
                                       " bytes; free some space, then try again");
}

Result<std::unique_ptr<NewBlobFile>> BlobFiles::create(OwnerId owner) {
  static std::atomic<uint64_t> last = 0;
  const std::string folder = folder_ + "/new";
  KFLOW_TRY(make_folder(folder_));
  KFLOW_TRY(make_folder(folder));
  std::string path = folder + "/" + std::to_string(owner) + "." + std::to_string(++last);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return os_error(errno, "cannot make `" + path + "`");
  return std::make_unique<NewBlobFile>(std::move(path), fd);
}

Result<void> BlobFiles::place(NewBlobFile& file, const Sha256& hash) {
  const std::string path = path_of(hash);
  struct stat there{};
  // What was once placed was whole and synced then.
  const bool known = ::stat(path.c_str(), &there) == 0 && S_ISREG(there.st_mode) &&
                     static_cast<uint64_t>(there.st_size) == file.size_;
  const std::string folder = fs::path(path).parent_path();
  KFLOW_TRY(make_folder(folder));
  // A link, since the file is still wanted if the transaction fails and is tried again.
  if (!known && ::link(file.path_.c_str(), path.c_str()) != 0) {
    if (::rename(file.path_.c_str(), path.c_str()) != 0)
      return os_error(errno, "cannot place `" + path + "`");
    file.path_.clear();
  }
  if (!sync_) return {};
  // Of one that was there too: who placed it may have died before its folder was on the disk.
  KFLOW_TRY(sync_folder(folder));
  return sync_folder(folder_);
}

Result<BlobFiles::Opened> BlobFiles::open(const Sha256& hash) const {
  const std::string path = path_of(hash);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT)
    return fail(ErrorCode::corrupt,
                "the store has lost the file `" + path + "`; restore it from a backup");
  if (fd < 0) return os_error(errno, "cannot read `" + path + "`");
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return os_error(error, "cannot read `" + path + "`");
  }
  return Opened{.fd = fd, .size = static_cast<uint64_t>(info.st_size)};
}

Result<void> BlobFiles::remove(const Sha256& hash) const {
  const std::string path = path_of(hash);
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return os_error(errno, "cannot remove `" + path + "`");
}

std::vector<Sha256> BlobFiles::placed() const {
  std::vector<Sha256> out;
  std::error_code error;
  for (const auto& folder : fs::directory_iterator(folder_, error)) {
    if (folder.path().filename().string().size() != 2) continue;
    for (const auto& file : fs::directory_iterator(folder.path(), error)) {
      if (const auto hash = sha256_from_hex(file.path().filename().string())) out.push_back(*hash);
    }
  }
  return out;
}

void BlobFiles::remove_unfinished(const std::function<bool(OwnerId)>& is_dead) const {
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder_ + "/new", error)) {
    const std::string name = file.path().filename();
    OwnerId owner = no_owner;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), owner);
    if (code == std::errc() && *end == '.' && is_dead(owner)) fs::remove(file.path(), error);
  }
}

Result<void> BlobFiles::copy_to(const std::string& store) const {
  const std::vector<Sha256> all = placed();
  if (all.empty()) return {};
  const BlobFiles copy(store + "/blobs", true);
  KFLOW_TRY(make_folder(copy.folder_));
  std::vector<std::string> folders{copy.folder_};
  for (const Sha256& hash : all) {
    const std::string to = copy.path_of(hash);
    const std::string folder = fs::path(to).parent_path();
    const auto fresh = make_folder(folder);
    if (!fresh) return std::unexpected(fresh.error());
    if (*fresh) folders.push_back(folder);
    KFLOW_TRY(copy_file(path_of(hash), to));
  }
  for (const std::string& folder : folders) KFLOW_TRY(sync_folder(folder));
  return {};
}

BlobFiles::Hold::~Hold() {
  if (fd_ >= 0) ::close(fd_);
}

namespace {
int open_hold(const std::string& folder, int operation) {
  if (!make_folder(folder)) return -1;
  const int fd = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return -1;
  while (::flock(fd, operation) != 0) {
    if (errno == EINTR) continue;
    ::close(fd);
    return -1;
  }
  return fd;
}
}  // namespace

BlobFiles::Hold BlobFiles::hold_shared() const { return Hold(open_hold(folder_, LOCK_SH)); }
BlobFiles::Hold BlobFiles::try_hold() const { return Hold(open_hold(folder_, LOCK_EX | LOCK_NB)); }

}  // namespace kflow::store
