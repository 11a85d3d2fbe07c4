// Files within the roots: resolved by the kernel without leaving them, written atomically.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/roots.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

namespace fs = std::filesystem;
using cel::Value;

class Files {
 public:
  explicit Files(const std::vector<std::string>& roots) : roots_(roots) {}

  Outcome run(const Request& r) {
    const std::string path = text_argument(r.input, r.callee == "file.glob" ? "pattern" : "path");
    if (path.empty())
      return ActivityError{.kind = "type", .code = "path", .message = "the path is empty"};
    if (path.find('\0') != std::string::npos)
      return ActivityError{
          .kind = "type", .code = "path", .message = "the path contains a NUL character"};
    if (r.callee == "file.glob") return glob(path);
    const auto place = roots_.locate(path);
    if (!place) return file_error("use", path, EXDEV);
    const auto& [root, inner] = *place;
    Fd base{::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (base.fd < 0) return file_error("open", root, errno);
    if (r.callee == "file.read")
      return read(base.fd, inner, path, bool_argument(r.input, "binary", false));
    if (r.callee == "file.exists") return exists(base.fd, inner, path);
    const Value* content = r.input.find("content");
    std::string text;
    if (content == nullptr || content->is_null()) {
      text = "";
    } else if (content->kind() == cel::Kind::string) {
      text = content->as_string();
    } else if (content->kind() == cel::Kind::bytes) {
      text = content->as_bytes();
    } else {
      text = cel::to_json(*content, 2) + "\n";
    }
    if (r.callee == "file.append") return append(base.fd, inner, path, text);
    return write(base.fd, inner, path, text);
  }

 private:
  static Outcome read(int base, const std::string& inner, const std::string& path, bool binary) {
    Fd file{open_beneath(base, inner, O_RDONLY | O_NONBLOCK)};
    if (file.fd < 0) return file_error("read", path, errno);
    std::string out;
    char buffer[1U << 16];
    for (;;) {
      const ssize_t n = ::read(file.fd, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return file_error("read", path, errno);
      if (n == 0) break;
      out.append(buffer, static_cast<size_t>(n));
      if (out.size() > static_cast<size_t>(max_file_bytes)) {
        return ActivityError{
            .kind = "limit",
            .code = "file_size",
            .message = fmt::format("`{}` is larger than {} MiB", path, max_file_bytes >> 20)};
      }
    }
    if (binary) return Value::bytes(out);
    if (find_invalid_utf8(out) != std::string_view::npos) out = replace_invalid_utf8(out);
    return Value::string(std::move(out));
  }

  static Outcome exists(int base, const std::string& inner, const std::string& path) {
    Fd file{open_beneath(base, inner, O_PATH)};
    if (file.fd >= 0) return Value::boolean(true);
    if (errno == ENOENT || errno == ENOTDIR) return Value::boolean(false);
    return file_error("look at", path, errno);
  }

  // Makes the folders above a file; gives the folder opened beneath the root, and the file's name.
  static int parent(int base, const std::string& inner, std::string& name) {
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

  static bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(fd, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  static Outcome write(int base, const std::string& inner, const std::string& path,
                       const std::string& text) {
    std::string name;
    Fd folder{parent(base, inner, name)};
    if (folder.fd < 0) return file_error("write", path, errno);
    if (name.empty() || name == "." || name == "..") return file_error("write", path, EISDIR);
    // A symbolic link is replaced, never followed; the mode of an existing file is kept.
    struct stat old{};
    const bool existed = ::fstatat(folder.fd, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (existed && S_ISDIR(old.st_mode)) return file_error("write", path, EISDIR);
    const std::string temporary =
        fmt::format(".{}.{}.{}.tmp", name.substr(0, 100), ::getpid(), counter_.fetch_add(1));
    Fd file{::openat(folder.fd, temporary.c_str(),
                     O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (file.fd < 0) return file_error("write", path, errno);
    if (existed && S_ISREG(old.st_mode)) ::fchmod(file.fd, old.st_mode & 07777);
    if (!write_all(file.fd, text) || ::fsync(file.fd) != 0 ||
        ::renameat(folder.fd, temporary.c_str(), folder.fd, name.c_str()) != 0) {
      const int error = errno;
      ::unlinkat(folder.fd, temporary.c_str(), 0);
      return file_error("write", path, error);
    }
    Fd synced{::openat(folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (synced.fd >= 0) ::fsync(synced.fd);
    return Value();
  }

  static Outcome append(int base, const std::string& inner, const std::string& path,
                        const std::string& text) {
    std::string name;
    Fd folder{parent(base, inner, name)};
    if (folder.fd < 0) return file_error("append to", path, errno);
    Fd file{open_beneath(base, inner, O_WRONLY | O_CREAT | O_APPEND, 0666)};
    if (file.fd < 0) return file_error("append to", path, errno);
    if (!write_all(file.fd, text) || ::fsync(file.fd) != 0)
      return file_error("append to", path, errno);
    return Value();
  }

  // `*` and `?` within a name, `**` across folders. Of several stars only the last of each kind is
  // tried again, which finds all that fits: no pattern takes more than quadratic time.
  static bool matches(std::string_view pattern, std::string_view text) {
    constexpr size_t none = std::string_view::npos;
    size_t p = 0, t = 0;
    size_t star = none, star_at = 0;        // behind the last `*`, and where it ends in the text
    size_t folders = none, folders_at = 0;  // the same of the last `**`
    while (t < text.size() || p < pattern.size()) {
      const std::string_view rest = pattern.substr(p);
      if (rest.starts_with("**/") || rest == "**") {
        folders = p + (rest == "**" ? 2 : 3);
        folders_at = rest == "**" ? text.size() : t;
        star = none;
        p = folders;
        t = folders_at;
        continue;
      }
      if (rest.starts_with('*')) {
        star = ++p;
        star_at = t;
        continue;
      }
      const bool same = !rest.empty() && t < text.size() &&
                        (rest.front() == '?' ? text[t] != '/' : rest.front() == text[t]);
      if (same) {
        ++p, ++t;
      } else if (star != none && star_at < text.size() && text[star_at] != '/') {
        p = star;
        t = ++star_at;
      } else if (folders != none && text.find('/', folders_at) != none) {
        folders_at = text.find('/', folders_at) + 1;
        p = folders;
        t = folders_at;
        star = none;
      } else {
        return false;
      }
    }
    return true;
  }

  Outcome glob(const std::string& pattern) const {
    // The fixed folders at the front of the pattern say where to look.
    const size_t wild = pattern.find_first_of("*?");
    const size_t slash = pattern.rfind('/', wild);
    const std::string front = slash == std::string::npos ? "" : pattern.substr(0, slash);
    const auto place = roots_.locate(front.empty() ? (pattern.front() == '/' ? "/" : ".") : front);
    if (!place) return file_error("search", pattern, EXDEV);
    const auto& [root, inner] = *place;
    const fs::path start = inner == "." ? fs::path(root) : fs::path(root) / inner;
    std::error_code error;
    const fs::path real = fs::canonical(start, error);
    if (error) return Value::list({});
    if (real.string() != root && !real.string().starts_with(root == "/" ? root : root + "/"))
      return file_error("search", pattern, EXDEV);
    const std::string rest = slash == std::string::npos ? pattern : pattern.substr(slash + 1);
    std::set<std::string> found;
    for (fs::recursive_directory_iterator
             it(real, fs::directory_options::skip_permission_denied, error),
         end;
         it != end; it.increment(error)) {
      if (error) break;
      const std::string relative = it->path().lexically_relative(real).string();
      if (it->is_directory(error) && rest.find('/') == std::string::npos &&
          rest.find("**") == std::string::npos)
        it.disable_recursion_pending();
      if (!it->is_regular_file(error) || !matches(rest, relative)) continue;
      found.insert(front.empty() ? relative : front + "/" + relative);
      if (found.size() > max_glob_results) {
        return ActivityError{
            .kind = "limit",
            .code = "glob",
            .message = fmt::format("`{}` matches more than {} files", pattern, max_glob_results)};
      }
    }
    std::vector<Value> out;
    for (const std::string& path : found) out.push_back(Value::string(replace_invalid_utf8(path)));
    return Value::list(std::move(out));
  }

  Roots roots_;
  static inline std::atomic<uint64_t> counter_ = 0;
};

class FileWorker final : public Worker {
 public:
  FileWorker(Options options, CompletionHandler done)
      : files_(options.file_roots), done_(std::move(done)) {
    thread_ = std::jthread([this](const std::stop_token& stop) { loop(stop); });
  }
  ~FileWorker() override {
    thread_.request_stop();
    changed_.notify_all();
  }
  void start(Request request) override {
    {
      const std::lock_guard guard(mutex_);
      queue_.push_back(std::move(request));
    }
    changed_.notify_one();
  }
  // Files are quick: one that waits is taken out of the queue, one under way ends by itself.
  void cancel(uint64_t token) override {
    {
      const std::lock_guard guard(mutex_);
      const auto it = std::find_if(queue_.begin(), queue_.end(),
                                   [&](const Request& r) { return r.token == token; });
      if (it == queue_.end()) return;
      queue_.erase(it);
    }
    done_({token, cancelled_error()});
  }

 private:
  void loop(const std::stop_token& stop) {
    for (;;) {
      Request request;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [&] { return !queue_.empty(); });
        if (queue_.empty()) return;
        request = std::move(queue_.front());
        queue_.pop_front();
      }
      if (stop.stop_requested()) {
        done_({request.token, cancelled_error()});
      } else {
        done_({request.token, files_.run(request)});
      }
    }
  }

  Files files_;
  CompletionHandler done_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Request> queue_;
  std::jthread thread_;
};

}  // namespace

std::unique_ptr<Worker> make_file_worker(Options options, CompletionHandler done) {
  return std::make_unique<FileWorker>(std::move(options), std::move(done));
}

}  // namespace kflow::activities
