// The table of embedded modules; empty until the first of them is written.
#include "stdlib/stdlib.hpp"

namespace kflow::stdlib {

std::optional<std::string_view> find_module(std::string_view) { return std::nullopt; }

}  // namespace kflow::stdlib
