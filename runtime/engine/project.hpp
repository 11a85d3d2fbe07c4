// What a project's kflow.yaml says, as an engine takes it.
#pragma once

#include "runtime/engine/engine.hpp"

namespace kflow::config {
struct Settings;
}

namespace kflow::engine {

/// Folders that `file.*` may touch, models, and where secrets come from: a file, another variable
/// of the environment, or the variable of their name. `options.project_root` is the file's folder.
void take_settings(const config::Settings& settings, EngineOptions& options);

}  // namespace kflow::engine
