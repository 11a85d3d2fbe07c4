// What type expressions denote, and what types values have.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/sema/expressions.hpp"
#include "compiler/sema/habits.hpp"
#include "compiler/sema/model.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::sema {

using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;
using syntax::Node;

namespace {

TypeId named_type(Model& m, Module& module, Cursor node) {
  static const std::map<std::string_view, TypeKind> simple{
      {"bool", TypeKind::boolean},        {"int", TypeKind::int_},
      {"uint", TypeKind::uint_},          {"double", TypeKind::double_},
      {"string", TypeKind::string},       {"bytes", TypeKind::bytes},
      {"null", TypeKind::null},           {"duration", TypeKind::duration},
      {"timestamp", TypeKind::timestamp}, {"any", TypeKind::any},
      {"file", TypeKind::file},           {"secret", TypeKind::secret}};
  const auto parts = node.children(Node::identifier);
  const std::string name(parts.empty() ? "" : parts[0].text());
  if (parts.size() == 1) {
    if (const auto it = simple.find(name); it != simple.end()) return TypeTable::simple(it->second);
    if (const auto it = module.types.find(name); it != module.types.end()) {
      note_use(m, node.span(), module, name);
      return it->second;
    }
  } else if (const auto it = module.imports.find(name); it != module.imports.end()) {
    if (it->second == UINT32_MAX) return TypeTable::simple(TypeKind::poison);
    Module& other = *m.modules[it->second];
    const auto found = other.types.find(parts[1].text());
    if (found != other.types.end() && !is_private(found->first)) {
      note_use(m, node.span(), other, found->first);
      return found->second;
    }
  }
  if (!m.unknown_types.insert(std::string(node.text())).second)
    return TypeTable::simple(TypeKind::poison);
  std::vector<std::string> candidates;
  for (const auto& [word, kind] : simple) candidates.emplace_back(word);
  for (const auto& [word, id] : module.types) candidates.push_back(word);
  if (module.has_syntax_errors)
    return TypeTable::simple(TypeKind::poison);  // perhaps declared in what could not be read
  auto report = m.sink.report(Kind::unknown_type, node.span(),
                              fmt::format("no type is named `{}`", node.text()));
  const bool near = std::ranges::any_of(
      module.types, [&](const auto& t) { return lower_case(t.first) == lower_case(name); });
  if (near || !explain_type_name(name, report)) report.suggest(node.text(), candidates);
  return TypeTable::simple(TypeKind::poison);
}

TypeId record_type(Model& m, Module& module, Cursor node) {
  std::vector<schema::Field> fields;
  std::vector<FormerNames> former;
  for (const Cursor f : node.children(Node::field)) {
    const Cursor name = f.child(Node::identifier);
    if (!name) continue;
    if (std::any_of(fields.begin(), fields.end(),
                    [&](const auto& o) { return o.name == name.text(); })) {
      m.sink.report(Kind::duplicate_name, name.span(),
                    fmt::format("the field `{}` stands twice", name.text()));
      continue;
    }
    schema::Field field{.name = std::string(name.text()),
                        .type = TypeTable::simple(TypeKind::poison),
                        .fallback = {},
                        .constraints = annotations(m, module, f),
                        .doc = f.doc(),
                        .was = {},
                        .alias = ""};
    for (Cursor x = f.first(); x; x = f.next(x)) {
      if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type)
        field.type = resolve_type(m, module, x);
    }
    for (const Cursor a : f.children(Node::annotation)) {
      const Cursor list = a.child(Node::arguments);
      const Cursor text = list ? list.child(Node::string_literal) : Cursor();
      if (a.name() == "alias") field.alias = syntax::decode_plain(text);
    }
    if (auto was = former_names(m, f, name, true)) {
      field.was = was->was;
      former.push_back(std::move(*was));
    }
    if (const Cursor value = f.expression()) field.fallback = constant_value(m, module, value);
    fields.push_back(std::move(field));
  }
  check_former_names(m, former, [&](std::string_view wanted) -> std::optional<source::Span> {
    for (const Cursor f : node.children(Node::field)) {
      if (f.name() == wanted) return f.child(Node::identifier).span();
    }
    return std::nullopt;
  });
  return m.types.record(std::move(fields));
}

