// Types by id, assignability and unification: the rules of §13 of the conformance data's README.
#include "compiler/cel/front/static_type.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace kflow::cel {
namespace {

constexpr std::string_view optional_name = "optional_type";
/// Deepest nesting of a type that is read from text.
constexpr int max_type_depth = 64;

constexpr std::array<std::string_view, 12> simple_names = {
    "error",  "dyn",    "null_type", "bool",      "int",      "uint",
    "double", "string", "bytes",     "timestamp", "duration", "type"};
constexpr auto simple_count = static_cast<uint32_t>(simple_names.size());

bool is_primitive(StaticKind k) { return k >= StaticKind::boolean && k <= StaticKind::bytes; }

}  // namespace

TypeStore::TypeStore(const TypeStore* base) : base_(base) {
  if (base != nullptr) {
    offset_ = base->offset_ + static_cast<uint32_t>(base->nodes_.size());
    name_offset_ = base->name_offset_ + static_cast<uint32_t>(base->names_.size());
    return;
  }
  names_.emplace_back();
  names_.emplace_back(optional_name);
  for (uint32_t k = 0; k < simple_count; ++k)
    nodes_.push_back({.kind = static_cast<StaticKind>(k)});
}

StaticType TypeStore::make(StaticKind kind, std::initializer_list<StaticType> args, uint32_t name) {
  return make(kind, std::span(args.begin(), args.size()), name);
}

StaticType TypeStore::make(StaticKind kind, std::span<const StaticType> args, uint32_t name) {
  uint32_t weight = 1;
  for (const StaticType a : args) weight += node(a).weight;
  if (weight > max_type_parts) return simple(StaticKind::dyn);
  const auto first = static_cast<uint32_t>(args_.size());
  args_.insert(args_.end(), args.begin(), args.end());
  nodes_.push_back({.kind = kind,
                    .name = name,
                    .first = first,
                    .count = static_cast<uint32_t>(args.size()),
                    .weight = weight});
  return offset_ + static_cast<StaticType>(nodes_.size() - 1);
}

StaticType TypeStore::optional(StaticType t) { return make(StaticKind::opaque, {t}, 1); }

StaticType TypeStore::opaque(std::string name, std::span<const StaticType> args) {
  return make(StaticKind::opaque, args, name_id(name));
}

StaticType TypeStore::fresh_variable() {
  nodes_.push_back({.kind = StaticKind::variable, .fresh = true, .name = variables_++});
  return offset_ + static_cast<StaticType>(nodes_.size() - 1);
}

StaticType TypeStore::parameter(std::string name) {
  return make(StaticKind::variable, std::span<const StaticType>(), name_id(name));
}

StaticType TypeStore::arg(StaticType t, uint32_t i) const {
  return t < offset_ ? base_->arg(t, i) : args_[nodes_[t - offset_].first + i];
}

std::string_view TypeStore::name_text(uint32_t name) const {
  return name < name_offset_ ? base_->name_text(name)
                             : std::string_view(names_[name - name_offset_]);
}

uint32_t TypeStore::name_id(std::string_view text) {
  for (uint32_t i = 0; i < name_offset_ + names_.size(); ++i) {
    if (name_text(i) == text) return i;
  }
  names_.emplace_back(text);
  return name_offset_ + static_cast<uint32_t>(names_.size() - 1);
}

bool TypeStore::is_optional(StaticType t) const {
  const Node& n = node(t);
  return n.kind == StaticKind::opaque && n.name == 1 && n.count == 1;
}

bool TypeStore::equal(StaticType a, StaticType b) const {
  if (a == b) return true;
  const Node& x = node(a);
  const Node& y = node(b);
  if (x.kind != y.kind || x.name != y.name || x.count != y.count || x.fresh != y.fresh)
    return false;
  for (uint32_t i = 0; i < x.count; ++i) {
    if (!equal(arg(a, i), arg(b, i))) return false;
  }
  return true;
}

std::string TypeStore::text(StaticType t) const {
  const Node& n = node(t);
  std::string out;
  switch (n.kind) {
    case StaticKind::list:
      out = "list";
      break;
    case StaticKind::map:
      out = "map";
      break;
    case StaticKind::wrapper:
      out = "wrapper";
      break;
    case StaticKind::opaque:
      out = name_text(n.name);
      break;
    case StaticKind::variable:
      return n.fresh ? "_" : "<" + std::string(name_text(n.name)) + ">";
    default:
      out = simple_names[static_cast<size_t>(n.kind)];
  }
  if (n.count == 0) return out;
  for (uint32_t i = 0; i < n.count; ++i) out.append(i == 0 ? "(" : ",").append(text(arg(t, i)));
  return out + ")";
}

