// The algebra of types.
#include "compiler/ir/schema/types.hpp"

#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/base/hash.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/secrets.hpp"

namespace kflow::schema {
namespace {

using cel::Kind;
using cel::Value;

constexpr uint8_t last_simple = static_cast<uint8_t>(TypeKind::poison);

void encode_type(const Type& t, ByteWriter& out) {
  out.u8(static_cast<uint8_t>(t.kind));
  out.varint(t.element.value);
  out.string(t.name);
  out.string(t.doc);
  out.string(t.discriminator);
  out.varint(t.literals.size());
  for (const Value& v : t.literals) cel::encode_value(v, out);
  out.varint(t.literal_docs.size());
  for (const std::string& d : t.literal_docs) out.string(d);
  out.varint(t.arms.size());
  for (const TypeId id : t.arms) out.varint(id.value);
  out.varint(t.fields.size());
  for (const Field& f : t.fields) {
    out.string(f.name);
    out.varint(f.type.value);
    out.boolean(f.fallback.has_value());
    if (f.fallback) cel::encode_value(*f.fallback, out);
    encode_constraints(f.constraints, out);
    out.string(f.doc);
    out.varint(f.was.size());
    for (const std::string& name : f.was) out.string(name);
    out.string(f.alias);
  }
}

Type decode_type(ByteReader& in) {
  Type t;
  const uint8_t kind = in.u8();
  if (kind > static_cast<uint8_t>(TypeKind::record_union)) in.fail();
  t.kind = in.failed() ? TypeKind::any : static_cast<TypeKind>(kind);
  t.element = TypeId(in.varint32());
  t.name = in.string();
  t.doc = in.string();
  t.discriminator = in.string();
  for (size_t n = in.count(); n > 0 && !in.failed(); --n)
    t.literals.push_back(cel::decode_value(in));
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) t.literal_docs.emplace_back(in.string());
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) t.arms.emplace_back(in.varint32());
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) {
    Field f;
    f.name = in.string();
    f.type = TypeId(in.varint32());
    if (in.boolean()) f.fallback = cel::decode_value(in);
    f.constraints = decode_constraints(in);
    f.doc = in.string();
    for (size_t names = in.count(); names > 0 && !in.failed(); --names)
      f.was.emplace_back(in.string());
    f.alias = in.string();
    t.fields.push_back(std::move(f));
  }
  return t;
}

std::string literal_text(const Value& v) { return cel::to_display(v); }

TypeKind literal_base(const Type& t) {
  switch (t.literals.front().kind()) {
    case Kind::string:
      return TypeKind::string;
    case Kind::int_:
      return TypeKind::int_;
    case Kind::boolean:
      return TypeKind::boolean;
    default:
      return TypeKind::any;
  }
}

}  // namespace

void encode_constraints(const std::vector<Constraint>& constraints, ByteWriter& out) {
  out.varint(constraints.size());
  for (const Constraint& c : constraints) {
    out.u8(static_cast<uint8_t>(c.kind));
    cel::encode_value(c.min, out);
    cel::encode_value(c.max, out);
    out.string(c.text);
    out.boolean(!c.program.empty());
    if (!c.program.empty()) cel::encode_program(c.program, out, false);
  }
}

std::vector<Constraint> decode_constraints(ByteReader& in) {
  std::vector<Constraint> out;
  for (size_t n = in.count(); n > 0 && !in.failed(); --n) {
    Constraint c;
    const uint8_t kind = in.u8();
    if (kind > static_cast<uint8_t>(Constraint::Kind::check)) in.fail();
    c.kind = in.failed() ? Constraint::Kind::range : static_cast<Constraint::Kind>(kind);
    c.min = cel::decode_value(in);
    c.max = cel::decode_value(in);
    c.text = in.string();
    if (in.boolean()) c.program = cel::decode_program(in);
    out.push_back(std::move(c));
  }
  return out;
}

TypeTable::TypeTable() {
  for (uint8_t k = 0; k <= last_simple; ++k) types_.push_back({.kind = static_cast<TypeKind>(k)});
}

TypeId TypeTable::simple(TypeKind kind) {
  KFLOW_CHECK(static_cast<uint8_t>(kind) <= last_simple, "not a simple type");
  return TypeId(static_cast<uint32_t>(kind));
}

void TypeTable::note_former_names(const Type& type) {
  for (const Field& f : type.fields) has_former_names_ |= !f.was.empty();
}

