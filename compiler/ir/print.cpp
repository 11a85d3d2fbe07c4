// Readable listing of a program, one line a node.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "compiler/cel/time.hpp"
#include "compiler/ir/program.hpp"
#include "compiler/ir/schema/json_schema.hpp"

namespace kflow::ir {
namespace {

class Printer {
 public:
  explicit Printer(const Program& p) : p_(p) {}
  std::string out;

  void callable(const Callable& c) {
    static constexpr const char* kinds[] = {"workflow", "tool", "extern tool",
                                            "agent",    "team", "mcp tool"};
    std::string params;
    for (const Param& param : c.params) {
      params += fmt::format("{}{}: {}", params.empty() ? "" : ", ", param.name,
                            p_.types.display(param.type));
      if (param.fallback) params += " = " + text(param.fallback);
    }
    line(0, "{} {}({}) -> {}", kinds[static_cast<size_t>(c.kind)], c.name, params,
         p_.types.display(c.result));
    if (c.workflow.timeout) line(1, "timeout {}", text(c.workflow.timeout));
    if (c.body) block(c.scope, c.body, 1);
    // What its model is told of the tools.
    for (const AgentTool& tool : c.agent.tools) {
      line(1, "tool {} {}", tool.name,
           tool.schema.empty()
               ? schema::json_schema(p_.types, p_.types[tool.input].fields, {.aliases = true})
               : tool.schema);
      if (!tool.description.empty()) line(2, "{}", tool.description);
    }
    if (c.kind == CallableKind::mcp_tool) {
      const McpServer& server = p_[c.mcp.server];
      line(1, "{} of {}{}{}", c.mcp.name, server.url, fmt::join(server.command, " "),
           c.idempotent ? ", may be repeated" : "");
    }
  }

 private:
  template <typename... Args>
  void line(int depth, fmt::format_string<Args...> format, Args&&... args) {
    out.append(static_cast<size_t>(depth) * 2, ' ');
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    out.push_back('\n');
  }
  std::string text(ExprId id) const {
    if (!id) return "-";
    const Expr& e = p_[id];
    std::string previous;
    for (const VarRef& v : e.variables) {
      if (v.source == VarSource::previous)
        previous += previous.empty() ? " (previous iteration)" : "";
    }
    return e.text + previous + (e.check ? " as " + p_.types.display(e.type) : "");
  }
  std::string call(const Call& c) const {
    std::string args;
    for (const Argument& a : c.arguments)
      args += fmt::format("{}{}: {}", args.empty() ? "" : ", ", a.name, text(a.value));
    return fmt::format("{}({})", c.name, args);
  }
  std::string slot(ScopeId s, Slot x) const {
    return x == no_slot
               ? "_"
               : fmt::format("{}: {}", p_[s].slots[x].name, p_.types.display(p_[s].slots[x].type));
  }

  void block(ScopeId s, BlockId id, int depth) {
    if (!id) return;
    for (const NodeId n : p_[id].statements) {
      std::visit([&](const auto& data) { node(s, p_[n], data, depth); }, p_[n].data);
    }
  }

