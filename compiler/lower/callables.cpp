// Declarations: bodies, options and hooks of workflows, tools, agents.
#include "compiler/ir/schedule.hpp"
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

std::optional<Lowered> Lowerer::run() {
  for (uint32_t i = 0; i < m_.callables.size(); ++i) callable_ids_.push_back({});
  for (uint32_t i = 0; i < m_.callables.size(); ++i) {
    // Of MCP servers only what is used: they may have hundreds of tools.
    if (m_.callables[i].module == 0 && m_.callables[i].kind != ir::CallableKind::mcp_tool) need(i);
  }
  // Those that nothing uses are checked too.
  module_ = m_.modules[0].get();
  for (const auto& [name, decl] : m_.modules[0]->models) {
    if (!decl.has_errors()) declared_model(*module_, name, decl);
  }
  bodies();
  tool_cycles();
  Lowered out;
  const bool tested = static_cast<bool>(m_.modules[0]->tree.root().child(Node::test_decl));
  if (!m_.sink.has_errors()) out.program = tested ? finished(out_) : finished(std::move(out_));
  if (tested) out.tests = tests();
  if (m_.sink.has_errors()) return std::nullopt;
  return out;
}

void Lowerer::look_into(uint32_t offset) {
  const auto holds = [&](Cursor c) { return c.begin() <= offset && offset <= c.end(); };
  callable_ids_.resize(m_.callables.size());
  module_ = m_.modules[0].get();
  for (const auto& [name, decl] : m_.modules[0]->models) {
    if (holds(decl) && !decl.has_errors()) declared_model(*module_, name, decl);
  }
  for (uint32_t i = 0; i < m_.callables.size(); ++i) {
    const CallableInfo& c = m_.callables[i];
    if (c.module != 0 || c.kind == ir::CallableKind::mcp_tool || !holds(c.node)) continue;
    need(i);
    body(i);
  }
  for (const Cursor c : m_.modules[0]->tree.root().children(Node::test_decl)) {
    if (holds(c) && !c.has_errors()) test(c);
  }
}

void Lowerer::bodies() {
  while (!todo_.empty()) {
    const uint32_t next = todo_.front();
    todo_.erase(todo_.begin());
    body(next);
  }
}

ir::Program Lowerer::finished(ir::Program out) const {
  out.types = m_.types;
  for (uint32_t i = 0; i < m_.sources.size(); ++i)
    out.files.push_back(m_.sources[source::FileId(i)].name());
  const std::string& name = m_.sources[m_.modules[0]->file].name();
  const size_t slash = name.rfind('/');
  out.name = slash == std::string::npos ? name : name.substr(slash + 1);
  if (out.name.ends_with(".kflow")) out.name.resize(out.name.size() - 6);
  return out;
}

ir::CallableId Lowerer::need(uint32_t index) {
  if (callable_ids_[index]) return callable_ids_[index];
  const CallableInfo& info = m_.callables[index];
  const ir::CallableId id(out_.callables.size());
  callable_ids_[index] = id;
  ir::Callable c{.kind = info.kind,
                 .name = info.name,
                 .was = info.was,
                 .doc = info.description(),
                 .result = info.result};
  if (info.module != 0) {
    c.name = module_name(info.module) + "." + info.name;
    for (std::string& was : c.was) was = module_name(info.module) + "." + was;
  }
  out_.callables.push_back(std::move(c));
  todo_.push_back(index);
  return id;
}

std::string Lowerer::module_name(uint32_t module) const {
  for (const auto& [name, index] : m_.modules[0]->imports) {
    if (index == module) return name;
  }
  return "m" + std::to_string(module);
}

