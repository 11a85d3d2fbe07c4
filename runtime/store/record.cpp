// Layouts of rows. Versions are never reused.
#include "runtime/store/record.hpp"

#include <algorithm>

#include "compiler/base/bytes.hpp"
#include "compiler/base/hash.hpp"
#include "runtime/store/keys.hpp"

namespace kflow::store {
namespace {

constexpr uint8_t row_version = 1;

uint32_t checksum(std::string_view key, uint64_t payload_hash) {
  const uint64_t mixed = (xxh3(key) ^ payload_hash) * 0x9e3779b97f4a7c15ULL;
  return static_cast<uint32_t>(mixed >> 32);
}

std::unexpected<Error> damaged(std::string_view what) {
  return fail(
      ErrorCode::corrupt,
      std::string(what) + " is damaged; restore the store from a backup, or begin a new one");
}

// Reads version and checksum; what is left of `in` is the payload.
Result<uint32_t> open_seal(ByteReader& in, std::string_view what) {
  const uint8_t version = in.u8();
  const uint32_t sum = in.u32();
  if (in.failed() || version == 0) return damaged(what);
  // A version nobody will reach soon is more likely a flipped bit.
  if (version > row_version && version < 16) {
    return fail(ErrorCode::incompatible,
                std::string(what) + " was written by a newer version of kflow");
  }
  if (version != row_version) return damaged(what);
  return sum;
}

std::string_view bytes_of(const Sha256& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

void read_chunk_head(ByteReader& in, EventChunk& chunk) {
  chunk.first_public = in.varint();
  chunk.event_count = in.varint32();
  chunk.public_count = in.varint32();
  chunk.format = in.varint32();
}

constexpr std::string_view chunk_name = "a part of a run's log";
constexpr std::string_view run_name = "the row of a run";
constexpr std::string_view piece_name = "the row of a stream";

}  // namespace

std::string_view to_string(Durability d) {
  switch (d) {
    case Durability::sync:
      return "sync";
    case Durability::process:
      return "process";
    case Durability::none:
      return "none";
  }
  std::unreachable();
}

std::string seal(std::string_view key, std::string_view payload) {
  ByteWriter out;
  out.buffer().reserve(seal_size + payload.size());
  out.u8(row_version);
  out.u32(checksum(key, xxh3(payload)));
  out.raw(payload);
  return out.take();
}

Result<std::string_view> unseal(std::string_view key, std::string_view row, std::string_view what) {
  ByteReader in(row);
  const auto sum = open_seal(in, what);
  if (!sum) return std::unexpected(sum.error());
  const std::string_view payload = in.raw(in.remaining());
  if (checksum(key, xxh3(payload)) != *sum) return damaged(what);
  return payload;
}

namespace {

void write_usage(ByteWriter& out, const machine::UsageTotal& u) {
  out.svarint(u.input_tokens);
  out.svarint(u.output_tokens);
  out.f64(u.usd);
  out.svarint(u.calls);
  out.svarint(u.cached_input_tokens);
  out.svarint(u.cache_write_tokens);
  out.svarint(u.reasoning_tokens);
}
void read_usage(ByteReader& in, machine::UsageTotal& u) {
  u.input_tokens = in.svarint();
  u.output_tokens = in.svarint();
  u.usd = in.f64();
  u.calls = in.svarint();
  u.cached_input_tokens = in.svarint();
  u.cache_write_tokens = in.svarint();
  u.reasoning_tokens = in.svarint();
}

}  // namespace

std::string encode_run(std::string_view key, const RunRow& run) {
  const RunHeader& h = run.header;
  ByteWriter out;
  out.u64(h.epoch);
  out.u64(h.owner);
  out.u8(static_cast<uint8_t>(h.status));
  out.svarint(run.due);
  out.string(h.id);
  out.string(h.workflow);
  out.raw(bytes_of(h.program));
  out.svarint(h.created_at);
  out.svarint(h.started_at);
  out.svarint(h.ended_at);
  out.varint(h.attempt);
  out.string(h.session_id);
  out.string(h.user_id);
  out.varint(h.tags.size());
  for (const std::string& tag : h.tags) out.string(tag);
  out.string(h.project_root);
  out.string(h.error);
  out.varint(h.parent);
  out.boolean(h.attached);
  out.string(h.slot);
  out.varint(h.slot_limit);
  out.svarint(h.retention_ms);
  out.boolean(h.trimmed);
  out.string(h.tape);
  write_usage(out, h.usage);
  return seal(key, out.buffer());
}

Result<RunRow> decode_run(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, run_name);
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  RunRow out;
  RunHeader& h = out.header;
  h.key = number_at(key, 0);
  h.epoch = in.u64();
  h.owner = in.u64();
  const uint8_t status = in.u8();
  if (status > static_cast<uint8_t>(RunStatus::error)) in.fail();
  h.status = in.failed() ? RunStatus::pending : static_cast<RunStatus>(status);
  out.due = in.svarint();
  h.id = in.string();
  h.workflow = in.string();
  const std::string_view hash = in.raw(h.program.size());
  std::copy(hash.begin(), hash.end(), h.program.begin());
  h.created_at = in.svarint();
  h.started_at = in.svarint();
  h.ended_at = in.svarint();
  h.attempt = in.varint32();
  h.session_id = in.string();
  h.user_id = in.string();
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) h.tags.emplace_back(in.string());
  h.project_root = in.string();
  h.error = in.string();
  h.parent = in.varint();
  h.attached = in.boolean();
  h.slot = in.string();
  h.slot_limit = in.varint32();
  h.retention_ms = in.svarint();
  h.trimmed = in.boolean();
  if (in.remaining() > 0) {  // rows of before have no more
    h.tape = in.string();
    read_usage(in, h.usage);
  }
  if (!in.done()) return damaged(run_name);
  return out;
}

