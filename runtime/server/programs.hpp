// Programs: the .kflow files that a server serves, kept up to date while they are edited.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::server {

/// What came of compiling one file.
struct Compiled {
  std::shared_ptr<const ir::Program> program;  ///< null: it has errors
  std::string rendered;                        ///< its diagnostics for people; "": none
  std::string diagnostics;                     ///< as a JSON array
  size_t errors = 0;
  size_t warnings = 0;
  std::vector<std::string> files;  ///< that it was made of
};
/// Compiles a file; an error if it cannot be read. The server itself has no parser.
using Compile = std::function<Result<Compiled>(const std::string& path)>;

inline constexpr size_t max_source_files = 10'000;

/// A file, as it is now and as it is served.
struct SourceFile {
  std::string path;                            ///< absolute
  std::string shown;                           ///< relative to the project
  std::shared_ptr<const ir::Program> program;  ///< the last good one; null: there was none
  std::string version;                         ///< hash of that, in hex
  machine::Millis loaded_at = 0;               ///< when that one was loaded
  std::string text;                            ///< as it is now
  std::string diagnostics = "[]";              ///< of what it is now
  size_t errors = 0;
  size_t warnings = 0;
  bool stale = false;  ///< what is served is older than the file, which has errors
  std::vector<std::string> files;
};

/// All of them at one moment. Immutable.
struct Catalog {
  std::vector<std::shared_ptr<const SourceFile>> files;
  struct Entry {
    std::shared_ptr<const SourceFile> file;
    ir::CallableId callable;
  };
  std::map<std::string, Entry, std::less<>> workflows;  ///< by id: their names
  bool complete = true;                                 ///< every file has a program
  const Entry* find(std::string_view id) const;
};

/// Thread-safe. Owns a thread that waits for changes of the files.
class Programs {
 public:
  struct Settings {
    std::vector<std::string> paths;  ///< files and folders
    std::string root;                ///< of the project
    Compile compile;
    std::function<void(const std::string& line)> say;  ///< for people: loaded, broken, …
    std::function<machine::Millis()> now;
    /// After each change, with the new catalog; not for the first one.
    std::function<void(const Catalog&)> changed;
  };
  /// not_found: a path is not there. Files with errors are no error: they are said, and served
  /// when they have been mended.
  static Result<std::unique_ptr<Programs>> open(Settings settings);
  ~Programs();
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;

  std::shared_ptr<const Catalog> catalog() const;
  /// Begins to look for changes.
  void watch();

 private:
  explicit Programs(Settings settings) : settings_(std::move(settings)) {}
  Result<void> load(bool first);
  std::vector<std::string> list() const;
  std::shared_ptr<const SourceFile> load_file(const std::string& path,
                                              const std::shared_ptr<const SourceFile>& before,
                                              bool first) const;
  void set(std::vector<std::shared_ptr<const SourceFile>> files);
  void wait_for_changes();
  void add_watches();

  Settings settings_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Catalog> catalog_ = std::make_shared<Catalog>();
  std::map<std::string, int> watches_;
  int inotify_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

}  // namespace kflow::server
