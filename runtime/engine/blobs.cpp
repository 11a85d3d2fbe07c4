// Long texts by their hash.
#include "runtime/engine/blobs.hpp"

#include <algorithm>

#include "compiler/base/hash.hpp"

namespace kflow::engine {
namespace {
constexpr size_t most_recent_bytes = 8U << 20;
}

std::string BlobSink::put(std::string_view text) {
  const Sha256 hash = sha256(text);
  texts_.try_emplace(hash, text);
  return std::string(reinterpret_cast<const char*>(hash.data()), hash.size());
}

void BlobSink::refer(std::string_view hash) {
  Sha256 key{};
  if (hash.size() != key.size()) return;
  std::copy(hash.begin(), hash.end(), key.begin());
  held_.insert(key);
}

std::vector<store::Blob> BlobSink::blobs() const {
  std::vector<store::Blob> out;
  for (const auto& [hash, text] : texts_) out.push_back({hash, text});
  for (const Sha256& hash : held_) {
    if (!texts_.contains(hash)) out.push_back({.hash = hash, .bytes = {}, .held = true});
  }
  return out;
}

std::optional<std::string> BlobSource::get(std::string_view hash) {
  if (const auto it = recent_.find(hash); it != recent_.end()) return it->second;
  Sha256 key{};
  if (hash.size() != key.size()) return std::nullopt;
  std::copy(hash.begin(), hash.end(), key.begin());
  auto text = store_.blob(key);
  if (!text) return std::nullopt;
  if (recent_bytes_ + text->size() > most_recent_bytes) {
    recent_.clear();
    recent_bytes_ = 0;
  }
  recent_bytes_ += text->size();
  recent_.emplace(hash, *text);
  return std::move(*text);
}

}  // namespace kflow::engine
