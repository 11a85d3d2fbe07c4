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

#include "compiler/base/blobs.hpp"
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
inline constexpr OwnerId every_owner = UINT64_MAX;

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
  // Set when the run is created, never changed.
  RunKey parent = 0;      ///< the run whose step started this one; 0: none
  bool attached = false;  ///< the parent waits for it
  std::string slot;  ///< workflow and key that its concurrency is counted under; "": not limited
  uint32_t slot_limit = 0;
  Millis retention_ms = 0;  ///< how long it is kept after its end; 0: as the store's owner says
  bool trimmed = false;     ///< its log was rewritten without the pieces of models' answers
  /// Which exchanges it is answered from or records, as the engine names it; "": none. Only a
  /// process with the same tape goes on with it.
  std::string tape;
  machine::UsageTotal usage;  ///< of models, when the row was last written
};

/// A durable command to a run, written without owning it; consumed in the commit of the event that
/// follows from it.
struct InboxMessage {
  enum class Kind : uint8_t { cancel, signal, answer, resume, child_result, kill };
  uint64_t seq = 0;  ///< given by the store, in order per run
  Kind kind = Kind::cancel;
  std::string dedup;  ///< a second message of the same run with the same non-empty key is dropped
  std::string body;   ///< by kind: encoded by the engine
  std::vector<Sha256> files =
      {};  ///< that the body names, kept until it is consumed; not read back
};

/// A message from one run to another, in the transaction of the sender's events. If there is no
/// such run, or it has ended, nothing happens.
struct Post {
  std::string run_id;
  InboxMessage message;
};

/// A run waits for another's end: it gets a `child_result` message then, at once if that has ended
/// or does not exist. The body of the message is `watch_body(act, key of the other run, 0 if
/// none)`.
struct Watch {
  std::string run_id;  ///< of the other
  uint32_t act = 0;    ///< which activation of the watching run waits
};
std::string watch_body(uint32_t act, RunKey target);
struct WatchResult {
  uint32_t act = 0;
  RunKey target = 0;
};
Result<WatchResult> read_watch_body(std::string_view body);

/// A value outside the runs, written in the same transaction as the events it follows from.
struct SideWrite {
  enum class Kind : uint8_t {
    kv,       ///< key: namespace NUL key; shared between runs
    cache,    ///< key: hash of callee and arguments; gone after `expires`
    history,  ///< key: session NUL agent NUL; each write is one more row, read with `recent`
  };
  Kind kind = Kind::kv;
  std::string key;                   ///< at most max_side_key bytes
  std::optional<std::string> value;  ///< none: erased
  Millis expires = machine::never;
  std::vector<Sha256> files = {};  ///< that the value names: kept as long as it is
};
inline constexpr size_t max_side_key = 400;
/// Rows that a removal erases in one transaction.
inline constexpr size_t removal_slice = 4000;

/// A new state of a session; the entry is `stale` if the session is not at `expected_version` any
/// more.
struct SessionWrite {
  std::string id;
  uint64_t expected_version = 0;  ///< 0: the session must not exist yet
  std::string state;
  std::vector<Sha256> files = {};  ///< that the state names
};
struct Session {
  uint64_t version = 0;  ///< +1 at every write; 0: there is none yet
  std::string state;
};

/// A large part of a value, kept once under its SHA-256 for all runs that refer to it.
struct Blob {
  Sha256 hash{};
  std::string_view bytes;
  bool held = false;  ///< a file that the store holds: a reference, without `bytes`
};
/// From this size on a blob is a file beside the tables.
inline constexpr size_t file_blob_bytes = 256U << 10;

struct NewRun;

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
  bool drop_snapshot = false;
  std::string_view program;  ///< encoded, of a header whose program is another now; "": it is not
  std::vector<Post> posts;
  std::vector<Watch> watches;
  std::vector<SideWrite> writes;
  std::optional<SessionWrite> session;
  std::vector<Blob> blobs;  ///< that the events refer to; those already there are only counted
  std::vector<StageId> stages = {};  ///< not needed any more: the events refer to what they kept
  std::span<const NewRun>
      children;  ///< started in the same transaction; one that is refused is not started
};

