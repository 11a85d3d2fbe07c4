// Tables: runs, open, events, timers, ids, rids, idem, programs, owners, inbox, dedup, snapshots, meta.
#include "runtime/store/lmdb/lmdb_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "compiler/base/bytes.hpp"
#include "runtime/store/lmdb/environment.hpp"
#include "runtime/store/owners.hpp"
#include "runtime/store/process_lock.hpp"
#include "runtime/store/record.hpp"

namespace kflow::store {
namespace {

namespace fs = std::filesystem;
using lmdb::Cursor;
using lmdb::error_of;
using lmdb::Transaction;

constexpr size_t map_size = 1ULL << 40;  // sparse: address space only
constexpr unsigned max_readers = 4096;
constexpr std::string_view magic = "kflow store";

enum Table : size_t { runs, open_runs, events, timers, ids, reversed_ids, idempotency, programs, owner_rows, inbox_rows, dedup, snapshots, meta, table_count };
constexpr std::array<const char*, table_count> table_names{"runs", "open", "events", "timers", "ids", "rids", "idem", "programs", "owners", "inbox", "dedup", "snapshots", "meta"};

// A row of `open`: owner and earliest timer of a run that has not ended.
struct OpenRow {
  OwnerId owner = no_owner;
  Millis due = machine::never;
};
std::string encode_open(const OpenRow& row) {
  ByteWriter out;
  out.u64(row.owner);
  out.u64(static_cast<uint64_t>(row.due));
  return out.take();
}
OpenRow decode_open(std::string_view bytes) {
  ByteReader in(bytes);
  OpenRow row;
  row.owner = in.u64();
  row.due = static_cast<Millis>(in.u64());
  return row;
}

std::string encode_owner(const OwnerInfo& owner) {
  ByteWriter out;
  out.svarint(owner.pid);
  out.string(owner.doorbell);
  return seal(out.buffer());
}
Result<OwnerInfo> decode_owner(OwnerId id, std::string_view row) {
  const auto payload = unseal(row, "the row of a process");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  OwnerInfo owner{.id = id};
  owner.pid = in.svarint();
  owner.doorbell = in.string();
  return owner;
}

bool is_final(RunStatus s) { return s == RunStatus::completed || s == RunStatus::cancelled || s == RunStatus::error; }

std::string reversed(std::string_view s) { return {s.rbegin(), s.rend()}; }

class LmdbStore final : public Store {
 public:
  LmdbStore(MDB_env* env, std::string folder, LmdbOptions options, std::unique_ptr<ProcessLock> lock)
      : env_(env), folder_(std::move(folder)), options_(std::move(options)), lock_(std::move(lock)), locks_(folder_ + "/owners") {}

  ~LmdbStore() override {
    if (own_ != no_owner) {
      (void)change([&](Transaction& txn) { return txn.erase(tables_[owner_rows], key_of(own_)); });
    }
    mdb_env_close(env_);
  }

  Result<void> prepare() {
    return change([&](Transaction& txn) -> int {
      for (size_t i = 0; i < table_count; ++i) {
        if (const int code = mdb_dbi_open(txn.get(), table_names[i], MDB_CREATE, &tables_[i])) return code;
      }
      if (const auto row = txn.find(tables_[meta], magic)) {
        const auto payload = unseal(*row, "the store's description");
        if (!payload) return refuse(payload.error());
        ByteReader in(*payload);
        const uint32_t format = in.varint32();
        const uint8_t durability = in.u8();
        if (in.failed() || durability > static_cast<uint8_t>(Durability::none)) return refuse({ErrorCode::corrupt, "the store's description is damaged"});
        if (format > store_format) {
          return refuse({ErrorCode::incompatible, "the store was made by a newer version of kflow (format " + std::to_string(format) + "); this one knows format " + std::to_string(store_format)});
        }
        options_.durability = static_cast<Durability>(durability);
        return 0;
      }
      MDB_stat stat{};
      if (mdb_stat(txn.get(), tables_[runs], &stat) == 0 && stat.ms_entries > 0) return refuse({ErrorCode::incompatible, "the folder holds data of another program"});
      ByteWriter out;
      out.varint(store_format);
      out.u8(static_cast<uint8_t>(options_.durability));
      return put(txn, meta, magic, seal(out.buffer()));
    });
  }

