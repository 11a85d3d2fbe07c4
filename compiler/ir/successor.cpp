// Matches what a run has reached with its counterpart in the new program, then lays the new one out
// around it.
#include "compiler/ir/successor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/ir/fields.hpp"

namespace kflow::ir {
namespace {

std::string_view kind_of(const NodeData& data) {
  static constexpr std::string_view kinds[] = {"step",     "let",  "set",   "if",      "match",
                                               "parallel", "for",  "loop",  "try",     "return",
                                               "fail",     "emit", "break", "continue"};
  return kinds[data.index()];
}

// Calls `visit(id, scope)` for every block, and `expr(id, scope)` for every expression, that a
// statement in `scope` holds; scopes are those of iterations where the inside is one.
template <typename Blocks>
void each_block(const NodeData& data, const Blocks& visit) {
  if (const auto* n = std::get_if<IfNode>(&data)) {
    for (const auto& arm : n->arms) visit(arm.body, ScopeId());
  } else if (const auto* match = std::get_if<MatchNode>(&data)) {
    for (const auto& arm : match->arms) visit(arm.body, ScopeId());
  } else if (const auto* parallel = std::get_if<ParallelNode>(&data)) {
    for (const auto& branch : parallel->branches) visit(branch.body, ScopeId());
  } else if (const auto* each = std::get_if<ForNode>(&data)) {
    visit(each->body, each->scope);
  } else if (const auto* loop = std::get_if<LoopNode>(&data)) {
    visit(loop->body, loop->scope);
  } else if (const auto* guarded = std::get_if<TryNode>(&data)) {
    visit(guarded->body, ScopeId());
    for (const auto& handler : guarded->catches) visit(handler.body, ScopeId());
    visit(guarded->finally, ScopeId());
  }
}

NodeId undo_of(const NodeData& data) {
  const auto* step = std::get_if<StepNode>(&data);
  return step == nullptr ? NodeId() : step->options.undo;
}

// The present name, or one before it (`@was`).
bool named(std::string_view old, std::string_view now, const std::vector<std::string>& was) {
  return old == now || std::find(was.begin(), was.end(), old) != was.end();
}

// Whether values of one type in one table are those of another in another; a renamed field is the
// field that it was.
class SameTypes {
 public:
  SameTypes(const schema::TypeTable& a, const schema::TypeTable& b) : a_(a), b_(b) {}
  /// Pairs that were compared; if there was no problem, they are the same.
  const std::set<std::pair<TypeId, TypeId>>& compared() const { return assumed_; }
  bool operator()(TypeId a, TypeId b) {
    if (!assumed_.emplace(a, b).second) return true;  // being compared further out, or compared
    const schema::Type& x = a_[a];
    const schema::Type& y = b_[b];
    if (x.kind != y.kind || x.literals.size() != y.literals.size() ||
        x.fields.size() != y.fields.size() || x.arms.size() != y.arms.size())
      return false;
    if (!std::equal(x.literals.begin(), x.literals.end(), y.literals.begin(),
                    cel::Value::identical))
      return false;
    if (x.element && !(*this)(x.element, y.element)) return false;
    for (size_t i = 0; i < x.fields.size(); ++i) {
      if (!named(x.fields[i].name, y.fields[i].name, y.fields[i].was) ||
          !(*this)(x.fields[i].type, y.fields[i].type))
        return false;
    }
    for (size_t i = 0; i < x.arms.size(); ++i) {
      if (!(*this)(x.arms[i], y.arms[i])) return false;
    }
    return true;
  }

 private:
  const schema::TypeTable& a_;
  const schema::TypeTable& b_;
  std::set<std::pair<TypeId, TypeId>> assumed_;
};

class Matcher {
 public:
  Matcher(const Program& before, const Program& next, const Progress& progress)
      : before_(before), next_(next), progress_(progress), same_(before.types, next.types) {}

  std::vector<std::string> problems;
  // Of the new program's parts, those that take the place of an old one.
  std::map<NodeId, NodeId> nodes;
  std::map<BlockId, BlockId> blocks;
  std::map<ScopeId, ScopeId> scopes;
  std::map<CallableId, CallableId> callables;

