// Tests in the language: mocks, runs, signals, expectations (language.md §9).
#include "compiler/ir/schema/secrets.hpp"
#include "compiler/lower/lowerer.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::lower {

namespace {

constexpr size_t max_parts = 12;  ///< of an expectation, that are shown

/// The parts of a condition that say why it does not hold: names, fields, calls.
void collect_parts(const cel::Ast& ast, uint32_t id, std::vector<uint32_t>& out) {
  const cel::Expr& e = ast[id];
  const auto all = [&] {
    for (const uint32_t arg : e.args) collect_parts(ast, arg, out);
  };
  switch (e.kind) {
    case cel::ExprKind::poison:
    case cel::ExprKind::literal:
      return;
    case cel::ExprKind::name:
    case cel::ExprKind::select:
      out.push_back(id);
      return;
    case cel::ExprKind::call: {
      out.push_back(id);
      const bool fact = e.text == "calls" || e.text == "inputs" || e.text == "ran";
      if (!fact) all();
      return;
    }
    case cel::ExprKind::op:
      break;
  }
  switch (e.op) {
    case cel::OpCode::index:
      out.push_back(id);
      return;
    case cel::OpCode::all:
    case cel::OpCode::exists:
    case cel::OpCode::exists_one:
    case cel::OpCode::map_list:
    case cel::OpCode::filter:
    case cel::OpCode::transform_map:
    case cel::OpCode::transform_map_entry:
    case cel::OpCode::opt_map:
    case cel::OpCode::opt_flat_map:
      // Over what it goes; its names are known inside of it only.
      out.push_back(id);
      collect_parts(ast, e.args[0], out);
      return;
    case cel::OpCode::bind:
      out.push_back(id);
      return;
    default:
      return all();
  }
}

}  // namespace

ir::TestSuite Lowerer::tests() {
  ir::TestSuite suite;
  std::map<std::string, source::Span> names;
  for (const Cursor c : m_.modules[0]->tree.root().children(Node::test_decl)) {
    if (c.has_errors()) continue;
    ir::Test made = test(c);
    Cursor name;
    for (Cursor x = c.first(); x && !name; x = c.next(x)) {
      if (x.is(Node::string_literal) || x.is(Node::string)) name = x;
    }
    if (name && name.is(Node::string))
      m_.sink.report(Kind::not_constant, name.span(), "the name of a test takes no `${}`");
    if (made.name.empty() && !(name && name.is(Node::string)))
      m_.sink.report(Kind::misplaced, name ? name.span() : c.span(), "a test has a name");
    const auto [known, added] = names.emplace(made.name, name ? name.span() : c.span());
    if (!added && !made.name.empty()) {
      m_.sink
          .report(Kind::duplicate_name, name.span(),
                  fmt::format("two tests are named \"{}\"", made.name))
          .secondary(known->second, "first declared here");
    }
    suite.tests.push_back(std::move(made));
  }
  bodies();  // of what only tests call
  suite.program = finished(std::move(out_));
  return suite;
}

ir::Test Lowerer::test(Cursor c) {
  ir::Test out;
  for (Cursor x = c.first(); x && out.name.empty(); x = c.next(x)) {
    if (x.is(Node::string_literal)) out.name = syntax::decode_plain(x);
  }
  module_ = m_.modules[0].get();
  m_.unknown_names.clear();
  levels_.clear();
  non_null_.clear();
  later_.clear();
  siblings_.clear();
  session_type_ = {};
  out.origin = origin(c);
  out.scope = open_scope(ir::ScopeKind::body, {});
  levels_.push_back({.scope = out.scope});
  const Cursor block = c.child(Node::block);
  for (const Definition& d : definitions_in(block)) later_.insert_or_assign(d.name, d.span);
  test_ = &out;
  test_block(block, out.statements, out, false);
  test_ = nullptr;
  later_.clear();
  return out;
}

void Lowerer::test_block(Cursor block, std::vector<ir::TestStatement>& out, ir::Test& test,
                         bool inside) {
  if (!block) return;
  for (const OptionNode& o : sema::options_in(block))
    m_.sink.report(Kind::unknown_option, o.name_node.span(), "a `test` has no options");
  Cursor cases;
  for (Cursor c = block.first(); c; c = block.next(c)) {
    if (!is_statement(c.kind())) continue;
    if (cases) {
      m_.sink
          .report(Kind::misplaced, cases.child(Node::keyword).span(),
                  "`for` is the last statement of a test")
          .note("each of its items is a test of its own, with what stands before done anew");
      return;
    }
    if (c.is(Node::for_stmt) && inside) {
      m_.sink.report(Kind::misplaced, c.child(Node::keyword).span(),
                     "a test has one `for`; go over a list of records instead");
    } else if (c.is(Node::for_stmt)) {
      cases = c;
    } else if (auto made = test_statement(c)) {
      made->origin = origin(c);
      out.push_back(std::move(*made));
    }
  }
  if (cases) test_cases(cases, test);
}

