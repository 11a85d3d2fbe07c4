// Types as JSON Schema (draft 2020-12): what models, forms and clients of the API are told.
#pragma once

#include <span>
#include <string>

#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {

struct SchemaOptions {
  bool aliases = false;  ///< fields under their @alias, as models see them
  int indent = -1;       ///< compact
};

/// The schema of a type as JSON text. Declared records and unions stand in `$defs`, so that they
/// may refer to themselves. What a schema cannot say (`@check`) stands in a description.
std::string json_schema(const TypeTable& types, TypeId type, const SchemaOptions& options = {});

/// The schema of an object with these fields (the parameters of a callable).
std::string json_schema(const TypeTable& types, std::span<const Field> fields,
                        const SchemaOptions& options = {});

}  // namespace kflow::schema
