// Runs side by side, one turn after the other.
#include "runtime/simulate/world.hpp"

#include <algorithm>
#include <utility>

namespace kflow::simulate {

bool Run::over() const {
  if (!state) return false;
  const auto s = machine::status(*state);
  return s != machine::RunStatus::running && s != machine::RunStatus::paused;
}

bool World::all_over() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const auto& r) { return r->over(); });
}

size_t World::add_run(std::string id, ir::CallableId workflow, cel::Value input, std::string parent,
                      std::shared_ptr<const ir::Program> program) {
  auto run = std::make_unique<Run>();
  run->program = std::move(program);
  run->id = std::move(id);
  run->workflow = workflow;
  run->input = std::move(input);
  run->parent_id = std::move(parent);
  runs_.push_back(std::move(run));
  return runs_.size() - 1;
}

std::optional<size_t> World::find(const std::string& id) const {
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i]->id == id) return i;
  }
  return std::nullopt;
}

bool World::deliver() {
  for (size_t i = 0; i < runs_.size(); ++i) {
    Run& run = *runs_[i];
    if (run.over()) continue;
    if (run.first) {
      run.first = false;
      run.state = machine::make_state(run.program);
      machine::RunStarted started{.workflow = run.workflow,
                                  .input = run.input,
                                  .run_id = run.id,
                                  .session_id = "s",
                                  .user_id = "",
                                  .session = session_,
                                  .parent_id = run.parent_id};
      if (run.parent_id.empty()) {
        take(i, machine::start(*run.state, std::move(started), now_));
        return true;
      }
      run.inbox.emplace_front(machine::RecoverInput{});
      take(i, machine::begin(*run.state, std::move(started), now_, run.limits));
      return true;
    }
    if (!run.inbox.empty()) {
      const machine::Input input = run.inbox.front();
      run.inbox.pop_front();
      take(i, machine::advance(*run.state, input, now_));
      return true;
    }
  }
  return false;
}

// A turn: what it asks for at once is answered, then all of it is committed, then its effects are
// released.
void World::take(size_t index, machine::Turn turn) {
  for (;;) {
    Run& run = *runs_[index];
    std::vector<machine::Action> actions;
    bool reads = false;
    for (machine::Action& action : turn.actions) {
      if (const auto* past = std::get_if<machine::ReadHistory>(&action)) {
        reads = true;
        std::vector<std::pair<std::string, std::string>> pairs = history_[past->agent];
        if (pairs.size() > past->most)
          pairs.erase(pairs.begin(), pairs.end() - static_cast<std::ptrdiff_t>(past->most));
        machine::Turn more =
            machine::advance(*run.state, machine::HistoryInput{past->act, std::move(pairs)}, now_);
        for (auto& e : more.events) turn.events.push_back(std::move(e));
        for (auto& a : more.actions) actions.push_back(std::move(a));
      } else if (const auto* read = std::get_if<machine::ReadSession>(&action)) {
        reads = true;
        machine::Turn more =
            machine::advance(*run.state, machine::SessionInput{read->act, session_}, now_);
        for (auto& e : more.events) {
          if (const auto* set = std::get_if<machine::SessionSet>(&e.data)) session_ = set->state;
          turn.events.push_back(std::move(e));
        }
        for (auto& a : more.actions) actions.push_back(std::move(a));
      } else {
        actions.push_back(std::move(action));
      }
    }
    turn.actions = std::move(actions);
    if (!reads) break;
  }
  commit(index, turn);
  const Fate then = fate(turn);
  if (then.releases) release(index, turn);
  released();
  if (then.dies) {
    died();
  } else if (turn.more) {
    runs_[index]->inbox.emplace_front(machine::TickInput{});
  }
}

void World::commit(size_t index, const machine::Turn& turn) {
  if (turn.events.empty()) return;
  for (const machine::Event& e : turn.events) committed(index, e);
  turn_committed(index);
  for (const machine::Action& action : turn.actions) {
    if (const auto* child = std::get_if<machine::StartChild>(&action)) {
      const size_t made = add_run(child->run_id, child->workflow, child->input, runs_[index]->id,
                                  runs_[index]->program);
      runs_[made]->limits = child->limits;
      if (child->attached) runs_[made]->watchers.emplace_back(index, child->act);
    } else if (const auto* watch = std::get_if<machine::WatchRun>(&action)) {
      const auto target = find(watch->run_id);
      if (!target) {
        runs_[index]->inbox.emplace_back(machine::RunEndedInput{
            watch->act,
            watch->run_id,
            machine::RunError{.kind = "tool", .code = "not_found", .message = "no such run"},
            {}});
      } else if (runs_[*target]->over()) {
        tell(*target, index, watch->act);
      } else {
        runs_[*target]->watchers.emplace_back(index, watch->act);
      }
    } else if (const auto* stop = std::get_if<machine::StopChild>(&action)) {
      const auto target = find(stop->run_id);
      if (target && !runs_[*target]->over())
        runs_[*target]->inbox.emplace_back(machine::CancelInput{stop->reason, stop->kill});
    } else if (const auto* write = std::get_if<machine::WriteValue>(&action)) {
      kv_[write->key] = write->value.value_or(cel::Value());
    } else if (const auto* said = std::get_if<machine::WriteHistory>(&action)) {
      history_[said->agent].emplace_back(said->message, said->answer);
    } else if (const auto* cached = std::get_if<machine::StoreCache>(&action)) {
      cache_[cached->key] = {cached->value, cached->expires};
    }
  }
  if (runs_[index]->over()) {
    for (const auto& [watcher, act] : runs_[index]->watchers) tell(index, watcher, act);
  }
}

