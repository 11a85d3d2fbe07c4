// Base64 by its table.
#include "compiler/cel/base64.hpp"

#include <cstdint>

namespace kflow::cel {
namespace {
constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

std::string base64_encode(std::string_view in) {
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  for (size_t i = 0; i < in.size(); i += 3) {
    uint32_t group = static_cast<uint32_t>(static_cast<unsigned char>(in[i])) << 16;
    if (i + 1 < in.size())
      group |= static_cast<uint32_t>(static_cast<unsigned char>(in[i + 1])) << 8;
    if (i + 2 < in.size()) group |= static_cast<unsigned char>(in[i + 2]);
    out.push_back(alphabet[group >> 18]);
    out.push_back(alphabet[(group >> 12) & 63]);
    out.push_back(i + 1 < in.size() ? alphabet[(group >> 6) & 63] : '=');
    out.push_back(i + 2 < in.size() ? alphabet[group & 63] : '=');
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view in) {
  if (in.size() % 4 == 0) {
    if (in.ends_with("==")) {
      in.remove_suffix(2);
    } else if (in.ends_with('=')) {
      in.remove_suffix(1);
    }
  }
  if (in.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(in.size() / 4 * 3 + 2);
  uint32_t group = 0;
  int bits = 0;
  for (const char c : in) {
    const size_t value = alphabet.find(c);
    if (value == std::string_view::npos || c == '\0') return std::nullopt;
    group = (group << 6) | static_cast<uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<char>(group >> bits));
      group &= (1U << bits) - 1;
    }
  }
  return out;
}

}  // namespace kflow::cel
