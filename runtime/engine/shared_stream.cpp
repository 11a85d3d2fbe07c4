// One reads the log, all take what was read.
#include "runtime/engine/shared_stream.hpp"

#include <algorithm>

namespace kflow::engine {

SharedStream::Place SharedStream::find(uint64_t from, std::shared_ptr<const Piece>& piece) const {
  const std::lock_guard guard(mutex_);
  if (pieces_.empty() || from >= pieces_.back()->next) return Place::newer;
  if (from < pieces_.front()->first) return Place::older;
  const auto after = std::ranges::upper_bound(
      pieces_, from, {}, [](const std::shared_ptr<const Piece>& p) { return p->first; });
  piece = *std::prev(after);
  return Place::kept;
}

Result<bool> SharedStream::read_on(uint64_t from) {
  auto piece = std::make_shared<Piece>();
  {
    const std::lock_guard guard(mutex_);
    piece->first = piece->next = pieces_.empty() ? from : pieces_.back()->next;
  }
  auto read = tail_.read(piece->first, [&](const StreamEvent& e) {
    piece->next = e.index + 1;
    piece->frames.emplace_back(e.index, e.frame());
    piece->bytes += piece->frames.back().second.size();
    return piece->bytes < std::min(shared_piece_bytes, keep_);
  });
  if (!read) return std::unexpected(std::move(read).error());
  if (piece->frames.empty()) return false;
  const std::lock_guard guard(mutex_);
  bytes_ += piece->bytes;
  pieces_.push_back(std::move(piece));
  while (bytes_ > keep_ && pieces_.size() > 1) {
    bytes_ -= pieces_.front()->bytes;
    pieces_.pop_front();
  }
  return true;
}

Result<void> SharedStream::read(uint64_t from, RunStream& behind, const Visitor& visit) {
  for (;;) {
    std::shared_ptr<const Piece> piece;
    Place place = find(from, piece);
    if (place == Place::newer) {
      const std::lock_guard guard(reading_);
      place = find(from, piece);  // somebody may have read on meanwhile
      if (place == Place::newer) {
        const auto more = read_on(from);
        if (!more) return std::unexpected(more.error());
        if (!*more) return {};
        continue;
      }
    }
    if (place == Place::older) {
      return behind.read(from, [&](const StreamEvent& e) { return visit(e.index, e.frame()); });
    }
    auto frame =
        std::ranges::lower_bound(piece->frames, from, {}, [](const auto& f) { return f.first; });
    for (; frame != piece->frames.end(); ++frame) {
      if (!visit(frame->first, frame->second)) return {};
    }
    from = piece->next;
  }
}

std::shared_ptr<SharedStream> SharedStreams::of(store::Store& store, store::RunKey run) {
  const std::lock_guard guard(mutex_);
  std::weak_ptr<SharedStream>& known = streams_[run];
  if (auto stream = known.lock()) return stream;
  auto stream = std::make_shared<SharedStream>(store, run);
  known = stream;
  if (streams_.size() >= sweep_at_) {
    std::erase_if(streams_, [](const auto& s) { return s.second.expired(); });
    sweep_at_ = std::max<size_t>(64, 2 * streams_.size());
  }
  return stream;
}

}  // namespace kflow::engine