/// What became of one entry of a batch; nothing was written unless it is `committed`. `fenced`:
/// epoch or expected seq did not match. `stale`: the session has moved on, read it again.
enum class CommitOutcome : uint8_t { committed, fenced, stale };

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
  /// With header.slot: what happens when `slot_limit` runs of the slot have not ended. queue: the
  /// run is PENDING without owner and timer until a slot is free (the commit that ends a run makes
  /// the oldest queued one claimable at once); reject: refused with `limit`; cancel_oldest: as
  /// queue, and the oldest running one gets a cancel message.
  enum class WhenFull : uint8_t { queue, reject, cancel_oldest };
  WhenFull when_full = WhenFull::queue;
  std::vector<Blob> blobs;  ///< refused with `not_found` if one is `held` and the store has it not
  std::vector<StageId> stages = {};
};
struct Started {
  RunKey key = 0;
  std::string id;
  bool existed = false;  ///< by idempotency key
  bool queued = false;   ///< waits for a slot: PENDING, without owner
  /// Why this run was not started (already_exists, conflict, invalid_argument, no_space); the rest
  /// of the batch was.
  std::optional<Error> refused;
};

struct RunFilter {
  std::optional<RunStatus> status;
  std::string workflow;
  std::string session_id;
  std::string tag;
  std::optional<RunKey> parent;  ///< only children of this run; of 0: runs that no run started
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

/// A part of what the readers of a run see: `count` public events of `run` (itself, or a run below
/// it that it waits for), from the event_index `first_public` of that run's own log on. They stand
/// at `first_index` of the stream.
struct StreamPiece {
  uint64_t first_index = 0;
  RunKey run = 0;
  uint64_t first_public = 0;
  uint64_t count = 0;
};

struct StoreInfo {
  uint32_t format = 0;
  Durability durability = Durability::sync;
  uint64_t runs = 0;
  uint64_t bytes_used = 0;  ///< files of blobs included
  uint64_t bytes_limit = 0;
  uint64_t files = 0;  ///< of large blobs
  uint64_t file_bytes = 0;
};

/// A workflow that starts by itself. What `spec` says is the engine's; the store keeps the due
/// time.
struct Schedule {
  std::string id;
  std::string workflow;
  Sha256 program{};
  std::string program_bytes;  ///< only to put; not read back
  std::string project_root;
  std::string spec;  ///< encoded by the engine
  Millis next_due = machine::never;
  bool enabled = true;
  RunKey last_run = 0;  ///< by fire_schedule
};

struct OwnerInfo {
  OwnerId id = no_owner;
  int64_t pid = 0;
  std::string doorbell;  ///< address of the datagram socket to ring
};

/// Thread-safe. Reads see a consistent, committed state. Every call may fail with unavailable,
/// timeout, no_space, io or corrupt, and has then changed nothing.
class Store : public BlobStore {
 public:
  // -- runs and their log
  virtual Result<std::vector<Started>> start(std::span<const NewRun> runs) = 0;
  /// One transaction for the whole batch; fenced entries are left out, the others go in.
  virtual Result<std::vector<CommitOutcome>> commit(std::span<const RunCommit> batch) = 0;
  /// New runs and events in one transaction (the engine's group commit): as `start` and `commit`.
  struct BatchResult {
    std::vector<Started> started;
    std::vector<CommitOutcome> outcomes;
    std::vector<Started> children;  ///< of all entries in order; those of entries that were not
                                    ///< committed are refused
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
  /// The newest chunk; none of a run without a log.
  virtual Result<std::optional<EventChunk>> last(RunKey run) = 0;
  /// A run's stream: its public events and those of its attached children, in the order in which
  /// they were committed, without gaps. The pieces from index `from` on, the first one cut to begin
  /// there, at most `limit`; none: there is nothing yet. What was committed never changes.
  virtual Result<std::vector<StreamPiece>> stream(RunKey run, uint64_t from, size_t limit) = 0;
  /// The number of public events in it.
  virtual Result<uint64_t> stream_size(RunKey run) = 0;
  /// `first_seq` of the chunk that holds a public event of the run's own log; none: there is none.
  virtual Result<std::optional<uint64_t>> chunk_of(RunKey run, uint64_t event_index) = 0;
  virtual Result<std::string> program(const Sha256& hash) = 0;
  struct Snapshot {
    uint64_t seq = 0;  ///< events folded into it
    std::string state;
  };
  virtual Result<std::optional<Snapshot>> snapshot(RunKey run) = 0;

  // -- what runs share
  virtual Result<std::optional<std::string>> side_value(SideWrite::Kind kind, std::string_view key,
                                                        Millis now) = 0;
  /// The newest rows that were written under a history key, oldest first.
  virtual Result<std::vector<std::string>> recent(std::string_view key, size_t most) = 0;
  virtual Result<Session> session(std::string_view id) = 0;
  /// Changes a session outside of any run. conflict: it is not at `expected_version` any more.
  virtual Result<void> put_session(const SessionWrite& write) = 0;
  /// Its state and what was said in it; the runs stay. Fine if there is none.
  virtual Result<void> remove_session(std::string_view id) = 0;
  /// Verified against its hash.
  virtual Result<std::string> blob(const Sha256& hash) = 0;
  /// What was staged and will not be referred to.
  virtual Result<void> release_stages(std::span<const StageId> stages) = 0;