Result<RunFence> decode_fence(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, run_name);
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  RunFence out;
  out.epoch = in.u64();
  out.owner = in.u64();
  const uint8_t status = in.u8();
  if (in.failed() || status > static_cast<uint8_t>(RunStatus::error)) return damaged(run_name);
  out.status = static_cast<RunStatus>(status);
  return out;
}

std::string encode_chunk_head(std::string_view key, const EventChunk& head, uint64_t events_hash) {
  ByteWriter payload;
  payload.varint(head.first_public);
  payload.varint(head.event_count);
  payload.varint(head.public_count);
  payload.varint(head.format);
  ByteWriter out;
  out.u8(row_version);
  out.u32(checksum(key, xxh3(payload.buffer()) * 31 + events_hash));
  out.raw(payload.buffer());
  return out.take();
}

Result<EventChunk> decode_chunk(std::string_view key, std::string_view row) {
  ByteReader in(row);
  const auto sum = open_seal(in, chunk_name);
  if (!sum) return std::unexpected(sum.error());
  EventChunk chunk{.first_seq = number_at(key, 8)};
  read_chunk_head(in, chunk);
  if (in.failed()) return damaged(chunk_name);
  const size_t head_size = row.size() - in.remaining();
  const std::string_view events = in.raw(in.remaining());
  const std::string_view head = row.substr(seal_size, head_size - seal_size);
  if (checksum(key, xxh3(head) * 31 + xxh3(events)) != *sum || chunk.event_count == 0) {
    return damaged(chunk_name);
  }
  if (chunk.format > machine::events_format) {
    return fail(ErrorCode::incompatible, "the run's log was written by a newer version of kflow");
  }
  chunk.events = events;
  return chunk;
}

Result<EventChunk> decode_chunk_head(std::string_view key, std::string_view row) {
  ByteReader in(row);
  const auto sum = open_seal(in, chunk_name);
  if (!sum) return std::unexpected(sum.error());
  EventChunk chunk{.first_seq = number_at(key, 8)};
  read_chunk_head(in, chunk);
  if (in.failed()) return damaged(chunk_name);
  return chunk;
}

std::string encode_piece(std::string_view key, const StreamPiece& piece) {
  ByteWriter out;
  out.u64(piece.run);
  out.varint(piece.first_public);
  out.varint(piece.count);
  return seal(key, out.buffer());
}

Result<StreamPiece> decode_piece(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, piece_name);
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  StreamPiece out{.first_index = number_at(key, 8)};
  out.run = in.u64();
  out.first_public = in.varint();
  out.count = in.varint();
  if (!in.done() || out.count == 0) return damaged(piece_name);
  return out;
}

std::string encode_message(std::string_view key, const InboxMessage& m) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(m.kind));
  out.string(m.dedup);
  out.string(m.body);
  return seal(key, out.buffer());
}

