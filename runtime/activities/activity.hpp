// Activities: what actions do in the world: HTTP, programs, files, native functions. One completion
// for each that was started.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::activities {

/// One effect to perform, released after its StepStarted is durable.
struct Request {
  uint64_t token = 0;                ///< echoed in the completion
  std::string callee;                ///< "http.get"; an extern tool's name
  std::vector<std::string> command;  ///< of an extern tool
  cel::Value input;                  ///< record of arguments
  std::string idempotency_key;
  std::string run_id;
  uint32_t attempt = 1;
};

/// Kinds and fields as language.md §6 has them.
struct ActivityError {
  std::string kind;
  std::string code;
  std::string message;
  int64_t status = 0;
  cel::Value data;
  bool retryable = false;
  int64_t retry_after_ms = 0;
};

struct Completion {
  uint64_t token = 0;
  std::variant<cel::Value, ActivityError> outcome;
};

/// Called on a thread of the activities, exactly once for each request that was started.
using CompletionHandler = std::function<void(Completion)>;

// ---- limits
inline constexpr int64_t default_http_max_bytes = 64LL << 20;
inline constexpr int64_t default_http_timeout_ms = 300'000;
inline constexpr int64_t http_connect_timeout_ms = 30'000;
inline constexpr int max_redirects = 10;
inline constexpr int64_t default_max_output = 16LL << 20;
inline constexpr int64_t max_file_bytes = 64LL << 20;
inline constexpr size_t max_glob_results = 100'000;
inline constexpr int kill_grace_ms = 2'000;  ///< between SIGTERM and SIGKILL

struct Options {
  std::vector<std::string>
      file_roots;  ///< folders that file.* may touch; the first is the base of relative paths
  std::function<void(const std::string& line)> log;
};

/// Owns the threads, each started when first needed. Thread-safe.
class Activities {
 public:
  Activities(Options options, CompletionHandler done);
  ~Activities();  ///< stops everything; completions still come, with kind `cancelled`
  Activities(const Activities&) = delete;
  Activities& operator=(const Activities&) = delete;
  void start(Request request);
  /// Stops it as soon as possible; its completion comes all the same. Unknown tokens are ignored.
  void cancel(uint64_t token);
  /// Whether the callee is done at once, without a thread (now, uuid, random, log).
  static bool is_native(const std::string& callee);
  std::variant<cel::Value, ActivityError> run_native(const Request& request) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// A string argument, or `fallback`.
std::string text_argument(const cel::Value& input, std::string_view name,
                          std::string_view fallback = "");
int64_t int_argument(const cel::Value& input, std::string_view name, int64_t fallback);
bool bool_argument(const cel::Value& input, std::string_view name, bool fallback);

}  // namespace kflow::activities