  const Program& before() const { return before_; }
  const std::set<std::pair<TypeId, TypeId>>& same_types() const { return same_.compared(); }

  void run() {
    for (uint32_t i = 0; i < before_.callables.size(); ++i) {
      if (const CallableId now = counterpart(before_.callables[i])) callables[now] = CallableId(i);
    }
    for (uint32_t i = 0; i < before_.callables.size(); ++i) {
      const Callable& c = before_.callables[i];
      if (!c.body) continue;
      if (CallableId(i) == progress_.workflow || reached(c.body)) callable(c);
    }
  }

 private:
  // The callable of the new program that an old one is, perhaps under a new name.
  CallableId counterpart(const Callable& old) const {
    const CallableId now = next_.find_or_was(old.name);
    if (!now || next_[now].kind != old.kind) return {};
    return next_[now].name != old.name && before_.find(next_[now].name) ? CallableId() : now;
  }

  void problem(std::string text) { problems.push_back(std::move(text)); }

  bool reached(NodeId id) const {
    if (progress_.visited.contains(id)) return true;
    bool found = false;
    each_block(before_[id].data, [&](BlockId body, ScopeId) { found = found || reached(body); });
    const NodeId undo = undo_of(before_[id].data);
    return found || (undo && progress_.visited.contains(undo));
  }
  bool reached(BlockId id) const {
    return id && std::ranges::any_of(before_[id].statements, [&](NodeId n) { return reached(n); });
  }

  std::string place(NodeId id) const {
    const Node& node = before_[id];
    return node.origin.line == 0 ? fmt::format("`{}`", node.name)
                                 : fmt::format("`{}` (line {})", node.name, node.origin.line);
  }

  void callable(const Callable& old) {
    const CallableId id = counterpart(old);
    if (!id) {
      return problem(fmt::format("the new program has no {} `{}`, which the run is in",
                                 old.kind == CallableKind::workflow ? "workflow" : "tool",
                                 old.name));
    }
    const Callable& now = next_[id];
    const bool same_parameters =
        old.params.size() == now.params.size() &&
        std::equal(old.params.begin(), old.params.end(), now.params.begin(),
                   [&](const Param& a, const Param& b) {
                     return named(a.name, b.name, b.was) && same_(a.type, b.type);
                   });
    if (!same_parameters) {
      return problem(
          fmt::format("`{}` has other parameters now; the run has its input already", old.name));
    }
    if (!same_(old.result, now.result))
      problem(fmt::format("`{}` has another result type now", old.name));
    scope(old.scope, now.scope);
    block(old.body, now.body, old.name, true);
    for (const auto& [from, to] : {std::pair(old.workflow.on_failure, now.workflow.on_failure),
                                   std::pair(old.workflow.on_cancel, now.workflow.on_cancel)}) {
      if (from && progress_.visited.contains(from)) hidden(from, to, "the hook");
    }
  }

  void scope(ScopeId old, ScopeId now) { scopes[now] = old; }

  // The statements that have been reached, and those before them, must be there still.
  void block(BlockId old, BlockId now, const std::string& inside, bool outermost) {
    if (!now)
      return problem(fmt::format("a block of `{}` that the run has reached is gone", inside));
    blocks[now] = old;
    const auto& from = before_[old].statements;
    const auto& to = next_[now].statements;
    size_t done = 0;
    for (size_t i = 0; i < from.size(); ++i) {
      if (reached(from[i])) done = i + 1;
    }
    for (size_t i = 0; i < done; ++i) {
      if (i >= to.size())
        return problem(fmt::format("{} has run and is not in the new program", place(from[i])));
      if (!node(from[i], to[i])) return;
    }
    // Whoever has passed the end of the block does not run what is added there, but would read it.
    if (outermost || done < from.size()) return;
    for (size_t i = done; i < to.size(); ++i) {
      if (defines(next_[to[i]].data)) {
        problem(fmt::format("`{}` is added to the end of `{}`, which the run has passed already",
                            next_[to[i]].name, inside));
      }
    }
  }

