// Tables in an LMDB file.
#include "runtime/store/lmdb/lmdb_store.hpp"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "compiler/base/check.hpp"
#include "runtime/store/lmdb/environment.hpp"
#include "runtime/store/owners.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

// New runs are refused when less than this is left of the quota, so that those on their way can
// finish.
constexpr uint64_t largest_ballast = 64ULL << 20;
// A write that fails with an I/O error when less than this is free was cut short by the full disk.
constexpr uint64_t nearly_full = 16ULL << 20;

class LmdbCursor final : public Cursor {
 public:
  LmdbCursor(MDB_cursor* cursor, const Environment& e) : cursor_(cursor), e_(e) {}
  LmdbCursor(const LmdbCursor&) = delete;
  LmdbCursor& operator=(const LmdbCursor&) = delete;
  ~LmdbCursor() override { mdb_cursor_close(cursor_); }

  Result<bool> seek(std::string_view key) override {
    key_ = lmdb_value(key);
    // LMDB knows no empty key.
    return key.empty() ? move(MDB_FIRST) : move(MDB_SET_RANGE);
  }
  Result<bool> seek_before(std::string_view key) override {
    auto found = seek(key);
    if (!found) return found;
    return move(*found ? MDB_PREV : MDB_LAST);
  }
  Result<bool> next() override { return move(MDB_NEXT); }
  Result<bool> previous() override { return move(MDB_PREV); }
  std::string_view key() const override { return view_of(key_); }
  std::string_view value() const override { return view_of(value_); }

 private:
  Result<bool> move(MDB_cursor_op op) {
    const int code = mdb_cursor_get(cursor_, &key_, &value_, op);
    if (code == 0 && !(e_.is_inside(key_) && e_.is_inside(value_))) {
      return std::unexpected(lmdb_error(MDB_CORRUPTED, "the store `" + e_.folder + "` is damaged"));
    }
    if (code == 0) return true;
    if (code == MDB_NOTFOUND) return false;
    return std::unexpected(lmdb_error(code, "cannot read the store `" + e_.folder + "`"));
  }
  MDB_cursor* cursor_;
  const Environment& e_;
  MDB_val key_{};
  MDB_val value_{};
};

class LmdbTransaction final : public Transaction {
 public:
  explicit LmdbTransaction(std::shared_ptr<Environment> e) : e_(std::move(e)) {}
  LmdbTransaction(const LmdbTransaction&) = delete;
  LmdbTransaction& operator=(const LmdbTransaction&) = delete;
  ~LmdbTransaction() override {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
  }
  int begin(unsigned flags) { return mdb_txn_begin(e_->env, nullptr, flags, &txn_); }
  int commit() { return mdb_txn_commit(std::exchange(txn_, nullptr)); }

  Result<std::optional<std::string_view>> get(Table table, std::string_view key) override {
    MDB_val k = lmdb_value(key);
    MDB_val v{};
    const int code = mdb_get(txn_, dbi(table), &k, &v);
    if (code == 0 && !e_->is_inside(v))
      return std::unexpected(
          lmdb_error(MDB_CORRUPTED, "the store `" + e_->folder + "` is damaged"));
    if (code == 0) return std::optional(view_of(v));
    if (code == MDB_NOTFOUND) return std::nullopt;
    return std::unexpected(lmdb_error(code, "cannot read the store `" + e_->folder + "`"));
  }

  Result<std::unique_ptr<Cursor>> cursor(Table table) override {
    MDB_cursor* cursor = nullptr;
    const int code = mdb_cursor_open(txn_, dbi(table), &cursor);
    if (code != 0)
      return std::unexpected(lmdb_error(code, "cannot read the store `" + e_->folder + "`"));
    return std::make_unique<LmdbCursor>(cursor, *e_);
  }

  Result<void> put(Table table, std::string_view key, std::string_view head, std::string_view tail,
                   PutMode mode) override {
    MDB_val k = lmdb_value(key);
    MDB_val v{head.size() + tail.size(), nullptr};
    unsigned flags = MDB_RESERVE;
    if (mode == PutMode::insert) flags |= MDB_NOOVERWRITE;
    if (mode == PutMode::append) flags |= MDB_APPEND;
    const int code = mdb_put(txn_, dbi(table), &k, &v, flags);
    if (code == MDB_KEYEXIST) {
      return fail(ErrorCode::corrupt, "the store `" + e_->folder + "` has a row in `" +
                                          table_names[static_cast<size_t>(table)] +
                                          "` that should not be there");
    }
    if (code != 0) return std::unexpected(write_error(*e_, code));
    auto* to = static_cast<char*>(v.mv_data);
    if (!head.empty()) std::memcpy(to, head.data(), head.size());
    if (!tail.empty()) std::memcpy(to + head.size(), tail.data(), tail.size());
    if (e_->options.row_observer)
      e_->options.row_observer(table_names[static_cast<size_t>(table)], key, view_of(v));
    return {};
  }

