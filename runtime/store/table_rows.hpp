// Rows of runs and their indexes: small steps that reading and writing of a TableStore share.
#pragma once

#include <string>

#include "compiler/base/hash.hpp"
#include "runtime/store/keys.hpp"
#include "runtime/store/tables.hpp"

namespace kflow::store {

inline std::string_view key_of(const Sha256& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

enum class Label : uint8_t { workflow = 1, session = 2, tag = 3, parent = 4, workflow_status = 5 };
inline constexpr size_t longest_label = 200;

/// Prefix of all rows of one label; long texts by their hash.
inline std::string label_prefix(Label kind, std::string_view text) {
  std::string out(1, static_cast<char>(kind));
  if (text.size() <= longest_label) {
    out += text;
  } else {
    out += to_hex(sha256(text));
  }
  out += '\0';
  return out;
}

inline constexpr size_t longest_id = 255;
/// Keys are limited; a long text stands there by its hash.
inline std::string bounded(std::string text) {
  return text.size() <= longest_id ? std::move(text) : to_hex(sha256(text));
}

/// Users of blobs: runs by their keys; stages, which begin with the bits 10; and what is kept
/// beside the runs (shared values, sessions, messages), with the bits 11 and a hash of where it is.
inline constexpr uint64_t side_user_bits = 3ULL << 62;
inline uint64_t side_user(Table table, std::string_view key) {
  return side_user_bits | (xxh3(static_cast<char>(table) + std::string(key)) >> 2);
}
/// The row of a blob that is a file: its size.
inline std::string blob_file_key(std::string_view hash) { return 'f' + std::string(hash); }
inline std::string blob_user_key(std::string_view hash, RunKey run) {
  return 'h' + std::string(hash) + std::string(Key(run));
}
inline std::string run_blob_key(RunKey run, std::string_view hash) {
  return 'r' + std::string(Key(run)) + std::string(hash);
}

/// Rows of one concurrency slot.
inline std::string slot_prefix(std::string_view slot) { return bounded(std::string(slot)) + '\0'; }
inline constexpr char slot_running = 1;
inline constexpr char slot_queued = 2;

/// Prefix of the runs of a workflow in one status.
inline std::string workflow_status_prefix(std::string_view workflow, RunStatus status) {
  return label_prefix(Label::workflow_status, workflow) + static_cast<char>(status);
}

/// Takes the run out of the indexes by workflow, session, tags and parent.
Result<void> erase_labels(Transaction& txn, const RunHeader& h);
Result<uint64_t> next_number(Transaction& txn, std::string_view counter);
Result<bool> exists(Transaction& txn, Table table, std::string_view key);
/// Writes the run's row and moves its index rows.
Result<void> replace_run(Transaction& txn, const struct RunRow& from, const struct RunRow& to);

/// Whether the run has rows of a stream: it has waited for runs of its own.
Result<bool> is_streamed(Transaction& txn, RunKey run);

inline bool has_prefix(std::string_view key, std::string_view prefix) {
  return key.starts_with(prefix);
}

}  // namespace kflow::store