  bool defines(const NodeData& data) const {
    bool found = false;
    if (const auto* step = std::get_if<StepNode>(&data)) return step->slot != no_slot;
    if (std::holds_alternative<LetNode>(data)) return true;
    each_block(data, [&](BlockId body, ScopeId) {
      if (!body) return;
      for (const NodeId n : next_[body].statements) found = found || defines(next_[n].data);
    });
    return found;
  }

  // False: what follows cannot be compared.
  bool node(NodeId old, NodeId now) {
    const Node& from = before_[old];
    const Node& to = next_[now];
    // Without a name of its own a step has that of what it calls.
    const bool calls_renamed = !from.named && !to.named && renamed_callee(from.data, to.data);
    if ((!named(from.name, to.name, to.was) && !calls_renamed) ||
        from.data.index() != to.data.index()) {
      problem(fmt::format("{} has run, and the new program has the {} `{}` in its place",
                          place(old), kind_of(to.data), to.name));
      return false;
    }
    nodes[now] = old;
    std::visit(
        [&](const auto& data) {
          inside(old, data, std::get<std::decay_t<decltype(data)>>(to.data));
        },
        from.data);
    return true;
  }

  bool same_call(const Call& from, const Call& to) const {
    if (from.kind != to.kind) return false;
    if (from.name == to.name) return true;
    const auto old = to.callable ? callables.find(to.callable) : callables.end();
    return old != callables.end() && old->second == from.callable;
  }
  bool renamed_callee(const NodeData& from, const NodeData& to) const {
    const auto* a = std::get_if<StepNode>(&from);
    const auto* b = std::get_if<StepNode>(&to);
    return a != nullptr && b != nullptr && a->call.name != b->call.name &&
           same_call(a->call, b->call);
  }

  void hidden(NodeId old, NodeId now, std::string_view what) {
    const auto* to = now ? std::get_if<StepNode>(&next_[now].data) : nullptr;
    const auto& from = std::get<StepNode>(before_[old].data);
    if (to == nullptr || !same_call(from.call, to->call)) {
      return problem(
          fmt::format("{} `{}` is in use and is not in the new program", what, from.call.name));
    }
    nodes[now] = old;
  }