Result<InboxMessage> decode_message(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, "a message to a run");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  InboxMessage m{.seq = number_at(key, 8)};
  const uint8_t kind = in.u8();
  if (kind > static_cast<uint8_t>(InboxMessage::Kind::kill)) in.fail();
  m.kind = in.failed() ? InboxMessage::Kind::cancel : static_cast<InboxMessage::Kind>(kind);
  m.dedup = in.string();
  m.body = in.string();
  if (!in.done()) return damaged("a message to a run");
  return m;
}

std::string encode_owner(std::string_view key, const OwnerInfo& owner) {
  ByteWriter out;
  out.svarint(owner.pid);
  out.string(owner.doorbell);
  return seal(key, out.buffer());
}

Result<OwnerInfo> decode_owner(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, "the row of a process");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  OwnerInfo owner{.id = number_at(key, 0)};
  owner.pid = in.svarint();
  owner.doorbell = in.string();
  if (!in.done()) return damaged("the row of a process");
  return owner;
}

std::string encode_numbered(std::string_view key, uint64_t number, std::string_view bytes) {
  ByteWriter out;
  out.varint(number);
  out.raw(bytes);
  return seal(key, out.buffer());
}

Result<Numbered> decode_numbered(std::string_view key, std::string_view row,
                                 std::string_view what) {
  const auto payload = unseal(key, row, what);
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  Numbered out;
  out.number = in.varint();
  out.bytes = in.raw(in.remaining());
  if (in.failed()) return damaged(what);
  return out;
}

std::string encode_schedule(std::string_view key, const Schedule& s) {
  ByteWriter out;
  out.string(s.workflow);
  out.raw(bytes_of(s.program));
  out.string(s.project_root);
  out.string(s.spec);
  out.svarint(s.next_due);
  out.boolean(s.enabled);
  out.varint(s.last_run);
  return seal(key, out.buffer());
}

Result<Schedule> decode_schedule(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, "the row of a schedule");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  Schedule s{.id = std::string(key)};
  s.workflow = in.string();
  const std::string_view hash = in.raw(s.program.size());
  std::copy(hash.begin(), hash.end(), s.program.begin());
  s.project_root = in.string();
  s.spec = in.string();
  s.next_due = in.svarint();
  s.enabled = in.boolean();
  s.last_run = in.varint();
  if (!in.done()) return damaged("the row of a schedule");
  return s;
}

std::string encode_snapshot(std::string_view key, uint64_t seq, std::string_view state) {
  ByteWriter out;
  out.varint(seq);
  out.raw(state);
  return seal(key, out.buffer());
}

Result<Store::Snapshot> decode_snapshot(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, "a snapshot of a run");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  Store::Snapshot out;
  out.seq = in.varint();
  out.state = in.raw(in.remaining());
  if (in.failed()) return damaged("a snapshot of a run");
  return out;
}

std::string encode_number(std::string_view key, uint64_t number) { return seal(key, Key(number)); }

Result<uint64_t> decode_number(std::string_view key, std::string_view row) {
  const auto payload = unseal(key, row, "an index of the store");
  if (!payload) return std::unexpected(payload.error());
  if (payload->size() != sizeof(uint64_t)) return damaged("an index of the store");
  return number_at(*payload, 0);
}

std::string encode_description(Durability durability) {
  ByteWriter out;
  out.varint(store_format);
  out.u8(static_cast<uint8_t>(durability));
  return seal(description_key, out.buffer());
}

Result<Durability> decode_description(std::string_view row) {
  const auto payload = unseal(description_key, row, "the description of the store");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  const uint32_t format = in.varint32();
  if (!in.failed() && format > store_format) {
    return fail(ErrorCode::incompatible, "it was made by a newer version of kflow (store format " +
                                             std::to_string(format) + ", this version knows " +
                                             std::to_string(store_format) + "); use that version");
  }
  if (!in.failed() && format > 0 && format < oldest_store_format) {
    return fail(ErrorCode::incompatible,
                "it was made by a version before the first release; remove its folder, or choose "
                "another with --store, to begin a new one");
  }
  const uint8_t durability = in.u8();
  if (in.failed() || format == 0 || durability > static_cast<uint8_t>(Durability::none)) {
    return damaged("the description of the store");
  }
  return static_cast<Durability>(durability);
}

}  // namespace kflow::store
