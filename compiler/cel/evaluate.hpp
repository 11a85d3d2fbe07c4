// Evaluating a program: always ends, never throws, touches nothing outside.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "compiler/cel/program.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel {

enum class EvalErrorKind : uint8_t {
  divide_by_zero,
  modulus_by_zero,
  overflow,
  range,
  no_such_overload,
  no_such_key,
  no_such_field,
  invalid_index,
  index_out_of_bounds,
  bad_map_key,
  duplicate_map_key,
  undeclared_variable,
  undeclared_function,
  invalid_utf8,
  conversion,
  invalid_argument,
  format,
  cost_exceeded,
};
std::string_view to_string(EvalErrorKind kind);

struct EvalError {
  EvalErrorKind kind = EvalErrorKind::invalid_argument;
  std::string message;
  uint32_t begin = 0;  ///< place of the operation that failed
  uint32_t end = 0;
};

using EvalResult = std::variant<Value, EvalError>;

/// Where variables come from.
class Bindings {
 public:
  virtual ~Bindings() = default;
  /// Valid until the evaluation ends; null: the variable is not bound.
  virtual const Value* lookup(uint32_t variable) = 0;
};

/// Default cost limit: an operation costs 1, a produced string, list or map 1 for each 16 bytes or
/// items.
inline constexpr uint64_t default_cost_limit = 20'000'000;

EvalResult evaluate(const Program& program, Bindings& bindings,
                    uint64_t cost_limit = default_cost_limit);

}  // namespace kflow::cel
