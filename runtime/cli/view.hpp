// LiveView: a run's events on a terminal, as plain lines, or as JSON Lines.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "compiler/ir/program.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/stream.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/store/store.hpp"

namespace kflow::cli {

/// Lines from other threads that a view prints between its own.
class SideLines {
 public:
  void add(const std::string& line);
  std::vector<std::string> take();

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};
/// Lets the view of a run show what its engine would print: `log` steps are events, the progress
/// of MCP calls goes into the returned lines.
std::shared_ptr<SideLines> print_by_view(engine::EngineOptions& options);

enum class ViewMode : uint8_t { live, plain, json, quiet };

/// Follows the log of one run and prints it. Events go to standard error (the result is for
/// standard output), JSON Lines to standard output. Not thread-safe.
class View {
 public:
  View(ViewMode mode, bool colour, const store::RunHeader& header,
       std::shared_ptr<const ir::Program> program, uint64_t from_index,
       std::shared_ptr<SideLines> side_lines = nullptr);
  /// Reads what is new and prints it; an error only when the log cannot be read. JSON Lines are of
  /// the run's stream (with the events of its children), the rest is made of its own log.
  Result<void> update(store::Store& store);
  /// Redraws the lines of active steps (live mode).
  void tick(machine::Millis now);
  /// Takes the active lines away.
  void finish();
  bool ended() const { return ended_; }
  /// All that is left waits for people.
  bool paused() const { return paused_; }
  /// Waits until there may be something new, or the time is over.
  void wait(engine::Engine& engine, int timeout_ms) const;
  const cel::Value& result() const { return result_; }
  const std::string& error() const { return error_; }
  machine::RunStatus status() const { return status_; }

 private:
  struct Active {
    std::string path;
    std::string callee;
    uint32_t attempt = 1;
    machine::Millis since = 0;
    std::string note;
    bool model = false;  ///< a call of a model: shown while it lasts only
    bool logs = false;   ///< a `log` step: what it says is its line
    std::string text;    ///< of its answer so far, the end of it
    std::string usage;   ///< of an agent that has answered
  };
  void show(const machine::Event& event);
  bool is_inner(const machine::Event& event);
  static std::string name_of(const machine::Event& event);
  Active& active(const machine::Event& event);
  void line(const std::string& mark, const std::string& code, const std::string& text,
            const std::string& dim = "");
  void erase();
  std::string streamed(size_t width) const;
  std::string paint(const std::string& code, const std::string& text) const;

  ViewMode mode_;
  bool colour_;
  store::RunHeader header_;
  std::shared_ptr<const ir::Program> program_;
  std::shared_ptr<SideLines> side_lines_;
  uint64_t next_index_;  ///< of the stream: the next JSON line
  std::unique_ptr<engine::RunStream> stream_;
  uint64_t seq_ = 0;
  bool ended_ = false;
  bool paused_ = false;
  bool reopened_ = false;  ///< a failed run was taken up again, and no step has ended since
  cel::Value result_;
  std::string error_;
  machine::RunStatus status_ = machine::RunStatus::running;
  std::map<machine::ActId, Active> active_;
  std::map<machine::ActId, machine::Millis> since_;  // when agents and tools began
  std::set<machine::ActId> inner_;  // tools that models called, and all inside them
  std::map<machine::ActId, std::pair<uint64_t, uint64_t>> progress_;  // of for: done, total
  std::map<machine::ActId, machine::ActId> iterations_;               // under way, and their for
  size_t drawn_ = 0;
  size_t frame_ = 0;
};

}  // namespace kflow::cli