  void inside(NodeId old, const StepNode& from, const StepNode& to) {
    if (!same_call(from.call, to.call)) {
      return problem(fmt::format("{} has called `{}` and would call `{}`", place(old),
                                 from.call.name, to.call.name));
    }
    if (!same_(from.type, to.type)) {
      problem(fmt::format("{} has a value of the type `{}`, and would be a `{}`", place(old),
                          before_.types.display(from.type), next_.types.display(to.type)));
    }
    // The plan to undo it is recorded with its value.
    if (from.options.undo)
      hidden(from.options.undo, to.options.undo, fmt::format("the `undo` of {}:", place(old)));
  }
  void inside(NodeId old, const LetNode& from, const LetNode& to) {
    const TypeId a = before_[from.value].type;
    const TypeId b = next_[to.value].type;
    if (!same_(a, b)) {
      problem(fmt::format("{} has a value of the type `{}`, and would be a `{}`", place(old),
                          before_.types.display(a), next_.types.display(b)));
    }
  }
  void inside(NodeId, const SetNode&, const SetNode&) {}
  template <typename Arms>
  void arms(NodeId old, const Arms& from, const Arms& to) {
    for (size_t i = 0; i < from.size(); ++i) {
      if (!reached(from[i].body)) continue;
      if (i >= to.size()) {
        problem(fmt::format("an arm of {} that the run has taken is gone", place(old)));
      } else {
        block(from[i].body, to[i].body, before_[old].name, false);
      }
    }
    if (from.size() != to.size())
      problem(fmt::format("{} has been decided; its arms cannot be added or removed", place(old)));
  }
  void inside(NodeId old, const IfNode& from, const IfNode& to) { arms(old, from.arms, to.arms); }
  void inside(NodeId old, const MatchNode& from, const MatchNode& to) {
    arms(old, from.arms, to.arms);
  }
  void inside(NodeId old, const ParallelNode& from, const ParallelNode& to) {
    const bool same =
        from.branches.size() == to.branches.size() &&
        std::equal(from.branches.begin(), from.branches.end(), to.branches.begin(),
                   [](const auto& a, const auto& b) { return named(a.name, b.name, b.was); });
    if (!same || from.join != to.join || from.first != to.first) {
      return problem(
          fmt::format("{} has begun; its branches and its join cannot change", place(old)));
    }
    for (size_t i = 0; i < from.branches.size(); ++i) {
      if (reached(from.branches[i].body))
        block(from.branches[i].body, to.branches[i].body, before_[old].name, false);
    }
  }
  void exports(NodeId old, const std::vector<Export>& from, ScopeId inner,
               const std::vector<Export>& to, ScopeId next_inner) {
    std::set<std::string> names;
    for (const Export& x : from) names.insert(before_[inner].slots[x.inner].name);
    for (const Export& x : to) {
      const auto& [name, type, carried, facts, was] = next_[next_inner].slots[x.inner];
      const bool there = names.contains(name) ||
                         std::any_of(was.begin(), was.end(),
                                     [&](const std::string& n) { return names.contains(n); });
      if (!there) {
        problem(
            fmt::format("`{}` of {} is read after it in the new program only, and iterations "
                        "that have ended do not have it",
                        name, place(old)));
      }
    }
  }
  void inside(NodeId old, const ForNode& from, const ForNode& to) {
    if ((from.limit > 1) != (to.limit > 1))
      problem(fmt::format("{} has begun; it cannot become concurrent or sequential", place(old)));
    scope(from.scope, to.scope);
    exports(old, from.exports, from.scope, to.exports, to.scope);
    if (reached(from.body)) block(from.body, to.body, before_[old].name, false);
  }
  void inside(NodeId old, const LoopNode& from, const LoopNode& to) {
    if (from.while_.has_value() != to.while_.has_value())
      problem(fmt::format("{} has begun; it cannot begin or cease to have a `while`", place(old)));
    scope(from.scope, to.scope);
    exports(old, from.exports, from.scope, to.exports, to.scope);
    if (reached(from.body)) block(from.body, to.body, before_[old].name, false);
  }
  void inside(NodeId old, const TryNode& from, const TryNode& to) {
    block(from.body, to.body, before_[old].name, false);
    for (size_t i = 0; i < from.catches.size(); ++i) {
      if (!reached(from.catches[i].body)) continue;
      if (i >= to.catches.size()) {
        problem(fmt::format("a `catch` of {} that the run has taken is gone", place(old)));
      } else {
        block(from.catches[i].body, to.catches[i].body, before_[old].name, false);
      }
    }
    if (reached(from.finally)) block(from.finally, to.finally, before_[old].name, false);
    if (from.compensate != to.compensate)
      problem(fmt::format("{} has begun; its `compensate` cannot change", place(old)));
  }
  void inside(NodeId, const ReturnNode&, const ReturnNode&) {}
  void inside(NodeId, const FailNode&, const FailNode&) {}
  void inside(NodeId, const EmitNode&, const EmitNode&) {}
  void inside(NodeId, const BreakNode&, const BreakNode&) {}
  void inside(NodeId, const ContinueNode&, const ContinueNode&) {}

  const Program& before_;
  const Program& next_;
  const Progress& progress_;
  SameTypes same_;
};

/// Copies the parts of the new program into the old one's numbering.
class Layout {
 public:
  Layout(const Program& before, const Program& next, const Matcher& match)
      : next_(next), match_(match), out_(before) {}

