// if, match, parallel, try.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

bool Lowerer::if_(Cursor c, ir::Node& node) {
  ir::IfNode out;
  std::vector<BlockResult> arms;
  bool exhaustive = false;
  std::vector<std::string>
      otherwise;  // what is known not to be null once every condition so far was false
  const size_t before = non_null_.size();
  for (Cursor at = c; at;) {
    const Cursor condition = at.expression();
    const CheckedExpression checked = check(condition);
    ExprId e;
    if (condition && sema::require_assignable(m_, checked, TypeTable::simple(TypeKind::boolean),
                                              condition.span(), "a condition")) {
      e = add(checked, condition, TypeTable::simple(TypeKind::boolean),
              t_.needs_check(sema::outer_type(m_, checked), TypeTable::simple(TypeKind::boolean)));
    }
    if (!e) e = constant_expr(cel::Value::boolean(false), TypeTable::simple(TypeKind::boolean), at);
    const auto when_true = sema::non_null_when(checked.ast, checked.ast.root, true);
    non_null_.insert(non_null_.end(), when_true.begin(), when_true.end());
    arms.push_back(statements(at.child(Node::block)));
    non_null_.resize(non_null_.size() - std::min(non_null_.size(), when_true.size()));
    out.arms.push_back({e, arms.back().block});
    const auto when_false = sema::non_null_when(checked.ast, checked.ast.root, false);
    otherwise.insert(otherwise.end(), when_false.begin(), when_false.end());
    non_null_.insert(non_null_.end(), when_false.begin(), when_false.end());
    const Cursor rest = at.child(Node::else_part);
    if (!rest) break;
    at = rest.child(Node::if_stmt);
    if (at) continue;
    arms.push_back(statements(rest.child(Node::block)));
    out.arms.push_back({{}, arms.back().block});
    exhaustive = true;
  }
  non_null_.resize(before);
  merge_arms(arms, exhaustive);
  // A guard that leaves: after it, its condition was false.
  const bool guard = !exhaustive && std::all_of(arms.begin(), arms.end(),
                                                [](const BlockResult& a) { return a.leaves; });
  if (guard) non_null_.insert(non_null_.end(), otherwise.begin(), otherwise.end());
  node.data = std::move(out);
  return all_leave(arms, exhaustive);
}

namespace {

// `a.b` of an expression that is nothing but names and dots; else "".
std::string plain_path(Cursor expression) {
  if (!expression) return "";
  const std::string_view text = expression.text();
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  });
  return plain && text.find('.') != std::string_view::npos ? std::string(text) : "";
}

}  // namespace

bool Lowerer::match(Cursor c, ir::Node& node) {
  ir::MatchNode out;
  const Cursor subject = c.expression();
  TypeId type = TypeTable::simple(TypeKind::poison);
  out.subject = untyped(subject, &type);
  if (!out.subject) out.subject = constant_expr({}, type, c);
  std::vector<BlockResult> arms;
  std::vector<cel::Value> covered;
  bool has_else = false;
  const size_t errors = m_.sink.errors();
  bool wrong_pattern = false;  // perhaps what is missing
  const std::string path = plain_path(subject);
  const size_t known = non_null_.size();
  for (const Cursor arm : c.children(Node::match_arm)) {
    ir::MatchNode::Arm made;
    if (arm.token("else")) {
      has_else = true;
    } else {
      for (Cursor p = arm.first(); p; p = arm.next(p)) {
        if (!syntax::is_expression(p.kind())) continue;
        pattern(p, type, covered, made.patterns);
      }
      wrong_pattern |= made.patterns.empty() || m_.sink.errors() > errors;
      if (made.patterns.empty())
        made.patterns.push_back(cel::Value::none());  // an arm in error takes nothing
    }
    // In an arm it is known which of the records a value is.
    if (!path.empty() && !made.patterns.empty()) {
      non_null_.push_back(sema::is_fact(path, made.patterns));
    } else if (!path.empty()) {
      for (const cel::Value& v : covered) non_null_.push_back(sema::is_not_fact(path, v));
    }
    arms.push_back(statements(arm.child(Node::block)));
    non_null_.resize(known);
    made.body = arms.back().block;
    out.arms.push_back(std::move(made));
  }
  const size_t before = m_.sink.errors();
  const bool exhaustive = has_else || wrong_pattern || exhausts(c, type, covered);
  // What it leaves out is reported: neither that the body may go on after it, nor that it may not.
  const bool reported = wrong_pattern || m_.sink.errors() > before;
  open_match_ |= reported;
  merge_arms(arms, exhaustive);
  node.data = std::move(out);
  return !reported && all_leave(arms, exhaustive);
}

