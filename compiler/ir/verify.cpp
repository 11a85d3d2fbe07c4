// Everything the machine takes for granted about a program.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/ir/builtins.hpp"
#include "compiler/ir/program.hpp"
#include "compiler/ir/schedule.hpp"

namespace kflow::ir {
namespace {

constexpr size_t max_block_depth = 300;

class Verifier {
 public:
  explicit Verifier(const Program& p)
      : p_(p), used_(p.nodes.size(), false), block_used_(p.blocks.size(), false) {}
  std::string problem;

  void run() {
    for (const Scope& scope : p_.scopes) {
      need(!scope.parent || scope.parent.value < p_.scopes.size(), "scope");
      for (const SlotInfo& slot : scope.slots) need(type(slot.type), "slot's type");
    }
    for (size_t i = 0; i < p_.scopes.size() && problem.empty(); ++i) {
      size_t depth = 0;
      for (ScopeId s(i); s && depth <= p_.scopes.size(); s = p_[s].parent) ++depth;
      need(depth <= p_.scopes.size(), "cycle of scopes");
    }
    for (const Model& model : p_.models) {
      for (const ModelId other : model.fallback) need(other.value < p_.models.size(), "fallback");
    }
    for (const Callable& callable : p_.callables) {
      if (problem.empty()) check(callable);
    }
  }

 private:
  void need(bool ok, std::string_view what) {
    if (!ok && problem.empty()) problem = fmt::format("bad {}", what);
  }
  bool type(TypeId id) const { return id.value < p_.types.size(); }
  bool slot(ScopeId scope, Slot s) const { return s == no_slot || s < p_[scope].slots.size(); }

  void check(const Callable& c) {
    need(type(c.result), "result type");
    for (const Param& param : c.params) {
      need(type(param.type), "parameter's type");
      expr({}, param.fallback);
    }
    if (c.kind == CallableKind::extern_tool) return bodiless(c);
    if (c.kind == CallableKind::mcp_tool) {
      need(c.mcp.server.value < p_.servers.size() && !c.mcp.name.empty(), "MCP server");
      return bodiless(c);
    }
    need(c.scope.value < p_.scopes.size() && p_[c.scope].kind == ScopeKind::body &&
             !p_[c.scope].parent,
         "body scope");
    if (!problem.empty()) return;
    need(p_[c.scope].slots.size() >= c.params.size(), "parameter slots");
    if (c.kind == CallableKind::agent || c.kind == CallableKind::team) return agent(c);
    expr(c.scope, c.workflow.timeout);
    expr(c.scope, c.workflow.concurrency.key);
    expr(c.scope, c.workflow.budget.usd), expr(c.scope, c.workflow.budget.tokens);
    if (c.workflow.session)
      need(
          type(c.workflow.session) && p_.types[c.workflow.session].kind == schema::TypeKind::record,
          "session");
    if (!c.workflow.schedule.empty())
      need(decode_schedule(c.workflow.schedule).has_value(), "schedule");
    for (const NodeId hook : {c.workflow.on_failure, c.workflow.on_cancel}) hidden(c.scope, hook);
    need(c.body.has_value(), "body");
    block(c.scope, c.body, 0);
  }

  // Its statements and options are nobody's, so nothing looks at them.
  void bodiless(const Callable& c) {
    need(!c.body && !c.workflow.timeout && !c.workflow.concurrency.key && !c.workflow.budget.usd &&
             !c.workflow.budget.tokens && !c.workflow.on_failure && !c.workflow.on_cancel,
         "callable without a body");
  }

  void agent(const Callable& c) {
    bodiless(c);
    const AgentOptions& o = c.agent;
    need(o.model.value < p_.models.size(), "model");
    for (const ExprId e : {o.role, o.instructions, o.prompt, o.budget.usd, o.budget.tokens})
      expr(c.scope, e);
    need(
        o.members <= o.tools.size() && (c.kind == CallableKind::team) == (o.mode != TeamMode::none),
        "team");
    need(o.call.has_value(), "call of the model");
    hidden(c.scope, o.call);
    if (!problem.empty()) return;
    const auto& call = std::get<StepNode>(p_[o.call].data).call;
    need(call.kind == CalleeKind::model && p_.callables[call.callable.value].agent.call == o.call,
         "call of the model");
    for (const AgentTool& tool : o.tools) {
      need(type(tool.input) && tool.node, "tool of an agent");
      if (!problem.empty()) return;
      const schema::TypeKind kind = p_.types[tool.input].kind;
      need(kind == schema::TypeKind::record ||
               (kind == schema::TypeKind::map && !tool.schema.empty()),
           "tool of an agent");
      hidden(c.scope, tool.node, true);
    }
    for (const Guard& guard : o.guards) {
      need(guard.node && guard.input != guard.output, "guard");
      hidden(c.scope, guard.node);
    }
  }

