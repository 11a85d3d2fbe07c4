// JSON Schema → types: what the schemas of others (tools of MCP servers) mean in the language.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {

/// Deepest nesting of a schema that is followed; what lies deeper is `any`.
inline constexpr size_t max_schema_depth = 50;
/// Most parts of a schema that are looked at, references followed: a small schema can unfold into a
/// huge one.
inline constexpr size_t max_schema_parts = 10'000;

struct ImportedType {
  TypeId type;
  std::vector<Constraint> constraints;  ///< of the value itself
  std::vector<std::string> notes;       ///< what the types cannot say: `path: why it is any`
};

/// A parameter of an imported object.
struct ImportedField {
  Field field;  ///< named as the language has it; `alias` is the schema's name if that differs
  bool required = false;
};
struct ImportedObject {
  /// False: its keys are not known; it is one map.
  bool has_fields = true;
  std::vector<ImportedField> fields;
  std::vector<std::string> notes;
};

/// The type of a JSON Schema (2020-12 or draft 7). What has no counterpart is `any`, with a note.
/// A property that may be left out becomes a nullable field whose default is null. References
/// within the document are followed, others never. `name` is that of a record that refers to
/// itself. With `defaults` a property's own default is the field's; without, nothing is sent for a
/// property that nobody gave.
ImportedType import_schema(TypeTable& types, const cel::Value& schema, std::string_view name,
                           bool defaults = false);
/// The properties of an object's schema, as parameters.
ImportedObject import_object(TypeTable& types, const cel::Value& schema, std::string_view name);

/// A name of the schema as an identifier of the language: other characters become `_`.
std::string identifier_of(std::string_view name);

/// A value of `type` as the schema that the type was imported from has it: fields under their
/// schema's names, and without those that are null because they were left out.
cel::Value to_wire(const TypeTable& types, TypeId type, const cel::Value& value);
/// The arguments of a call, named as the language has them, as the object that `schema` describes;
/// their types are those of `fields` (name and type).
cel::Value arguments_to_wire(const TypeTable& types, const cel::Value& schema,
                             const std::vector<std::pair<std::string, TypeId>>& fields,
                             const cel::Value& arguments);
/// `value` without the fields that `type` has no place for: a schema that does not forbid them
/// allows them.
cel::Value without_unknown(const TypeTable& types, TypeId type, const cel::Value& value);

/// A JSON value with the keys of all objects sorted, compact: equal texts ⇔ equal values.
std::string canonical_json(const cel::Value& value);

}  // namespace kflow::schema
