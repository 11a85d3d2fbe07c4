// SharedStream: the stream of a run for many followers of one process; a frame is read and rendered
// once for all of them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/engine/stream.hpp"

namespace kflow::engine {

inline constexpr size_t shared_stream_bytes = 4U << 20;  ///< of frames kept for one run
inline constexpr size_t shared_piece_bytes = 128U << 10;

/// The newest frames of one run. Thread-safe.
class SharedStream {
 public:
  SharedStream(store::Store& store, store::RunKey run, size_t keep = shared_stream_bytes)
      : tail_(store, run), keep_(keep) {}

  /// False: the reader has had enough.
  using Visitor = std::function<bool(uint64_t index, const std::string& frame)>;
  /// As RunStream::read. What is older than what is kept comes from `behind`, the reader's own.
  Result<void> read(uint64_t from, RunStream& behind, const Visitor& visit);

 private:
  struct Piece {
    uint64_t first = 0;
    uint64_t next = 0;
    size_t bytes = 0;
    std::vector<std::pair<uint64_t, std::string>> frames;
  };
  enum class Place { kept, older, newer };
  /// Where index `from` is; kept: in `piece`.
  Place find(uint64_t from, std::shared_ptr<const Piece>& piece) const;
  /// Reads on where the kept pieces end. False: there is nothing more yet.
  Result<bool> read_on(uint64_t from);

  std::mutex reading_;  // taken before `mutex_`
  RunStream tail_;
  const size_t keep_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<const Piece>> pieces_;  // each begins where the one before it ends
  size_t bytes_ = 0;
};

/// Finds or makes the shared stream of a run; it lives as long as somebody reads it. Thread-safe.
class SharedStreams {
 public:
  std::shared_ptr<SharedStream> of(store::Store& store, store::RunKey run);

 private:
  std::mutex mutex_;
  std::unordered_map<store::RunKey, std::weak_ptr<SharedStream>> streams_;
  size_t sweep_at_ = 64;  // number of streams at which those that nobody reads are forgotten
};

}  // namespace kflow::engine
