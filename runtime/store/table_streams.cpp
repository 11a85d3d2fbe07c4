// Streams: what the readers of a run see, the events of its attached children among its own. A run
// without such children needs no rows: its stream is its log. From the first child on each commit
// of the run, or of one below it, adds a piece; what lies before the first piece is the run's own.
#include <algorithm>

#include "runtime/store/table_rows.hpp"
#include "runtime/store/table_store.hpp"

namespace kflow::store {
namespace {

// The last piece; none: no rows.
Result<std::optional<StreamPiece>> last_piece(Transaction& txn, RunKey run) {
  const auto cursor = txn.cursor(Table::streams);
  if (!cursor) return std::unexpected(cursor.error());
  const auto found = (*cursor)->seek_before(Key(run + 1, 0));
  if (!found) return std::unexpected(found.error());
  if (!*found || number_at((*cursor)->key(), 0) != run) return std::nullopt;
  auto piece = decode_piece((*cursor)->key(), (*cursor)->value());
  if (!piece) return std::unexpected(std::move(piece).error());
  return std::optional(*piece);
}

// The public events of the run's own log.
Result<uint64_t> own_events(Transaction& txn, RunKey run) {
  const auto cursor = txn.cursor(Table::events);
  if (!cursor) return std::unexpected(cursor.error());
  const auto found = (*cursor)->seek_before(Key(run + 1, 0));
  if (!found) return std::unexpected(found.error());
  if (!*found || number_at((*cursor)->key(), 0) != run) return 0;
  const auto last = decode_chunk_head((*cursor)->key(), (*cursor)->value());
  if (!last) return std::unexpected(last.error());
  return last->first_public + last->public_count;
}

Result<void> add_piece(Transaction& txn, RunKey stream, StreamPiece piece) {
  const auto last = last_piece(txn, stream);
  if (!last) return std::unexpected(last.error());
  if (*last && (*last)->run == piece.run &&
      (*last)->first_public + (*last)->count == piece.first_public) {
    const Key key(stream, (*last)->first_index);
    piece.first_public = (*last)->first_public;
    piece.count += (*last)->count;
    return txn.put(Table::streams, key, encode_piece(key, piece), {}, PutMode::replace);
  }
  uint64_t at = 0;
  if (*last) {
    at = (*last)->first_index + (*last)->count;
  } else {
    const auto own = own_events(txn, stream);
    if (!own) return std::unexpected(own.error());
    at = *own;
  }
  const Key key(stream, at);
  return txn.put(Table::streams, key, encode_piece(key, piece), {}, PutMode::insert);
}

// The piece that is not written down: of a run's own events, `end` of them.
void add_own(std::vector<StreamPiece>& out, RunKey run, uint64_t from, uint64_t end) {
  if (from < end)
    out.push_back({.first_index = from, .run = run, .first_public = from, .count = end - from});
}

void cut(StreamPiece& piece, uint64_t from) {
  if (from <= piece.first_index) return;
  const uint64_t off = from - piece.first_index;
  piece.first_index += off;
  piece.first_public += off;
  piece.count -= off;
}

}  // namespace

Result<bool> is_streamed(Transaction& txn, RunKey run) {
  const auto last = last_piece(txn, run);
  if (!last) return std::unexpected(last.error());
  return last->has_value();
}

Result<std::vector<RunKey>> TableStore::waiting_above(Transaction& txn, RunKey parent,
                                                      bool attached) {
  std::vector<RunKey> out;
  while (attached && parent != 0) {
    out.push_back(parent);
    const auto row = run_in(txn, parent);
    if (!row) return std::unexpected(row.error());
    if (!*row) break;
    attached = (*row)->header.attached;
    parent = (*row)->header.parent;
  }
  return out;
}

Result<void> TableStore::add_to_streams(Transaction& txn, RunKey run, bool own,
                                        std::span<const RunKey> above, uint64_t first_public,
                                        uint64_t count) {
  if (count == 0) return {};
  const StreamPiece piece{.run = run, .first_public = first_public, .count = count};
  if (own) KFLOW_TRY(add_piece(txn, run, piece));
  for (const RunKey reader : above) KFLOW_TRY(add_piece(txn, reader, piece));
  return {};
}

Result<std::vector<StreamPiece>> TableStore::stream(RunKey run, uint64_t from, size_t limit) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  std::vector<StreamPiece> out;
  const auto cursor = (*txn)->cursor(Table::streams);
  if (!cursor) return std::unexpected(cursor.error());
  Cursor& at = **cursor;
  const auto here = [&] { return number_at(at.key(), 0) == run; };
  // The piece that holds `from` is the last one that begins at or before it.
  auto more = from == UINT64_MAX ? Result<bool>(false) : at.seek_before(Key(run, from + 1));
  if (more && (!*more || !here())) {
    more = at.seek(Key(run, 0));
    if (more) {
      const auto own =
          *more && here() ? Result<uint64_t>(number_at(at.key(), 8)) : own_events(**txn, run);
      if (!own) return std::unexpected(own.error());
      add_own(out, run, from, *own);
    }
  }
  while (more && *more && here() && out.size() < limit) {
    auto piece = decode_piece(at.key(), at.value());
    if (!piece) return std::unexpected(std::move(piece).error());
    if (piece->first_index + piece->count > from) {
      cut(*piece, from);
      out.push_back(*piece);
    }
    more = at.next();
  }
  if (!more) return std::unexpected(more.error());
  return out;
}

Result<uint64_t> TableStore::stream_size(RunKey run) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto last = last_piece(**txn, run);
  if (!last) return std::unexpected(last.error());
  if (*last) return (*last)->first_index + (*last)->count;
  return own_events(**txn, run);
}

// Chunks are keyed by their first seq, which says little of their public events: a search for the
// first chunk that ends behind the event.
Result<std::optional<uint64_t>> TableStore::chunk_of(RunKey run, uint64_t event_index) {
  auto txn = tables_->read();
  if (!txn) return std::unexpected(std::move(txn).error());
  const auto cursor = (*txn)->cursor(Table::events);
  if (!cursor) return std::unexpected(cursor.error());
  // The last chunk that begins at or before a seq; none: it would end before the event.
  const auto chunk_at = [&](uint64_t seq) -> Result<std::optional<uint64_t>> {
    const auto found = (*cursor)->seek_before(Key(run, seq + 1));
    if (!found) return std::unexpected(found.error());
    if (!*found || number_at((*cursor)->key(), 0) != run) return std::nullopt;
    const auto head = decode_chunk_head((*cursor)->key(), (*cursor)->value());
    if (!head) return std::unexpected(head.error());
    if (head->first_public + head->public_count <= event_index) return std::nullopt;
    return std::optional(number_at((*cursor)->key(), 8));
  };
  auto best = chunk_at(UINT64_MAX - 1);
  if (!best || !*best) return best;
  uint64_t low = 0;
  while (low < **best) {
    const uint64_t middle = low + (**best - low) / 2;
    const auto chunk = chunk_at(middle);
    if (!chunk) return std::unexpected(chunk.error());
    if (*chunk) {
      best = chunk;
    } else {
      low = middle + 1;
    }
  }
  return best;
}

}  // namespace kflow::store
