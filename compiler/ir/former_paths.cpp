// Puts former names in place of present ones, segment by segment.
#include "compiler/ir/former_paths.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace kflow::ir {
namespace {

using Names = std::map<std::string, std::set<std::string>, std::less<>>;

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

// A step without a name of its own has that of its callee, perhaps with a number.
void add_callee(const Program& program, const Node& node, Names& out) {
  const auto* step = std::get_if<StepNode>(&node.data);
  if (step == nullptr || node.named || !step->call.callable) return;
  const Callable& callee = program[step->call.callable];
  const std::string_view base = last_part(callee.name);
  if (!node.name.starts_with(base)) return;
  for (const std::string& was : callee.was)
    out[node.name].insert(std::string(last_part(was)) + node.name.substr(base.size()));
}

Names former_names(const Program& program) {
  Names out;
  for (const Node& node : program.nodes) {
    if (!node.was.empty()) out[node.name].insert(node.was.begin(), node.was.end());
    add_callee(program, node, out);
    if (const auto* parallel = std::get_if<ParallelNode>(&node.data)) {
      for (const auto& branch : parallel->branches) {
        if (!branch.was.empty()) out[branch.name].insert(branch.was.begin(), branch.was.end());
      }
    }
  }
  return out;
}

}  // namespace

std::vector<std::string> recorded_paths(const Program& program, std::string_view path) {
  const Names former = former_names(program);
  std::vector<std::string> out{""};
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    const size_t bracket = std::min(segment.find('['), segment.size());
    std::vector<std::string> names{std::string(segment.substr(0, bracket))};
    if (const auto known = former.find(names[0]); known != former.end())
      names.insert(names.end(), known->second.begin(), known->second.end());
    std::vector<std::string> longer;
    for (const std::string& name : names) {
      for (const std::string& before : out) {
        if (longer.size() == max_former_paths) break;
        longer.push_back(before + (begin == 0 ? "" : ".") + name +
                         std::string(segment.substr(bracket)));
      }
    }
    out = std::move(longer);
    begin = end + 1;
  }
  return out;
}

}  // namespace kflow::ir
