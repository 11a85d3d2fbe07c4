// Frames: the events of a run's stream as bytes, from any event_index on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "runtime/engine/stream.hpp"
#include "runtime/store/store.hpp"

namespace kflow::server {

/// What a frame means for whoever follows the run.
enum class FrameKind : uint8_t { plain, paused, terminal };

/// One frame inside a segment's text: `id:`, `event:` and `data:` lines and an empty one.
struct Frame {
  uint64_t index = 0;  ///< its event_index
  size_t begin = 0;
  size_t size = 0;
  size_t json = 0;  ///< where the JSON begins; it ends before the two line ends
  size_t json_size = 0;
  FrameKind kind = FrameKind::plain;
};

/// The frames of the indexes [first, next), in order; those that retention has taken are left out.
/// Immutable once it is shared.
struct Segment {
  uint64_t first = 0;
  uint64_t next = 0;
  bool at_end = false;  ///< the stream ended there
  std::shared_ptr<const std::string> text;
  std::vector<Frame> frames;

  /// The first frame with an index of at least `index`; frames.size(): none.
  size_t find(uint64_t index) const;
};

/// Reads from index `first` on until the text is longer than `most_bytes` or reaches index
/// `before`.
Result<std::shared_ptr<const Segment>> read_segment(store::Store& store, store::RunKey run,
                                                    engine::RunStream& stream, uint64_t first,
                                                    uint64_t before, size_t most_bytes);

/// `b` after `a`, which it follows.
std::shared_ptr<const Segment> joined(const Segment& a, const Segment& b);

}  // namespace kflow::server