  // ---- writing

  Result<BatchResult> write(std::span<const NewRun> new_runs, std::span<const RunCommit> batch) override {
    BatchResult out;
    auto done = change([&](Transaction& txn) -> int {
      out = {};
      for (const NewRun& run : new_runs) {
        if (const int code = insert(txn, run, out.started.emplace_back())) return code;
      }
      for (const RunCommit& commit : batch) {
        bool fenced = false;
        if (const int code = append(txn, commit, fenced)) return code;
        out.outcomes.push_back(fenced ? CommitOutcome::fenced : CommitOutcome::committed);
      }
      return 0;
    });
    if (!done) return std::unexpected(std::move(done).error());
    return out;
  }
  Result<std::vector<Started>> start(std::span<const NewRun> new_runs) override {
    auto out = write(new_runs, {});
    if (!out) return std::unexpected(std::move(out).error());
    return std::move(out->started);
  }
  Result<std::vector<CommitOutcome>> commit(std::span<const RunCommit> batch) override {
    auto out = write({}, batch);
    if (!out) return std::unexpected(std::move(out).error());
    return std::move(out->outcomes);
  }

  Result<void> post(RunKey run, const InboxMessage& message) override {
    return change([&](Transaction& txn) -> int {
      const auto header_row = txn.find(tables_[runs], key_of(run));
      if (!header_row) return refuse({ErrorCode::not_found, "no such run"});
      if (!message.dedup.empty()) {
        const std::string key = key_of(run) + message.dedup;
        if (txn.find(tables_[dedup], key)) return 0;
        if (const int code = put(txn, dedup, key, "1")) return code;
      }
      Cursor cursor(txn, tables_[inbox_rows]);
      uint64_t seq = 1;
      if (cursor.seek_before(key_of(run + 1, 0)) && number_at(cursor.key(), 0) == run) seq = number_at(cursor.key(), 8) + 1;
      return put(txn, inbox_rows, key_of(run, seq), encode_message(message));
    });
  }

  Result<OwnerId> register_owner(std::string_view doorbell) override {
    std::error_code error;
    fs::create_directories(folder_ + "/owners", error);
    if (error) return fail(ErrorCode::permission, "cannot create `" + folder_ + "/owners`: " + error.message());
    OwnerId id = 0;
    auto counted = change([&](Transaction& txn) -> int {
      if (const int code = next_number(txn, "last owner", id)) return code;
      return 0;
    });
    if (!counted) return std::unexpected(std::move(counted).error());
    // The lock is held before the row shows: nobody takes us for dead.
    if (auto held = locks_.hold(id); !held) return std::unexpected(std::move(held).error());
    auto shown = change([&](Transaction& txn) { return put(txn, owner_rows, key_of(id), encode_owner({id, ::getpid(), std::string(doorbell)})); });
    if (!shown) return std::unexpected(std::move(shown).error());
    own_ = id;
    return id;
  }

  Result<RunHeader> claim(RunKey run, uint64_t expected_epoch) override {
    RunHeader header;
    auto done = change([&](Transaction& txn) -> int {
      const auto row = txn.find(tables_[runs], key_of(run));
      if (!row) return refuse({ErrorCode::not_found, "no such run"});
      auto decoded = decode_header(*row);
      if (!decoded) return refuse(decoded.error());
      header = std::move(*decoded);
      const bool free = header.owner == no_owner || header.owner == own_ || !locks_.alive(header.owner);
      if (header.epoch != expected_epoch || !free || is_final(header.status)) {
        return refuse({ErrorCode::conflict, is_final(header.status) ? "the run has ended" : "another process has the run"});
      }
      header.owner = own_;
      ++header.epoch;
      OpenRow open_row;
      if (const auto known = txn.find(tables_[open_runs], key_of(run))) open_row = decode_open(*known);
      open_row.owner = own_;
      if (const int code = put(txn, open_runs, key_of(run), encode_open(open_row))) return code;
      return put(txn, runs, key_of(run), encode_header(header));
    });
    if (!done) return std::unexpected(std::move(done).error());
    return header;
  }