void TypeTable::add_former_names(TypeId record, size_t field,
                                 const std::vector<std::string>& names) {
  Field& f = types_[record.value].fields[field];
  for (const std::string& name : names) {
    if (name == f.name || std::find(f.was.begin(), f.was.end(), name) != f.was.end()) continue;
    f.was.push_back(name);
    has_former_names_ = true;
  }
}

TypeId TypeTable::intern(Type type) {
  note_former_names(type);
  ByteWriter bytes;
  encode_type(type, bytes);
  const uint64_t hash = xxh3(bytes.buffer());
  const auto at = std::lower_bound(by_hash_.begin(), by_hash_.end(), hash,
                                   [](const auto& entry, uint64_t h) { return entry.first < h; });
  for (auto it = at; it != by_hash_.end() && it->first == hash; ++it) {
    ByteWriter other;
    encode_type(types_[it->second.value], other);
    if (other.buffer() == bytes.buffer()) return it->second;
  }
  const TypeId id(types_.size());
  types_.push_back(std::move(type));
  by_hash_.insert(at, {hash, id});
  return id;
}

TypeId TypeTable::list_of(TypeId element) {
  return intern({.kind = TypeKind::list, .element = element});
}
TypeId TypeTable::map_of(TypeId element) {
  return intern({.kind = TypeKind::map, .element = element});
}
TypeId TypeTable::nullable(TypeId element) {
  const TypeKind kind = types_[element.value].kind;
  // A declared type that is still open may become anything.
  if (kind == TypeKind::any || kind == TypeKind::null || kind == TypeKind::nullable ||
      element == simple(TypeKind::poison))
    return element;
  return intern({.kind = TypeKind::nullable, .element = element});
}
TypeId TypeTable::literals(std::vector<Value> values) {
  return intern({.kind = TypeKind::literal_union, .literals = std::move(values)});
}
TypeId TypeTable::record(std::vector<Field> fields) {
  return intern({.kind = TypeKind::record, .fields = std::move(fields)});
}

TypeId TypeTable::declare(std::string name, std::string doc) {
  types_.push_back({.kind = TypeKind::poison, .name = std::move(name), .doc = std::move(doc)});
  return TypeId(types_.size() - 1);
}
void TypeTable::define(TypeId id, Type content) {
  content.name = types_[id.value].name;
  content.doc = types_[id.value].doc;
  note_former_names(content);
  types_[id.value] = std::move(content);
}

std::string TypeTable::display(TypeId id) const {
  const Type& t = types_[id.value];
  if (!t.name.empty()) return t.name;
  const auto inner = [&](TypeId e) {
    const Type& x = types_[e.value];
    const std::string text = display(e);
    return x.name.empty() &&
                   (x.kind == TypeKind::literal_union || x.kind == TypeKind::record_union) &&
                   x.literals.size() + x.arms.size() > 1
               ? "(" + text + ")"
               : text;
  };
  std::string out;
  switch (t.kind) {
    case TypeKind::any:
      return "any";
    case TypeKind::null:
      return "null";
    case TypeKind::boolean:
      return "bool";
    case TypeKind::int_:
      return "int";
    case TypeKind::uint_:
      return "uint";
    case TypeKind::double_:
      return "double";
    case TypeKind::string:
      return "string";
    case TypeKind::bytes:
      return "bytes";
    case TypeKind::timestamp:
      return "timestamp";
    case TypeKind::duration:
      return "duration";
    case TypeKind::file:
      return "file";
    case TypeKind::secret:
      return "secret";
    case TypeKind::poison:
      return "?";
    case TypeKind::list:
      return inner(t.element) + "[]";
    case TypeKind::map:
      return "map<string, " + display(t.element) + ">";
    case TypeKind::nullable:
      return inner(t.element) + "?";
    case TypeKind::literal_union:
      for (const Value& v : t.literals) out += (out.empty() ? "" : " | ") + literal_text(v);
      return out;
    case TypeKind::record:
      for (const Field& f : t.fields)
        out += (out.empty() ? "{" : ", ") + f.name + ": " + display(f.type);
      return out.empty() ? "{}" : out + "}";
    case TypeKind::record_union:
      for (const TypeId arm : t.arms) out += (out.empty() ? "" : " | ") + display(arm);
      return out;
  }
  std::unreachable();
}

TypeId TypeTable::without_null(TypeId id) const {
  const Type& t = types_[id.value];
  return t.kind == TypeKind::nullable ? t.element : id;
}

