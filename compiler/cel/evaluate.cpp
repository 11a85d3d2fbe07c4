// The evaluator: a switch over operations; locals for iteration variables; errors travel beside the value.
#include "compiler/cel/evaluate.hpp"

#include <cmath>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/operators.hpp"

namespace kflow::cel {
namespace {

class Evaluator final : public CallContext {
 public:
  Evaluator(const Program& program, Bindings& bindings, uint64_t budget)
      : p_(program), bindings_(bindings), budget_(budget), locals_(program.locals) {}

  EvalResult run() {
    Value result = eval(static_cast<uint32_t>(p_.ops.size() - 1));
    if (failed_) return std::move(error_);
    return result;
  }

  // ---- CallContext
  void fail(EvalErrorKind kind, std::string message) override {
    if (failed_) return;
    failed_ = true;
    error_ = {kind, std::move(message), 0, 0};
    if (current_ != nullptr) {
      error_.begin = current_->begin;
      error_.end = current_->end;
    }
  }
  bool charge(uint64_t units) override {
    if (units <= budget_) {
      budget_ -= units;
      return true;
    }
    budget_ = 0;
    out_of_budget_ = true;
    fail(EvalErrorKind::cost_exceeded, "the expression costs more than its limit");
    return false;
  }
  bool strict() const override { return p_.strict; }
  const Regex* constant_regex() const override { return current_ == nullptr ? nullptr : current_->regex; }

 private:
  uint32_t link(const Op& op, uint32_t i) const { return p_.links[op.first_link + i]; }
  Value fail_at(const Op& op, EvalErrorKind kind, std::string message) {
    current_ = &op;
    fail(kind, std::move(message));
    return {};
  }

  // A value that exists somewhere already is given by address, without counting a reference; others land in `scratch`.
  const Value* ref(uint32_t id, Value& scratch) {
    const Op& op = p_.ops[id];
    switch (op.code) {
      case OpCode::constant: return spend(op) ? &p_.constants[op.a] : nullptr;
      case OpCode::local: return spend(op) ? &locals_[op.a] : nullptr;
      case OpCode::load: {
        if (!spend(op)) return nullptr;
        const Value* v = bindings_.lookup(op.a);
        if (v == nullptr) fail_at(op, EvalErrorKind::undeclared_variable, "a variable has no value");
        return v;
      }
      case OpCode::select:
        if ((op.flags & (op_flag::optional | op_flag::test)) == 0) {
          if (!spend(op)) return nullptr;
          Value inner;
          const Value* operand = ref(link(op, 0), inner);
          if (operand == nullptr) return nullptr;
          if (operand->kind() == Kind::map) {
            const Value* found = operand->find(p_.constants[op.a].as_string());
            if (found == nullptr) return missing_key(op), nullptr;
            if (operand != &inner) return found;
            scratch = *found;
            return &scratch;
          }
          scratch = select(op, *operand);
          return failed_ ? nullptr : &scratch;
        }
        [[fallthrough]];
      default: scratch = eval(id); return failed_ ? nullptr : &scratch;
    }
  }

  bool spend(const Op& op) {
    if (budget_ == 0) {
      current_ = &op;
      return charge(1);
    }
    --budget_;
    return true;
  }

  void missing_key(const Op& op) {
    fail_at(op, EvalErrorKind::no_such_key, "no such key `" + std::string(p_.constants[op.a].as_string()) + "`");
  }

  Value eval(uint32_t id) {
    const Op& op = p_.ops[id];
    switch (op.code) {
      case OpCode::constant:
      case OpCode::load:
      case OpCode::local: {
        Value scratch;
        const Value* v = ref(id, scratch);
        return v == nullptr ? Value() : *v;
      }
      default: break;
    }
    if (!spend(op)) return {};
    switch (op.code) {
      case OpCode::constant:
      case OpCode::load:
      case OpCode::local: break;
      case OpCode::undeclared:
        return fail_at(op, EvalErrorKind::undeclared_variable,
                       "undeclared name `" + std::string(p_.constants[op.a].as_string()) + "`");
      case OpCode::select: {
        Value scratch;
        const Value* operand = ref(link(op, 0), scratch);
        return operand == nullptr ? Value() : select(op, *operand);
      }
      case OpCode::index: return index(op);
      case OpCode::call: return call(op);
      case OpCode::list: return list(op);
      case OpCode::map: return map(op);
      case OpCode::conditional: return conditional(op);
      case OpCode::and_: return logic(op, false);
      case OpCode::or_: return logic(op, true);
      case OpCode::coalesce: return coalesce(op);
      case OpCode::not_: {
        Value v = eval(link(op, 0));
        if (failed_) return {};
        if (v.kind() != Kind::boolean) return overload(op, "!", v);
        return Value::boolean(!v.as_bool());
      }
      case OpCode::negate:
      case OpCode::add:
      case OpCode::subtract:
      case OpCode::multiply:
      case OpCode::divide:
      case OpCode::modulo:
      case OpCode::equal:
      case OpCode::not_equal:
      case OpCode::less:
      case OpCode::less_equal:
      case OpCode::greater:
      case OpCode::greater_equal:
      case OpCode::in: return operation(op);
      case OpCode::interpolate: return interpolate(op);
      case OpCode::all: return quantifier(op, false);
      case OpCode::exists: return quantifier(op, true);
      case OpCode::exists_one:
      case OpCode::map_list:
      case OpCode::filter:
      case OpCode::transform_map:
      case OpCode::transform_map_entry: return loop(op);
      case OpCode::bind: return bind(op);
      case OpCode::opt_map:
      case OpCode::opt_flat_map: return opt_map(op);
    }
    std::unreachable();
  }

