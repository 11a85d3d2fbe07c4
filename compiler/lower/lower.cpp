// Statements → nodes.
#include "compiler/lower/lower.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "compiler/lower/environment.hpp"
#include "compiler/sema/constructs.hpp"
#include "compiler/sema/expressions.hpp"

namespace kflow::lower {
namespace {

using diagnostics::Kind;
using ir::BlockId;
using ir::ExprId;
using ir::no_slot;
using ir::ScopeId;
using ir::Slot;
using schema::TypeId;
using schema::TypeKind;
using schema::TypeTable;
using sema::CallableInfo;
using sema::CheckedExpression;
using sema::Cursor;
using sema::ExpressionScope;
using sema::Module;
using sema::OptionNode;
using syntax::Node;

class Lowerer {
 public:
  explicit Lowerer(sema::Model& m) : m_(m), t_(m.types) {}

  std::optional<ir::Program> run() {
    for (uint32_t i = 0; i < m_.callables.size(); ++i) callable_ids_.push_back({});
    for (uint32_t i = 0; i < m_.callables.size(); ++i) {
      if (m_.callables[i].module == 0) need(i);
    }
    while (!todo_.empty()) {
      const uint32_t next = todo_.front();
      todo_.erase(todo_.begin());
      body(next);
    }
    tool_cycles();
    if (m_.sink.has_errors()) return std::nullopt;
    out_.types = m_.types;
    for (uint32_t i = 0; i < m_.sources.size(); ++i) out_.files.push_back(m_.sources[source::FileId(i)].name());
    const std::string& name = m_.sources[m_.modules[0]->file].name();
    const size_t slash = name.rfind('/');
    out_.name = slash == std::string::npos ? name : name.substr(slash + 1);
    if (out_.name.ends_with(".kflow")) out_.name.resize(out_.name.size() - 6);
    return std::move(out_);
  }

 private:
  // ---------------------------------------------------------------- callables

  ir::CallableId need(uint32_t index) {
    if (callable_ids_[index]) return callable_ids_[index];
    const CallableInfo& info = m_.callables[index];
    const ir::CallableId id(out_.callables.size());
    callable_ids_[index] = id;
    ir::Callable c{.kind = info.kind, .name = info.name, .doc = info.node.doc(), .result = info.result};
    if (info.module != 0) c.name = module_name(info.module) + "." + info.name;
    out_.callables.push_back(std::move(c));
    todo_.push_back(index);
    return id;
  }

  std::string module_name(uint32_t module) const {
    for (const auto& [name, index] : m_.modules[0]->imports) {
      if (index == module) return name;
    }
    return "m" + std::to_string(module);
  }

  void body(uint32_t index) {
    const CallableInfo info = m_.callables[index];
    module_ = m_.modules[info.module].get();
    m_.unknown_names.clear();
    levels_.clear();
    current_ = index;
    std::vector<ir::Param> params;
    levels_.push_back({.scope = open_scope(ir::ScopeKind::body, {})});
    for (const sema::ParamInfo& p : info.params) {
      ir::Param param{.name = p.name, .type = p.type, .constraints = p.constraints, .doc = p.doc};
      if (p.fallback) param.fallback = default_value(p);
      params.push_back(std::move(param));
      define(p.name, p.span, p.type, false);
    }
    const ir::CallableId id = callable_ids_[index];
    out_.callables[id.value].params = std::move(params);
    switch (info.kind) {
      case ir::CallableKind::agent:
      case ir::CallableKind::team: return agent(id, info);
      case ir::CallableKind::extern_tool: return extern_tool(id, info);
      case ir::CallableKind::workflow:
      case ir::CallableKind::tool: break;
    }
    out_.callables[id.value].scope = levels_[0].scope;
    const Cursor block = info.node.child(Node::block);
    // Of a text with holes only the holes are reported: what is around them would be guessed at.
    if (!block || info.node.has_errors()) return;
    for (const Definition& d : definitions_in(block)) later_.insert_or_assign(d.name, d.span);
    if (info.kind == ir::CallableKind::workflow) {
      workflow_options(id, info, block);
    } else {
      for (const OptionNode& o : sema::options_in(block)) {
        m_.sink.report(Kind::unknown_option, o.name_node.span(), "a `tool` has no options");
      }
    }
    result_type_ = info.result;
    result_declared_ = info.result_declared;
    const BlockResult result = statements(block, true);
    out_.callables[id.value].body = result.block;
    if (info.result_declared && !result.leaves && !t_.accepts_null(info.result) && !block.has_errors()) {
      m_.sink.report(Kind::type_mismatch, info.span, fmt::format("`{}` can end without a `return`", info.name)).note(fmt::format("its result is {}", t_.display(info.result)));
    }
    later_.clear();
  }

  ExprId default_value(const sema::ParamInfo& p) {
    const auto value = sema::constant_value(m_, *module_, p.fallback);
    if (!value) return {};
    const auto checked = schema::validate(t_, p.type, *value, schema::Source::internal);
    if (!checked.ok()) {
      m_.sink.report(Kind::type_mismatch, p.fallback.span(), fmt::format("the default of `{}` is not {}: {}", p.name, t_.display(p.type), checked.violations[0].rule));
      return {};
    }
    return constant_expr(checked.value, p.type, p.fallback);
  }

  ExprId constant_expr(const cel::Value& value, TypeId type, Cursor at) {
    ir::Expr e{.type = type, .text = std::string(at.text()), .origin = origin(at)};
    e.program.constants.push_back(value);
    e.program.ops.push_back({.code = cel::OpCode::constant});
    out_.exprs.push_back(std::move(e));
    return ExprId(out_.exprs.size() - 1);
  }

  void raw_options(Cursor block, std::vector<ir::RawOption>& into) {
    for (const OptionNode& o : sema::options_in(block)) into.push_back({o.name, o.value ? std::string(o.value.text()) : ""});
  }

  void agent(ir::CallableId id, const CallableInfo& info) { raw_options(info.node.child(Node::options), out_.callables[id.value].options); }

