// The callables that come with the language (language.md §7): one row each, for the checker, the
// machine and the activities.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::ir {

struct BuiltinParam {
  std::string_view name;
  std::string_view type;  ///< as the language writes it
  bool required = true;
  std::string_view fallback;  ///< shown in documents; applied by the activity
};

struct Builtin {
  std::string_view name;
  std::span<const BuiltinParam> params;
  std::string_view result;  ///< type, as the language writes it
  bool idempotent = false;  ///< may be repeated: the default retry policy holds
  std::string_view doc;
};

const Builtin* find_builtin(std::string_view name);
std::span<const Builtin> all_builtins();

}  // namespace kflow::ir
