// Blobs as a whole.
#include "compiler/base/blobs.hpp"

namespace kflow {

Result<std::string> read_blob(BlobStore& store, const Sha256& hash, uint64_t most) {
  auto reader = store.open_blob(hash);
  if (!reader) return std::unexpected(std::move(reader).error());
  if ((*reader)->size() > most)
    return fail(ErrorCode::limit, "the file has " + std::to_string((*reader)->size()) +
                                      " bytes; at most " + std::to_string(most) +
                                      " are read at once");
  std::string out(static_cast<size_t>((*reader)->size()), '\0');
  for (size_t at = 0;;) {
    if (at == out.size()) return out;
    auto n = (*reader)->read(std::span(out).subspan(at));
    if (!n) return std::unexpected(std::move(n).error());
    if (*n == 0) return fail(ErrorCode::corrupt, "a blob is shorter than it should be");
    at += *n;
  }
}

}  // namespace kflow
