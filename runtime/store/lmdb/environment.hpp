// Thin owners of LMDB handles: environment, transaction, cursor; errors become our own.
#pragma once

#include <lmdb.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/base/check.hpp"
#include "compiler/base/result.hpp"

namespace kflow::store::lmdb {

inline Error error_of(int code, std::string_view what) {
  ErrorCode kind = ErrorCode::io;
  std::string hint;
  switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC: kind = ErrorCode::no_space, hint = "; free space on the disk, then it goes on"; break;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH: kind = ErrorCode::incompatible; break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC: kind = ErrorCode::corrupt; break;
    case MDB_READERS_FULL: kind = ErrorCode::unavailable; break;
    case EACCES:
    case EPERM:
    case EROFS: kind = ErrorCode::permission; break;
    default: break;
  }
  return {kind, std::string(what) + ": " + mdb_strerror(code) + hint};
}

inline MDB_val val(std::string_view s) { return {s.size(), const_cast<char*>(s.data())}; }
inline std::string_view view(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }

/// Aborted unless committed.
class Transaction {
 public:
  Transaction() = default;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
  }
  int begin(MDB_env* env, unsigned flags) { return mdb_txn_begin(env, nullptr, flags, &txn_); }
  int commit() { return mdb_txn_commit(std::exchange(txn_, nullptr)); }
  MDB_txn* get() const { return txn_; }

  std::optional<std::string_view> find(MDB_dbi table, std::string_view key) const {
    MDB_val k = val(key);
    MDB_val v{};
    return mdb_get(txn_, table, &k, &v) == 0 ? std::optional(view(v)) : std::nullopt;
  }
  int erase(MDB_dbi table, std::string_view key) const {
    MDB_val k = val(key);
    const int code = mdb_del(txn_, table, &k, nullptr);
    return code == MDB_NOTFOUND ? 0 : code;
  }

 private:
  MDB_txn* txn_ = nullptr;
};

class Cursor {
 public:
  Cursor(const Transaction& txn, MDB_dbi table) { KFLOW_CHECK(mdb_cursor_open(txn.get(), table, &cursor_) == 0, "no cursor"); }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor() { mdb_cursor_close(cursor_); }
  /// First entry at or after `key`.
  bool seek(std::string_view key) {
    if (key.empty()) return mdb_cursor_get(cursor_, &key_, &value_, MDB_FIRST) == 0;  // LMDB has no empty keys
    key_ = val(key);
    return mdb_cursor_get(cursor_, &key_, &value_, MDB_SET_RANGE) == 0;
  }
  /// Last entry before `key`.
  bool seek_before(std::string_view key) { return seek(key) ? previous() : mdb_cursor_get(cursor_, &key_, &value_, MDB_LAST) == 0; }
  bool next() { return mdb_cursor_get(cursor_, &key_, &value_, MDB_NEXT) == 0; }
  bool previous() { return mdb_cursor_get(cursor_, &key_, &value_, MDB_PREV) == 0; }
  std::string_view key() const { return view(key_); }
  std::string_view value() const { return view(value_); }

 private:
  MDB_cursor* cursor_ = nullptr;
  MDB_val key_{};
  MDB_val value_{};
};

}  // namespace kflow::store::lmdb
