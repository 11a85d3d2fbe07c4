// The step graph as nested JSON.
#include "compiler/ir/outline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::ir {
namespace {

std::string_view name_of(CalleeKind kind) {
  switch (kind) {
    case CalleeKind::builtin:
      return "builtin";
    case CalleeKind::tool:
      return "tool";
    case CalleeKind::extern_tool:
      return "extern_tool";
    case CalleeKind::workflow:
      return "workflow";
    case CalleeKind::workflow_start:
      return "workflow_start";
    case CalleeKind::agent:
      return "agent";
    case CalleeKind::team:
      return "team";
    case CalleeKind::mcp_tool:
      return "mcp_tool";
    case CalleeKind::model:
      return "model";
  }
  std::unreachable();
}

std::string_view name_of(CallableKind kind) {
  switch (kind) {
    case CallableKind::workflow:
      return "workflow";
    case CallableKind::tool:
      return "tool";
    case CallableKind::extern_tool:
      return "extern_tool";
    case CallableKind::agent:
      return "agent";
    case CallableKind::team:
      return "team";
    case CallableKind::mcp_tool:
      return "mcp_tool";
  }
  std::unreachable();
}

std::string_view name_of(JoinKind kind) {
  switch (kind) {
    case JoinKind::all:
      return "all";
    case JoinKind::settled:
      return "settled";
    case JoinKind::any:
      return "any";
    case JoinKind::first:
      return "first";
  }
  std::unreachable();
}

std::string_view name_of(TeamMode mode) {
  switch (mode) {
    case TeamMode::none:
      return "";
    case TeamMode::coordinate:
      return "coordinate";
    case TeamMode::route:
      return "route";
    case TeamMode::broadcast:
      return "broadcast";
    case TeamMode::tasks:
      return "tasks";
  }
  std::unreachable();
}

class Outline {
 public:
  explicit Outline(const Program& program) : p_(program) {}

  std::string write(CallableId id) {
    const Callable& c = p_[id];
    seen_.push_back(id);
    out_.begin_object();
    text("name", c.name);
    text("kind", name_of(c.kind));
    text("doc", c.doc);
    params(c);
    text("result", p_.types.display(c.result));
    workflow_options(c.workflow);
    block("body", c.scope, c.body);
    out_.key("files"), out_.begin_array();
    for (const std::string& file : p_.files) out_.string(file);
    out_.end_array();
    // Bodies name further ones: `seen_` grows while they are written.
    out_.key("callables"), out_.begin_object();
    for (size_t i = 1; i < seen_.size(); ++i) callable(p_[seen_[i]]);
    out_.end_object();
    out_.end_object();
    return out_.take();
  }

 private:
  void text(std::string_view key, std::string_view value) { out_.key(key), out_.string(value); }
  void expression(std::string_view key, ExprId id) {
    out_.key(key);
    id ? out_.string(p_[id].text) : out_.null();
  }
  void option(std::string_view key, ExprId id) {
    if (id) text(key, p_[id].text);
  }
  void option(std::string_view key, NodeId step) {
    if (step) text(key, call_of(step).name), see(call_of(step).callable);
  }
  const Call& call_of(NodeId step) const { return std::get<StepNode>(p_[step].data).call; }
  void see(CallableId id) {
    if (id && std::ranges::find(seen_, id) == seen_.end()) seen_.push_back(id);
  }

  void params(const Callable& c) {
    out_.key("params"), out_.begin_array();
    for (const Param& param : c.params) {
      out_.begin_object();
      text("name", param.name);
      text("type", p_.types.display(param.type));
      text("doc", param.doc);
      expression("default", param.fallback);
      out_.end_object();
    }
    out_.end_array();
  }

  void workflow_options(const WorkflowOptions& o) {
    out_.key("options"), out_.begin_object();
    option("timeout", o.timeout);
    option("on_failure", o.on_failure);
    option("on_cancel", o.on_cancel);
    option("budget.usd", o.budget.usd);
    option("budget.tokens", o.budget.tokens);
    if (o.concurrency.limit > 0) text("concurrency.limit", std::to_string(o.concurrency.limit));
    option("concurrency.key", o.concurrency.key);
    out_.end_object();
  }

  void callable(const Callable& c) {
    out_.key(c.name), out_.begin_object();
    text("kind", name_of(c.kind));
    text("doc", c.doc);
    params(c);
    text("result", p_.types.display(c.result));
    if (c.kind == CallableKind::tool || c.kind == CallableKind::workflow)
      block("body", c.scope, c.body);
    if (c.kind == CallableKind::agent || c.kind == CallableKind::team) agent(c.agent);
    out_.end_object();
  }

  void agent(const AgentOptions& a) {
    const Model& model = p_[a.model];
    text("model", model.provider + "/" + model.id);
    if (a.mode != TeamMode::none) text("mode", name_of(a.mode));
    out_.key("call"), out_.integer(a.call.value);
    out_.key("max_turns"), out_.integer(a.max_turns);
    for (const bool members : {true, false}) {
      out_.key(members ? "members" : "tools"), out_.begin_array();
      for (size_t i = members ? 0 : a.members; i < (members ? a.members : a.tools.size()); ++i) {
        const AgentTool& tool = a.tools[i];
        out_.begin_object();
        text("name", tool.name);
        text("doc", tool.description);
        out_.key("id"), out_.integer(tool.node.value);
        text("callee", call_of(tool.node).name);
        see(call_of(tool.node).callable);
        out_.end_object();
      }
      out_.end_array();
    }
  }

  void block(std::string_view key, ScopeId scope, BlockId id) {
    out_.key(key);
    if (!id) return out_.null();
    out_.begin_array();
    for (const NodeId n : p_[id].statements) node(scope, n);
    out_.end_array();
  }

