// Opening an LMDB file: whose is it, is it whole, is it of our time; nothing is changed before that
// is known.
#include "runtime/store/lmdb/environment.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <utility>

#include "runtime/store/record.hpp"

namespace kflow::store {
namespace {

namespace fs = std::filesystem;

constexpr size_t map_bytes = 1ULL << 40;  // address space only; smaller where that is limited
constexpr size_t smallest_map = 1ULL << 30;
constexpr unsigned max_readers = 4096;
constexpr off_t lock_file_bytes = 64L * (max_readers + 64);
// Names a store may contain besides its data.
constexpr std::array<std::string_view, 7> own_names{"owners", "lock",  "lock.mdb", "data.mdb",
                                                    "KFLOW",  "blobs", "logs"};
constexpr std::string_view marker =
    "This folder is a store of kflow. Do not change or copy its files while kflow runs.\n";

std::string in_quotes(const std::string& path) { return "`" + path + "`"; }

std::unexpected<Error> os_error(int error, const std::string& what) {
  const ErrorCode code = error == EACCES || error == EPERM || error == EROFS ? ErrorCode::permission
                         : error == ENOSPC || error == EDQUOT                ? ErrorCode::no_space
                                                                             : ErrorCode::io;
  std::string hint;
  if (error == EROFS) hint = "; choose a store on a disk that can be written (--store)";
  if (error == EACCES || error == EPERM)
    hint = "; make it accessible to this user, or choose another store (--store)";
  if (code == ErrorCode::no_space) hint = "; free some space";
  return fail(code, what + ": " + std::strerror(error) + hint);
}

// What is in the folder before we touch it.
struct Found {
  bool data = false;    // a data file that is not empty
  bool marked = false;  // once completely made by us
};

Result<Found> look_at(const std::string& folder, const LmdbOptions& options) {
  Found found;
  struct stat info{};
  const bool exists = ::stat(folder.c_str(), &info) == 0;
  if (!exists && errno != ENOENT)
    return os_error(errno, "cannot open the store " + in_quotes(folder));
  if (exists && !S_ISDIR(info.st_mode)) {
    return fail(
        ErrorCode::incompatible,
        in_quotes(folder) + " is a file, not the folder of a store; choose another with --store");
  }
  // In this order: another process may be making it now, and the mark comes last.
  found.marked = ::stat((folder + "/KFLOW").c_str(), &info) == 0;
  found.data = ::stat((folder + "/data.mdb").c_str(), &info) == 0 && info.st_size > 0;
  if (found.data) return found;
  if (found.marked) {
    return fail(ErrorCode::corrupt,
                "the store " + in_quotes(folder) +
                    " has lost its data file (`data.mdb` is missing or empty); restore it from a "
                    "backup, or remove the folder to begin anew");
  }
  if (!options.create || options.read_only) {
    return fail(ErrorCode::not_found, "there is no store in " + in_quotes(folder) +
                                          "; starting a run makes one, --store names another");
  }
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return os_error(error.value(), "cannot make the store " + in_quotes(folder));
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (std::find(own_names.begin(), own_names.end(), name) == own_names.end()) {
      return fail(ErrorCode::incompatible,
                  in_quotes(folder) + " is not a store: it holds other files (" + in_quotes(name) +
                      "); choose an empty or new folder with --store");
    }
  }
  if (error) return os_error(error.value(), "cannot read " + in_quotes(folder));
  return found;
}

// LMDB maps this file and writes into it: with real blocks, a full disk cannot kill us there.
Result<void> reserve_lock_file(const std::string& folder) {
  const std::string path = folder + "/lock.mdb";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return os_error(errno, "cannot open " + in_quotes(path));
  const int error = ::posix_fallocate(fd, 0, lock_file_bytes);
  ::close(fd);
  if (error != 0) return os_error(error, "cannot reserve " + in_quotes(path));
  return {};
}

// A file cut off in the middle would kill us at the first access to what is missing.
Result<void> check_length(const Environment& e) {
  const std::string path = e.folder + "/data.mdb";
  // What must be there first: another process may make the file longer at any time.
  const uint64_t needed = e.file_bytes();
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return os_error(errno, "cannot read " + in_quotes(path));
  const auto there = static_cast<uint64_t>(info.st_size);
  if (there >= needed) return {};
  return fail(
      ErrorCode::corrupt,
      "the store " + in_quotes(e.folder) + " is damaged: " + in_quotes(path) + " is cut off (" +
          std::to_string(there) + " of " + std::to_string(needed) +
          " bytes are there); restore it from a backup, or remove the folder to begin anew");
}

enum class Content : uint8_t { nothing, ours };

// Opens the tables of an existing store, without writing.
Result<Content> open_tables(Environment& e) {
  MDB_txn* txn = nullptr;
  if (const int code = mdb_txn_begin(e.env, nullptr, MDB_RDONLY, &txn)) {
    return std::unexpected(lmdb_error(code, "cannot read the store " + in_quotes(e.folder)));
  }
  std::unique_ptr<MDB_txn, decltype(&mdb_txn_abort)> guard(txn, &mdb_txn_abort);
  const auto foreign = [&] {
    return fail(
        ErrorCode::incompatible,
        in_quotes(e.folder + "/data.mdb") +
            " is the database of another program, not a store; choose another folder with --store");
  };
  MDB_dbi main = 0;
  MDB_stat stat{};
  if (const int code = mdb_dbi_open(txn, nullptr, 0, &main))
    return std::unexpected(lmdb_error(code, "cannot read the store " + in_quotes(e.folder)));
  if (mdb_stat(txn, main, &stat) == 0 && stat.ms_entries == 0) return Content::nothing;
  MDB_dbi meta = 0;
  if (mdb_dbi_open(txn, table_names[0], 0, &meta) != 0) return foreign();
  MDB_val key = lmdb_value(description_key);
  MDB_val row{};
  if (mdb_get(txn, meta, &key, &row) != 0) return foreign();
  const auto durability = decode_description(view_of(row));
  if (!durability)
    return std::unexpected(
        Error(durability.error()).with_context("cannot use the store " + in_quotes(e.folder)));
  e.durability = *durability;
  for (size_t i = 0; i < table_count; ++i) {
    if (const int code = mdb_dbi_open(txn, table_names[i], 0, &e.tables[i])) {
      return std::unexpected(lmdb_error(
          code, "the store " + in_quotes(e.folder) + " lacks the table `" + table_names[i] + "`"));
    }
  }
  if (const int code = mdb_txn_commit(guard.release()))
    return std::unexpected(lmdb_error(code, "cannot read the store"));
  return Content::ours;
}

Result<void> make_tables(Environment& e) {
  const std::string what = "cannot make the store " + in_quotes(e.folder);
  MDB_txn* txn = nullptr;
  if (const int code = mdb_txn_begin(e.env, nullptr, 0, &txn))
    return std::unexpected(lmdb_error(code, what));
  std::unique_ptr<MDB_txn, decltype(&mdb_txn_abort)> guard(txn, &mdb_txn_abort);
  for (size_t i = 0; i < table_count; ++i) {
    if (const int code = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &e.tables[i]))
      return std::unexpected(lmdb_error(code, what));
  }
  const std::string description = encode_description(e.options.durability);
  MDB_val key = lmdb_value(description_key);
  MDB_val row = lmdb_value(description);
  int code = mdb_put(txn, e.tables[0], &key, &row, 0);
  if (code == 0) code = mdb_txn_commit(guard.release());
  if (code != 0) return std::unexpected(lmdb_error(code, what));
  e.durability = e.options.durability;
  return {};
}