  void node(ScopeId s, const Node& n, const StepNode& x, int d) {
    std::string options;
    const StepOptions& o = x.options;
    if (o.retry) options += fmt::format(" retry={}", o.retry->max);
    for (const auto& [name, e] : {std::pair{"timeout", o.timeout},
                                  {"attempt_timeout", o.attempt_timeout},
                                  {"default", o.fallback},
                                  {"key", o.idempotency_key},
                                  {"cache", o.cache},
                                  {"ensure", o.ensure},
                                  {"confirm", o.confirm},
                                  {"review", o.review}}) {
      if (e) options += fmt::format(" {}={}", name, text(e));
    }
    if (o.on_error == OnError::continue_) options += " on_error=continue";
    if (o.at_most_once) options += " at_most_once";
    if (o.cancel_at_end) options += " at_end=cancel";
    if (o.undo) options += " undo=" + call(std::get<StepNode>(p_[o.undo].data).call);
    line(d, "step {} [{}] = {}{}{}", n.name, slot(s, x.slot), call(x.call),
         x.check ? " checked" : "", options);
  }
  void node(ScopeId s, const Node&, const LetNode& x, int d) {
    line(d, "let {} = {}", slot(s, x.slot), text(x.value));
  }
  void node(ScopeId, const Node&, const SetNode& x, int d) {
    line(d, "set session.{} = {}", fmt::join(x.path, "."), text(x.value));
  }
  void node(ScopeId s, const Node& n, const IfNode& x, int d) {
    line(d, "if {}", n.name);
    for (const IfNode::Arm& arm : x.arms) {
      line(d, "when {}", text(arm.condition));
      block(s, arm.body, d + 1);
    }
  }
  void node(ScopeId s, const Node& n, const MatchNode& x, int d) {
    line(d, "match {} {}", n.name, text(x.subject));
    for (const MatchNode::Arm& arm : x.arms) {
      std::string patterns;
      for (const cel::Value& v : arm.patterns)
        patterns += (patterns.empty() ? "" : ", ") + cel::to_display(v);
      line(d, "when {}", patterns.empty() ? "else" : patterns);
      block(s, arm.body, d + 1);
    }
  }
  void node(ScopeId s, const Node& n, const ParallelNode& x, int d) {
    static constexpr const char* joins[] = {"all", "settled", "any", "first"};
    line(d, "parallel {} join={} first={} limit={}", n.name, joins[static_cast<size_t>(x.join)],
         x.first, x.limit);
    for (const ParallelNode::Branch& b : x.branches) {
      line(d, "branch {}", b.name.empty() ? "-" : b.name);
      block(s, b.body, d + 1);
    }
  }
  void exports(ScopeId outer, const std::vector<Export>& all, int d) {
    for (const Export& x : all) line(d, "gives {}", slot(outer, x.outer));
  }
  void node(ScopeId s, const Node& n, const ForNode& x, int d) {
    line(d, "for {} in {} limit={}{}", n.name, text(x.items), x.limit,
         x.on_error == OnError::continue_ ? " on_error=continue" : "");
    exports(s, x.exports, d + 1);
    block(x.scope, x.body, d + 1);
  }
  void node(ScopeId s, const Node& n, const LoopNode& x, int d) {
    line(d, "loop {} max={} until={} while={}", n.name, text(x.max), text(x.until), text(x.while_));
    exports(s, x.exports, d + 1);
    block(x.scope, x.body, d + 1);
  }
  void node(ScopeId s, const Node& n, const TryNode& x, int d) {
    line(d, "try {}{}", n.name, x.compensate ? " compensate" : "");
    block(s, x.body, d + 1);
    for (const TryNode::Catch& c : x.catches) {
      line(d, "catch {} if {}", slot(s, c.error), text(c.guard));
      block(s, c.body, d + 1);
    }
    if (x.finally) line(d, "finally");
    block(s, x.finally, d + 1);
  }
  void node(ScopeId, const Node&, const ReturnNode& x, int d) {
    line(d, "return {}", text(x.value));
  }
  void node(ScopeId, const Node&, const FailNode& x, int d) {
    line(d, "fail code={} message={} data={}", text(x.code), text(x.message), text(x.data));
  }
  void node(ScopeId, const Node&, const EmitNode& x, int d) { line(d, "emit {}", text(x.value)); }
  void node(ScopeId, const Node&, const BreakNode&, int d) { line(d, "break"); }
  void node(ScopeId, const Node&, const ContinueNode&, int d) { line(d, "continue"); }

  const Program& p_;
};

}  // namespace

std::string print(const Program& program) {
  Printer printer(program);
  for (const Callable& c : program.callables) printer.callable(c);
  return std::move(printer.out);
}

}  // namespace kflow::ir