  // `scope` none: only constants and facts of the run can be read.
  void expr(ScopeId scope, ExprId id) {
    if (!id || !problem.empty()) return;
    if (id.value >= p_.exprs.size()) return need(false, "expression");
    const Expr& e = p_[id];
    need(type(e.type), "expression's type");
    need(e.variables.size() >= e.program.variables, "expression's variables");
    for (const VarRef& v : e.variables) variable(scope, v);
  }

  void variable(ScopeId scope, const VarRef& v) {
    switch (v.source) {
      case VarSource::constant:
        return need(v.index < p_.constants.size(), "constant");
      case VarSource::run:
      case VarSource::session:
      case VarSource::user:
      case VarSource::own_value:
      case VarSource::own_key:
      case VarSource::message:
        return;
      case VarSource::slot:
      case VarSource::previous:
      case VarSource::iteration:
      case VarSource::info:
      case VarSource::errors:
        break;
    }
    for (uint32_t i = 0; i < v.hops && scope; ++i) scope = p_[scope].parent;
    if (!scope) return need(false, "reference outside its scope");
    need(v.source == VarSource::iteration || v.index < p_[scope].slots.size(),
         "reference to a slot");
  }

  void block(ScopeId scope, BlockId id, size_t depth) {
    if (!problem.empty() || !id) return;
    if (id.value >= p_.blocks.size() || block_used_[id.value] || depth > max_block_depth)
      return need(false, "block");
    block_used_[id.value] = true;
    for (const NodeId n : p_[id].statements) {
      if (n.value >= p_.nodes.size() || used_[n.value]) return need(false, "statement");
      used_[n.value] = true;
      std::visit([&](const auto& data) { node(scope, data, depth + 1); }, p_[n].data);
    }
  }

  void call(ScopeId scope, const Call& c) {
    for (const Argument& a : c.arguments) {
      need(a.value.has_value(), "argument");
      expr(scope, a.value);
    }
    switch (c.kind) {
      case CalleeKind::builtin:
        return need(find_builtin(c.name) != nullptr, "built-in");
      case CalleeKind::mcp_tool:
        return callee(c, CallableKind::mcp_tool);
      case CalleeKind::tool:
        return callee(c, CallableKind::tool);
      case CalleeKind::extern_tool:
        return callee(c, CallableKind::extern_tool);
      case CalleeKind::workflow:
      case CalleeKind::workflow_start:
        return callee(c, CallableKind::workflow);
      case CalleeKind::agent:
        return callee(c, CallableKind::agent);
      case CalleeKind::team:
        return callee(c, CallableKind::team);
      case CalleeKind::model:
        return need(c.callable.value < p_.callables.size() &&
                        (p_.callables[c.callable.value].kind == CallableKind::agent ||
                         p_.callables[c.callable.value].kind == CallableKind::team),
                    "agent");
    }
  }
  void callee(const Call& c, CallableKind kind) {
    need(c.callable.value < p_.callables.size() && p_.callables[c.callable.value].kind == kind,
         "callee");
  }

  // A step that stands in no block: what undoes another, or a hook of a workflow.
  // `confirms`: a person may be asked before it.
  void hidden(ScopeId s, NodeId id, bool confirms = false) {
    if (!id || !problem.empty()) return;
    if (id.value >= p_.nodes.size() || used_[id.value]) return need(false, "hidden step");
    used_[id.value] = true;
    const auto* step = std::get_if<StepNode>(&p_[id].data);
    if (step == nullptr || step->slot != no_slot || step->options.undo ||
        (step->options.confirm && !confirms) || step->options.review)
      return need(false, "hidden step");
    node(s, *step, 0);
  }

