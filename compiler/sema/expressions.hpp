// Names and types of expressions, and their compilation with references to slots.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/sema/model.hpp"

namespace kflow::sema {

/// What a name in an expression stands for.
struct Resolved {
  ir::VarRef ref;
  TypeId type;
};

/// Where an expression stands.
struct ExpressionScope {
  Module* module = nullptr;
  /// Finds lets, steps, parameters, loop variables. On failure it has reported, or gives nothing.
  std::function<std::optional<Resolved>(std::string_view name, source::Span span, bool& reported)>
      lookup;
  /// `info(name)` and `errors(name)`.
  std::function<std::optional<ir::VarRef>(std::string_view name, bool errors, source::Span span)>
      facts;
  /// In tests: `calls(name)`, `inputs(name)` and `ran(step)`. On failure it has reported.
  std::function<std::optional<Resolved>(std::string_view fact, std::string_view name,
                                        source::Span span)>
      test_facts;
  std::function<std::vector<std::string>()> candidates;  ///< for suggestions
  std::vector<std::pair<std::string, TypeId>>
      locals;  ///< names bound by the surroundings: parameters of a fn, `this`
  /// `a.b` paths known not to be null, and what `is_fact` and `is_not_fact` make.
  std::vector<std::string> non_null;
  std::optional<TypeId> own_value;    ///< type of the step's own value, by the name in `own_name`
  std::string own_name;
  bool own_key = false;  ///< in `undo`: `idempotency_key` is the step's
};

struct CheckedExpression {
  TypeId type;
  bool optional = false;  ///< a CEL optional of `type`: leaves an expression as `type?`
  cel::Ast ast;
  std::vector<std::pair<uint32_t, ir::VarRef>>
      references;  ///< by ast id (a name, or the call of info/errors)
};

/// Reports everything that is wrong; the type is poison where nothing better is known.
CheckedExpression check_expression(Model& model, ExpressionScope& scope, Cursor node);

/// The program and the references its variables stand for.
ir::Expr compile_expression(const CheckedExpression& checked);
/// A program whose variables are the scope's locals, in order.
cel::Program compile_with_locals(Model& model, ExpressionScope& scope, Cursor node);

/// The type as it leaves the expression.
TypeId outer_type(Model& model, const CheckedExpression& checked);
/// Reports a mismatch; true if `type` may go where `wanted` stands (perhaps with a run-time check).
bool require_assignable(Model& model, const CheckedExpression& checked, TypeId wanted,
                        source::Span span, std::string_view what);

/// That the literal field at a path has one of these values; that it has not this one.
std::string is_fact(std::string_view path, const std::vector<cel::Value>& values);
std::string is_not_fact(std::string_view path, const cel::Value& value);

/// Paths that are not null, and what literal fields are, when `id` is true (or false).
std::vector<std::string> non_null_when(const cel::Ast& ast, uint32_t id, bool truth);

std::vector<schema::Constraint> annotations(Model& model, Module& module, Cursor owner);

/// `@was("old")` of something named; several names: the latest first.
struct FormerNames {
  std::string name;
  std::vector<std::string> was;
  source::Span name_span;
  source::Span span;  ///< of the annotation
};
/// What annotations of `owner`, which declares `name`, say it was called. Unless it stands
/// `among_others`, no other annotation may be there.
std::optional<FormerNames> former_names(Model& model, Cursor owner, Cursor name, bool among_others);
/// Reports former names of things that stand together if they exist still (`place`: where a name
/// is defined), or if two of them are the same.
void check_former_names(Model& model, const std::vector<FormerNames>& names,
                        const std::function<std::optional<source::Span>(std::string_view)>& place);

}  // namespace kflow::sema
