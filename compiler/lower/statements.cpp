// Pure statements: let, set, return, fail, break, continue.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

void Lowerer::let(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
  const Cursor name = c.child(Node::identifier);
  const Cursor value = c.expression();
  ir::LetNode let;
  TypeId type = TypeTable::simple(TypeKind::poison);
  if (const Cursor declared = type_node(c)) {
    type = sema::resolve_type(m_, *module_, declared);
    let.value = typed(value, type, name ? fmt::format("`{}`", name.text()) : "this");
  } else {
    let.value = untyped(value, &type);
  }
  if (!let.value) let.value = constant_expr({}, type, c);
  node.name = name ? std::string(name.text()) : unique(used, "let");
  node.named = true;
  let.slot =
      name ? define(node.name, name.span(), type, true).slot : add_slot(level().scope, "", type);
  set_former_names(level().scope, let.slot, node.was);
  node.data = let;
}

// A `set` in error: what is right of `=` is checked all the same.
void Lowerer::check_only(Cursor c, ir::Node& node) {
  ir::SetNode set;
  set.value = untyped(c.expression());
  if (!set.value) set.value = constant_expr({}, TypeTable::simple(TypeKind::poison), c);
  node.data = std::move(set);
}

void Lowerer::set(Cursor c, ir::Node& node) {
  ir::SetNode set;
  TypeId wanted = TypeTable::simple(TypeKind::poison);
  if (const Cursor path = c.child(Node::session_path)) {
    const auto parts = path.children(Node::identifier);
    if (parts.size() < 2 || parts[0].text() != "session") {
      m_.sink.report(Kind::misplaced, path.span(), "only `session.name` can be set");
      return check_only(c, node);
    }
    TypeId type = session_record();
    for (size_t i = 1; i < parts.size(); ++i) {
      const TypeId inside = t_.without_null(type);
      std::vector<std::string> names;
      for (const schema::Field& f : t_[inside].fields) {
        if (f.name != "id" || i > 1) names.push_back(f.name);
      }
      const auto field = std::find_if(
          t_[inside].fields.begin(), t_[inside].fields.end(), [&](const schema::Field& f) {
            return f.name == parts[i].text() && (f.name != "id" || i > 1);
          });
      if (t_[inside].kind == TypeKind::any || t_[inside].kind == TypeKind::map) {
        type = t_[inside].kind == TypeKind::map ? t_[inside].element
                                                : TypeTable::simple(TypeKind::any);
      } else if (field == t_[inside].fields.end()) {
        auto d = m_.sink.report(Kind::unknown_field, parts[i].span(),
                                fmt::format("the session has no field `{}`", parts[i].text()));
        d.suggest(parts[i].text(), names);
        d.note(session_type_ ? fmt::format("declared: {}", fmt::join(names, ", "))
                             : "declare it in the workflow: `session: { visited: string[] = [] }`");
        return check_only(c, node);
      } else {
        type = field->type;
      }
      set.path.emplace_back(parts[i].text());
    }
    wanted = type;
  }
  set.value = typed(c.expression(), wanted, "this");
  if (!set.value) set.value = constant_expr({}, wanted, c);
  node.data = std::move(set);
}

void Lowerer::return_(Cursor c, ir::Node& node) {
  if (concurrent_depth_ > 0) crossing(c, "return");
  ir::ReturnNode out;
  const Cursor value = c.expression();
  if (value) {
    if (!result_declared_) {
      m_.sink
          .report(Kind::type_mismatch, value.span(),
                  "this returns a value, but no result type is declared")
          .note("write `-> Type` after the parameters");
      check(value);
    } else {
      out.value = typed(value, result_type_, "the result");
    }
  } else if (result_declared_ && !t_.accepts_null(result_type_) && !c.has_errors()) {
    m_.sink.report(
        Kind::type_mismatch, c.span(),
        fmt::format("this returns nothing, but the result is {}", t_.display(result_type_)));
  }
  node.data = out;
}

void Lowerer::crossing(Cursor c, std::string_view what) {
  m_.sink
      .report(Kind::crosses_concurrency, c.span(),
              fmt::format("`{}` cannot leave a block that runs beside others", what))
      .note("a `parallel` branch or a `for` with a `limit` above 1 ends on its own");
}

void Lowerer::fail_(Cursor c, ir::Node& node) {
  ir::FailNode out;
  const Cursor value = c.expression();
  if (value && value.is(Node::map)) {
    for (const OptionNode& o : sema::options_in(value)) {
      if (o.name == "code") {
        out.code = typed(o.value, TypeTable::simple(TypeKind::string), "`code`");
      } else if (o.name == "message") {
        out.message = typed(o.value, TypeTable::simple(TypeKind::string), "`message`");
      } else if (o.name == "data") {
        out.data = typed(o.value, TypeTable::simple(TypeKind::any), "`data`");
      } else {
        m_.sink
            .report(Kind::unknown_option, o.name_node.span(),
                    fmt::format("`fail` has no field `{}`", o.name))
            .suggest(o.name, {"code", "message", "data"});
      }
    }
  } else if (value) {
    out.message = typed(value, TypeTable::simple(TypeKind::string), "`fail`");
  }
  node.data = out;
}

void Lowerer::jump(Cursor c, ir::Node& node) {
  const bool is_break = c.is(Node::break_stmt);
  const std::string_view word = is_break ? "break" : "continue";
  // The innermost enclosing construct that stops it: a loop, or a concurrent boundary.
  if (jump_targets_.empty()) {
    m_.sink.report(Kind::outside_loop, c.span(), fmt::format("`{}` stands in no loop", word));
  } else if (jump_targets_.back() == JumpTarget::branch ||
             (jump_targets_.back() == JumpTarget::concurrent_loop && is_break)) {
    crossing(c, word);
  }
  if (is_break) {
    node.data = ir::BreakNode{};
  } else {
    node.data = ir::ContinueNode{};
  }
}

}  // namespace kflow::lower
