// JSON Schema, as much as there is in openapi.json.
#include "tests/server/schema_check.hpp"

#include <algorithm>

#include "tests/server/served.hpp"

namespace kflow::test {
namespace {

const cel::Value* member(const cel::Value& record, std::string_view name) {
  return record.kind() == cel::Kind::map ? record.find(name) : nullptr;
}

bool is_of(const cel::Value& value, std::string_view type) {
  const cel::Kind kind = value.kind();
  if (type == "null") return kind == cel::Kind::null;
  if (type == "boolean") return kind == cel::Kind::boolean;
  if (type == "string") return kind == cel::Kind::string;
  if (type == "array") return kind == cel::Kind::list;
  if (type == "object") return kind == cel::Kind::map;
  const bool integer = kind == cel::Kind::int_ || kind == cel::Kind::uint_;
  return integer || (type == "number" && kind == cel::Kind::double_);
}

std::string check_type(const cel::Value& type, const cel::Value& value, const std::string& path) {
  if (type.kind() == cel::Kind::string)
    return is_of(value, type.as_string()) ? "" : path + " is no " + std::string(type.as_string());
  for (const cel::Value& one : type.as_list()) {
    if (is_of(value, one.as_string())) return "";
  }
  return path + " is none of " + cel::to_json(type);
}

}  // namespace

std::string check_schema(const cel::Value& document, const cel::Value& schema,
                         const cel::Value& value, const std::string& path) {
  if (const cel::Value* ref = member(schema, "$ref")) {
    const std::string name(ref->as_string().substr(ref->as_string().rfind('/') + 1));
    const cel::Value* target = member(*member(*member(document, "components"), "schemas"), name);
    if (target == nullptr) return path + ": there is no schema " + name;
    return check_schema(document, *target, value, path);
  }
  if (const cel::Value* all = member(schema, "allOf")) {
    for (const cel::Value& one : all->as_list()) {
      if (auto what = check_schema(document, one, value, path); !what.empty()) return what;
    }
  }
  if (const cel::Value* type = member(schema, "type")) {
    if (auto what = check_type(*type, value, path); !what.empty()) return what;
  }
  if (const cel::Value* choices = member(schema, "enum")) {
    const auto list = choices->as_list();
    if (std::none_of(list.begin(), list.end(),
                     [&](const cel::Value& c) { return cel::to_json(c) == cel::to_json(value); }))
      return path + " is none of " + cel::to_json(*choices);
  }
  if (value.kind() == cel::Kind::map) {
    if (const cel::Value* required = member(schema, "required")) {
      for (const cel::Value& name : required->as_list()) {
        if (value.find(name.as_string()) == nullptr)
          return path + " has no " + std::string(name.as_string());
      }
    }
    if (const cel::Value* properties = member(schema, "properties")) {
      for (const cel::MapEntry& e : properties->as_map()) {
        const std::string name(e.key.as_string());
        const cel::Value* found = value.find(name);
        if (found == nullptr) continue;
        if (auto what = check_schema(document, e.value, *found, path + "." + name); !what.empty())
          return what;
      }
    }
  }
  const cel::Value* items = member(schema, "items");
  if (items != nullptr && value.kind() == cel::Kind::list) {
    size_t i = 0;
    for (const cel::Value& item : value.as_list()) {
      const std::string at = path + "[" + std::to_string(i++) + "]";
      if (auto what = check_schema(document, *items, item, at); !what.empty()) return what;
    }
  }
  return "";
}

}  // namespace kflow::test
