// Blocks of statements and what they define.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

BlockId Lowerer::add_block(std::vector<ir::NodeId> statements) {
  out_.blocks.push_back({std::move(statements)});
  return BlockId(out_.blocks.size() - 1);
}

namespace {

// What holds the name and the annotations of a statement or branch, and the name.
std::pair<Cursor, Cursor> naming(Cursor c) {
  switch (c.kind()) {
    case Node::step_stmt: {
      const Cursor binding = c.child(Node::step_binding);
      return {binding, binding ? binding.child(Node::identifier) : Cursor()};
    }
    case Node::let_stmt:
    case Node::loop_stmt:
    case Node::branch_stmt:
      return {c, c.child(Node::identifier)};
    case Node::for_stmt: {
      const Cursor as = c.token("as");
      return {c, as ? c.child_after(as, Node::identifier) : Cursor()};
    }
    default:
      return {};
  }
}

}  // namespace

std::vector<std::string> Lowerer::former_names_of(Cursor statement) const {
  const auto [owner, name] = naming(statement);
  if (!owner || !name || !owner.child(Node::annotation)) return {};
  // What is wrong with it is reported at the same place again, and the sink drops the repetition.
  const auto former = sema::former_names(m_, owner, name, false);
  return former ? former->was : std::vector<std::string>();
}

// A former name is one that nothing has any more, in the block or around it.
void Lowerer::check_former_names(Cursor block) {
  std::vector<sema::FormerNames> former;
  std::map<std::string, source::Span, std::less<>> present;
  for (Cursor c = block.first(); c; c = block.next(c)) {
    const auto [owner, name] = naming(c);
    if (!owner || !name) continue;
    present.emplace(name.text(), name.span());
    if (auto was = sema::former_names(m_, owner, name, false)) former.push_back(std::move(*was));
  }
  if (former.empty()) return;
  sema::check_former_names(m_, former, [&](std::string_view wanted) -> std::optional<source::Span> {
    if (const auto it = present.find(wanted); it != present.end()) return it->second;
    for (const Level& l : levels_) {
      if (const auto it = l.names.find(wanted); it != l.names.end()) return it->second.span;
    }
    return std::nullopt;
  });
}

// The statements of a block in the present level. What they define is taken out of the level again
// and given back.
BlockResult Lowerer::statements(Cursor block, bool keep_names) {
  BlockResult result;
  std::vector<ir::NodeId> nodes;
  const auto before = level().names;
  const size_t facts_before = non_null_.size();
  std::map<std::string, int>& used_names = level().used;
  bool statement_seen = false;
  if (block) {
    check_former_names(block);
    for (Cursor c = block.first(); c; c = block.next(c)) {
      if (c.is(Node::option) && statement_seen) {
        m_.sink.report(Kind::misplaced, c.span(), "options stand before the statements of a block");
      }
      if (!is_statement(c.kind())) continue;
      statement_seen = true;
      if (result.leaves) {
        m_.sink.report(Kind::unreachable, c.span(), "this is never reached");
      }
      if (const auto id = statement(c, used_names, result.leaves)) nodes.push_back(*id);
    }
  }
  result.block = add_block(std::move(nodes));
  for (const auto& [name, binding] : level().names) {
    const auto known = before.find(name);
    if (known == before.end()) result.defined.emplace(name, binding);
  }
  if (!keep_names) level().names = before;
  non_null_.resize(std::min(facts_before, non_null_.size()));
  return result;
}

std::string Lowerer::unique(std::map<std::string, int>& used, const std::string& base) {
  const int n = ++used[base];
  return n == 1 ? base : fmt::format("{}_{}", base, n);
}

std::optional<ir::NodeId> Lowerer::statement(Cursor c, std::map<std::string, int>& used,
                                             bool& leaves) {
  ir::Node node{.was = former_names_of(c), .doc = c.doc(), .origin = origin(c)};
  switch (c.kind()) {
    case Node::step_stmt:
      step(c, node, used);
      break;
    case Node::let_stmt:
      let(c, node, used);
      break;
    case Node::set_stmt:
      node.name = unique(used, "set");
      set(c, node);
      break;
    case Node::if_stmt:
      node.name = unique(used, "if");
      leaves |= if_(c, node);
      break;
    case Node::match_stmt:
      node.name = unique(used, "match");
      leaves |= match(c, node);
      break;
    case Node::parallel_stmt:
      node.name = unique(used, "parallel");
      parallel(c, node);
      break;
    case Node::for_stmt:
      for_(c, node, used);
      break;
    case Node::loop_stmt:
      loop(c, node, used);
      break;
    case Node::try_stmt:
      node.name = unique(used, "try");
      leaves |= try_(c, node);
      break;
    case Node::return_stmt:
      node.name = unique(used, "return");
      return_(c, node);
      leaves = true;
      break;
    case Node::fail_stmt:
      node.name = unique(used, "fail");
      fail_(c, node);
      leaves = true;
      break;
    case Node::emit_stmt: {
      node.name = unique(used, "emit");
      node.data = ir::EmitNode{typed(c.expression(), TypeTable::simple(TypeKind::any), "`emit`")};
      if (!std::get<ir::EmitNode>(node.data).value) return std::nullopt;
      break;
    }
    case Node::break_stmt:
    case Node::continue_stmt:
      node.name = unique(used, c.is(Node::break_stmt) ? "break" : "continue");
      jump(c, node);
      leaves = true;
      break;
    case Node::branch_stmt:
      m_.sink.report(Kind::misplaced, c.span(), "`branch` stands only directly inside `parallel`");
      return std::nullopt;
    default:
      m_.sink.report(Kind::misplaced,
                     c.child(Node::keyword) ? c.child(Node::keyword).span() : c.span(),
                     "this statement stands only in a `test`");
      return std::nullopt;
  }
  out_.nodes.push_back(std::move(node));
  return ir::NodeId(out_.nodes.size() - 1);
}

// Merges what exclusive arms defined into the level: the type is plain if every arm that does not
// leave defines it.
void Lowerer::merge_arms(const std::vector<BlockResult>& arms, bool exhaustive) {
  std::set<std::string> names;
  for (const BlockResult& arm : arms) {
    for (const auto& [name, b] : arm.defined) names.insert(name);
  }
  for (const std::string& name : names) {
    bool everywhere = exhaustive;
    TypeId type;
    Binding first;
    for (const BlockResult& arm : arms) {
      const auto it = arm.defined.find(name);
      if (it == arm.defined.end()) {
        everywhere = everywhere && arm.leaves;
        continue;
      }
      if (!first.scope) first = it->second;
      type = type ? t_.join(type, it->second.type) : it->second.type;
    }
    first.type = everywhere ? type : t_.nullable(type);
    level().names[name] = first;
  }
}

bool Lowerer::all_leave(const std::vector<BlockResult>& arms, bool exhaustive) const {
  return exhaustive && !arms.empty() &&
         std::all_of(arms.begin(), arms.end(), [](const BlockResult& a) { return a.leaves; });
}

}  // namespace kflow::lower
