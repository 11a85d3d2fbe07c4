// Rows of a store: format version, checksum, payload; and the payloads' layouts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/store/store.hpp"

namespace kflow::store {

/// Bytes before the payload: version (1), checksum over key and payload (4).
inline constexpr size_t seal_size = 5;

/// A row: the checksum covers its key, so that a row at a wrong place is found too.
std::string seal(std::string_view key, std::string_view payload);
/// The payload of a sealed row; an error of code corrupt or incompatible that names `what`.
Result<std::string_view> unseal(std::string_view key, std::string_view row, std::string_view what);

/// What the row of a run says; `due` is its earliest timer and counts only while the run has no
/// owner.
struct RunRow {
  RunHeader header;
  Millis due = machine::never;
};
std::string encode_run(std::string_view key, const RunRow& run);
Result<RunRow> decode_run(std::string_view key, std::string_view row);
/// The part of a run's row that every commit needs, without decoding the rest.
struct RunFence {
  uint64_t epoch = 0;
  OwnerId owner = no_owner;
  RunStatus status = RunStatus::pending;
};
Result<RunFence> decode_fence(std::string_view key, std::string_view row);

/// What comes before the events in the row of a chunk. `events_hash` is `xxh3(events)`, computed
/// before any lock is taken.
std::string encode_chunk_head(std::string_view key, const EventChunk& head, uint64_t events_hash);
Result<EventChunk> decode_chunk(std::string_view key, std::string_view row);
/// Without `events`, and unverified: only to count on from the last chunk of a log.
Result<EventChunk> decode_chunk_head(std::string_view key, std::string_view row);

/// A row of a stream: where its events are.
std::string encode_piece(std::string_view key, const StreamPiece& piece);
Result<StreamPiece> decode_piece(std::string_view key, std::string_view row);

std::string encode_message(std::string_view key, const InboxMessage& message);
Result<InboxMessage> decode_message(std::string_view key, std::string_view row);
std::string encode_owner(std::string_view key, const OwnerInfo& owner);
Result<OwnerInfo> decode_owner(std::string_view key, std::string_view row);
/// A session's, or a cached value with its expiry: a number and bytes.
std::string encode_numbered(std::string_view key, uint64_t number, std::string_view bytes);
struct Numbered {
  uint64_t number = 0;
  std::string bytes;
};
Result<Numbered> decode_numbered(std::string_view key, std::string_view row, std::string_view what);
std::string encode_schedule(std::string_view key, const Schedule& schedule);
Result<Schedule> decode_schedule(std::string_view key, std::string_view row);
std::string encode_snapshot(std::string_view key, uint64_t seq, std::string_view state);
Result<Store::Snapshot> decode_snapshot(std::string_view key, std::string_view row);
std::string encode_number(std::string_view key, uint64_t number);
Result<uint64_t> decode_number(std::string_view key, std::string_view row);

/// The description of a store, under `description_key` in `meta`.
inline constexpr std::string_view description_key = "kflow store";
inline constexpr uint32_t store_format = 4;
/// Formats below this were those of versions before the first release.
inline constexpr uint32_t oldest_store_format = 4;
std::string encode_description(Durability durability);
/// incompatible: made by a newer version.
Result<Durability> decode_description(std::string_view row);

}  // namespace kflow::store