bool TypeTable::accepts_null(TypeId id) const {
  const TypeKind kind = types_[id.value].kind;
  return kind == TypeKind::any || kind == TypeKind::null || kind == TypeKind::nullable ||
         kind == TypeKind::poison;
}

bool TypeTable::is_secret(TypeId id) const {
  const Type& t = types_[id.value];
  return t.kind == TypeKind::secret ||
         (t.kind == TypeKind::nullable && types_[t.element.value].kind == TypeKind::secret);
}

bool TypeTable::assignable(TypeId from, TypeId to) const {
  if (from == to) return true;
  const Type& f = types_[from.value];
  const Type& t = types_[to.value];
  if (f.kind == TypeKind::poison || t.kind == TypeKind::poison) return true;
  // A secret stays one, and nothing that came from elsewhere becomes one.
  if (t.kind == TypeKind::record_union && t.discriminator.empty() &&
      f.kind != TypeKind::record_union)  // `string | secret`
    return std::any_of(t.arms.begin(), t.arms.end(),
                       [&](TypeId arm) { return assignable(from, arm); });
  if (is_secret(from) || is_secret(to)) {
    return is_secret(from) ? is_secret(to) && (f.kind == t.kind || t.kind == TypeKind::nullable)
                           : f.kind == TypeKind::null && t.kind == TypeKind::nullable;
  }
  if (holds_secret(*this, from) && !holds_secret(*this, to)) return false;
  if (f.kind == TypeKind::any || t.kind == TypeKind::any) return true;
  if (t.kind == TypeKind::nullable) {
    return f.kind == TypeKind::null ||
           assignable(f.kind == TypeKind::nullable ? f.element : from, t.element);
  }
  if (f.kind == TypeKind::literal_union) {
    if (t.kind == TypeKind::literal_union) {
      return std::all_of(f.literals.begin(), f.literals.end(), [&](const Value& v) {
        return std::any_of(t.literals.begin(), t.literals.end(),
                           [&](const Value& w) { return Value::identical(v, w); });
      });
    }
    return literal_base(f) == t.kind ||
           (literal_base(f) == TypeKind::int_ && t.kind == TypeKind::double_);
  }
  if (f.kind == TypeKind::int_ && t.kind == TypeKind::double_) return true;
  if (f.kind == TypeKind::record_union) {
    return std::all_of(f.arms.begin(), f.arms.end(),
                       [&](TypeId arm) { return assignable(arm, to); });
  }
  if (t.kind == TypeKind::record_union) {
    return std::any_of(t.arms.begin(), t.arms.end(),
                       [&](TypeId arm) { return assignable(from, arm); });
  }
  if (f.kind == TypeKind::record && t.kind == TypeKind::map) {
    return std::all_of(f.fields.begin(), f.fields.end(),
                       [&](const Field& x) { return assignable(x.type, t.element); });
  }
  if (f.kind != t.kind) return false;
  switch (f.kind) {
    case TypeKind::list:
    case TypeKind::map:
      return assignable(f.element, t.element);
    case TypeKind::record: {
      if (!f.name.empty() && f.name == t.name) return true;
      // A literal record fits a declared one: every field fits, and what is missing has a default
      // or may be null.
      for (const Field& want : t.fields) {
        const auto has = std::find_if(f.fields.begin(), f.fields.end(),
                                      [&](const Field& x) { return x.name == want.name; });
        if (has == f.fields.end() ? !want.fallback && !accepts_null(want.type)
                                  : !assignable(has->type, want.type))
          return false;
      }
      return std::all_of(f.fields.begin(), f.fields.end(), [&](const Field& x) {
        return std::any_of(t.fields.begin(), t.fields.end(),
                           [&](const Field& y) { return x.name == y.name; });
      });
    }
    case TypeKind::nullable:
      return false;
    default:
      return true;
  }
}

bool TypeTable::needs_check(TypeId from, TypeId to) const {
  if (from == to) return false;
  const Type& f = types_[from.value];
  const Type& t = types_[to.value];
  if (t.kind == TypeKind::any || t.kind == TypeKind::poison || f.kind == TypeKind::poison)
    return false;
  if (f.kind == TypeKind::any) return true;
  if (t.kind == TypeKind::nullable)
    return f.kind != TypeKind::null && needs_check(without_null(from), t.element);
  // A text or a secret has nothing to fill in.
  if (t.kind == TypeKind::record_union && t.discriminator.empty()) return false;
  // Defaults are filled in and constraints hold only after a check.
  if (t.kind == TypeKind::record || t.kind == TypeKind::record_union) return true;
  if (f.kind == TypeKind::int_ && t.kind == TypeKind::double_) return true;
  if ((f.kind == TypeKind::list || f.kind == TypeKind::map) && f.kind == t.kind)
    return needs_check(f.element, t.element);
  if (f.kind == TypeKind::record && t.kind == TypeKind::map) {
    return std::any_of(f.fields.begin(), f.fields.end(),
                       [&](const Field& x) { return needs_check(x.type, t.element); });
  }
  return false;
}