  Result<void> erase(Table table, std::string_view key) override {
    MDB_val k = lmdb_value(key);
    const int code = mdb_del(txn_, dbi(table), &k, nullptr);
    if (code == 0 || code == MDB_NOTFOUND) return {};
    return std::unexpected(write_error(*e_, code));
  }

  uint64_t count(Table table) override {
    MDB_stat stat{};
    return mdb_stat(txn_, dbi(table), &stat) == 0 ? stat.ms_entries : 0;
  }

  /// Pages on the free list.
  uint64_t free_pages() {
    MDB_cursor* cursor = nullptr;
    if (mdb_cursor_open(txn_, 0, &cursor) != 0) return 0;
    uint64_t pages = 0;
    MDB_val key{};
    MDB_val list{};
    while (mdb_cursor_get(cursor, &key, &list, MDB_NEXT) == 0) {
      size_t n = 0;
      if (list.mv_size >= sizeof n) std::memcpy(&n, list.mv_data, sizeof n);
      pages += n;
    }
    mdb_cursor_close(cursor);
    return pages;
  }

  static Error write_error(const Environment& e, int code) {
    const std::string what = "cannot write the store `" + e.folder + "`";
    if (code == EIO) {
      // LMDB says so too when the disk is full and takes only a part.
      struct statvfs disk{};
      const bool full =
          ::statvfs(e.folder.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < nearly_full;
      if (full) return lmdb_error(ENOSPC, what);
    }
    KFLOW_CHECK(code != EIO && code != MDB_PANIC,
                "an I/O error on writing the store: what is on the disk is not known any more, a "
                "restart reads it again");
    return lmdb_error(code, what);
  }

 private:
  MDB_dbi dbi(Table table) const { return e_->tables[static_cast<size_t>(table)]; }
  std::shared_ptr<Environment> e_;
  MDB_txn* txn_ = nullptr;
};

class LmdbTables final : public Tables {
 public:
  explicit LmdbTables(std::shared_ptr<Environment> e)
      : e_(std::move(e)), blobs_(e_->folder + "/blobs", e_->durability == Durability::sync) {}

  Result<std::unique_ptr<Transaction>> read() override {
    auto txn = std::make_unique<LmdbTransaction>(e_);
    int code = txn->begin(MDB_RDONLY);
    if (code == MDB_READERS_FULL) {
      clear_stale_readers();
      code = txn->begin(MDB_RDONLY);
    }
    if (code != 0)
      return std::unexpected(lmdb_error(code, "cannot read the store `" + e_->folder + "`"));
    return txn;
  }

  Result<void> write(const std::function<Result<void>(Transaction&)>& body) override {
    if (e_->options.read_only)
      return fail(ErrorCode::permission, "the store `" + e_->folder + "` is open for reading only");
    if (auto locked = e_->lock->lock(e_->options.lock_timeout_ms); !locked) {
      return std::unexpected(std::move(locked).error().with_context("store `" + e_->folder + "`"));
    }
    struct Unlock {
      ProcessLock& lock;
      ~Unlock() { lock.unlock(); }
    } unlock{*e_->lock};
    if (auto room = room_left(0); !room) return room;
    LmdbTransaction txn(e_);
    if (const int code = txn.begin(0))
      return std::unexpected(LmdbTransaction::write_error(*e_, code));
    if (auto done = body(txn); !done) return done;
    if (const int code = txn.commit())
      return std::unexpected(LmdbTransaction::write_error(*e_, code));
    return {};
  }

  Result<void> room_for_new_runs() override {
    return room_left(std::min(bytes_limit() / 16, largest_ballast));
  }

  Result<void> copy_to(const std::string& folder, bool compact) override {
    return copy_environment(*e_, blobs_, folder, compact);
  }

  uint64_t bytes_used() override {
    const uint64_t all = e_->file_bytes();
    LmdbTransaction txn(e_);
    if (txn.begin(MDB_RDONLY) != 0) return all;
    return all - std::min(all, txn.free_pages() * e_->page_size());
  }
  uint64_t bytes_limit() override { return e_->options.max_bytes; }
  Durability durability() override { return e_->durability; }
  BlobFiles* blob_files() override { return &blobs_; }
  void clear_stale_readers() override {
    int dead = 0;
    mdb_reader_check(e_->env, &dead);
  }

 private:
  Result<void> room_left(uint64_t needed) {
    // The free list is counted only near the end.
    if (e_->file_bytes() + needed <= bytes_limit() || bytes_used() + needed <= bytes_limit())
      return {};
    return fail(ErrorCode::no_space, "the store `" + e_->folder + "` has reached its limit of " +
                                         std::to_string(bytes_limit() >> 20) +
                                         " MiB; remove runs, or raise the limit");
  }
  std::shared_ptr<Environment> e_;
  BlobFiles blobs_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_lmdb_store(const std::string& folder, LmdbOptions options) {
  auto environment = open_environment(folder, options);
  if (!environment) return std::unexpected(std::move(environment).error());
  return std::make_unique<TableStore>(std::make_shared<LmdbTables>(std::move(*environment)),
                                      std::make_unique<OwnerLocks>(folder + "/owners"));
}

}  // namespace kflow::store