  Value overload(const Op& op, std::string_view what, const Value& a) {
    return fail_at(op, EvalErrorKind::no_such_overload, "`" + std::string(what) + "` does not take " + std::string(type_name(a.kind())));
  }

  // ---- selecting

  Value select(const Op& op, const Value& operand) {
    const std::string_view field = p_.constants[op.a].as_string();
    if (op.flags & op_flag::test) return has(op, operand, field);
    if (operand.kind() == Kind::optional) {
      const Value* inner = operand.as_optional();
      if (inner == nullptr) return Value::none();
      if (inner->kind() != Kind::map) return no_field(op, *inner, field);
      const Value* found = inner->find(field);
      return found == nullptr ? Value::none() : Value::some(*found);
    }
    if (op.flags & op_flag::optional) {
      if (operand.is_null() && !p_.strict) return Value::none();
      if (operand.kind() != Kind::map) return no_field(op, operand, field);
      const Value* found = operand.find(field);
      return found == nullptr ? Value::none() : Value::some(*found);
    }
    if (operand.kind() != Kind::map) return no_field(op, operand, field);
    const Value* found = operand.find(field);
    if (found == nullptr) return missing_key(op), Value();
    return *found;
  }

  Value no_field(const Op& op, const Value& operand, std::string_view field) {
    return fail_at(op, EvalErrorKind::no_such_overload,
                   "no field `" + std::string(field) + "` in " + std::string(type_name(operand.kind())));
  }

  Value has(const Op& op, const Value& operand, std::string_view field) {
    const Value* target = &operand;
    if (operand.kind() == Kind::optional) {
      target = operand.as_optional();
      if (target == nullptr) return Value::boolean(false);
    }
    if (target->is_null() && !p_.strict) return Value::boolean(false);
    if (target->kind() != Kind::map) return no_field(op, *target, field);
    return Value::boolean(target->find(field) != nullptr);
  }

  Value index(const Op& op) {
    Value scratch_a;
    const Value* operand = ref(link(op, 0), scratch_a);
    if (operand == nullptr) return {};
    Value scratch_b;
    const Value* key = ref(link(op, 1), scratch_b);
    if (key == nullptr) return {};
    const bool optional = op.flags & op_flag::optional || operand->kind() == Kind::optional;
    if (operand->kind() == Kind::optional) {
      operand = operand->as_optional();
      if (operand == nullptr) return Value::none();
    }
    if (operand->is_null() && optional && !p_.strict) return Value::none();
    if (operand->kind() == Kind::map) {
      const Value* found = operand->find(*key);
      if (optional) return found == nullptr ? Value::none() : Value::some(*found);
      if (found == nullptr) return fail_at(op, EvalErrorKind::no_such_key, "no such key " + to_display(*key));
      return *found;
    }
    if (operand->kind() != Kind::list) return overload(op, "[]", *operand);
    const auto at = integral(*key);
    const auto items = operand->as_list();
    if (!at) {
      if (optional) return Value::none();
      return fail_at(op, EvalErrorKind::invalid_index, "a list index must be an int, not " + to_display(*key));
    }
    if (*at < 0 || static_cast<uint64_t>(*at) >= items.size()) {
      if (optional) return Value::none();
      return fail_at(op, EvalErrorKind::index_out_of_bounds,
                     "index " + std::to_string(*at) + " of a list of " + std::to_string(items.size()));
    }
    const Value& item = items[static_cast<size_t>(*at)];
    return optional ? Value::some(item) : item;
  }

  // ---- building

