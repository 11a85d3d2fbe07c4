// The sets extension: lists looked at as sets, by CEL's equality.
#include <algorithm>

#include "compiler/cel/functions.hpp"

namespace kflow::cel {
namespace {

// Whether a value can be looked up by a key that is equal exactly when the values are.
bool is_key(const Value& v) {
  return v.kind() == Kind::string || v.kind() == Kind::boolean || v.kind() == Kind::int_ ||
         v.kind() == Kind::uint_;
}

/// The items of a list, for questions of membership: those that can be keys by hash, the others one
/// by one. Costs what it reads.
class Set {
 public:
  Set(CallContext& context, const Value& list) : c_(context) {
    MapBuilder keys;
    for (const Value& v : list.as_list()) {
      if (!c_.charge(1)) return;
      if (is_key(v)) {
        keys.add(v, Value());
      } else {
        others_.push_back(&v);
      }
    }
    keys_ = std::move(keys).take();
  }
  // A double finds its integral key through the map's own rule of equality.
  bool has(const Value& v) {
    if ((is_key(v) || v.kind() == Kind::double_) && keys_.find(v) != nullptr) return true;
    if (!c_.charge(1 + others_.size() * (1 + v.memory() / 32))) return false;
    return std::any_of(others_.begin(), others_.end(), [&](const Value* o) { return *o == v; });
  }

 private:
  CallContext& c_;
  Value keys_;
  std::vector<const Value*> others_;
};

bool two_lists(Args a) { return a[0].kind() == Kind::list && a[1].kind() == Kind::list; }

bool holds(CallContext& c, const Value& list, const Value& wanted) {
  Set set(c, list);
  for (const Value& v : wanted.as_list()) {
    if (!set.has(v)) return false;
  }
  return true;
}

Value f_contains(CallContext& c, Args a) {
  if (!two_lists(a)) return no_overload(c, a);
  return Value::boolean(holds(c, a[0], a[1]));
}
Value f_equivalent(CallContext& c, Args a) {
  if (!two_lists(a)) return no_overload(c, a);
  return Value::boolean(holds(c, a[0], a[1]) && holds(c, a[1], a[0]));
}
Value f_intersects(CallContext& c, Args a) {
  if (!two_lists(a)) return no_overload(c, a);
  Set set(c, a[0]);
  for (const Value& v : a[1].as_list()) {
    if (set.has(v)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

constexpr Function table[] = {
    {"sets.contains", false, false, 2, 2, "L,L>b", "whether a list has all items of another",
     f_contains},
    {"sets.equivalent", false, false, 2, 2, "L,L>b", "whether two lists have the same items",
     f_equivalent},
    {"sets.intersects", false, false, 2, 2, "L,L>b", "whether two lists have an item in common",
     f_intersects},
};

}  // namespace

std::span<const Function> set_functions() { return table; }

}  // namespace kflow::cel
