// Session: the client's side of the Model Context Protocol as a state machine. Pure: what comes in
// and what time it is are given to it, what is to be sent and who is answered come out.
//
// Revisions with a handshake (2024-11-05 to 2025-11-25,
// https://modelcontextprotocol.io/specification) and without one (2026-07-28) are spoken, over any
// transport: a server is first asked `server/discover`, which only the latter know, unless the lock
// says what it spoke last.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "compiler/ir/lock.hpp"
#include "runtime/mcp/message.hpp"

namespace kflow::mcp {

using Millis = int64_t;
inline constexpr Millis never = INT64_MAX;

/// Revisions that are spoken, the newest first.
inline constexpr std::string_view modern_protocol = "2026-07-28";
inline constexpr std::string_view handshake_protocols[] = {"2025-11-25", "2025-06-18", "2025-03-26",
                                                           "2024-11-05"};

// ---- limits
inline constexpr Millis start_timeout_ms = 120'000;  ///< from the first message to the tools' list
inline constexpr Millis probe_timeout_ms = 10'000;   ///< then the server is taken for an older one
inline constexpr Millis call_timeout_ms = 300'000;   ///< where the declaration has no `timeout`
inline constexpr Millis progress_gap_ms = 1'000;     ///< between two lines on one call's progress
inline constexpr Millis relist_gap_ms = 1'000;       ///< between two looks at a changed list
inline constexpr Millis relisten_ms = 30'000;        ///< until a lost subscription is made again
inline constexpr size_t max_tools = 2'000;           ///< of one server
inline constexpr size_t max_pages = 200;             ///< of one list of tools
inline constexpr size_t max_calls = 10'000;          ///< of one server, waiting and in flight
inline constexpr size_t max_malformed = 100;  ///< messages that are none, until it is given up
inline constexpr size_t max_lines = 20;       ///< of its own that a server may log a second

/// Why a call gave no result. The fields are those of an activity's error.
struct Failure {
  std::string kind = "tool";
  std::string code;
  std::string message;
  int64_t status = 0;  ///< of HTTP
  cel::Value data;
  bool retryable = false;
  int64_t retry_after_ms = 0;
  int64_t rpc_code = 0;  ///< of a JSON-RPC error; 0: it was none
};

struct Call {
  uint64_t token = 0;
  std::string tool;
  cel::Value arguments;       ///< object
  std::string input_schema;   ///< as it is locked, canonical; "": whatever it is
  std::string output_schema;  ///< with `input_schema`; "": none
  Millis timeout_ms = call_timeout_ms;
};

/// A message to the server.
struct Post {
  int64_t id = 0;      ///< of a request; 0: it is none
  std::string method;  ///< "": an answer
  std::string text;
  std::vector<std::pair<std::string, std::string>> headers;  ///< over HTTP
};

struct Done {
  uint64_t token = 0;
  std::variant<cel::Value, Failure> outcome;  ///< the result object as the server sent it
};

/// What follows from one input.
struct Turn {
  std::vector<Post> posts;
  std::vector<int64_t> abandoned;  ///< requests whose answer nobody waits for any more
  std::vector<Done> done;
  std::vector<std::string> lines;     ///< for a log
  std::vector<std::string> progress;  ///< of calls, for whoever watches
  bool opened = false;                ///< the handshake is over: the server may speak by itself
  bool listed = false;                ///< the tools are known (again)
  std::optional<Failure> failed;      ///< the session is over, all calls are answered
};

struct SessionOptions {
  std::string name;      ///< of the declaration, for messages
  bool http = false;     ///< headers are wanted, and closing a stream cancels
  std::string protocol;  ///< what was spoken last; "": not known
  std::string version;   ///< of kflow
};

/// One connection with a server. Single-threaded; after `failed` it takes nothing more.
class Session {
 public:
  explicit Session(SessionOptions options) : options_(std::move(options)) {}

