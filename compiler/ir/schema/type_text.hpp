// Types as declarations of the language.
#pragma once

#include <string>
#include <string_view>

#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {

/// `type NAME …` for a type, with `doc` unless it has its own, preceded by the declarations of the
/// named types it is made of.
std::string declarations(const TypeTable& types, TypeId type, std::string_view name,
                         std::string_view doc = "");

}  // namespace kflow::schema
