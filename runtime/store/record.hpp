// Rows of a store: format version, checksum, payload; and the payloads' layouts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/store/store.hpp"

namespace kflow::store {

/// Version (1 byte) and checksum (4 bytes) before the payload.
std::string seal(std::string_view payload);
/// The payload of a sealed row; an error of code corrupt or incompatible that names `what`.
Result<std::string_view> unseal(std::string_view row, std::string_view what);

std::string encode_header(const RunHeader& header);
Result<RunHeader> decode_header(std::string_view row);
/// Epoch of an encoded header, without decoding the rest.
std::optional<uint64_t> header_epoch(std::string_view row);

std::string encode_chunk(const EventChunk& chunk_head, std::string_view events);
Result<EventChunk> decode_chunk(uint64_t first_seq, std::string_view row);

std::string encode_message(const InboxMessage& message);
Result<InboxMessage> decode_message(uint64_t seq, std::string_view row);

/// Big-endian keys, so that the order of bytes is the order of numbers.
std::string key_of(uint64_t a);
std::string key_of(uint64_t a, uint64_t b);
uint64_t number_at(std::string_view key, size_t offset);

}  // namespace kflow::store
