// Checked and compiled expressions; the checking itself is ExpressionChecker's.
#include "compiler/sema/expressions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/cel/evaluate.hpp"
#include "compiler/ir/schema/secrets.hpp"
#include "compiler/sema/expression_checker.hpp"
#include "compiler/sema/habits.hpp"

namespace kflow::sema {

using cel::ExprKind;
using cel::OpCode;
using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;

namespace {

class References : public cel::NameResolver {
 public:
  explicit References(const CheckedExpression& checked) {
    for (const auto& [id, ref] : checked.references) {
      const auto known = std::find(variables.begin(), variables.end(), ref);
      const auto index = static_cast<uint32_t>(known - variables.begin());
      if (known == variables.end()) variables.push_back(ref);
      by_id_[id] = index;
    }
  }
  std::optional<uint32_t> variable(uint32_t id, std::string_view, bool) override {
    const auto it = by_id_.find(id);
    return it == by_id_.end() ? std::nullopt : std::optional(it->second);
  }
  std::vector<ir::VarRef> variables;

 private:
  std::map<uint32_t, uint32_t> by_id_;
};

class LocalNames : public cel::NameResolver {
 public:
  explicit LocalNames(const ExpressionScope& scope) : scope_(scope) {}
  std::optional<uint32_t> variable(uint32_t, std::string_view dotted, bool) override {
    for (uint32_t i = 0; i < scope_.locals.size(); ++i) {
      if (scope_.locals[i].first == dotted) return i;
    }
    return std::nullopt;
  }

