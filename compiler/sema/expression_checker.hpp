// ExpressionChecker: the types of an expression, bottom up over its Ast. Private to sema; the
// surface is expressions.hpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/functions.hpp"
#include "compiler/sema/expressions.hpp"

namespace kflow::sema {

/// What is known of a part of an expression.
struct Info {
  TypeId type = schema::TypeTable::simple(schema::TypeKind::poison);
  bool optional = false;  ///< CEL's optional, as `.?f` gives
};

/// Lives for one expression. What it finds wrong is reported once and is poison from then on, which
/// causes no further messages.
class ExpressionChecker {
  using OpCode = cel::OpCode;
  using TypeKind = schema::TypeKind;
  using TypeTable = schema::TypeTable;

 public:
  ExpressionChecker(Model& m, ExpressionScope& scope, CheckedExpression& out)
      : m_(m), t_(m.types), scope_(scope), out_(out) {
    for (const auto& [name, type] : scope.locals) locals_.push_back({name, type});
  }

  Info check(uint32_t id);
  Info checked(uint32_t id);

 private:
  struct Local {
    std::string name;
    TypeId type;
  };

  static TypeId simple(TypeKind kind) { return TypeTable::simple(kind); }
  source::Span span(uint32_t id) const;
  TypeKind kind(TypeId id) const { return t_[id].kind; }
  bool unknown(TypeId id) const;
  TypeId plain(const Info& i) { return i.optional ? t_.nullable(i.type) : i.type; }
  std::string show(const Info& i) { return t_.display(plain(i)); }
  /// string of "a", int of 1; other types themselves.
  TypeId widened(TypeId id) const;
  bool is_number(TypeId id) const;
  Info poison() { return {}; }

  bool known_non_null(uint32_t id) const;
  Info narrowed(uint32_t id, Info info);
  /// Arms of a union of records that the value of `id` can be, as far as its literal field is known.
  std::vector<TypeId> possible_arms(TypeId record_union, uint32_t id) const;

  // expression_names.cpp

  Info name(uint32_t id);
  void unknown_name(uint32_t id, const std::string& text);

  const schema::Field* field(TypeId record, std::string_view wanted) const;
  Info select(uint32_t id);
  std::optional<Info> imported_const(uint32_t id, uint32_t operand, const std::string& text);
  bool is_local(std::string_view text) const;
  Info unknown_field(uint32_t id, const std::vector<TypeId>& arms, TypeId target,
                     const std::string& text);
  std::string source_text(uint32_t id) const;

  // expression_operators.cpp

  Info op(uint32_t id);
  bool boolean(uint32_t id, std::string_view what);

  // Runs `body` with more paths known not to be null.
  template <typename Body>
  auto with(std::vector<std::string> paths, Body body) {
    const size_t before = scope_.non_null.size();
    scope_.non_null.insert(scope_.non_null.end(), paths.begin(), paths.end());
    auto result = body();
    scope_.non_null.resize(before);
    return result;
  }

  Info logic(const std::vector<uint32_t>& args, bool conjunction);
  Info conditional(const std::vector<uint32_t>& args);
  Info coalesce(const std::vector<uint32_t>& args);
  Info negate(uint32_t id, uint32_t arg);
  Info null_operand(uint32_t id, const Info& i);
  bool may_be_null(const Info& i) const { return i.optional || kind(i.type) == TypeKind::nullable; }

  Info arithmetic(uint32_t id, OpCode code, const std::vector<uint32_t>& args);
  Info equality(uint32_t id, const std::vector<uint32_t>& args);
  bool overlap(TypeId x, TypeId y) const;
  Info order(uint32_t id, const std::vector<uint32_t>& args);
  Info membership(uint32_t id, const std::vector<uint32_t>& args);
  Info index(uint32_t id, const std::vector<uint32_t>& args);
  Info list(uint32_t id, const std::vector<uint32_t>& args);
  Info map(uint32_t id, const std::vector<uint32_t>& args);
  Info interpolate(const std::vector<uint32_t>& args);

  // expression_calls.cpp

  Info macro(uint32_t id, OpCode code, const std::vector<uint32_t>& args);

  Info call(uint32_t id);
  Info facts(uint32_t id, const std::string& name, const std::vector<uint32_t>& args);
  Info test_fact(uint32_t id, const std::string& name, const std::vector<uint32_t>& args);
  /// Place of the name of a call, without its receiver and arguments.
  source::Span name_span(uint32_t id, std::string_view name, bool member) const;
  void unknown_function(uint32_t id, const std::string& name, bool member,
                        const std::vector<uint32_t>& args);
  bool unknown_in_module(uint32_t id, const std::string& space, const std::string& name);

  // Pure functions are expanded in place: `cel.bind` of fresh names around a copy of the body.
  std::optional<Info> user_function(uint32_t id, const std::string& name, bool member,
                                    const std::vector<uint32_t>& args);

  // What a parameter is when nothing is given for it.
  std::optional<cel::Value> fallback(Module& owner, const ParamInfo& p);
  void expand(uint32_t id, Module& owner, FunctionInfo& f, const std::vector<uint32_t>& actual);
  bool compares_secret(uint32_t id, const Info& a, const Info& b);
  bool fits(char letter, const Info& i);
  Info result_of(char letter, const cel::Function& f, const std::vector<Info>& args);
  Info overload(uint32_t id, const cel::Function& f, const std::vector<uint32_t>& ids,
                const std::vector<Info>& args);

  Model& m_;
  TypeTable& t_;
  ExpressionScope& scope_;
  CheckedExpression& out_;
  std::vector<Local> locals_;
  int inlined_ = 0;
  static inline thread_local uint32_t fresh_ = 0;
};

}  // namespace kflow::sema
