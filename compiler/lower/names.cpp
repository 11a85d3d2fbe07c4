// Names in scope, and expressions over them.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

ScopeId Lowerer::open_scope(ir::ScopeKind kind, ScopeId parent) {
  out_.scopes.push_back({.kind = kind, .parent = parent});
  slots_.resize(out_.scopes.size());
  return ScopeId(out_.scopes.size() - 1);
}

Slot Lowerer::add_slot(ScopeId scope, std::string name, TypeId type) {
  auto& slots = out_.scopes[scope.value].slots;
  const auto slot = static_cast<Slot>(slots.size());
  slots_[scope.value].insert_or_assign(name, slot);
  slots.push_back({.name = std::move(name), .type = type});
  return slot;
}

Slot Lowerer::slot_named(ScopeId scope, std::string_view name) const {
  const auto it = slots_[scope.value].find(name);
  return it == slots_[scope.value].end() ? no_slot : it->second;
}

void Lowerer::set_former_names(ScopeId scope, Slot slot, const std::vector<std::string>& was) {
  if (slot != no_slot && !was.empty()) out_.scopes[scope.value].slots[slot].was = was;
}

// Slot of a name in the present scope: one that exclusive arms defined before is used again.
Binding Lowerer::define(const std::string& name, source::Span span, TypeId type, bool check) {
  Level& l = level();
  if (check && syntax_name_taken(name, span))
    return {l.scope, add_slot(l.scope, name, type), type, span};
  Slot slot = slot_named(l.scope, name);
  if (slot == no_slot) {
    slot = add_slot(l.scope, name, type);
  } else if (out_.scopes[l.scope.value].slots[slot].type != type) {
    TypeId& known = out_.scopes[l.scope.value].slots[slot].type;
    const TypeId joined = t_.join(known, type);
    if (check && t_[joined].kind == TypeKind::any && t_[known].kind != TypeKind::any &&
        t_[type].kind != TypeKind::any) {
      m_.sink
          .report(Kind::type_mismatch, span,
                  fmt::format("`{}` is {} here and {} in another arm", name, t_.display(type),
                              t_.display(known)))
          .note("arms that define the same name give it the same type");
    }
    known = joined;
  }
  const Binding binding{l.scope, slot, type, span};
  if (m_.index != nullptr) m_.index->names.push_back({span, name, type});
  l.names[name] = binding;
  return binding;
}

bool Lowerer::syntax_name_taken(const std::string& name, source::Span span) {
  for (auto it = levels_.rbegin(); it != levels_.rend(); ++it) {
    const auto found = it->names.find(name);
    if (found == it->names.end()) continue;
    m_.sink.report(Kind::duplicate_name, span, fmt::format("`{}` is defined already", name))
        .secondary(found->second.span, "first defined here");
    return true;
  }
  if (name == "run" || name == "session" || name == "user" || name == "iteration") {
    m_.sink.report(Kind::duplicate_name, span, fmt::format("`{}` has a meaning of its own", name));
    return true;
  }
  return false;
}

std::optional<sema::Resolved> Lowerer::lookup(std::string_view name, source::Span span,
                                              bool& reported) {
  uint32_t hops = 0;
  for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++hops) {
    if (const auto found = it->names.find(name); found != it->names.end()) {
      if (m_.index != nullptr) m_.index->uses.push_back({span, found->second.span});
      return sema::Resolved{{ir::VarSource::slot, hops, found->second.slot}, found->second.type};
    }
    const auto future = it->futures.find(name);
    if (future == it->futures.end()) continue;
    if (m_.index != nullptr) m_.index->uses.push_back({span, future->second.span});
    if (it->concurrent) {
      m_.sink
          .report(
              Kind::previous_in_concurrent, span,
              fmt::format("`{}` is read before it is defined, and iterations run at the same time",
                          name))
          .secondary(future->second.span, "defined here")
          .note("with a `limit` above 1 there is no preceding iteration");
      reported = true;
      return std::nullopt;
    }
    Slot slot = slot_named(it->scope, name);
    if (slot == no_slot) slot = add_slot(it->scope, std::string(name), future->second.type);
    out_.scopes[it->scope.value].slots[slot].carried = true;
    return sema::Resolved{{ir::VarSource::previous, hops, slot}, t_.nullable(future->second.type)};
  }
  if (name == "iteration") {
    uint32_t up = 0;
    for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++up) {
      if (it->loop)
        return sema::Resolved{{ir::VarSource::iteration, up, 0}, TypeTable::simple(TypeKind::int_)};
    }
  }
  if (test_ != nullptr) return std::nullopt;  // there is no run around it
  if (name == "run") return sema::Resolved{{ir::VarSource::run, 0, 0}, run_type()};
  if (name == "session") return sema::Resolved{{ir::VarSource::session, 0, 0}, session_record()};
  if (name == "user") return sema::Resolved{{ir::VarSource::user, 0, 0}, id_type()};
  if (const auto sibling = siblings_.find(name); sibling != siblings_.end()) {
    m_.sink
        .report(Kind::other_branch, span,
                fmt::format("`{}` is defined in another branch of this `parallel`", name))
        .secondary(sibling->second, "defined here")
        .note("branches run at the same time; put both into one `branch name { … }`");
    reported = true;
    return std::nullopt;
  }
  if (const auto later = later_.find(name); later != later_.end()) {
    const uint32_t line = m_.sources[later->second.file].position(later->second.begin).line;
    const bool before = later->second.begin > span.begin;
    reported = true;
    if (!m_.unknown_names.insert(std::string(name)).second) return std::nullopt;
    m_.sink
        .report(Kind::used_before_definition, span,
                before
                    ? fmt::format("`{}` is used before it is defined; it is defined on line {}",
                                  name, line)
                    : fmt::format(
                          "`{}` is not visible here; it is defined on line {} inside another block",
                          name, line))
        .secondary(later->second, "defined here");
    reported = true;
  }
  return std::nullopt;
}

