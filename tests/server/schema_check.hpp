// Whether a JSON value is as a schema of the OpenAPI document says: the part of JSON Schema that it
// uses.
#pragma once

#include <string>

#include "compiler/cel/value.hpp"

namespace kflow::test {

/// "": it fits. Else the path, and what does not.
std::string check_schema(const cel::Value& document, const cel::Value& schema,
                         const cel::Value& value, const std::string& path = "$");

}  // namespace kflow::test