  Program run() {
    number();
    for (uint32_t i = 0; i < next_.scopes.size(); ++i) scope(ScopeId(i));
    expression_scopes();
    for (uint32_t i = 0; i < next_.exprs.size(); ++i) expression(i);
    for (uint32_t i = 0; i < next_.blocks.size(); ++i) {
      Block copy = next_.blocks[i];
      fields(*this, copy);
      out_.blocks[blocks_[i].value] = std::move(copy);
    }
    for (uint32_t i = 0; i < next_.nodes.size(); ++i) {
      Node copy = next_.nodes[i];
      slots(NodeId(i), copy.data);
      fields(*this, copy);
      out_.nodes[nodes_[i].value] = std::move(copy);
    }
    for (uint32_t i = 0; i < next_.callables.size(); ++i) {
      Callable copy = next_.callables[i];
      if (const auto known = match_.callables.find(CallableId(i)); known != match_.callables.end())
        remember(copy, match_.before()[known->second]);
      fields(*this, copy);
      out_.callables[callables_[i].value] = std::move(copy);
    }
    for (const auto& [old, now] : match_.same_types()) {
      const schema::Type& from = match_.before().types[old];
      if (from.kind != schema::TypeKind::record) continue;
      for (size_t n = 0; n < from.fields.size(); ++n) {
        out_.types.add_former_names(mapped(now), n, {from.fields[n].name});
        out_.types.add_former_names(mapped(now), n, from.fields[n].was);
      }
    }
    out_.edition = next_.edition;
    out_.name = next_.name;
    return std::move(out_);
  }

  // The archive that renumbers.
  template <typename T>
  void operator()(const char*, T& x) {
    put(x);
  }
  void origin(const char*, Origin& x) { x.file += files_; }
  void doc(const char*, std::string&) {}
  void files(const char*, std::vector<std::string>&) {}
  void constraint(schema::Constraint&) {}

 private:
  static void remember(std::string_view name, const std::vector<std::string>& was,
                       std::string_view now, std::vector<std::string>& into) {
    const auto add = [&](std::string_view n) {
      if (n != now && std::find(into.begin(), into.end(), n) == into.end()) into.emplace_back(n);
    };
    add(name);
    for (const std::string& n : was) add(n);
  }
  // What the run has recorded may have names from before the last move, too.
  static void remember(Callable& now, const Callable& old) {
    remember(old.name, old.was, now.name, now.was);
    if (now.params.size() != old.params.size()) return;
    for (size_t i = 0; i < old.params.size(); ++i)
      remember(old.params[i].name, old.params[i].was, now.params[i].name, now.params[i].was);
  }

  // Numbers of parts that have none in the old program come after its own.
  template <typename Tag, typename T>
  std::vector<Id<Tag>> number(const std::vector<T>& parts, const std::map<Id<Tag>, Id<Tag>>& known,
                              std::vector<T>& into) {
    std::vector<Id<Tag>> out;
    for (uint32_t i = 0; i < parts.size(); ++i) {
      if (const auto it = known.find(Id<Tag>(i)); it != known.end()) {
        out.push_back(it->second);
      } else {
        out.push_back(Id<Tag>(static_cast<uint32_t>(into.size())));
        into.emplace_back();
      }
    }
    return out;
  }
  void number() {
    types_ = out_.types.append(next_.types);
    files_ = static_cast<uint32_t>(out_.files.size());
    out_.files.insert(out_.files.end(), next_.files.begin(), next_.files.end());
    constants_ = static_cast<uint32_t>(out_.constants.size());
    out_.constants.insert(out_.constants.end(), next_.constants.begin(), next_.constants.end());
    exprs_ = static_cast<uint32_t>(out_.exprs.size());
    models_ = static_cast<uint32_t>(out_.models.size());
    for (Model copy : next_.models) {
      fields(*this, copy);
      out_.models.push_back(std::move(copy));
    }
    servers_ = static_cast<uint32_t>(out_.servers.size());
    out_.servers.insert(out_.servers.end(), next_.servers.begin(), next_.servers.end());
    // Callables of a name whose kind has changed: the old one is kept for what refers to it.
    for (uint32_t i = 0; i < next_.callables.size(); ++i) {
      const CallableId old = out_.find(next_.callables[i].name);
      const auto known = match_.callables.find(CallableId(i));
      if (old && (known == match_.callables.end() || known->second != old))
        out_.callables[old.value].name += " (before)";
    }
    blocks_ = number<BlockTag>(next_.blocks, match_.blocks, out_.blocks);
    nodes_ = number<NodeTag>(next_.nodes, match_.nodes, out_.nodes);
    scopes_ = number<ScopeTag>(next_.scopes, match_.scopes, out_.scopes);
    callables_ = number<CallableTag>(next_.callables, match_.callables, out_.callables);
  }

