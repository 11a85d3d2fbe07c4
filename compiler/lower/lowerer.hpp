// Lowerer: the statements of a checked model become nodes; what is wrong in them is reported on the
// way.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <set>

#include "compiler/lower/environment.hpp"
#include "compiler/lower/lower.hpp"
#include "compiler/sema/constructs.hpp"
#include "compiler/sema/expressions.hpp"

namespace kflow::lower {

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

/// Lowers one model once. Statements are checked while they are lowered: names, types, options,
/// visibility.
class Lowerer {
 public:
  explicit Lowerer(sema::Model& m) : m_(m), t_(m.types) {
    m_.is_runtime_name = [this](std::string_view name) {
      return std::any_of(levels_.begin(), levels_.end(),
                         [&](const Level& l) { return l.names.contains(name); });
    };
  }
  ~Lowerer() { m_.is_runtime_name = nullptr; }
  Lowerer(const Lowerer&) = delete;
  Lowerer& operator=(const Lowerer&) = delete;

  std::optional<Lowered> run();
  void look_into(uint32_t offset);

 private:
  // callables.cpp: declarations

  void bodies();
  ir::Program finished(ir::Program out) const;

  ir::CallableId need(uint32_t index);

  std::string module_name(uint32_t module) const;

  void body(uint32_t index);

  ExprId default_value(const sema::ParamInfo& p);

  ExprId constant_expr(const cel::Value& value, TypeId type, Cursor at);

  void extern_tool(ir::CallableId id, const CallableInfo& info);
  void mcp_tool(ir::CallableId id, const CallableInfo& info);

  void workflow_options(ir::CallableId id, const CallableInfo& info, Cursor block);
  void session_state(Cursor block);
  void workflow_option(ir::WorkflowOptions& out, const OptionNode& o);
  ir::Concurrency concurrency(Cursor value);
  std::string schedule(Cursor value);
  /// A tool called by the run itself: a step that stands in no block.
  ir::NodeId hook(const OptionNode& o);

  std::vector<std::string> tags(Cursor value);

  void tool_cycles();

  // agents.cpp
  void agent(ir::CallableId id, const CallableInfo& info);
  void agent_option(ir::AgentOptions& out, const OptionNode& o, const CallableInfo& info);
  void agent_tools(ir::AgentOptions& out, const OptionNode& o, bool members);
  void agent_tool(ir::AgentOptions& out, const std::string& name, Cursor at);
  void check_members(const ir::AgentOptions& out, const OptionNode& o, const CallableInfo& info);
  void tool_options(ir::AgentOptions& out, Cursor value);
  void confirmed_tools(ir::AgentOptions& out, const OptionNode& o);
  void guard(ir::AgentOptions& out, Cursor item, const CallableInfo& info);
  ir::Budget budget(Cursor value);
  ir::ModelId model(Cursor value);
  ir::ModelId declared_model(const Module& owner, const std::string& name, Cursor decl);
  void check_offered(const ir::Model& model, Cursor decl);
  void model_option(ir::Model& out, const OptionNode& o);
  bool known_provider(const std::string& provider, Cursor at);
  /// A step that stands in no block.
  ir::NodeId hidden(std::string name, ir::Call call, TypeId type, Cursor at);
  Module* module_of(std::optional<uint32_t> callable) const;

  // names.cpp: names

  ScopeId open_scope(ir::ScopeKind kind, ScopeId parent);
  Level& level() { return levels_.back(); }

  Slot add_slot(ScopeId scope, std::string name, TypeId type);
  /// The last of that name, or `no_slot`.
  Slot slot_named(ScopeId scope, std::string_view name) const;
  void set_former_names(ScopeId scope, Slot slot, const std::vector<std::string>& was);
  /// What `@was` says of a statement or branch; `check_former_names` reports wrong ones of a block.
  std::vector<std::string> former_names_of(Cursor statement) const;
  void check_former_names(Cursor block);

