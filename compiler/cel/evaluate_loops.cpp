// The evaluator's loops, bindings and calls.
#include <algorithm>

#include "compiler/cel/evaluator.hpp"

namespace kflow::cel {

// Calls `body()` for each element with the variables set; `body` gives false to stop.
template <typename Body>
void Evaluator::each(const Op& op, const Value& range, Body body) {
  const bool two = op.flags & op_flag::two_vars;
  Local& first = locals_[op.a];
  if (range.kind() == Kind::list) {
    const auto items = range.as_list();
    Local& item = two ? locals_[op.a + 1] : first;
    if (two) first.value = &first.own;
    for (size_t i = 0; i < items.size(); ++i) {
      if (two) first.own = Value::integer(static_cast<int64_t>(i));
      item.value = &items[i];
      if (!body()) return;
    }
    return;
  }
  for (const MapEntry& entry : range.as_map()) {
    first.value = &entry.key;
    if (two) locals_[op.a + 1].value = &entry.value;
    if (!body()) return;
  }
}

// The range of a loop; null if it failed or cannot be iterated.
const Value* Evaluator::range_of(const Op& op, Value& scratch) {
  const Value* range = ref(link(op, 0), scratch);
  if (range == nullptr || range->kind() == Kind::list || range->kind() == Kind::map) return range;
  fail_at(op, EvalErrorKind::no_such_overload,
          "a loop goes over a list or a map, not " + std::string(type_name(range->kind())));
  return nullptr;
}

// Errors are absorbed by a later decisive verdict.
Evaluator::Truth Evaluator::quantifier(const Op& op, bool decisive) {
  Value scratch;
  const Value* range = range_of(op, scratch);
  if (range == nullptr) return Truth::failed;
  const Truth wanted = truth_of(decisive);
  const uint32_t condition = link(op, 1);
  bool decided = false;
  std::unique_ptr<EvalError> first_error;
  each(op, *range, [&] {
    Truth verdict = truth(condition);
    if (verdict == wanted) return decided = true, false;
    if (verdict == Truth::other) verdict = no_condition(op);
    if (verdict != Truth::failed) return true;
    if (out_of_budget_) return false;
    if (first_error == nullptr) first_error = std::make_unique<EvalError>(std::move(error_));
    failed_ = false;
    return true;
  });
  if (out_of_budget_) return Truth::failed;
  if (decided) return wanted;
  if (first_error == nullptr) return truth_of(!decisive);
  failed_ = true;
  error_ = std::move(*first_error);
  return Truth::failed;
}

// A predicate's verdict; on an error or another type the evaluation has failed.
bool Evaluator::predicate(const Op& op, uint32_t id) {
  const Truth verdict = truth(id);
  if (verdict == Truth::other) no_condition(op);
  return verdict == Truth::yes;
}

Value Evaluator::loop(const Op& op) {
  Value scratch;
  const Value* range = range_of(op, scratch);
  if (range == nullptr) return {};
  const bool filtered = op.flags & op_flag::filtered;
  const uint32_t result = link(op, filtered ? 2 : 1);
  std::vector<Value> items;
  MapBuilder entries;
  int64_t count = 0;
  each(op, *range, [&] {
    if (filtered && !predicate(op, link(op, 1))) return !failed_;
    switch (op.code) {
      case OpCode::exists_one:
        count += predicate(op, result);
        break;
      case OpCode::filter:
        if (predicate(op, result))
          items.push_back(*locals_[op.a + (op.flags & op_flag::two_vars ? 1 : 0)].value);
        break;
      case OpCode::map_list:
        items.push_back(eval(result));
        break;
      default:
        transform(op, result, entries);
    }
    return !failed_ && charge(1);
  });
  if (failed_) return {};
  switch (op.code) {
    case OpCode::exists_one:
      return Value::boolean(count == 1);
    case OpCode::filter:
    case OpCode::map_list:
      return checked(op, Value::list(std::move(items)));
    default:
      return checked(op, std::move(entries).take());
  }
}

// One round of transformMap and transformMapEntry.
void Evaluator::transform(const Op& op, uint32_t result, MapBuilder& entries) {
  Value made = eval(result);
  if (failed_) return;
  if (op.code == OpCode::transform_map) {
    add_entry(op, entries, *locals_[op.a].value, std::move(made));
    return;
  }
  if (made.kind() != Kind::map) {
    overload(op, "transformMapEntry", made.kind());
    return;
  }
  for (const MapEntry& e : made.as_map()) {
    if (!charge(1) || !add_entry(op, entries, e.key, e.value)) return;
  }
}

// `list.sortBy(x, key)`: in ascending order of the keys, which have an order among themselves.
Value Evaluator::sort_by(const Op& op) {
  Value scratch;
  const Value* list = ref(link(op, 0), scratch);
  if (list == nullptr) return {};
  if (list->kind() != Kind::list) return overload(op, "sortBy", list->kind());
  std::vector<std::pair<Value, const Value*>> keyed;
  each(op, *list, [&] {
    keyed.emplace_back(eval(link(op, 1)), locals_[op.a].value);
    return !failed_ && charge(8);
  });
  if (failed_) return {};
  for (const auto& [key, item] : keyed) {
    const auto order = compare(keyed.front().first, key);
    if (!order || *order == std::partial_ordering::unordered) {
      return fail_at(op, EvalErrorKind::no_such_overload,
                     std::string(type_name(keyed.front().first.kind())) + " and " +
                         std::string(type_name(key.kind())) + " have no order");
    }
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& x, const auto& y) { return *compare(x.first, y.first) < 0; });
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (const auto& [key, item] : keyed) items.push_back(*item);
  return checked(op, Value::list(std::move(items)));
}