TypeId literal_type(Model& m, Module& module, Cursor node) {
  const bool negative = static_cast<bool>(node.token("-"));
  const Cursor literal = node.expression();
  if (!literal) return TypeTable::simple(TypeKind::poison);
  if (literal.is(Node::null_literal)) return TypeTable::simple(TypeKind::null);
  if (literal.is(Node::string)) {
    m.sink.report(Kind::not_constant, literal.span(), "a literal in a type takes no `${}`");
    return TypeTable::simple(TypeKind::poison);
  }
  auto v = constant_value(m, module, literal);
  if (!v) return TypeTable::simple(TypeKind::poison);
  if (negative && v->kind() == cel::Kind::int_) v = cel::Value::integer(-v->as_int());
  if (v->kind() != cel::Kind::string && v->kind() != cel::Kind::int_ &&
      v->kind() != cel::Kind::boolean) {
    m.sink.report(Kind::bad_option_value, literal.span(),
                  "a literal in a type is a string, an int or a bool");
    return TypeTable::simple(TypeKind::poison);
  }
  return m.types.literals({*v});
}

// The field that tells the arms apart: a literal field of the same name in each.
std::string discriminator(const TypeTable& types, const std::vector<TypeId>& arms) {
  for (const schema::Field& f : types[arms[0]].fields) {
    if (types[f.type].kind != TypeKind::literal_union) continue;
    const bool everywhere = std::all_of(arms.begin(), arms.end(), [&](TypeId arm) {
      const auto& fields = types[arm].fields;
      return std::any_of(fields.begin(), fields.end(), [&](const schema::Field& g) {
        return g.name == f.name && types[g.type].kind == TypeKind::literal_union;
      });
    });
    if (everywhere) return f.name;
  }
  return "";
}

// A text that is either written in the open or known to the effect that uses it alone: a union of
// no records, which nothing tells apart before.
TypeId string_or_secret(TypeTable& types) {
  const TypeId out = types.declare("", "");
  types.define(
      out, {.kind = TypeKind::record_union,
            .arms = {TypeTable::simple(TypeKind::string), TypeTable::simple(TypeKind::secret)}});
  return out;
}

TypeId union_type(Model& m, Module& module, Cursor node) {
  std::vector<TypeId> all;
  std::vector<TypeId> records;
  TypeId joined;
  std::vector<std::string> docs;
  bool documented = false;
  for (Cursor x = node.first(); x; x = node.next(x)) {
    if (!(x.kind() >= Node::union_type && x.kind() <= Node::paren_type)) continue;
    const TypeId arm = resolve_type(m, module, x);
    // The doc comment of an arm stands before its `|`.
    docs.push_back(x.doc());
    documented |= !docs.back().empty();
    if (m.types[arm].kind == TypeKind::record) records.push_back(arm);
    all.push_back(arm);
    joined = joined ? m.types.join(joined, arm) : arm;
  }
  if (all == std::vector{TypeTable::simple(TypeKind::string), TypeTable::simple(TypeKind::secret)})
    return string_or_secret(m.types);
  if (!joined) return TypeTable::simple(TypeKind::poison);
  if (records.size() > 1) {
    const std::string field = discriminator(m.types, records);
    if (field.empty()) {
      m.sink
          .report(
              Kind::bad_option_value, node.span(),
              "the records of a union need a literal field of the same name that tells them apart")
          .note("such as `kind: \"a\"` in one and `kind: \"b\"` in the other");
      return TypeTable::simple(TypeKind::poison);
    }
    const TypeId holder = m.types.declare("", "");
    m.types.define(holder,
                   {.kind = TypeKind::record_union, .arms = records, .discriminator = field});
    return holder;
  }
  if (m.types[joined].kind == TypeKind::any) {
    m.sink.report(Kind::bad_option_value, node.span(),
                  "a union is of literals, of records told apart by a literal field, or is "
                  "`string | secret`");
    return TypeTable::simple(TypeKind::poison);
  }
  return joined;
}

}  // namespace

TypeId resolve_type(Model& m, Module& module, Cursor node) {
  switch (node.kind()) {
    case Node::name_type:
      return named_type(m, module, node);
    case Node::literal_type:
      return literal_type(m, module, node);
    case Node::record_type:
      return record_type(m, module, node);
    case Node::union_type:
      return union_type(m, module, node);
    case Node::paren_type:
    case Node::map_type:
    case Node::postfix_type:
      break;
    default:
      return TypeTable::simple(TypeKind::poison);
  }
  std::vector<TypeId> inner;
  TypeId out = TypeTable::simple(TypeKind::poison);
  for (Cursor x = node.first(); x; x = node.next(x)) {
    if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type) {
      inner.push_back(resolve_type(m, module, x));
      out = inner.back();
    } else if (node.is(Node::postfix_type) && x.is(Node::punctuation)) {
      if (x.text() == "[") out = m.types.list_of(out);
      if (x.text() == "?") out = m.types.nullable(out);
    }
  }
  if (!node.is(Node::map_type)) return out;
  if (inner.size() == 2 && m.types[inner[0]].kind != TypeKind::string &&
      m.types[inner[0]].kind != TypeKind::poison) {
    m.sink.report(Kind::bad_option_value, node.span(),
                  "the keys of a map type are strings: `map<string, T>`");
  }
  return inner.size() == 2 ? m.types.map_of(inner[1]) : TypeTable::simple(TypeKind::poison);
}

