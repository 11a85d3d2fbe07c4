// Imports, types, signatures, consts: everything outside the bodies.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "compiler/cel/evaluate.hpp"
#include "compiler/cel/functions.hpp"
#include "compiler/sema/constructs.hpp"
#include "compiler/sema/expressions.hpp"
#include "compiler/sema/model.hpp"
#include "compiler/syntax/literals.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::sema {

using diagnostics::Kind;
using schema::TypeKind;
using schema::TypeTable;
using syntax::Node;

namespace {

constexpr size_t max_modules = 1000;

class Declarer {
 public:
  explicit Declarer(Model& model) : m_(model) {}

  uint32_t load(source::FileId file) {
    for (uint32_t i = 0; i < m_.modules.size(); ++i) {
      if (m_.modules[i]->file == file) return i;
    }
    const auto index = static_cast<uint32_t>(m_.modules.size());
    m_.modules.push_back(std::make_unique<Module>());
    Module& module = *m_.modules.back();
    module.file = file;
    const size_t before = m_.sink.errors();
    module.tree = syntax::parse(m_.sources[file], m_.sink);
    module.has_syntax_errors = m_.sink.errors() > before;
    open_.push_back(file);
    imports(index);
    open_.pop_back();
    return index;
  }

  void declare_all() {
    for (const auto& module : m_.modules) names(*module);
    for (const auto& module : m_.modules) types(*module);
    for (const auto& module : m_.modules) policies(*module);
    for (uint32_t i = 0; i < m_.modules.size(); ++i) callables(i);
    for (const auto& module : m_.modules) {
      for (auto& [name, info] : module->consts) constant(m_, *module, name);
      functions(*module);
    }
    for (uint32_t i = 0; i < m_.modules.size(); ++i) servers(i);
  }

 private:
  void imports(uint32_t index) {
    const Cursor root = m_.modules[index]->tree.root();
    for (const Cursor c : root.children(Node::kflow_decl)) {
      const Cursor edition = c.child(Node::int_literal);
      if (edition && edition.text() != "1") {
        m_.sink.report(Kind::not_built, edition.span(),
                       fmt::format("this is edition {} of the language; this kflow knows edition 1",
                                   edition.text()));
      }
    }
    for (const Cursor c : root.children(Node::import_decl)) {
      const Cursor what = c.child(Node::string_literal);
      if (!what) {
        if (const Cursor s = c.child(Node::string))
          m_.sink.report(Kind::not_constant, s.span(), "an import takes no `${}`");
        continue;
      }
      const std::string target = syntax::decode_plain(what);
      const auto file = m_.sources.load_import(m_.modules[index]->file, target);
      if (!file) {
        auto d =
            m_.sink.report(Kind::import_failed, what.span(),
                           fmt::format("cannot import `{}`: {}", target, file.error().message));
        if (target.starts_with("std/")) d.suggest(target, m_.std_modules);
        m_.modules[index]->broken_imports = true;
        broken_imports_ = true;
        bind_name(index, c, target, std::nullopt);
        continue;
      }
      const auto cycle = std::find(open_.begin(), open_.end(), *file);
      if (cycle != open_.end()) {
        std::string chain;
        for (auto it = cycle; it != open_.end(); ++it)
          chain += fmt::format("`{}` → ", m_.sources[*it].name());
        m_.sink.report(
            Kind::import_cycle, what.span(),
            fmt::format("files import each other: {}`{}`", chain, m_.sources[*file].name()));
        bind_name(index, c, target, std::nullopt);
        continue;
      }
      if (m_.modules.size() >= max_modules) {
        m_.sink.report(Kind::import_failed, what.span(),
                       fmt::format("more than {} files are imported", max_modules));
        continue;
      }
      bind_name(index, c, target, load(*file));
    }
  }

  void bind_name(uint32_t index, Cursor import, const std::string& target,
                 std::optional<uint32_t> module) {
    const Cursor alias = import.child(Node::import_alias);
    std::string name = alias ? std::string(alias.name()) : target.substr(target.rfind('/') + 1);
    if (!alias && name.ends_with(".kflow")) name.resize(name.size() - 6);
    if (name.empty()) return;
    Module& m = *m_.modules[index];
    if (module) {
      m.imports[name] = *module;
    } else {
      m.imports[name] = UINT32_MAX;  // known, but nothing is known of it
    }
  }

  // Every top-level name once.
  void names(Module& module) {
    for (Cursor c = module.tree.root().first(); c; c = module.tree.root().next(c)) {
      if (c.is(Node::import_decl) || c.is(Node::kflow_decl) || c.is(Node::test_decl) ||
          c.is(Node::error))
        continue;
      const Cursor name = c.child(Node::identifier);
      if (!name) continue;
      const auto [it, added] = module.names.emplace(std::string(name.text()), name.span());
      if (added) continue;
      m_.sink
          .report(Kind::duplicate_name, name.span(),
                  fmt::format("`{}` is declared twice", name.text()))
          .secondary(it->second, "first declared here");
    }
  }

