// Tables: ordered rows with transactions; the seam below which there is an LMDB file or memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "compiler/base/result.hpp"
#include "runtime/store/store.hpp"

namespace kflow::store {

/// Keys and values of each table; `[...]` are numbers of 8 bytes, big endian. All values are sealed
/// (record.hpp), but those of the pure indexes, which are empty.
enum class Table : uint8_t {
  meta,         ///< name → description of the store, counters
  runs,         ///< [run] → header and, of an unowned run, its earliest timer
  events,       ///< [run][first seq] → all events of the run in one commit
  snapshots,    ///< [run] → seq, state
  inbox,        ///< [run][seq] → message
  dedup,        ///< [run] key → "" : messages that were posted once
  timers,       ///< [due][run] → "" : unowned runs only; an owner keeps its timers itself
  ids,          ///< external id → run
  idempotency,  ///< workflow NUL key → run, hash of the input
  programs,     ///< SHA-256 → program
  owners,       ///< [owner] → pid, doorbell
  owned,        ///< [owner][run] → ""
  statuses,     ///< status (1 byte) [run] → ""
  labels,       ///< kind (1 byte) text NUL [run] → "" : by workflow, session, tag, parent;
                ///< and kind workflow NUL status (1 byte) [run]
  watchers,     ///< [run][waiting run][act] → "" : who is told when a run ends
  slots,        ///< slot NUL [run] → 1 running, 2 queued
  kv,           ///< namespace NUL key → value
  cache,        ///< key → expiry, value
  sessions,     ///< id → version, state
  blobs,        ///< SHA-256 → bytes
  blobrefs,     ///< 'h' SHA-256 [run] → "" and 'r' [run] SHA-256 → ""
  removals,     ///< [run] → "" : being removed, found by nothing else any more
  schedules,    ///< id → schedule
  history,      ///< session NUL agent NUL [n] → message and answer
  streams,  ///< [run][first index] → what its readers see from there on: run, event_index, count;
            ///< only of runs that have waited for runs of their own
};
inline constexpr size_t table_count = 25;
inline constexpr std::array<const char*, table_count> table_names{
    "meta",     "runs",        "events",   "snapshots", "inbox",    "dedup",    "timers",
    "ids",      "idempotency", "programs", "owners",    "owned",    "statuses", "labels",
    "watchers", "slots",       "kv",       "cache",     "sessions", "blobs",    "blobrefs",
    "removals", "schedules",   "history",  "streams"};

/// Moves over the rows of one table. Views are valid until the next move or write.
class Cursor {
 public:
  virtual ~Cursor() = default;
  /// First row at or after `key`.
  virtual Result<bool> seek(std::string_view key) = 0;
  /// Last row before `key`.
  virtual Result<bool> seek_before(std::string_view key) = 0;
  virtual Result<bool> next() = 0;
  virtual Result<bool> previous() = 0;
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
};

enum class PutMode : uint8_t {
  replace,
  insert,  ///< error already_exists if the key is there
  append,  ///< the key is known to be the largest
};

/// A consistent view; of a writer, with its own changes. Used by one thread.
class Transaction {
 public:
  virtual ~Transaction() = default;
  /// The view is valid until the next write.
  virtual Result<std::optional<std::string_view>> get(Table table, std::string_view key) = 0;
  virtual Result<std::unique_ptr<Cursor>> cursor(Table table) = 0;
  /// The value is `head` and `tail`, one after the other.
  virtual Result<void> put(Table table, std::string_view key, std::string_view head,
                           std::string_view tail, PutMode mode) = 0;
  /// No row: nothing happens.
  virtual Result<void> erase(Table table, std::string_view key) = 0;
  virtual uint64_t count(Table table) = 0;
};

class BlobFiles;

/// Thread-safe.
class Tables {
 public:
  virtual ~Tables() = default;
  virtual Result<std::unique_ptr<Transaction>> read() = 0;
  /// One writer at a time, over all processes. All of `body` is durable when this returns, or
  /// nothing has changed.
  virtual Result<void> write(const std::function<Result<void>(Transaction&)>& body) = 0;
  /// no_space: nearly full, what is left is for runs that are on their way.
  virtual Result<void> room_for_new_runs() = 0;
  virtual uint64_t bytes_used() = 0;
  virtual uint64_t bytes_limit() = 0;
  virtual Durability durability() = 0;
  /// A consistent copy into an empty folder, while the tables are in use.
  virtual Result<void> copy_to(const std::string& folder, bool compact) = 0;
  /// Where blobs are that are too large for a row; null: there is no such place.
  virtual BlobFiles* blob_files() { return nullptr; }
  /// Something died: forget what it held.
  virtual void clear_stale_readers() = 0;
};

}  // namespace kflow::store
