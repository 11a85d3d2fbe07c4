// Types → JSON Schema.
#include "compiler/ir/schema/json_schema.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"

namespace kflow::schema {
namespace {

using cel::Value;

class Writer {
 public:
  Writer(const TypeTable& types, const SchemaOptions& options)
      : types_(types), options_(options), out_(options.indent) {}

  std::string type(TypeId id) {
    out_.begin_object();
    out_.key("$schema"), out_.string("https://json-schema.org/draft/2020-12/schema");
    body(id, {}, types_[id].doc);  // an object, not a reference to one: models want that
    definitions();
    out_.end_object();
    return out_.take();
  }
  std::string fields(std::span<const Field> all) {
    out_.begin_object();
    object(all);
    definitions();
    out_.end_object();
    return out_.take();
  }

 private:
  bool is_definition(TypeId id) const {
    const Type& t = types_[id];
    return !t.name.empty() && (t.kind == TypeKind::record || t.kind == TypeKind::record_union);
  }

  // A name of its own for each definition, also where two modules declare the same one.
  const std::string& definition(TypeId id) {
    const auto known = names_.find(id);
    if (known != names_.end()) return known->second;
    std::string name = types_[id].name;
    for (int n = 2; !taken_.insert(name).second; ++n)
      name = types_[id].name + "_" + std::to_string(n);
    todo_.push_back(id);
    return names_.emplace(id, name).first->second;
  }
  void definitions() {
    if (todo_.empty()) return;
    out_.key("$defs");
    out_.begin_object();
    for (size_t i = 0; i < todo_.size(); ++i) {  // writing one may add more
      const TypeId id = todo_[i];
      out_.key(names_.at(id));
      out_.begin_object();
      body(id, {}, types_[id].doc);
      out_.end_object();
    }
    out_.end_object();
  }

  // The keywords of a type within an object that is open.
  void content(TypeId id, const std::vector<Constraint>& constraints, const std::string& doc) {
    if (!is_definition(id)) return body(id, constraints, doc.empty() ? types_[id].doc : doc);
    out_.key("$ref"), out_.string("#/$defs/" + definition(id));
    describe(constraints, doc);
  }

  void simple(std::string_view name) { out_.key("type"), out_.string(name); }

  void body(TypeId id, const std::vector<Constraint>& constraints, const std::string& doc) {
    const Type& t = types_[id];
    std::string note;
    switch (t.kind) {
      case TypeKind::any:
      case TypeKind::poison:
        break;
      case TypeKind::null:
        simple("null");
        break;
      case TypeKind::boolean:
        simple("boolean");
        break;
      case TypeKind::int_:
        simple("integer");
        break;
      case TypeKind::uint_:
        simple("integer");
        if (!has(constraints, Constraint::Kind::range)) out_.key("minimum"), out_.integer(0);
        break;
      case TypeKind::double_:
        simple("number");
        break;
      case TypeKind::string:
      case TypeKind::secret:
        simple("string");
        break;
      case TypeKind::bytes:
        simple("string");
        out_.key("contentEncoding"), out_.string("base64");
        break;
      case TypeKind::timestamp:
        simple("string");
        out_.key("format"), out_.string("date-time");
        break;
      case TypeKind::duration:
        simple("string");
        note = "a length of time such as 90s or 1h30m";
        break;
      case TypeKind::file:
        file();
        note = "a file that the store holds";
        break;
      case TypeKind::list:
        simple("array");
        out_.key("items");
        nested(t.element);
        break;
      case TypeKind::map:
        simple("object");
        out_.key("additionalProperties");
        nested(t.element);
        break;
      case TypeKind::nullable:
        out_.key("anyOf");
        out_.begin_array();
        nested(t.element, constraints);
        out_.begin_object(), simple("null"), out_.end_object();
        out_.end_array();
        return describe({}, doc);
      case TypeKind::literal_union:
        note = literals(t);
        break;
      case TypeKind::record:
        object(t.fields);
        break;
      case TypeKind::record_union:
        if (t.discriminator.empty()) {  // `string | secret`: a secret is never given from outside
          simple("string");
          break;
        }
        out_.key("anyOf");
        out_.begin_array();
        for (const TypeId arm : t.arms) nested(arm);
        out_.end_array();
        break;
    }
    rules(t.kind, constraints);
    describe(constraints, doc.empty() ? note : note.empty() ? doc : doc + "\n" + note);
  }