void Lowerer::body(uint32_t index) {
  const CallableInfo info = m_.callables[index];
  module_ = m_.modules[info.module].get();
  m_.unknown_names.clear();
  levels_.clear();
  current_ = index;
  std::vector<ir::Param> params;
  levels_.push_back({.scope = open_scope(ir::ScopeKind::body, {})});
  for (const sema::ParamInfo& p : info.params) {
    ir::Param param{
        .name = p.name, .was = p.was, .type = p.type, .constraints = p.constraints, .doc = p.doc};
    if (p.fallback) param.fallback = default_value(p);
    params.push_back(std::move(param));
    set_former_names(level().scope, define(p.name, p.span, p.type, false).slot, p.was);
  }
  const ir::CallableId id = callable_ids_[index];
  out_.callables[id.value].params = std::move(params);
  switch (info.kind) {
    case ir::CallableKind::agent:
    case ir::CallableKind::team:
      return agent(id, info);
    case ir::CallableKind::extern_tool:
      return extern_tool(id, info);
    case ir::CallableKind::mcp_tool:
      return mcp_tool(id, info);
    case ir::CallableKind::workflow:
    case ir::CallableKind::tool:
      break;
  }
  out_.callables[id.value].scope = levels_[0].scope;
  const Cursor block = info.node.child(Node::block);
  // Of a text with holes only the holes are reported: what is around them would be guessed at.
  if (!block || info.node.has_errors()) return;
  for (const Definition& d : definitions_in(block)) later_.insert_or_assign(d.name, d.span);
  session_type_ = {};
  if (info.kind == ir::CallableKind::workflow) {
    session_state(block);
    workflow_options(id, info, block);
  } else {
    for (const OptionNode& o : sema::options_in(block)) {
      m_.sink.report(Kind::unknown_option, o.name_node.span(), "a `tool` has no options");
    }
  }
  result_type_ = info.result;
  result_declared_ = info.result_declared;
  open_match_ = false;
  const BlockResult result = statements(block, true);
  out_.callables[id.value].body = result.block;
  if (info.result_declared && !result.leaves && !open_match_ && !t_.accepts_null(info.result) &&
      !block.has_errors()) {
    m_.sink
        .report(Kind::type_mismatch, info.span,
                fmt::format("`{}` can end without a `return`", info.name))
        .note(fmt::format("its result is {}", t_.display(info.result)));
  }
  later_.clear();
}

ExprId Lowerer::default_value(const sema::ParamInfo& p) {
  const auto value = sema::constant_value(m_, *module_, p.fallback);
  if (!value) return {};
  // No value is a secret; the name of a declared one is.
  if (module_->secrets.contains(p.fallback.text()) &&
      t_.assignable(TypeTable::simple(TypeKind::secret), p.type))
    return constant_expr(*value, p.type, p.fallback);
  const auto checked = schema::validate(t_, p.type, *value, schema::Source::internal);
  if (!checked.ok()) {
    m_.sink.report(Kind::type_mismatch, p.fallback.span(),
                   fmt::format("the default of `{}` is not {}: {}", p.name, t_.display(p.type),
                               checked.violations[0].rule));
    return {};
  }
  return constant_expr(checked.value, p.type, p.fallback);
}

ExprId Lowerer::constant_expr(const cel::Value& value, TypeId type, Cursor at) {
  ir::Expr e{.type = type, .text = std::string(at.text()), .origin = origin(at)};
  e.program.constants.push_back(value);
  e.program.ops.push_back({.code = cel::OpCode::constant});
  out_.exprs.push_back(std::move(e));
  return ExprId(out_.exprs.size() - 1);
}

void Lowerer::extern_tool(ir::CallableId id, const CallableInfo& info) {
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
    const bool list =
        v->kind() == cel::Kind::list && v->size() > 0 &&
        std::all_of(v->as_list().begin(), v->as_list().end(),
                    [](const cel::Value& x) { return x.kind() == cel::Kind::string; });
    if (!list) {
      m_.sink.report(Kind::bad_option_value, o.value.span(),
                     "`command` is a list of strings: the program and its arguments");
      continue;
    }
    for (const cel::Value& x : v->as_list()) c.command.emplace_back(x.as_string());
  }
}

void Lowerer::mcp_tool(ir::CallableId id, const CallableInfo& info) {
  const auto known = servers_.find(info.server);
  ir::McpServerId server = known == servers_.end() ? ir::McpServerId() : known->second;
  if (!server) {
    server = ir::McpServerId(out_.servers.size());
    servers_[info.server] = server;
    ir::McpServer spec = m_.servers[info.server].spec;
    if (info.module != 0) spec.name = module_name(info.module) + "." + spec.name;
    out_.servers.push_back(std::move(spec));
  }
  ir::Callable& c = out_.callables[id.value];
  c.mcp = info.mcp;
  c.mcp.server = server;
  c.idempotent = info.idempotent;
}

void Lowerer::workflow_options(ir::CallableId id, const CallableInfo& info, Cursor block) {
  const Cursor name = info.node.child(Node::identifier);
  for (const OptionNode& o : sema::check_options(m_, "workflow", name, block)) {
    if (!o.value) continue;
    // Nodes and expressions are made on the way: the callable's place may move.
    ir::WorkflowOptions out = std::move(out_.callables[id.value].workflow);
    workflow_option(out, o);
    out.session = session_type_;
    out_.callables[id.value].workflow = std::move(out);
  }
}

