// Snapshots: a state as bytes, so that a long log need not be folded whole. They can always be
// thrown away.
#include <algorithm>
#include <type_traits>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {
namespace {

using cel::Value;

// Never reused; a snapshot of another version is not read.
constexpr uint8_t snapshot_version = 4;

class Out {
 public:
  explicit Out(LargeSink* large) : bytes(large) {}
  ByteWriter bytes;
  template <typename T>
  void operator()(T& x) {
    if constexpr (std::is_same_v<T, bool>) {
      bytes.boolean(x);
    } else if constexpr (std::is_enum_v<T>) {
      bytes.u8(static_cast<uint8_t>(x));
    } else if constexpr (std::is_unsigned_v<T>) {
      bytes.varint(x);
    } else if constexpr (std::is_floating_point_v<T>) {
      bytes.f64(x);
    } else if constexpr (std::is_signed_v<T>) {
      bytes.svarint(x);
    } else {
      put(x);
    }
  }

 private:
  void put(std::string& x) { bytes.string(x); }
  void put(Value& x) { cel::encode_value(x, bytes); }
  template <typename Tag>
  void put(Id<Tag>& x) {
    bytes.varint(x ? uint64_t{x.value} + 1 : 0);
  }
  template <typename T>
  void put(std::vector<T>& x) {
    bytes.varint(x.size());
    for (T& item : x) (*this)(item);
  }
  template <typename T>
  void put(std::optional<T>& x) {
    bytes.boolean(x.has_value());
    if (x) (*this)(*x);
  }
  template <typename T>
  void put(std::unique_ptr<T>& x) {
    bytes.boolean(x != nullptr);
    if (x) (*this)(*x);
  }
  template <typename T>
  void put(T& x) {
    fields(*this, x);
  }
};

class In {
 public:
  In(std::string_view in, LargeSource* large) : bytes(in, large) {}
  ByteReader bytes;
  template <typename T>
  void operator()(T& x) {
    if constexpr (std::is_same_v<T, bool>) {
      x = bytes.boolean();
    } else if constexpr (std::is_enum_v<T>) {
      x = static_cast<T>(bytes.u8());
    } else if constexpr (std::is_unsigned_v<T>) {
      x = static_cast<T>(bytes.varint());
    } else if constexpr (std::is_floating_point_v<T>) {
      x = bytes.f64();
    } else if constexpr (std::is_signed_v<T>) {
      x = bytes.svarint();
    } else {
      get(x);
    }
  }