void Lowerer::test_cases(Cursor c, ir::Test& test) {
  ir::TestCases out;
  const auto names = c.children(Node::identifier);
  TypeId items = TypeTable::simple(TypeKind::poison);
  out.items = untyped(c.expression(), &items);
  const auto [key, value] = item_types(items, c.expression(), names.size());
  if (c.token("as") || names.empty()) {
    m_.sink.report(Kind::misplaced, c.span(), "the `for` of a test has no name of its own");
    return;
  }
  if (names.size() >= 2)
    out.key = define(std::string(names[0].text()), names[0].span(), key, true).slot;
  out.value = define(std::string(names.back().text()), names.back().span(), value, true).slot;
  const Cursor block = c.child(Node::block);
  for (const OptionNode& o : sema::options_in(block))
    m_.sink.report(Kind::unknown_option, o.name_node.span(), "the `for` of a test has no options");
  test_block(block, out.body, test, true);
  test.cases = std::move(out);
}

std::optional<ir::TestStatement> Lowerer::test_statement(Cursor c) {
  switch (c.kind()) {
    case Node::mock_stmt:
      if (auto made = mock(c)) return ir::TestStatement{.data = std::move(*made), .origin = {}};
      return std::nullopt;
    case Node::run_stmt:
      return ir::TestStatement{.data = run_statement(c), .origin = {}};
    case Node::signal_stmt: {
      ir::SignalStatement out{.name = std::string(c.name()), .value = untyped(c.expression())};
      return ir::TestStatement{.data = std::move(out), .origin = {}};
    }
    case Node::let_stmt: {
      ir::Node node;
      std::map<std::string, int> used;
      let(c, node, used);
      const auto& made = std::get<ir::LetNode>(node.data);
      return ir::TestStatement{.data = ir::TestLet{made.slot, made.value}, .origin = {}};
    }
    case Node::expect_stmt:
      return ir::TestStatement{.data = expect(c), .origin = {}};
    default:
      m_.sink
          .report(Kind::misplaced,
                  c.child(Node::keyword) ? c.child(Node::keyword).span() : c.span(),
                  "this statement does not stand in a test")
          .note("a test has `mock`, `signal`, `run`, `let`, `expect`, and one `for` at its end");
      return std::nullopt;
  }
}

ir::TestTarget Lowerer::test_target(const Target& t) const {
  return {
      .name = t.name, .callable = t.callable, .detached = t.kind == ir::CalleeKind::workflow_start};
}

std::optional<ir::MockStatement> Lowerer::mock(Cursor c) {
  const Cursor callee = c.child(Node::callee);
  if (!callee) return std::nullopt;
  const Target t = target(callee_name(callee), callee);
  ir::MockStatement out{.target = test_target(t), .params = {}, .results = {}};
  const auto names = level().names;
  if (const Cursor list = c.child(Node::mock_params)) {
    for (const Cursor p : list.children(Node::param)) {
      const std::string name(p.name());
      const auto known = std::find_if(t.params.begin(), t.params.end(),
                                      [&](const sema::ParamInfo& x) { return x.name == name; });
      if (t.known && known == t.params.end()) {
        std::vector<std::string> all;
        for (const sema::ParamInfo& x : t.params) all.push_back(x.name);
        m_.sink
            .report(Kind::wrong_arguments, p.span(),
                    fmt::format("`{}` has no parameter `{}`", t.name, name))
            .suggest(name, all)
            .note(all.empty() ? "it takes none"
                              : fmt::format("parameters: {}", fmt::join(all, ", ")));
        define(name, p.span(), TypeTable::simple(TypeKind::poison), false);
        continue;
      }
      if (!t.known) continue;
      // What a built-in is not given is null: its defaults are known to its effect only.
      const bool given = t.callable ? static_cast<bool>(known->fallback) : !known->optional;
      TypeId type = given || !known->optional ? known->type : t_.nullable(known->type);
      // A test has no secrets: what it is given in their place is looked at freely.
      if (schema::holds_secret(t_, type)) type = TypeTable::simple(TypeKind::any);
      out.params.emplace_back(name, define(name, p.span(), type, false).slot);
    }
  }
  const Cursor row = c.child(Node::mock_list);
  TypeId wanted = t.known ? t.result : TypeTable::simple(TypeKind::poison);
  if (t.kind == ir::CalleeKind::builtin) wanted = with_defaults(wanted);
  if (row) {
    for (Cursor x = row.first(); x; x = row.next(x)) {
      if (x.is(Node::mock_fail) || syntax::is_expression(x.kind()))
        out.results.push_back(mock_result(x, wanted, t.name));
    }
    if (out.results.empty())  // no results is the empty list
      out.results.push_back({constant_expr(cel::Value::list({}), wanted, row), false});
    if (out.results.size() == 1 && t_[wanted].kind == TypeKind::list && m_.sink.has_errors())
      return std::nullopt;
  } else if (const Cursor fails = c.child(Node::mock_fail)) {
    out.results.push_back(mock_result(fails, wanted, t.name));
  } else {
    out.results.push_back(mock_result(c.expression(), wanted, t.name));
  }
  level().names = names;
  return t.known ? std::optional(std::move(out)) : std::nullopt;
}

