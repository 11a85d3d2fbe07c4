// Tapes: HTTP exchanges in a file, to run without the network later. JSON Lines, one exchange each.
#pragma once

#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/result.hpp"

namespace kflow::activities {

/// An answer as it stands on a tape.
struct TapeAnswer {
  long status = 0;
  std::map<std::string, std::string> headers;  ///< names in small letters
  std::string body;
};

/// Thread-safe. A request is known by method, URL and body; request headers are never written.
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
  /// Reads a tape; an error names the line.
  static Result<std::shared_ptr<Tape>> load(const std::string& path,
                                            std::vector<std::string> secrets);

  /// Adds one that an effect has come to know.
  void hide(const std::string& secret);

  bool replays() const { return file_ == nullptr; }
  const std::string& path() const { return path_; }
  /// Equal requests are answered in the order of the tape, then again with the last answer.
  std::optional<TapeAnswer> find(std::string_view method, std::string_view url,
                                 std::string_view body);
  void record(std::string_view method, std::string_view url, std::string_view body,
              TapeAnswer answer);

 private:
  Tape() = default;
  std::string without_secrets(std::string_view text) const;
  std::string key(std::string_view method, std::string_view url, std::string_view body) const;

  std::string path_;
  mutable std::mutex secrets_mutex_;
  std::vector<std::string> secrets_;
  std::mutex mutex_;
  std::FILE* file_ = nullptr;
  std::map<std::string, std::vector<TapeAnswer>> answers_;
  std::map<std::string, size_t> next_;
};

}  // namespace kflow::activities
