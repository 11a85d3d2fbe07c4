// JSON Schema → types.
#include "compiler/ir/schema/import_schema.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "compiler/cel/functions.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::schema {
namespace {

using cel::Kind;
using cel::Value;

// The largest integers that JavaScript keeps exactly: what its schema writers say of any integer.
constexpr int64_t safe_integer = 9'007'199'254'740'991;

const Value* find(const Value& v, std::string_view key) {
  return v.kind() == Kind::map ? v.find(key) : nullptr;
}
std::string_view text_of(const Value* v) {
  return v != nullptr && v->kind() == Kind::string ? v->as_string() : std::string_view();
}
bool is_false(const Value* v) {
  return v != nullptr && v->kind() == Kind::boolean && !v->as_bool();
}
bool is_map(const Value* v) { return v != nullptr && v->kind() == Kind::map; }
bool is_list(const Value* v) { return v != nullptr && v->kind() == Kind::list; }

class Importer {
 public:
  Importer(TypeTable& types, const Value& root, std::string_view name, bool defaults = false)
      : types_(types), root_(root), name_(name), defaults_(defaults) {}

  ImportedType type(const Value& schema) {
    ImportedType out;
    out.type = import(schema, "", &out.constraints);
    out.notes = std::move(notes_);
    return out;
  }

  ImportedObject object(const Value& schema) {
    ImportedObject out;
    const Value* target = &schema;
    for (int hops = 0; hops < 8 && find(*target, "$ref") != nullptr; ++hops) {
      const Value* next = resolve(text_of(find(*target, "$ref")));
      if (next == nullptr) break;
      target = next;
    }
    const Value* properties = find(*target, "properties");
    const Value* additional = find(*target, "additionalProperties");
    const bool composed = find(*target, "anyOf") != nullptr || find(*target, "oneOf") != nullptr ||
                          find(*target, "allOf") != nullptr || find(*target, "$ref") != nullptr ||
                          find(*target, "patternProperties") != nullptr;
    const bool open = is_map(additional) || (additional != nullptr && !is_false(additional));
    if (composed || (!is_map(properties) && open)) {
      if (composed) note("", "alternatives of objects");
      out.has_fields = false;
    } else if (is_map(properties)) {
      out.fields = fields(*target, *properties, "");
    }
    out.notes = std::move(notes_);
    return out;
  }

 private:
  static TypeId simple(TypeKind kind) { return TypeTable::simple(kind); }

  TypeId any(const std::string& path, std::string_view why) {
    note(path, why);
    return simple(TypeKind::any);
  }
  void note(const std::string& path, std::string_view why) {
    notes_.push_back((path.empty() ? std::string(why) : path + ": " + std::string(why)));
  }

  // A JSON pointer within the document (`#/$defs/Node`).
  const Value* resolve(std::string_view reference) const {
    if (!reference.starts_with('#')) return nullptr;
    const Value* at = &root_;
    reference.remove_prefix(1);
    while (!reference.empty()) {
      reference.remove_prefix(1);
      const size_t end = std::min(reference.find('/'), reference.size());
      std::string key(reference.substr(0, end));
      reference.remove_prefix(end);
      for (const auto& [from, to] : {std::pair("~1", "/"), std::pair("~0", "~")}) {
        for (size_t i = 0; (i = key.find(from, i)) != std::string::npos; ++i) key.replace(i, 2, to);
      }
      if (at->kind() == Kind::list) {
        size_t index = 0;
        for (const char c : key)
          index = c >= '0' && c <= '9' ? index * 10 + static_cast<size_t>(c - '0') : SIZE_MAX / 20;
        if (key.empty() || index >= at->as_list().size()) return nullptr;
        at = &at->as_list()[index];
      } else {
        at = find(*at, key);
      }
      if (at == nullptr) return nullptr;
    }
    return at;
  }

  TypeId import(const Value& schema, const std::string& path, std::vector<Constraint>* rules) {
    if (schema.kind() == Kind::boolean) return simple(TypeKind::any);
    if (schema.kind() != Kind::map) return any(path, "not a schema");
    if (++parts_ > max_schema_parts || depth_ >= max_schema_depth)
      return any(path, "nested too deeply");
    ++depth_;
    TypeId out = content(schema, path, rules);
    --depth_;
    if (const Value* null = find(schema, "nullable");
        null != nullptr && null->kind() == Kind::boolean && null->as_bool())
      out = types_.nullable(out);
    return out;
  }