TypeId TypeTable::join(TypeId a, TypeId b) {
  if (a == b) return a;
  const TypeKind ka = types_[a.value].kind;
  const TypeKind kb = types_[b.value].kind;
  if (ka == TypeKind::poison) return b;
  if (kb == TypeKind::poison) return a;
  // What may be a secret is treated as one.
  const bool secret = holds_secret(*this, a) || holds_secret(*this, b);
  if (!secret && (ka == TypeKind::any || kb == TypeKind::any)) return simple(TypeKind::any);
  if (ka == TypeKind::null) return nullable(b);
  if (kb == TypeKind::null) return nullable(a);
  if (ka == TypeKind::nullable || kb == TypeKind::nullable)
    return nullable(join(without_null(a), without_null(b)));
  if (ka == TypeKind::literal_union && kb == TypeKind::literal_union &&
      literal_base(types_[a.value]) == literal_base(types_[b.value])) {
    std::vector<Value> all = types_[a.value].literals;
    for (const Value& v : types_[b.value].literals) {
      if (std::none_of(all.begin(), all.end(),
                       [&](const Value& w) { return Value::identical(v, w); }))
        all.push_back(v);
    }
    return literals(std::move(all));
  }
  if (assignable(a, b) && !needs_check(a, b)) return b;
  if (assignable(b, a) && !needs_check(b, a)) return a;
  if (ka == TypeKind::list && kb == TypeKind::list)
    return list_of(join(types_[a.value].element, types_[b.value].element));
  return simple(secret ? TypeKind::secret : TypeKind::any);
}

uint32_t TypeTable::append(const TypeTable& other) {
  const auto shift = static_cast<uint32_t>(types_.size()) - simple_types;
  const auto move = [&](TypeId& id) {
    if (id && id.value >= simple_types) id.value += shift;
  };
  for (uint32_t i = simple_types; i < other.types_.size(); ++i) {
    Type copy = other.types_[i];
    move(copy.element);
    for (Field& field : copy.fields) move(field.type);
    for (TypeId& arm : copy.arms) move(arm);
    types_.push_back(std::move(copy));
  }
  has_former_names_ |= other.has_former_names_;
  return shift;
}

void TypeTable::encode(ByteWriter& out) const {
  out.varint(types_.size());
  for (const Type& t : types_) encode_type(t, out);
}

Result<TypeTable> TypeTable::decode(ByteReader& in) {
  TypeTable table;
  const size_t n = in.count();
  std::vector<Type> types;
  for (size_t i = 0; i < n && !in.failed(); ++i) types.push_back(decode_type(in));
  bool ok = !in.failed() && types.size() > last_simple;
  const auto valid = [&](TypeId id) { return id.value < types.size(); };
  for (size_t i = 0; i < types.size() && ok; ++i) {
    const Type& t = types[i];
    if (i <= last_simple) ok = ok && static_cast<size_t>(t.kind) == i;
    if (t.kind == TypeKind::list || t.kind == TypeKind::map || t.kind == TypeKind::nullable)
      ok = ok && valid(t.element);
    if (t.kind == TypeKind::literal_union) ok = ok && !t.literals.empty();
    // An anonymous type is made of earlier ones; only named records refer onwards, so that every
    // walk ends.
    if (t.name.empty() && t.element.has_value()) ok = ok && t.element.value < i;
    const auto reaches = [&](TypeId id) { return valid(id) && (!t.name.empty() || id.value < i); };
    ok = ok && std::all_of(t.arms.begin(), t.arms.end(), reaches);
    ok = ok && std::all_of(t.fields.begin(), t.fields.end(),
                           [&](const Field& f) { return reaches(f.type); });
  }
  if (!ok) return fail(ErrorCode::corrupt, "malformed table of types");
  table.types_ = std::move(types);
  for (const Type& t : table.types_) table.note_former_names(t);
  return table;
}

}  // namespace kflow::schema