  Value list(const Op& op) {
    std::vector<Value> items;
    items.reserve(op.link_count);
    for (uint32_t i = 0; i < op.link_count; ++i) {
      Value v = eval(link(op, i));
      if (failed_) return {};
      if (p_.optional_marks[op.first_link + i]) {
        if (v.kind() != Kind::optional) return overload(op, "[?]", v);
        if (v.as_optional() != nullptr) items.push_back(*v.as_optional());
      } else {
        items.push_back(std::move(v));
      }
    }
    return Value::list(std::move(items));
  }

  Value map(const Op& op) {
    MapBuilder out;
    for (uint32_t i = 0; i < op.link_count; i += 2) {
      Value key = eval(link(op, i));
      if (failed_) return {};
      Value value = eval(link(op, i + 1));
      if (failed_) return {};
      if (p_.optional_marks[op.first_link + i]) {
        if (value.kind() != Kind::optional) return overload(op, "{?}", value);
        if (value.as_optional() == nullptr) continue;
        value = Value(*value.as_optional());
      }
      if (!add_entry(op, out, std::move(key), std::move(value))) return {};
    }
    return std::move(out).take();
  }

  bool add_entry(const Op& op, MapBuilder& out, Value key, Value value) {
    const Kind kind = key.kind();
    if (kind != Kind::boolean && kind != Kind::int_ && kind != Kind::uint_ && kind != Kind::string) {
      fail_at(op, EvalErrorKind::bad_map_key, std::string(type_name(kind)) + " cannot be a map key");
      return false;
    }
    const std::string shown = out.add(key, std::move(value)) ? "" : to_display(key);
    if (!shown.empty()) fail_at(op, EvalErrorKind::duplicate_map_key, "the key " + shown + " stands twice in a map");
    return shown.empty();
  }

  Value interpolate(const Op& op) {
    std::string out;
    for (uint32_t i = 0; i < op.link_count; ++i) {
      Value scratch;
      const Value* part = ref(link(op, i), scratch);
      if (part == nullptr) return {};
      if (part->kind() == Kind::string) {
        out.append(part->as_string());
        continue;
      }
      const auto text = interpolated_text(*part);
      if (!text) {
        return fail_at(op, EvalErrorKind::no_such_overload,
                       std::string(type_name(part->kind())) + " has no place in a string; write json(…)");
      }
      out.append(*text);
    }
    if (!charge(out.size() / 16)) return {};
    return Value::string(std::move(out));
  }

  // ---- logic

  Value conditional(const Op& op) {
    Value scratch;
    const Value* condition = ref(link(op, 0), scratch);
    if (condition == nullptr) return {};
    if (condition->kind() != Kind::boolean) return overload(op, "?:", *condition);
    return eval(link(op, condition->as_bool() ? 1 : 2));
  }

  // `decisive` decides alone: false for &&, true for ||. An error on one side is absorbed by a decisive other.
  Value logic(const Op& op, bool decisive) {
    Value left_scratch;
    const Value* left = ref(link(op, 0), left_scratch);
    if (out_of_budget_) return {};
    if (left != nullptr && left->kind() == Kind::boolean && left->as_bool() == decisive) return Value::boolean(decisive);
    const bool left_failed = left == nullptr;
    EvalError left_error;
    if (left_failed) {
      left_error = std::move(error_);
      failed_ = false;
    }
    const bool left_bool = !left_failed && left->kind() == Kind::boolean;
    Value right_scratch;
    const Value* right = ref(link(op, 1), right_scratch);
    if (out_of_budget_) return {};
    if (right != nullptr && right->kind() == Kind::boolean && right->as_bool() == decisive) return Value::boolean(decisive);
    if (left_failed) {
      failed_ = true;
      error_ = std::move(left_error);
      return {};
    }
    if (right == nullptr) return {};
    if (!left_bool) return overload(op, decisive ? "||" : "&&", *left);
    if (right->kind() != Kind::boolean) return overload(op, decisive ? "||" : "&&", *right);
    return Value::boolean(!decisive);
  }

  Value coalesce(const Op& op) {
    Value v = eval(link(op, 0));
    if (failed_) return {};
    if (v.kind() == Kind::optional) {
      if (v.as_optional() == nullptr) return eval(link(op, 1));
      v = Value(*v.as_optional());
    }
    if (v.is_null()) return eval(link(op, 1));
    return v;
  }

