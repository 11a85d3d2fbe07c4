// Activities: what actions do in the world: HTTP, programs, files, native functions. One completion
// for each that was started.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/base/blobs.hpp"
#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/conversation/conversation.hpp"

namespace kflow::activities {

/// One effect to perform, released after its StepStarted is durable.
struct Request {
  uint64_t token = 0;                ///< echoed in the completion
  std::string callee;                ///< "http.get"; an extern tool's name
  std::vector<std::string> command;  ///< of an extern tool
  cel::Value input;                  ///< record of arguments
  std::string idempotency_key;
  std::string run_id;
  std::string path;  ///< of the step
  uint32_t attempt = 1;
  std::shared_ptr<const conversation::ModelRequest> model;  ///< of a call of a model
  bool priced = false;                         ///< the price of the model must be known
  ir::CallableId mcp;                          ///< of a call of an MCP tool: which of the program's
  std::shared_ptr<const ir::Program> program;  ///< with `mcp`
};

/// US dollars for a million tokens.
struct ModelPrice {
  double input = 0;
  double output = 0;
  std::optional<double> cached_input;  ///< none: as `input`
  std::optional<double> cache_write;   ///< none: as `input`
};

/// Where and how models are called: of the environment, never recorded.
struct ModelEndpoint {
  std::string base_url;
  std::string api_key_variable;  ///< environment variable
  std::vector<std::pair<std::string, std::string>> headers;
  std::string proxy;
  int64_t timeout_ms = 0;           ///< 0: default_model_timeout_ms
  int64_t idle_timeout_ms = 0;      ///< of a stream that says nothing; 0: default_model_idle_ms
  int64_t requests_per_minute = 0;  ///< 0: no limit
  int64_t tokens_per_minute = 0;
  int64_t concurrent = 0;
  std::optional<bool> stream;                ///< none: yes
  std::optional<bool> previous_response_id;  ///< of OpenAI Responses: it keeps what is said
  std::string structured_output;  ///< of Chat Completions: "schema" (the default), "json", "prompt"
  std::optional<ModelPrice> price;
};

/// A tape of HTTP exchanges (tape.hpp).
class Tape;

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

/// What a function of the embedding program is told besides its arguments.
struct FunctionCall {
  const std::string& run_id;
  const std::string& idempotency_key;  ///< equal for all attempts
  uint32_t attempt = 1;
  const std::atomic<bool>& stopped;  ///< set when nobody waits for the value any more
};
/// A function of the embedding program: what an `extern tool` without a `command` is. It takes the
/// record of the arguments and gives a value of the declared type, or an error. Called on one of a
/// few threads, several at a time; an exception is an error of kind `tool`.
using NativeFunction =
    std::function<std::variant<cel::Value, ActivityError>(const cel::Value&, const FunctionCall&)>;

struct Completion {
  uint64_t token = 0;
  std::variant<cel::Value, ActivityError> outcome;
  /// Of files in the outcome: released when its event is durable, or when it counts no more.
  std::vector<StageId> stages = {};
};

/// Called on a thread of the activities, exactly once for each request that was started.
using CompletionHandler = std::function<void(Completion)>;

// ---- limits
inline constexpr int64_t default_http_max_bytes = 64LL << 20;
inline constexpr int64_t default_http_timeout_ms = 300'000;
inline constexpr int64_t http_connect_timeout_ms = 30'000;
inline constexpr int64_t default_model_timeout_ms = 600'000;
inline constexpr int64_t default_model_idle_ms = 180'000;
inline constexpr int max_redirects = 10;
/// Of a body that goes into a file of the store, and how long it may be silent: there is no limit
/// of its whole time.
inline constexpr int64_t default_download_max_bytes = 16LL << 30;
inline constexpr int64_t download_silence_s = 300;
inline constexpr int64_t default_max_output = 16LL << 20;
inline constexpr int64_t max_file_bytes = 64LL << 20;
inline constexpr uint64_t max_text_bytes = 16ULL << 20;           ///< of file.text and file.bytes
inline constexpr uint64_t max_media_bytes = 20ULL << 20;          ///< one file said to a model
inline constexpr uint64_t max_request_media_bytes = 48ULL << 20;  ///< all those of one call
inline constexpr size_t max_glob_results = 100'000;
inline constexpr int kill_grace_ms = 2'000;  ///< between SIGTERM and SIGKILL

/// Stands in for the world, in simulations. Called on the engine's thread.
class StandIn {
 public:
  virtual ~StandIn() = default;
  /// False: the request is for the world. Else its completion comes through `done`, on any thread
  /// and not after the stand-in's own `forget`.
  virtual bool start(const Request& request, const CompletionHandler& done) = 0;
  virtual void cancel(uint64_t token) = 0;
  /// Whoever is behind this `done` is gone.
  virtual void forget() = 0;
};

struct Options {
  std::vector<std::string>
      file_roots;  ///< folders that file.* may touch; the first is the base of relative paths
  std::function<void(const std::string& line)> log;       ///< what `log` steps say
  std::function<void(const std::string& line)> progress;  ///< of calls of MCP servers
  /// By provider, by "provider/id" and by the name of a `model`; the later ones win.
  std::map<std::string, ModelEndpoint, std::less<>> models;
  /// Where all of them are called instead, without a key: the stand-in, a gateway; "": nowhere.
  std::string models_url;
  /// The value of a secret or of an environment variable; none: it is not set.
  std::function<std::optional<std::string>(std::string_view name)> secret;
  std::vector<std::string> secret_names;  ///< that kflow.yaml tells the place of
  /// Called on a thread of the activities with each piece of a model's answer, before its
  /// completion.
  std::function<void(uint64_t token, bool reasoning, std::string text)> on_delta;
  std::shared_ptr<Tape> tape;  ///< none: the network, and nothing is recorded
  std::shared_ptr<StandIn> stand_in;
  std::shared_ptr<BlobStore> blobs;  ///< of `file` values; none: whoever needs it fails
  /// By the name of the `extern tool`.
  std::map<std::string, NativeFunction, std::less<>> functions;
  /// What servers of MCP say beside their answers: lines of their standard error and log messages
  /// (the progress of calls goes to `log`). Called on a thread of the activities.
  std::function<void(const std::string& server, const std::string& line)> on_server_line;
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