  void extern_tool(ir::CallableId id, const CallableInfo& info) {
    const Cursor block = info.node.child(Node::options);
    for (const OptionNode& o : sema::check_options(m_, "extern", info.node, block)) {
      const auto v = sema::constant_value(m_, *module_, o.value);
      if (!v) continue;
      ir::Callable& c = out_.callables[id.value];
      if (o.name == "idempotent") {
        if (v->kind() == cel::Kind::boolean) {
          c.idempotent = v->as_bool();
        } else {
          m_.sink.report(Kind::bad_option_value, o.value.span(), "`idempotent` is true or false");
        }
        continue;
      }
      const bool list = v->kind() == cel::Kind::list && v->size() > 0 && std::all_of(v->as_list().begin(), v->as_list().end(), [](const cel::Value& x) { return x.kind() == cel::Kind::string; });
      if (!list) {
        m_.sink.report(Kind::bad_option_value, o.value.span(), "`command` is a list of strings: the program and its arguments");
        continue;
      }
      for (const cel::Value& x : v->as_list()) c.command.emplace_back(x.as_string());
    }
  }

  void not_built(source::Span span, std::string_view what) {
    m_.sink.report(Kind::not_built, span, fmt::format("{} does not run yet", what)).note("it is checked, but this version of kflow cannot execute it");
  }

  void workflow_options(ir::CallableId id, const CallableInfo& info, Cursor block) {
    const Cursor name = info.node.child(Node::identifier);
    for (const OptionNode& o : sema::check_options(m_, "workflow", name, block)) {
      const sema::OptionRow& row = *sema::find_option("workflow", o.name);
      if (!row.runs) {
        not_built(o.name_node.span(), fmt::format("the option `{}` of a workflow", o.name));
        out_.callables[id.value].workflow.other.push_back({o.name, o.value ? std::string(o.value.text()) : ""});
      } else if (o.name == "timeout") {
        out_.callables[id.value].workflow.timeout = typed(o.value, TypeTable::simple(TypeKind::duration), "`timeout`");
      } else if (o.name == "tags") {
        out_.callables[id.value].workflow.tags = tags(o.value);
      }
    }
  }

  std::vector<std::string> tags(Cursor value) {
    std::vector<std::string> out;
    const auto v = sema::constant_value(m_, *module_, value);
    if (!v) return out;
    if (v->kind() == cel::Kind::list) {
      for (const cel::Value& x : v->as_list()) {
        if (x.kind() == cel::Kind::string) out.emplace_back(x.as_string());
      }
    }
    if (v->kind() != cel::Kind::list || out.size() != static_cast<size_t>(v->size())) {
      m_.sink.report(Kind::bad_option_value, value.span(), "`tags` is a list of strings");
    }
    return out;
  }

  // Inline tools must not reach themselves.
  void tool_cycles() {
    std::vector<int> state(m_.callables.size(), 0);
    const std::function<void(uint32_t)> visit = [&](uint32_t i) {
      state[i] = 1;
      for (const auto& [callee, span] : calls_[i]) {
        if (m_.callables[callee].kind != ir::CallableKind::tool) continue;
        if (state[callee] == 1) {
          m_.sink.report(Kind::recursive, span, fmt::format("the tool `{}` calls itself, directly or through others", m_.callables[callee].name)).note("tools are inline; a workflow can call itself as a child run");
        } else if (state[callee] == 0) {
          visit(callee);
        }
      }
      state[i] = 2;
    };
    for (uint32_t i = 0; i < m_.callables.size(); ++i) {
      if (state[i] == 0) visit(i);
    }
  }

  // ---------------------------------------------------------------- names

  ScopeId open_scope(ir::ScopeKind kind, ScopeId parent) {
    out_.scopes.push_back({.kind = kind, .parent = parent});
    return ScopeId(out_.scopes.size() - 1);
  }
  Level& level() { return levels_.back(); }

  Slot add_slot(ScopeId scope, std::string name, TypeId type) {
    auto& slots = out_.scopes[scope.value].slots;
    slots.push_back({.name = std::move(name), .type = type});
    return static_cast<Slot>(slots.size() - 1);
  }

  // Slot of a name in the present scope: one that exclusive arms defined before is used again.
  Binding define(const std::string& name, source::Span span, TypeId type, bool check) {
    Level& l = level();
    if (check && syntax_name_taken(name, span)) return {l.scope, add_slot(l.scope, name, type), type, span};
    Slot slot = no_slot;
    const auto& slots = out_.scopes[l.scope.value].slots;
    for (Slot i = 0; i < slots.size(); ++i) {
      if (slots[i].name == name) slot = i;
    }
    if (slot == no_slot) {
      slot = add_slot(l.scope, name, type);
    } else if (out_.scopes[l.scope.value].slots[slot].type != type) {
      TypeId& known = out_.scopes[l.scope.value].slots[slot].type;
      const TypeId joined = t_.join(known, type);
      if (check && t_[joined].kind == TypeKind::any && t_[known].kind != TypeKind::any && t_[type].kind != TypeKind::any) {
        m_.sink.report(Kind::type_mismatch, span, fmt::format("`{}` is {} here and {} in another arm", name, t_.display(type), t_.display(known)))
            .note("arms that define the same name give it the same type");
      }
      known = joined;
    }
      const Binding binding{l.scope, slot, type, span};
    l.names[name] = binding;
    return binding;
  }

  bool syntax_name_taken(const std::string& name, source::Span span) {
    for (auto it = levels_.rbegin(); it != levels_.rend(); ++it) {
      const auto found = it->names.find(name);
      if (found == it->names.end()) continue;
      m_.sink.report(Kind::duplicate_name, span, fmt::format("`{}` is defined already", name)).secondary(found->second.span, "first defined here");
      return true;
    }
    if (name == "run" || name == "session" || name == "user" || name == "iteration") {
      m_.sink.report(Kind::duplicate_name, span, fmt::format("`{}` has a meaning of its own", name));
      return true;
    }
    return false;
  }