ir::MockResult Lowerer::mock_result(Cursor item, TypeId wanted, const std::string& name) {
  if (item.is(Node::mock_fail)) return {mock_error(item.expression()), true};
  const CheckedExpression checked = check(item);
  const TypeId type = sema::outer_type(m_, checked);
  if (!t_.assignable(type, wanted)) {
    auto report = m_.sink.report(
        Kind::type_mismatch, item.span(),
        fmt::format("`{}` gives {}, not {}", name, t_.display(wanted), t_.display(type)));
    if (t_[wanted].kind == TypeKind::list && t_.assignable(type, t_[wanted].element))
      report.note("`[a, b]` are results one after the other; one that is a list is `[[a, b]]`");
    return {};
  }
  // A check also fills in what is left out.
  const bool check = t_.needs_check(type, wanted) || t_[wanted].kind == TypeKind::record;
  return {add(checked, item, wanted, check), false};
}

// What a built-in answers has many fields; a mock names those that matter.
TypeId Lowerer::with_defaults(TypeId type) {
  if (t_[type].kind != TypeKind::record) return type;
  std::vector<schema::Field> fields = t_[type].fields;
  for (schema::Field& f : fields) {
    switch (t_[f.type].kind) {
      case TypeKind::int_:
        f.fallback = cel::Value::integer(f.name == "status" ? 200 : 0);
        break;
      case TypeKind::string:
        f.fallback = cel::Value::string("");
        break;
      case TypeKind::list:
        f.fallback = cel::Value::list({});
        break;
      case TypeKind::map:
        f.fallback = cel::Value::map({});
        break;
      case TypeKind::any:
        f.fallback = cel::Value();
        break;
      default:
        break;
    }
  }
  return t_.record(std::move(fields));
}

// `fail "message"` or `fail {kind: "http", status: 503}`.
ExprId Lowerer::mock_error(Cursor value) {
  if (!value || !value.is(Node::map))
    return typed(value, TypeTable::simple(TypeKind::string), "`fail`");
  const std::vector<std::string> fields{"kind", "code", "message", "status", "data"};
  for (const OptionNode& o : sema::options_in(value)) {
    if (std::find(fields.begin(), fields.end(), o.name) != fields.end()) continue;
    m_.sink
        .report(Kind::unknown_option, o.name_node.span(),
                fmt::format("an error has no field `{}`", o.name))
        .suggest(o.name, fields);
  }
  return untyped(value);
}

ir::RunStatement Lowerer::run_statement(Cursor c) {
  ir::RunStatement out;
  const Cursor name = c.child(Node::identifier);
  const Cursor callee = c.child(Node::callee);
  TypeId result = TypeTable::simple(TypeKind::poison);
  if (callee) {
    const Target t = target(callee_name(callee), callee);
    out.callable = t.callable;
    out.arguments = arguments(t, c.child(Node::arguments), callee);
    result = t.result;
    if (t.known && (!t.callable || t.kind == ir::CalleeKind::workflow_start)) {
      m_.sink.report(Kind::misplaced, callee.span(),
                     fmt::format("a test runs a workflow, tool, agent or team, not `{}`", t.name));
    }
  }
  if (name) out.slot = define(std::string(name.text()), name.span(), run_result(result), true).slot;
  return out;
}

