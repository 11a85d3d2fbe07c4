// Stream → frames.
#include "runtime/server/frames.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kflow::server {
namespace {

FrameKind kind_of(const engine::StreamEvent& e) {
  if (e.last()) return FrameKind::terminal;
  const bool paused = e.depth == 0 && std::holds_alternative<machine::RunPaused>(e.event.data);
  return paused ? FrameKind::paused : FrameKind::plain;
}

}  // namespace

size_t Segment::find(uint64_t index) const {
  const auto it = std::ranges::lower_bound(frames, index, {}, &Frame::index);
  return static_cast<size_t>(it - frames.begin());
}

Result<std::shared_ptr<const Segment>> read_segment(store::Store& store, store::RunKey run,
                                                    engine::RunStream& stream, uint64_t first,
                                                    uint64_t before, size_t most_bytes) {
  // Before it is read: so far it is read at least.
  const auto size = store.stream_size(run);
  if (!size) return std::unexpected(size.error());
  auto out = std::make_shared<Segment>();
  auto text = std::make_shared<std::string>();
  out->first = out->next = first;
  out->at_end = true;
  auto read = stream.read(first, [&](const engine::StreamEvent& event) {
    if (event.index >= before || text->size() >= most_bytes) {
      out->at_end = false;
      if (event.index >= before) out->next = before;
      return false;
    }
    out->next = event.index + 1;
    const std::string json = event.frame();
    Frame frame{.index = event.index, .begin = text->size(), .kind = kind_of(event)};
    fmt::format_to(std::back_inserter(*text), "id: {}\nevent: {}\ndata: ", event.index,
                   machine::public_name(event.program, event.event));
    frame.json = text->size();
    frame.json_size = json.size();
    *text += json;
    *text += "\n\n";
    frame.size = text->size() - frame.begin;
    out->frames.push_back(frame);
    return true;
  });
  if (!read) return std::unexpected(std::move(read).error());
  if (out->at_end) out->next = std::max(out->next, std::min(*size, before));
  out->text = std::move(text);
  return std::shared_ptr<const Segment>(std::move(out));
}

std::shared_ptr<const Segment> joined(const Segment& a, const Segment& b) {
  auto out = std::make_shared<Segment>(b);
  out->first = a.first;
  out->text = std::make_shared<const std::string>(*a.text + *b.text);
  out->frames = a.frames;
  out->frames.reserve(a.frames.size() + b.frames.size());
  for (Frame frame : b.frames) {
    frame.begin += a.text->size();
    frame.json += a.text->size();
    out->frames.push_back(frame);
  }
  return out;
}

}  // namespace kflow::server