// The value is computed before the body, where the slots of its own loops are free: within the body
// they are those of the body's. That it cannot be computed matters only where it is read.
Value Evaluator::bind(const Op& op) {
  Value scratch;
  const Value* init = ref(link(op, 0), scratch);
  if (out_of_budget_) return {};
  Local& local = locals_[op.a];
  local.value = init;
  if (init == nullptr) {
    local.error = std::make_unique<EvalError>(std::move(error_));
    failed_ = false;
  }
  return eval(link(op, 1));
}

[[gnu::noinline]] const Value* Evaluator::without_value(const Local& local) {
  error_ = *local.error;
  failed_ = true;
  return nullptr;
}

Value Evaluator::opt_map(const Op& op) {
  Value scratch;
  const Value* target = ref(link(op, 0), scratch);
  if (target == nullptr) return {};
  const bool flat = op.code == OpCode::opt_flat_map;
  if (target->kind() != Kind::optional)
    return overload(op, flat ? "optFlatMap" : "optMap", target->kind());
  if (target->as_optional() == nullptr) return Value::none();
  locals_[op.a].value = target->as_optional();
  Value result = eval(link(op, 1));
  if (failed_) return {};
  if (!flat) return checked(op, Value::some(std::move(result)));
  if (result.kind() != Kind::optional) return overload(op, "optFlatMap", result.kind());
  return result;
}

Value Evaluator::call(const Op& op) {
  if (op.function == nullptr) {
    return fail_at(op, EvalErrorKind::undeclared_function,
                   "undeclared function `" + p_.names[op.a] + "`");
  }
  const Function& function = *op.function;
  if (op.link_count < function.min_args || op.link_count > function.max_args) {
    return fail_at(
        op, EvalErrorKind::no_such_overload,
        "`" + p_.names[op.a] + "` does not take " + std::to_string(op.link_count) + " arguments");
  }
  if (function.lazy) return call_lazily(op);
  constexpr size_t few = 3;
  Value few_scratch[few];
  const Value* few_args[few];
  std::vector<Value> many_scratch;
  std::vector<const Value*> many_args;
  Value* scratch = few_scratch;
  const Value** args = few_args;
  if (op.link_count > few) {
    many_scratch.resize(op.link_count);
    many_args.resize(op.link_count);
    scratch = many_scratch.data();
    args = many_args.data();
  }
  for (uint32_t i = 0; i < op.link_count; ++i) {
    args[i] = ref(link(op, i), scratch[i]);
    if (args[i] == nullptr) return {};
  }
  current_ = &op;
  Value result = function.call(*this, Args(args, op.link_count));
  return result.depth() == 0 ? result : checked(op, std::move(result));
}

// `o.or(e)` and `o.orValue(e)` look at their argument only when they need it.
Value Evaluator::call_lazily(const Op& op) {
  const bool wants_optional = op.function->name == "or";
  Value target = eval(link(op, 0));
  if (failed_) return {};
  if (target.kind() != Kind::optional) return overload(op, op.function->name, target.kind());
  if (target.as_optional() != nullptr)
    return wants_optional ? target : Value(*target.as_optional());
  Value other = eval(link(op, 1));
  if (!failed_ && wants_optional && other.kind() != Kind::optional)
    return overload(op, "or", other.kind());
  return other;
}

}  // namespace kflow::cel
