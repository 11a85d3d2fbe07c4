// StepTable: what a run's log says of its steps, for whoever looks at a run.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/base/result.hpp"
#include "compiler/ir/program.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::engine {

/// Of a longer log the end alone is read: however long a run is, looking at it is quick.
inline constexpr uint64_t most_events_listed = 20'000;

struct AttemptRow {
  uint32_t attempt = 1;
  machine::Millis started_at = 0;
  machine::Millis ended_at = 0;          ///< 0: not yet
  machine::Millis due = machine::never;  ///< end of the pause before the next one
  std::string error;
};

struct StepRow {
  bool begun = false;  ///< its beginning was read
  std::string path;
  std::string label;  ///< shown instead of the path
  std::string callee;
  std::string status;
  uint32_t attempts = 1;
  machine::Millis started_at = 0;
  machine::Millis ended_at = 0;
  bool model = false;  ///< a call of a model
  cel::Value input;
  cel::Value output;
  std::string error;
  machine::UsageTotal usage;  ///< of a call of a model, or of an agent's or team's own
  ir::NodeId node;
  bool cached = false;
  std::vector<AttemptRow> tries;
  std::string child;  ///< id of the run that it started
};

/// The steps of a run in the order in which they began.
struct StepTable {
  std::vector<StepRow> rows;
  machine::UsageTotal usage;  ///< of the whole run
  cel::Value input;
  cel::Value result;
  std::string error;

  void add(const ir::Program& program, const machine::Event& e);
  void forget_what_began_before();
  /// A step that goes on, if it is not there.
  void add_open(const machine::Waiting& w);

 private:
  void add_usage(machine::ActId act, const cel::Value& value);
  StepRow& row_of(const ir::Program& program, const machine::Event& e);
  StepRow& end(const machine::Event& e, std::string status);

  std::map<machine::ActId, size_t> by_act_;
  std::map<machine::ActId, machine::ActId> parent_of_;
  const ir::Program* program_ = nullptr;
};

/// Fills the table: of a long log with its end alone (unless `whole`), and with what still runs
/// from before that. Gives how many events were not read.
Result<uint64_t> read_steps(store::Store& store, const store::RunHeader& header,
                            const std::shared_ptr<const ir::Program>& program, bool whole,
                            StepTable& table);

}  // namespace kflow::engine
