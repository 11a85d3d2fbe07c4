// Evaluator: one evaluation of a program. A walk over its operations; values that exist already are
// passed by address.
#pragma once

#include <cstddef>
#include <memory>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/cel/operators.hpp"

namespace kflow::cel {

/// Largest value an expression may build, written out (shared parts counted each time).
inline constexpr uint64_t max_built_bytes = uint64_t{256} << 20;

/// Used once, by one thread. Errors travel beside the values: after `failed_` is set every result
/// is meaningless until an operation that absorbs errors clears it. Running out of budget is never
/// absorbed.
class Evaluator final : public CallContext {
 public:
  Evaluator(const Program& program, Bindings& bindings, uint64_t budget);
  ~Evaluator() override;
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;
  EvalResult run();

  // ---- for functions
  void fail(EvalErrorKind kind, std::string message) override;
  bool charge(uint64_t units) override;
  bool strict() const override { return p_.strict; }
  std::string_view function_name() const override { return p_.names[current_->a]; }
  const Regex* constant_regex() const override {
    return current_ == nullptr ? nullptr : current_->regex;
  }

 private:
  // What a condition comes to; `other`: a value that is no bool (its kind is in `other_kind_`).
  enum class Truth : uint8_t { no, yes, failed, other };
  // An iteration variable: a value elsewhere, or its own. A bound one may have an error instead,
  // which is one only where it is read.
  struct Local {
    const Value* value = nullptr;
    Value own;
    std::unique_ptr<EvalError> error;
  };
  static constexpr size_t few_locals = 4;

  uint32_t link(const Op& op, uint32_t i) const { return p_.links[op.first_link + i]; }
  bool spend(const Op& op) {
    if (budget_ == 0) return out_of_budget(op);
    --budget_;
    return true;
  }
  bool out_of_budget(const Op& op);
  Value fail_at(const Op& op, EvalErrorKind kind, std::string message);
  Value overload(const Op& op, std::string_view what, Kind kind);
  Truth no_condition(const Op& op);
  Truth wrong(const Op& op, std::string_view what);
  static Truth truth_of(bool v) { return v ? Truth::yes : Truth::no; }
  Value checked(const Op& op, Value v);

  const Value* ref(uint32_t id, Value& scratch);
  Value eval(uint32_t id);
  Truth truth(uint32_t id);

  // Parts of values.
  const Value* select_ref(const Op& op, Value& scratch);
  Value select(const Op& op, const Value& operand);
  Value has(const Op& op, const Value& operand, std::string_view field);
  Value no_field(const Op& op, const Value& operand, std::string_view field);
  void missing_key(const Op& op);
  const Value* index_ref(const Op& op, Value& scratch);
  const Value* item(const Op& op, const Value& operand, const Value& key, bool optional);

  // New values.
  Value list(const Op& op);
  Value map(const Op& op);
  bool add_entry(const Op& op, MapBuilder& out, Value key, Value value);
  Value interpolate(const Op& op);
  Value operation(const Op& op);
  Value finish(const Op& op, OperatorResult result);

  // Conditions.
  Truth logic(const Op& op, bool decisive);
  Truth logic_after(const Op& op, Truth decisive, Truth left);
  Truth comparison(const Op& op);
  Truth order(const Op& op, const Value& a, const Value& b);
  Truth contains(const Op& op, const Value& item, const Value& in);
  bool pay_equality(const Value& a, const Value& b);
  Value coalesce(const Op& op);

  // Loops, bindings, calls.
  const Value* range_of(const Op& op, Value& scratch);
  template <typename Body>
  void each(const Op& op, const Value& range, Body body);
  Truth quantifier(const Op& op, bool decisive);
  bool predicate(const Op& op, uint32_t id);
  Value loop(const Op& op);
  void transform(const Op& op, uint32_t result, MapBuilder& entries);
  Value bind(const Op& op);
  const Value* without_value(const Local& local);
  Value opt_map(const Op& op);
  Value sort_by(const Op& op);
  Value call(const Op& op);
  Value call_lazily(const Op& op);

  const Program& p_;
  Bindings& bindings_;
  uint64_t budget_;
  // Those of a program that has few are made here; the rest of the space is never touched.
  alignas(Local) std::byte local_space_[few_locals * sizeof(Local)];
  std::unique_ptr<Local[]> many_locals_;
  Local* locals_ = nullptr;
  bool failed_ = false;
  bool out_of_budget_ = false;
  Kind other_kind_ = Kind::null;
  const Op* current_ = nullptr;
  EvalError error_;
};

}  // namespace kflow::cel
