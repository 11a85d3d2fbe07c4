// Inputs against the parameters of what is started.
#include "runtime/machine/input.hpp"

#include <algorithm>

#include "compiler/ir/schema/types.hpp"

namespace kflow::machine {

Result<cel::Value> check_input(const ir::Program& program, ir::CallableId workflow,
                               const cel::Value& input) {
  const ir::Callable& callable = program[workflow];
  std::string problems;
  const auto problem = [&](const std::string& text) {
    problems += (problems.empty() ? "" : "\n") + text;
  };
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
        problem("the input `" + p.name + "` (" + program.types.display(p.type) +
                ") is missing; give it with -i " + p.name + "=…");
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
      problem("the input `" + path + "`: " + v.rule + ", got " + v.value);
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
      problem("`" + callable.name + "` has no input `" + name + "`" +
              (list.empty() ? "; it takes none" : "; it takes " + list));
    }
  } else if (!input.is_null()) {
    problem("the input must be a record of the workflow's parameters");
  }
  if (!problems.empty()) return fail(ErrorCode::invalid_argument, problems);
  return cel::Value::map(std::move(out));
}

}  // namespace kflow::machine