  Turn begin(Millis now);
  /// One message, or a batch, as it came.
  Turn receive(std::string_view text, Millis now);
  Turn call(Call call, Millis now);
  /// The call is answered with kind `cancelled` at once.
  Turn cancel(uint64_t token, Millis now);
  /// The transport could not have this request answered (HTTP).
  Turn refused(int64_t id, Failure failure, Millis now);
  /// The transport is gone: all calls are answered with this.
  Turn lost(Failure failure);
  Turn tick(Millis now);
  Millis next_due() const;
  /// Calls are taken out, unanswered, to be made in another session: the one that this request is,
  /// and those that were not sent yet.
  std::optional<Call> take_call(int64_t id);
  std::deque<Call> take_waiting();

  bool ready() const { return phase_ == Phase::ready; }
  bool failed() const { return phase_ == Phase::over; }
  bool probing() const { return phase_ == Phase::probing; }
  /// Whether a request of that id still waits for its answer.
  bool waits_for(int64_t id) const { return requests_.contains(id); }
  bool modern() const { return protocol_ == modern_protocol; }
  const std::string& protocol() const { return protocol_; }
  /// "name version" as the server calls itself.
  const std::string& server() const { return server_; }
  const std::vector<ir::LockedTool>& tools() const { return tools_; }

 private:
  enum class Phase : uint8_t { fresh, probing, initializing, listing, ready, over };
  enum class Request : uint8_t { discover, initialize, list, call, listen };
  struct Flight {
    Call call;
    Millis deadline = never;
    Millis said = 0;  ///< when its progress was last told
  };

  Post request(Request kind, std::string_view method, cel::Value params);
  Post notification(std::string_view method, cel::Value params) const;
  cel::Value with_meta(const cel::Value& params, int64_t progress) const;
  void probe(Turn& turn);
  void initialize(Turn& turn);
  void be_modern(Turn& turn, const cel::Value& result);
  void list(Turn& turn, const std::string& cursor);
  void take_message(Turn& turn, const Message& message);
  void take_answer(Turn& turn, const Message& message);
  void take_error(Turn& turn, int64_t id, Request kind, Failure failure);
  /// The call that the answer `id` belongs to; it is under way no more.
  std::optional<Call> end_flight(int64_t id);
  void take_result(Turn& turn, int64_t id, Request kind, const cel::Value& result);
  void take_initialize(Turn& turn, const cel::Value& result);
  void take_page(Turn& turn, const cel::Value& page);
  void listed(Turn& turn);
  void take_notification(Turn& turn, const Message& message);
  void take_progress(Turn& turn, const cel::Value& params);
  void answer_request(Turn& turn, const Message& message);
  void dispatch(Turn& turn, Call call);
  std::optional<Failure> differs(const Call& call) const;
  void malformed(Turn& turn, const std::string& what);
  void say(Turn& turn, std::string line);
  void fail(Turn& turn, Failure failure);

  SessionOptions options_;
  Phase phase_ = Phase::fresh;
  Millis now_ = 0;
  Millis started_ = 0;
  Millis probe_until_ = never;
  int64_t last_id_ = 0;
  int64_t probe_id_ = 0;
  int64_t listen_id_ = 0;
  bool tried_modern_ = false;
  bool tried_handshake_ = false;
  std::string protocol_;
  std::string server_;
  bool list_changes_ = false;  ///< the server tells of them
  std::vector<ir::LockedTool> tools_;
  std::map<std::string, std::pair<std::string, std::string>> schemas_;  ///< canonical, by tool
  std::vector<ir::LockedTool> page_tools_;
  size_t pages_ = 0;
  bool listing_ = false;
  Millis relist_at_ = never;
  Millis listed_at_ = 0;
  Millis relisten_at_ = never;
  std::map<int64_t, Request> requests_;
  std::map<int64_t, Flight> flights_;
  std::map<uint64_t, int64_t> by_token_;
  std::deque<Call> waiting_;
  size_t malformed_ = 0;
  Millis lines_from_ = 0;
  size_t lines_ = 0;
};

/// The headers that mirror arguments of a call (`x-mcp-header`, revision 2026-07-28); an error if
/// the schema's annotations break a rule.
Result<std::vector<std::pair<std::string, std::string>>> mirrored_headers(
    const cel::Value& input_schema, const cel::Value& arguments);
/// A text as the value of such a header: base64 where it is not plain.
std::string header_value(std::string_view text);

}  // namespace kflow::mcp
