// Store: the interface of durable storage. Written so that a networked engine can stand behind it:
// no call assumes shared memory, each may fail or time out, and atomicity is needed within one root
// run only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/hash.hpp"
#include "compiler/base/result.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::store {

using machine::Millis;
using machine::RunStatus;

/// Number of a run inside one store, allocated when it is created, in order: keys cluster.
using RunKey = uint64_t;
/// A process that has the store open and may own runs; numbers are never reused.
using OwnerId = uint64_t;
inline constexpr OwnerId no_owner = 0;

/// What survives: `sync` a power loss, `process` only kill -9, `none` nothing promised. A property
/// of the store, chosen when it is made.
enum class Durability : uint8_t { sync, process, none };
std::string_view to_string(Durability d);

/// The row of a run. Written when its status or owner changes, not at every step.
struct RunHeader {
  RunKey key = 0;
  std::string id;  ///< external: UUIDv7 or the client's
  std::string workflow;
  Sha256 program{};
  RunStatus status = RunStatus::pending;
  Millis created_at = 0;
  Millis started_at = 0;
  Millis ended_at = 0;   ///< 0: not yet
  uint32_t attempt = 1;  ///< `run.attempt`
  std::string session_id;
  std::string user_id;
  std::vector<std::string> tags;
  std::string project_root;  ///< where relative paths and file roots start: a process claims only
                             ///< what it can satisfy
  std::string error;         ///< one line, of an ERROR run
  OwnerId owner = no_owner;
  uint64_t epoch = 0;  ///< +1 at every change of owner; fences late writers
};

/// A durable command to a run, written without owning it; consumed in the commit of the event that
/// follows from it.
struct InboxMessage {
  enum class Kind : uint8_t { cancel, signal, answer, resume, child_result };
  uint64_t seq = 0;  ///< given by the store, in order per run
  Kind kind = Kind::cancel;
  std::string dedup;  ///< a second message of the same run with the same non-empty key is dropped
  std::string body;   ///< by kind: encoded by the engine
};

/// New events and what goes with them for one run, atomic with all else in the same entry.
struct RunCommit {
  RunKey run = 0;
  uint64_t epoch = 0;         ///< must be the row's, else the entry is fenced
  uint64_t expected_seq = 0;  ///< number of events already in the log
  std::string_view events;    ///< `event_count` encoded events, one after another
  uint32_t event_count = 0;
  uint32_t public_count = 0;
  /// To write, if it changed; owner `no_owner` gives the run up. The epoch is the store's: +1 when
  /// the owner changes. A final status ends ownership, timers and inbox.
  std::optional<RunHeader> header;
  /// New earliest timer (`machine::never`: none); none: unchanged. That of an owned run is not
  /// durable (who takes the run over folds its log): after a claim, give it with the header that
  /// gives the run up.
  std::optional<Millis> next_due;
  std::vector<uint64_t> consumed;  ///< inbox messages taken
  std::string_view snapshot;       ///< new snapshot of the state after these events; "": none
};

/// What became of one entry of a batch. `fenced`: epoch or expected seq did not match; nothing of
/// the entry was written.
enum class CommitOutcome : uint8_t { committed, fenced };

/// A new run: everything in one commit; only then does the caller learn its id.
struct NewRun {
  RunHeader header;          ///< key is allocated; owner and epoch as given
  std::string_view program;  ///< encoded; stored if its hash is new
  std::string_view events;
  uint32_t event_count = 0;
  uint32_t public_count = 0;
  Millis next_due = machine::never;  ///< without an owner and `never`: claimable at once
  /// With a key, a second start with the same key and input hash gives the first run; with another
  /// input: conflict.
  std::string idempotency_key;
  Sha256 input_hash{};
};
struct Started {
  RunKey key = 0;
  std::string id;
  bool existed = false;  ///< by idempotency key
  /// Why this run was not started (already_exists, conflict, invalid_argument, no_space); the rest
  /// of the batch was.
  std::optional<Error> refused;
};

struct RunFilter {
  std::optional<RunStatus> status;
  std::string workflow;
  std::string session_id;
  std::string tag;
  Millis since = 0;
  size_t limit = 50;
  RunKey before = UINT64_MAX;  ///< cursor: newest first, keys below this
};

