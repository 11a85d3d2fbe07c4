// Arithmetic, order and negation of values.
#pragma once

#include <compare>
#include <optional>
#include <string>

#include "compiler/cel/evaluate.hpp"

namespace kflow::cel {

struct OperatorResult {
  bool ok = false;
  Value value;
  EvalErrorKind kind = EvalErrorKind::no_such_overload;
  std::string message;
};

/// `+ - * / %`; in the dialect (`strict` false) int, uint and double mix by promotion to double.
OperatorResult arithmetic(OpCode code, const Value& a, const Value& b, bool strict);
OperatorResult negate(const Value& a);
/// Order of two values; nullopt if they have none; unordered with NaN.
std::optional<std::partial_ordering> compare(const Value& a, const Value& b);
/// Units a string, bytes or list concatenation costs; 0 for other operands.
uint64_t concatenation_cost(const Value& a, const Value& b);
/// The integer that an int, uint or integral double stands for.
std::optional<int64_t> integral(const Value& v);

}  // namespace kflow::cel
