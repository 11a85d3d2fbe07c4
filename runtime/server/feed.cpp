// Reading a run's log for its readers, and waking them.
#include "runtime/server/feed.hpp"

#include <algorithm>
#include <utility>

namespace kflow::server {
Feed::Feed(const FeedWorld& world, store::RunHeader run)
    : world_(world),
      run_(std::move(run)),
      tail_(*world.store, run_.key),
      behind_(*world.store, run_.key) {}

Feed::State Feed::state() const {
  const std::lock_guard guard(mutex_);
  return state_;
}

Result<void> Feed::load() {
  store::RunHeader header;
  if (!refresh(header)) return fail(ErrorCode::not_found, "the run is gone");
  return {};
}

// The header, and where the stream ends, as of one moment.
bool Feed::refresh(store::RunHeader& header) {
  for (;;) {
    const auto before = world_.store->header(run_.key);
    const auto size = world_.store->stream_size(run_.key);
    const auto after = world_.store->header(run_.key);
    if (!before || !size || !after || !*before || !*after) {
      const std::lock_guard guard(mutex_);
      state_.gone = true;
      return false;
    }
    // It was taken up again, or ended, in between.
    if ((*before)->status != (*after)->status || (*before)->attempt != (*after)->attempt) continue;
    header = **after;
    const std::lock_guard guard(mutex_);
    if (!std::exchange(loaded_, true)) state_.next_index = tail_index_ = *size;
    if (tail_index_ == *size) {
      state_.status = header.status;
      state_.ended = is_final(header.status);
    }
    return true;
  }
}

Feed::Taken Feed::take(uint64_t cursor, std::function<void()>* ready, uint64_t& id) {
  bool read = false;
  Taken out;
  {
    const std::lock_guard guard(mutex_);
    out.state = state_;
    auto it = segments_.upper_bound(cursor);
    if (it != segments_.begin() && std::prev(it)->second.segment->next > cursor) {
      --it;
      it->second.used = ++tick_;
      out.segment = it->second.segment;
      out.frame = out.segment->find(cursor);
      return out;
    }
    if (ready == nullptr || state_.gone || (state_.ended && cursor >= state_.next_index))
      return out;
    id = park_now(std::move(*ready));
    if (cursor < state_.next_index) read = wanted_.insert(cursor).second;
  }
  if (read) schedule();
  return out;
}

uint64_t Feed::park(std::function<void()> ready) {
  const std::lock_guard guard(mutex_);
  return park_now(std::move(ready));
}

uint64_t Feed::park_now(std::function<void()> ready) {
  parked_.emplace_back(++last_id_, std::move(ready));
  return last_id_;
}

void Feed::unpark(uint64_t id) {
  std::function<void()> dropped;
  const std::lock_guard guard(mutex_);
  const auto it = std::ranges::lower_bound(parked_, id, {}, [](const auto& p) { return p.first; });
  if (it == parked_.end() || it->first != id || !it->second) return;
  dropped = std::exchange(it->second, nullptr);
  if (++taken_back_ <= parked_.size() / 2) return;
  std::erase_if(parked_, [](const auto& p) { return !p.second; });
  taken_back_ = 0;
}

void Feed::changed() { schedule(); }

void Feed::schedule() {
  {
    const std::lock_guard guard(mutex_);
    again_ = true;
    if (scheduled_) return;
    scheduled_ = true;
    again_ = false;
  }
  world_.workers->post([weak = weak_from_this()] {
    if (const auto feed = weak.lock()) feed->work();
  });
}

// One round: what readers want, what is new; then they are woken, and the next round begins only
// when the network has dealt with that. So many readers make the rounds longer, not more.
void Feed::work() {
  std::set<uint64_t> wanted;
  {
    const std::lock_guard guard(mutex_);
    wanted.swap(wanted_);
  }
  for (const uint64_t index : wanted) read_wanted(index);
  read_tail();
  world_.on_network([self = shared_from_this()] {
    std::vector<std::pair<uint64_t, std::function<void()>>> parked;
    {
      const std::lock_guard guard(self->mutex_);
      parked.swap(self->parked_);
      self->parked_.reserve(parked.size());  // most come back
      self->taken_back_ = 0;
    }
    for (auto& [id, ready] : parked) {
      if (ready) ready();
    }
    bool more = false;
    {
      const std::lock_guard guard(self->mutex_);
      more = self->again_ || !self->wanted_.empty();
      self->again_ = false;
      self->scheduled_ = more;
    }
    if (!more) return;
    self->world_.workers->post([weak = self->weak_from_this()] {
      if (const auto feed = weak.lock()) feed->work();
    });
  });
}

void Feed::read_wanted(uint64_t index) {
  uint64_t before = 0;
  {
    const std::lock_guard guard(mutex_);
    before = tail_index_;
    const auto next = segments_.upper_bound(index);
    if (next != segments_.end()) before = std::min(before, next->first);
    // It is there by now.
    if (next != segments_.begin() && std::prev(next)->second.segment->next > index) return;
  }
  if (index >= before) return;
  auto segment = read_segment(*world_.store, run_.key, behind_, index, before, segment_bytes);
  if (!segment || (*segment)->next == index) {
    const std::lock_guard guard(mutex_);
    state_.gone = true;
    return;
  }
  add(std::move(*segment), false);
}

void Feed::read_tail() {
  store::RunHeader header;
  if (!refresh(header)) return;
  for (;;) {
    auto segment =
        read_segment(*world_.store, run_.key, tail_, tail_index_, UINT64_MAX, segment_bytes);
    if (!segment) {
      const std::lock_guard guard(mutex_);
      state_.gone = true;
      return;
    }
    const bool at_end = (*segment)->at_end;
    if ((*segment)->next > (*segment)->first) {
      {
        const std::lock_guard guard(mutex_);
        tail_index_ = (*segment)->next;
      }
      add(std::move(*segment), true);
    }
    if (at_end) break;
  }
  (void)refresh(header);
}

void Feed::add(std::shared_ptr<const Segment> segment, bool tail) {
  const std::lock_guard guard(mutex_);
  if (tail) {
    state_.next_index = segment->next;
    // Many events that come one by one become few segments.
    if (!segments_.empty()) {
      const auto last = std::prev(segments_.end());
      const Segment& before = *last->second.segment;
      if (before.next == segment->first && before.text->size() < small_segment_bytes) {
        bytes_ += segment->text->size();
        last->second = {joined(before, *segment), ++tick_};
        return trim_cache();
      }
    }
  }
  const uint64_t first = segment->first;
  bytes_ += segment->text->size();
  segments_[first] = {std::move(segment), ++tick_};
  trim_cache();
}

// What was used longest ago goes; the newest stays.
void Feed::trim_cache() {
  while (bytes_ > feed_cache_bytes && segments_.size() > 2) {
    auto oldest = segments_.begin();
    for (auto it = segments_.begin(); std::next(it) != segments_.end(); ++it) {
      if (it->second.used < oldest->second.used) oldest = it;
    }
    bytes_ -= oldest->second.segment->text->size();
    segments_.erase(oldest);
  }
}

Result<std::shared_ptr<Feed>> Feeds::open(const store::RunHeader& run) {
  {
    const std::lock_guard guard(mutex_);
    const auto it = feeds_.find(run.key);
    if (it != feeds_.end()) {
      if (auto feed = it->second.lock()) return feed;
    }
  }
  auto feed = std::make_shared<Feed>(world_, run);
  {
    // Known before it is read: what is committed from now on is not missed.
    const std::lock_guard guard(mutex_);
    if (feeds_.size() >= sweep_at_) {
      std::erase_if(feeds_, [](const auto& f) { return f.second.expired(); });
      sweep_at_ = 2 * feeds_.size() + 64;
    }
    auto& known = feeds_[run.key];
    if (auto other = known.lock()) return other;
    KFLOW_TRY(feed->load());
    known = feed;
  }
  feed->changed();
  return feed;
}

void Feeds::changed(std::span<const store::RunKey> runs) {
  std::vector<std::shared_ptr<Feed>> found;
  {
    const std::lock_guard guard(mutex_);
    if (feeds_.empty()) return;
    if (runs.empty()) {
      for (const auto& [key, weak] : feeds_) {
        if (auto feed = weak.lock()) found.push_back(std::move(feed));
      }
    }
    for (const store::RunKey run : runs) {
      const auto it = feeds_.find(run);
      if (it == feeds_.end()) continue;
      if (auto feed = it->second.lock()) found.push_back(std::move(feed));
    }
  }
  for (const auto& feed : found) feed->changed();
}

size_t Feeds::size() const {
  const std::lock_guard guard(mutex_);
  return feeds_.size();
}

}  // namespace kflow::server