// First of all, since every expression of the body may read it.
void Lowerer::session_state(Cursor block) {
  for (const OptionNode& o : sema::options_in(block)) {
    if (o.name != "session" || !o.value) continue;
    if (!o.value.is(Node::record_type)) {
      m_.sink.report(Kind::bad_option_value, o.value.span(),
                     "`session` declares fields: `{ visited: string[] = [] }`");
      continue;
    }
    session_type_ = sema::resolve_type(m_, *module_, o.value);
    for (const Cursor f : o.value.children(Node::field)) {
      const Cursor name = f.child(Node::identifier);
      const auto& fields = t_[session_type_].fields;
      const auto it = std::find_if(fields.begin(), fields.end(), [&](const schema::Field& x) {
        return name && x.name == name.text();
      });
      if (it == fields.end()) continue;
      if (it->name == "id")
        m_.sink.report(Kind::duplicate_name, name.span(), "`session.id` has a meaning of its own");
      if (!it->fallback && !t_.accepts_null(it->type)) {
        m_.sink
            .report(Kind::bad_option_value, name.span(),
                    fmt::format("the session's field `{}` needs a value to begin with", it->name))
            .note(fmt::format("write `{}: {} = …`", it->name, t_.display(it->type)));
      }
    }
  }
}

void Lowerer::workflow_option(ir::WorkflowOptions& out, const OptionNode& o) {
  if (o.name == "timeout") {
    out.timeout = typed(o.value, TypeTable::simple(TypeKind::duration), "`timeout`");
  } else if (o.name == "tags") {
    out.tags = tags(o.value);
  } else if (o.name == "concurrency") {
    out.concurrency = concurrency(o.value);
  } else if (o.name == "schedule") {
    out.schedule = schedule(o.value);
  } else if (o.name == "budget") {
    out.budget = budget(o.value);
  } else if (o.name == "on_failure") {
    out.on_failure = hook(o);
  } else if (o.name == "on_cancel") {
    out.on_cancel = hook(o);
  } else if (o.name == "retention") {
    const auto v = sema::constant_value(m_, *module_, o.value);
    if (v && v->kind() == cel::Kind::duration && v->as_duration().nanos >= 1'000'000) {
      out.retention_ms = v->as_duration().nanos / 1'000'000;
    } else if (v) {
      m_.sink.report(Kind::bad_option_value, o.value.span(),
                     "`retention` is a duration such as `30d`");
    }
  }
}

ir::Concurrency Lowerer::concurrency(Cursor value) {
  ir::Concurrency out;
  if (!value.is(Node::map) && !value.is(Node::options)) {
    m_.sink.report(Kind::bad_option_value, value.span(),
                   "`concurrency` is a block: `{ limit: 1, key: topic, when_full: queue }`");
    return out;
  }
  for (const OptionNode& o : sema::check_options(m_, "concurrency", value, value)) {
    if (!o.value) continue;
    if (o.name == "limit") {
      out.limit = count(o, 1'000'000);
    } else if (o.name == "when_full") {
      const std::string word = sema::symbol_value(m_, o, "concurrency");
      out.when_full = word == "reject"          ? ir::WhenFull::reject
                      : word == "cancel_oldest" ? ir::WhenFull::cancel_oldest
                                                : ir::WhenFull::queue;
    } else {
      const CheckedExpression checked = check(o.value);
      const TypeId type = sema::outer_type(m_, checked);
      const bool pure =
          std::all_of(checked.references.begin(), checked.references.end(), [](const auto& r) {
            return r.second.source == ir::VarSource::slot ||
                   r.second.source == ir::VarSource::constant;
          });
      if (!pure) {
        m_.sink.report(Kind::bad_option_value, o.value.span(), "`key` reads parameters only")
            .note("it is evaluated before the run begins");
      } else {
        out.key = add(checked, o.value, type, false);
      }
    }
  }
  return out;
}

