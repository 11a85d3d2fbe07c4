// Declarations: what CEL's checker knows of names: functions with their overloads, and variables.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/cel/front/static_type.hpp"
#include "compiler/cel/program.hpp"

namespace kflow::cel {

struct Overload {
  bool member = false;
  bool generic = false;            ///< has type parameters, to be made anew for each call
  std::vector<StaticType> params;  ///< receiver first
  StaticType result = 0;
};
using Overloads = std::vector<Overload>;

/// Immutable while it is used for checking. One that stands on a base adds to it; the base outlives
/// it.
class Declarations {
 public:
  explicit Declarations(const Declarations* base = nullptr);

  /// `signature`: `(int,list(A))A`, with a dot in front for receiver style. False: malformed.
  bool add_function(const std::string& name, std::string_view signature);
  void add_function(const std::string& name, Overload overload);
  void add_variable(std::string name, StaticType type) { variables_[std::move(name)] = type; }

  /// Calls `use` with each overload of a name; gives whether the name is declared.
  template <typename Use>
  bool each_overload(std::string_view name, Use use) const {
    bool found = base_ != nullptr && base_->each_overload(name, use);
    const auto it = functions_.find(name);
    if (it == functions_.end()) return found;
    for (const Overload& o : it->second) use(o);
    return true;
  }
  bool has_function(std::string_view name) const {
    return functions_.contains(name) || (base_ != nullptr && base_->has_function(name));
  }
  std::optional<StaticType> variable(std::string_view name) const;
  /// Those declared here, not in the base.
  const Overloads* find(std::string_view name) const;

  TypeStore& types() { return types_; }
  const TypeStore& types() const { return types_; }
  /// Names of all functions, for tests.
  std::vector<std::string> function_names() const;

 private:
  const Declarations* base_;
  TypeStore types_;
  std::map<std::string, Overloads, std::less<>> functions_;
  std::map<std::string, StaticType, std::less<>> variables_;
};

/// CEL's own, with the extension libraries.
const Declarations& standard_declarations();
/// Of an operator; `optional`: `[?]` rather than `[]`. Their types are those of the standard
/// declarations.
const Overloads& operator_overloads(OpCode code, bool optional = false);

}  // namespace kflow::cel
