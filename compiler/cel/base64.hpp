// Base64 (RFC 4648 §4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kflow::cel {

/// Standard alphabet, padded.
std::string base64_encode(std::string_view octets);
/// Padding optional; nullopt on any other deviation.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace kflow::cel
