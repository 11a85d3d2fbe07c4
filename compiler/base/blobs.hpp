// Blobs: bytes that are kept by their SHA-256 and read and written in pieces, however many they
// are. The seam between those who move bytes and the store that keeps them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "compiler/base/hash.hpp"
#include "compiler/base/result.hpp"

namespace kflow {

/// Keeps a blob that nothing refers to yet from being collected; goes with its process.
using StageId = uint64_t;

struct StagedBlob {
  Sha256 hash{};
  uint64_t size = 0;
  StageId stage = 0;
};

/// Bytes on their way in. One owner, any thread. Dropped before `finish`, they leave nothing.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  /// no_space, limit (max_blob_bytes), io; after an error it can only be dropped.
  virtual Result<void> write(std::string_view bytes) = 0;
  /// Durable when it returns; may take as long as the disk does. Once.
  virtual Result<StagedBlob> finish() = 0;
};

/// Bytes on their way out, from their beginning to their end. One owner, any thread.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual uint64_t size() const = 0;
  /// The next bytes, at least one; 0 at the end. Their hash is compared before the last of them is
  /// given: corrupt, if they are not what was kept.
  virtual Result<size_t> read(std::span<char> into) = 0;
  /// Begins anew.
  virtual Result<void> rewind() = 0;
};

inline constexpr uint64_t max_blob_bytes = 64ULL << 30;  ///< of one blob

/// Thread-safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  /// `expected` bytes, as far as that is known (0: it is not): refused with no_space or limit if
  /// they cannot be kept, before anything is written.
  virtual Result<std::unique_ptr<BlobWriter>> new_blob(uint64_t expected) = 0;
  /// not_found: it is not there.
  virtual Result<std::unique_ptr<BlobReader>> open_blob(const Sha256& hash) = 0;
};

/// All of a blob, which must be at most `most` bytes (else limit).
Result<std::string> read_blob(BlobStore& store, const Sha256& hash, uint64_t most);

}  // namespace kflow
