// Finds embedded modules by name.
#include "stdlib/stdlib.hpp"

#include "stdlib/embedded.hpp"

namespace kflow::stdlib {

std::optional<std::string_view> find_module(std::string_view name) {
  for (const Embedded& module : embedded()) {
    if (module.name != name) continue;
    return std::string_view(reinterpret_cast<const char*>(module.bytes.data()),
                            module.bytes.size());
  }
  return std::nullopt;
}

std::vector<std::string_view> module_names() {
  std::vector<std::string_view> out;
  for (const Embedded& module : embedded()) out.push_back(module.name);
  return out;
}

}  // namespace kflow::stdlib