  // ---- reading

  Result<std::optional<RunHeader>> find(std::string_view id) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    const auto key = txn.find(tables_[ids], id);
    if (!key) return std::nullopt;
    return header_in(txn, number_at(*key, 0));
  }
  Result<std::optional<RunHeader>> header(RunKey run) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    return header_in(txn, run);
  }

  Result<std::vector<RunHeader>> match(std::string_view part, size_t limit) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    std::vector<RunKey> keys;
    const auto collect = [&](Table table, const std::string& prefix) {
      Cursor cursor(txn, tables_[table]);
      for (bool more = cursor.seek(prefix); more && cursor.key().starts_with(prefix) && keys.size() < 2 * limit; more = cursor.next()) {
        keys.push_back(number_at(cursor.value(), 0));
      }
    };
    collect(ids, std::string(part));
    collect(reversed_ids, reversed(part));
    std::sort(keys.rbegin(), keys.rend());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    std::vector<RunHeader> out;
    for (const RunKey key : keys) {
      if (out.size() == limit) break;
      auto header = header_in(txn, key);
      if (!header) return std::unexpected(std::move(header).error());
      if (*header) out.push_back(std::move(**header));
    }
    return out;
  }

  Result<std::vector<RunHeader>> list(const RunFilter& filter) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    std::vector<RunHeader> out;
    Cursor cursor(txn, tables_[runs]);
    for (bool more = cursor.seek_before(key_of(filter.before)); more && out.size() < filter.limit; more = cursor.previous()) {
      auto header = decode_header(cursor.value());
      if (!header) return std::unexpected(std::move(header).error());
      if (header->created_at < filter.since) break;
      const bool wanted = (!filter.status || header->status == *filter.status) && (filter.workflow.empty() || header->workflow == filter.workflow) &&
                          (filter.session_id.empty() || header->session_id == filter.session_id) &&
                          (filter.tag.empty() || std::find(header->tags.begin(), header->tags.end(), filter.tag) != header->tags.end());
      if (wanted) out.push_back(std::move(*header));
    }
    return out;
  }

  Result<std::vector<EventChunk>> read(RunKey run, uint64_t from_seq, size_t max_bytes) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    std::vector<EventChunk> out;
    size_t bytes = 0;
    Cursor cursor(txn, tables_[events]);
    // The chunk that holds `from_seq` is the last one that begins at or before it.
    bool more = cursor.seek_before(key_of(run, from_seq + 1));
    if (!more || number_at(cursor.key(), 0) != run) more = cursor.seek(key_of(run, 0));
    for (; more && number_at(cursor.key(), 0) == run && (out.empty() || bytes < max_bytes); more = cursor.next()) {
      auto chunk = decode_chunk(number_at(cursor.key(), 8), cursor.value());
      if (!chunk) return std::unexpected(std::move(chunk).error());
      if (chunk->first_seq + chunk->event_count <= from_seq) continue;
      bytes += chunk->events.size();
      out.push_back(std::move(*chunk));
    }
    return out;
  }

  Result<std::string> program(const Sha256& hash) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    const auto row = txn.find(tables_[programs], hash_key(hash));
    if (!row) return fail(ErrorCode::not_found, "the store does not hold the run's program");
    const auto payload = unseal(*row, "a stored program");
    if (!payload) return std::unexpected(payload.error());
    return std::string(*payload);
  }

  Result<std::optional<Snapshot>> snapshot(RunKey run) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    const auto row = txn.find(tables_[snapshots], key_of(run));
    if (!row) return std::nullopt;
    const auto payload = unseal(*row, "a snapshot");
    if (!payload) return std::unexpected(payload.error());
    ByteReader in(*payload);
    Snapshot out;
    out.seq = in.varint();
    out.state = in.raw(in.remaining());
    return out;
  }

  Result<std::vector<InboxMessage>> inbox(RunKey run, size_t limit) override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    std::vector<InboxMessage> out;
    Cursor cursor(txn, tables_[inbox_rows]);
    for (bool more = cursor.seek(key_of(run, 0)); more && number_at(cursor.key(), 0) == run && out.size() < limit; more = cursor.next()) {
      auto message = decode_message(number_at(cursor.key(), 8), cursor.value());
      if (!message) return std::unexpected(std::move(message).error());
      out.push_back(std::move(*message));
    }
    return out;
  }

  // ---- owners

  Result<std::vector<OwnerInfo>> owners() override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    std::vector<OwnerInfo> out;
    Cursor cursor(txn, tables_[owner_rows]);
    for (bool more = cursor.seek(""); more; more = cursor.next()) {
      auto owner = decode_owner(number_at(cursor.key(), 0), cursor.value());
      if (!owner) return std::unexpected(std::move(owner).error());
      out.push_back(std::move(*owner));
    }
    return out;
  }

  Result<std::vector<RunHeader>> claimable(Millis now, size_t limit) override {
    auto all = owners();
    if (!all) return std::unexpected(std::move(all).error());
    std::vector<OwnerId> dead;
    for (const OwnerInfo& owner : *all) {
      if (!locks_.alive(owner.id)) dead.push_back(owner.id);
    }
    std::vector<RunHeader> out;
    std::vector<OwnerId> needed;
    {
      Transaction txn;
      if (const int code = read(txn)) return failed(code);
      Cursor cursor(txn, tables_[open_runs]);
      for (bool more = cursor.seek(""); more && out.size() < limit; more = cursor.next()) {
        const RunKey run = number_at(cursor.key(), 0);
        const OpenRow row = decode_open(cursor.value());
        bool wanted = row.owner == no_owner && (row.due <= now || has_message(txn, run));
        if (!wanted && row.owner != no_owner && row.owner != own_) {
          wanted = !locks_.alive(row.owner);
          if (wanted) needed.push_back(row.owner);
        }
        if (!wanted) continue;
        auto header = header_in(txn, run);
        if (!header) return std::unexpected(std::move(header).error());
        if (*header) out.push_back(std::move(**header));
      }
    }
    // Rows of the dead that own nothing any more are of no use.
    std::erase_if(dead, [&](OwnerId id) { return std::find(needed.begin(), needed.end(), id) != needed.end() || out.size() >= limit; });
    if (!dead.empty()) {
      (void)change([&](Transaction& txn) -> int {
        for (const OwnerId id : dead) {
          if (const int code = txn.erase(tables_[owner_rows], key_of(id))) return code;
          locks_.remove(id);
        }
        return 0;
      });
    }
    return out;
  }

  Result<Millis> next_due() override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    Cursor cursor(txn, tables_[timers]);
    for (bool more = cursor.seek(""); more; more = cursor.next()) {
      const auto row = txn.find(tables_[open_runs], key_of(number_at(cursor.key(), 8)));
      if (row && decode_open(*row).owner == no_owner) return static_cast<Millis>(number_at(cursor.key(), 0));
    }
    return machine::never;
  }

  Result<bool> wait_for_death(int cancel_fd) override {
    auto all = owners();
    if (!all) return std::unexpected(std::move(all).error());
    std::erase_if(*all, [&](const OwnerInfo& o) { return o.id == own_; });
    return locks_.wait(*all, cancel_fd);
  }

  void ring(OwnerId owner) override {
    const auto all = owners();
    if (!all) return;
    for (const OwnerInfo& o : *all) {
      if (o.id != own_ && (owner == no_owner || o.id == owner)) Doorbell::ring(o.doorbell);
    }
  }

  Result<StoreInfo> info() override {
    Transaction txn;
    if (const int code = read(txn)) return failed(code);
    MDB_stat stat{};
    mdb_stat(txn.get(), tables_[runs], &stat);
    return StoreInfo{.format = store_format, .durability = options_.durability, .runs = stat.ms_entries, .bytes_used = used_bytes(), .bytes_limit = options_.max_bytes};
  }

 private:
  static std::string_view hash_key(const Sha256& hash) { return {reinterpret_cast<const char*>(hash.data()), hash.size()}; }
  std::unexpected<Error> failed(int code) const { return std::unexpected(error_of(code, "cannot read the store `" + folder_ + "`")); }
  int read(Transaction& txn) const { return txn.begin(env_, MDB_RDONLY); }

  Result<std::optional<RunHeader>> header_in(Transaction& txn, RunKey run) {
    const auto row = txn.find(tables_[runs], key_of(run));
    if (!row) return std::nullopt;
    auto header = decode_header(*row);
    if (!header) return std::unexpected(std::move(header).error());
    return std::optional(std::move(*header));
  }

  bool has_message(Transaction& txn, RunKey run) {
    Cursor cursor(txn, tables_[inbox_rows]);
    return cursor.seek(key_of(run, 0)) && number_at(cursor.key(), 0) == run;
  }

  uint64_t used_bytes() const {
    MDB_envinfo environment{};
    MDB_stat stat{};
    mdb_env_info(env_, &environment);
    mdb_env_stat(env_, &stat);
    return (environment.me_last_pgno + 1) * stat.ms_psize;
  }

  // An error of ours inside a transaction: kept, and the transaction given up.
  int refuse(Error error) {
    refused_ = std::move(error);
    return refused_code;
  }
  static constexpr int refused_code = -1;

  // One write transaction under the lock between processes. `body` gives an LMDB code; on any but 0 nothing has changed.
  template <typename Body>
  Result<void> change(Body body) {
    const std::lock_guard guard(mutex_);
    if (auto locked = lock_->lock(options_.lock_timeout_ms); !locked) return std::unexpected(std::move(locked).error().with_context("store `" + folder_ + "`"));
    struct Unlock {
      ProcessLock& lock;
      ~Unlock() { lock.unlock(); }
    } unlock{*lock_};
    Transaction txn;
    refused_ = {};
    if (used_bytes() > options_.max_bytes) {
      return fail(ErrorCode::no_space, "the store `" + folder_ + "` has reached its limit of " + std::to_string(options_.max_bytes >> 20) + " MiB; remove runs or raise the limit");
    }
    int code = txn.begin(env_, 0);
    if (code == 0) code = body(txn);
    if (code == 0) code = txn.commit();
    if (code == 0) return {};
    if (code == refused_code) return std::unexpected(std::move(refused_));
    KFLOW_CHECK(code != EIO, "an I/O error on writing the store: what is on the disk is not known any more");
    return std::unexpected(error_of(code, "cannot write the store `" + folder_ + "`"));
  }

  int put(Transaction& txn, Table table, std::string_view key, std::string_view value, unsigned flags = 0) {
    if (options_.row_observer) options_.row_observer(table_names[table], key, value);
    MDB_val k = lmdb::val(key);
    MDB_val v = lmdb::val(value);
    return mdb_put(txn.get(), tables_[table], &k, &v, flags);
  }

  int next_number(Transaction& txn, std::string_view counter, uint64_t& out) {
    out = 1;
    if (const auto row = txn.find(tables_[meta], counter)) out = number_at(*row, 0) + 1;
    return put(txn, meta, counter, key_of(out));
  }

  int set_due(Transaction& txn, RunKey run, OpenRow& row, Millis due) {
    if (row.due != machine::never) {
      if (const int code = txn.erase(tables_[timers], key_of(static_cast<uint64_t>(row.due), run))) return code;
    }
    row.due = due;
    return due == machine::never ? 0 : put(txn, timers, key_of(static_cast<uint64_t>(due), run), "");
  }

  int insert(Transaction& txn, const NewRun& run, Started& out) {
    RunHeader header = run.header;
    std::string idempotency_row;
    if (!run.idempotency_key.empty()) {
      const std::string scope = header.workflow + '\0' + run.idempotency_key;
      if (const auto known = txn.find(tables_[idempotency], scope)) {
        const RunKey key = number_at(*known, 0);
        if (known->substr(8) != hash_key(run.input_hash)) {
          return refuse({ErrorCode::conflict, "the idempotency key `" + run.idempotency_key + "` was used with another input"});
        }
        auto first = header_in(txn, key);
        if (!first) return refuse(first.error());
        out = {key, (*first)->id, true};
        return 0;
      }
    }
    if (txn.find(tables_[ids], header.id)) return refuse({ErrorCode::already_exists, "there is a run `" + header.id + "` already"});
    if (const int code = next_number(txn, "last run", header.key)) return code;
    const std::string key = key_of(header.key);
    if (!run.idempotency_key.empty()) {
      const std::string scope = header.workflow + '\0' + run.idempotency_key;
      if (const int code = put(txn, idempotency, scope, key + std::string(hash_key(run.input_hash)))) return code;
    }
    if (!txn.find(tables_[programs], hash_key(header.program))) {
      if (const int code = put(txn, programs, hash_key(header.program), seal(run.program))) return code;
    }
    if (const int code = put(txn, ids, header.id, key)) return code;
    if (const int code = put(txn, reversed_ids, reversed(header.id), key)) return code;
    if (const int code = put(txn, runs, key, encode_header(header), MDB_APPEND)) return code;
    if (run.event_count > 0) {
      const EventChunk chunk{.event_count = run.event_count, .public_count = run.public_count, .format = machine::events_format, .events = ""};
      if (const int code = put(txn, events, key_of(header.key, 0), encode_chunk(chunk, run.events))) return code;
    }
    out = {header.key, header.id, false};
    if (is_final(header.status)) return 0;
    OpenRow row{.owner = header.owner};
    if (const int code = set_due(txn, header.key, row, run.next_due)) return code;
    return put(txn, open_runs, key, encode_open(row));
  }

  int append(Transaction& txn, const RunCommit& commit, bool& fenced) {
    const std::string key = key_of(commit.run);
    const auto header_row = txn.find(tables_[runs], key);
    const auto epoch = header_row ? header_epoch(*header_row) : std::nullopt;
    fenced = !epoch || *epoch != commit.epoch;
    if (fenced) return 0;
    if (commit.event_count > 0) {
      uint64_t seq = 0;
      uint64_t shown = 0;
      Cursor cursor(txn, tables_[events]);
      if (cursor.seek_before(key_of(commit.run + 1, 0)) && number_at(cursor.key(), 0) == commit.run) {
        const std::string_view row = cursor.value();
        ByteReader in(row.substr(std::min<size_t>(5, row.size())));
        shown = in.varint();
        seq = number_at(cursor.key(), 8) + in.varint();
        shown += in.varint();
      }
      if (seq != commit.expected_seq) {
        fenced = true;
        return 0;
      }
      const EventChunk chunk{.first_public = shown, .event_count = commit.event_count, .public_count = commit.public_count, .format = machine::events_format, .events = ""};
      if (const int code = put(txn, events, key_of(commit.run, seq), encode_chunk(chunk, commit.events))) return code;
    }
    for (const uint64_t message : commit.consumed) {
      if (const int code = txn.erase(tables_[inbox_rows], key_of(commit.run, message))) return code;
    }
    if (commit.header) {
      if (const int code = put(txn, runs, key, encode_header(*commit.header))) return code;
    }
    if (!commit.header && !commit.next_due) return 0;
    return update_open(txn, commit, key);
  }

  int update_open(Transaction& txn, const RunCommit& commit, const std::string& key) {
    OpenRow row;
    if (const auto known = txn.find(tables_[open_runs], key)) row = decode_open(*known);
    if (commit.header && is_final(commit.header->status)) {
      if (const int code = set_due(txn, commit.run, row, machine::never)) return code;
      return txn.erase(tables_[open_runs], key);
    }
    if (commit.header) row.owner = commit.header->owner;
    if (commit.next_due && *commit.next_due != row.due) {
      if (const int code = set_due(txn, commit.run, row, *commit.next_due)) return code;
    }
    return put(txn, open_runs, key, encode_open(row));
  }

  MDB_env* env_;
  std::string folder_;
  LmdbOptions options_;
  std::unique_ptr<ProcessLock> lock_;
  OwnerLocks locks_;
  OwnerId own_ = no_owner;
  std::array<MDB_dbi, table_count> tables_{};
  std::mutex mutex_;  // threads of this process; `lock_` is for processes
  Error refused_;
};

