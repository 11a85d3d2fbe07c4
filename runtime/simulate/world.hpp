// World: runs in memory with virtual time, over the pure machine; what effects answer is up to who
// derives from it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "runtime/machine/machine.hpp"

namespace kflow::simulate {

using machine::Millis;

/// One run of the world: one that was asked for, or a child.
struct Run {
  std::string id;
  std::shared_ptr<const ir::Program> program;
  machine::RunStatePtr state;  ///< null before its first turn
  ir::CallableId workflow;
  cel::Value input;
  std::string parent_id;
  machine::Limits limits;
  std::deque<machine::Input> inbox;  ///< durable messages
  std::vector<std::pair<size_t, machine::ActId>> watchers;
  bool first = true;  ///< the first turn is not made yet
  bool over() const;
};

/// Something that was begun and has not answered.
struct Effect {
  size_t run = 0;
  Millis due = 0;
  machine::StartActivity start;
  bool stopped = false;
};

/// All runs of one process, with what they share: the session, its conversations, `kv`, the cache.
/// What a turn asks for at once is answered, its events are committed, then its effects are
/// released, as the engine does it. Time moves on only when nothing is left to do now. One thread.
class World {
 public:
  virtual ~World() = default;

  size_t add_run(std::string id, ir::CallableId workflow, cel::Value input, std::string parent,
                 std::shared_ptr<const ir::Program> program);
  /// One thing happens, now or at the next moment anything does; false: nothing ever will.
  bool go_on() { return deliver() || next(); }
  bool all_over() const;
  Millis now() const { return now_; }

 protected:
  using Outcome = std::variant<cel::Value, machine::RunError>;
  struct Fate {
    bool releases = true;  ///< the effects of the turn
    bool dies = false;     ///< the process, after that
  };

  // ---- what a world is made of

  /// When an effect answers (`never`: it hangs), or its answer at once.
  virtual std::variant<Millis, Outcome> begin_effect(size_t run,
                                                     const machine::StartActivity& start) = 0;
  /// What it answers.
  virtual Outcome outcome(const Effect& effect) = 0;
  /// An event is durable.
  virtual void committed(size_t run, const machine::Event& event) = 0;
  /// A turn with events is: before what follows from it.
  virtual void turn_committed(size_t) {}
  virtual Fate fate(const machine::Turn&) { return {}; }
  virtual void released() {}
  virtual void died() {}
  /// The next moment at which something happens from outside, and that.
  virtual Millis outside_due() const { return machine::never; }
  virtual void outside() {}
  /// An effect's time has come. It is not among `effects_` any more.
  virtual void end_effect(const Effect& effect);

  // ---- for those who make one

  std::optional<size_t> find(const std::string& id) const;
  /// Lets one run go on that can; false: all wait.
  bool deliver();
  /// Time moves on to the next thing that happens; false: nothing ever will.
  bool next();
  void take(size_t index, machine::Turn turn);
  /// The input that an effect's answer is.
  static machine::OutcomeInput answer_to(const machine::StartActivity& start, Outcome outcome);

  std::vector<std::unique_ptr<Run>> runs_;
  Millis now_ = 1'000'000;
  std::vector<Effect> effects_;
  std::map<std::string, cel::Value> kv_;
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> history_;
  std::map<std::string, std::pair<cel::Value, Millis>> cache_;
  cel::Value session_;

 private:
  void commit(size_t index, const machine::Turn& turn);
  void tell(size_t ended, size_t watcher, machine::ActId act);
  void release(size_t index, const machine::Turn& turn);
  void perform(size_t index, const machine::StartActivity& start);
};

}  // namespace kflow::simulate