  void node(ScopeId scope, NodeId id) {
    const Node& n = p_[id];
    out_.begin_object();
    out_.key("id"), out_.integer(id.value);
    text("name", n.name);
    out_.key("named"), out_.boolean(n.named);
    if (!n.doc.empty()) text("doc", n.doc);
    out_.key("file"), out_.integer(n.origin.file);
    out_.key("line"), out_.integer(n.origin.line);
    std::visit([&](const auto& data) { body(scope, data); }, n.data);
    out_.end_object();
  }

  void body(ScopeId, const StepNode& x) {
    text("kind", "step");
    text("callee", x.call.name);
    text("callee_kind", name_of(x.call.kind));
    see(x.call.callable);
    out_.key("args"), out_.begin_array();
    for (const Argument& a : x.call.arguments) {
      out_.begin_object();
      text("name", a.name);
      expression("text", a.value);
      out_.end_object();
    }
    out_.end_array();
    text("type", p_.types.display(x.type));
    step_options(x.options);
  }
  void step_options(const StepOptions& o) {
    out_.key("options"), out_.begin_object();
    if (o.retry) text("retry", fmt::format("{} attempts", o.retry->max));
    option("timeout", o.timeout);
    option("attempt_timeout", o.attempt_timeout);
    if (o.on_error == OnError::continue_) text("on_error", "continue");
    option("default", o.fallback);
    option("idempotency_key", o.idempotency_key);
    if (o.at_most_once) text("at_most_once", "true");
    option("cache", o.cache);
    option("undo", o.undo);
    option("ensure", o.ensure);
    option("confirm", o.confirm);
    option("review", o.review);
    option("label", o.label);
    if (!o.tags.empty()) text("tags", fmt::format("{}", fmt::join(o.tags, ", ")));
    if (o.cancel_at_end) text("at_end", "cancel");
    out_.end_object();
  }
  void body(ScopeId scope, const LetNode& x) {
    text("kind", "let");
    expression("text", x.value);
    text("type", p_.types.display(p_[scope].slots[x.slot].type));
  }
  void body(ScopeId, const SetNode& x) {
    text("kind", "set");
    text("target", fmt::format("session.{}", fmt::join(x.path, ".")));
    expression("text", x.value);
  }
  void body(ScopeId scope, const IfNode& x) {
    text("kind", "if");
    out_.key("arms"), out_.begin_array();
    for (const IfNode::Arm& arm : x.arms) {
      out_.begin_object();
      expression("when", arm.condition);
      block("body", scope, arm.body);
      out_.end_object();
    }
    out_.end_array();
  }
  void body(ScopeId scope, const MatchNode& x) {
    text("kind", "match");
    expression("text", x.subject);
    out_.key("arms"), out_.begin_array();
    for (const MatchNode::Arm& arm : x.arms) {
      std::string patterns;
      for (const cel::Value& v : arm.patterns)
        patterns += (patterns.empty() ? "" : ", ") + cel::to_json(v);
      out_.begin_object();
      out_.key("when");
      arm.patterns.empty() ? out_.null() : out_.string(patterns);
      block("body", scope, arm.body);
      out_.end_object();
    }
    out_.end_array();
  }
  void body(ScopeId scope, const ParallelNode& x) {
    text("kind", "parallel");
    text("join", name_of(x.join));
    out_.key("first"), out_.integer(x.first);
    out_.key("limit"), out_.integer(x.limit);
    out_.key("branches"), out_.begin_array();
    for (const ParallelNode::Branch& b : x.branches) {
      out_.begin_object();
      text("name", b.name);
      block("body", scope, b.body);
      out_.end_object();
    }
    out_.end_array();
  }
  void body(ScopeId, const ForNode& x) {
    text("kind", "for");
    expression("text", x.items);
    out_.key("variables"), out_.begin_array();
    for (const Slot slot : {x.key, x.value}) {
      if (slot != no_slot) out_.string(p_[x.scope].slots[slot].name);
    }
    out_.end_array();
    out_.key("limit"), out_.integer(x.limit);
    out_.key("continues"), out_.boolean(x.on_error == OnError::continue_);
    block("body", x.scope, x.body);
  }
  void body(ScopeId, const LoopNode& x) {
    text("kind", "loop");
    expression("max", x.max);
    expression("until", x.until);
    expression("while", x.while_);
    block("body", x.scope, x.body);
  }
  void body(ScopeId scope, const TryNode& x) {
    text("kind", "try");
    block("body", scope, x.body);
    out_.key("catches"), out_.begin_array();
    for (const TryNode::Catch& c : x.catches) {
      out_.begin_object();
      text("name", c.error == no_slot ? "" : p_[scope].slots[c.error].name);
      expression("guard", c.guard);
      block("body", scope, c.body);
      out_.end_object();
    }
    out_.end_array();
    block("finally", scope, x.finally);
  }
  void body(ScopeId, const ReturnNode& x) {
    text("kind", "return");
    expression("text", x.value);
  }
  void body(ScopeId, const FailNode& x) {
    text("kind", "fail");
    expression("text", x.message ? x.message : x.code);
  }
  void body(ScopeId, const EmitNode& x) {
    text("kind", "emit");
    expression("text", x.value);
  }
  void body(ScopeId, const BreakNode&) { text("kind", "break"); }
  void body(ScopeId, const ContinueNode&) { text("kind", "continue"); }

  const Program& p_;
  JsonWriter out_;
  std::vector<CallableId> seen_;
};

}  // namespace

std::string outline_json(const Program& program, CallableId callable) {
  return Outline(program).write(callable);
}

}  // namespace kflow::ir
