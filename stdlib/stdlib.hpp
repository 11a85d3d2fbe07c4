// The standard library's modules, embedded in the binaries.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace kflow::stdlib {

/// Text of `std/<name>`, or none. It lives as long as the program.
std::optional<std::string_view> find_module(std::string_view name);
/// The names of all modules.
std::vector<std::string_view> module_names();

}  // namespace kflow::stdlib
