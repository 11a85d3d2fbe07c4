// for and loop.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

// The type a name of a loop's body will have, as far as the text says so.
TypeId Lowerer::future_type(const Definition& d) {
  if (d.through_loop) return TypeTable::simple(TypeKind::any);
  Cursor declared =
      d.node.is(Node::step_stmt) ? type_node(d.node.child(Node::step_binding)) : type_node(d.node);
  // What is wrong with the type is reported at the same place again by its statement, and the sink
  // drops the repetition.
  if (declared) return sema::resolve_type(m_, *module_, declared);
  if (d.node.is(Node::step_stmt)) {
    if (const Cursor callee = d.node.child(Node::callee))
      return target(callee_name(callee), callee, true).result;
  }
  return TypeTable::simple(TypeKind::any);
}

void Lowerer::open_level(ScopeId scope, Cursor body, bool concurrent) {
  levels_.push_back({.scope = scope, .loop = true, .concurrent = concurrent});
  for (const Definition& d : definitions_in(body)) {
    const TypeId type = future_type(d);
    const auto [it, added] = level().futures.emplace(d.name, Future{type, d.span});
    if (!added) it->second.type = t_.join(it->second.type, type);
  }
}

// The body of a for or loop, and its names as seen from outside.
BlockResult Lowerer::loop_body(
    Cursor block,
    const std::vector<std::tuple<std::string, source::Span, TypeId, Slot*>>& variables,
    JumpTarget target_kind) {
  for (const auto& [name, span, type, slot] : variables) {
    level().futures.erase(name);
    *slot = define(name, span, type, true).slot;
  }
  const auto outer_siblings = std::exchange(siblings_, {});
  const int outer_depth = concurrent_depth_;
  if (target_kind == JumpTarget::concurrent_loop) ++concurrent_depth_;
  jump_targets_.push_back(target_kind);
  for (const auto& [name, span] : outer_siblings) siblings_.emplace(name, span);
  BlockResult result = statements(block, true);
  jump_targets_.pop_back();
  concurrent_depth_ = outer_depth;
  siblings_ = outer_siblings;
  return result;
}

