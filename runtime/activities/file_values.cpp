// file.open, save, make, text, bytes: between paths within the roots and files of the store.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/activities/atomic_file.hpp"
#include "runtime/activities/media_types.hpp"
#include "runtime/activities/roots.hpp"
#include "runtime/activities/store_error.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

using cel::Value;

constexpr size_t piece_bytes = 1U << 20;
constexpr std::array<std::string_view, 5> callees{"file.open", "file.save", "file.make",
                                                  "file.text", "file.bytes"};

ActivityError bad(std::string code, std::string message) {
  return {.kind = "type", .code = std::move(code), .message = std::move(message)};
}

class FileValues {
 public:
  FileValues(const Options& options, const Request& request, const std::atomic<bool>& stopped,
             std::vector<StageId>& stages)
      : options_(options), request_(request), stopped_(stopped), stages_(stages) {}

  Outcome run() {
    if (options_.blobs == nullptr)
      return ActivityError{
          .kind = "internal", .code = "no_store", .message = "there is no store for files here"};
    const std::string& callee = request_.callee;
    if (callee == "file.open") return open();
    if (callee == "file.make") return make();
    const Value* v = request_.input.find("file");
    if (v == nullptr || v->kind() != cel::Kind::file) return bad("file", "`file` is not a file");
    if (callee == "file.save") return save(v->as_file());
    return content(v->as_file(), callee == "file.text");
  }

 private:
  std::string media_type(const std::string& name) const {
    const std::string given = text_argument(request_.input, "media_type");
    return given.empty() ? media_type_of(name) : bare_media_type(given);
  }

  Outcome kept(BlobWriter& writer, std::string name) {
    std::string type = media_type(name);
    if (type.empty())
      return bad("media_type", "`media_type` is two words with a slash, such as image/png");
    auto staged = writer.finish();
    if (!staged) return store_error(staged.error());
    stages_.push_back(staged->stage);
    return Value::file({.name = std::move(name),
                        .media_type = std::move(type),
                        .size = staged->size,
                        .sha256 = staged->hash});
  }

  Outcome open() {
    const std::string path = text_argument(request_.input, "path");
    if (path.empty() || path.find('\0') != std::string::npos)
      return bad("path", "the path is empty, or contains a NUL character");
    const Roots roots(options_.file_roots);
    const auto place = roots.locate(path);
    if (!place) return file_error("open", path, EXDEV);
    const Fd base{::open(place->root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (base.fd < 0) return file_error("open", place->root, errno);
    const Fd file{open_beneath(base.fd, place->inner, O_RDONLY | O_NONBLOCK)};
    if (file.fd < 0) return file_error("open", path, errno);
    struct stat info{};
    if (::fstat(file.fd, &info) != 0) return file_error("open", path, errno);
    if (S_ISDIR(info.st_mode)) return file_error("open", path, EISDIR);
    auto writer =
        options_.blobs->new_blob(S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0);
    if (!writer) return store_error(writer.error());
    std::string buffer(piece_bytes, '\0');
    for (;;) {
      if (stopped_) return cancelled_error();
      const ssize_t n = ::read(file.fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return file_error("read", path, errno);
      if (n == 0) break;
      auto written = (*writer)->write(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
      if (!written) return store_error(written.error());
    }
    return kept(**writer, file_name_of(path));
  }

  Outcome make() {
    const Value* content = request_.input.find("content");
    std::string name = file_name_of(text_argument(request_.input, "name"));
    if (name.empty()) return bad("name", "`name` is empty");
    std::string text;
    if (content != nullptr && content->kind() == cel::Kind::string) {
      text = content->as_string();
    } else if (content != nullptr && content->kind() == cel::Kind::bytes) {
      text = content->as_bytes();
    } else if (content != nullptr) {
      text = cel::to_json(*content, 2) + "\n";
    }
    auto writer = options_.blobs->new_blob(text.size());
    if (!writer) return store_error(writer.error());
    if (auto written = (*writer)->write(text); !written) return store_error(written.error());
    return kept(**writer, std::move(name));
  }

  Outcome save(const cel::File& file) {
    const std::string path = text_argument(request_.input, "path");
    if (path.empty() || path.find('\0') != std::string::npos)
      return bad("path", "the path is empty, or contains a NUL character");
    auto reader = options_.blobs->open_blob(file.sha256);
    if (!reader) return store_error(reader.error(), file);
    const Roots roots(options_.file_roots);
    AtomicFile out(roots, path);
    if (auto error = out.open()) return std::move(*error);
    std::string buffer(piece_bytes, '\0');
    for (;;) {
      if (stopped_) return cancelled_error();
      const auto n = (*reader)->read(buffer);
      if (!n) return store_error(n.error(), file);
      if (*n == 0) break;
      if (auto error = out.write(std::string_view(buffer).substr(0, *n))) return std::move(*error);
    }
    if (auto error = out.finish()) return std::move(*error);
    return Value();
  }

  Outcome content(const cel::File& file, bool text) {
    auto bytes = read_blob(*options_.blobs, file.sha256, max_text_bytes);
    if (!bytes) return store_error(bytes.error(), file);
    if (!text) return Value::bytes(*bytes);
    if (find_invalid_utf8(*bytes) != std::string_view::npos) bytes = replace_invalid_utf8(*bytes);
    return Value::string(std::move(*bytes));
  }

  const Options& options_;
  const Request& request_;
  const std::atomic<bool>& stopped_;
  std::vector<StageId>& stages_;
};

}  // namespace

ActivityError store_error(const Error& error) {
  const bool full = error.code == ErrorCode::no_space;
  const bool limit = error.code == ErrorCode::limit;
  const bool gone = error.code == ErrorCode::not_found;
  return {.kind = limit || full ? "limit" : "internal",
          .code = full    ? "no_space"
                  : limit ? "file_size"
                  : gone  ? "no_such_file"
                          : "store",
          .message = error.message,
          .retryable = full || error.code == ErrorCode::io || error.code == ErrorCode::timeout ||
                       error.code == ErrorCode::unavailable};
}

ActivityError store_error(const Error& error, const cel::File& file) {
  ActivityError out = store_error(error);
  out.message = fmt::format("the file `{}`: {}", file.name, out.message);
  return out;
}

bool is_file_value_callee(const std::string& callee) {
  return std::find(callees.begin(), callees.end(), callee) != callees.end();
}

StoringJob file_value_job(const Options& options) {
  return [options](const Request& request, const std::atomic<bool>& stopped,
                   std::vector<StageId>& stages) {
    return FileValues(options, request, stopped, stages).run();
  };
}

}  // namespace kflow::activities
