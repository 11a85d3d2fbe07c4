// SHA-256 by OpenSSL, XXH3 by xxHash.
#include "compiler/base/hash.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include <memory>

#include "compiler/base/check.hpp"

namespace kflow {

Sha256 sha256(std::string_view data) {
  // Looked up once and not at each call, under locks.
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  Sha256 out{};
  unsigned length = 0;
  const bool good = algorithm != nullptr && context != nullptr &&
                    EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1 &&
                    EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
                    EVP_DigestFinal_ex(context.get(), out.data(), &length) == 1;
  KFLOW_CHECK(good && length == out.size(), "SHA-256 is not available");
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