 private:
  const ExpressionScope& scope_;
};

class NoBindings : public cel::Bindings {
 public:
  const cel::Value* lookup(uint32_t) override { return nullptr; }
};

// `a.kind == "x"`, either way round.
void collect_literal(const cel::Ast& ast, const cel::Expr& e, bool equal,
                     std::vector<std::string>& out) {
  for (const auto& [a, b] : {std::pair{e.args[0], e.args[1]}, std::pair{e.args[1], e.args[0]}}) {
    if (ast[b].kind != ExprKind::literal || ast[b].literal.is_null()) continue;
    const std::string path = ast.dotted(a);
    if (path.find('.') == std::string::npos) continue;
    out.push_back(equal ? is_fact(path, {ast[b].literal}) : is_not_fact(path, ast[b].literal));
  }
}

void collect_non_null(const cel::Ast& ast, uint32_t id, bool truth, std::vector<std::string>& out) {
  const cel::Expr& e = ast[id];
  if (e.kind != ExprKind::op) return;
  if (e.op == OpCode::not_) return collect_non_null(ast, e.args[0], !truth, out);
  if ((e.op == OpCode::and_ && truth) || (e.op == OpCode::or_ && !truth)) {
    collect_non_null(ast, e.args[0], truth, out);
    return collect_non_null(ast, e.args[1], truth, out);
  }
  if (e.op == OpCode::equal || e.op == OpCode::not_equal)
    collect_literal(ast, e, (e.op == OpCode::equal) == truth, out);
  if ((e.op == OpCode::not_equal && truth) || (e.op == OpCode::equal && !truth)) {
    for (const auto& [a, b] : {std::pair{e.args[0], e.args[1]}, std::pair{e.args[1], e.args[0]}}) {
      if (ast[b].kind == ExprKind::literal && ast[b].literal.is_null()) {
        std::string path = ast.dotted(a);
        if (!path.empty()) out.push_back(std::move(path));
      }
    }
  }
}

}  // namespace

std::string is_fact(std::string_view path, const std::vector<cel::Value>& values) {
  std::string out = std::string(path) + "=";
  for (const cel::Value& v : values) out += cel::to_display(v) + "\n";
  return out;
}

std::string is_not_fact(std::string_view path, const cel::Value& value) {
  return std::string(path) + "!" + cel::to_display(value) + "\n";
}

CheckedExpression check_expression(Model& m, ExpressionScope& scope, Cursor node) {
  CheckedExpression out;
  out.type = TypeTable::simple(TypeKind::poison);
  if (!node) return out;
  out.ast = cel::build_ast(node, {});
  for (const cel::AstError& e : out.ast.errors)
    m.sink.report(Kind::bad_expression, {scope.module->file, e.begin, e.end}, e.message);
  if (!out.ast.errors.empty()) return out;
  ExpressionChecker checker(m, scope, out);
  const Info info = checker.check(out.ast.root);
  out.type = info.type;
  out.optional = info.optional;
  return out;
}

ir::Expr compile_expression(const CheckedExpression& checked) {
  References references(checked);
  ir::Expr out;
  if (checked.ast.exprs.empty()) return out;
  out.program = cel::compile(checked.ast, references, false);
  out.variables = std::move(references.variables);
  out.type = checked.type;
  return out;
}

cel::Program compile_with_locals(Model& m, ExpressionScope& scope, Cursor node) {
  const CheckedExpression checked = check_expression(m, scope, node);
  LocalNames names(scope);
  if (checked.ast.exprs.empty()) return {};
  return cel::compile(checked.ast, names, false);
}

TypeId outer_type(Model& m, const CheckedExpression& checked) {
  return checked.optional ? m.types.nullable(checked.type) : checked.type;
}

bool require_assignable(Model& m, const CheckedExpression& checked, TypeId wanted,
                        source::Span span, std::string_view what) {
  const TypeId type = outer_type(m, checked);
  if (m.types.assignable(type, wanted)) return true;
  if (schema::holds_secret(m.types, type) && !schema::holds_secret(m.types, wanted)) {
    m.sink
        .report(Kind::secret_flow, span,
                fmt::format("{} takes {}, and this {} a secret", what, m.types.display(wanted),
                            m.types.is_secret(type) ? "is" : "has"))
        .note("a secret goes only where a `secret` is wanted");
    return false;
  }
  auto d = m.sink.report(
      m.types.accepts_null(type) && m.types.assignable(m.types.without_null(type), wanted)
          ? Kind::maybe_null
          : Kind::type_mismatch,
      span,
      fmt::format("{} takes {}, not {}", what, m.types.display(wanted), m.types.display(type)));
  if (m.types.assignable(m.types.without_null(type), wanted))
    d.note("give a default with `?? …`, or check `!= null` before");
  if (const std::string note = conversion_note(m.types, type, wanted); !note.empty()) d.note(note);
  return false;
}

std::vector<std::string> non_null_when(const cel::Ast& ast, uint32_t id, bool truth) {
  std::vector<std::string> out;
  if (id < ast.exprs.size()) collect_non_null(ast, id, truth, out);
  return out;
}

std::optional<cel::Value> constant_value(Model& m, Module& module, Cursor node) {
  if (!node) return std::nullopt;
  ExpressionScope scope{.module = &module};
  const size_t errors = m.sink.errors();
  const CheckedExpression checked = check_expression(m, scope, node);
  const bool poisoned = m.types[checked.type].kind == schema::TypeKind::poison;
  if (m.sink.errors() > errors || checked.ast.exprs.empty() || poisoned) return std::nullopt;
  LocalNames names(scope);
  const cel::Program program = cel::compile(checked.ast, names, false);
  NoBindings bindings;
  auto result = cel::evaluate(program, bindings);
  if (auto* value = std::get_if<cel::Value>(&result)) {
    if (value->kind() == cel::Kind::optional)
      return value->as_optional() == nullptr ? cel::Value() : cel::Value(*value->as_optional());
    return std::move(*value);
  }
  if (m.sink.errors() == errors)
    m.sink.report(Kind::not_constant, node.span(),
                  fmt::format("this cannot be computed before the run: {}",
                              std::get<cel::EvalError>(result).message));
  return std::nullopt;
}

}  // namespace kflow::sema
