// Imports, types, signatures, consts: everything outside the bodies.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

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
    endless(module, all);
  }

  // A record that needs another of itself, and so on: it has no value.
  void endless(const Module& module, const std::vector<Cursor>& all) {
    std::set<uint32_t> open;  // those of which nothing is known yet
    for (const auto& [name, id] : module.types) open.insert(id.value);
    for (size_t before = 0; before != open.size();) {
      before = open.size();
      std::erase_if(open, [&](uint32_t id) { return has_value(TypeId(id), open); });
    }
    for (const Cursor c : all) {
      const Cursor name = c.child(Node::identifier);
      const auto it = name ? module.types.find(name.text()) : module.types.end();
      if (it == module.types.end() || !open.contains(it->second.value)) continue;
      m_.sink
          .report(Kind::recursive, name.span(),
                  fmt::format("no value of `{}` ends: each needs another one", name.text()))
          .note("a field of its own type is `T?`, `T[]`, a map, or has a default");
    }
  }
  // Whether something can be one, if nothing is one of the types that are open.
  bool has_value(TypeId id, const std::set<uint32_t>& open) const {
    const schema::Type& type = m_.types[id];
    const auto known = [&](TypeId x) {
      return !open.contains(x.value) && (!m_.types[x].name.empty() || has_value(x, open));
    };
    if (type.kind == TypeKind::record)
      return std::all_of(type.fields.begin(), type.fields.end(), [&](const schema::Field& f) {
        return f.fallback.has_value() || known(f.type);
      });
    if (type.kind == TypeKind::record_union)
      return std::any_of(type.arms.begin(), type.arms.end(), known);
    return true;
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
    std::vector<FormerNames> former;
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
      if (auto was = former_names(m_, p, name, true)) {
        info.was = was->was;
        former.push_back(std::move(*was));
      }
      out.push_back(std::move(info));
    }
    check_former_names(m_, former, [&](std::string_view wanted) -> std::optional<source::Span> {
      for (const ParamInfo& p : out) {
        if (p.name == wanted) return p.span;
      }
      return std::nullopt;
    });
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
    std::vector<FormerNames> former;
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
      if (auto was = former_names(m_, c, name, false)) {
        info.was = was->was;
        former.push_back(std::move(*was));
      }
      module.callables[info.name] = static_cast<uint32_t>(m_.callables.size());
      m_.callables.push_back(std::move(info));
    }
    check_former_names(m_, former, [&](std::string_view wanted) -> std::optional<source::Span> {
      const auto it = module.callables.find(wanted);
      return it == module.callables.end() ? std::nullopt
                                          : std::optional(m_.callables[it->second].span);
    });
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

}  // namespace kflow::sema