TypeId builtin_type(Model& m, std::string_view text) {
  if (text == "string | secret") return string_or_secret(m.types);
  if (text.ends_with('?'))
    return m.types.nullable(builtin_type(m, text.substr(0, text.size() - 1)));
  if (text.ends_with("[]"))
    return m.types.list_of(builtin_type(m, text.substr(0, text.size() - 2)));
  if (text.starts_with("map<string, "))
    return m.types.map_of(builtin_type(m, text.substr(12, text.size() - 13)));
  if (text.starts_with('{')) {
    std::vector<schema::Field> fields;
    std::string_view rest = text.substr(1, text.size() - 2);
    while (!rest.empty()) {
      const size_t colon = rest.find(": ");
      int depth = 0;
      size_t end = colon + 2;
      for (; end < rest.size() && (depth > 0 || rest[end] != ','); ++end)
        depth += (rest[end] == '<') - (rest[end] == '>');
      fields.push_back({.name = std::string(rest.substr(0, colon)),
                        .type = builtin_type(m, rest.substr(colon + 2, end - colon - 2)),
                        .fallback = {},
                        .constraints = {},
                        .doc = "",
                        .was = {},
                        .alias = ""});
      rest.remove_prefix(std::min(rest.size(), end + 2));
    }
    return m.types.record(std::move(fields));
  }
  for (uint8_t k = 0; k < static_cast<uint8_t>(TypeKind::poison); ++k) {
    const TypeId id = TypeTable::simple(static_cast<TypeKind>(k));
    if (m.types.display(id) == text) return id;
  }
  return TypeTable::simple(TypeKind::any);
}

std::vector<ParamInfo> builtin_params(Model& m, const ir::Builtin& builtin) {
  std::vector<ParamInfo> out;
  for (const ir::BuiltinParam& p : builtin.params) {
    out.push_back({.name = std::string(p.name),
                   .type = builtin_type(m, p.type),
                   .fallback = {},
                   .optional = !p.required,
                   .constraints = {},
                   .doc = "",
                   .span = {}});
  }
  return out;
}

TypeId type_of(Model& m, const cel::Value& v) {
  switch (v.kind()) {
    case cel::Kind::null:
      return TypeTable::simple(TypeKind::null);
    case cel::Kind::boolean:
      return TypeTable::simple(TypeKind::boolean);
    case cel::Kind::int_:
    case cel::Kind::string:
      return m.types.literals({v});
    case cel::Kind::uint_:
      return TypeTable::simple(TypeKind::uint_);
    case cel::Kind::double_:
      return TypeTable::simple(TypeKind::double_);
    case cel::Kind::timestamp:
      return TypeTable::simple(TypeKind::timestamp);
    case cel::Kind::duration:
      return TypeTable::simple(TypeKind::duration);
    case cel::Kind::bytes:
      return TypeTable::simple(TypeKind::bytes);
    case cel::Kind::type:
    case cel::Kind::optional:
    case cel::Kind::ip:
    case cel::Kind::cidr:
      return TypeTable::simple(TypeKind::any);
    case cel::Kind::file:
      return TypeTable::simple(TypeKind::file);
    case cel::Kind::list: {
      TypeId element;
      for (const cel::Value& item : v.as_list())
        element = element ? m.types.join(element, type_of(m, item)) : type_of(m, item);
      return m.types.list_of(element ? element : TypeTable::simple(TypeKind::poison));
    }
    case cel::Kind::map: {
      std::vector<schema::Field> fields;
      for (const cel::MapEntry& e : v.as_map()) {
        if (e.key.kind() != cel::Kind::string) return TypeTable::simple(TypeKind::any);
        fields.push_back({.name = std::string(e.key.as_string()),
                          .type = type_of(m, e.value),
                          .fallback = {},
                          .constraints = {},
                          .doc = "",
                          .was = {},
                          .alias = ""});
      }
      return m.types.record(std::move(fields));
    }
  }
  std::unreachable();
}

}  // namespace kflow::sema