  TypeId content(const Value& schema, const std::string& path, std::vector<Constraint>* rules) {
    if (const Value* reference = find(schema, "$ref")) return referred(text_of(reference), path);
    if (const Value* constant = find(schema, "const"))
      return literals(std::span(constant, 1), path);
    if (const Value* values = find(schema, "enum"); is_list(values))
      return literals(values->as_list(), path);
    for (const char* word : {"anyOf", "oneOf"}) {
      if (const Value* arms = find(schema, word); is_list(arms) && !arms->as_list().empty())
        return alternatives(arms->as_list(), path, rules);
    }
    if (const Value* parts = find(schema, "allOf"); is_list(parts)) {
      if (parts->as_list().size() == 1) return import(parts->as_list()[0], path, rules);
      return any(path, "`allOf`");
    }
    for (const char* word : {"not", "if", "patternProperties", "dependentSchemas"}) {
      if (find(schema, word) != nullptr) note(path, "`" + std::string(word) + "` is not looked at");
    }
    const Value* type = find(schema, "type");
    if (is_list(type)) return several(schema, *type, path, rules);
    const std::string_view name = text_of(type);
    if (name.empty()) {
      if (find(schema, "properties") != nullptr) return one("object", schema, path, rules);
      if (find(schema, "items") != nullptr) return one("array", schema, path, rules);
      return simple(TypeKind::any);
    }
    return one(name, schema, path, rules);
  }

  // Recursive records have a name; what is only shared stands where it is used.
  TypeId referred(std::string_view reference, const std::string& path) {
    const Value* target = resolve(reference);
    if (target == nullptr)
      return any(path, "the reference `" + std::string(reference) + "` leads out of the schema");
    const std::string key(reference);
    if (const auto known = done_.find(key); known != done_.end()) return known->second;
    const auto open = open_.find(key);
    if (open != open_.end()) {
      if (!open->second) {
        const size_t slash = key.rfind('/');
        open->second = types_.declare(
            identifier_of(slash == std::string::npos ? name_ : key.substr(slash + 1)), "");
      }
      return *open->second;
    }
    open_.emplace(key, std::nullopt);
    TypeId out = import(*target, path, nullptr);
    if (const auto declared = open_.at(key)) {
      const Type made = types_[out];
      if (made.kind == TypeKind::record) {
        types_.define(*declared, made);
      } else {
        types_.define(*declared, {.kind = TypeKind::any});
        note(path, "a type that refers to itself and is no record");
      }
      out = *declared;
    }
    open_.erase(key);
    done_[key] = out;
    return out;
  }

  TypeId literals(std::span<const Value> values, const std::string& path) {
    std::vector<Value> kept;
    bool null = false;
    for (const Value& v : values) {
      if (v.is_null()) {
        null = true;
        continue;
      }
      const bool fits =
          v.kind() == Kind::string || v.kind() == Kind::int_ || v.kind() == Kind::boolean;
      if (!fits || (!kept.empty() && kept[0].kind() != v.kind()))
        return any(path, "values of several kinds");
      if (std::find(kept.begin(), kept.end(), v) == kept.end()) kept.push_back(v);
    }
    if (kept.empty()) return simple(TypeKind::null);
    const TypeId out = types_.literals(std::move(kept));
    return null ? types_.nullable(out) : out;
  }

  TypeId alternatives(std::span<const Value> arms, const std::string& path,
                      std::vector<Constraint>* rules) {
    std::vector<const Value*> others;
    bool null = false;
    for (const Value& arm : arms) {
      if (text_of(find(arm, "type")) == "null" ||
          (find(arm, "const") && find(arm, "const")->is_null())) {
        null = true;
      } else {
        others.push_back(&arm);
      }
    }
    TypeId out = simple(TypeKind::null);
    if (others.size() == 1) {
      out = import(*others[0], path, rules);
    } else if (!others.empty()) {
      std::vector<TypeId> types;
      for (const Value* arm : others) types.push_back(import(*arm, path, nullptr));
      out = united(types, path);
    }
    return null && !others.empty() ? types_.nullable(out) : out;
  }