  bool first(Module& module, Cursor name) const {
    const auto it = module.names.find(name.text());
    return it != module.names.end() && it->second == name.span();
  }

  void types(Module& module) {
    const auto all = module.tree.root().children(Node::type_decl);
    for (const Cursor c : all) {
      const Cursor name = c.child(Node::identifier);
      if (name && first(module, name))
        module.types[std::string(name.text())] =
            m_.types.declare(std::string(name.text()), c.doc());
    }
    // Aliases of aliases resolve in any order: an alias that is still open is a cycle.
    for (const Cursor c : all) {
      const Cursor name = c.child(Node::identifier);
      if (name && first(module, name)) define(module, c, module.types[std::string(name.text())]);
    }
  }

  void define(Module& module, Cursor c, TypeId id) {
    Cursor body;
    for (Cursor x = c.first(); x; x = c.next(x)) {
      if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type) body = x;
    }
    if (!body) return;
    const TypeId content = resolve_type(m_, module, body);
    if (content == id) {
      m_.sink.report(Kind::recursive, c.child(Node::identifier).span(),
                     "this type is defined as itself");
      return;
    }
    m_.types.define(id, m_.types[content]);
  }

  void policies(Module& module) {
    for (const Cursor c : module.tree.root().children(Node::config_decl)) {
      const Cursor name = c.child(Node::identifier);
      const Cursor block = c.child(Node::options);
      if (!name || !block) continue;
      const std::string_view kind = c.child(Node::keyword).text();
      if (kind == "retry") {
        if (const auto policy = retry_policy(m_, module, block))
          module.retries[std::string(name.text())] = *policy;
      } else {
        check_options(m_, kind, name, block);
        if (kind == "model") module.models[std::string(name.text())] = c;
      }
    }
    for (const Cursor c : module.tree.root().children(Node::secret_decl)) {
      if (const Cursor name = c.child(Node::identifier))
        module.secrets.insert(std::string(name.text()));
    }
  }

  // After consts and secrets: a command may be made of those.
  void servers(uint32_t index) {
    Module& module = *m_.modules[index];
    for (const Cursor c : module.tree.root().children(Node::config_decl)) {
      const Cursor name = c.child(Node::identifier);
      if (!name || c.child(Node::keyword).text() != "mcp" || !first(module, name)) continue;
      const auto id = static_cast<uint32_t>(m_.servers.size());
      module.servers[std::string(name.text())] = id;
      const bool sound = !c.has_errors();
      m_.servers.push_back({.spec = sound ? mcp_server(m_, module, c) : ir::McpServer(),
                            .span = name.span(),
                            .module = index});
      if (!m_.servers[id].spec.name.empty() && !m_.locking) declare_tools(m_, id);
    }
  }

  std::vector<ParamInfo> params(Module& module, Cursor list) {
    std::vector<ParamInfo> out;
    if (!list) return out;
    for (const Cursor p : list.children(Node::param)) {
      const Cursor name = p.child(Node::identifier);
      if (!name) continue;
      if (std::any_of(out.begin(), out.end(),
                      [&](const ParamInfo& o) { return o.name == name.text(); })) {
        m_.sink.report(Kind::duplicate_name, name.span(),
                       fmt::format("the parameter `{}` is declared twice", name.text()));
        continue;
      }
      ParamInfo info{.name = std::string(name.text()),
                     .type = type_of_child(module, p),
                     .doc = p.doc(),
                     .span = name.span()};
      info.fallback = p.expression();
      info.optional = static_cast<bool>(info.fallback) || m_.types.accepts_null(info.type);
      info.constraints = annotations(m_, module, p);
      out.push_back(std::move(info));
    }
    return out;
  }