  Binding define(const std::string& name, source::Span span, TypeId type, bool check);

  bool syntax_name_taken(const std::string& name, source::Span span);

  std::optional<sema::Resolved> lookup(std::string_view name, source::Span span, bool& reported);

  TypeId record_of(std::initializer_list<std::pair<std::string_view, TypeId>> fields);
  TypeId run_type();
  TypeId id_type() { return record_of({{"id", TypeTable::simple(TypeKind::string)}}); }
  TypeId session_record();
  TypeId error_type();

  std::optional<ir::VarRef> facts(std::string_view name, bool errors, source::Span span);

  std::vector<std::string> visible_names() const;

  // names.cpp: expressions

  ExpressionScope scope();

  ir::Origin origin(Cursor c) const;

  CheckedExpression check(Cursor node);

  ExprId add(const CheckedExpression& checked, Cursor node, TypeId type, bool needs_check);

  ExprId typed(Cursor node, TypeId wanted, std::string_view what);
  ExprId untyped(Cursor node, TypeId* type = nullptr);

  // blocks.cpp: blocks

  BlockId add_block(std::vector<ir::NodeId> statements);

  static bool is_statement(Node kind) {
    return kind >= Node::step_stmt && kind <= Node::expect_stmt && kind != Node::step_binding &&
           kind != Node::callee && kind != Node::session_path && kind != Node::else_part &&
           kind != Node::match_arm && kind != Node::catch_part && kind != Node::finally_part;
  }

  BlockResult statements(Cursor block, bool keep_names = false);

  std::string unique(std::map<std::string, int>& used, const std::string& base);

  std::optional<ir::NodeId> statement(Cursor c, std::map<std::string, int>& used, bool& leaves);

  void merge_arms(const std::vector<BlockResult>& arms, bool exhaustive);

  bool all_leave(const std::vector<BlockResult>& arms, bool exhaustive) const;

  // steps.cpp: steps

  struct Target {
    ir::CalleeKind kind = ir::CalleeKind::builtin;
    std::string name;
    ir::CallableId callable;
    std::vector<sema::ParamInfo> params;
    TypeId result = TypeTable::simple(TypeKind::poison);
    bool known = false;
  };

  std::string callee_name(Cursor callee) const;

  Target target(const std::string& name, Cursor at, bool quiet = false);

  Target& declared(Target& out, uint32_t index, Cursor at, bool quiet);
  Target no_such_tool(Target out, uint32_t server, const std::string& tool, Cursor callee);

  std::vector<ir::Argument> arguments(const Target& t, Cursor list, Cursor callee);

  Cursor type_node(Cursor c) const;

  void step(Cursor c, ir::Node& node, std::map<std::string, int>& used);

  void step_options(Cursor block, ir::StepNode& step, TypeId& type, const std::string& name);
  void step_option(const OptionNode& o, ir::StepNode& step, TypeId own, const std::string& name);
  /// `undo: callee(args)`, which sees the step's own value.
  ir::NodeId undo(const OptionNode& o, TypeId own, const std::string& name);

  bool flag(Cursor value);

  uint32_t count(const OptionNode& o, uint32_t most);

  // statements.cpp: pure statements

  void let(Cursor c, ir::Node& node, std::map<std::string, int>& used);

  void set(Cursor c, ir::Node& node);
  void check_only(Cursor c, ir::Node& node);

  void return_(Cursor c, ir::Node& node);

  void crossing(Cursor c, std::string_view what);

  void fail_(Cursor c, ir::Node& node);

  void jump(Cursor c, ir::Node& node);

  // branches.cpp: if, match

  bool if_(Cursor c, ir::Node& node);

  bool match(Cursor c, ir::Node& node);

  void pattern(Cursor p, TypeId type, std::vector<cel::Value>& covered,
               std::vector<cel::Value>& patterns);