  void node(ScopeId s, const StepNode& n, size_t) {
    need(slot(s, n.slot) && type(n.type), "step");
    call(s, n.call);
    const StepOptions& o = n.options;
    for (const ExprId e : {o.timeout, o.attempt_timeout, o.fallback, o.idempotency_key, o.cache,
                           o.ensure, o.confirm, o.review, o.label})
      expr(s, e);
    hidden(s, o.undo);
    if (o.retry)
      need(o.retry->max >= 1 && o.retry->base_ms >= 0 && o.retry->cap_ms >= 0 &&
               o.retry->factor >= 1,
           "retry policy");
  }
  void node(ScopeId s, const LetNode& n, size_t) {
    need(n.slot != no_slot && slot(s, n.slot) && n.value, "let");
    expr(s, n.value);
  }
  void node(ScopeId s, const SetNode& n, size_t) { expr(s, n.value); }
  void node(ScopeId s, const IfNode& n, size_t d) {
    for (const IfNode::Arm& arm : n.arms) expr(s, arm.condition), block(s, arm.body, d);
  }
  void node(ScopeId s, const MatchNode& n, size_t d) {
    need(n.subject.has_value(), "match");
    expr(s, n.subject);
    for (const MatchNode::Arm& arm : n.arms) block(s, arm.body, d);
  }
  void node(ScopeId s, const ParallelNode& n, size_t d) {
    need(n.join != JoinKind::first || (n.first >= 1 && n.first <= n.branches.size()), "join");
    for (const ParallelNode::Branch& b : n.branches) {
      need(b.body.has_value(), "branch");
      block(s, b.body, d);
    }
  }
  // The scope of an iteration stands right inside the present one.
  bool inner(ScopeId outer, ScopeId scope, ScopeKind kind) {
    const bool ok =
        scope.value < p_.scopes.size() && p_[scope].kind == kind && p_[scope].parent == outer;
    need(ok, "iteration scope");
    return ok;
  }
  void exports(ScopeId outer, ScopeId scope, const std::vector<Export>& all) {
    for (const Export& x : all) {
      need(x.inner < p_[scope].slots.size() && x.outer < p_[outer].slots.size(), "export");
    }
  }
  void node(ScopeId s, const ForNode& n, size_t d) {
    if (!inner(s, n.scope, ScopeKind::for_each)) return;
    need(n.items.has_value() && n.limit >= 1 && slot(s, n.facts) && slot(n.scope, n.key) &&
             slot(n.scope, n.value),
         "for");
    expr(s, n.items);
    exports(s, n.scope, n.exports);
    block(n.scope, n.body, d);
  }
  void node(ScopeId s, const LoopNode& n, size_t d) {
    if (!inner(s, n.scope, ScopeKind::loop)) return;
    need(n.max.has_value() && slot(s, n.facts), "loop");
    expr(s, n.max);
    expr(n.scope, n.until);
    expr(n.scope, n.while_);
    exports(s, n.scope, n.exports);
    block(n.scope, n.body, d);
  }
  void node(ScopeId s, const TryNode& n, size_t d) {
    block(s, n.body, d);
    for (const TryNode::Catch& c : n.catches) {
      need(slot(s, c.error), "catch");
      expr(s, c.guard);
      block(s, c.body, d);
    }
    block(s, n.finally, d);
  }
  void node(ScopeId s, const ReturnNode& n, size_t) { expr(s, n.value); }
  void node(ScopeId s, const FailNode& n, size_t) {
    expr(s, n.code), expr(s, n.message), expr(s, n.data);
  }
  void node(ScopeId s, const EmitNode& n, size_t) {
    need(n.value.has_value(), "emit");
    expr(s, n.value);
  }
  void node(ScopeId, const BreakNode&, size_t) {}
  void node(ScopeId, const ContinueNode&, size_t) {}

  const Program& p_;
  std::vector<bool> used_;
  std::vector<bool> block_used_;
};

}  // namespace

Result<void> verify(const Program& program) {
  Verifier verifier(program);
  verifier.run();
  if (!verifier.problem.empty()) return fail(ErrorCode::corrupt, verifier.problem);
  return {};
}

}  // namespace kflow::ir