  // Old slots keep their numbers, new ones come after them; the n-th of a name is the n-th.
  void scope(ScopeId id) {
    const Scope& from = next_[id];
    Scope& to = out_.scopes[scopes_[id.value].value];
    std::map<std::string, std::vector<Slot>> known;
    for (Slot s = 0; s < to.slots.size(); ++s) known[to.slots[s].name].push_back(s);
    std::map<std::string, size_t> used;
    std::vector<Slot>& numbers = slots_.emplace_back();
    for (const SlotInfo& slot : from.slots) {
      SlotInfo copy = slot;
      copy.type = mapped(slot.type);
      std::string name = slot.name;
      for (const std::string& was : slot.was) {
        if (!known.contains(name)) name = was;
      }
      const size_t nth = used[name]++;
      const std::vector<Slot>& there = known[name];
      if (nth < there.size()) {
        numbers.push_back(there[nth]);
        to.slots[there[nth]] = std::move(copy);
      } else {
        numbers.push_back(static_cast<Slot>(to.slots.size()));
        to.slots.push_back(std::move(copy));
      }
    }
    to.kind = from.kind;
    to.parent = from.parent ? scopes_[from.parent.value] : ScopeId();
  }

  // Which scope each expression is evaluated in, and each statement stands in.
  void expression_scopes() {
    expr_scope_.resize(next_.exprs.size());
    node_scope_.resize(next_.nodes.size());
    for (const Callable& c : next_.callables) {
      if (!c.scope) continue;
      note(c.workflow.timeout, c.scope), note(c.workflow.concurrency.key, c.scope);
      for (const NodeId hook : {c.workflow.on_failure, c.workflow.on_cancel, c.agent.call}) {
        if (hook) node_scopes(hook, c.scope);
      }
      const AgentOptions& o = c.agent;
      for (const AgentTool& tool : o.tools) node_scopes(tool.node, c.scope);
      for (const Guard& guard : o.guards) node_scopes(guard.node, c.scope);
      for (const ExprId e : {o.role, o.instructions, o.prompt, o.budget.usd, o.budget.tokens,
                             c.workflow.budget.usd, c.workflow.budget.tokens})
        note(e, c.scope);
      if (c.body) block_scopes(c.body, c.scope);
    }
  }
  void note(ExprId id, ScopeId scope) {
    if (id) expr_scope_[id.value] = scope;
  }
  void block_scopes(BlockId id, ScopeId scope) {
    for (const NodeId n : next_[id].statements) node_scopes(n, scope);
  }
  // Notes all expressions in a part of a statement.
  struct Notes {
    Layout& layout;
    ScopeId scope;
    template <typename T>
    void operator()(const char*, T& x) {
      put(x);
    }
    void origin(const char*, Origin&) {}
    void doc(const char*, std::string&) {}
    void put(ExprId& x) { layout.note(x, scope); }
    template <typename T>
    void put(std::vector<T>& x) {
      for (T& item : x) put(item);
    }
    void put(Argument& x) { fields(*this, x); }
    void put(Call& x) { fields(*this, x); }
    void put(StepOptions& x) { fields(*this, x); }
    void put(IfNode::Arm& x) { fields(*this, x); }
    void put(TryNode::Catch& x) { fields(*this, x); }
    template <typename T>
    void put(T&) {}
  };
  void node_scopes(NodeId id, ScopeId scope) {
    node_scope_[id.value] = scope;
    NodeData data = next_[id].data;
    Notes notes{*this, scope};
    std::visit([&](auto& node) { fields(notes, node); }, data);
    if (const auto* loop = std::get_if<LoopNode>(&data))
      note(loop->until, loop->scope), note(loop->while_, loop->scope);
    if (const NodeId undo = undo_of(data)) node_scopes(undo, scope);
    each_block(data, [&](BlockId body, ScopeId inner) {
      if (body) block_scopes(body, inner ? inner : scope);
    });
  }

