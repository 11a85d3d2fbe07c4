// Values that were recorded before fields were renamed (`@was`).
#include <algorithm>

#include "compiler/ir/schema/types.hpp"

namespace kflow::schema {
namespace {

using cel::Value;

class Renaming {
 public:
  explicit Renaming(const TypeTable& types) : types_(types) {}

  // None: the value is what it was.
  std::optional<Value> renamed(TypeId id, const Value& value) const {
    const Type& type = types_[id];
    if (type.kind == TypeKind::nullable) return renamed(type.element, value);
    if (type.kind == TypeKind::list && value.kind() == cel::Kind::list)
      return items(type.element, value);
    if (value.kind() != cel::Kind::map) return std::nullopt;
    if (type.kind == TypeKind::map) return values(type.element, value);
    if (type.kind == TypeKind::record) return record(type, value);
    if (type.kind == TypeKind::record_union) return arm(type, value);
    return std::nullopt;
  }

 private:
  std::optional<Value> items(TypeId element, const Value& list) const {
    std::vector<Value> out;
    bool changed = false;
    for (const Value& x : list.as_list()) {
      std::optional<Value> now = renamed(element, x);
      changed |= now.has_value();
      out.push_back(now ? std::move(*now) : x);
    }
    return changed ? std::optional(Value::list(std::move(out))) : std::nullopt;
  }
  std::optional<Value> values(TypeId element, const Value& map) const {
    cel::MapBuilder out;
    bool changed = false;
    for (const cel::MapEntry& e : map.as_map()) {
      std::optional<Value> now = renamed(element, e.value);
      changed |= now.has_value();
      out.add(e.key, now ? std::move(*now) : e.value);
    }
    return changed ? std::optional(std::move(out).take()) : std::nullopt;
  }
  std::optional<Value> record(const Type& type, const Value& value) const {
    cel::MapBuilder out;
    bool changed = false;
    for (const cel::MapEntry& e : value.as_map()) {
      const Field* field = field_of(type, value, e.key);
      std::optional<Value> now = field == nullptr ? std::nullopt : renamed(field->type, e.value);
      const bool moved = field != nullptr && field->name != e.key.as_string();
      changed |= moved || now.has_value();
      out.add(moved ? Value::string(field->name) : e.key, now ? std::move(*now) : e.value);
    }
    return changed ? std::optional(std::move(out).take()) : std::nullopt;
  }
  // The field that an entry is: of its name, or of its former one where the present is not there.
  static const Field* field_of(const Type& type, const Value& value, const Value& key) {
    if (key.kind() != cel::Kind::string) return nullptr;
    for (const Field& f : type.fields) {
      if (f.name == key.as_string()) return &f;
    }
    for (const Field& f : type.fields) {
      const bool was = std::find(f.was.begin(), f.was.end(), key.as_string()) != f.was.end();
      if (was && value.find(f.name) == nullptr) return &f;
    }
    return nullptr;
  }
  std::optional<Value> arm(const Type& type, const Value& value) const {
    const Value* word = value.find(type.discriminator);
    for (const TypeId id : type.arms) {
      for (const Field& f : types_[id].fields) {
        if (word == nullptr || f.name != type.discriminator) continue;
        for (const Value& literal : types_[f.type].literals) {
          if (Value::identical(literal, *word)) return renamed(id, value);
        }
      }
    }
    return std::nullopt;
  }

  const TypeTable& types_;
};

}  // namespace

Value with_present_names(const TypeTable& types, TypeId type, Value value) {
  if (!types.has_former_names()) return value;
  std::optional<Value> now = Renaming(types).renamed(type, value);
  return now ? std::move(*now) : value;
}

}  // namespace kflow::schema