  std::optional<sema::Resolved> lookup(std::string_view name, source::Span span, bool& reported) {
    uint32_t hops = 0;
    for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++hops) {
      if (const auto found = it->names.find(name); found != it->names.end()) {
        return sema::Resolved{{ir::VarSource::slot, hops, found->second.slot}, found->second.type};
      }
      const auto future = it->futures.find(name);
      if (future == it->futures.end()) continue;
      if (it->concurrent) {
        m_.sink.report(Kind::previous_in_concurrent, span, fmt::format("`{}` is read before it is defined, and iterations run at the same time", name))
            .secondary(future->second.span, "defined here")
            .note("with a `limit` above 1 there is no preceding iteration");
        reported = true;
        return std::nullopt;
      }
      Slot slot = no_slot;
      auto& slots = out_.scopes[it->scope.value].slots;
      for (Slot i = 0; i < slots.size(); ++i) {
        if (slots[i].name == name) slot = i;
      }
      if (slot == no_slot) slot = add_slot(it->scope, std::string(name), future->second.type);
      out_.scopes[it->scope.value].slots[slot].carried = true;
      return sema::Resolved{{ir::VarSource::previous, hops, slot}, t_.nullable(future->second.type)};
    }
    if (name == "iteration") {
      uint32_t up = 0;
      for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++up) {
        if (it->loop) return sema::Resolved{{ir::VarSource::iteration, up, 0}, TypeTable::simple(TypeKind::int_)};
      }
    }
    if (name == "run") return sema::Resolved{{ir::VarSource::run, 0, 0}, run_type()};
    if (name == "session") return sema::Resolved{{ir::VarSource::session, 0, 0}, TypeTable::simple(TypeKind::any)};
    if (name == "user") return sema::Resolved{{ir::VarSource::user, 0, 0}, id_type()};
    if (const auto sibling = siblings_.find(name); sibling != siblings_.end()) {
      m_.sink.report(Kind::other_branch, span, fmt::format("`{}` is defined in another branch of this `parallel`", name))
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
      m_.sink.report(Kind::used_before_definition, span,
                     before ? fmt::format("`{}` is used before it is defined; it is defined on line {}", name, line) : fmt::format("`{}` is not visible here; it is defined on line {} inside another block", name, line))
          .secondary(later->second, "defined here");
      reported = true;
    }
    return std::nullopt;
  }

  TypeId record_of(std::initializer_list<std::pair<std::string_view, TypeId>> fields) {
    std::vector<schema::Field> out;
    for (const auto& [name, type] : fields) out.push_back({.name = std::string(name), .type = type, .fallback = {}, .constraints = {}, .doc = "", .was = "", .alias = ""});
    return t_.record(std::move(out));
  }
  TypeId run_type() {
    const TypeId string = TypeTable::simple(TypeKind::string);
    return record_of({{"id", string}, {"workflow", string}, {"started_at", TypeTable::simple(TypeKind::timestamp)}, {"parent", t_.nullable(string)}, {"attempt", TypeTable::simple(TypeKind::int_)}});
  }
  TypeId id_type() { return record_of({{"id", TypeTable::simple(TypeKind::string)}}); }
  TypeId error_type() {
    const TypeId string = TypeTable::simple(TypeKind::string);
    const TypeId any = TypeTable::simple(TypeKind::any);
    return record_of({{"kind", string}, {"code", string}, {"message", string}, {"step", string}, {"status", TypeTable::simple(TypeKind::int_)}, {"cause", any}, {"data", any}});
  }