// ---- reading types

namespace {

class TypeReader {
 public:
  TypeReader(TypeStore& store, std::string_view text, bool bare)
      : store_(store), rest_(text), bare_(bare) {}

  std::optional<StaticType> all() {
    const auto t = type(0);
    return t && rest_.empty() ? t : std::nullopt;
  }

 private:
  bool eat(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view word() {
    const size_t end = std::min(rest_.find_first_of("(),<> "), rest_.size());
    const std::string_view out = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return out;
  }

  std::optional<StaticType> type(int depth) {
    if (depth > max_type_depth) return std::nullopt;
    if (eat('<')) {
      const std::string_view name = word();
      if (name.empty() || !eat('>')) return std::nullopt;
      return store_.parameter(std::string(name));
    }
    const std::string_view name = word();
    if (name.empty()) return std::nullopt;
    std::vector<StaticType> args;
    if (eat('(')) {
      do {
        const auto t = type(depth + 1);
        if (!t) return std::nullopt;
        args.push_back(*t);
      } while (eat(','));
      if (!eat(')')) return std::nullopt;
    }
    return named(name, args);
  }

  std::optional<StaticType> named(std::string_view name, const std::vector<StaticType>& args) {
    if (bare_ && args.empty() && name.size() == 1 && name[0] >= 'A' && name[0] <= 'Z')
      return store_.parameter(std::string(name));
    const auto dyn = TypeStore::simple(StaticKind::dyn);
    const size_t n = args.size();
    if (name == "list" && n <= 1) return store_.list(n == 1 ? args[0] : dyn);
    if (name == "map" && (n == 0 || n == 2))
      return store_.map(n == 2 ? args[0] : dyn, n == 2 ? args[1] : dyn);
    if (name == "wrapper" && n == 1) return store_.wrapper(args[0]);
    if (name == "type" && n == 1) return store_.type_of(args[0]);
    if (name == optional_name && n == 0) return store_.optional(dyn);
    if (n == 0) {
      // The names that the data's README gives beside those of the types themselves.
      if (name == "null") return TypeStore::simple(StaticKind::null);
      if (name == "google.protobuf.Timestamp") return TypeStore::simple(StaticKind::timestamp);
      if (name == "google.protobuf.Duration") return TypeStore::simple(StaticKind::duration);
      for (uint32_t k = 1; k < simple_count; ++k) {
        if (simple_names[k] == name) return static_cast<StaticType>(k);
      }
    }
    return store_.opaque(std::string(name), args);
  }

  TypeStore& store_;
  std::string_view rest_;
  bool bare_;
};

}  // namespace

std::optional<StaticType> parse_type(TypeStore& store, std::string_view text,
                                     bool bare_parameters) {
  return TypeReader(store, text, bare_parameters).all();
}

// ---- substitution

std::optional<StaticType> Substitution::find(StaticType variable) const {
  const uint32_t v = store_.variable(variable);
  return v < bound_.size() ? bound_[v] : std::nullopt;
}

void Substitution::bind(StaticType variable, StaticType to) {
  const uint32_t v = store_.variable(variable);
  if (v >= bound_.size()) bound_.resize(store_.variables());
  trail_.push_back({v, bound_[v]});
  bound_[v] = to;
}

void Substitution::roll_back(size_t mark) {
  while (trail_.size() > mark) {
    bound_[trail_.back().variable] = trail_.back().before;
    trail_.pop_back();
  }
}

bool Substitution::assign(StaticType from, StaticType to) {
  return assign_all({&from, 1}, {&to, 1});
}

bool Substitution::assign_all(std::span<const StaticType> from, std::span<const StaticType> to) {
  if (from.size() != to.size()) return false;
  const size_t mark = trail_.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (assignable(from[i], to[i])) continue;
    roll_back(mark);
    return false;
  }
  return true;
}

