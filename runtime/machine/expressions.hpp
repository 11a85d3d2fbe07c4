// Evaluates a program's expressions against the frames of a run. Used by the live side only, never
// while folding.
#pragma once

#include <optional>
#include <variant>

#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

using Evaluated = std::variant<cel::Value, RunError>;

struct EvalContext {
  const RunState& state;
  const Frame* frame = nullptr;  ///< null: only constants and run facts
  const cel::Value* own_value = nullptr;
  const cel::Value* own_key = nullptr;  ///< in `undo`: the idempotency key of the step
  /// `while` is evaluated before an iteration: names of the innermost scope mean the iteration that
  /// has just ended.
  bool before_iteration = false;
};

/// A body's frame with the parameters and nothing else.
Frame parameter_frame(const ir::Program& program, ir::CallableId workflow, const cel::Value& input);

/// The value, checked against the expression's type where the checker asked for it.
Evaluated evaluate(const EvalContext& context, ir::ExprId expr);

/// A check of a value that came from outside against a declared type, as a `type` error that names
/// path, rule and value.
std::optional<RunError> check_type(const ir::Program& program, ir::TypeId type, cel::Value& value,
                                   std::string_view what);

}  // namespace kflow::machine
