// Source files in memory, places in them, and how imports are found.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "compiler/base/ids.hpp"
#include "compiler/base/result.hpp"

namespace kflow::source {

struct FileTag;
using FileId = Id<FileTag>;

/// Largest file that is read, in bytes.
inline constexpr size_t max_file_size = 16U << 20;

/// Bytes [begin, end) of one file.
struct Span {
  FileId file;
  uint32_t begin = 0;
  uint32_t end = 0;
  bool valid() const { return file.has_value(); }
  friend auto operator<=>(const Span&, const Span&) = default;
};

/// Line and column, both from 1; the column counts bytes.
struct Position {
  uint32_t line = 1;
  uint32_t column = 1;
};

class File {
 public:
  File(FileId id, std::string path, std::string name, std::string text);
  FileId id() const { return id_; }
  const std::string& path() const {
    return path_;
  }  ///< identity: absolute, or "std/…", or "<stdin>"
  const std::string& name() const { return name_; }  ///< as shown to people
  std::string_view text() const { return text_; }
  Position position(uint32_t offset) const;
  uint32_t line_count() const { return static_cast<uint32_t>(line_starts_.size()); }
  /// Line from 1, without its end.
  std::string_view line(uint32_t number) const;
  uint32_t line_start(uint32_t number) const { return line_starts_[number - 1]; }

 private:
  FileId id_;
  std::string path_;
  std::string name_;
  std::string text_;
  std::vector<uint32_t> line_starts_;
};

/// Text of a module of the standard library ("std/hackernews"), or none.
using StdProvider = std::function<std::optional<std::string_view>(std::string_view name)>;

/// Owns files; addresses and ids stay valid. Not thread-safe.
class Manager {
 public:
  explicit Manager(StdProvider std_provider = {});
  /// A text that comes from elsewhere than a file.
  FileId add(std::string path, std::string name, std::string text);
  /// Reads a file, once. Errors: not_found, permission, limit, invalid_argument (a folder), io.
  Result<FileId> load(const std::string& path);
  /// The file that `import "<target>"` in `from` means: "std/…", or relative to the folder of
  /// `from`.
  Result<FileId> load_import(FileId from, std::string_view target);
  /// The file of that name beside the nearest kflow.yaml above the folder of `from`, or in that
  /// folder if there is none; not_found where there is no such file.
  Result<FileId> load_of_project(FileId from, std::string_view name);
  /// Where `load_of_project` looks.
  std::string place_in_project(FileId from, std::string_view name) const;
  const File& operator[](FileId id) const { return *files_[id.value]; }
  size_t size() const { return files_.size(); }

 private:
  StdProvider std_provider_;
  std::vector<std::unique_ptr<File>> files_;
  std::unordered_map<std::string, FileId> by_path_;
};

/// Files named, and of folders all *.kflow below them, sorted; hidden folders are left out.
std::vector<std::string> expand(const std::vector<std::string>& paths);

/// Whole content of a file; the errors of Manager::load.
Result<std::string> read_file(const std::string& path, size_t limit);

}  // namespace kflow::source
