// How events of containers change the state: arms, branches, iterations, `try`.
#include "runtime/machine/applier.hpp"

namespace kflow::machine {

using cel::Value;

void Applier::operator()(const Left& p) {
  Act& act = own();
  switch (p.how) {
    case Left::How::returned:
      leave(act, Exit::returned, p.value, {});
      break;
    case Left::How::failed:
      leave(act, Exit::failed, {}, caused(p.error));
      break;
    case Left::How::broke:
      leave(act, Exit::broke, {}, {});
      break;
    case Left::How::continued:
      leave(act, Exit::continued, {}, {});
      break;
  }
}

void Applier::operator()(const ArmTaken& p) {
  Act& act = add_inside(ActKind::arm);
  const ir::NodeData& data = program_[e_.node].data;
  if (const auto* node = std::get_if<ir::IfNode>(&data)) {
    if (p.arm < node->arms.size()) act.block = node->arms[p.arm].body;
  } else if (const auto* match = std::get_if<ir::MatchNode>(&data)) {
    if (p.arm < match->arms.size()) act.block = match->arms[p.arm].body;
  }
}

void Applier::operator()(const ParallelStarted&) {
  Act& act = add_inside(ActKind::parallel);
  act.fan = std::make_unique<FanData>();
  act.fan->total = std::get<ir::ParallelNode>(program_[e_.node].data).branches.size();
}

void Applier::operator()(const BranchStarted& p) {
  Act& fan = parent();
  Act& act = add(ActKind::branch, &fan);
  act.frame = fan.frame;
  act.index = p.branch;
  const auto& branches = std::get<ir::ParallelNode>(program_[fan.node].data).branches;
  KFLOW_CHECK(fan.fan != nullptr && p.branch < branches.size(), "a branch of its parallel");
  const auto& branch = branches[p.branch];
  act.block = branch.body;
  if (!branch.name.empty()) act.path = child_path(fan.path, branch.name);
  ++fan.fan->next;
  ++fan.fan->running;
  s_.wake(fan);
}

void Applier::operator()(const ForStarted& p) {
  Act& act = add_inside(ActKind::for_each);
  act.path = child_path(parent().path, program_[e_.node].name);
  act.fan = std::make_unique<FanData>();
  KFLOW_CHECK(p.items.kind() == cel::Kind::list || p.items.kind() == cel::Kind::map,
              "a for visits a list or a map");
  act.fan->items = p.items;
  act.fan->total = static_cast<uint64_t>(p.items.size());
  act.fan->results.resize(std::get<ir::ForNode>(program_[e_.node].data).exports.size());
}

void Applier::operator()(const LoopStarted& p) {
  Act& act = add_inside(ActKind::loop);
  act.path = child_path(parent().path, program_[e_.node].name);
  act.loop = std::make_unique<LoopData>();
  act.loop->max = p.max;
  const auto& node = std::get<ir::LoopNode>(program_[e_.node].data);
  act.block = node.body;
  open_frame(act, node.scope, parent().frame);
}

void Applier::operator()(const IterationStarted& p) {
  if (e_.parent == no_act) return start_loop_iteration(own(), p.index);
  Act& fan = parent();
  const auto& node = std::get<ir::ForNode>(program_[fan.node].data);
  KFLOW_CHECK(fan.fan != nullptr && p.index < fan.fan->total, "an item of its for");
  Act& act = add(ActKind::iteration, &fan);
  act.index = p.index;
  act.block = node.body;
  act.path = fan.path + "[" + std::to_string(p.index) + "]";
  open_frame(act, node.scope, fan.frame);
  act.frame->iteration = p.index + 1;
  if (node.limit == 1) act.frame->previous = std::move(fan.fan->carried);
  fan.fan->carried.clear();
  const Value& items = fan.fan->items;
  Value key = Value::integer(static_cast<int64_t>(p.index));
  Value value;
  if (items.kind() == cel::Kind::map) {
    const cel::MapEntry& entry = items.as_map()[p.index];
    key = entry.key;
    value = node.key == ir::no_slot ? entry.key : entry.value;
  } else {
    value = items.as_list()[p.index];
  }
  set_slot(*act.frame, node.key, std::move(key));
  set_slot(*act.frame, node.value, std::move(value));
  ++fan.fan->next;
  ++fan.fan->running;
  s_.wake(fan);
}

void Applier::operator()(const LoopDecided& p) {
  Act& act = own();
  LoopData& loop = *act.loop;
  if (p.error) return leave(act, Exit::failed, {}, caused(*p.error));
  loop.exhausted = p.exhausted;
  if (!p.go_on) {
    loop.decided = true;
  } else if (p.after_iteration) {
    loop.started = false;
    loop.may_start = false;
    act.pc = 0;
    act.exit = Exit::none;
  } else {
    loop.may_start = true;
  }
  s_.wake(act);
}

void Applier::operator()(const TryStarted&) {
  Act& act = add_inside(ActKind::try_);
  act.block = std::get<ir::TryNode>(program_[e_.node].data).body;
}

void Applier::operator()(const CatchTaken& p) {
  Act& act = own();
  const auto& node = std::get<ir::TryNode>(program_[act.node].data);
  act.phase = TryPhase::handler;
  if (p.error) act.exit_error = caused(*p.error);
  if (p.arm < node.catches.size()) {
    const ir::TryNode::Catch& handler = node.catches[p.arm];
    set_slot(*act.frame, handler.error, to_value(act.exit_error));
    // The body may have done steps of the same names.
    act.path = child_path(act.path, "catch");
    act.block = handler.body;
    act.pc = 0;
    act.exit = Exit::none;
    act.exit_error = {};
  }
  s_.wake(act);
}

void Applier::operator()(const FinallyStarted&) {
  Act& act = own();
  act.saved_exit = act.stopping ? Exit::cancelled : act.exit;
  act.saved_value = std::move(act.exit_value);
  act.saved_error = std::move(act.exit_error);
  act.saved_stopping = act.stopping;
  act.exit = Exit::none;
  act.exit_value = {};
  act.stopping = false;
  act.phase = TryPhase::finally;
  act.path = s_.find(act.parent)->path;
  act.block = std::get<ir::TryNode>(program_[act.node].data).finally;
  act.pc = 0;
  s_.wake(act);
}

void Applier::operator()(const ContainerEnded&) {
  Act& act = own();
  switch (act.kind) {
    case ActKind::branch:
      return end_branch(act);
    case ActKind::iteration:
      return end_iteration(act);
    case ActKind::for_each:
      return end_for(act);
    case ActKind::loop:
      return end_loop(act);
    case ActKind::try_:
      return end_try(act);
    case ActKind::arm:
    case ActKind::parallel:
      return end_child(act, exit_of(act), act.exit_value, act.exit_error);
    case ActKind::body:
    case ActKind::step:
    case ActKind::tool:
    case ActKind::agent:
      break;
  }
  KFLOW_CHECK(false, "not a container");
}

Value Applier::indexed_error(uint64_t index, const RunError& error) {
  return cel::make_record(
      {{"index", Value::integer(static_cast<int64_t>(index))}, {"error", to_value(error)}});
}

void Applier::fail_fan(Act& act, const RunError& error) {
  act.fan->decided = true;
  act.exit = Exit::failed;
  act.exit_error = error;
  stop_inside(act, false);
}

void Applier::fail_with_all(Act& act, const RunError& last) {
  RunError error = last;
  error.data = cel::make_record({{"errors", Value::list(act.fan->errors)}});
  fail_fan(act, error);
}

void Applier::end_branch(Act& act) {
  Act& fan = *s_.find(act.parent);
  FanData& data = *fan.fan;
  const auto& node = std::get<ir::ParallelNode>(program_[fan.node].data);
  const Exit exit = exit_of(act);
  const uint64_t index = act.index;
  const RunError error = act.exit_error;
  remove_container(act);
  --data.running;
  if (exit == Exit::failed) {
    ++data.failed;
    data.errors.push_back(indexed_error(index, error));
  } else if (exit != Exit::cancelled) {
    ++data.succeeded;
  }
  if (!data.decided && !fan.stopping) judge(fan, node, exit, error);
  s_.wake(fan);
}

void Applier::judge(Act& fan, const ir::ParallelNode& node, Exit exit, const RunError& error) {
  FanData& data = *fan.fan;
  switch (node.join) {
    case ir::JoinKind::all:
      if (exit == Exit::failed) fail_fan(fan, error);
      return;
    case ir::JoinKind::settled:
      return;
    case ir::JoinKind::any:
    case ir::JoinKind::first: {
      const uint64_t wanted = node.join == ir::JoinKind::any ? 1 : node.first;
      if (data.succeeded >= wanted) {
        data.decided = true;
        stop_inside(fan, false);
      } else if (data.total - data.failed < wanted) {
        fail_with_all(fan, error);
      }
      return;
    }
  }
}

void Applier::end_iteration(Act& act) {
  Act& fan = *s_.find(act.parent);
  FanData& data = *fan.fan;
  const auto& node = std::get<ir::ForNode>(program_[fan.node].data);
  const Exit exit = exit_of(act);
  const uint64_t index = act.index;
  const Value value = act.exit_value;
  const RunError error = act.exit_error;
  const std::unique_ptr<Frame> frame = std::move(act.own_frame);
  remove_container(act);
  --data.running;
  const bool counts = exit == Exit::none || exit == Exit::continued;
  for (size_t i = 0; i < node.exports.size(); ++i) {
    auto& list = data.results[i];
    if (exit == Exit::broke) continue;
    if (list.size() <= index) list.resize(index + 1);
    if (counts) list[index] = frame->slots[node.exports[i].inner];
  }
  if (node.limit == 1) data.carried = std::move(frame->slots);
  if (counts) {
    ++data.succeeded;
  } else if (exit == Exit::failed) {
    ++data.failed;
    data.errors.push_back(indexed_error(index, error));
    if (node.on_error == ir::OnError::fail && !data.decided && !fan.stopping) fail_fan(fan, error);
  } else if (exit == Exit::broke || exit == Exit::returned) {
    data.decided = true;
    data.broke = exit == Exit::broke;
    if (exit == Exit::returned) {
      fan.exit = Exit::returned;
      fan.exit_value = value;
    }
  }
  s_.wake(fan);
}

void Applier::end_for(Act& act) {
  FanData& data = *act.fan;
  const auto& node = std::get<ir::ForNode>(program_[act.node].data);
  Frame& frame = *act.frame;
  const Exit exit = exit_of(act);
  for (size_t i = 0; i < node.exports.size(); ++i) {
    if (!data.broke) data.results[i].resize(data.total);
    set_slot(frame, node.exports[i].outer, Value::list(std::move(data.results[i])));
  }
  set_facts(frame, node.facts, [&] {
    return make_facts(exit == Exit::failed ? "ERROR" : "COMPLETED", 1, act.started_at, e_.time,
                      exit == Exit::failed ? &act.exit_error : nullptr, {},
                      {{"errors", Value::list(data.errors)}, {"exhausted", Value::boolean(false)}});
  });
  end_child(act, exit, act.exit_value, act.exit_error);
}

void Applier::start_loop_iteration(Act& act, uint64_t index) {
  act.loop->started = true;
  act.pc = 0;
  act.exit = Exit::none;
  Frame& frame = *act.frame;
  if (index > 0) {
    frame.previous = std::move(frame.slots);
    frame.slots.assign(frame.previous.size(), Value());
  }
  frame.iteration = index + 1;
  act.path = child_path(s_.find(act.parent)->path, program_[act.node].name) + "[" +
             std::to_string(index + 1) + "]";
  s_.wake(act);
}

void Applier::end_loop(Act& act) {
  const auto& node = std::get<ir::LoopNode>(program_[act.node].data);
  Frame& outer = *s_.find(act.parent)->frame;
  Exit exit = exit_of(act);
  if (exit == Exit::broke || exit == Exit::continued) exit = Exit::none;
  if (exit == Exit::none && act.loop->exhausted && node.on_max == ir::OnMax::fail) {
    exit = Exit::failed;
    act.exit_error = RunError{
        .kind = "limit",
        .code = "loop_max",
        .message = "the loop did not end within " + std::to_string(act.loop->max) + " iterations",
        .step = act.path,
        .cause_seq = s_.events};
  }
  for (const ir::Export& x : node.exports) set_slot(outer, x.outer, act.frame->slots[x.inner]);
  set_facts(outer, node.facts, [&] {
    return make_facts(exit == Exit::failed ? "ERROR" : "COMPLETED", 1, act.started_at, e_.time,
                      exit == Exit::failed ? &act.exit_error : nullptr, {},
                      {{"errors", Value::list({})},
                       {"exhausted", Value::boolean(act.loop->exhausted)},
                       {"iterations", Value::integer(static_cast<int64_t>(act.frame->iteration))}});
  });
  end_child(act, exit, act.exit_value, act.exit_error);
}

void Applier::end_try(Act& act) {
  if (act.phase == TryPhase::finally && act.exit == Exit::none && !act.stopping) {
    return end_child(act, act.saved_exit, act.saved_value, act.saved_error);
  }
  end_child(act, exit_of(act), act.exit_value, act.exit_error);
}

void Applier::remove_container(Act& act) {
  s_.set_timer(act.id, never);
  s_.acts.erase(act.id);
}

}  // namespace kflow::machine
