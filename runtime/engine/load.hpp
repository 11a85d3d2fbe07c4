// Reading programs and folding logs back into states.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// The program of that hash, decoded and verified; kept while somebody uses it.
Result<std::shared_ptr<const ir::Program>> load_program(store::Store& store, const Sha256& hash);

struct LoadedState {
  machine::RunStatePtr state;
  uint64_t events = 0;
};
/// Folds a run's whole log.
Result<LoadedState> load_state(store::Store& store, store::RunKey run, std::shared_ptr<const ir::Program> program);

/// Calls `visit` for each event from seq `from` on, with its seq and (if it is shown) its event_index. `visit` gives false to stop.
using EventVisitor = std::function<bool(const machine::Event& event, uint64_t seq, uint64_t event_index)>;
Result<void> read_events(store::Store& store, store::RunKey run, uint64_t from, const EventVisitor& visit);

/// Eight bytes, big endian.
std::string store_key(uint64_t v);

}  // namespace kflow::engine