  void expression(uint32_t i) {
    Expr copy = next_.exprs[i];
    copy.type = mapped(copy.type);
    copy.origin.file += files_;
    for (VarRef& v : copy.variables) {
      if (v.source == VarSource::constant) v.index += constants_;
      const bool in_scope = v.source == VarSource::slot || v.source == VarSource::previous ||
                            v.source == VarSource::info || v.source == VarSource::errors;
      if (!in_scope) continue;
      ScopeId scope = expr_scope_[i];
      for (uint32_t hops = 0; hops < v.hops && scope; ++hops) scope = next_[scope].parent;
      if (scope) v.index = slots_[scope.value][v.index];
    }
    out_.exprs.push_back(std::move(copy));
  }

  void slot(ScopeId scope, Slot& s) const {
    if (s != no_slot) s = slots_[scope.value][s];
  }
  // The slots of a statement; its ids are still the new program's own.
  void slots(NodeId id, NodeData& data) {
    const ScopeId scope = node_scope_[id.value];
    if (!scope) return;  // nothing leads to it
    if (auto* step = std::get_if<StepNode>(&data)) slot(scope, step->slot);
    if (auto* let = std::get_if<LetNode>(&data)) slot(scope, let->slot);
    const auto loop = [&](auto& node) {
      for (Export& x : node.exports) slot(node.scope, x.inner), slot(scope, x.outer);
      slot(scope, node.facts);
    };
    if (auto* each = std::get_if<ForNode>(&data)) {
      slot(each->scope, each->key), slot(each->scope, each->value);
      loop(*each);
    }
    if (auto* node = std::get_if<LoopNode>(&data)) loop(*node);
    if (auto* guarded = std::get_if<TryNode>(&data)) {
      for (TryNode::Catch& c : guarded->catches) slot(scope, c.error);
    }
  }

  TypeId mapped(TypeId id) const {
    return !id || id.value < schema::TypeTable::simple_types ? id : TypeId(id.value + types_);
  }
  void put(TypeId& x) { x = mapped(x); }
  void put(NodeId& x) {
    if (x) x = nodes_[x.value];
  }
  void put(BlockId& x) {
    if (x) x = blocks_[x.value];
  }
  void put(ScopeId& x) {
    if (x) x = scopes_[x.value];
  }
  void put(CallableId& x) {
    if (x) x = callables_[x.value];
  }
  void put(ExprId& x) {
    if (x) x = ExprId(x.value + exprs_);
  }
  void put(ModelId& x) {
    if (x) x = ModelId(x.value + models_);
  }
  void put(McpServerId& x) {
    if (x) x = McpServerId(x.value + servers_);
  }
  void put(std::string&) {}
  void put(cel::Value&) {}
  template <typename T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void put(T&) {}
  template <typename T>
  void put(std::optional<T>& x) {
    if (x) put(*x);
  }
  template <typename T>
  void put(std::vector<T>& x) {
    for (T& item : x) put(item);
  }
  void put(std::vector<schema::Constraint>&) {}
  template <typename... Ts>
  void put(std::variant<Ts...>& x) {
    std::visit([&](auto& alternative) { fields(*this, alternative); }, x);
  }
  template <typename T>
    requires std::is_class_v<T>
  void put(T& x) {
    fields(*this, x);
  }

  const Program& next_;
  const Matcher& match_;
  Program out_;
  uint32_t types_ = 0;
  uint32_t files_ = 0;
  uint32_t constants_ = 0;
  uint32_t exprs_ = 0;
  uint32_t models_ = 0;
  uint32_t servers_ = 0;
  std::vector<BlockId> blocks_;
  std::vector<NodeId> nodes_;
  std::vector<ScopeId> scopes_;
  std::vector<CallableId> callables_;
  std::vector<std::vector<Slot>> slots_;  // by the new program's scope
  std::vector<ScopeId> expr_scope_;
  std::vector<ScopeId> node_scope_;
};

}  // namespace

Succession succeed(const Program& before, const Program& next, const Progress& progress) {
  Matcher match(before, next, progress);
  match.run();
  Succession out;
  out.problems = std::move(match.problems);
  if (out.problems.empty()) out.program = Layout(before, next, match).run();
  return out;
}

}  // namespace kflow::ir