  TypeId type_of_child(Module& module, Cursor c) {
    for (Cursor x = c.first(); x; x = c.next(x)) {
      if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type)
        return resolve_type(m_, module, x);
    }
    return TypeTable::simple(TypeKind::poison);
  }

  void callables(uint32_t index) {
    Module& module = *m_.modules[index];
    const Cursor root = module.tree.root();
    for (Cursor c = root.first(); c; c = root.next(c)) {
      const bool agent = c.is(Node::agent_decl);
      if (!agent && !c.is(Node::callable_decl) && !c.is(Node::extern_decl)) continue;
      const Cursor name = c.child(Node::identifier);
      if (!name || !first(module, name)) continue;
      const std::string_view word = c.child(Node::keyword).text();
      CallableInfo info{
          .name = std::string(name.text()), .node = c, .span = name.span(), .module = index};
      info.kind = word == "agent"    ? ir::CallableKind::agent
                  : word == "team"   ? ir::CallableKind::team
                  : word == "tool"   ? ir::CallableKind::tool
                  : word == "extern" ? ir::CallableKind::extern_tool
                                     : ir::CallableKind::workflow;
      const Cursor list = c.child(Node::params);
      info.params = params(module, list);
      if (agent && !list)
        info.params.push_back({.name = "message",
                               .type = TypeTable::simple(TypeKind::any),
                               .fallback = {},
                               .optional = false,
                               .constraints = {},
                               .doc = "",
                               .span = name.span()});
      const Cursor result = c.child(Node::result_type);
      info.result_declared = static_cast<bool>(result);
      info.result = result ? type_of_child(module, result)
                           : TypeTable::simple(agent ? TypeKind::string : TypeKind::null);
      if (c.is(Node::extern_decl) && !result) info.result = TypeTable::simple(TypeKind::any);
      if (agent) check_options(m_, word, name, c.child(Node::options));
      module.callables[info.name] = static_cast<uint32_t>(m_.callables.size());
      m_.callables.push_back(std::move(info));
    }
    for (const Cursor c : root.children(Node::const_decl)) {
      const Cursor name = c.child(Node::identifier);
      if (name && first(module, name)) module.consts[std::string(name.text())].node = c;
    }
    for (const Cursor c : root.children(Node::fn_decl)) {
      const Cursor name = c.child(Node::identifier);
      if (!name || !first(module, name)) continue;
      const Cursor result = c.child(Node::result_type);
      module.functions[std::string(name.text())] = {
          .params = params(module, c.child(Node::params)),
          .result = result ? type_of_child(module, result) : TypeTable::simple(TypeKind::any),
          .node = c};
    }
  }

  // Bodies of functions are checked where they are declared, once.
  void functions(Module& module) {
    for (auto& [name, f] : module.functions) {
      const Cursor value = f.node.expression();
      if (!value) continue;  // said by the parser
      ExpressionScope scope{.module = &module};
      for (const ParamInfo& p : f.params) scope.locals.emplace_back(p.name, p.type);
      f.open = true;
      CheckedExpression body = check_expression(m_, scope, value);
      f.open = false;
      if (f.node.child(Node::result_type))
        require_assignable(m_, body, f.result, value.span(), "the function's value");
      if (!f.node.child(Node::result_type)) f.result = body.type;
    }
  }

  Model& m_;
  std::vector<source::FileId> open_;
  bool broken_imports_ = false;
};

std::optional<cel::Value> number_argument(Model& m, Module& module, Cursor c) {
  const auto v = constant_value(m, module, c);
  if (!v) return std::nullopt;
  if (v->is_number() || v->is_null()) return v;
  m.sink.report(Kind::bad_option_value, c.span(), "this takes a number");
  return std::nullopt;
}

}  // namespace

std::vector<schema::Constraint> annotations(Model& m, Module& module, Cursor owner) {
  std::vector<schema::Constraint> out;
  static const std::vector<std::string> known{"range", "length", "pattern", "format",
                                              "check", "was",    "alias"};
  for (const Cursor a : owner.children(Node::annotation)) {
    const std::string name(a.name());
    std::vector<Cursor> args;
    if (const Cursor list = a.child(Node::arguments)) {
      for (Cursor x = list.first(); x; x = list.next(x)) {
        if (syntax::is_expression(x.kind())) args.push_back(x);
      }
    }
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      m.sink
          .report(Kind::unknown_annotation, a.span(),
                  fmt::format("no annotation is named `@{}`", name))
          .suggest(name, known);
      continue;
    }
    if (name == "was" || name == "alias") continue;
    if (args.empty()) {
      m.sink.report(Kind::wrong_arguments, a.span(), fmt::format("`@{}` needs an argument", name));
      continue;
    }
    schema::Constraint c;
    if (name == "range" || name == "length") {
      c.kind = name == "range" ? schema::Constraint::Kind::range : schema::Constraint::Kind::length;
      const auto low = number_argument(m, module, args[0]);
      const auto high =
          args.size() > 1 ? number_argument(m, module, args[1]) : std::optional(cel::Value());
      if (!low || !high) continue;
      c.min = *low;
      c.max = *high;
    } else if (name == "check") {
      c.kind = schema::Constraint::Kind::check;
      c.text = args[0].text();
      ExpressionScope scope{.module = &module};
      scope.locals.emplace_back("this", TypeTable::simple(TypeKind::any));
      c.program = compile_with_locals(m, scope, args[0]);
    } else {
      const auto v = constant_value(m, module, args[0]);
      if (!v || v->kind() != cel::Kind::string) continue;
      c.kind =
          name == "pattern" ? schema::Constraint::Kind::pattern : schema::Constraint::Kind::format;
      c.text = v->as_string();
      std::string error;
      if (name == "pattern" && !cel::Regex::compile(c.text, &error)) {
        m.sink.report(Kind::bad_option_value, args[0].span(),
                      fmt::format("malformed regular expression: {}", error));
        continue;
      }
      if (name == "format" && !schema::is_known_format(c.text)) {
        m.sink
            .report(Kind::bad_option_value, args[0].span(),
                    fmt::format("no format is named `{}`", c.text))
            .suggest(c.text,
                     {"email", "uri", "date", "time", "date-time", "uuid", "hostname", "ipv4"});
        continue;
      }
    }
    out.push_back(std::move(c));
  }
  return out;
}