  TypeId united(const std::vector<TypeId>& all, const std::string& path) {
    const bool numbers = std::ranges::all_of(all, [&](TypeId t) {
      return types_[t].kind == TypeKind::int_ || types_[t].kind == TypeKind::double_;
    });
    TypeId joined = numbers ? simple(TypeKind::double_) : all[0];
    for (const TypeId t : all) joined = numbers ? joined : types_.join(joined, t);
    if (types_[joined].kind != TypeKind::any) return joined;
    if (std::ranges::all_of(all, [&](TypeId t) { return types_[t].kind == TypeKind::record; })) {
      for (const Field& f : types_[all[0]].fields) {
        if (!tells_apart(all, f.name)) continue;
        const TypeId holder = types_.declare("", "");
        types_.define(holder,
                      {.kind = TypeKind::record_union, .arms = all, .discriminator = f.name});
        return holder;
      }
    }
    const bool known =
        std::ranges::none_of(all, [&](TypeId t) { return types_[t].kind == TypeKind::any; });
    return known ? any(path, "one of several types") : simple(TypeKind::any);
  }

  // Whether that field is a literal in all records, and different in each.
  bool tells_apart(const std::vector<TypeId>& all, const std::string& name) const {
    std::set<std::string> seen;
    for (const TypeId t : all) {
      const auto& fields = types_[t].fields;
      const auto f = std::ranges::find(fields, name, &Field::name);
      if (f == fields.end() || types_[f->type].kind != TypeKind::literal_union) return false;
      for (const Value& v : types_[f->type].literals) {
        if (!seen.insert(cel::to_json(v)).second) return false;
      }
    }
    return true;
  }

  // `type: ["string", "null"]`.
  TypeId several(const Value& schema, const Value& names, const std::string& path,
                 std::vector<Constraint>* rules) {
    std::vector<std::string_view> others;
    bool null = false;
    for (const Value& v : names.as_list()) {
      if (v.kind() == Kind::string && v.as_string() == "null") {
        null = true;
      } else if (v.kind() == Kind::string) {
        others.push_back(v.as_string());
      }
    }
    TypeId out = simple(TypeKind::null);
    if (others.size() == 1) {
      out = one(others[0], schema, path, rules);
    } else if (!others.empty()) {
      std::vector<TypeId> types;
      for (const std::string_view name : others) types.push_back(one(name, schema, path, nullptr));
      out = united(types, path);
    }
    return null && !others.empty() ? types_.nullable(out) : out;
  }

  TypeId one(std::string_view name, const Value& schema, const std::string& path,
             std::vector<Constraint>* rules) {
    if (name == "null") return simple(TypeKind::null);
    if (name == "boolean") return simple(TypeKind::boolean);
    if (name == "string") return text(schema, path, rules);
    if (name == "integer" || name == "number") {
      range(schema, name == "integer", rules);
      return simple(name == "integer" ? TypeKind::int_ : TypeKind::double_);
    }
    if (name == "array") {
      length(schema, "minItems", "maxItems", rules);
      if (const Value* tuple = find(schema, "prefixItems");
          tuple != nullptr || is_list(find(schema, "items")))
        return types_.list_of(any(path + "[]", "a list with a type for each place"));
      const Value* items = find(schema, "items");
      return types_.list_of(items == nullptr ? simple(TypeKind::any)
                                             : import(*items, path + "[]", nullptr));
    }
    if (name == "object") return object(schema, path, rules);
    return any(path, "the type `" + std::string(name) + "`");
  }

  TypeId text(const Value& schema, const std::string& path, std::vector<Constraint>* rules) {
    const std::string_view format = text_of(find(schema, "format"));
    if (text_of(find(schema, "contentEncoding")) == "base64") return simple(TypeKind::bytes);
    if (format == "date-time") return simple(TypeKind::timestamp);
    length(schema, "minLength", "maxLength", rules);
    if (rules == nullptr) return simple(TypeKind::string);
    if (!format.empty() && is_known_format(format))
      rules->push_back({.kind = Constraint::Kind::format, .text = std::string(format)});
    if (const std::string_view pattern = text_of(find(schema, "pattern")); !pattern.empty()) {
      if (cel::Regex::compile(pattern)) {
        rules->push_back({.kind = Constraint::Kind::pattern, .text = std::string(pattern)});
      } else {
        note(path, "the pattern `" + std::string(pattern) + "` is not checked here");
      }
    }
    return simple(TypeKind::string);
  }

  static void range(const Value& schema, bool integer, std::vector<Constraint>* rules) {
    if (rules == nullptr) return;
    const auto bound = [&](const char* inclusive, const char* exclusive, int64_t step) {
      if (const Value* v = find(schema, inclusive); v != nullptr && v->is_number()) {
        const bool always = v->kind() == Kind::int_ &&
                            (v->as_int() == safe_integer || v->as_int() == -safe_integer);
        return integer && always ? Value() : *v;
      }
      const Value* v = find(schema, exclusive);
      if (v == nullptr || v->kind() != Kind::int_ || !integer) return Value();
      return v->as_int() > -safe_integer && v->as_int() < safe_integer
                 ? Value::integer(v->as_int() + step)
                 : Value();
    };
    Constraint c{.kind = Constraint::Kind::range,
                 .min = bound("minimum", "exclusiveMinimum", 1),
                 .max = bound("maximum", "exclusiveMaximum", -1)};
    if (!c.min.is_null() || !c.max.is_null()) rules->push_back(std::move(c));
  }