  std::optional<ir::VarRef> facts(std::string_view name, bool errors, source::Span span) {
    uint32_t hops = 0;
    for (auto it = levels_.rbegin(); it != levels_.rend(); ++it, ++hops) {
      const auto found = it->names.find(name);
      if (found == it->names.end()) continue;
      out_.scopes[it->scope.value].slots[found->second.slot].facts = true;
      return ir::VarRef{errors ? ir::VarSource::errors : ir::VarSource::info, hops, found->second.slot};
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
    m_.sink.report(Kind::unknown_name, span, fmt::format("no step, for or loop before this is named `{}`", name));
    return std::nullopt;
  }

  std::vector<std::string> visible_names() const {
    std::vector<std::string> out{"run", "session", "user"};
    for (const Level& l : levels_) {
      for (const auto& [name, b] : l.names) out.push_back(name);
      for (const auto& [name, f] : l.futures) out.push_back(name);
    }
    return out;
  }

  // ---------------------------------------------------------------- expressions

  ExpressionScope scope() {
    ExpressionScope s{.module = module_};
    s.lookup = [this](std::string_view name, source::Span span, bool& reported) { return lookup(name, span, reported); };
    s.facts = [this](std::string_view name, bool errors, source::Span span) { return facts(name, errors, span); };
    s.candidates = visible_names();
    s.non_null = non_null_;
    return s;
  }

  ir::Origin origin(Cursor c) const {
    const source::Position p = m_.sources[c.tree().file()].position(c.begin());
    return {c.tree().file().value, p.line, p.column};
  }

  CheckedExpression check(Cursor node) {
    ExpressionScope s = scope();
    return sema::check_expression(m_, s, node);
  }

  ExprId add(const CheckedExpression& checked, Cursor node, TypeId type, bool needs_check) {
    ir::Expr e = sema::compile_expression(checked);
    e.type = type;
    e.check = needs_check;
    e.text = node.text();
    e.origin = origin(node);
    out_.exprs.push_back(std::move(e));
    return ExprId(out_.exprs.size() - 1);
  }

  // An expression whose value must be of a type.
  ExprId typed(Cursor node, TypeId wanted, std::string_view what) {
    if (!node) return {};
    const CheckedExpression checked = check(node);
    if (!sema::require_assignable(m_, checked, wanted, node.span(), what)) return {};
    return add(checked, node, wanted, t_.needs_check(sema::outer_type(m_, checked), wanted));
  }
  ExprId untyped(Cursor node, TypeId* type = nullptr) {
    if (!node) return {};
    const CheckedExpression checked = check(node);
    const TypeId outer = sema::outer_type(m_, checked);
    if (type != nullptr) *type = outer;
    return add(checked, node, outer, false);
  }

  // ---------------------------------------------------------------- blocks

  BlockId add_block(std::vector<ir::NodeId> statements) {
    out_.blocks.push_back({std::move(statements)});
    return BlockId(out_.blocks.size() - 1);
  }

  static bool is_statement(Node kind) { return kind >= Node::step_stmt && kind <= Node::expect_stmt && kind != Node::step_binding && kind != Node::callee && kind != Node::session_path && kind != Node::else_part && kind != Node::match_arm && kind != Node::catch_part && kind != Node::finally_part; }

  // The statements of a block in the present level. What they define is taken out of the level again and given back.
  BlockResult statements(Cursor block, bool keep_names = false) {
    BlockResult result;
    std::vector<ir::NodeId> nodes;
    const auto before = level().names;
    const size_t facts_before = non_null_.size();
    std::map<std::string, int> used_names;
    bool statement_seen = false;
    if (block) {
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

  std::string unique(std::map<std::string, int>& used, const std::string& base) {
    const int n = ++used[base];
    return n == 1 ? base : fmt::format("{}_{}", base, n);
  }

  std::optional<ir::NodeId> statement(Cursor c, std::map<std::string, int>& used, bool& leaves) {
    ir::Node node{.doc = c.doc(), .origin = origin(c)};
    switch (c.kind()) {
      case Node::step_stmt: step(c, node, used); break;
      case Node::let_stmt: let(c, node, used); break;
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
      case Node::for_stmt: for_(c, node, used); break;
      case Node::loop_stmt: loop(c, node, used); break;
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
        node.data = ir::EmitNode{untyped(c.expression())};
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
        m_.sink.report(Kind::misplaced, c.child(Node::keyword) ? c.child(Node::keyword).span() : c.span(), "this statement stands only in a `test`");
        return std::nullopt;
    }
    out_.nodes.push_back(std::move(node));
    return ir::NodeId(out_.nodes.size() - 1);
  }

  // Merges what exclusive arms defined into the level: the type is plain if every arm that does not leave defines it.
  void merge_arms(const std::vector<BlockResult>& arms, bool exhaustive) {
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

  bool all_leave(const std::vector<BlockResult>& arms, bool exhaustive) const {
    return exhaustive && !arms.empty() && std::all_of(arms.begin(), arms.end(), [](const BlockResult& a) { return a.leaves; });
  }

  // ---------------------------------------------------------------- steps

  struct Target {
    ir::CalleeKind kind = ir::CalleeKind::builtin;
    std::string name;
    ir::CallableId callable;
    std::vector<sema::ParamInfo> params;
    TypeId result = TypeTable::simple(TypeKind::poison);
    bool runs = true;
    bool known = false;
  };

  std::string callee_name(Cursor callee) const {
    std::string out;
    for (const Cursor part : callee.children(Node::identifier)) out += (out.empty() ? "" : ".") + std::string(part.text());
    return out;
  }

  Target target(Cursor callee, bool quiet = false) {
    Target out;
    out.name = callee_name(callee);
    if (out.name.empty()) return out;
    if (const auto index = sema::find_callable(m_, *module_, out.name)) return declared(out, *index, callee, quiet);
    if (const ir::Builtin* builtin = ir::find_builtin(out.name)) {
      out.params = sema::builtin_params(m_, *builtin);
      out.result = sema::builtin_type(m_, builtin->result);
      out.runs = builtin->runs;
      out.known = true;
      return out;
    }
    const size_t dot = out.name.rfind('.');
    if (dot != std::string::npos && out.name.substr(dot) == ".start") {
      if (const auto index = sema::find_callable(m_, *module_, out.name.substr(0, dot)); index && m_.callables[*index].kind == ir::CallableKind::workflow) {
        declared(out, *index, callee, quiet);
        out.kind = ir::CalleeKind::workflow_start;
        out.result = TypeTable::simple(TypeKind::string);
        out.runs = false;
        return out;
      }
    }
    if (quiet) return out;
    const auto import = module_->imports.find(out.name.substr(0, out.name.find('.')));
    if (import != module_->imports.end() && import->second == UINT32_MAX) return out;  // reported at the import
    if (m_.modules[0]->has_syntax_errors || module_->has_syntax_errors) return out;       // perhaps in what could not be read
    m_.sink.report(Kind::unknown_callable, callee.span(), fmt::format("nothing that can be called is named `{}`", out.name)).suggest(out.name, sema::callable_names(m_, *module_));
    return out;
  }

  Target& declared(Target& out, uint32_t index, Cursor callee, bool quiet) {
    const CallableInfo& info = m_.callables[index];
    out.params = info.params;
    out.result = info.result;
    out.known = true;
    if (!quiet) {
      out.callable = need(index);
      calls_[current_].emplace_back(index, callee.span());
    }
    switch (info.kind) {
      case ir::CallableKind::tool: out.kind = ir::CalleeKind::tool; break;
      case ir::CallableKind::extern_tool:
        out.kind = ir::CalleeKind::extern_tool;
        out.runs = static_cast<bool>(info.node.child(Node::options));
        break;
      case ir::CallableKind::workflow: out.kind = ir::CalleeKind::workflow, out.runs = false; break;
      case ir::CallableKind::agent: out.kind = ir::CalleeKind::agent, out.runs = false; break;
      case ir::CallableKind::team: out.kind = ir::CalleeKind::team, out.runs = false; break;
    }
    return out;
  }

  std::string_view what_does_not_run(const Target& t) {
    switch (t.kind) {
      case ir::CalleeKind::workflow: return "a workflow as a step";
      case ir::CalleeKind::workflow_start: return "a detached workflow";
      case ir::CalleeKind::agent: return "an agent";
      case ir::CalleeKind::team: return "a team";
      case ir::CalleeKind::extern_tool: return "an extern tool without `command`";
      default: return "this built-in";
    }
  }

  std::vector<ir::Argument> arguments(const Target& t, Cursor list, Cursor callee) {
    std::vector<ir::Argument> out;
    if (!list) return out;
    std::set<std::string> given;
    size_t position = 0;
    for (Cursor c = list.first(); c; c = list.next(c)) {
      Cursor value;
      std::string name;
      if (c.is(Node::named_argument)) {
        name = c.name();
        value = c.expression();
      } else if (syntax::is_expression(c.kind())) {
        value = c;
        if (t.known && position >= t.params.size()) {
          m_.sink.report(Kind::wrong_arguments, c.span(), fmt::format("`{}` takes {} argument{}", t.name, t.params.size(), t.params.size() == 1 ? "" : "s"));
          check(value);
          continue;
        }
        name = t.known ? t.params[position].name : "";
        ++position;
      } else {
        continue;
      }
      const auto param = std::find_if(t.params.begin(), t.params.end(), [&](const sema::ParamInfo& p) { return p.name == name; });
      if (!t.known || param == t.params.end()) {
        if (t.known) {
          std::vector<std::string> names;
          for (const sema::ParamInfo& p : t.params) names.push_back(p.name);
          m_.sink.report(Kind::wrong_arguments, c.child(Node::identifier).span(), fmt::format("`{}` has no parameter `{}`", t.name, name)).suggest(name, names).note(fmt::format("parameters: {}", fmt::join(names, ", ")));
        }
        if (value) check(value);
        continue;
      }
      if (!given.insert(name).second) {
        m_.sink.report(Kind::wrong_arguments, c.span(), fmt::format("the parameter `{}` is given twice", name));
        continue;
      }
      if (const ExprId e = typed(value, param->type, fmt::format("the parameter `{}` of `{}`", name, t.name))) out.push_back({name, e});
    }
    if (!t.known || list.has_errors()) return out;
    for (const sema::ParamInfo& p : t.params) {
      if (!p.optional && !given.contains(p.name)) {
        m_.sink.report(Kind::wrong_arguments, callee.span(), fmt::format("`{}` needs the argument `{}`", t.name, p.name)).note(fmt::format("`{}: {}`", p.name, t_.display(p.type)));
      }
    }
    // In the order of the parameters, so that equal calls are equal.
    std::vector<ir::Argument> sorted;
    for (const sema::ParamInfo& p : t.params) {
      for (const ir::Argument& a : out) {
        if (a.name == p.name) sorted.push_back(a);
      }
    }
    return sorted;
  }

  Cursor type_node(Cursor c) const {
    for (Cursor x = c.first(); x; x = c.next(x)) {
      if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type) return x;
    }
    return {};
  }

  void step(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
    const Cursor binding = c.child(Node::step_binding);
    const Cursor name = binding ? binding.child(Node::identifier) : Cursor();
    const Cursor callee = c.child(Node::callee);
    ir::StepNode step;
    TypeId type = TypeTable::simple(TypeKind::poison);
    std::string base = "step";
    if (callee) {
      const Target t = target(callee);
      step.call = {.kind = t.kind, .name = t.name, .callable = t.callable, .arguments = arguments(t, c.child(Node::arguments), callee)};
      type = t.result;
      base = t.name.substr(t.name.rfind('.') + 1);
      if (t.known && !t.runs) not_built(callee.span(), fmt::format("{} (`{}`)", what_does_not_run(t), t.name));
    }
    const Cursor declared = binding ? type_node(binding) : Cursor();
    if (declared) {
      const TypeId wanted = sema::resolve_type(m_, *module_, declared);
      if (!t_.assignable(type, wanted)) {
        m_.sink.report(Kind::type_mismatch, declared.span(), fmt::format("the value of `{}` is {}, not {}", step.call.name, t_.display(type), t_.display(wanted)));
      }
      step.check = t_.needs_check(type, wanted);
      type = wanted;
    }
    step.type = type;
    const TypeId own = type;
    step_options(c.child(Node::options), step, type, name ? std::string(name.text()) : "", own);
    node.named = static_cast<bool>(name);
    if (name) {
      node.name = name.text();
      // Named steps of one block are unique by the rule on names; exclusive arms have paths of their own.
      ++used[node.name];
      step.slot = define(node.name, name.span(), type, true).slot;
    } else {
      node.name = unique(used, base);
      while (level().names.contains(node.name)) node.name = unique(used, base);
    }
    node.data = std::move(step);
  }

  void step_options(Cursor block, ir::StepNode& step, TypeId& type, const std::string&, TypeId own) {
    const TypeId duration = TypeTable::simple(TypeKind::duration);
    Cursor fallback;
    for (const OptionNode& o : sema::check_options(m_, "step", block, block)) {
      const sema::OptionRow& row = *sema::find_option("step", o.name);
      if (!o.value) continue;
      ir::StepOptions& out = step.options;
      if (!row.runs) {
        not_built(o.name_node.span(), fmt::format("the step option `{}`", o.name));
      } else if (o.name == "retry") {
        out.retry = sema::retry_policy(m_, *module_, o.value);
      } else if (o.name == "timeout") {
        out.timeout = typed(o.value, duration, "`timeout`");
      } else if (o.name == "attempt_timeout") {
        out.attempt_timeout = typed(o.value, duration, "`attempt_timeout`");
      } else if (o.name == "on_error") {
        if (sema::symbol_value(m_, o, "step") == "continue") out.on_error = ir::OnError::continue_;
      } else if (o.name == "default") {
        fallback = o.value;
      } else if (o.name == "idempotency_key") {
        out.idempotency_key = typed(o.value, TypeTable::simple(TypeKind::string), "`idempotency_key`");
      } else if (o.name == "at_most_once") {
        out.at_most_once = flag(o.value);
      } else if (o.name == "label") {
        out.label = typed(o.value, TypeTable::simple(TypeKind::string), "`label`");
      } else if (o.name == "tags") {
        out.tags = tags(o.value);
      }
    }
    if (fallback && step.options.on_error != ir::OnError::continue_) {
      m_.sink.report(Kind::bad_option_value, fallback.span(), "`default` needs `on_error: continue`");
    } else if (fallback) {
      step.options.fallback = typed(fallback, own, "`default`");
    } else if (step.options.on_error == ir::OnError::continue_) {
      type = t_.nullable(type);
    }
  }

  bool flag(Cursor value) {
    const auto v = sema::constant_value(m_, *module_, value);
    if (v && v->kind() == cel::Kind::boolean) return v->as_bool();
    if (v) m_.sink.report(Kind::bad_option_value, value.span(), "this is true or false");
    return false;
  }

  uint32_t count(const OptionNode& o, uint32_t most) {
    const auto v = sema::constant_value(m_, *module_, o.value);
    if (!v) return 1;
    if (v->kind() == cel::Kind::int_ && v->as_int() >= 1 && v->as_int() <= most) return static_cast<uint32_t>(v->as_int());
    m_.sink.report(Kind::bad_option_value, o.value.span(), fmt::format("`{}` is a number from 1 to {}", o.name, most));
    return 1;
  }

  // ---------------------------------------------------------------- pure statements

  void let(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
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
    let.slot = name ? define(node.name, name.span(), type, true).slot : add_slot(level().scope, "", type);
    node.data = let;
  }

  void set(Cursor c, ir::Node& node) {
    ir::SetNode set;
    if (const Cursor path = c.child(Node::session_path)) {
      const auto parts = path.children(Node::identifier);
      if (parts.size() < 2 || parts[0].text() != "session") m_.sink.report(Kind::misplaced, path.span(), "only `session.name` can be set");
      for (size_t i = 1; i < parts.size(); ++i) set.path.emplace_back(parts[i].text());
    }
    set.value = untyped(c.expression());
    not_built(c.child(Node::keyword).span(), "`set`");
    node.data = std::move(set);
  }

  void return_(Cursor c, ir::Node& node) {
    if (concurrent_depth_ > 0) crossing(c, "return");
    ir::ReturnNode out;
    const Cursor value = c.expression();
    if (value) {
      if (!result_declared_) {
        m_.sink.report(Kind::type_mismatch, value.span(), "this returns a value, but no result type is declared").note("write `-> Type` after the parameters");
        check(value);
      } else {
        out.value = typed(value, result_type_, "the result");
      }
    } else if (result_declared_ && !t_.accepts_null(result_type_) && !c.has_errors()) {
      m_.sink.report(Kind::type_mismatch, c.span(), fmt::format("this returns nothing, but the result is {}", t_.display(result_type_)));
    }
    node.data = out;
  }

  void crossing(Cursor c, std::string_view what) {
    m_.sink.report(Kind::crosses_concurrency, c.span(), fmt::format("`{}` cannot leave a block that runs beside others", what)).note("a `parallel` branch or a `for` with a `limit` above 1 ends on its own");
  }

  void fail_(Cursor c, ir::Node& node) {
    ir::FailNode out;
    const Cursor value = c.expression();
    if (value && value.is(Node::map)) {
      for (const OptionNode& o : sema::options_in(value)) {
        if (o.name == "code") {
          out.code = typed(o.value, TypeTable::simple(TypeKind::string), "`code`");
        } else if (o.name == "message") {
          out.message = typed(o.value, TypeTable::simple(TypeKind::string), "`message`");
        } else if (o.name == "data") {
          out.data = untyped(o.value);
        } else {
          m_.sink.report(Kind::unknown_option, o.name_node.span(), fmt::format("`fail` has no field `{}`", o.name)).suggest(o.name, {"code", "message", "data"});
        }
      }
    } else if (value) {
      out.message = typed(value, TypeTable::simple(TypeKind::string), "`fail`");
    }
    node.data = out;
  }

  void jump(Cursor c, ir::Node& node) {
    const bool is_break = c.is(Node::break_stmt);
    const std::string_view word = is_break ? "break" : "continue";
    // The innermost enclosing construct that stops it: a loop, or a concurrent boundary.
    if (jump_targets_.empty()) {
      m_.sink.report(Kind::outside_loop, c.span(), fmt::format("`{}` stands in no loop", word));
    } else if (jump_targets_.back() == JumpTarget::branch || (jump_targets_.back() == JumpTarget::concurrent_loop && is_break)) {
      crossing(c, word);
    }
    if (is_break) {
      node.data = ir::BreakNode{};
    } else {
      node.data = ir::ContinueNode{};
    }
  }

  // ---------------------------------------------------------------- if, match

  bool if_(Cursor c, ir::Node& node) {
    ir::IfNode out;
    std::vector<BlockResult> arms;
    bool exhaustive = false;
    std::vector<std::string> otherwise;  // what is known not to be null once every condition so far was false
    const size_t before = non_null_.size();
    for (Cursor at = c; at;) {
      const Cursor condition = at.expression();
      const CheckedExpression checked = check(condition);
      ExprId e;
      if (condition && sema::require_assignable(m_, checked, TypeTable::simple(TypeKind::boolean), condition.span(), "a condition")) {
        e = add(checked, condition, TypeTable::simple(TypeKind::boolean), t_.needs_check(sema::outer_type(m_, checked), TypeTable::simple(TypeKind::boolean)));
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
    const bool guard = !exhaustive && std::all_of(arms.begin(), arms.end(), [](const BlockResult& a) { return a.leaves; });
    if (guard) non_null_.insert(non_null_.end(), otherwise.begin(), otherwise.end());
    node.data = std::move(out);
    return all_leave(arms, exhaustive);
  }

  bool match(Cursor c, ir::Node& node) {
    ir::MatchNode out;
    const Cursor subject = c.expression();
    TypeId type = TypeTable::simple(TypeKind::poison);
    out.subject = untyped(subject, &type);
    if (!out.subject) out.subject = constant_expr({}, type, c);
    std::vector<BlockResult> arms;
    std::vector<cel::Value> covered;
    bool has_else = false;
    for (const Cursor arm : c.children(Node::match_arm)) {
      ir::MatchNode::Arm made;
      if (arm.token("else")) {
        has_else = true;
      } else {
        for (Cursor p = arm.first(); p; p = arm.next(p)) {
          if (!syntax::is_expression(p.kind())) continue;
          pattern(p, type, covered, made.patterns);
        }
        if (made.patterns.empty()) made.patterns.push_back(cel::Value::none());  // an arm in error takes nothing
      }
      arms.push_back(statements(arm.child(Node::block)));
      made.body = arms.back().block;
      out.arms.push_back(std::move(made));
    }
    const bool exhaustive = has_else || exhausts(c, type, covered);
    merge_arms(arms, exhaustive);
    node.data = std::move(out);
    return all_leave(arms, exhaustive);
  }

  void pattern(Cursor p, TypeId type, std::vector<cel::Value>& covered, std::vector<cel::Value>& patterns) {
    const auto v = sema::constant_value(m_, *module_, p);
    if (!v) return;
    if (std::any_of(covered.begin(), covered.end(), [&](const cel::Value& x) { return x == *v; })) {
      m_.sink.report(Kind::duplicate_name, p.span(), fmt::format("the pattern {} stands twice", cel::to_display(*v)));
    }
    const TypeId own = sema::type_of(m_, *v);
    if (!t_.assignable(own, type)) {
      m_.sink.report(Kind::type_mismatch, p.span(), fmt::format("{} never equals a value of {}", cel::to_display(*v), t_.display(type)));
    }
    covered.push_back(*v);
    patterns.push_back(*v);
  }

  bool exhausts(Cursor c, TypeId type, const std::vector<cel::Value>& covered) {
    const schema::Type& t = t_[t_.without_null(type)];
    if (t.kind == TypeKind::poison || c.has_errors()) return true;
    std::vector<cel::Value> all = t.literals;
    if (t.kind == TypeKind::boolean) all = {cel::Value::boolean(true), cel::Value::boolean(false)};
    if (t_[type].kind == TypeKind::nullable) all.emplace_back();
    std::vector<std::string> open;
    for (const cel::Value& v : all) {
      if (std::none_of(covered.begin(), covered.end(), [&](const cel::Value& x) { return x == v; })) open.push_back(cel::to_display(v));
    }
    const bool finite = t.kind == TypeKind::literal_union || t.kind == TypeKind::boolean;
    if (finite && open.empty()) return true;
    auto d = m_.sink.report(Kind::not_exhaustive, c.child(Node::keyword).span(), finite ? fmt::format("this `match` leaves out {}", fmt::join(open, ", ")) : fmt::format("a `match` on {} needs an `else`", t_.display(type)));
    if (finite) d.note("add an arm for it, or `else { … }`");
    return false;
  }

  // ---------------------------------------------------------------- parallel

  enum class JumpTarget : uint8_t { loop, concurrent_loop, branch };

  void parallel(Cursor c, ir::Node& node) {
    ir::ParallelNode out;
    const Cursor block = c.child(Node::block);
    std::vector<Cursor> branches;
    if (block) {
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
    std::map<std::string, int> used;
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

  static std::vector<Definition> definitions_of(Cursor statement) {
    // The statement itself may be the definition: look at it as the only child of a block.
    std::vector<Definition> out;
    if (statement.is(Node::step_stmt)) {
      const Cursor binding = statement.child(Node::step_binding);
      if (const Cursor name = binding ? binding.child(Node::identifier) : Cursor()) out.push_back({std::string(name.text()), statement, name.span(), false});
      return out;
    }
    if (statement.is(Node::let_stmt)) {
      if (const Cursor name = statement.child(Node::identifier)) out.push_back({std::string(name.text()), statement, name.span(), false});
      return out;
    }
    return definitions_in(statement);
  }

  ir::ParallelNode::Branch lower_branch(Cursor branch, std::map<std::string, int>& used, std::set<std::string>& branch_names, std::map<std::string, Binding, std::less<>>& defined,
                                        const std::map<std::string, Binding, std::less<>>& before) {
    ir::ParallelNode::Branch out;
    BlockResult result;
    level().names = before;
    if (branch.is(Node::branch_stmt)) {
      const Cursor name = branch.child(Node::identifier);
      out.name = name ? std::string(name.text()) : "branch";
      if (name && !branch_names.insert(out.name).second) {
        m_.sink.report(Kind::duplicate_name, name.span(), fmt::format("two branches are named `{}`", out.name));
      }
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
      if (!added) m_.sink.report(Kind::duplicate_name, binding.span, fmt::format("`{}` is defined in another branch too", name)).secondary(it->second.span, "here");
    }
    out.body = result.block;
    return out;
  }

  void join(const OptionNode& o, ir::ParallelNode& out, size_t branches) {
    const std::string_view word = o.value.is(Node::reference) ? o.value.name() : std::string_view();
    const Cursor arguments = o.value.is(Node::reference) ? o.value.child(Node::arguments) : Cursor();
    if (word == "first" && arguments) {
      const auto v = sema::constant_value(m_, *module_, arguments.expression());
      if (v && v->kind() == cel::Kind::int_ && v->as_int() >= 1 && v->as_int() <= static_cast<int64_t>(branches)) {
        out.join = ir::JoinKind::first;
        out.first = static_cast<uint32_t>(v->as_int());
      } else if (v) {
        m_.sink.report(Kind::bad_option_value, arguments.span(), fmt::format("first(n) takes a number from 1 to {}, the number of branches", branches));
      }
    } else if (word == "all" && !arguments) {
      out.join = ir::JoinKind::all;
    } else if (word == "settled" && !arguments) {
      out.join = ir::JoinKind::settled;
    } else if (word == "any" && !arguments) {
      out.join = ir::JoinKind::any;
    } else {
      m_.sink.report(Kind::bad_option_value, o.value.span(), "`join` is all, settled, any or first(n)").suggest(word, {"all", "settled", "any", "first"});
    }
  }

  // ---------------------------------------------------------------- loops

  // The type a name of a loop's body will have, as far as the text says so.
  TypeId future_type(const Definition& d) {
    if (d.through_loop) return TypeTable::simple(TypeKind::any);
    Cursor declared = d.node.is(Node::step_stmt) ? type_node(d.node.child(Node::step_binding)) : type_node(d.node);
    // What is wrong with the type is reported at the same place again by its statement, and the sink drops the repetition.
    if (declared) return sema::resolve_type(m_, *module_, declared);
    if (d.node.is(Node::step_stmt)) {
      if (const Cursor callee = d.node.child(Node::callee)) return target(callee, true).result;
    }
    return TypeTable::simple(TypeKind::any);
  }

  void open_level(ScopeId scope, Cursor body, bool concurrent) {
    levels_.push_back({.scope = scope, .loop = true, .concurrent = concurrent});
    for (const Definition& d : definitions_in(body)) {
      const TypeId type = future_type(d);
      const auto [it, added] = level().futures.emplace(d.name, Future{type, d.span});
      if (!added) it->second.type = t_.join(it->second.type, type);
    }
  }

  // The body of a for or loop, and its names as seen from outside.
  BlockResult loop_body(Cursor block, const std::vector<std::tuple<std::string, source::Span, TypeId, Slot*>>& variables, JumpTarget target_kind) {
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

  void for_(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
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
    if (names.size() == 1) variables.emplace_back(std::string(names[0].text()), names[0].span(), value, &out.value);
    if (names.size() >= 2) {
      variables.emplace_back(std::string(names[0].text()), names[0].span(), key, &out.key);
      variables.emplace_back(std::string(names[1].text()), names[1].span(), value, &out.value);
    }
    const BlockResult body = loop_body(block, variables, out.limit > 1 ? JumpTarget::concurrent_loop : JumpTarget::loop);
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
    if (alias) out.facts = facts_slot(alias);
    node.data = std::move(out);
  }

  // `continue` in the body leaves names without a value.
  static bool may_skip(Cursor block) {
    if (!block) return false;
    const auto& nodes = block.tree().nodes();
    for (uint32_t i = block.index(); i < block.index() + nodes[block.index()].size; ++i) {
      if (nodes[i].kind == Node::continue_stmt) return true;
    }
    return false;
  }

  Slot export_name(const std::string& name, const Binding& binding, TypeId type) {
    if (syntax_name_taken(name, binding.span)) return add_slot(level().scope, name, type);
    return define(name, binding.span, type, false).slot;
  }

  Slot facts_slot(Cursor name) {
    const std::string text(name.text());
    for (const Level& l : levels_) {
      if (l.names.contains(text)) {
        m_.sink.report(Kind::duplicate_name, name.span(), fmt::format("`{}` is defined already", text)).secondary(l.names.at(text).span, "first defined here");
      }
    }
    return add_slot(level().scope, "@" + text, TypeTable::simple(TypeKind::any));
  }

  std::pair<TypeId, TypeId> item_types(TypeId items, Cursor expression, size_t names) {
    const TypeId any = TypeTable::simple(TypeKind::any);
    const TypeId poison = TypeTable::simple(TypeKind::poison);
    switch (t_[items].kind) {
      case TypeKind::list: return {TypeTable::simple(TypeKind::int_), t_[items].element};
      case TypeKind::map: return {TypeTable::simple(TypeKind::string), names == 1 ? TypeTable::simple(TypeKind::string) : t_[items].element};
      case TypeKind::record: return {TypeTable::simple(TypeKind::string), names == 1 ? TypeTable::simple(TypeKind::string) : any};
      case TypeKind::any: return {any, any};
      case TypeKind::poison: return {poison, poison};
      default:
        m_.sink.report(t_[items].kind == TypeKind::nullable ? Kind::maybe_null : Kind::type_mismatch, expression.span(), fmt::format("`for` goes over a list or map, not {}", t_.display(items)));
        return {poison, poison};
    }
  }

  void loop(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
    ir::LoopNode out;
    const Cursor name = c.child(Node::identifier);
    const Cursor block = c.child(Node::block);
    node.name = name ? std::string(name.text()) : unique(used, "loop");
    node.named = static_cast<bool>(name);
    const auto options = sema::check_options(m_, "loop", c.child(Node::keyword), block);
    for (const OptionNode& o : options) {
      if (o.name == "max") out.max = typed(o.value, TypeTable::simple(TypeKind::int_), "`max`");
      if (o.name == "on_max" && sema::symbol_value(m_, o, "loop") == "fail") out.on_max = ir::OnMax::fail;
    }
    if (!out.max) out.max = constant_expr(cel::Value::integer(1), TypeTable::simple(TypeKind::int_), c);
    out.scope = open_scope(ir::ScopeKind::loop, level().scope);
    open_level(out.scope, block, false);
    // `while` is evaluated before an iteration, with the preceding values: no name of the body is defined yet.
    for (const OptionNode& o : options) {
      if (o.name == "while") out.while_ = typed(o.value, TypeTable::simple(TypeKind::boolean), "`while`");
    }
    const BlockResult body = loop_body(block, {}, JumpTarget::loop);
    out.body = body.block;
    for (const OptionNode& o : options) {
      if (o.name == "until") out.until = typed(o.value, TypeTable::simple(TypeKind::boolean), "`until`");
    }
    const auto inner = levels_.back();
    levels_.pop_back();
    const bool skips = may_skip(block) || static_cast<bool>(out.while_);
    for (const auto& [n, binding] : inner.names) {
      if (binding.scope != inner.scope) continue;
      out.exports.push_back({binding.slot, export_name(n, binding, skips ? t_.nullable(binding.type) : binding.type)});
    }
    if (name) out.facts = facts_slot(name);
    node.data = std::move(out);
  }

  // ---------------------------------------------------------------- try

  bool try_(Cursor c, ir::Node& node) {
    ir::TryNode out;
    const Cursor block = c.child(Node::block);
    for (const OptionNode& o : sema::check_options(m_, "try", c, block)) not_built(o.name_node.span(), fmt::format("the option `{}` of `try`", o.name));
    std::vector<BlockResult> arms;
    arms.push_back(statements(block));
    out.body = arms.back().block;
    for (const Cursor part : c.children(Node::catch_part)) {
      ir::TryNode::Catch made;
      const auto before = level().names;
      if (const Cursor name = part.child(Node::identifier)) {
        made.error = add_slot(level().scope, "", error_type());
        level().names[std::string(name.text())] = {level().scope, made.error, error_type(), name.span()};
      }
      if (part.token("if")) made.guard = typed(part.expression(), TypeTable::simple(TypeKind::boolean), "a guard");
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

  sema::Model& m_;
  TypeTable& t_;
  ir::Program out_;
  std::vector<ir::CallableId> callable_ids_;
  std::vector<uint32_t> todo_;
  std::map<uint32_t, std::vector<std::pair<uint32_t, source::Span>>> calls_;
  Module* module_ = nullptr;
  uint32_t current_ = 0;
  std::vector<Level> levels_;
  std::map<std::string, source::Span, std::less<>> later_;     // all names of the body, for messages
  std::map<std::string, source::Span, std::less<>> siblings_;  // names of other branches, for messages
  std::vector<std::string> non_null_;
  std::vector<JumpTarget> jump_targets_;
  int concurrent_depth_ = 0;
  TypeId result_type_;
  bool result_declared_ = false;
};

}  // namespace

std::optional<ir::Program> lower(sema::Model& model) { return Lowerer(model).run(); }

}  // namespace kflow::lower
