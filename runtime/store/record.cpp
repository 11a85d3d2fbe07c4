// Layouts of rows. Versions are never reused.
#include "runtime/store/record.hpp"

#include "compiler/base/bytes.hpp"
#include "compiler/base/hash.hpp"

namespace kflow::store {
namespace {

constexpr uint8_t row_version = 1;
constexpr size_t seal_size = 5;

}  // namespace

std::string_view to_string(Durability d) {
  switch (d) {
    case Durability::sync: return "sync";
    case Durability::process: return "process";
    case Durability::none: return "none";
  }
  std::unreachable();
}

std::string seal(std::string_view payload) {
  ByteWriter out;
  out.u8(row_version);
  out.u32(static_cast<uint32_t>(xxh3(payload)));
  out.raw(payload);
  return out.take();
}

Result<std::string_view> unseal(std::string_view row, std::string_view what) {
  ByteReader in(row);
  const uint8_t version = in.u8();
  const uint32_t checksum = in.u32();
  if (in.failed() || version == 0) return fail(ErrorCode::corrupt, std::string(what) + " is damaged");
  if (version > row_version) return fail(ErrorCode::incompatible, std::string(what) + " was written by a newer version of kflow");
  const std::string_view payload = row.substr(seal_size);
  if (static_cast<uint32_t>(xxh3(payload)) != checksum) return fail(ErrorCode::corrupt, std::string(what) + " is damaged (checksum)");
  return payload;
}

std::string encode_header(const RunHeader& h) {
  ByteWriter out;
  out.u64(h.epoch);
  out.u64(h.owner);
  out.varint(h.key);
  out.string(h.id);
  out.string(h.workflow);
  out.raw(std::string_view(reinterpret_cast<const char*>(h.program.data()), h.program.size()));
  out.u8(static_cast<uint8_t>(h.status));
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
  return seal(out.buffer());
}

Result<RunHeader> decode_header(std::string_view row) {
  const auto payload = unseal(row, "the row of a run");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  RunHeader h;
  h.epoch = in.u64();
  h.owner = in.u64();
  h.key = in.varint();
  h.id = in.string();
  h.workflow = in.string();
  const std::string_view hash = in.raw(h.program.size());
  if (hash.size() == h.program.size()) std::copy(hash.begin(), hash.end(), h.program.begin());
  const uint8_t status = in.u8();
  if (status > static_cast<uint8_t>(RunStatus::error)) in.fail();
  h.status = in.failed() ? RunStatus::pending : static_cast<RunStatus>(status);
  h.created_at = in.svarint();
  h.started_at = in.svarint();
  h.ended_at = in.svarint();
  h.attempt = in.varint32();
  h.session_id = in.string();
  h.user_id = in.string();
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) h.tags.emplace_back(in.string());
  h.project_root = in.string();
  h.error = in.string();
  if (!in.done()) return fail(ErrorCode::corrupt, "the row of a run is malformed");
  return h;
}

std::optional<uint64_t> header_epoch(std::string_view row) {
  if (row.size() < seal_size + sizeof(uint64_t)) return std::nullopt;
  ByteReader in(row.substr(seal_size));
  return in.u64();
}

std::string encode_chunk(const EventChunk& head, std::string_view events) {
  ByteWriter out;
  out.varint(head.first_public);
  out.varint(head.event_count);
  out.varint(head.public_count);
  out.varint(head.format);
  out.raw(events);
  return seal(out.buffer());
}

Result<EventChunk> decode_chunk(uint64_t first_seq, std::string_view row) {
  const auto payload = unseal(row, "a part of a run's log");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  EventChunk chunk{.first_seq = first_seq};
  chunk.first_public = in.varint();
  chunk.event_count = in.varint32();
  chunk.public_count = in.varint32();
  chunk.format = in.varint32();
  chunk.events = in.raw(in.remaining());
  if (in.failed() || chunk.event_count == 0) return fail(ErrorCode::corrupt, "a part of a run's log is malformed");
  if (chunk.format > machine::events_format) return fail(ErrorCode::incompatible, "the run's log was written by a newer version of kflow");
  return chunk;
}

std::string encode_message(const InboxMessage& m) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(m.kind));
  out.string(m.dedup);
  out.string(m.body);
  return seal(out.buffer());
}

Result<InboxMessage> decode_message(uint64_t seq, std::string_view row) {
  const auto payload = unseal(row, "a message to a run");
  if (!payload) return std::unexpected(payload.error());
  ByteReader in(*payload);
  InboxMessage m{.seq = seq};
  const uint8_t kind = in.u8();
  if (kind > static_cast<uint8_t>(InboxMessage::Kind::child_result)) in.fail();
  m.kind = in.failed() ? InboxMessage::Kind::cancel : static_cast<InboxMessage::Kind>(kind);
  m.dedup = in.string();
  m.body = in.string();
  if (!in.done()) return fail(ErrorCode::corrupt, "a message to a run is malformed");
  return m;
}

std::string key_of(uint64_t a) {
  std::string out(8, '\0');
  for (int i = 7; i >= 0; --i, a >>= 8) out[static_cast<size_t>(i)] = static_cast<char>(a & 0xff);
  return out;
}
std::string key_of(uint64_t a, uint64_t b) { return key_of(a) + key_of(b); }

uint64_t number_at(std::string_view key, size_t offset) {
  uint64_t out = 0;
  for (size_t i = 0; i < 8 && offset + i < key.size(); ++i) out = (out << 8) | static_cast<unsigned char>(key[offset + i]);
  return out;
}

}  // namespace kflow::store