  static void length(const Value& schema, const char* least, const char* most,
                     std::vector<Constraint>* rules) {
    if (rules == nullptr) return;
    const auto bound = [&](const char* key) {
      const Value* v = find(schema, key);
      return v != nullptr && v->kind() == Kind::int_ ? *v : Value();
    };
    Constraint c{.kind = Constraint::Kind::length, .min = bound(least), .max = bound(most)};
    if (!c.min.is_null() || !c.max.is_null()) rules->push_back(std::move(c));
  }

  TypeId object(const Value& schema, const std::string& path, std::vector<Constraint>* rules) {
    const Value* properties = find(schema, "properties");
    const Value* additional = find(schema, "additionalProperties");
    if (is_map(properties) && properties->size() > 0) {
      if (is_map(additional) && additional->size() > 0)
        return any(path, "an object with fields and others besides");
      std::vector<Field> out;
      for (ImportedField& f : fields(schema, *properties, path)) out.push_back(std::move(f.field));
      return types_.record(std::move(out));
    }
    if (is_false(additional)) return types_.record({});
    length(schema, "minProperties", "maxProperties", rules);
    return types_.map_of(is_map(additional) ? import(*additional, path + "{}", nullptr)
                                            : simple(TypeKind::any));
  }

  std::vector<ImportedField> fields(const Value& schema, const Value& properties,
                                    const std::string& path) {
    std::set<std::string> required;
    if (const Value* names = find(schema, "required"); is_list(names)) {
      for (const Value& v : names->as_list()) {
        if (v.kind() == Kind::string) required.insert(std::string(v.as_string()));
      }
    }
    std::vector<ImportedField> out;
    std::set<std::string> taken;
    for (const cel::MapEntry& e : properties.as_map()) {
      const std::string wire(e.key.as_string());
      ImportedField f;
      f.required = required.contains(wire);
      f.field.name = identifier_of(wire);
      for (int n = 2; !taken.insert(f.field.name).second; ++n)
        f.field.name = identifier_of(wire) + "_" + std::to_string(n);
      if (f.field.name != wire) f.field.alias = wire;
      f.field.doc = text_of(find(e.value, "description"));
      f.field.type = import(e.value, path.empty() ? wire : path + "." + wire, &f.field.constraints);
      if (!f.required && !own_default(e.value, f.field)) {
        f.field.type = types_.nullable(f.field.type);
        f.field.fallback = Value();
      }
      out.push_back(std::move(f));
    }
    return out;
  }

  // The schema's `default` of a property, where it is one of the property's type.
  bool own_default(const Value& schema, Field& field) const {
    const Value* given = defaults_ ? find(schema, "default") : nullptr;
    if (given == nullptr || given->is_null()) return false;
    auto checked = validate(types_, field.type, *given, Source::json);
    if (!checked.ok()) return false;
    field.fallback = std::move(checked.value);
    return true;
  }

  TypeTable& types_;
  const Value& root_;
  std::string name_;
  bool defaults_;
  std::vector<std::string> notes_;
  std::map<std::string, TypeId> done_;
  std::map<std::string, std::optional<TypeId>> open_;
  size_t depth_ = 0;
  size_t parts_ = 0;
};

Value sorted(const Value& v) {
  if (v.kind() == Kind::list) {
    std::vector<Value> items;
    for (const Value& x : v.as_list()) items.push_back(sorted(x));
    return Value::list(std::move(items));
  }
  if (v.kind() != Kind::map) return v;
  std::vector<cel::MapEntry> entries;
  for (const cel::MapEntry& e : v.as_map()) entries.push_back({e.key, sorted(e.value)});
  std::ranges::sort(entries, {}, [](const cel::MapEntry& e) {
    return e.key.kind() == Kind::string ? e.key.as_string() : std::string_view();
  });
  return Value::map(std::move(entries));
}

// Applies `f` to the parts of a value that have a type of their own.
template <typename F>
Value each_part(const TypeTable& types, const Type& t, const Value& v, F&& f) {
  if (t.kind == TypeKind::list && v.kind() == Kind::list) {
    std::vector<Value> items;
    for (const Value& x : v.as_list()) items.push_back(f(t.element, x));
    return Value::list(std::move(items));
  }
  if (t.kind == TypeKind::map && v.kind() == Kind::map) {
    std::vector<cel::MapEntry> entries;
    for (const cel::MapEntry& e : v.as_map()) entries.push_back({e.key, f(t.element, e.value)});
    return Value::map(std::move(entries));
  }
  if (t.kind == TypeKind::nullable) return v.is_null() ? v : f(t.element, v);
  if (t.kind == TypeKind::record_union && v.kind() == Kind::map) {
    const Value* tag = v.find(t.discriminator);
    for (const TypeId arm : t.arms) {
      const auto& fields = types[arm].fields;
      const auto field = std::ranges::find(fields, t.discriminator, &Field::name);
      if (field == fields.end() || tag == nullptr) continue;
      const auto& literals = types[field->type].literals;
      if (std::find(literals.begin(), literals.end(), *tag) != literals.end()) return f(arm, v);
    }
  }
  return v;
}

}  // namespace

