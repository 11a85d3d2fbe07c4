// Reader: one reader's place in a run's events; and the streams of events over SSE.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "runtime/server/feed.hpp"
#include "runtime/server/http.hpp"

namespace kflow::server {

/// Follows a feed from an index on. Used by one thread.
class Reader {
 public:
  struct Rules {
    uint64_t from = 0;
    uint64_t stop_at = UINT64_MAX;  ///< the index to end before
    /// End after WorkflowPaused or a terminal event with this index or a later one: those before
    /// are past.
    uint64_t pause_from = UINT64_MAX;
  };
  /// Of one who comes at `state`: through what is past, to the end or the pause that comes next (or
  /// is there).
  static Rules to_pause(const Feed::State& state, uint64_t from) {
    const bool stands = state.ended || state.status == machine::RunStatus::paused;
    if (stands) return {.from = from, .stop_at = state.next_index};
    return {.from = std::min(from, state.next_index), .pause_from = state.next_index};
  }
  Reader(std::shared_ptr<Feed> feed, Rules rules)
      : feed_(std::move(feed)), rules_(rules), cursor_(rules.from) {}
  ~Reader() { forget(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Frames that follow one another in a segment.
  struct Frames {
    std::shared_ptr<const Segment> segment;
    size_t begin = 0;
    size_t end = 0;
  };
  /// What comes next, about `most` bytes at most (at least one frame); none: nothing is at hand, or
  /// `ended()`. In the first case `ready`, if it is given, is called as Feed::take does.
  /// Nothing with an index of `before` or more; then what is given may be empty.
  std::optional<Frames> next(size_t most, std::function<void()>* ready,
                             uint64_t before = UINT64_MAX);
  bool ended() const { return ended_; }
  uint64_t cursor() const { return cursor_; }
  const Feed& feed() const { return *feed_; }

 private:
  void forget();
  std::shared_ptr<Feed> feed_;
  Rules rules_;
  uint64_t cursor_;
  uint64_t parked_ = 0;
  bool ended_ = false;
};

/// The events of a run as Server-Sent Events.
class EventStream final : public Stream {
 public:
  struct Notice {
    uint64_t before = 0;  ///< comes when all events below this index have been sent
    std::string frame;
  };
  EventStream(std::shared_ptr<Feed> feed, Reader::Rules rules, std::vector<Notice> notices = {});
  Pull pull(size_t most, std::function<void()> ready) override;
  Piece keepalive() override;
  Piece goodbye() override;

 private:
  bool add_notices(std::vector<Piece>& pieces);
  Reader reader_;
  std::vector<Notice> notices_;
  size_t noticed_ = 0;
  bool begun_ = false;
};

}  // namespace kflow::server