void Lowerer::pattern(Cursor p, TypeId type, std::vector<cel::Value>& covered,
                      std::vector<cel::Value>& patterns) {
  const auto v = sema::constant_value(m_, *module_, p);
  if (!v) return;
  if (std::any_of(covered.begin(), covered.end(), [&](const cel::Value& x) { return x == *v; })) {
    m_.sink.report(Kind::duplicate_name, p.span(),
                   fmt::format("the pattern {} stands twice", cel::to_display(*v)));
  }
  const TypeId own = sema::type_of(m_, *v);
  if (!t_.assignable(own, type)) {
    m_.sink.report(
        Kind::type_mismatch, p.span(),
        fmt::format("{} never equals a value of {}", cel::to_display(*v), t_.display(type)));
  }
  covered.push_back(*v);
  patterns.push_back(*v);
}

bool Lowerer::exhausts(Cursor c, TypeId type, const std::vector<cel::Value>& covered) {
  const schema::Type& t = t_[t_.without_null(type)];
  if (t.kind == TypeKind::poison || c.has_errors()) return true;
  std::vector<cel::Value> all = t.literals;
  if (t.kind == TypeKind::boolean) all = {cel::Value::boolean(true), cel::Value::boolean(false)};
  if (t_[type].kind == TypeKind::nullable) all.emplace_back();
  std::vector<std::string> open;
  for (const cel::Value& v : all) {
    if (std::none_of(covered.begin(), covered.end(), [&](const cel::Value& x) { return x == v; }))
      open.push_back(cel::to_display(v));
  }
  const bool finite = t.kind == TypeKind::literal_union || t.kind == TypeKind::boolean;
  if (finite && open.empty()) return true;
  auto d =
      m_.sink.report(Kind::not_exhaustive, c.child(Node::keyword).span(),
                     finite ? fmt::format("this `match` leaves out {}", fmt::join(open, ", "))
                            : fmt::format("a `match` on {} needs an `else`", t_.display(type)));
  if (finite) d.note("add an arm for it, or `else { … }`");
  return true;  // what it would mean for the names is not said again
}

void Lowerer::parallel(Cursor c, ir::Node& node) {
  ir::ParallelNode out;
  const Cursor block = c.child(Node::block);
  std::vector<Cursor> branches;
  if (block) {
    check_former_names(block);
    for (Cursor x = block.first(); x; x = block.next(x)) {
      if (is_statement(x.kind())) branches.push_back(x);
    }
  }
  for (const OptionNode& o : sema::check_options(m_, "parallel", c, block)) {
    if (!o.value) continue;
    if (o.name == "limit") {
      out.limit = count(o, 1'000'000);
    } else {
      join(o, out, branches.size());
    }
  }
  const auto outer_siblings = siblings_;
  const auto before = level().names;
  std::map<std::string, Binding, std::less<>> defined;
  jump_targets_.push_back(JumpTarget::branch);
  ++concurrent_depth_;
  std::map<std::string, int>& used = level().used;
  std::set<std::string> branch_names;
  for (const Cursor branch : branches) {
    siblings_ = outer_siblings;
    for (const Cursor other : branches) {
      if (other.index() == branch.index()) continue;
      for (const Definition& d : definitions_of(other)) siblings_.insert_or_assign(d.name, d.span);
    }
    out.branches.push_back(lower_branch(branch, used, branch_names, defined, before));
  }
  --concurrent_depth_;
  jump_targets_.pop_back();
  siblings_ = outer_siblings;
  level().names = before;
  for (auto& [name, binding] : defined) {
    if (out.join != ir::JoinKind::all) binding.type = t_.nullable(binding.type);
    level().names[name] = binding;
  }
  node.data = std::move(out);
}

std::vector<Definition> Lowerer::definitions_of(Cursor statement) {
  // The statement itself may be the definition: look at it as the only child of a block.
  std::vector<Definition> out;
  if (statement.is(Node::step_stmt)) {
    const Cursor binding = statement.child(Node::step_binding);
    if (const Cursor name = binding ? binding.child(Node::identifier) : Cursor())
      out.push_back({std::string(name.text()), statement, name.span(), false});
    return out;
  }
  if (statement.is(Node::let_stmt)) {
    if (const Cursor name = statement.child(Node::identifier))
      out.push_back({std::string(name.text()), statement, name.span(), false});
    return out;
  }
  return definitions_in(statement);
}

