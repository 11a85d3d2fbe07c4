// The static checker of strict CEL: the type of an expression, or why it has none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/front/ast.hpp"
#include "compiler/cel/front/declarations.hpp"

namespace kflow::cel {

struct CheckError {
  uint32_t begin = 0;
  uint32_t end = 0;
  EvalErrorKind kind = EvalErrorKind::no_such_overload;
  std::string message;
};

struct CheckResult {
  std::string type;  ///< `list(map(string,dyn))`; "error" where there are errors
  std::vector<CheckError> errors;
  bool ok() const { return errors.empty(); }
};

/// Checking never changes what an expression evaluates to. Names are looked for in `container` and
/// the namespaces around it.
CheckResult check_static(const Ast& ast, const Declarations& declarations,
                         std::string_view container = "");

}  // namespace kflow::cel