void World::tell(size_t ended, size_t watcher, machine::ActId act) {
  const machine::RunState& state = *runs_[ended]->state;
  machine::RunEndedInput input{.act = act,
                               .run_id = runs_[ended]->id,
                               .outcome = machine::result(state),
                               .usage = machine::usage(state)};
  if (const machine::RunError* e = machine::error(state)) input.outcome = *e;
  if (machine::status(state) == machine::RunStatus::cancelled)
    input.outcome = machine::RunError{
        .kind = "cancelled", .code = "run_cancelled", .message = "the run was cancelled"};
  runs_[watcher]->inbox.emplace_back(std::move(input));
}

void World::release(size_t index, const machine::Turn& turn) {
  for (const machine::Action& action : turn.actions) {
    if (const auto* stop = std::get_if<machine::StopActivity>(&action)) {
      for (Effect& e : effects_) {
        if (e.run == index && e.start.act == stop->act && e.start.attempt == stop->attempt)
          e.stopped = true, e.due = now_ + 1;
      }
    } else if (const auto* start = std::get_if<machine::StartActivity>(&action)) {
      perform(index, *start);
    }
  }
}

machine::OutcomeInput World::answer_to(const machine::StartActivity& start, Outcome outcome) {
  return {.act = start.act, .attempt = start.attempt, .outcome = std::move(outcome)};
}

void World::perform(size_t index, const machine::StartActivity& start) {
  std::deque<machine::Input>& inbox = runs_[index]->inbox;
  if (!start.cache_key.empty()) {
    const auto hit = cache_.find(start.cache_key);
    const bool found = hit != cache_.end() && hit->second.second > now_;
    machine::OutcomeInput input = answer_to(start, found ? hit->second.first : cel::Value());
    input.source =
        found ? machine::OutcomeInput::Source::cache : machine::OutcomeInput::Source::cache_miss;
    if (found || start.cache_only) return inbox.push_back(std::move(input));
  }
  // A mock of one of these has its name, and is another kind of call.
  const bool builtin = start.kind == ir::CalleeKind::builtin;
  if (builtin && start.callee == "kv.get")
    return inbox.push_back(
        answer_to(start, kv_[std::string(start.input.find("key")->as_string())]));
  if (builtin && start.callee == "signal.send") {
    const auto target = find(std::string(start.input.find("run_id")->as_string()));
    const cel::Value* value = start.input.find("value");
    if (target)
      runs_[*target]->inbox.emplace_back(
          machine::SignalInput{std::string(start.input.find("name")->as_string()),
                               value == nullptr ? cel::Value() : *value});
    return inbox.push_back(answer_to(start, cel::Value()));
  }
  if (builtin && start.callee == "runs.cancel") {
    const auto target = find(std::string(start.input.find("id")->as_string()));
    if (target && !runs_[*target]->over())
      runs_[*target]->inbox.emplace_back(machine::CancelInput{"cancelled by a run", false});
    return inbox.push_back(answer_to(start, cel::Value()));
  }
  auto begun = begin_effect(index, start);
  if (auto* at_once = std::get_if<Outcome>(&begun)) {
    inbox.push_back(answer_to(start, std::move(*at_once)));
  } else {
    effects_.push_back({index, std::get<Millis>(begun), start});
  }
}

bool World::next() {
  const auto effect =
      std::min_element(effects_.begin(), effects_.end(),
                       [](const Effect& a, const Effect& b) { return a.due < b.due; });
  const Millis effect_due = effect == effects_.end() ? machine::never : effect->due;
  Millis timer_due = machine::never;
  size_t timed = 0;
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i]->over() || machine::next_due(*runs_[i]->state) >= timer_due) continue;
    timer_due = machine::next_due(*runs_[i]->state);
    timed = i;
  }
  const Millis due = std::min({effect_due, timer_due, outside_due()});
  if (due == machine::never) return false;
  now_ = std::max(now_, due);
  if (due == outside_due()) {
    outside();
  } else if (due == timer_due) {
    take(timed, machine::advance(*runs_[timed]->state, machine::TickInput{}, now_));
  } else {
    const Effect done = *effect;
    effects_.erase(effect);
    end_effect(done);
  }
  return true;
}

void World::end_effect(const Effect& effect) {
  Run& run = *runs_[effect.run];
  if (run.over()) return;
  const Outcome end =
      effect.stopped
          ? machine::RunError{.kind = "cancelled", .code = "cancelled", .message = "stopped"}
          : outcome(effect);
  take(effect.run, machine::advance(*run.state, answer_to(effect.start, end), now_));
}

}  // namespace kflow::simulate
