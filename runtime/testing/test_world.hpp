// TestWorld: where the runs of one test live. Effects are answered by mocks; there is no network,
// no model and no waiting.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "compiler/ir/tests.hpp"
#include "runtime/simulate/world.hpp"

namespace kflow::testing {

/// Turns of one test before it is given up as one that never ends.
inline constexpr size_t max_turns = 200'000;
/// When tests begin: 2026-01-01T00:00:00Z.
inline constexpr machine::Millis first_moment = 1'767'225'600'000;

class TestWorld : public simulate::World {
 public:
  TestWorld() { now_ = first_moment; }

  /// What a mock answers to a call with these arguments; by the target's name.
  using Answer =
      std::function<std::variant<cel::Value, machine::RunError>(const cel::Value& input)>;
  void set_mock(const std::string& name, Answer answer) { mocks_[name] = std::move(answer); }
  void add_signal(std::string name, cel::Value value) {
    signals_.emplace_back(std::move(name), std::move(value));
  }
  /// Starts a run; `settle` lets it go on.
  size_t start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
               cel::Value input);
  /// Until nothing more happens. False: it does not end.
  bool settle();

  /// The record that `run name = …` binds.
  cel::Value facts(size_t run) const;
  int64_t calls(const std::string& name) const;
  cel::Value inputs(const std::string& name) const;
  bool ran(const std::string& step) const;
  const std::vector<std::pair<std::string, cel::Value>>& unused_signals() const { return signals_; }
  /// What was called without being mocked, a sentence each.
  const std::vector<std::string>& missing_mocks() const { return missing_; }
  const std::vector<std::string>& logged() const { return logged_; }

 protected:
  std::variant<machine::Millis, Outcome> begin_effect(size_t run,
                                                      const machine::StartActivity& start) override;
  Outcome outcome(const simulate::Effect&) override { return cel::Value(); }
  void committed(size_t run, const machine::Event& event) override;

 private:
  /// What a run has done so far.
  struct Done {
    machine::Millis started = 0;
    machine::Millis ended = 0;
    std::map<std::string, cel::Value> steps;
    std::vector<cel::Value> emitted;
  };
  Outcome perform(size_t run, const machine::StartActivity& start);
  Outcome not_mocked(size_t run, const machine::StartActivity& start);
  bool answer_waiting();
  bool answer_person(simulate::Run& run);
  bool answer_signal(simulate::Run& run);
  std::optional<cel::Value> take_signal(const std::string& path, const std::string& name);

  std::map<std::string, Answer> mocks_;
  std::vector<std::pair<std::string, cel::Value>> signals_;
  std::map<size_t, Done> done_;
  std::map<std::string, int64_t> calls_;
  std::map<std::string, std::vector<cel::Value>> inputs_;
  std::set<std::string> ran_;
  std::vector<std::string> missing_;
  std::vector<std::string> logged_;
  uint64_t made_ = 0;  // numbers and ids
};

}  // namespace kflow::testing
