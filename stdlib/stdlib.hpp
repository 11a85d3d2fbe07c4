// The standard library's modules, embedded in the binaries.
#pragma once

#include <optional>
#include <string_view>

namespace kflow::stdlib {

/// Text of `std/<name>`, or none. This version has no modules yet: built-in callables need no
/// import.
std::optional<std::string_view> find_module(std::string_view name);

}  // namespace kflow::stdlib
