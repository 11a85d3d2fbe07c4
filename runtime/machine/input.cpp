// Inputs against the parameters of what is started.
#include "runtime/machine/input.hpp"

#include <algorithm>

#include "compiler/ir/schema/types.hpp"

namespace kflow::machine {

CheckedInput inspect_input(const ir::Program& program, ir::CallableId workflow,
                           const cel::Value& input) {
  const ir::Callable& callable = program[workflow];
  CheckedInput result;
  std::vector<cel::MapEntry> out;
  std::vector<std::string> names;
  for (const ir::Param& p : callable.params) {
    names.push_back(p.name);
    const cel::Value* given = input.kind() == cel::Kind::map ? input.find(p.name) : nullptr;
    if (given == nullptr) {
      if (p.fallback) {
        out.push_back({cel::Value::string(p.name), *program[p.fallback].program.constant()});
      } else if (program.types.accepts_null(p.type)) {
        out.push_back({cel::Value::string(p.name), cel::Value()});
      } else {
        const std::string type = program.types.display(p.type);
        result.problems.push_back({p.name, "is missing; it is a " + type,
                                   "the input `" + p.name + "` (" + type +
                                       ") is missing; give it with -i " + p.name + "=…"});
      }
      continue;
    }
    schema::Validation checked =
        schema::validate(program.types, p.type, *given, schema::Source::json);
    if (checked.ok())
      schema::check_constraints(p.constraints, checked.value, "", checked.violations);
    for (const schema::Violation& v : checked.violations) {
      const std::string path = v.path.empty()          ? p.name
                               : v.path.front() == '[' ? p.name + v.path
                                                       : p.name + "." + v.path;
      const std::string rule = v.rule + ", got " + v.value;
      result.problems.push_back({path, rule, "the input `" + path + "`: " + rule});
    }
    if (checked.ok()) out.push_back({cel::Value::string(p.name), std::move(checked.value)});
  }
  if (input.kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : input.as_map()) {
      const std::string name = e.key.kind() == cel::Kind::string ? std::string(e.key.as_string())
                                                                 : cel::to_display(e.key);
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      std::string list;
      for (const std::string& n : names) list += (list.empty() ? "`" : ", `") + n + "`";
      const std::string rest = list.empty() ? "; it takes none" : "; it takes " + list;
      result.problems.push_back({name, "`" + callable.name + "` has no such input" + rest,
                                 "`" + callable.name + "` has no input `" + name + "`" + rest});
    }
  } else if (!input.is_null()) {
    const std::string rule = "the input must be a record of the workflow's parameters";
    result.problems.push_back({"", rule, rule});
  }
  if (result.problems.empty()) result.value = cel::Value::map(std::move(out));
  return result;
}

Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input) {
  CheckedInput checked = inspect_input(program, workflow, input);
  if (checked.problems.empty()) return std::move(checked.value);
  std::string problems;
  for (const InputProblem& p : checked.problems)
    problems += (problems.empty() ? "" : "\n") + p.sentence;
  return fail(ErrorCode::invalid_argument, problems);
}

}  // namespace kflow::machine