void Lowerer::for_(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
  ir::ForNode out;
  std::vector<Cursor> names;
  Cursor alias;
  bool after_as = false;
  for (Cursor x = c.first(); x; x = c.next(x)) {
    if (x.is(Node::keyword) && x.text() == "as") after_as = true;
    if (!x.is(Node::identifier)) continue;
    if (after_as) {
      alias = x;
    } else {
      names.push_back(x);
    }
  }
  TypeId items = TypeTable::simple(TypeKind::poison);
  const Cursor expression = c.expression();
  out.items = untyped(expression, &items);
  if (!out.items) out.items = constant_expr(cel::Value::list({}), items, c);
  const Cursor block = c.child(Node::block);
  for (const OptionNode& o : sema::check_options(m_, "for", c.child(Node::keyword), block)) {
    if (!o.value) continue;
    if (o.name == "limit") {
      out.limit = count(o, 10'000);
    } else {
      const std::string word = sema::symbol_value(m_, o, "for");
      if (word == "continue" || word == "collect") out.on_error = ir::OnError::continue_;
    }
  }
  const auto [key, value] = item_types(items, expression, names.size());
  node.name = alias ? std::string(alias.text()) : unique(used, "for");
  node.named = static_cast<bool>(alias);
  out.scope = open_scope(ir::ScopeKind::for_each, level().scope);
  open_level(out.scope, block, out.limit > 1);
  std::vector<std::tuple<std::string, source::Span, TypeId, Slot*>> variables;
  if (names.size() == 1)
    variables.emplace_back(std::string(names[0].text()), names[0].span(), value, &out.value);
  if (names.size() >= 2) {
    variables.emplace_back(std::string(names[0].text()), names[0].span(), key, &out.key);
    variables.emplace_back(std::string(names[1].text()), names[1].span(), value, &out.value);
  }
  const BlockResult body =
      loop_body(block, variables, out.limit > 1 ? JumpTarget::concurrent_loop : JumpTarget::loop);
  out.body = body.block;
  const auto inner = levels_.back();
  levels_.pop_back();
  std::set<std::string> hidden;
  for (const Cursor n : names) hidden.insert(std::string(n.text()));
  for (const auto& [name, binding] : inner.names) {
    if (hidden.contains(name) || binding.scope != inner.scope) continue;
    TypeId element = binding.type;
    if (out.on_error == ir::OnError::continue_ || may_skip(block)) element = t_.nullable(element);
    out.exports.push_back({binding.slot, export_name(name, binding, t_.list_of(element))});
  }
  if (alias) out.facts = facts_slot(alias, node.was);
  node.data = std::move(out);
}

// `continue` in the body leaves names without a value.
bool Lowerer::may_skip(Cursor block) {
  if (!block) return false;
  const auto& nodes = block.tree().nodes();
  for (uint32_t i = block.index(); i < block.index() + nodes[block.index()].size; ++i) {
    if (nodes[i].kind == Node::continue_stmt) return true;
  }
  return false;
}

Slot Lowerer::export_name(const std::string& name, const Binding& binding, TypeId type) {
  if (syntax_name_taken(name, binding.span)) return add_slot(level().scope, name, type);
  const Slot slot = define(name, binding.span, type, false).slot;
  set_former_names(level().scope, slot, out_.scopes[binding.scope.value].slots[binding.slot].was);
  return slot;
}

Slot Lowerer::facts_slot(Cursor name, const std::vector<std::string>& was) {
  const std::string text(name.text());
  for (const Level& l : levels_) {
    if (l.names.contains(text)) {
      m_.sink
          .report(Kind::duplicate_name, name.span(), fmt::format("`{}` is defined already", text))
          .secondary(l.names.at(text).span, "first defined here");
    }
  }
  const Slot slot = add_slot(level().scope, "@" + text, TypeTable::simple(TypeKind::any));
  std::vector<std::string> facts;
  for (const std::string& name_before : was) facts.push_back("@" + name_before);
  set_former_names(level().scope, slot, facts);
  return slot;
}

std::pair<TypeId, TypeId> Lowerer::item_types(TypeId items, Cursor expression, size_t names) {
  const TypeId any = TypeTable::simple(TypeKind::any);
  const TypeId poison = TypeTable::simple(TypeKind::poison);
  switch (t_[items].kind) {
    case TypeKind::list:
      return {TypeTable::simple(TypeKind::int_), t_[items].element};
    case TypeKind::map:
      return {TypeTable::simple(TypeKind::string),
              names == 1 ? TypeTable::simple(TypeKind::string) : t_[items].element};
    case TypeKind::record:
      return {TypeTable::simple(TypeKind::string),
              names == 1 ? TypeTable::simple(TypeKind::string) : any};
    case TypeKind::any:
      return {any, any};
    case TypeKind::poison:
      return {poison, poison};
    default:
      m_.sink.report(t_[items].kind == TypeKind::nullable ? Kind::maybe_null : Kind::type_mismatch,
                     expression.span(),
                     fmt::format("`for` goes over a list or map, not {}", t_.display(items)));
      return {poison, poison};
  }
}

void Lowerer::loop(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
  ir::LoopNode out;
  const Cursor name = c.child(Node::identifier);
  const Cursor block = c.child(Node::block);
  node.name = name ? std::string(name.text()) : unique(used, "loop");
  node.named = static_cast<bool>(name);
  const auto options = sema::check_options(m_, "loop", c.child(Node::keyword), block);
  for (const OptionNode& o : options) {
    if (o.name == "max") {
      out.max = typed(o.value, TypeTable::simple(TypeKind::int_), "`max`");
      // `0` and `-1` at least can be seen here.
      const bool number = o.value && (o.value.is(Node::int_literal) || o.value.is(Node::unary));
      const auto most =
          number && out.max ? sema::constant_value(m_, *module_, o.value) : std::nullopt;
      if (most && most->kind() == cel::Kind::int_ && most->as_int() < 1)
        m_.sink.report(Kind::bad_option_value, o.value.span(),
                       "`max` is a number of iterations from 1");
    }
    if (o.name == "on_max" && sema::symbol_value(m_, o, "loop") == "fail")
      out.on_max = ir::OnMax::fail;
  }
  if (!out.max)
    out.max = constant_expr(cel::Value::integer(1), TypeTable::simple(TypeKind::int_), c);
  out.scope = open_scope(ir::ScopeKind::loop, level().scope);
  open_level(out.scope, block, false);
  // `while` is evaluated before an iteration, with the preceding values: no name of the body is
  // defined yet.
  for (const OptionNode& o : options) {
    if (o.name == "while")
      out.while_ = typed(o.value, TypeTable::simple(TypeKind::boolean), "`while`");
  }
  const BlockResult body = loop_body(block, {}, JumpTarget::loop);
  out.body = body.block;
  for (const OptionNode& o : options) {
    if (o.name == "until")
      out.until = typed(o.value, TypeTable::simple(TypeKind::boolean), "`until`");
  }
  const auto inner = levels_.back();
  levels_.pop_back();
  const bool skips = may_skip(block) || static_cast<bool>(out.while_);
  for (const auto& [n, binding] : inner.names) {
    if (binding.scope != inner.scope) continue;
    out.exports.push_back(
        {binding.slot, export_name(n, binding, skips ? t_.nullable(binding.type) : binding.type)});
  }
  if (name) out.facts = facts_slot(name, node.was);
  node.data = std::move(out);
}

}  // namespace kflow::lower
