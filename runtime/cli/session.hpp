// What every verb needs: where the store and the project are, which run is meant, how errors end.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/engine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::cli {

/// Exit statuses of both command lines.
enum Exit : int {
  ok = 0,
  failed = 1,
  usage = 2,
  paused = 3,
  cancelled = 4,
  system_error = 5,
  interrupted = 130
};

struct Place {
  std::string store;         ///< folder of the store
  std::string project_root;  ///< base of relative paths in runs
};
/// `store_option` is `--store`, else $KFLOW_STORE, else `.kflow` of the project around the current
/// folder, else the user's data folder.
Place find_place(const std::string& store_option);

/// Prints `kflow: error: …` and gives the status that fits.
int fail_with(const Error& error);

Result<std::shared_ptr<store::Store>> open_store(const Place& place, bool create);
/// The run that `text` means: an id, a prefix or suffix of one, or @last.
Result<store::RunHeader> find_run(store::Store& store, const std::string& text);
/// Options of an engine for a project, by its kflow.yaml. `metrics`: it is always observed.
Result<engine::EngineOptions> engine_options(const Place& place, const std::string& project_root,
                                             bool metrics = false);

/// A fresh process of this program that outlives the terminal and goes on with the run.
Result<void> spawn_worker(const Place& place, const std::string& project_root,
                          const std::string& run_id);
/// Whether a process that serves the store takes the run (or has it, or it has ended); waits for a
/// moment, if there is such a process. `before`: the run as it was before there was something to do.
Result<bool> handed_over(store::Store& store, const store::RunHeader& before);
/// Starts one if no living process has the run; true: it did.
Result<bool> ensure_worker(store::Store& store, const Place& place, const store::RunHeader& run);

/// Asks what the run asks, until nothing is open; for a terminal.
Result<void> answer_on_terminal(store::Store& store, const store::RunHeader& run);

/// Last eight characters of an id, as tables show it.
std::string short_id(const std::string& id);
/// "1.2 s", "3 min 5 s".
std::string duration_text(machine::Millis ms);
std::string moment_text(machine::Millis t);
/// "120 in (64 cached), 45 out (20 reasoning), $0.0012"
std::string usage_text(const machine::UsageTotal& usage);
/// A tape to write (`record`) or to answer from (`replay`) for a new run, none if both are "".
Result<void> use_new_tape(engine::EngineOptions& options, const std::string& record,
                          const std::string& replay, const ir::Program& program);
/// The tape that the run has had so far, if any: it goes on with no other.
Result<void> use_tape_of(engine::EngineOptions& options, const store::RunHeader& run);
int status_exit(machine::RunStatus s);
/// A value for people: text as it is, anything else as indented JSON.
std::string value_text(const cel::Value& v);

}  // namespace kflow::cli
