// The workflow around one call, made by hand.
#include "compiler/ir/direct.hpp"

#include <utility>

namespace kflow::ir {
namespace {

// An expression that reads one slot of the innermost scope.
ExprId read_slot(Program& p, Slot slot, TypeId type, const std::string& name) {
  Expr e{.variables = {{VarSource::slot, 0, slot}}, .type = type, .text = name};
  e.program.ops.push_back({.code = cel::OpCode::load, .a = 0});
  e.program.names.push_back(name);
  e.program.variables = 1;
  p.exprs.push_back(std::move(e));
  return ExprId(p.exprs.size() - 1);
}

CalleeKind callee_kind(CallableKind kind) {
  switch (kind) {
    case CallableKind::workflow:
      return CalleeKind::workflow;
    case CallableKind::tool:
      return CalleeKind::tool;
    case CallableKind::extern_tool:
      return CalleeKind::extern_tool;
    case CallableKind::agent:
      return CalleeKind::agent;
    case CallableKind::team:
      return CalleeKind::team;
    case CallableKind::mcp_tool:
      return CalleeKind::mcp_tool;
  }
  std::unreachable();
}

NodeId add(Program& p, std::string name, NodeData data) {
  p.nodes.push_back({.name = std::move(name), .named = true, .data = std::move(data), .doc = ""});
  return NodeId(p.nodes.size() - 1);
}

}  // namespace

Direct run_directly(const Program& program, CallableId agent) {
  Direct out{.program = program, .workflow = {}};
  Program& p = out.program;
  const Callable called = p[agent];
  Scope scope{.kind = ScopeKind::body};
  for (const Param& param : called.params) scope.slots.push_back({param.name, param.type});
  const auto answer = static_cast<Slot>(scope.slots.size());
  scope.slots.push_back({"answer", called.result});

  StepNode step{.slot = answer, .type = called.result, .options = {}};
  step.call = {.kind = callee_kind(called.kind), .name = called.name, .callable = agent};
  for (Slot i = 0; i < called.params.size(); ++i)
    step.call.arguments.push_back(
        {called.params[i].name, read_slot(p, i, called.params[i].type, called.params[i].name)});
  const ExprId result = read_slot(p, answer, called.result, "answer");
  Block body;
  body.statements.push_back(add(p, "answer", std::move(step)));
  body.statements.push_back(add(p, "return", ReturnNode{result}));
  p.scopes.push_back(std::move(scope));
  p.blocks.push_back(std::move(body));

  Callable workflow{.kind = CallableKind::workflow,
                    .name = called.name + ".run",
                    .doc = called.doc,
                    .params = called.params,
                    .result = called.result};
  workflow.scope = ScopeId(p.scopes.size() - 1);
  workflow.body = BlockId(p.blocks.size() - 1);
  p.callables.push_back(std::move(workflow));
  out.workflow = CallableId(p.callables.size() - 1);
  return out;
}

}  // namespace kflow::ir