  Value operation(const Op& op) {
    Value scratch_a;
    const Value* a = ref(link(op, 0), scratch_a);
    if (a == nullptr) return {};
    if (op.code == OpCode::negate) return finish(op, negate(*a));
    Value scratch_b;
    const Value* b = ref(link(op, 1), scratch_b);
    if (b == nullptr) return {};
    switch (op.code) {
      case OpCode::equal: return Value::boolean(*a == *b);
      case OpCode::not_equal: return Value::boolean(!(*a == *b));
      case OpCode::in: return contains(op, *a, *b);
      case OpCode::less:
      case OpCode::less_equal:
      case OpCode::greater:
      case OpCode::greater_equal: return order(op, *a, *b);
      default: break;
    }
    if (op.code == OpCode::add && !charge(concatenation_cost(*a, *b))) return {};
    return finish(op, arithmetic(op.code, *a, *b, p_.strict));
  }

  Value finish(const Op& op, OperatorResult result) {
    if (result.ok) return std::move(result.value);
    return fail_at(op, result.kind, std::move(result.message));
  }

  Value order(const Op& op, const Value& a, const Value& b) {
    const auto result = compare(a, b);
    if (!result) {
      return fail_at(op, EvalErrorKind::no_such_overload,
                     std::string(type_name(a.kind())) + " and " + std::string(type_name(b.kind())) + " have no order");
    }
    switch (op.code) {
      case OpCode::less: return Value::boolean(*result < 0);
      case OpCode::less_equal: return Value::boolean(*result <= 0);
      case OpCode::greater: return Value::boolean(*result > 0);
      default: return Value::boolean(*result >= 0);
    }
  }

  Value contains(const Op& op, const Value& item, const Value& in) {
    if (in.kind() == Kind::map) return Value::boolean(in.find(item) != nullptr);
    if (in.kind() != Kind::list) return overload(op, "in", in);
    if (!charge(in.as_list().size())) return {};
    for (const Value& other : in.as_list()) {
      if (item == other) return Value::boolean(true);
    }
    return Value::boolean(false);
  }

  // ---- loops

  // Calls `body(item)` for each element with the variables set; `body` gives false to stop.
  template <typename Body>
  void each(const Op& op, const Value& range, Body body) {
    const bool two = op.flags & op_flag::two_vars;
    if (range.kind() == Kind::list) {
      const auto items = range.as_list();
      for (size_t i = 0; i < items.size(); ++i) {
        if (two) locals_[op.a] = Value::integer(static_cast<int64_t>(i));
        locals_[op.a + (two ? 1 : 0)] = items[i];
        if (!body()) return;
      }
      return;
    }
    for (const MapEntry& entry : range.as_map()) {
      locals_[op.a] = entry.key;
      if (two) locals_[op.a + 1] = entry.value;
      if (!body()) return;
    }
  }

  // The range of a loop; nothing if it failed or cannot be iterated.
  std::optional<Value> range_of(const Op& op) {
    Value range = eval(link(op, 0));
    if (failed_) return std::nullopt;
    if (range.kind() == Kind::list || range.kind() == Kind::map) return range;
    overload(op, "a loop", range);
    return std::nullopt;
  }

  Value quantifier(const Op& op, bool decisive) {
    const auto range = range_of(op);
    if (!range) return {};
    bool decided = false;
    bool any_error = false;
    EvalError first_error;
    each(op, *range, [&] {
      Value scratch;
      const Value* verdict = ref(link(op, 1), scratch);
      if (out_of_budget_) return false;
      if (verdict != nullptr && verdict->kind() == Kind::boolean) {
        decided = verdict->as_bool() == decisive;
        return !decided;
      }
      if (verdict != nullptr) overload(op, decisive ? "exists" : "all", *verdict);
      if (!any_error) first_error = error_;
      any_error = true;
      failed_ = false;
      return true;
    });
    if (out_of_budget_) return {};
    if (decided) return Value::boolean(decisive);
    if (any_error) {
      failed_ = true;
      error_ = std::move(first_error);
      return {};
    }
    return Value::boolean(!decisive);
  }

  // A predicate's verdict; on an error or another type the evaluation has failed.
  bool predicate(const Op& op, uint32_t id) {
    Value scratch;
    const Value* verdict = ref(id, scratch);
    if (verdict == nullptr) return false;
    if (verdict->kind() != Kind::boolean) {
      overload(op, "a predicate", *verdict);
      return false;
    }
    return verdict->as_bool();
  }

