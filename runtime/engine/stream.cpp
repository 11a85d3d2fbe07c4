// Reading streams: pieces as the store has them, each out of the log of its run.
#include "runtime/engine/stream.hpp"

#include <algorithm>

#include "runtime/engine/load.hpp"

namespace kflow::engine {
namespace {

constexpr size_t pieces_at_a_time = 256;
// Runs whose place in the log is remembered; of more, those that wait are looked up again.
constexpr size_t most_sources = 4096;
// A short piece stands in one chunk mostly.
constexpr uint64_t short_piece = 16;
constexpr size_t long_read = 1U << 20;

}  // namespace

std::string StreamEvent::frame() const {
  return machine::frame_json(program,
                             {.run_id = run.id,
                              .workflow = run.workflow,
                              .session_id = run.session_id,
                              .parent_run_id = parent_run_id,
                              .nested_depth = depth},
                             event, index);
}

bool StreamEvent::last() const {
  return depth == 0 && (std::holds_alternative<machine::RunCompleted>(event.data) ||
                        std::holds_alternative<machine::RunFailed>(event.data) ||
                        std::holds_alternative<machine::RunCancelled>(event.data));
}

Result<RunStream::Source*> RunStream::source(store::RunKey run) {
  if (const auto it = sources_.find(run); it != sources_.end()) return &it->second;
  auto header = store_.header(run);
  if (!header) return std::unexpected(std::move(header).error());
  if (!*header) return nullptr;
  Source out{.header = std::move(**header), .program = nullptr, .parent_id = {}};
  auto program = load_program(store_, out.header.program);
  if (!program) return std::unexpected(std::move(program).error());
  out.program = std::move(*program);
  for (store::RunKey up = run; up != run_; ++out.depth) {
    const auto below = store_.header(up);
    if (!below) return std::unexpected(below.error());
    if (!*below || (*below)->parent == 0) break;
    up = (*below)->parent;
    if (out.depth > 0) continue;
    const auto parent = store_.header(up);
    if (!parent) return std::unexpected(parent.error());
    if (*parent) out.parent_id = (*parent)->id;
  }
  if (sources_.size() >= most_sources) sources_.clear();
  return &sources_.emplace(run, std::move(out)).first->second;
}

Result<bool> RunStream::read_piece(const store::StreamPiece& piece, const Visitor& visit) {
  const auto found = source(piece.run);
  if (!found) return std::unexpected(found.error());
  if (*found == nullptr) return true;
  Source& from = **found;
  uint64_t seq = from.next_seq;
  if (from.next_public != piece.first_public) {
    const auto chunk = store_.chunk_of(piece.run, piece.first_public);
    if (!chunk) return std::unexpected(chunk.error());
    if (!*chunk) return true;  // removed meanwhile
    seq = **chunk;
  }
  const uint64_t end = piece.first_public + piece.count;
  bool more = true;
  auto read = read_events(
      store_, piece.run, seq,
      [&](const machine::Event& event, uint64_t at, uint64_t index) {
        if (index >= end) return false;
        if (!event.shown || index < piece.first_public) return true;
        from.next_seq = at + 1;
        from.next_public = index + 1;
        if (std::holds_alternative<machine::Trimmed>(event.data)) return true;
        more = visit({.event = event,
                      .index = piece.first_index + (index - piece.first_public),
                      .run = from.header,
                      .program = *from.program,
                      .parent_run_id = from.parent_id,
                      .depth = from.depth});
        return more && index + 1 < end;
      },
      piece.count <= short_piece ? 1 : long_read);
  if (!read) return std::unexpected(std::move(read).error());
  return more;
}

Result<void> RunStream::read(uint64_t from, const Visitor& visit) {
  for (;;) {
    auto pieces = store_.stream(run_, from, pieces_at_a_time);
    if (!pieces) return std::unexpected(std::move(pieces).error());
    if (pieces->empty()) return {};
    for (const store::StreamPiece& piece : *pieces) {
      const auto more = read_piece(piece, visit);
      if (!more) return std::unexpected(more.error());
      if (!*more) return {};
      from = piece.first_index + piece.count;
    }
  }
}

Result<uint64_t> RunStream::count(uint64_t from, uint64_t before) {
  uint64_t out = 0;
  while (from < before) {
    auto pieces = store_.stream(run_, from, pieces_at_a_time);
    if (!pieces) return std::unexpected(std::move(pieces).error());
    if (pieces->empty()) break;
    for (store::StreamPiece& piece : *pieces) {
      if (piece.first_index >= before) return out;
      from = piece.first_index + piece.count;
      piece.count = std::min(piece.count, before - piece.first_index);
      const auto found = source(piece.run);
      if (!found) return std::unexpected(found.error());
      if (*found == nullptr) continue;
      if (!(*found)->header.trimmed) {
        out += piece.count;
        continue;
      }
      const auto read = read_piece(piece, [&](const StreamEvent&) { return ++out > 0; });
      if (!read) return std::unexpected(read.error());
    }
  }
  return out;
}

}  // namespace kflow::engine
