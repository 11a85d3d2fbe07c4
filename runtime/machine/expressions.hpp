// Evaluates a program's expressions against the frames of a run. Used by the live side only, never while folding.
#pragma once

#include <optional>
#include <variant>

#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

using Evaluated = std::variant<cel::Value, RunError>;

struct EvalContext {
  const RunState& state;
  const Frame* frame = nullptr;               ///< null: only constants and run facts
  const cel::Value* own_value = nullptr;
  /// `while` is evaluated before an iteration: names of the innermost scope mean the iteration that has just ended.
  bool before_iteration = false;
};

/// The value, checked against the expression's type where the checker asked for it.
Evaluated evaluate(const EvalContext& context, ir::ExprId expr);

/// A check of a value that came from outside against a declared type, as a `type` error that names path, rule and value.
std::optional<RunError> check_type(const ir::Program& program, ir::TypeId type, cel::Value& value, std::string_view what);

}  // namespace kflow::machine