ir::ParallelNode::Branch Lowerer::lower_branch(
    Cursor branch, std::map<std::string, int>& used, std::set<std::string>& branch_names,
    std::map<std::string, Binding, std::less<>>& defined,
    const std::map<std::string, Binding, std::less<>>& before) {
  ir::ParallelNode::Branch out;
  BlockResult result;
  level().names = before;
  if (branch.is(Node::branch_stmt)) {
    const Cursor name = branch.child(Node::identifier);
    out.name = name ? std::string(name.text()) : "branch";
    if (name && !branch_names.insert(out.name).second) {
      m_.sink.report(Kind::duplicate_name, name.span(),
                     fmt::format("two branches are named `{}`", out.name));
    }
    out.was = former_names_of(branch);
    result = statements(branch.child(Node::block));
  } else {
    bool leaves = false;
    std::vector<ir::NodeId> nodes;
    if (const auto id = statement(branch, used, leaves)) nodes.push_back(*id);
    result.block = add_block(std::move(nodes));
    for (const auto& [name, binding] : level().names) {
      if (!before.contains(name)) result.defined.emplace(name, binding);
    }
  }
  for (const auto& [name, binding] : result.defined) {
    const auto [it, added] = defined.emplace(name, binding);
    if (!added)
      m_.sink
          .report(Kind::duplicate_name, binding.span,
                  fmt::format("`{}` is defined in another branch too", name))
          .secondary(it->second.span, "here");
  }
  out.body = result.block;
  return out;
}

void Lowerer::join(const OptionNode& o, ir::ParallelNode& out, size_t branches) {
  const std::string_view word = o.value.is(Node::reference) ? o.value.name() : std::string_view();
  const Cursor arguments = o.value.is(Node::reference) ? o.value.child(Node::arguments) : Cursor();
  if (word == "first" && arguments) {
    const auto v = sema::constant_value(m_, *module_, arguments.expression());
    if (v && v->kind() == cel::Kind::int_ && v->as_int() >= 1 &&
        v->as_int() <= static_cast<int64_t>(branches)) {
      out.join = ir::JoinKind::first;
      out.first = static_cast<uint32_t>(v->as_int());
    } else if (v) {
      m_.sink.report(
          Kind::bad_option_value, arguments.span(),
          fmt::format("first(n) takes a number from 1 to {}, the number of branches", branches));
    }
  } else if (word == "all" && !arguments) {
    out.join = ir::JoinKind::all;
  } else if (word == "settled" && !arguments) {
    out.join = ir::JoinKind::settled;
  } else if (word == "any" && !arguments) {
    out.join = ir::JoinKind::any;
  } else {
    m_.sink
        .report(Kind::bad_option_value, o.value.span(), "`join` is all, settled, any or first(n)")
        .suggest(word, {"all", "settled", "any", "first"});
  }
}

bool Lowerer::try_(Cursor c, ir::Node& node) {
  ir::TryNode out;
  const Cursor block = c.child(Node::block);
  for (const OptionNode& o : sema::check_options(m_, "try", c, block)) {
    if (o.value) out.compensate = flag(o.value);
  }
  if (!out.compensate && !c.child(Node::catch_part) && !c.child(Node::finally_part) &&
      !c.has_errors()) {
    m_.sink
        .report(Kind::expected_token, c.child(Node::keyword).span(),
                "this `try` has neither a `catch` nor a `finally`")
        .note("without one, or `compensate: true`, it does nothing");
  }
  std::vector<BlockResult> arms;
  arms.push_back(statements(block));
  out.body = arms.back().block;
  for (const Cursor part : c.children(Node::catch_part)) {
    ir::TryNode::Catch made;
    const auto before = level().names;
    if (const Cursor name = part.child(Node::identifier)) {
      made.error = add_slot(level().scope, "", error_type());
      level().names[std::string(name.text())] = {level().scope, made.error, error_type(),
                                                 name.span()};
    }
    if (part.token("if"))
      made.guard = typed(part.expression(), TypeTable::simple(TypeKind::boolean), "a guard");
    arms.push_back(statements(part.child(Node::block)));
    made.body = arms.back().block;
    level().names = before;
    out.catches.push_back(made);
  }
  merge_arms(arms, true);
  if (const Cursor part = c.child(Node::finally_part)) {
    // Whatever happened before: in `finally` nothing of the arms is certain, but for its own names.
    const BlockResult result = statements(part.child(Node::block), true);
    out.finally = result.block;
  }
  node.data = std::move(out);
  return all_leave(arms, true);
}

}  // namespace kflow::lower