/// A chunk of the log: all events of one run in one commit.
struct EventChunk {
  uint64_t first_seq = 0;
  uint64_t first_public = 0;  ///< event_index of its first public event
  uint32_t event_count = 0;
  uint32_t public_count = 0;
  uint32_t format = 0;  ///< machine::events_format it was written in
  std::string events;
};

struct StoreInfo {
  uint32_t format = 0;
  Durability durability = Durability::sync;
  uint64_t runs = 0;
  uint64_t bytes_used = 0;
  uint64_t bytes_limit = 0;
};

struct OwnerInfo {
  OwnerId id = no_owner;
  int64_t pid = 0;
  std::string doorbell;  ///< address of the datagram socket to ring
};

/// Thread-safe. Reads see a consistent, committed state. Every call may fail with unavailable,
/// timeout, no_space, io or corrupt, and has then changed nothing.
class Store {
 public:
  virtual ~Store() = default;

  // -- runs and their log
  virtual Result<std::vector<Started>> start(std::span<const NewRun> runs) = 0;
  /// One transaction for the whole batch; fenced entries are left out, the others go in.
  virtual Result<std::vector<CommitOutcome>> commit(std::span<const RunCommit> batch) = 0;
  /// New runs and events in one transaction (the engine's group commit): as `start` and `commit`.
  struct BatchResult {
    std::vector<Started> started;
    std::vector<CommitOutcome> outcomes;
  };
  virtual Result<BatchResult> write(std::span<const NewRun> runs,
                                    std::span<const RunCommit> batch) = 0;

  virtual Result<std::optional<RunHeader>> find(std::string_view id) = 0;
  virtual Result<std::optional<RunHeader>> header(RunKey run) = 0;
  /// Runs whose id starts or ends with `part`, at most `limit`, newest first.
  virtual Result<std::vector<RunHeader>> match(std::string_view part, size_t limit) = 0;
  virtual Result<std::vector<RunHeader>> list(const RunFilter& filter) = 0;
  /// Chunks from the one that holds seq `from` on, at most `max_bytes` but at least one if there is
  /// one.
  virtual Result<std::vector<EventChunk>> read(RunKey run, uint64_t from_seq, size_t max_bytes) = 0;
  virtual Result<std::string> program(const Sha256& hash) = 0;
  struct Snapshot {
    uint64_t seq = 0;  ///< events folded into it
    std::string state;
  };
  virtual Result<std::optional<Snapshot>> snapshot(RunKey run) = 0;

  // -- inbox
  /// Durable when it returns; then ring the owner. conflict: the run has ended (an ERROR run still
  /// takes `resume`).
  virtual Result<void> post(RunKey run, const InboxMessage& message) = 0;
  virtual Result<std::vector<InboxMessage>> inbox(RunKey run, size_t limit) = 0;

  // -- owners
  /// Registers this process; the lock that shows it is alive is held until the store is closed.
  virtual Result<OwnerId> register_owner(std::string_view doorbell) = 0;
  virtual Result<std::vector<OwnerInfo>> owners() = 0;
  /// Takes the run (an ERROR run too, to resume it) if its epoch is still `expected_epoch` and its
  /// owner is none, ours, or dead; gives the new header. conflict: somebody else has it.
  virtual Result<RunHeader> claim(RunKey run, uint64_t expected_epoch) = 0;
  /// Claims many in one transaction; those that somebody else has by now are left out.
  virtual Result<std::vector<RunHeader>> claim_all(std::span<const RunHeader> runs) = 0;
  /// Runs that this process may claim now: their owner is dead, or they have none and a timer is
  /// due, a message waits, or they were started without owner and timer. Only those of
  /// `project_root`, if that is given.
  virtual Result<std::vector<RunHeader>> claimable(Millis now, size_t limit,
                                                   std::string_view project_root = {}) = 0;
  /// Earliest timer of unowned runs later than `after`; `never`: none.
  virtual Result<Millis> next_due(Millis after = -1) = 0;
  /// Blocks until some other owner has died (true, once per owner) or `cancel_fd` is readable
  /// (false). No polling.
  virtual Result<bool> wait_for_death(int cancel_fd) = 0;
  /// Rings every other process, or the owner of a run, so that it looks (at the store's inboxes or
  /// log) again.
  virtual void ring(OwnerId owner) = 0;

  // -- the store itself
  virtual Result<StoreInfo> info() = 0;
};

}  // namespace kflow::store