void declare(Model& model, source::FileId root) {
  Declarer declarer(model);
  declarer.load(root);
  declarer.declare_all();
}

// ---------------------------------------------------------------- types

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
  m.sink.report(Kind::unknown_type, node.span(), fmt::format("no type is named `{}`", node.text()))
      .suggest(node.text(), candidates);
  return TypeTable::simple(TypeKind::poison);
}

TypeId record_type(Model& m, Module& module, Cursor node) {
  std::vector<schema::Field> fields;
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
                        .was = "",
                        .alias = ""};
    for (Cursor x = f.first(); x; x = f.next(x)) {
      if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type)
        field.type = resolve_type(m, module, x);
    }
    for (const Cursor a : f.children(Node::annotation)) {
      const Cursor list = a.child(Node::arguments);
      const Cursor text = list ? list.child(Node::string_literal) : Cursor();
      if (a.name() == "was") field.was = syntax::decode_plain(text);
      if (a.name() == "alias") field.alias = syntax::decode_plain(text);
    }
    if (const Cursor value = f.expression()) field.fallback = constant_value(m, module, value);
    fields.push_back(std::move(field));
  }
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
                        .was = "",
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

std::optional<uint32_t> find_callable(const Model& m, const Module& module, std::string_view name) {
  if (const auto it = module.callables.find(name); it != module.callables.end()) return it->second;
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  if (is_private(name.substr(dot + 1))) return std::nullopt;
  const auto import = module.imports.find(name.substr(0, dot));
  if (import == module.imports.end() || import->second == UINT32_MAX) return std::nullopt;
  const Module& other = *m.modules[import->second];
  const auto it = other.callables.find(name.substr(dot + 1));
  return it == other.callables.end() ? std::nullopt : std::optional(it->second);
}

std::vector<std::string> callable_names(const Model& m, const Module& module) {
  std::vector<std::string> out;
  for (const auto& [name, id] : module.callables) out.push_back(name);
  for (const auto& [import, index] : module.imports) {
    if (index == UINT32_MAX) continue;
    for (const auto& [name, id] : m.modules[index]->callables) {
      if (!is_private(name)) out.push_back(import + "." + name);
    }
  }
  for (const ir::Builtin& builtin : ir::all_builtins()) out.emplace_back(builtin.name);
  return out;
}

const ConstInfo* constant(Model& m, Module& module, std::string_view name) {
  const auto it = module.consts.find(name);
  if (it == module.consts.end()) return nullptr;
  ConstInfo& info = it->second;
  if (info.state == ConstInfo::State::done) return &info;
  const Cursor label = info.node.child(Node::identifier);
  if (info.state == ConstInfo::State::computing) {
    m.sink.report(Kind::recursive, label.span(),
                  fmt::format("the value of `{}` needs itself", name));
    return &info;
  }
  info.state = ConstInfo::State::computing;
  info.type = TypeTable::simple(TypeKind::poison);
  if (const auto v = constant_value(m, module, info.node.expression())) {
    info.value = *v;
    info.type = type_of(m, *v);
    for (Cursor x = info.node.first(); x; x = info.node.next(x)) {
      if (!(x.kind() >= Node::union_type && x.kind() <= Node::paren_type)) continue;
      info.type = resolve_type(m, module, x);
      const auto checked =
          schema::validate(m.types, info.type, info.value, schema::Source::internal);
      if (!checked.ok()) {
        m.sink.report(Kind::type_mismatch, info.node.expression().span(),
                      fmt::format("`{}` is not {}: {}", name, m.types.display(info.type),
                                  checked.violations[0].rule));
      } else {
        info.value = checked.value;
      }
    }
  }
  info.state = ConstInfo::State::done;
  return &info;
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
                          .was = "",
                          .alias = ""});
      }
      return m.types.record(std::move(fields));
    }
  }
  std::unreachable();
}

}  // namespace kflow::sema
