// Which types have a secret in them.
#pragma once

#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {

/// Whether a value of the type is, may be, or has inside it a secret. Such a value goes only where
/// the type wants a secret at the same place.
bool holds_secret(const TypeTable& types, TypeId type);

}  // namespace kflow::schema