  Value loop(const Op& op) {
    const auto range = range_of(op);
    if (!range) return {};
    const bool filtered = op.flags & op_flag::filtered;
    const uint32_t result = link(op, filtered ? 2 : 1);
    std::vector<Value> items;
    MapBuilder entries;
    int64_t count = 0;
    each(op, *range, [&] {
      if (filtered && !predicate(op, link(op, 1))) return !failed_;
      switch (op.code) {
        case OpCode::exists_one: count += predicate(op, result); break;
        case OpCode::filter:
          if (predicate(op, result)) items.push_back(locals_[op.a + (op.flags & op_flag::two_vars ? 1 : 0)]);
          break;
        case OpCode::map_list: items.push_back(eval(result)); break;
        case OpCode::transform_map: add_entry(op, entries, locals_[op.a], eval(result)); break;
        default: {
          const Value entry = eval(result);
          if (failed_) break;
          if (entry.kind() != Kind::map) {
            overload(op, "transformMapEntry", entry);
            break;
          }
          for (const MapEntry& e : entry.as_map()) {
            if (!add_entry(op, entries, e.key, e.value)) break;
          }
        }
      }
      return !failed_ && charge(1);
    });
    if (failed_) return {};
    switch (op.code) {
      case OpCode::exists_one: return Value::boolean(count == 1);
      case OpCode::filter:
      case OpCode::map_list: return Value::list(std::move(items));
      default: return std::move(entries).take();
    }
  }

  Value bind(const Op& op) {
    // The initial value is needed only if the body uses it: its error is kept until then by evaluating early and
    // absorbing nothing, which the tests allow.
    Value init = eval(link(op, 0));
    if (failed_) return {};
    locals_[op.a] = std::move(init);
    return eval(link(op, 1));
  }

  Value opt_map(const Op& op) {
    Value target = eval(link(op, 0));
    if (failed_) return {};
    if (target.kind() != Kind::optional) return overload(op, "optMap", target);
    if (target.as_optional() == nullptr) return Value::none();
    locals_[op.a] = *target.as_optional();
    Value result = eval(link(op, 1));
    if (failed_) return {};
    if (op.code == OpCode::opt_map) return Value::some(std::move(result));
    if (result.kind() != Kind::optional) return overload(op, "optFlatMap", result);
    return result;
  }

  // ---- functions

  Value call(const Op& op) {
    const std::string& name = p_.names[op.a];
    // `o.or(e)` and `o.orValue(e)` look at their argument only when they need it.
    if (op.flags & op_flag::member && op.link_count == 2 && (name == "or" || name == "orValue")) {
      Value target = eval(link(op, 0));
      if (failed_) return {};
      if (target.kind() == Kind::optional) {
        if (target.as_optional() != nullptr) return name == "or" ? target : Value(*target.as_optional());
        Value other = eval(link(op, 1));
        if (!failed_ && name == "or" && other.kind() != Kind::optional) return overload(op, "or", other);
        return other;
      }
      return overload(op, name, target);
    }
    if (op.function == nullptr) {
      return fail_at(op, EvalErrorKind::undeclared_function, "undeclared function `" + name + "`");
    }
    constexpr size_t inline_args = 4;
    Value few[inline_args];
    std::vector<Value> many;
    std::span<Value> args(few, std::min<size_t>(op.link_count, inline_args));
    if (op.link_count > inline_args) {
      many.resize(op.link_count);
      args = many;
    }
    for (uint32_t i = 0; i < op.link_count; ++i) {
      args[i] = eval(link(op, i));
      if (failed_) return {};
    }
    if (op.link_count < op.function->min_args || op.link_count > op.function->max_args) {
      return fail_at(op, EvalErrorKind::no_such_overload, "`" + name + "` does not take " + std::to_string(op.link_count) + " arguments");
    }
    const Op* outer = std::exchange(current_, &op);
    Value result = op.function->call(*this, args);
    if (!failed_) current_ = outer;
    return result;
  }

  const Program& p_;
  Bindings& bindings_;
  uint64_t budget_;
  std::vector<Value> locals_;
  bool failed_ = false;
  bool out_of_budget_ = false;
  EvalError error_;
  const Op* current_ = nullptr;
};

}  // namespace

std::string_view to_string(EvalErrorKind kind) {
  constexpr std::string_view names[] = {
      "divide_by_zero", "modulus_by_zero", "overflow", "range", "no_such_overload", "no_such_key", "no_such_field",
      "invalid_index", "index_out_of_bounds", "bad_map_key", "duplicate_map_key", "undeclared_variable",
      "undeclared_function", "invalid_utf8", "conversion", "invalid_argument", "format", "cost_exceeded"};
  return names[static_cast<size_t>(kind)];
}

EvalResult evaluate(const Program& program, Bindings& bindings, uint64_t cost_limit) {
  if (program.empty()) return Value();
  if (const Value* constant = program.constant()) return *constant;
  return Evaluator(program, bindings, cost_limit).run();
}

}  // namespace kflow::cel