// Held while LMDB opens its files. Its own lock does not do: whoever is first makes the table of
// readers anew and then lets the others in; if it is killed between the two, or gives up for want
// of address space, they come in all the same and take the store to be at its first transaction.
class OpeningLock {
 public:
  static Result<OpeningLock> take(const std::string& folder, int timeout_ms) {
    OpeningLock out(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (out.fd_ < 0) return os_error(errno, "cannot open the store " + in_quotes(folder));
    for (int waited = 0;; waited += look_every_ms) {
      if (::flock(out.fd_, LOCK_EX | LOCK_NB) == 0) return out;
      if (errno != EWOULDBLOCK && errno != EINTR)
        return os_error(errno, "cannot lock the store " + in_quotes(folder));
      if (waited >= timeout_ms) {
        return fail(ErrorCode::timeout, "another process has been opening the store " +
                                            in_quotes(folder) + " for " +
                                            std::to_string(timeout_ms / 1000) +
                                            " s and does not go on; is it stopped?");
      }
      ::usleep(look_every_ms * 1000);
    }
  }
  OpeningLock(OpeningLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpeningLock& operator=(OpeningLock&&) = delete;
  ~OpeningLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  static constexpr int look_every_ms = 2;
  explicit OpeningLock(int fd) : fd_(fd) {}
  int fd_;
};

Result<void> open_file(Environment& e, bool marked) {
  const std::string path = e.folder + "/data.mdb";
  auto alone = OpeningLock::take(e.folder, e.options.lock_timeout_ms);
  if (!alone) return std::unexpected(std::move(alone).error());
  unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (e.options.read_only ? MDB_RDONLY : 0U);
  // Address space may be limited (ulimit -v, sanitizers): take what there is.
  for (size_t size = map_bytes;; size /= 4) {
    if (const int code = mdb_env_create(&e.env))
      return std::unexpected(lmdb_error(code, "cannot open the store"));
    mdb_env_set_mapsize(e.env, size);
    mdb_env_set_maxdbs(e.env, table_count);
    mdb_env_set_maxreaders(e.env, max_readers);
    const int code = mdb_env_open(e.env, e.folder.c_str(), flags, 0644);
    if (code == 0) break;
    mdb_env_close(std::exchange(e.env, nullptr));
    if (code == ENOMEM && size > smallest_map) continue;
    const std::string name = "the store " + in_quotes(e.folder);
    if (code == MDB_INVALID || code == MDB_VERSION_MISMATCH || code == MDB_CORRUPTED ||
        code == MDB_PAGE_NOTFOUND) {
      return marked ? fail(ErrorCode::corrupt, name + " is damaged: " + in_quotes(path) +
                                                   " is no database any more; restore it from a "
                                                   "backup, or remove the folder to begin anew")
                    : fail(ErrorCode::incompatible,
                           in_quotes(path) +
                               " is not a store of kflow; choose another folder with --store");
    }
    if (code > 0) return os_error(code, "cannot open " + name);
    return std::unexpected(lmdb_error(code, "cannot open " + name));
  }
  return check_length(e);
}

// LMDB does not tell where it has mapped the file.
void find_map(Environment& e) {
  const std::string file = e.folder + "/data.mdb";
  std::error_code error;
  const std::string path = fs::canonical(file, error);
  std::ifstream in("/proc/self/maps");
  for (std::string line; !error && std::getline(in, line);) {
    uint64_t begin = 0;
    uint64_t end = 0;
    if (!line.ends_with(" " + path) || std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) != 2)
      continue;
    e.map = reinterpret_cast<const char*>(begin);  // NOLINT: an address is what the line says
    e.map_bytes = end - begin;
    return;
  }
}

Result<void> write_marker(const std::string& folder) {
  const std::string path = folder + "/KFLOW";
  std::ofstream out(path, std::ios::trunc);
  out << marker << std::flush;
  if (!out) return os_error(errno, "cannot write " + in_quotes(path));
  return {};
}

}  // namespace

