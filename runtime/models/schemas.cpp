// Schemas as providers take them: strict where they can be, and plain.
#include <algorithm>
#include <array>

#include "compiler/cel/value_codec.hpp"
#include "runtime/models/wire.hpp"

namespace kflow::models {
namespace {

constexpr std::array<std::string_view, 14> rules{
    "minimum",     "maximum",       "minLength",       "maxLength",       "minItems",
    "maxItems",    "minProperties", "pattern",         "format",          "maxProperties",
    "uniqueItems", "multipleOf",    "contentEncoding", "exclusiveMinimum"};

bool dropped(std::string_view key) { return key == "$schema" || key == "default"; }

/// Rewrites a schema; `strict_` turns false where it cannot be strict.
class SchemaWriter {
 public:
  SchemaWriter(bool strict) : strict_(strict) {}
  bool possible = true;

  std::string take() { return out_.take(); }

  void schema(const Value& v, bool nullable = false) {
    if (v.kind() != cel::Kind::map) {
      possible = possible && !strict_;
      return out_.raw(cel::to_json(v));
    }
    if (strict_ && nullable && !accepts_null(v)) {
      out_.begin_object();
      out_.key("anyOf");
      out_.begin_array();
      schema(v);
      out_.begin_object();
      out_.key("type"), out_.string("null");
      out_.end_object();
      out_.end_array();
      return out_.end_object();
    }
    out_.begin_object();
    std::string notes;
    bool says_something = false;
    for (const cel::MapEntry& e : v.as_map()) {
      if (e.key.kind() != cel::Kind::string) continue;
      const std::string_view key = e.key.as_string();
      if (dropped(key)) continue;
      says_something = says_something || key != "description";
      if (strict_ && std::ranges::find(rules, key) != rules.end()) {
        notes += (notes.empty() ? "" : ", ") + std::string(key) + " " + cel::to_json(e.value);
        continue;
      }
      if (strict_ && (key == "description" || key == "required")) continue;
      member(key, e.value, v);
    }
    if (!says_something) possible = possible && !strict_;  // any value
    if (strict_) {
      const Value* description = v.find("description");
      std::string text = description != nullptr && description->kind() == cel::Kind::string
                             ? std::string(description->as_string())
                             : std::string();
      if (!notes.empty()) text += (text.empty() ? "" : " ") + std::string("(") + notes + ")";
      if (!text.empty()) out_.key("description"), out_.string(text);
    }
    out_.end_object();
  }

 private:
  static bool accepts_null(const Value& v) {
    const Value* any = v.find("anyOf");
    for (const Value& arm : items(any)) {
      const Value* type = at(arm, "type");
      if (type != nullptr && type->kind() == cel::Kind::string && type->as_string() == "null")
        return true;
    }
    return false;
  }

  void member(std::string_view key, const Value& value, const Value& owner) {
    out_.key(key);
    if (key == "properties") {
      const Value* required = owner.find("required");
      std::vector<std::string> names;
      out_.begin_object();
      for (const cel::MapEntry& e :
           value.kind() == cel::Kind::map ? value.as_map() : std::span<const cel::MapEntry>()) {
        const std::string name(e.key.as_string());
        const bool needed = std::ranges::any_of(items(required), [&](const Value& r) {
          return r.kind() == cel::Kind::string && r.as_string() == name;
        });
        out_.key(name);
        schema(e.value, !needed);
        names.push_back(name);
      }
      out_.end_object();
      if (!strict_) return;
      out_.key("required");
      out_.begin_array();
      for (const std::string& name : names) out_.string(name);
      out_.end_array();
    } else if (key == "$defs") {
      out_.begin_object();
      for (const cel::MapEntry& e : value.as_map()) {
        out_.key(e.key.as_string());
        schema(e.value);
      }
      out_.end_object();
    } else if (key == "items") {
      schema(value);
    } else if (key == "anyOf") {
      out_.begin_array();
      for (const Value& arm : items(&value)) schema(arm);
      out_.end_array();
    } else {
      if (key == "additionalProperties" && value.kind() != cel::Kind::boolean)
        possible = possible && !strict_;
      out_.raw(cel::to_json(value));
    }
  }

  bool strict_;
  JsonWriter out_;
};

}  // namespace

std::optional<std::string> strict_schema(std::string_view text) {
  SchemaWriter writer(true);
  writer.schema(read_json(text));
  if (!writer.possible) return std::nullopt;
  return writer.take();
}

std::string plain_schema(std::string_view text) {
  SchemaWriter writer(false);
  writer.schema(read_json(text));
  return writer.take();
}

}  // namespace kflow::models
