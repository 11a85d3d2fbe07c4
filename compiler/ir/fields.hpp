// The fields of every part of a program, once: binary writer, reader and JSON writer all go through
// these lists.
#pragma once

#include "compiler/ir/program.hpp"

namespace kflow::ir {

// An archive has `a(name, member)` for each member in order; the order is the binary format.
template <typename A>
void fields(A& a, VarRef& x) {
  a("source", x.source), a("hops", x.hops), a("index", x.index);
}
template <typename A>
void fields(A& a, Origin& x) {
  a("file", x.file), a("line", x.line), a("column", x.column);
}
template <typename A>
void fields(A& a, Expr& x) {
  a("text", x.text), a("type", x.type), a("check", x.check), a("variables", x.variables),
      a("program", x.program);
  a.origin("origin", x.origin);
}
template <typename A>
void fields(A& a, SlotInfo& x) {
  a("name", x.name), a("type", x.type), a("carried", x.carried), a("facts", x.facts);
  a("was", x.was);
}
template <typename A>
void fields(A& a, Scope& x) {
  a("kind", x.kind), a("parent", x.parent), a("slots", x.slots);
}
template <typename A>
void fields(A& a, Export& x) {
  a("inner", x.inner), a("outer", x.outer);
}
template <typename A>
void fields(A& a, Argument& x) {
  a("name", x.name), a("value", x.value);
}
template <typename A>
void fields(A& a, Call& x) {
  a("kind", x.kind), a("name", x.name), a("callable", x.callable), a("arguments", x.arguments);
}
template <typename A>
void fields(A& a, ErrorMatcher& x) {
  a("kind", x.kind), a("status_from", x.status_from), a("status_to", x.status_to);
}
template <typename A>
void fields(A& a, RetryPolicy& x) {
  a("max", x.max), a("backoff", x.backoff), a("base_ms", x.base_ms), a("factor", x.factor),
      a("cap_ms", x.cap_ms);
  a("jitter", x.jitter), a("on", x.on);
}
template <typename A>
void fields(A& a, StepOptions& x) {
  a("retry", x.retry), a("timeout", x.timeout), a("attempt_timeout", x.attempt_timeout),
      a("on_error", x.on_error);
  a("default", x.fallback), a("idempotency_key", x.idempotency_key),
      a("at_most_once", x.at_most_once), a("cache", x.cache);
  a("undo", x.undo), a("ensure", x.ensure), a("confirm", x.confirm), a("review", x.review),
      a("label", x.label), a("tags", x.tags);
  a("cancel_at_end", x.cancel_at_end);
}
template <typename A>
void fields(A& a, StepNode& x) {
  a("slot", x.slot), a("call", x.call), a("type", x.type), a("check", x.check),
      a("options", x.options);
}
template <typename A>
void fields(A& a, LetNode& x) {
  a("slot", x.slot), a("value", x.value);
}
template <typename A>
void fields(A& a, SetNode& x) {
  a("path", x.path), a("value", x.value);
}
template <typename A>
void fields(A& a, IfNode::Arm& x) {
  a("condition", x.condition), a("body", x.body);
}
template <typename A>
void fields(A& a, IfNode& x) {
  a("arms", x.arms);
}
template <typename A>
void fields(A& a, MatchNode::Arm& x) {
  a("patterns", x.patterns), a("body", x.body);
}
template <typename A>
void fields(A& a, MatchNode& x) {
  a("subject", x.subject), a("field", x.field), a("arms", x.arms);
}
template <typename A>
void fields(A& a, ParallelNode::Branch& x) {
  a("name", x.name), a("was", x.was), a("body", x.body);
}
template <typename A>
void fields(A& a, ParallelNode& x) {
  a("branches", x.branches), a("join", x.join), a("first", x.first), a("limit", x.limit);
}
template <typename A>
void fields(A& a, ForNode& x) {
  a("scope", x.scope), a("key", x.key), a("value", x.value), a("items", x.items), a("body", x.body),
      a("limit", x.limit);
  a("on_error", x.on_error), a("exports", x.exports), a("facts", x.facts);
}
template <typename A>
void fields(A& a, LoopNode& x) {
  a("scope", x.scope), a("max", x.max), a("until", x.until), a("while", x.while_),
      a("on_max", x.on_max), a("body", x.body);
  a("exports", x.exports), a("facts", x.facts);
}
template <typename A>
void fields(A& a, TryNode::Catch& x) {
  a("error", x.error), a("guard", x.guard), a("body", x.body);
}
template <typename A>
void fields(A& a, TryNode& x) {
  a("body", x.body), a("catches", x.catches), a("finally", x.finally),
      a("compensate", x.compensate);
}
template <typename A>
void fields(A& a, ReturnNode& x) {
  a("value", x.value);
}
template <typename A>
void fields(A& a, FailNode& x) {
  a("code", x.code), a("message", x.message), a("data", x.data);
}
template <typename A>
void fields(A& a, EmitNode& x) {
  a("value", x.value);
}
template <typename A>
void fields(A&, BreakNode&) {}
template <typename A>
void fields(A&, ContinueNode&) {}
template <typename A>
void fields(A& a, Node& x) {
  a("name", x.name), a("named", x.named), a("was", x.was), a("data", x.data);
  a.doc("doc", x.doc), a.origin("origin", x.origin);
}
template <typename A>
void fields(A& a, Block& x) {
  a("statements", x.statements);
}
template <typename A>
void fields(A& a, schema::Constraint& x) {
  a.constraint(x);
}
template <typename A>
void fields(A& a, Param& x) {
  a("name", x.name), a("was", x.was), a("type", x.type), a("default", x.fallback);
  a("constraints", x.constraints), a("doc", x.doc);
}
template <typename A>
void fields(A& a, Model& x) {
  a("name", x.name), a("provider", x.provider), a("id", x.id), a("temperature", x.temperature),
      a("top_p", x.top_p), a("max_output_tokens", x.max_output_tokens), a("seed", x.seed);
  a("reasoning_effort", x.reasoning_effort), a("stop", x.stop), a("base_url", x.base_url),
      a("api_key", x.api_key), a("fallback", x.fallback);
}
template <typename A>
void fields(A& a, AgentTool& x) {
  a("name", x.name), a("description", x.description), a("input", x.input), a("schema", x.schema),
      a("node", x.node);
}
template <typename A>
void fields(A& a, Guard& x) {
  a("node", x.node), a("input", x.input), a("output", x.output);
}
template <typename A>
void fields(A& a, Budget& x) {
  a("usd", x.usd), a("tokens", x.tokens);
}
template <typename A>
void fields(A& a, AgentOptions& x) {
  a("mode", x.mode), a("model", x.model), a("role", x.role), a("instructions", x.instructions),
      a("prompt", x.prompt), a("tools", x.tools), a("members", x.members), a("guards", x.guards);
  a("call", x.call), a("max_turns", x.max_turns), a("history", x.history), a("reask", x.reask),
      a("parallel_tools", x.parallel_tools), a("share_history", x.share_history);
  a("message", x.message), a("budget", x.budget);
}
template <typename A>
void fields(A& a, Concurrency& x) {
  a("limit", x.limit), a("key", x.key), a("when_full", x.when_full);
}
template <typename A>
void fields(A& a, WorkflowOptions& x) {
  a("timeout", x.timeout), a("tags", x.tags), a("session", x.session),
      a("concurrency", x.concurrency), a("schedule", x.schedule);
  a("retention_ms", x.retention_ms), a("on_failure", x.on_failure), a("on_cancel", x.on_cancel),
      a("budget", x.budget);
}
template <typename A>
void fields(A& a, McpSetting& x) {
  a("name", x.name), a("text", x.text), a("secret", x.secret);
}
template <typename A>
void fields(A& a, McpServer& x) {
  a("name", x.name), a("command", x.command), a("url", x.url), a("settings", x.settings),
      a("timeout_ms", x.timeout_ms), a("protocol", x.protocol);
}
template <typename A>
void fields(A& a, McpTool& x) {
  a("server", x.server), a("name", x.name), a("input_schema", x.input_schema),
      a("output_schema", x.output_schema);
}
template <typename A>
void fields(A& a, Callable& x) {
  a("kind", x.kind), a("name", x.name), a("was", x.was), a("doc", x.doc), a("params", x.params),
      a("result", x.result), a("scope", x.scope);
  a("body", x.body), a("workflow", x.workflow), a("command", x.command),
      a("idempotent", x.idempotent), a("agent", x.agent), a("mcp", x.mcp);
}
template <typename A>
void fields(A& a, Program& x) {
  a("edition", x.edition), a("name", x.name), a("types", x.types), a("constants", x.constants),
      a("exprs", x.exprs);
  a("scopes", x.scopes), a("blocks", x.blocks), a("nodes", x.nodes), a("callables", x.callables);
  a("models", x.models), a("servers", x.servers);
  a.files("files", x.files);
}

/// Last enumerator of each enum that is read back, to reject others.
template <typename E>
struct last_of;
template <>
struct last_of<VarSource> {
  static constexpr auto value = VarSource::own_key;
};
template <>
struct last_of<ScopeKind> {
  static constexpr auto value = ScopeKind::loop;
};
template <>
struct last_of<CalleeKind> {
  static constexpr auto value = CalleeKind::model;
};
template <>
struct last_of<BackoffKind> {
  static constexpr auto value = BackoffKind::exponential;
};
template <>
struct last_of<Jitter> {
  static constexpr auto value = Jitter::equal;
};
template <>
struct last_of<OnError> {
  static constexpr auto value = OnError::continue_;
};
template <>
struct last_of<TeamMode> {
  static constexpr auto value = TeamMode::tasks;
};
template <>
struct last_of<JoinKind> {
  static constexpr auto value = JoinKind::first;
};
template <>
struct last_of<WhenFull> {
  static constexpr auto value = WhenFull::cancel_oldest;
};
template <>
struct last_of<OnMax> {
  static constexpr auto value = OnMax::fail;
};
template <>
struct last_of<CallableKind> {
  static constexpr auto value = CallableKind::mcp_tool;
};

}  // namespace kflow::ir
