// SHA-256 by OpenSSL, XXH3 by xxHash.
#include "compiler/base/hash.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include "compiler/base/check.hpp"

namespace kflow {

Sha256 sha256(std::string_view data) {
  Sha256 out{};
  unsigned length = 0;
  const int ok = EVP_Digest(data.data(), data.size(), out.data(), &length, EVP_sha256(), nullptr);
  KFLOW_CHECK(ok == 1 && length == out.size(), "SHA-256 is not available");
  return out;
}

std::string to_hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    out.push_back(digits[b >> 4]);
    out.push_back(digits[b & 15]);
  }
  return out;
}

std::string to_hex(const Sha256& hash) {
  return to_hex(std::string_view(reinterpret_cast<const char*>(hash.data()), hash.size()));
}

uint64_t xxh3(std::string_view data) { return XXH3_64bits(data.data(), data.size()); }

}  // namespace kflow