TypeId Lowerer::record_of(std::initializer_list<std::pair<std::string_view, TypeId>> fields) {
  std::vector<schema::Field> out;
  for (const auto& [name, type] : fields)
    out.push_back({.name = std::string(name),
                   .type = type,
                   .fallback = {},
                   .constraints = {},
                   .doc = "",
                   .was = {},
                   .alias = ""});
  return t_.record(std::move(out));
}

TypeId Lowerer::run_type() {
  const TypeId string = TypeTable::simple(TypeKind::string);
  return record_of({{"id", string},
                    {"workflow", string},
                    {"started_at", TypeTable::simple(TypeKind::timestamp)},
                    {"parent", t_.nullable(string)},
                    {"attempt", TypeTable::simple(TypeKind::int_)}});
}

// The declared state, with the session's id.
TypeId Lowerer::session_record() {
  std::vector<schema::Field> fields;
  fields.push_back({.name = "id",
                    .type = TypeTable::simple(TypeKind::string),
                    .fallback = {},
                    .constraints = {},
                    .doc = "",
                    .was = {},
                    .alias = ""});
  if (session_type_) {
    for (const schema::Field& f : t_[session_type_].fields) fields.push_back(f);
  }
  return t_.record(std::move(fields));
}
TypeId Lowerer::error_type() {
  const TypeId string = TypeTable::simple(TypeKind::string);
  const TypeId any = TypeTable::simple(TypeKind::any);
  return record_of({{"kind", string},
                    {"code", string},
                    {"message", string},
                    {"step", string},
                    {"status", TypeTable::simple(TypeKind::int_)},
                    {"cause", any},
                    {"data", any}});
}

std::optional<ir::VarRef> Lowerer::facts(std::string_view name, bool errors, source::Span span) {
  uint32_t hops = 0;
  for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++hops) {
    const auto found = it->names.find(name);
    if (found == it->names.end()) continue;
    out_.scopes[it->scope.value].slots[found->second.slot].facts = true;
    return ir::VarRef{errors ? ir::VarSource::errors : ir::VarSource::info, hops,
                      found->second.slot};
  }
  hops = 0;
  for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++hops) {
    const auto& slots = out_.scopes[it->scope.value].slots;
    for (Slot i = 0; i < slots.size(); ++i) {
      if (slots[i].name != "@" + std::string(name)) continue;
      out_.scopes[it->scope.value].slots[i].facts = true;
      return ir::VarRef{errors ? ir::VarSource::errors : ir::VarSource::info, hops, i};
    }
  }
  std::vector<std::string> names;
  for (const Level& l : levels_) {
    for (const auto& [known, binding] : l.names) names.push_back(known);
    for (const ir::SlotInfo& slot : out_.scopes[l.scope.value].slots) {
      if (slot.name.starts_with('@')) names.push_back(slot.name.substr(1));
    }
  }
  m_.sink
      .report(Kind::unknown_name, span,
              fmt::format("no step, for or loop before this is named `{}`", name))
      .suggest(name, names);
  return std::nullopt;
}

std::vector<std::string> Lowerer::visible_names() const {
  std::vector<std::string> out;
  if (test_ == nullptr) out = {"run", "session", "user"};
  for (const Level& l : levels_) {
    for (const auto& [name, b] : l.names) out.push_back(name);
    for (const auto& [name, f] : l.futures) out.push_back(name);
  }
  return out;
}

ExpressionScope Lowerer::scope() {
  ExpressionScope s{.module = module_};
  s.lookup = [this](std::string_view name, source::Span span, bool& reported) {
    return lookup(name, span, reported);
  };
  s.facts = [this](std::string_view name, bool errors, source::Span span) {
    return facts(name, errors, span);
  };
  if (test_ != nullptr) {
    s.facts = nullptr;
    s.test_facts = [this](std::string_view fact, std::string_view name, source::Span span) {
      return test_fact(fact, name, span);
    };
  }
  s.candidates = [this] { return visible_names(); };
  s.non_null = non_null_;
  s.own_value = own_value_;
  s.own_name = own_name_;
  s.own_key = own_key_;
  return s;
}

ir::Origin Lowerer::origin(Cursor c) const {
  const source::Position p = m_.sources[c.tree().file()].position(c.begin());
  return {c.tree().file().value, p.line, p.column};
}

CheckedExpression Lowerer::check(Cursor node) {
  ExpressionScope s = scope();
  return sema::check_expression(m_, s, node);
}

ExprId Lowerer::add(const CheckedExpression& checked, Cursor node, TypeId type, bool needs_check) {
  ir::Expr e = sema::compile_expression(checked);
  e.type = type;
  e.check = needs_check;
  e.text = node.text();
  e.origin = origin(node);
  out_.exprs.push_back(std::move(e));
  return ExprId(out_.exprs.size() - 1);
}

// An expression whose value must be of a type.
ExprId Lowerer::typed(Cursor node, TypeId wanted, std::string_view what) {
  if (!node) return {};
  const CheckedExpression checked = check(node);
  if (!sema::require_assignable(m_, checked, wanted, node.span(), what)) return {};
  return add(checked, node, wanted, t_.needs_check(sema::outer_type(m_, checked), wanted));
}

ExprId Lowerer::untyped(Cursor node, TypeId* type) {
  if (!node) return {};
  const CheckedExpression checked = check(node);
  const TypeId outer = sema::outer_type(m_, checked);
  if (type != nullptr) *type = outer;
  return add(checked, node, outer, false);
}

}  // namespace kflow::lower
