// Keys of rows: big-endian numbers, so that the order of bytes is the order of numbers and the rows
// of a run are together.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace kflow::store {

/// A short key in place, without allocation.
class Key {
 public:
  explicit Key(uint64_t a) { add(a); }
  Key(uint64_t a, uint64_t b) { add(a), add(b); }
  static Key of_byte(uint8_t first, uint64_t rest) {
    Key key;
    key.bytes_[key.size_++] = static_cast<char>(first);
    key.add(rest);
    return key;
  }
  // NOLINTNEXTLINE(google-explicit-constructor): a key is its bytes
  operator std::string_view() const { return {bytes_, size_}; }

 private:
  Key() = default;
  void add(uint64_t v) {
    v = __builtin_bswap64(v);
    std::memcpy(bytes_ + size_, &v, sizeof v);
    size_ += sizeof v;
  }
  char bytes_[16];
  uint8_t size_ = 0;
};

/// The number at `offset` of a key; UINT64_MAX if the key is too short for it.
inline uint64_t number_at(std::string_view key, size_t offset) {
  if (key.size() < offset + sizeof(uint64_t)) return UINT64_MAX;
  uint64_t v;
  std::memcpy(&v, key.data() + offset, sizeof v);
  return __builtin_bswap64(v);
}

}  // namespace kflow::store
