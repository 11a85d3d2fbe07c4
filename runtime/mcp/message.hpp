// Messages of the Model Context Protocol: JSON-RPC 2.0, one JSON document each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::mcp {

/// Largest message that is taken from a server.
inline constexpr size_t max_message_bytes = 32U << 20;
/// Most messages in one batch (a list of messages, which revision 2025-03-26 knew).
inline constexpr size_t max_batch = 1000;

// Codes of JSON-RPC, and those that only revisions without a handshake use.
inline constexpr int64_t method_not_found = -32601;
inline constexpr int64_t header_mismatch = -32020;
inline constexpr int64_t missing_capability = -32021;
inline constexpr int64_t unsupported_version = -32022;

struct Message {
  enum class Kind : uint8_t { request, notification, result, error };
  Kind kind = Kind::notification;
  cel::Value id;  ///< int or string; null in an error about a message that could not be read
  std::string method;
  cel::Value params;   ///< of requests and notifications; null: none
  cel::Value content;  ///< the result, or the error's data
  int64_t code = 0;    ///< of an error
  std::string text;    ///< of an error: its message
};

/// One message, or those of a batch. An error says what is wrong with the text.
Result<std::vector<Message>> parse_messages(std::string_view text);

std::string request_text(int64_t id, std::string_view method, const cel::Value& params);
std::string notification_text(std::string_view method, const cel::Value& params);
std::string result_text(const cel::Value& id, const cel::Value& result);
std::string error_text(const cel::Value& id, int64_t code, std::string_view message);

/// A member of an object; null where there is none.
const cel::Value* member(const cel::Value& v, std::string_view key);
/// A text member; "" where there is none.
std::string text_member(const cel::Value& v, std::string_view key);
bool flag_member(const cel::Value& v, std::string_view key, bool fallback = false);

}  // namespace kflow::mcp
