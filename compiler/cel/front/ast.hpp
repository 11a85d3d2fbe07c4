// Ast: a parsed expression with its macros recognised and its operators in order of precedence;
// names not yet resolved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/cel/program.hpp"
#include "compiler/cel/value.hpp"
#include "compiler/syntax/tree.hpp"

namespace kflow::cel {

enum class ExprKind : uint8_t {
  poison,   ///< of text with an error already reported
  literal,  ///< `literal`
  name,     ///< `text`; flags: root for `.x`
  select,   ///< args[0].`text`; flags: optional, test
  call,     ///< `text`(args); flags: member (args[0] is the receiver)
  op,       ///< every other operation: `op` with `args` as OpCode has them
};

inline constexpr uint8_t root_name = 32;  ///< flag of a name with a leading dot

struct Expr {
  ExprKind kind = ExprKind::poison;
  OpCode op = OpCode::constant;
  uint8_t flags = 0;
  Value literal;
  std::string text;
  std::string variable;   ///< iteration variable of a macro; of two: the index or key
  std::string variable2;  ///< the value
  std::vector<uint32_t> args;
  std::vector<uint8_t> marks;  ///< of list and map: which args have `?`
  uint32_t begin = 0;          ///< place in the file
  uint32_t end = 0;
};

struct AstError {
  uint32_t begin = 0;
  uint32_t end = 0;
  std::string message;
};

struct Ast {
  std::vector<Expr> exprs;
  uint32_t root = 0;
  std::vector<AstError> errors;

  const Expr& operator[](uint32_t id) const { return exprs[id]; }
  /// `a.b.c` of a chain of plain selects on a name; "" if it is none.
  std::string dotted(uint32_t id) const;
  /// Whether such a chain begins with a dot.
  bool is_root(uint32_t id) const;
};

struct BuildOptions {
  bool strict = false;
  bool two_variable_macros = true;
  bool block_macros = false;  ///< `cel.block` and its kin, which only conformance tests use
  bool macros = true;
  std::string container{};  ///< namespace in which functions are looked for first
};

/// `all`, `map` …: what is called on a value and binds variables, for suggestions.
std::vector<std::string> macro_names();

/// The expression at `node`; none gives poison. Errors of literals, macros and nesting are in
/// `errors`.
Ast build_ast(syntax::Cursor node, const BuildOptions& options);

/// Strict CEL text as a tree; `errors` are those of the grammar.
struct ParsedExpression {
  syntax::Tree tree;
  std::vector<AstError> errors;
};
ParsedExpression parse_strict(std::string_view text);

// ---- compiling

/// Says which names are variables.
class NameResolver {
 public:
  virtual ~NameResolver() = default;
  /// Index of the variable that the expression `id` (a name, or a chain of selects spelled
  /// `dotted`) stands for.
  virtual std::optional<uint32_t> variable(uint32_t id, std::string_view dotted, bool root) = 0;
  /// Namespace in which names are looked for first.
  virtual std::string_view container() const { return ""; }
};

/// The names that `name` may stand for within a namespace, innermost first: `X.Y.name`, `X.name`,
/// `name`. `use` gives true to stop.
template <typename Use>
void each_candidate(std::string_view container, std::string_view name, Use use) {
  std::string full;
  while (!container.empty()) {
    full.assign(container).append(".").append(name);
    if (use(std::string_view(full))) return;
    const size_t dot = container.rfind('.');
    container = dot == std::string_view::npos ? std::string_view() : container.substr(0, dot);
  }
  use(name);
}

/// Names that resolve to nothing become operations that fail when they are evaluated.
Program compile(const Ast& ast, NameResolver& resolver, bool strict);

}  // namespace kflow::cel
