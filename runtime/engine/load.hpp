// Reading programs and folding logs back into states.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "compiler/ir/successor.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// The program of that hash, decoded and verified; kept while somebody uses it.
Result<std::shared_ptr<const ir::Program>> load_program(store::Store& store, const Sha256& hash);

struct LoadedState {
  machine::RunStatePtr state;
  uint64_t events = 0;
};
/// How a run that has ended did: its value, or its error (`cancelled` for a cancelled one); and
/// what it used of models, if that is asked for.
Result<std::variant<cel::Value, machine::RunError>> read_outcome(
    store::Store& store, store::RunKey run, machine::UsageTotal* usage = nullptr);
/// Folds a run's whole log; of a run that was resumed, what its resumptions left out does not
/// count.
Result<LoadedState> load_state(store::Store& store, store::RunKey run,
                               std::shared_ptr<const ir::Program> program);

/// The state after `resumed` was appended to the log.
Result<LoadedState> load_resumed(store::Store& store, store::RunKey run,
                                 std::shared_ptr<const ir::Program> program,
                                 const machine::Event& resumed);

/// The statements that the run has reached, as far as they still count; with `resumed`, after that
/// event.
Result<ir::Progress> read_progress(store::Store& store, store::RunKey run,
                                   const ir::Program& program, std::string_view workflow,
                                   const machine::Event* resumed);

/// Calls `visit` for each event from seq `from` on, with its seq and (if it is shown) its
/// event_index. `visit` gives false to stop.
using EventVisitor =
    std::function<bool(const machine::Event& event, uint64_t seq, uint64_t event_index)>;
/// `at_a_time`: bytes read from the store at once, at least a chunk.
Result<void> read_events(store::Store& store, store::RunKey run, uint64_t from,
                         const EventVisitor& visit, size_t at_a_time = 1U << 20);

/// Eight bytes, big endian.
std::string store_key(uint64_t v);

}  // namespace kflow::engine