  bool exhausts(Cursor c, TypeId type, const std::vector<cel::Value>& covered);

  // branches.cpp: parallel

  enum class JumpTarget : uint8_t { loop, concurrent_loop, branch };

  void parallel(Cursor c, ir::Node& node);

  static std::vector<Definition> definitions_of(Cursor statement);

  ir::ParallelNode::Branch lower_branch(Cursor branch, std::map<std::string, int>& used,
                                        std::set<std::string>& branch_names,
                                        std::map<std::string, Binding, std::less<>>& defined,
                                        const std::map<std::string, Binding, std::less<>>& before);

  void join(const OptionNode& o, ir::ParallelNode& out, size_t branches);

  // loops.cpp: loops

  TypeId future_type(const Definition& d);

  void open_level(ScopeId scope, Cursor body, bool concurrent);

  BlockResult loop_body(
      Cursor block,
      const std::vector<std::tuple<std::string, source::Span, TypeId, Slot*>>& variables,
      JumpTarget target_kind);

  void for_(Cursor c, ir::Node& node, std::map<std::string, int>& used);

  static bool may_skip(Cursor block);

  Slot export_name(const std::string& name, const Binding& binding, TypeId type);

  Slot facts_slot(Cursor name, const std::vector<std::string>& was);

  std::pair<TypeId, TypeId> item_types(TypeId items, Cursor expression, size_t names);

  void loop(Cursor c, ir::Node& node, std::map<std::string, int>& used);

  // branches.cpp: try

  bool try_(Cursor c, ir::Node& node);

  // tests.cpp

  ir::TestSuite tests();
  ir::Test test(Cursor declaration);
  void test_block(Cursor block, std::vector<ir::TestStatement>& out, ir::Test& test, bool inside);
  std::optional<ir::TestStatement> test_statement(Cursor c);
  std::optional<ir::MockStatement> mock(Cursor c);
  ir::MockResult mock_result(Cursor item, TypeId wanted, const std::string& name);
  TypeId with_defaults(TypeId type);
  ir::ExprId mock_error(Cursor value);
  ir::RunStatement run_statement(Cursor c);
  ir::ExpectStatement expect(Cursor c);
  void test_cases(Cursor c, ir::Test& test);
  ir::TestTarget test_target(const Target& t) const;
  TypeId run_result(TypeId result);
  std::optional<sema::Resolved> test_fact(std::string_view fact, std::string_view name,
                                          source::Span span);
  bool is_step_name(std::string_view name) const;

  sema::Model& m_;
  TypeTable& t_;
  ir::Test* test_ = nullptr;  ///< the one whose expressions are checked
  ir::Program out_;
  std::vector<std::map<std::string, Slot, std::less<>>> slots_;  ///< of each scope, by name
  std::map<std::string, ir::ModelId> models_;                    // by file and name
  std::map<uint32_t, ir::McpServerId> servers_;
  std::vector<ir::CallableId> callable_ids_;
  std::vector<uint32_t> todo_;
  std::map<uint32_t, std::vector<std::pair<uint32_t, source::Span>>> calls_;
  bool open_match_ = false;  // of the present body: a match leaves something out, and is reported
  Module* module_ = nullptr;
  uint32_t current_ = 0;
  std::deque<Level> levels_;  // references to a level stay good while others are opened inside
  std::map<std::string, source::Span, std::less<>> later_;  // all names of the body, for messages
  std::map<std::string, source::Span, std::less<>>
      siblings_;  // names of other branches, for messages
  std::vector<std::string> non_null_;
  std::vector<JumpTarget> jump_targets_;
  int concurrent_depth_ = 0;
  TypeId result_type_;
  bool result_declared_ = false;
  TypeId session_type_;              // record of the workflow's session state; none: none
  std::optional<TypeId> own_value_;  // in ensure, undo, review: the step's value
  std::string own_name_;
  bool own_key_ = false;
};

}  // namespace kflow::lower