// What is known of a run in a test. The result and the error are as if they were there: when they
// are not, they are null, and the expectation that reads them says so.
TypeId Lowerer::run_result(TypeId result) {
  const TypeId string = TypeTable::simple(TypeKind::string);
  const TypeId any = TypeTable::simple(TypeKind::any);
  std::vector<cel::Value> words;
  for (const char* word : {"COMPLETED", "PAUSED", "RUNNING", "CANCELLED", "ERROR"})
    words.push_back(cel::Value::string(word));
  return record_of({{"status", t_.literals(std::move(words))},
                    {"result", result},
                    {"error", any},
                    {"waits_for", t_.list_of(string)},
                    {"steps", t_.map_of(any)},
                    {"emitted", t_.list_of(any)},
                    {"session", any},
                    {"duration", TypeTable::simple(TypeKind::duration)}});
}

ir::ExpectStatement Lowerer::expect(Cursor c) {
  ir::ExpectStatement out;
  const Cursor condition = c.expression();
  if (!condition) return out;
  const CheckedExpression checked = check(condition);
  const TypeId boolean = TypeTable::simple(TypeKind::boolean);
  if (!sema::require_assignable(m_, checked, boolean, condition.span(), "`expect`")) return out;
  out.condition =
      add(checked, condition, boolean, t_.needs_check(sema::outer_type(m_, checked), boolean));
  std::vector<uint32_t> parts;
  collect_parts(checked.ast, checked.ast.root, parts);
  const std::string_view text = c.tree().text();
  std::set<std::string_view> seen;
  for (const uint32_t id : parts) {
    const cel::Expr& e = checked.ast[id];
    if (id == checked.ast.root || e.end <= e.begin || e.end > text.size()) continue;
    const std::string_view source = text.substr(e.begin, e.end - e.begin);
    if (!seen.insert(source).second || out.parts.size() == max_parts) continue;
    CheckedExpression part = checked;
    part.ast.root = id;
    ir::Expr made = sema::compile_expression(part);
    made.type = TypeTable::simple(TypeKind::any);
    made.text = source;
    made.origin = origin(condition);
    out_.exprs.push_back(std::move(made));
    out.parts.push_back(ExprId(out_.exprs.size() - 1));
  }
  return out;
}

bool Lowerer::is_step_name(std::string_view name) const {
  return std::any_of(out_.nodes.begin(), out_.nodes.end(),
                     [&](const ir::Node& node) { return node.name == name; });
}

std::optional<sema::Resolved> Lowerer::test_fact(std::string_view fact, std::string_view name,
                                                 source::Span span) {
  ir::TestFact out;
  TypeId type = TypeTable::simple(TypeKind::boolean);
  if (fact == "ran") {
    out.kind = ir::TestFact::Kind::ran;
    out.step = name;
    // Of a path only the steps' own names are known before the run.
    const size_t dot = name.rfind('.');
    std::string_view last = name.substr(dot == std::string_view::npos ? 0 : dot + 1);
    last = last.substr(0, last.find('['));
    if (!is_step_name(last)) {
      std::vector<std::string> names;
      for (const ir::Node& node : out_.nodes) {
        if (node.named) names.push_back(node.name);
      }
      auto report =
          m_.sink.report(Kind::unknown_name, span, fmt::format("no step is named `{}`", last));
      if (sema::find_callable(m_, *module_, name))
        report.note(fmt::format("whether it was called: `calls({}) > 0`", name));
      report.suggest(std::string(last), names);
      return std::nullopt;
    }
  } else {
    out.kind = fact == "calls" ? ir::TestFact::Kind::calls : ir::TestFact::Kind::inputs;
    const Target t = target(std::string(name), {}, true);
    if (!t.known) {
      m_.sink
          .report(Kind::unknown_callable, span,
                  fmt::format("nothing that can be called is named `{}`", name))
          .suggest(std::string(name), sema::callable_names(m_, *module_));
      return std::nullopt;
    }
    out.target = test_target(t);
    if (const auto index = sema::find_callable(m_, *module_, name))
      out.target.callable = need(*index);
    type = fact == "calls" ? TypeTable::simple(TypeKind::int_)
                           : t_.list_of(TypeTable::simple(TypeKind::any));
  }
  for (const ir::TestFact& known : test_->facts) {
    if (known.kind == out.kind && known.step == out.step && known.target == out.target)
      return sema::Resolved{{ir::VarSource::slot, 0, known.slot}, type};
  }
  out.slot = add_slot(levels_.front().scope, fmt::format("@{}({})", fact, name), type);
  test_->facts.push_back(out);
  return sema::Resolved{{ir::VarSource::slot, 0, out.slot}, type};
}

}  // namespace kflow::lower