bool Substitution::assignable(StaticType from, StaticType to) {
  const StaticKind a = store_.kind(from);
  const StaticKind b = store_.kind(to);
  if (b == StaticKind::variable) {
    const auto [valid, bound] = substitutable(from, to);
    if (valid) return true;
    if (bound) return false;
  }
  if (a == StaticKind::variable) return substitutable(to, from).first;
  if (a <= StaticKind::dyn || b <= StaticKind::dyn) return true;
  if (a == StaticKind::null) return null_assignable(to);
  if (b == StaticKind::null) return null_assignable(from);
  if (a == StaticKind::wrapper) {
    const StaticType inner = store_.arg(from, 0);
    return b == StaticKind::wrapper ? assignable(inner, store_.arg(to, 0)) : assignable(inner, to);
  }
  if (b == StaticKind::wrapper) return assignable(from, store_.arg(to, 0));
  if (a != b) return false;
  if (a == StaticKind::type || is_primitive(a)) return true;
  if (store_.name(from) != store_.name(to) || store_.arg_count(from) != store_.arg_count(to))
    return false;
  for (uint32_t i = 0; i < store_.arg_count(from); ++i) {
    if (!assignable(store_.arg(from, i), store_.arg(to, i))) return false;
  }
  return true;
}

bool Substitution::null_assignable(StaticType to) const {
  switch (store_.kind(to)) {
    case StaticKind::null:
    case StaticKind::wrapper:
    case StaticKind::timestamp:
    case StaticKind::duration:
    case StaticKind::opaque:
      return true;
    default:
      return false;
  }
}

std::pair<bool, bool> Substitution::substitutable(StaticType other, StaticType variable) {
  if (store_.equal(other, variable)) return {true, true};
  if (const auto known = find(variable)) {
    if (store_.equal(other, *known)) return {true, true};
    if (!assignable(other, *known)) return {false, true};
    const StaticType general = more_general(other, *known);
    if (!occurs(variable, general)) bind(variable, general);
    return {true, true};
  }
  if (occurs(variable, other)) return {false, false};
  bind(variable, other);
  return {true, false};
}

bool Substitution::occurs(StaticType variable, StaticType in) const {
  if (store_.equal(variable, in)) return true;
  if (store_.kind(in) == StaticKind::variable) {
    const auto known = find(in);
    return known && occurs(variable, *known);
  }
  for (uint32_t i = 0; i < store_.arg_count(in); ++i) {
    if (occurs(variable, store_.arg(in, i))) return true;
  }
  return false;
}

// A type with dyn or a variable where the other has something definite.
bool Substitution::less_specific(StaticType a, StaticType b) const {
  const StaticKind x = store_.kind(a);
  const StaticKind y = store_.kind(b);
  if (x <= StaticKind::dyn || x == StaticKind::variable) return true;
  if (y <= StaticKind::dyn || y == StaticKind::variable) return false;
  if (x == StaticKind::wrapper && y != StaticKind::wrapper) return true;
  if (y == StaticKind::null && x != StaticKind::null) return true;
  if (x != y || store_.name(a) != store_.name(b) || store_.arg_count(a) != store_.arg_count(b))
    return false;
  if (x == StaticKind::type) return true;
  for (uint32_t i = 0; i < store_.arg_count(a); ++i) {
    if (!less_specific(store_.arg(a, i), store_.arg(b, i))) return false;
  }
  return true;
}

StaticType Substitution::more_general(StaticType a, StaticType b) const {
  return less_specific(a, b) ? a : b;
}

StaticType Substitution::apply(StaticType t, bool unbound_to_dyn) {
  if (store_.kind(t) == StaticKind::variable) {
    if (const auto known = find(t)) return apply(*known, unbound_to_dyn);
    return unbound_to_dyn ? TypeStore::simple(StaticKind::dyn) : t;
  }
  const uint32_t n = store_.arg_count(t);
  if (n == 0) return t;
  constexpr uint32_t few = 4;
  std::array<StaticType, few> few_args{};
  std::vector<StaticType> many(n > few ? n : 0);
  StaticType* args = n > few ? many.data() : few_args.data();
  bool changed = false;
  for (uint32_t i = 0; i < n; ++i) {
    args[i] = apply(store_.arg(t, i), unbound_to_dyn);
    changed |= args[i] != store_.arg(t, i);
  }
  if (!changed) return t;
  return store_.rebuild(t, {args, n});
}

}  // namespace kflow::cel