  // -- schedules
  virtual Result<void> put_schedule(const Schedule& schedule) = 0;
  virtual Result<void> remove_schedule(std::string_view id) = 0;
  virtual Result<std::vector<Schedule>> schedules() = 0;
  /// Moves the schedule from `expected_due` to `next_due` and starts `run` (if there is one), both
  /// or neither. conflict: another process was faster.
  virtual Result<std::optional<Started>> fire_schedule(std::string_view id, Millis expected_due,
                                                       Millis next_due, const NewRun* run) = 0;

  // -- removal
  /// Removes an ended run with everything that only it refers to. conflict: it has not ended. A
  /// long log goes in slices of at most `removal_slice` rows a transaction, after it the runs whose
  /// parent waited for them; what is left of a
  /// removal that was interrupted is not found any more and is finished by `collect`.
  virtual Result<void> remove(RunKey run) = 0;
  struct Retention {
    Millis now = 0;
    Millis default_age_ms = 0;                       ///< of runs without their own; 0: for ever
    std::vector<std::pair<RunStatus, Millis>> ages;  ///< per status, instead of the default
    size_t keep_newest = 0;  ///< ended runs per workflow that are kept at most; 0: no limit
    bool dry_run = false;
  };
  struct Collected {
    uint64_t runs = 0;
    uint64_t blobs = 0;
    uint64_t programs = 0;
    uint64_t cache_entries = 0;
    std::vector<std::string> ids;  ///< of runs that went, or would go
  };
  /// Puts chunks of an ended run's log in the place of those with the same first_seq and the same
  /// numbers of events; with `trimmed` the run is marked so. conflict: it has not ended, or has
  /// changed.
  virtual Result<void> rewrite(RunKey run, std::span<const EventChunk> chunks, bool trimmed) = 0;
  /// Removes what retention lets go, expired cache entries, blobs and programs that nothing refers
  /// to, in slices.
  virtual Result<Collected> collect(const Retention& retention) = 0;

  // -- inbox
  /// Durable when it returns; then ring the owner. conflict: the run has ended (an ERROR run still
  /// takes `resume`).
  virtual Result<void> post(RunKey run, const InboxMessage& message) = 0;
  virtual Result<std::vector<InboxMessage>> inbox(RunKey run, size_t limit) = 0;

  // -- owners
  /// Registers this process; the lock that shows it is alive is held until the store is closed.
  virtual Result<OwnerId> register_owner(std::string_view doorbell) = 0;
  virtual Result<std::vector<OwnerInfo>> owners() = 0;
  /// Whether that process lives and is not stopped: one that is may lose its runs to others.
  virtual bool alive(OwnerId owner) = 0;
  /// Takes the run (an ERROR run too, to resume it) if its epoch is still `expected_epoch` and its
  /// owner is none, ours, or dead; gives the new header. conflict: somebody else has it.
  virtual Result<RunHeader> claim(RunKey run, uint64_t expected_epoch) = 0;
  /// Claims many in one transaction; those that somebody else has by now are left out.
  virtual Result<std::vector<RunHeader>> claim_all(std::span<const RunHeader> runs) = 0;
  /// Runs that this process may claim now: their owner is dead, or they have none and a timer is
  /// due, a message waits, or they were started without owner and timer. Only those of
  /// `project_root`, if that is given, and of exactly this tape.
  virtual Result<std::vector<RunHeader>> claimable(Millis now, size_t limit,
                                                   std::string_view project_root = {},
                                                   std::string_view tape = {}) = 0;
  /// Earliest timer of unowned runs later than `after`; `never`: none.
  virtual Result<Millis> next_due(Millis after = -1) = 0;
  /// Blocks until some other owner has died (true, once per owner) or `cancel_fd` is readable
  /// (false). No polling.
  virtual Result<bool> wait_for_death(int cancel_fd) = 0;
  /// Rings every other process (no_owner), every one, or one, so that it looks (at the store's
  /// inboxes or log) again.
  virtual void ring(OwnerId owner) = 0;

  // -- the store itself
  virtual Result<StoreInfo> info() = 0;
  struct Finding {
    std::string where;  ///< table and key
    std::string what;
  };
  /// Reads every row: checksums, gaps in logs, indexes that do not fit their rows. Empty: all is
  /// well.
  virtual Result<std::vector<Finding>> check() = 0;
  /// A consistent copy while the store is in use, into a folder that must not hold a store yet.
  /// `compact`: without free pages.
  virtual Result<void> backup(const std::string& folder, bool compact) = 0;
};

}  // namespace kflow::store
