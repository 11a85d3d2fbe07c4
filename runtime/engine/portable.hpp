// One run as one file: for support, for tests, to move it to another store.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/engine/engine.hpp"

namespace kflow::engine {

using ByteSink = std::function<Result<void>(std::string_view piece)>;
/// Fills `into` from its beginning, as far as there is something; 0: the end.
using ByteSource = std::function<Result<size_t>(std::span<char> into)>;

inline constexpr uint64_t max_exported_log = 2ULL << 30;  ///< header, program and log of one run

/// Header, program and log, with a checksum, and the files that the log names.
Result<void> export_run(store::Store& store, const RunHeader& run, const ByteSink& sink);
/// Puts it into the store, under `id` if that is given. A run that had not ended goes on only when
/// it is resumed. corrupt or incompatible: these are not the bytes of a run, and nothing of them
/// stays; already_exists: the store has one of that id.
Result<StartedRun> import_run(store::Store& store, const ByteSource& source, const std::string& id);

/// The same with all of it in memory.
Result<std::string> export_run(store::Store& store, const RunHeader& run);
Result<StartedRun> import_run(store::Store& store, std::string_view bytes, const std::string& id);

}  // namespace kflow::engine
