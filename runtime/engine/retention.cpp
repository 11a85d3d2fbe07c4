// Rewrites logs of ended runs, chunk by chunk, without the pieces of models' answers.
#include "runtime/engine/retention.hpp"

#include "runtime/engine/blobs.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::engine {
namespace {

constexpr size_t page = 256;
constexpr size_t slice_bytes = 4U << 20;

// The chunk without them, or nothing where it has none. The texts it refers to stay where they
// are: nothing new is put there.
Result<std::optional<store::EventChunk>> without_deltas(const store::EventChunk& chunk,
                                                        BlobSource& source, uint64_t& removed) {
  BlobSink sink;
  ByteReader in(chunk.events, &source);
  ByteWriter out(&sink);
  bool changed = false;
  for (uint32_t i = 0; i < chunk.event_count; ++i) {
    machine::Event event = machine::decode_event(in);
    if (in.failed()) return fail(ErrorCode::corrupt, "the run's log is malformed");
    if (std::holds_alternative<machine::ContentDelta>(event.data)) {
      event.data = machine::Trimmed{};
      event.path.clear();
      changed = true;
      ++removed;
    }
    machine::encode_event(event, out);
  }
  if (!changed) return std::nullopt;
  store::EventChunk trimmed = chunk;
  trimmed.format = machine::events_format;
  trimmed.events = out.take();
  return trimmed;
}

Result<uint64_t> trim_run(store::Store& store, store::RunKey run) {
  BlobSource source(store);
  uint64_t removed = 0;
  for (uint64_t from = 0;;) {
    auto chunks = store.read(run, from, slice_bytes);
    if (!chunks) return std::unexpected(std::move(chunks).error());
    std::vector<store::EventChunk> rewritten;
    for (const store::EventChunk& chunk : *chunks) {
      auto trimmed = without_deltas(chunk, source, removed);
      if (!trimmed) return std::unexpected(std::move(trimmed).error());
      if (*trimmed) rewritten.push_back(std::move(**trimmed));
      from = chunk.first_seq + chunk.event_count;
    }
    KFLOW_TRY(store.rewrite(run, rewritten, chunks->empty()));
    if (chunks->empty()) return removed;
  }
}

}  // namespace

Result<Trimmed> trim_deltas(store::Store& store, const Trim& trim) {
  Trimmed out;
  for (const auto status :
       {machine::RunStatus::completed, machine::RunStatus::error, machine::RunStatus::cancelled}) {
    store::RunFilter filter{.status = status, .limit = page};
    for (;;) {
      auto runs = store.list(filter);
      if (!runs) return std::unexpected(std::move(runs).error());
      for (const store::RunHeader& run : *runs) {
        filter.before = run.key;
        if (run.trimmed || run.owner != store::no_owner || run.ended_at + trim.age_ms > trim.now)
          continue;
        if (!trim.dry_run) {
          const auto removed = trim_run(store, run.key);
          // It was removed or resumed meanwhile: then it is not ours to rewrite.
          if (!removed && (removed.error().code == ErrorCode::conflict ||
                           removed.error().code == ErrorCode::not_found))
            continue;
          if (!removed) return std::unexpected(removed.error());
          out.events += *removed;
        }
        out.runs.push_back(run.id);
      }
      if (runs->size() < page) break;
    }
  }
  return out;
}

}  // namespace kflow::engine