ImportedType import_schema(TypeTable& types, const Value& schema, std::string_view name,
                           bool defaults) {
  return Importer(types, schema, name, defaults).type(schema);
}

ImportedObject import_object(TypeTable& types, const Value& schema, std::string_view name) {
  return Importer(types, schema, name).object(schema);
}

std::string identifier_of(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool digit = c >= '0' && c <= '9';
    if (digit && out.empty()) out.push_back('_');
    // One `_` for a character of several bytes.
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;
    out.push_back(letter || digit ? c : '_');
  }
  static constexpr std::string_view words[] = {"", "true", "false", "null", "in"};
  if (std::find(std::begin(words), std::end(words), out) != std::end(words)) out += "_";
  return out;
}

Value to_wire(const TypeTable& types, TypeId type, const Value& value) {
  const Type& t = types[type];
  if (t.kind != TypeKind::record || value.kind() != Kind::map)
    return each_part(types, t, value,
                     [&](TypeId part, const Value& v) { return to_wire(types, part, v); });
  std::vector<cel::MapEntry> entries;
  for (const cel::MapEntry& e : value.as_map()) {
    const std::string_view name = e.key.kind() == Kind::string ? e.key.as_string() : "";
    const auto f = std::ranges::find(t.fields, name, &Field::name);
    if (f == t.fields.end()) {
      entries.push_back(e);
      continue;
    }
    if (e.value.is_null() && f->fallback && f->fallback->is_null()) continue;
    entries.push_back(
        {Value::string(f->alias.empty() ? f->name : f->alias), to_wire(types, f->type, e.value)});
  }
  return Value::map(std::move(entries));
}

Value arguments_to_wire(const TypeTable& types, const Value& schema,
                        const std::vector<std::pair<std::string, TypeId>>& fields,
                        const Value& arguments) {
  TypeTable scratch;
  const ImportedObject object = import_object(scratch, schema, "");
  if (!object.has_fields) {
    const Value* whole = find(arguments, "arguments");
    return is_map(whole) ? *whole : Value::map({});
  }
  std::vector<cel::MapEntry> entries;
  for (const ImportedField& f : object.fields) {
    const Value* v = find(arguments, f.field.name);
    if (v == nullptr || (v->is_null() && !f.required)) continue;
    const auto known = std::ranges::find_if(
        fields, [&](const auto& field) { return field.first == f.field.name; });
    entries.push_back({Value::string(f.field.alias.empty() ? f.field.name : f.field.alias),
                       known == fields.end() ? *v : to_wire(types, known->second, *v)});
  }
  return Value::map(std::move(entries));
}

Value without_unknown(const TypeTable& types, TypeId type, const Value& value) {
  const Type& t = types[type];
  if (t.kind != TypeKind::record || value.kind() != Kind::map)
    return each_part(types, t, value,
                     [&](TypeId part, const Value& v) { return without_unknown(types, part, v); });
  std::vector<cel::MapEntry> entries;
  for (const cel::MapEntry& e : value.as_map()) {
    const std::string_view name = e.key.kind() == Kind::string ? e.key.as_string() : "";
    for (const Field& f : t.fields) {
      if ((f.alias.empty() ? f.name : f.alias) != name) continue;
      entries.push_back({e.key, without_unknown(types, f.type, e.value)});
    }
  }
  return Value::map(std::move(entries));
}

std::string canonical_json(const Value& value) { return cel::to_json(sorted(value)); }

}  // namespace kflow::schema