// `cron("0 9 * * MON", tz: "Europe/Berlin", overlap: skip)`, encoded.
std::string Lowerer::schedule(Cursor value) {
  const Cursor list =
      value.is(Node::reference) && value.name() == "cron" ? value.child(Node::arguments) : Cursor();
  if (!list) {
    m_.sink.report(Kind::bad_option_value, value.span(), "`schedule` is cron(…)")
        .note("such as `cron(\"0 9 * * MON\", tz: \"Europe/Berlin\")`");
    return "";
  }
  ir::ScheduleSpec spec;
  bool sound = true;
  const auto wrong = [&](Cursor at, std::string_view what) {
    sound = false;
    return m_.sink.report(Kind::bad_option_value, at.span(), std::string(what));
  };
  Cursor zone = list;
  Cursor expression = list;
  for (Cursor c = list.first(); c; c = list.next(c)) {
    const bool named = c.is(Node::named_argument);
    if (!named && !syntax::is_expression(c.kind())) continue;
    const std::string name = named ? std::string(c.name()) : "cron";
    const Cursor given = named ? c.expression() : c;
    if (!given) continue;
    if (name == "overlap" || name == "catch_up") {
      const auto overlap = ir::parse_overlap(given.text());
      const auto catch_up = ir::parse_catch_up(given.text());
      if (name == "overlap" && overlap) {
        spec.overlap = *overlap;
      } else if (name == "catch_up" && catch_up) {
        spec.catch_up = *catch_up;
      } else {
        const bool overlaps = name == "overlap";
        wrong(given, overlaps ? "`overlap` is skip, queue, allow or cancel_oldest"
                              : "`catch_up` is skip, one or all")
            .suggest(given.text(),
                     overlaps ? std::vector<std::string>{"skip", "queue", "allow", "cancel_oldest"}
                              : std::vector<std::string>{"skip", "one", "all"});
      }
      continue;
    }
    const auto v = sema::constant_value(m_, *module_, given);
    if (!v) {
      sound = false;
    } else if ((name == "cron" || name == "tz") && v->kind() == cel::Kind::string) {
      (name == "cron" ? spec.cron : spec.zone) = v->as_string();
      (name == "cron" ? expression : zone) = given;
    } else if (name == "jitter" && v->kind() == cel::Kind::duration) {
      spec.jitter_ms = v->as_duration().nanos / 1'000'000;
    } else if (name == "limit" && v->kind() == cel::Kind::int_ && v->as_int() >= 0) {
      spec.catch_up_limit = static_cast<size_t>(v->as_int());
    } else {
      wrong(c,
            "`cron` takes the expression, `tz` (string), `overlap`, `catch_up`, `jitter` "
            "(duration) and `limit` (of what is caught up)");
    }
  }
  if (!sound) return "";
  if (const auto checked = ir::check_schedule(spec); !checked) {
    const std::string& message = checked.error().message;
    wrong(message.find("time zone") != std::string::npos ? zone : expression, message);
    return "";
  }
  for (const sema::ParamInfo& p : m_.callables[current_].params) {
    if (p.fallback || t_.accepts_null(p.type)) continue;
    m_.sink
        .report(Kind::bad_option_value, value.span(),
                fmt::format("a scheduled workflow starts without inputs, and `{}` has no default",
                            p.name))
        .secondary(p.span, "declared here");
    return "";
  }
  return ir::encode_schedule(spec);
}

ir::NodeId Lowerer::hook(const OptionNode& o) {
  const std::string name = o.value.is(Node::reference) ? std::string(o.value.name()) : "";
  const auto index = sema::find_callable(m_, *module_, name);
  if (!index || m_.callables[*index].kind != ir::CallableKind::tool ||
      o.value.child(Node::arguments)) {
    m_.sink
        .report(Kind::bad_option_value, o.value.span(),
                fmt::format("`{}` names a tool of this file", o.name))
        .suggest(name, sema::callable_names(m_, *module_));
    return {};
  }
  const CallableInfo& info = m_.callables[*index];
  const bool failure = o.name == "on_failure";
  const TypeId given = failure ? error_type() : TypeTable::simple(TypeKind::string);
  if (info.params.size() > 1 ||
      (info.params.size() == 1 && !t_.assignable(given, info.params[0].type))) {
    m_.sink
        .report(Kind::bad_option_value, o.value.span(),
                fmt::format("`{}` takes no parameter, or one for {}", name,
                            failure ? "the error" : "the reason (string)"))
        .secondary(info.span, "declared here");
    return {};
  }
  ir::StepNode step{.call = {.kind = ir::CalleeKind::tool,
                             .name = name,
                             .callable = need(*index),
                             .arguments = {}},
                    .type = info.result,
                    .options = {}};
  calls_[current_].emplace_back(*index, o.value.span());
  out_.nodes.push_back(
      {.name = o.name, .data = std::move(step), .doc = "", .origin = origin(o.value)});
  return ir::NodeId(out_.nodes.size() - 1);
}

std::vector<std::string> Lowerer::tags(Cursor value) {
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
void Lowerer::tool_cycles() {
  std::vector<int> state(m_.callables.size(), 0);
  const std::function<void(uint32_t)> visit = [&](uint32_t i) {
    state[i] = 1;
    for (const auto& [callee, span] : calls_[i]) {
      if (m_.callables[callee].kind != ir::CallableKind::tool) continue;
      if (state[callee] == 1) {
        m_.sink
            .report(Kind::recursive, span,
                    fmt::format("the tool `{}` calls itself, directly or through others",
                                m_.callables[callee].name))
            .note("tools are inline; a workflow can call itself as a child run");
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

std::optional<Lowered> lower(sema::Model& model) { return Lowerer(model).run(); }

void look_into(sema::Model& model, uint32_t offset) { Lowerer(model).look_into(offset); }

}  // namespace kflow::lower
