// Hashes: SHA-256 for identity (programs, blobs, keys), XXH3 for checksums of rows and hash tables.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kflow {

using Sha256 = std::array<uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of `data`.
Sha256 sha256(std::string_view data);
/// Lower-case hexadecimal of any bytes.
std::string to_hex(std::string_view bytes);
std::string to_hex(const Sha256& hash);
/// 64 hexadecimal digits; none of anything else.
std::optional<Sha256> sha256_from_hex(std::string_view text);

/// SHA-256 of what comes in pieces. One owner.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  void add(std::string_view data);
  /// Of all that was added; once.
  Sha256 finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// 64-bit XXH3, stable across versions and machines.
uint64_t xxh3(std::string_view data);

}  // namespace kflow