  void file() {
    simple("object");
    out_.key("properties");
    out_.begin_object();
    for (const char* name : {"name", "media_type", "size", "sha256"}) {
      out_.key(name);
      out_.begin_object();
      simple(std::string_view(name) == "size" ? "integer" : "string");
      out_.end_object();
    }
    out_.end_object();
    out_.key("required");
    out_.begin_array();
    for (const char* name : {"name", "media_type", "size", "sha256"}) out_.string(name);
    out_.end_array();
    out_.key("additionalProperties"), out_.boolean(false);
  }

  void nested(TypeId id, const std::vector<Constraint>& constraints = {}) {
    out_.begin_object();
    content(id, constraints, "");
    out_.end_object();
  }

  // Gives what the literals mean, if that is written.
  std::string literals(const Type& t) {
    switch (t.literals[0].kind()) {
      case cel::Kind::string:
        simple("string");
        break;
      case cel::Kind::boolean:
        simple("boolean");
        break;
      default:
        simple("integer");
        break;
    }
    if (t.literals.size() == 1) {
      out_.key("const"), out_.raw(cel::to_json(t.literals[0]));
    } else {
      out_.key("enum");
      out_.begin_array();
      for (const Value& v : t.literals) out_.raw(cel::to_json(v));
      out_.end_array();
    }
    std::string note;
    for (size_t i = 0; i < t.literal_docs.size() && i < t.literals.size(); ++i) {
      if (t.literal_docs[i].empty()) continue;
      note += (note.empty() ? "" : "\n") + cel::to_json(t.literals[i]) + ": " + t.literal_docs[i];
    }
    return note;
  }

  const std::string& shown_name(const Field& f) const {
    return options_.aliases && !f.alias.empty() ? f.alias : f.name;
  }

  void object(std::span<const Field> all) {
    simple("object");
    out_.key("properties");
    out_.begin_object();
    for (const Field& f : all) {
      out_.key(shown_name(f));
      out_.begin_object();
      content(f.type, f.constraints, f.doc);
      if (f.fallback) out_.key("default"), out_.raw(cel::to_json(*f.fallback));
      out_.end_object();
    }
    out_.end_object();
    out_.key("required");
    out_.begin_array();
    for (const Field& f : all) {
      if (!f.fallback && !types_.accepts_null(f.type)) out_.string(shown_name(f));
    }
    out_.end_array();
    out_.key("additionalProperties"), out_.boolean(false);
  }

  static bool has(const std::vector<Constraint>& constraints, Constraint::Kind kind) {
    return std::ranges::any_of(constraints, [&](const Constraint& c) { return c.kind == kind; });
  }

  void bound(std::string_view key, const Value& v) {
    if (!v.is_null()) out_.key(key), out_.raw(cel::to_json(v));
  }
  void rules(TypeKind kind, const std::vector<Constraint>& constraints) {
    for (const Constraint& c : constraints) {
      switch (c.kind) {
        case Constraint::Kind::range:
          bound("minimum", c.min), bound("maximum", c.max);
          break;
        case Constraint::Kind::length:
          if (kind == TypeKind::list) {
            bound("minItems", c.min), bound("maxItems", c.max);
          } else if (kind == TypeKind::map) {
            bound("minProperties", c.min), bound("maxProperties", c.max);
          } else {
            bound("minLength", c.min), bound("maxLength", c.max);
          }
          break;
        case Constraint::Kind::pattern:
          out_.key("pattern"), out_.string(c.text);
          break;
        case Constraint::Kind::format:
          out_.key("format"), out_.string(c.text);
          break;
        case Constraint::Kind::check:
          break;  // in the description
      }
    }
  }

  void describe(const std::vector<Constraint>& constraints, std::string doc) {
    for (const Constraint& c : constraints) {
      if (c.kind == Constraint::Kind::check)
        doc += (doc.empty() ? "" : "\n") + std::string("must satisfy ") + c.text;
    }
    if (!doc.empty()) out_.key("description"), out_.string(doc);
  }

  const TypeTable& types_;
  SchemaOptions options_;
  JsonWriter out_;
  std::map<TypeId, std::string> names_;
  std::set<std::string> taken_;
  std::vector<TypeId> todo_;
};

}  // namespace

std::string json_schema(const TypeTable& types, TypeId type, const SchemaOptions& options) {
  return Writer(types, options).type(type);
}

std::string json_schema(const TypeTable& types, std::span<const Field> fields,
                        const SchemaOptions& options) {
  return Writer(types, options).fields(fields);
}

}  // namespace kflow::schema
