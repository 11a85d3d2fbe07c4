// Calls of what is mocked become calls of external tools.
#include "runtime/testing/mocks.hpp"

#include <algorithm>

#include "compiler/ir/builtins.hpp"

namespace kflow::testing {
namespace {

bool calls(const ir::Call& call, const ir::TestTarget& target) {
  if (!target.callable) return call.kind == ir::CalleeKind::builtin && call.name == target.name;
  return call.callable == target.callable && call.kind != ir::CalleeKind::model &&
         (call.kind == ir::CalleeKind::workflow_start) == target.detached;
}

}  // namespace

std::string target_name(const ir::Program& program, const ir::TestTarget& target) {
  if (!target.callable) return target.name;
  return program[target.callable].name + (target.detached ? ".start" : "");
}

std::string called_name(const ir::Program& program, const ir::Call& call) {
  if (!call.callable) return call.name;
  return program[call.callable].name +
         (call.kind == ir::CalleeKind::workflow_start ? ".start" : "");
}

std::shared_ptr<const ir::Program> with_mocks(const ir::Program& program,
                                              const std::vector<ir::TestTarget>& targets) {
  auto out = std::make_shared<ir::Program>(program);
  for (const ir::TestTarget& target : targets) {
    ir::CallableId stand_in = target.callable;
    const std::string name = target_name(program, target);
    if (!stand_in) {
      const ir::Builtin* builtin = ir::find_builtin(target.name);
      out->callables.push_back({.kind = ir::CallableKind::extern_tool,
                                .name = name,
                                .doc = "",
                                .params = {},
                                .result = schema::TypeTable::simple(schema::TypeKind::any),
                                .idempotent = builtin != nullptr && builtin->idempotent});
      stand_in = ir::CallableId(out->callables.size() - 1);
    }
    for (ir::Node& node : out->nodes) {
      auto* step = std::get_if<ir::StepNode>(&node.data);
      if (step == nullptr || !calls(step->call, target)) continue;
      step->call.kind = ir::CalleeKind::extern_tool;
      step->call.name = name;
      step->call.callable = stand_in;
      step->check = out->types[step->type].kind != schema::TypeKind::any;
    }
  }
  return out;
}

}  // namespace kflow::testing