// Whether the file has all pages that its description counts; a file cut off in the middle would kill us on access.
Result<void> check_length(MDB_env* env, const std::string& file) {
  MDB_envinfo info{};
  MDB_stat stat{};
  mdb_env_info(env, &info);
  mdb_env_stat(env, &stat);
  struct stat on_disk {};
  if (::stat(file.c_str(), &on_disk) != 0) return fail(ErrorCode::io, "cannot read `" + file + "`: " + std::strerror(errno));
  const uint64_t needed = (info.me_last_pgno + 1) * stat.ms_psize;
  if (static_cast<uint64_t>(on_disk.st_size) < needed) {
    return fail(ErrorCode::corrupt, "`" + file + "` is cut off: " + std::to_string(on_disk.st_size) + " of " + std::to_string(needed) + " bytes are there; restore it from a backup");
  }
  return {};
}

unsigned flags_of(Durability d) {
  switch (d) {
    case Durability::sync: return 0;
    case Durability::process: return MDB_NOSYNC;
    case Durability::none: return MDB_NOSYNC;
  }
  std::unreachable();
}

}  // namespace

Result<std::unique_ptr<Store>> open_lmdb_store(const std::string& folder, LmdbOptions options) {
  std::error_code error;
  const std::string file = folder + "/data.mdb";
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) return fail(ErrorCode::incompatible, "`" + folder + "` is a file, not the folder of a store");
  if (!fs::exists(file, error)) {
    if (!options.create) return fail(ErrorCode::not_found, "there is no store in `" + folder + "`; `kflow run` makes one, `--store` names another");
    fs::create_directories(folder, error);
    if (error) return fail(ErrorCode::permission, "cannot create the store `" + folder + "`: " + error.message());
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename();
      if (name != "owners" && name != "lock" && name != "lock.mdb" && name != "logs") {
        return fail(ErrorCode::incompatible, "`" + folder + "` holds other files (`" + name + "`) and no store; choose an empty folder with --store");
      }
    }
  }
  auto lock = ProcessLock::open(folder + "/lock");
  if (!lock) return std::unexpected(std::move(lock).error().with_context("store `" + folder + "`"));
  MDB_env* env = nullptr;
  if (const int code = mdb_env_create(&env)) return std::unexpected(error_of(code, "cannot open the store"));
  std::unique_ptr<MDB_env, decltype(&mdb_env_close)> guard(env, &mdb_env_close);
  mdb_env_set_mapsize(env, map_size);
  mdb_env_set_maxdbs(env, table_count);
  mdb_env_set_maxreaders(env, max_readers);
  if (const int code = mdb_env_open(env, folder.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0644)) {
    Error e = error_of(code, "cannot open the store `" + folder + "`");
    if (e.code == ErrorCode::incompatible) e.message = "`" + file + "` is not a store of kflow: " + mdb_strerror(code);
    return std::unexpected(std::move(e));
  }
  if (auto whole = check_length(env, file); !whole) return std::unexpected(std::move(whole).error());
  int dead = 0;
  mdb_reader_check(env, &dead);
  auto store = std::make_unique<LmdbStore>(guard.release(), folder, std::move(options), std::move(*lock));
  if (auto ready = store->prepare(); !ready) return std::unexpected(std::move(ready).error());
  const auto info = store->info();
  if (info && info->durability != Durability::sync) mdb_env_set_flags(env, flags_of(info->durability), 1);
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace kflow::store
