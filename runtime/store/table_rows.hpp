// Rows of runs and their indexes: small steps that reading and writing of a TableStore share.
#pragma once

#include <string>

#include "compiler/base/hash.hpp"
#include "runtime/store/keys.hpp"
#include "runtime/store/tables.hpp"

namespace kflow::store {

inline bool is_final(RunStatus s) {
  return s == RunStatus::completed || s == RunStatus::cancelled || s == RunStatus::error;
}

inline std::string_view key_of(const Sha256& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

enum class Label : uint8_t { workflow = 1, session = 2, tag = 3 };
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

inline bool has_prefix(std::string_view key, std::string_view prefix) {
  return key.starts_with(prefix);
}

}  // namespace kflow::store