 private:
  void get(std::string& x) { x = bytes.string(); }
  void get(Value& x) { x = cel::decode_value(bytes); }
  template <typename Tag>
  void get(Id<Tag>& x) {
    const uint64_t v = bytes.varint();
    x = v == 0 ? Id<Tag>() : Id<Tag>(static_cast<uint32_t>(v - 1));
  }
  template <typename T>
  void get(std::vector<T>& x) {
    for (size_t n = bytes.count(); n > 0 && !bytes.failed(); --n) (*this)(x.emplace_back());
  }
  template <typename T>
  void get(std::optional<T>& x) {
    if (bytes.boolean()) (*this)(x.emplace());
  }
  template <typename T>
  void get(std::unique_ptr<T>& x) {
    if (!bytes.boolean()) return;
    x = std::make_unique<T>();
    (*this)(*x);
  }
  template <typename T>
  void get(T& x) {
    fields(*this, x);
  }
};

// Both directions go through one list of fields a type.
template <typename A>
void fields(A& a, RunError& x) {
  a(x.kind), a(x.code), a(x.message), a(x.step), a(x.status), a(x.data), a(x.retryable),
      a(x.retry_after_ms), a(x.cause_seq);
}
template <typename A>
void fields(A& a, UndoPlan& x) {
  a(x.arguments), a(x.error);
}
template <typename A>
void fields(A& a, UndoEntry& x) {
  a(x.node), a(x.path), a(x.plan), a(x.tries);
}
template <typename A>
void fields(A& a, Asked& x) {
  a(x.kind), a(x.number), a(x.question), a(x.show), a(x.input), a(x.value), a(x.form), a(x.expires),
      a(x.has_default), a(x.fallback);
}
template <typename A>
void fields(A& a, Frame& x) {
  a(x.scope), a(x.slots), a(x.previous), a(x.facts), a(x.iteration);
}
template <typename A>
void fields(A& a, StepData& x) {
  a(x.phase), a(x.counted), a(x.attempt), a(x.interruptions), a(x.input), a(x.key), a(x.started_at),
      a(x.attempt_started_at), a(x.deadline);
  a(x.attempt_deadline), a(x.attempt_timeout_ms), a(x.wake), a(x.last_error), a(x.stop_error),
      a(x.mode), a(x.child), a(x.orphaned), a(x.told);
  a(x.asks), a(x.ask), a(x.used);
}
template <typename A>
void fields(A& a, FanData& x) {
  a(x.next), a(x.total), a(x.running), a(x.succeeded), a(x.failed), a(x.decided), a(x.broke),
      a(x.items), a(x.results), a(x.errors), a(x.carried);
}
template <typename A>
void fields(A& a, LoopData& x) {
  a(x.max), a(x.started), a(x.decided), a(x.may_start), a(x.exhausted);
}
template <typename A>
void fields(A& a, UsageTotal& x) {
  a(x.input_tokens), a(x.output_tokens), a(x.usd), a(x.calls), a(x.cached_input_tokens),
      a(x.cache_write_tokens), a(x.reasoning_tokens);
}
template <typename A>
void fields(A& a, ToolCall& x) {
  a(x.id), a(x.name), a(x.arguments), a(x.act), a(x.answered), a(x.is_error), a(x.value);
}
template <typename A>
void fields(A& a, TeamTask& x) {
  a(x.title), a(x.done), a(x.result);
}
template <typename A>
void fields(A& a, AgentData& x) {
  a(x.phase), a(x.system), a(x.messages), a(x.context), a(x.turns), a(x.reasks), a(x.model),
      a(x.guard), a(x.made), a(x.running), a(x.calls);
  a(x.text), a(x.stop), a(x.answer), a(x.answer_text), a(x.failure), a(x.own), a(x.total),
      a(x.usd_limit), a(x.token_limit), a(x.tasks), a(x.turn_seq);
}
// Without its place among the frames, which `frames` puts right.
template <typename A>
void fields(A& a, Act& x) {
  a(x.id), a(x.parent), a(x.node), a(x.kind), a(x.role), a(x.path), a(x.started_at), a(x.block),
      a(x.pc), a(x.busy), a(x.exit), a(x.exit_value);
  a(x.exit_error), a(x.stopping), a(x.index), a(x.phase), a(x.saved_exit), a(x.saved_value),
      a(x.saved_error), a(x.saved_stopping), a(x.step);
  a(x.fan), a(x.loop), a(x.agent), a(x.own_frame);
}
template <typename A>
void fields(A& a, RunState& x) {
  a(x.status), a(x.events), a(x.shown_events), a(x.attempt), a(x.run_id), a(x.session_id),
      a(x.user_id), a(x.workflow), a(x.started_at);
  a(x.cancelling), a(x.cancel_reason), a(x.time_limit_ms), a(x.killed), a(x.hook_called),
      a(x.failed_at), a(x.undone), a(x.parent_id);
  a(x.session), a(x.result), a(x.error), a(x.undo), a(x.followers), a(x.last_act), a(x.usage),
      a(x.usd_limit), a(x.token_limit);
}

struct Mail {
  std::string name;
  std::vector<Value> values;
};
template <typename A>
void fields(A& a, Mail& x) {
  a(x.name), a(x.values);
}

// Which activation's own frame an activation reads from, and which its own stands in; 0: none.
struct FrameLink {
  ActId frame = no_act;
  ActId outer = no_act;
};
template <typename A>
void fields(A& a, FrameLink& x) {
  a(x.frame), a(x.outer);
}

template <typename... Nodes>
bool stands_at(const ir::Program& program, const Act& act) {
  return act.node && (std::holds_alternative<Nodes>(program[act.node].data) || ...);
}

// An activation has the parts that its kind needs, and stands at a node of that kind.
bool whole(const ir::Program& program, const Act& act) {
  const bool step = act.kind == ActKind::body || act.kind == ActKind::step ||
                    act.kind == ActKind::tool || act.kind == ActKind::agent;
  if (step != (act.step != nullptr)) return false;
  switch (act.kind) {
    case ActKind::body:
      return true;
    case ActKind::step:
    case ActKind::tool:
    case ActKind::agent:
      return stands_at<ir::StepNode>(program, act);
    case ActKind::arm:
      return stands_at<ir::IfNode, ir::MatchNode>(program, act);
    case ActKind::parallel:
      return act.fan != nullptr && stands_at<ir::ParallelNode>(program, act);
    case ActKind::for_each:
      return act.fan != nullptr && stands_at<ir::ForNode>(program, act);
    case ActKind::loop:
      return act.loop != nullptr && stands_at<ir::LoopNode>(program, act);
    case ActKind::try_:
      return stands_at<ir::TryNode>(program, act);
    case ActKind::branch:
    case ActKind::iteration:
      return act.fan == nullptr;
  }
  return false;
}

bool valid(const ir::Program& program, const Act& act) {
  if (act.node && act.node.value >= program.nodes.size()) return false;
  if (act.block && act.block.value >= program.blocks.size()) return false;
  if (act.kind > ActKind::agent || act.role > Role::call || act.exit > Exit::cancelled ||
      act.phase > TryPhase::finally)
    return false;
  if (act.own_frame && (act.own_frame->scope.value >= program.scopes.size() ||
                        act.own_frame->slots.size() != program[act.own_frame->scope].slots.size()))
    return false;
  if ((act.kind == ActKind::agent) != (act.agent != nullptr)) return false;
  if (act.agent && (act.agent->phase > AgentPhase::done || !act.step)) return false;
  if (act.step && (act.step->phase > StepPhase::asking || act.step->mode > StepMode::at_once))
    return false;
  // What it waits for is in its arguments.
  const bool named =
      act.step && (act.step->mode == StepMode::signal || act.step->mode == StepMode::run);
  return whole(program, act) && (!named || act.step->input.kind() == cel::Kind::map);
}

}  // namespace