// The mark comes last: a copy that was cut off is no store.
Result<void> copy_environment(const Environment& e, const BlobFiles& blobs,
                              const std::string& folder, bool compact) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return os_error(error.value(), "cannot make " + in_quotes(folder));
  if (!fs::is_empty(folder, error) || error) {
    return fail(ErrorCode::already_exists,
                in_quotes(folder) + " is not empty; choose a new folder for the copy");
  }
  if (const int code = mdb_env_copy2(e.env, folder.c_str(), compact ? MDB_CP_COMPACT : 0U)) {
    const std::string what = "cannot copy the store to " + in_quotes(folder);
    return code > 0 ? os_error(code, what) : std::unexpected(lmdb_error(code, what));
  }
  // After the tables: every file that they name is there then.
  KFLOW_TRY(blobs.copy_to(folder));
  for (const std::string& path : {folder + "/data.mdb", folder}) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    const int code = errno;
    if (fd >= 0) ::close(fd);
    if (!synced) return os_error(code, "cannot sync " + in_quotes(path));
  }
  return write_marker(folder);
}

namespace {

Result<std::shared_ptr<Environment>> open_new(const std::string& folder,
                                              const LmdbOptions& options) {
  auto found = look_at(folder, options);
  if (!found) return std::unexpected(std::move(found).error());
  auto e = std::make_shared<Environment>();
  e->folder = folder;
  e->options = options;
  if (!options.read_only) KFLOW_TRY(reserve_lock_file(folder));
  KFLOW_TRY(open_file(*e, found->marked));
  auto content = open_tables(*e);
  if (!content) return std::unexpected(std::move(content).error());
  find_map(*e);
  if (options.read_only) {
    if (*content == Content::nothing)
      return fail(ErrorCode::not_found, "there is no store in " + in_quotes(folder));
    return e;
  }
  auto lock = ProcessLock::open(folder + "/lock");
  if (!lock)
    return std::unexpected(
        std::move(lock).error().with_context("cannot open the store " + in_quotes(folder)));
  e->lock = std::move(*lock);
  if (*content == Content::nothing) {
    KFLOW_TRY(e->lock->lock(options.lock_timeout_ms));
    // Another process may have been faster.
    auto made = open_tables(*e);
    Result<void> done;
    if (!made) {
      done = std::unexpected(std::move(made).error());
    } else if (*made == Content::nothing) {
      done = make_tables(*e);
    }
    e->lock->unlock();
    if (!done) return std::unexpected(std::move(done).error());
  }
  if (!found->marked) KFLOW_TRY(write_marker(folder));
  if (e->durability != Durability::sync) mdb_env_set_flags(e->env, MDB_NOSYNC, 1);
  int dead = 0;
  mdb_reader_check(e->env, &dead);
  return e;
}

}  // namespace

