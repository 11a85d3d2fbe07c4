// Tapes: HTTP exchanges in a file, to run without the network later. JSON Lines, one exchange each.
#pragma once

#include <cstdint>
#include <cstdio>
#include <expected>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/activities/scrub.hpp"

namespace kflow::activities {

/// A tape that is read is kept in memory.
inline constexpr uint64_t max_tape_bytes = 512ULL << 20;

/// An answer as it stands on a tape.
struct TapeAnswer {
  long status = 0;
  std::map<std::string, std::string> headers;  ///< names in small letters
  std::string body;
};

/// Thread-safe. A request is known by method, URL and body, each without secrets; request headers
/// are never written.
class Tape {
 public:
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  /// Begins a new tape. In whatever is written, `secrets` stand as `***`. What `base` holds,
  /// another tape ("": none), is answered from that and written again.
  static Result<std::shared_ptr<Tape>> begin(const std::string& path,
                                             std::vector<std::string> secrets,
                                             const std::string& base = "");
  /// Goes on writing to one that was begun before.
  static Result<std::shared_ptr<Tape>> go_on(const std::string& path,
                                             std::vector<std::string> secrets);
  /// Reads a tape; an error names the line and what to do.
  static Result<std::shared_ptr<Tape>> load(const std::string& path,
                                            std::vector<std::string> secrets);

  bool replays() const { return file_ == nullptr; }
  const std::string& path() const { return path_; }
  /// A value that was read meanwhile, and must not be seen either.
  void hide(const std::string& secret);
  /// Equal requests are answered in the order of the tape, then again with the last answer. Of what
  /// it does not hold: how the nearest exchange differs.
  std::expected<TapeAnswer, std::string> find(std::string_view method, std::string_view url,
                                              std::string_view body);
  Result<void> record(std::string_view method, std::string_view url, std::string_view body,
                      TapeAnswer answer);

 private:
  /// For the message about what is missing.
  struct Asked {
    size_t line = 0;
    std::string target;  ///< method and URL
    std::string body;    ///< "": not written
  };
  Tape() = default;
  static Result<std::shared_ptr<Tape>> open(const std::string& path, const char* mode,
                                            std::vector<std::string> secrets);
  Result<void> read(const std::string& path);
  Result<void> take(std::string_view line, size_t number);
  std::string difference(const std::string& target, const std::string& body) const;

  std::string path_;
  std::mutex mutex_;
  Scrubber scrubber_;
  std::FILE* file_ = nullptr;
  std::vector<Asked> asked_;
  std::map<std::string, std::vector<TapeAnswer>> answers_;
  std::map<std::string, size_t> next_;
};

}  // namespace kflow::activities
