// One run as one file: for support, for tests, to move it to another store.
#pragma once

#include <string>

#include "runtime/engine/engine.hpp"

namespace kflow::engine {

/// Header, program and log, with a checksum.
Result<std::string> export_run(store::Store& store, const RunHeader& run);
/// Puts it into the store, under `id` if that is given. A run that had not ended goes on only when
/// it is resumed. corrupt or incompatible: these are not the bytes of a run; already_exists: the
/// store has one of that id.
Result<StartedRun> import_run(store::Store& store, std::string_view bytes, const std::string& id);

}  // namespace kflow::engine