// LMDB's own locks break when one process has a file open twice, so opening and closing take turns.
static std::recursive_mutex open_mutex;

Environment::~Environment() {
  const std::lock_guard guard(open_mutex);
  if (env != nullptr) mdb_env_close(env);
}

bool Environment::is_inside(const MDB_val& value) const {
  const auto* begin = static_cast<const char*>(value.mv_data);
  if (begin < map || begin >= map + map_bytes)
    return true;  // a page of the writer's own, in memory
  const uint64_t all = file_bytes();
  const auto at = static_cast<uint64_t>(begin - map);
  return at <= all && value.mv_size <= all - at;
}

uint64_t Environment::page_size() const {
  MDB_stat stat{};
  mdb_env_stat(env, &stat);
  return stat.ms_psize;
}

uint64_t Environment::file_bytes() const {
  MDB_envinfo info{};
  mdb_env_info(env, &info);
  return (info.me_last_pgno + 1) * page_size();
}

Error lmdb_error(int code, std::string_view what) {
  ErrorCode kind = ErrorCode::io;
  std::string hint;
  switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
      kind = ErrorCode::no_space;
      hint = "; free some space, then it goes on";
      break;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
      kind = ErrorCode::incompatible;
      break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_NOTFOUND:
    case MDB_BAD_DBI:
      kind = ErrorCode::corrupt;
      hint = "; restore the store from a backup, or begin a new one";
      break;
    case MDB_READERS_FULL:
      kind = ErrorCode::unavailable;
      hint = "; more than " + std::to_string(max_readers) + " reads at a time";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      kind = ErrorCode::permission;
      break;
    default:
      break;
  }
  return {kind, std::string(what) + ": " + mdb_strerror(code) + hint};
}

Result<std::shared_ptr<Environment>> open_environment(const std::string& folder,
                                                      const LmdbOptions& options) {
  static std::map<std::string, std::weak_ptr<Environment>> open;
  const std::lock_guard guard(open_mutex);
  std::error_code error;
  const fs::path real = fs::weakly_canonical(folder, error);
  const std::string name = error ? folder : real.string();
  if (auto known = open[name].lock()) {
    if (known->options.read_only && !options.read_only) {
      return fail(ErrorCode::unavailable,
                  "the store " + in_quotes(folder) + " is open for reading only in this process");
    }
    return known;
  }
  auto made = open_new(folder, options);
  if (made) {
    open[name] = *made;
  } else {
    open.erase(name);
  }
  return made;
}

}  // namespace kflow::store
