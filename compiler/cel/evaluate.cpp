// The evaluator's core: dispatch, parts of values, literals, operators and logic.
#include "compiler/cel/evaluate.hpp"

#include "compiler/cel/evaluator.hpp"

namespace kflow::cel {

Evaluator::Evaluator(const Program& program, Bindings& bindings, uint64_t budget)
    : p_(program), bindings_(bindings), budget_(budget) {
  if (program.locals <= few_locals) {
    locals_ = reinterpret_cast<Local*>(local_space_);
    std::uninitialized_value_construct_n(locals_, program.locals);
  } else {
    many_locals_ = std::make_unique<Local[]>(program.locals);
    locals_ = many_locals_.get();
  }
}

Evaluator::~Evaluator() {
  if (p_.locals <= few_locals) std::destroy_n(locals_, p_.locals);
}

EvalResult Evaluator::run() {
  Value result = eval(static_cast<uint32_t>(p_.ops.size() - 1));
  if (failed_) return std::move(error_);
  return result;
}

// ---- failing and paying

void Evaluator::fail(EvalErrorKind kind, std::string message) {
  if (failed_) return;
  failed_ = true;
  error_ = {kind, std::move(message), 0, 0};
  if (current_ == nullptr) return;
  error_.begin = current_->begin;
  error_.end = current_->end;
}

bool Evaluator::charge(uint64_t units) {
  if (units <= budget_) {
    budget_ -= units;
    return true;
  }
  budget_ = 0;
  out_of_budget_ = true;
  fail(EvalErrorKind::cost_exceeded, "the expression costs more than its limit");
  return false;
}

bool Evaluator::out_of_budget(const Op& op) {
  current_ = &op;
  return charge(1);
}

Value Evaluator::fail_at(const Op& op, EvalErrorKind kind, std::string message) {
  current_ = &op;
  fail(kind, std::move(message));
  return {};
}

Value Evaluator::overload(const Op& op, std::string_view what, Kind kind) {
  return fail_at(op, EvalErrorKind::no_such_overload,
                 "`" + std::string(what) + "` does not take " + std::string(type_name(kind)));
}

Evaluator::Truth Evaluator::wrong(const Op& op, std::string_view what) {
  overload(op, what, other_kind_);
  return Truth::failed;
}

Evaluator::Truth Evaluator::no_condition(const Op& op) {
  fail_at(op, EvalErrorKind::no_such_overload,
          "a condition is a bool, not " + std::string(type_name(other_kind_)));
  return Truth::failed;
}

// Nothing grows without end: neither deeper than what can be stored, nor (by sharing) larger than
// can be written out.
Value Evaluator::checked(const Op& op, Value v) {
  if (v.depth() > max_value_depth) {
    return fail_at(
        op, EvalErrorKind::range,
        "the value is nested deeper than " + std::to_string(max_value_depth) + " levels");
  }
  if (v.memory() > max_built_bytes) {
    out_of_budget_ = true;
    return fail_at(op, EvalErrorKind::cost_exceeded,
                   "the value is larger than " + std::to_string(max_built_bytes >> 20) + " MiB");
  }
  return v;
}

// ---- dispatch

// A value that exists somewhere already is given by address, without counting a reference; others
// land in `scratch`.
const Value* Evaluator::ref(uint32_t id, Value& scratch) {
  const Op& op = p_.ops[id];
  switch (op.code) {
    case OpCode::constant:
      return spend(op) ? &p_.constants[op.a] : nullptr;
    case OpCode::local: {
      if (!spend(op)) return nullptr;
      Local& local = locals_[op.a];
      return local.value != nullptr ? local.value : without_value(local);
    }
    case OpCode::load: {
      if (!spend(op)) return nullptr;
      const Value* v = bindings_.lookup(op.a);
      if (v == nullptr) fail_at(op, EvalErrorKind::undeclared_variable, "a variable has no value");
      return v;
    }
    case OpCode::select:
      if (op.flags & (op_flag::optional | op_flag::test)) break;
      return spend(op) ? select_ref(op, scratch) : nullptr;
    case OpCode::index:
      return spend(op) ? index_ref(op, scratch) : nullptr;
    default:
      break;
  }
  scratch = eval(id);
  return failed_ ? nullptr : &scratch;
}

Value Evaluator::eval(uint32_t id) {
  const Op& op = p_.ops[id];
  switch (op.code) {
    case OpCode::constant:
    case OpCode::load:
    case OpCode::local:
    case OpCode::index: {
      Value scratch;
      const Value* v = ref(id, scratch);
      if (v == nullptr) return {};
      return v == &scratch ? std::move(scratch) : *v;
    }
    case OpCode::select: {
      if (!spend(op)) return {};
      Value scratch;
      const Value* operand = ref(link(op, 0), scratch);
      return operand == nullptr ? Value() : select(op, *operand);
    }
    case OpCode::not_:
    case OpCode::and_:
    case OpCode::or_:
    case OpCode::equal:
    case OpCode::not_equal:
    case OpCode::less:
    case OpCode::less_equal:
    case OpCode::greater:
    case OpCode::greater_equal:
    case OpCode::in:
    case OpCode::all:
    case OpCode::exists: {
      const Truth t = truth(id);
      return t == Truth::failed ? Value() : Value::boolean(t == Truth::yes);
    }
    default:
      break;
  }
  if (!spend(op)) return {};
  switch (op.code) {
    case OpCode::undeclared:
      return fail_at(op, EvalErrorKind::undeclared_variable,
                     "undeclared name `" + std::string(p_.constants[op.a].as_string()) + "`");
    case OpCode::call:
      return call(op);
    case OpCode::list:
      return list(op);
    case OpCode::map:
      return map(op);
    case OpCode::conditional: {
      const Truth condition = truth(link(op, 0));
      if (condition == Truth::other) no_condition(op);
      return failed_ ? Value() : eval(link(op, condition == Truth::yes ? 1 : 2));
    }
    case OpCode::coalesce:
      return coalesce(op);
    case OpCode::negate:
    case OpCode::add:
    case OpCode::subtract:
    case OpCode::multiply:
    case OpCode::divide:
    case OpCode::modulo:
      return operation(op);
    case OpCode::interpolate:
      return interpolate(op);
    case OpCode::exists_one:
    case OpCode::map_list:
    case OpCode::filter:
    case OpCode::transform_map:
    case OpCode::transform_map_entry:
      return loop(op);
    case OpCode::bind:
      return bind(op);
    case OpCode::opt_map:
    case OpCode::opt_flat_map:
      return opt_map(op);
    case OpCode::sort_by:
      return sort_by(op);
    default:
      std::unreachable();
  }
}

// The same for a condition, without making a value of it.
Evaluator::Truth Evaluator::truth(uint32_t id) {
  const Op& op = p_.ops[id];
  switch (op.code) {
    case OpCode::and_:
      return spend(op) ? logic(op, false) : Truth::failed;
    case OpCode::or_:
      return spend(op) ? logic(op, true) : Truth::failed;
    case OpCode::not_: {
      if (!spend(op)) return Truth::failed;
      const Truth t = truth(link(op, 0));
      if (t == Truth::other) return wrong(op, "!");
      return t == Truth::failed ? t : truth_of(t == Truth::no);
    }
    case OpCode::equal:
    case OpCode::not_equal:
    case OpCode::less:
    case OpCode::less_equal:
    case OpCode::greater:
    case OpCode::greater_equal:
    case OpCode::in:
      return spend(op) ? comparison(op) : Truth::failed;
    case OpCode::all:
      return spend(op) ? quantifier(op, false) : Truth::failed;
    case OpCode::exists:
      return spend(op) ? quantifier(op, true) : Truth::failed;
    default: {
      Value scratch;
      const Value* v = ref(id, scratch);
      if (v == nullptr) return Truth::failed;
      if (v->kind() == Kind::boolean) return truth_of(v->as_bool());
      other_kind_ = v->kind();
      return Truth::other;
    }
  }
}

// ---- parts of values

const Value* Evaluator::select_ref(const Op& op, Value& scratch) {
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

Value Evaluator::select(const Op& op, const Value& operand) {
  const std::string_view field = p_.constants[op.a].as_string();
  if (op.flags & op_flag::test) return has(op, operand, field);
  if (operand.kind() == Kind::optional) {
    const Value* inner = operand.as_optional();
    if (inner == nullptr || (inner->is_null() && !p_.strict)) return Value::none();
    if (inner->kind() == Kind::file) {
      const auto part = file_field(inner->as_file(), field);
      return part ? Value::some(*part) : Value::none();
    }
    if (inner->kind() != Kind::map) {
      return fail_at(op, EvalErrorKind::no_such_key,
                     "no such key `" + std::string(field) + "`: the optional holds " +
                         std::string(type_name(inner->kind())));
    }
    const Value* found = inner->find(field);
    return found == nullptr ? Value::none() : Value::some(*found);
  }
  const bool optional = op.flags & op_flag::optional;
  if (optional && operand.is_null() && !p_.strict) return Value::none();
  if (operand.kind() == Kind::file) {
    const auto part = file_field(operand.as_file(), field);
    if (optional) return part ? Value::some(*part) : Value::none();
    return part ? *part : no_field(op, operand, field);
  }
  if (operand.kind() != Kind::map) return no_field(op, operand, field);
  const Value* found = operand.find(field);
  if (optional) return found == nullptr ? Value::none() : Value::some(*found);
  if (found == nullptr) return missing_key(op), Value();
  return *found;
}

void Evaluator::missing_key(const Op& op) {
  fail_at(op, EvalErrorKind::no_such_key,
          "no such key `" + std::string(p_.constants[op.a].as_string()) + "`");
}

Value Evaluator::no_field(const Op& op, const Value& operand, std::string_view field) {
  return fail_at(
      op, EvalErrorKind::no_such_field,
      "no field `" + std::string(field) + "` in " + std::string(type_name(operand.kind())));
}

Value Evaluator::has(const Op& op, const Value& operand, std::string_view field) {
  const Value* target = &operand;
  if (operand.kind() == Kind::optional) {
    target = operand.as_optional();
    if (target == nullptr) return Value::boolean(false);
  }
  if (target->is_null() && !p_.strict) return Value::boolean(false);
  if (target->kind() == Kind::file)
    return Value::boolean(file_field(target->as_file(), field).has_value());
  if (target->kind() != Kind::map) return no_field(op, *target, field);
  return Value::boolean(target->find(field) != nullptr);
}

const Value* Evaluator::index_ref(const Op& op, Value& scratch) {
  Value inner;
  const Value* operand = ref(link(op, 0), inner);
  if (operand == nullptr) return nullptr;
  Value key_scratch;
  const Value* key = ref(link(op, 1), key_scratch);
  if (key == nullptr) return nullptr;
  const bool optional = op.flags & op_flag::optional || operand->kind() == Kind::optional;
  const Value* target = operand;
  if (operand->kind() == Kind::optional) target = operand->as_optional();
  if (target == nullptr || (target->is_null() && optional && !p_.strict)) {
    scratch = Value::none();
    return &scratch;
  }
  const Value* found = item(op, *target, *key, optional);
  if (failed_) return nullptr;
  if (!optional && operand != &inner) return found;
  if (optional) {
    scratch = found == nullptr ? Value::none() : Value::some(*found);
  } else {
    scratch = *found;
  }
  return &scratch;
}

// The part at `key`; if it is not there, null with `optional`, else an error.
const Value* Evaluator::item(const Op& op, const Value& operand, const Value& key, bool optional) {
  if (operand.kind() == Kind::map) {
    const Value* found = operand.find(key);
    if (found == nullptr && !optional)
      fail_at(op, EvalErrorKind::no_such_key, "no such key " + to_brief(key));
    return found;
  }
  if (operand.kind() != Kind::list) return overload(op, "[]", operand.kind()), nullptr;
  const auto at = integral(key);
  const auto items = operand.as_list();
  if (at && *at >= 0 && static_cast<uint64_t>(*at) < items.size())
    return &items[static_cast<size_t>(*at)];
  const bool beyond = at || key.kind() == Kind::uint_;  // a uint above the greatest int
  if (optional && beyond) return nullptr;
  if (!beyond) {
    fail_at(op, EvalErrorKind::invalid_index, "a list index must be an int, not " + to_brief(key));
  } else {
    fail_at(op, EvalErrorKind::index_out_of_bounds,
            "index " + to_brief(key) + " of a list of " + std::to_string(items.size()));
  }
  return nullptr;
}

// ---- new values

Value Evaluator::list(const Op& op) {
  std::vector<Value> items;
  items.reserve(op.link_count);
  for (uint32_t i = 0; i < op.link_count; ++i) {
    Value v = eval(link(op, i));
    if (failed_) return {};
    if (p_.optional_marks[op.first_link + i]) {
      if (v.kind() != Kind::optional) return overload(op, "[?]", v.kind());
      if (v.as_optional() != nullptr) items.push_back(*v.as_optional());
    } else {
      items.push_back(std::move(v));
    }
  }
  return checked(op, Value::list(std::move(items)));
}

Value Evaluator::map(const Op& op) {
  MapBuilder out;
  for (uint32_t i = 0; i < op.link_count; i += 2) {
    Value key = eval(link(op, i));
    if (failed_) return {};
    Value value = eval(link(op, i + 1));
    if (failed_) return {};
    if (p_.optional_marks[op.first_link + i]) {
      if (value.kind() != Kind::optional) return overload(op, "{?}", value.kind());
      if (value.as_optional() == nullptr) continue;
      value = Value(*value.as_optional());
    }
    if (!add_entry(op, out, std::move(key), std::move(value))) return {};
  }
  return checked(op, std::move(out).take());
}

bool Evaluator::add_entry(const Op& op, MapBuilder& out, Value key, Value value) {
  const Kind kind = key.kind();
  if (kind != Kind::boolean && kind != Kind::int_ && kind != Kind::uint_ && kind != Kind::string) {
    fail_at(op, EvalErrorKind::bad_map_key, std::string(type_name(kind)) + " cannot be a map key");
    return false;
  }
  if (out.add(key, std::move(value))) return true;
  fail_at(op, EvalErrorKind::duplicate_map_key,
          "the key " + to_brief(key) + " stands twice in a map");
  return false;
}

Value Evaluator::interpolate(const Op& op) {
  std::string out;
  for (uint32_t i = 0; i < op.link_count; ++i) {
    Value scratch;
    const Value* part = ref(link(op, i), scratch);
    if (part == nullptr) return {};
    if (part->kind() == Kind::string) {
      if (!charge(part->as_string().size() / 16)) return {};
      out.append(part->as_string());
      continue;
    }
    const auto text = interpolated_text(*part);
    if (!text) {
      return fail_at(
          op, EvalErrorKind::no_such_overload,
          std::string(type_name(part->kind())) + " has no place in a string; write json(…)");
    }
    out.append(*text);
  }
  return Value::string(std::move(out));
}

Value Evaluator::operation(const Op& op) {
  Value scratch_a;
  const Value* a = ref(link(op, 0), scratch_a);
  if (a == nullptr) return {};
  if (op.code == OpCode::negate) return finish(op, negate(*a));
  Value scratch_b;
  const Value* b = ref(link(op, 1), scratch_b);
  if (b == nullptr) return {};
  if (a->kind() == Kind::int_ && b->kind() == Kind::int_) {
    // The common case, without the detour of a result that may be an error.
    int64_t out = 0;
    if (op.code == OpCode::add && !__builtin_add_overflow(a->as_int(), b->as_int(), &out))
      return Value::integer(out);
    if (op.code == OpCode::subtract && !__builtin_sub_overflow(a->as_int(), b->as_int(), &out))
      return Value::integer(out);
    if (op.code == OpCode::multiply && !__builtin_mul_overflow(a->as_int(), b->as_int(), &out))
      return Value::integer(out);
  }
  if (op.code == OpCode::add && !charge(concatenation_cost(*a, *b))) return {};
  return finish(op, arithmetic(op.code, *a, *b, p_.strict));
}

Value Evaluator::finish(const Op& op, OperatorResult result) {
  if (!result.ok) return fail_at(op, result.kind, std::move(result.message));
  if (result.value.kind() == Kind::list) return checked(op, std::move(result.value));
  return std::move(result.value);
}

Value Evaluator::coalesce(const Op& op) {
  Value v = eval(link(op, 0));
  if (failed_) return {};
  if (v.kind() == Kind::optional) {
    if (v.as_optional() == nullptr) return eval(link(op, 1));
    v = Value(*v.as_optional());
  }
  if (v.is_null()) return eval(link(op, 1));
  return v;
}

// ---- conditions

// `decisive` decides alone: false for &&, true for ||.
Evaluator::Truth Evaluator::logic(const Op& op, bool decisive) {
  const Truth wanted = truth_of(decisive);
  const Truth left = truth(link(op, 0));
  if (left == wanted) return wanted;
  if (left == Truth::failed || left == Truth::other) return logic_after(op, wanted, left);
  const Truth right = truth(link(op, 1));
  return right == Truth::other ? wrong(op, decisive ? "||" : "&&") : right;
}

// The left side is an error or no bool: a decisive right side absorbs that.
[[gnu::noinline]] Evaluator::Truth Evaluator::logic_after(const Op& op, Truth decisive,
                                                          Truth left) {
  if (out_of_budget_) return Truth::failed;
  if (left == Truth::other) wrong(op, decisive == Truth::yes ? "||" : "&&");
  EvalError left_error = std::move(error_);
  failed_ = false;
  const Truth right = truth(link(op, 1));
  if (right == decisive || out_of_budget_) return right;
  const bool keep_right = left == Truth::other && right == Truth::failed;
  if (!keep_right) error_ = std::move(left_error);
  failed_ = true;
  return Truth::failed;
}

Evaluator::Truth Evaluator::comparison(const Op& op) {
  Value scratch_a;
  const Value* a = ref(link(op, 0), scratch_a);
  if (a == nullptr) return Truth::failed;
  Value scratch_b;
  const Value* b = ref(link(op, 1), scratch_b);
  if (b == nullptr) return Truth::failed;
  switch (op.code) {
    case OpCode::equal:
      return pay_equality(*a, *b) ? truth_of(*a == *b) : Truth::failed;
    case OpCode::not_equal:
      return pay_equality(*a, *b) ? truth_of(!(*a == *b)) : Truth::failed;
    case OpCode::in:
      return contains(op, *a, *b);
    default:
      return order(op, *a, *b);
  }
}

// Comparing costs what may have to be read.
bool Evaluator::pay_equality(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return true;
  const uint64_t least = std::min(a.memory(), b.memory());
  return least <= 64 || charge(least / 32);
}

Evaluator::Truth Evaluator::order(const Op& op, const Value& a, const Value& b) {
  const auto result = compare(a, b);
  if (!result) {
    fail_at(op, EvalErrorKind::no_such_overload,
            std::string(type_name(a.kind())) + " and " + std::string(type_name(b.kind())) +
                " have no order");
    return Truth::failed;
  }
  if (a.memory() > 64 && !charge(std::min(a.memory(), b.memory()) / 32)) return Truth::failed;
  switch (op.code) {
    case OpCode::less:
      return truth_of(*result < 0);
    case OpCode::less_equal:
      return truth_of(*result <= 0);
    case OpCode::greater:
      return truth_of(*result > 0);
    default:
      return truth_of(*result >= 0);
  }
}

Evaluator::Truth Evaluator::contains(const Op& op, const Value& item, const Value& in) {
  if (in.kind() == Kind::map) return truth_of(in.find(item) != nullptr);
  if (in.kind() != Kind::list) return overload(op, "in", in.kind()), Truth::failed;
  for (const Value& other : in.as_list()) {
    if (!charge(1) || !pay_equality(item, other)) return Truth::failed;
    if (item == other) return Truth::yes;
  }
  return Truth::no;
}

std::string_view to_string(EvalErrorKind kind) {
  constexpr std::string_view names[] = {"divide_by_zero",
                                        "modulus_by_zero",
                                        "overflow",
                                        "range",
                                        "no_such_overload",
                                        "no_such_key",
                                        "no_such_field",
                                        "invalid_index",
                                        "index_out_of_bounds",
                                        "bad_map_key",
                                        "duplicate_map_key",
                                        "undeclared_variable",
                                        "undeclared_function",
                                        "invalid_utf8",
                                        "conversion",
                                        "invalid_argument",
                                        "format",
                                        "cost_exceeded"};
  return names[static_cast<size_t>(kind)];
}

EvalResult evaluate(const Program& program, Bindings& bindings, uint64_t cost_limit) {
  if (program.empty()) return Value();
  if (const Value* constant = program.constant()) return *constant;
  return Evaluator(program, bindings, cost_limit).run();
}

}  // namespace kflow::cel
