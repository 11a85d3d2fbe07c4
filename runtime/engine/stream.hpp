// RunStream: what the readers of a run see. The public events of the run and of the runs that it
// waits for, under indexes without gaps, the same for every reader at any time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "compiler/ir/program.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// One event of a stream. Valid during the visit only.
struct StreamEvent {
  const machine::Event& event;
  uint64_t index = 0;  ///< in the stream: the `event_index` of its frame
  const store::RunHeader& run;
  const ir::Program& program;
  std::string_view parent_run_id;  ///< "" for events of the run whose stream it is
  uint32_t depth = 0;              ///< 0: of the run whose stream it is

  /// The frame, as every surface shows it (server-api.md).
  std::string frame() const;
  /// Nothing comes after it: the run itself has ended, as far as is known.
  bool last() const;
};

/// A reader of one run's stream. Not thread-safe; any number of them may read the same stream.
/// Reading on where the last call ended is cheap, from any other place it takes a search.
class RunStream {
 public:
  RunStream(store::Store& store, store::RunKey run) : store_(store), run_(run) {}

  using Visitor = std::function<bool(const StreamEvent& event)>;
  /// Visits what there is from index `from` on; `visit` gives false to stop. Events that retention
  /// has trimmed are left out, and so are those of a child that was removed: the other indexes
  /// stay.
  Result<void> read(uint64_t from, const Visitor& visit);
  /// How many events `read` gives for the indexes [from, before). Looks into logs only where
  /// something was trimmed.
  Result<uint64_t> count(uint64_t from, uint64_t before);

 private:
  struct Source {
    store::RunHeader header;
    std::shared_ptr<const ir::Program> program;
    std::string parent_id;
    uint32_t depth = 0;
    uint64_t next_seq = 0;     ///< of the event after the last one that was read
    uint64_t next_public = 0;  ///< its event_index
  };
  /// Null: the run is not there any more.
  Result<Source*> source(store::RunKey run);
  /// False: the visitor has had enough.
  Result<bool> read_piece(const store::StreamPiece& piece, const Visitor& visit);

  store::Store& store_;
  store::RunKey run_;
  std::unordered_map<store::RunKey, Source> sources_;
};

}  // namespace kflow::engine
