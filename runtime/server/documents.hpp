// Documents: runs, their steps and questions, as the routes show them.
#pragma once

#include <string>
#include <vector>

#include "compiler/base/json.hpp"
#include "compiler/base/result.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/engine/step_table.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::server {

/// What a list shows of a run; `parent`: the id of the run that started it, `step`: where it is.
void write_run_row(JsonWriter& out, const store::RunHeader& run, const std::string& parent,
                   const std::string& step);

/// Where an open run is: the path of the first step that waits; "": nowhere in particular.
Result<std::string> current_step(store::Store& store, const store::RunHeader& run);

void write_step(JsonWriter& out, const engine::StepRow& row, const ir::Program& program,
                bool values);
void write_requirement(JsonWriter& out, const machine::Requirement& r, const ir::Program& program);

/// The whole document of a run (server-api.md); with its frames, if `events`.
Result<std::string> run_document(store::Store& store, const store::RunHeader& run, bool events);
inline constexpr size_t max_embedded_events = 32U << 20;  ///< bytes of `?events=true`

/// The id of the run that started this one; "": none.
Result<std::string> parent_id(store::Store& store, const store::RunHeader& run);

}  // namespace kflow::server
