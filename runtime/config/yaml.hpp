// YAML text → values.
#pragma once

#include <string_view>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::config {

/// Deepest nesting and most nodes that are read (aliases count each time).
inline constexpr int max_yaml_depth = 100;
inline constexpr size_t max_yaml_nodes = 1'000'000;

/// One YAML 1.2 document: plain scalars by the core schema (null, bool, int, float), quoted ones as
/// strings. Errors name line and column.
Result<cel::Value> from_yaml(std::string_view text);

}  // namespace kflow::config