std::string encode_state(const RunState& constant, LargeSink* large) {
  // The lists of fields take references that are not const; writing changes nothing.
  auto& state = const_cast<RunState&>(constant);
  Out out(large);
  out.bytes.u8(snapshot_version);
  out(state);
  std::vector<Mail> mail;
  for (const auto& [name, values] : state.mailbox)
    mail.push_back({name, {values.begin(), values.end()}});
  out(mail);
  std::vector<Act*> acts;
  for (auto& [id, act] : state.acts) acts.push_back(act.get());
  std::sort(acts.begin(), acts.end(), [](const Act* a, const Act* b) { return a->id < b->id; });
  std::unordered_map<const Frame*, ActId> owners;
  for (const Act* act : acts) {
    if (act->own_frame) owners[act->own_frame.get()] = act->id;
  }
  out.bytes.varint(acts.size());
  for (Act* act : acts) {
    out(*act);
    FrameLink link;
    if (act->frame != nullptr) link.frame = owners.at(act->frame);
    if (act->own_frame && act->own_frame->parent != nullptr)
      link.outer = owners.at(act->own_frame->parent);
    out(link);
  }
  return out.bytes.take();
}

RunStatePtr decode_state(std::shared_ptr<const ir::Program> program, std::string_view bytes,
                         LargeSource* large) {
  In in(bytes, large);
  if (in.bytes.u8() != snapshot_version) return nullptr;
  RunStatePtr state = make_state(program);
  in(*state);
  if (in.bytes.failed() || state->status > RunStatus::error || !state->workflow ||
      state->workflow.value >= program->callables.size())
    return nullptr;
  std::vector<Mail> mail;
  in(mail);
  for (Mail& m : mail) state->mailbox[m.name] = {m.values.begin(), m.values.end()};
  std::vector<std::pair<ActId, FrameLink>> links;
  for (size_t n = in.bytes.count(); n > 0 && !in.bytes.failed(); --n) {
    auto act = std::make_unique<Act>();
    in(*act);
    FrameLink link;
    in(link);
    if (in.bytes.failed() || !valid(*program, *act)) return nullptr;
    links.emplace_back(act->id, link);
    state->acts.emplace(act->id, std::move(act));
  }
  if (!in.bytes.done()) return nullptr;
  for (const auto& [id, link] : links) {
    Act& act = *state->find(id);
    const Act* holder = state->find(link.frame);
    const Act* outer = state->find(link.outer);
    if ((link.frame != no_act && (holder == nullptr || !holder->own_frame)) ||
        (link.outer != no_act && (outer == nullptr || !outer->own_frame)))
      return nullptr;
    if (act.parent != no_act && state->find(act.parent) == nullptr) return nullptr;
    if (holder != nullptr) act.frame = holder->own_frame.get();
    if (outer != nullptr && act.own_frame) act.own_frame->parent = outer->own_frame.get();
    state->set_timer(id, due_of(act));
    if (act.step) {
      state->effects += act.step->counted;
      state->asking += act.step->ask != nullptr;
      const Value* name =
          act.step->mode == StepMode::signal ? act.step->input.find("name") : nullptr;
      if (name != nullptr && name->kind() == cel::Kind::string)
        state->listening[std::string(name->as_string())].insert(id);
    }
    state->wake(act);  // a decision may be due anywhere
  }
  return state;
}

}  // namespace kflow::machine
