// StaticType: the types of CEL's checker, with type variables and what they stand for.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::cel {

enum class StaticKind : uint8_t {
  error,  ///< of what was reported already; assignable to and from everything
  dyn,
  null,
  boolean,
  int_,
  uint_,
  double_,
  string,
  bytes,
  timestamp,
  duration,
  type,      ///< args: none, or the type it is the type of
  list,      ///< args: element
  map,       ///< args: key, value
  wrapper,   ///< args: a primitive type, which may also be null
  opaque,    ///< `name` with args: optional_type(T), net.IP, types of an environment
  variable,  ///< a type variable; `name` if it is a parameter of a declaration
};

using StaticType = uint32_t;  ///< id in a TypeStore

/// Most parts of a type when it is written out; a larger one becomes dyn. Sharing would let a short
/// text have a type of any size.
inline constexpr uint32_t max_type_parts = 2'000;

/// Types by id. A store may stand on another one that is complete and outlives it: ids of the base
/// are valid here too. Not shared between threads, except as a base.
class TypeStore {
 public:
  explicit TypeStore(const TypeStore* base = nullptr);

  static constexpr StaticType simple(StaticKind kind) { return static_cast<StaticType>(kind); }
  StaticType type_of(StaticType t) { return make(StaticKind::type, {t}); }
  StaticType list(StaticType element) { return make(StaticKind::list, {element}); }
  StaticType map(StaticType key, StaticType value) { return make(StaticKind::map, {key, value}); }
  StaticType wrapper(StaticType t) { return make(StaticKind::wrapper, {t}); }
  StaticType optional(StaticType t);
  StaticType opaque(std::string name, std::span<const StaticType> args);
  StaticType fresh_variable();
  StaticType parameter(std::string name);
  /// The same type with other arguments.
  StaticType rebuild(StaticType t, std::span<const StaticType> args) {
    return make(kind(t), args, node(t).name);
  }

  StaticKind kind(StaticType t) const { return node(t).kind; }
  StaticType arg(StaticType t, uint32_t i) const;
  uint32_t arg_count(StaticType t) const { return node(t).count; }
  /// Of opaque types and of parameters; "" otherwise.
  std::string_view name(StaticType t) const {
    return node(t).fresh ? std::string_view() : name_text(node(t).name);
  }
  bool is_optional(StaticType t) const;
  /// The number of a variable, from 0 in each store.
  uint32_t variable(StaticType t) const { return node(t).name; }
  uint32_t variables() const { return variables_; }
  /// Same structure; a variable is equal only to itself.
  bool equal(StaticType a, StaticType b) const;

  /// `list(map(string,dyn))`, as the conformance data writes types.
  std::string text(StaticType t) const;

 private:
  struct Node {
    StaticKind kind = StaticKind::error;
    bool fresh = false;  ///< a variable without a name; `name` is its number
    uint32_t name = 0;
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t weight = 1;  ///< parts when written out
  };
  const Node& node(StaticType t) const {
    return t < offset_ ? base_->node(t) : nodes_[t - offset_];
  }
  StaticType make(StaticKind kind, std::initializer_list<StaticType> args, uint32_t name = 0);
  StaticType make(StaticKind kind, std::span<const StaticType> args, uint32_t name);
  std::string_view name_text(uint32_t name) const;
  uint32_t name_id(std::string_view text);

  const TypeStore* base_;
  uint32_t offset_ = 0;
  uint32_t name_offset_ = 0;
  uint32_t variables_ = 0;
  std::vector<Node> nodes_;
  std::vector<StaticType> args_;
  std::vector<std::string> names_;
};

/// Reads a type as the conformance data writes it; `<T>` and, with `bare_parameters`, single
/// capital letters are parameters. nullopt: malformed.
std::optional<StaticType> parse_type(TypeStore& store, std::string_view text,
                                     bool bare_parameters = false);

/// What type variables stand for, with the way back after an attempt that failed.
class Substitution {
 public:
  explicit Substitution(TypeStore& store) : store_(store) {}

  /// Whether a value of type `from` may stand where `to` is wanted; binds variables if so, and
  /// changes nothing if not.
  bool assign(StaticType from, StaticType to);
  /// All of them, or none.
  bool assign_all(std::span<const StaticType> from, std::span<const StaticType> to);
  /// The type with every bound variable replaced; `unbound_to_dyn`: the others by dyn.
  StaticType apply(StaticType t, bool unbound_to_dyn = false);
  /// The more general of two types of which the first is assignable to the second.
  StaticType more_general(StaticType a, StaticType b) const;

 private:
  struct Change {
    uint32_t variable;
    std::optional<StaticType> before;
  };
  std::optional<StaticType> find(StaticType variable) const;
  void bind(StaticType variable, StaticType to);
  void roll_back(size_t mark);
  bool assignable(StaticType from, StaticType to);
  bool null_assignable(StaticType to) const;
  // Whether `other` may stand for the variable; the second: whether the variable is bound.
  std::pair<bool, bool> substitutable(StaticType other, StaticType variable);
  bool occurs(StaticType variable, StaticType in) const;
  bool less_specific(StaticType a, StaticType b) const;

  TypeStore& store_;
  std::vector<std::optional<StaticType>> bound_;
  std::vector<Change> trail_;
};

}  // namespace kflow::cel
