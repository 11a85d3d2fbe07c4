// Cursors, and SSE around them.
#include "runtime/server/reader.hpp"

namespace kflow::server {
namespace {

constexpr size_t most_pieces = 48;

const Piece& retry_piece() {
  static const Piece piece = make_piece("retry: 1000\n\n");
  return piece;
}
const Piece& keepalive_piece() {
  static const Piece piece = make_piece(": keepalive\n\n");
  return piece;
}
const Piece& goodbye_piece() {
  static const Piece piece = make_piece(": the server stops; come again\nretry: 1000\n\n");
  return piece;
}

}  // namespace

void Reader::forget() {
  if (parked_ != 0) feed_->unpark(parked_);
  parked_ = 0;
}

std::optional<Reader::Frames> Reader::next(size_t most, std::function<void()>* ready,
                                           uint64_t before) {
  while (!ended_) {
    if (cursor_ >= rules_.stop_at) {
      ended_ = true;
      break;
    }
    if (ready != nullptr) forget();
    const Feed::Taken taken = feed_->take(cursor_, ready, parked_);
    if (taken.segment == nullptr) {
      ended_ = taken.state.gone || (taken.state.ended && cursor_ >= taken.state.next_index);
      return std::nullopt;
    }
    const Segment& segment = *taken.segment;
    Frames out{.segment = taken.segment, .begin = taken.frame, .end = taken.frame};
    size_t bytes = 0;
    bool stop = false;
    while (out.end < segment.frames.size() && !stop) {
      const Frame& frame = segment.frames[out.end];
      if (frame.index >= rules_.stop_at || frame.index >= before ||
          (bytes > 0 && bytes + frame.size > most))
        break;
      bytes += frame.size;
      ++out.end;
      stop = frame.index >= rules_.pause_from && frame.kind != FrameKind::plain;
    }
    if (out.end == out.begin && taken.frame < segment.frames.size()) {
      // The next one is beyond where it stops.
      if (segment.frames[out.end].index >= rules_.stop_at) {
        ended_ = true;
        break;
      }
      cursor_ = before;
      return out;
    }
    cursor_ =
        out.end == segment.frames.size() ? segment.next : segment.frames[out.end - 1].index + 1;
    ended_ = stop || cursor_ >= rules_.stop_at ||
             (taken.state.ended && cursor_ >= taken.state.next_index);
    if (out.end > out.begin) return out;
  }
  return std::nullopt;
}

EventStream::EventStream(std::shared_ptr<Feed> feed, Reader::Rules rules,
                         std::vector<Notice> notices)
    : reader_(std::move(feed), rules), notices_(std::move(notices)) {}

bool EventStream::add_notices(std::vector<Piece>& pieces) {
  const size_t before = noticed_;
  while (noticed_ < notices_.size() && reader_.cursor() >= notices_[noticed_].before)
    pieces.push_back(make_piece(std::move(notices_[noticed_++].frame)));
  return noticed_ > before;
}

Stream::Pull EventStream::pull(size_t most, std::function<void()> ready) {
  Pull out;
  if (!begun_) {
    begun_ = true;
    out.pieces.push_back(retry_piece());
  }
  size_t bytes = 0;
  for (;;) {
    add_notices(out.pieces);
    if (reader_.ended() || bytes >= most || out.pieces.size() >= most_pieces) break;
    // A notice stands between two events.
    const uint64_t notice = noticed_ < notices_.size() ? notices_[noticed_].before : UINT64_MAX;
    const auto frames = reader_.next(most - bytes, out.pieces.empty() ? &ready : nullptr, notice);
    if (!frames) break;
    if (frames->begin == frames->end) continue;
    const Segment& segment = *frames->segment;
    const size_t begin = segment.frames[frames->begin].begin;
    const Frame& last = segment.frames[frames->end - 1];
    const std::string_view part =
        std::string_view(*segment.text).substr(begin, last.begin + last.size - begin);
    bytes += part.size();
    out.pieces.push_back({segment.text, part});
  }
  add_notices(out.pieces);
  out.end = reader_.ended();
  return out;
}

Piece EventStream::keepalive() { return keepalive_piece(); }
Piece EventStream::goodbye() { return goodbye_piece(); }

}  // namespace kflow::server
