// Steps: callee, arguments, options.
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

std::string Lowerer::callee_name(Cursor callee) const {
  std::string out;
  for (const Cursor part : callee.children(Node::identifier))
    out += (out.empty() ? "" : ".") + std::string(part.text());
  return out;
}

Lowerer::Target Lowerer::target(const std::string& name, Cursor callee, bool quiet) {
  Target out;
  out.name = name;
  if (out.name.empty()) return out;
  if (const auto index = sema::find_callable(m_, *module_, out.name))
    return declared(out, *index, callee, quiet);
  if (const ir::Builtin* builtin = ir::find_builtin(out.name)) {
    out.params = sema::builtin_params(m_, *builtin);
    out.result = sema::builtin_type(m_, builtin->result);
    out.known = true;
    return out;
  }
  const size_t dot = out.name.rfind('.');
  if (dot != std::string::npos && out.name.substr(dot) == ".start") {
    if (const auto index = sema::find_callable(m_, *module_, out.name.substr(0, dot));
        index && m_.callables[*index].kind == ir::CallableKind::workflow) {
      declared(out, *index, callee, quiet);
      out.kind = ir::CalleeKind::workflow_start;
      out.result = TypeTable::simple(TypeKind::string);
      return out;
    }
  }
  if (quiet) return out;
  const auto import = module_->imports.find(out.name.substr(0, out.name.find('.')));
  if (import != module_->imports.end() && import->second == UINT32_MAX)
    return out;  // reported at the import
  if (m_.modules[0]->has_syntax_errors || module_->has_syntax_errors)
    return out;  // perhaps in what could not be read
  if (dot != std::string::npos && module_->broken_imports && import == module_->imports.end())
    return out;  // perhaps of the import that failed
  if (dot != std::string::npos) {
    if (const auto id = sema::find_server(m_, *module_, out.name.substr(0, dot)))
      return no_such_tool(out, *id, out.name.substr(dot + 1), callee);
  }
  auto report = m_.sink.report(Kind::unknown_callable, callee.span(),
                               fmt::format("nothing that can be called is named `{}`", out.name));
  if (import != module_->imports.end() && sema::is_private(out.name.substr(dot + 1)))
    report.note("names that begin with `_` are known in their own file only");
  report.suggest(out.name, sema::callable_names(m_, *module_));
  if (import != module_->imports.end()) {
    std::vector<std::string> offered;
    for (const auto& [own, index] : m_.modules[import->second]->callables) {
      if (!sema::is_private(own)) offered.push_back(own);
    }
    report.note(fmt::format(
        "`{}` has: {}", import->first,
        offered.empty() ? "nothing to call" : fmt::to_string(fmt::join(offered, ", "))));
  }
  return out;
}

Lowerer::Target Lowerer::no_such_tool(Target out, uint32_t server, const std::string& tool,
                                      Cursor callee) {
  const sema::ServerInfo& info = m_.servers[server];
  if (!info.known) return out;  // reported where it is declared
  m_.sink
      .report(Kind::unknown_callable, callee.span(),
              fmt::format("the MCP server `{}` has no tool `{}`", info.spec.name, tool))
      .suggest(tool, info.tools)
      .note(fmt::format("its tools as they are locked: {}; `kflowc mcp sync` asks it again",
                        info.tools.empty() ? "none" : fmt::to_string(fmt::join(info.tools, ", "))));
  return out;
}

Lowerer::Target& Lowerer::declared(Target& out, uint32_t index, Cursor callee, bool quiet) {
  const CallableInfo& info = m_.callables[index];
  if (m_.index != nullptr && callee && info.server == UINT32_MAX)
    m_.index->uses.push_back({callee.span(), info.span});
  out.params = info.params;
  out.result = info.result;
  out.known = true;
  if (!quiet) {
    out.callable = need(index);
    calls_[current_].emplace_back(index, callee.span());
  }
  switch (info.kind) {
    case ir::CallableKind::tool:
      out.kind = ir::CalleeKind::tool;
      break;
    case ir::CallableKind::extern_tool:
      out.kind = ir::CalleeKind::extern_tool;
      break;
    case ir::CallableKind::mcp_tool:
      out.kind = ir::CalleeKind::mcp_tool;
      break;
    case ir::CallableKind::workflow:
      out.kind = ir::CalleeKind::workflow;
      break;
    case ir::CallableKind::agent:
      out.kind = ir::CalleeKind::agent;
      break;
    case ir::CallableKind::team:
      out.kind = ir::CalleeKind::team;
      break;
  }
  return out;
}

std::vector<ir::Argument> Lowerer::arguments(const Target& t, Cursor list, Cursor callee) {
  std::vector<ir::Argument> out;
  if (!list) return out;
  std::set<std::string> given;
  bool unknown_name = false;  // perhaps of the argument that is missing
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
        m_.sink.report(Kind::wrong_arguments, c.span(),
                       fmt::format("`{}` takes {} argument{}", t.name, t.params.size(),
                                   t.params.size() == 1 ? "" : "s"));
        check(value);
        continue;
      }
      name = t.known ? t.params[position].name : "";
      ++position;
    } else {
      continue;
    }
    const auto param = std::find_if(t.params.begin(), t.params.end(),
                                    [&](const sema::ParamInfo& p) { return p.name == name; });
    if (!t.known || param == t.params.end()) {
      unknown_name = true;
      if (t.known) {
        std::vector<std::string> names;
        for (const sema::ParamInfo& p : t.params) names.push_back(p.name);
        m_.sink
            .report(Kind::wrong_arguments, c.child(Node::identifier).span(),
                    fmt::format("`{}` has no parameter `{}`", t.name, name))
            .suggest(name, names)
            .note(fmt::format("parameters: {}", fmt::join(names, ", ")));
      }
      if (value) check(value);
      continue;
    }
    if (!given.insert(name).second) {
      m_.sink.report(Kind::wrong_arguments, c.span(),
                     fmt::format("the parameter `{}` is given twice", name));
      continue;
    }
    if (const ExprId e =
            typed(value, param->type, fmt::format("the parameter `{}` of `{}`", name, t.name)))
      out.push_back({name, e});
  }
  if (!t.known || unknown_name || list.has_errors()) return out;
  for (const sema::ParamInfo& p : t.params) {
    if (!p.optional && !given.contains(p.name)) {
      m_.sink
          .report(Kind::wrong_arguments, callee.span(),
                  fmt::format("`{}` needs the argument `{}`", t.name, p.name))
          .note(fmt::format("`{}: {}`", p.name, t_.display(p.type)));
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

Cursor Lowerer::type_node(Cursor c) const {
  for (Cursor x = c.first(); x; x = c.next(x)) {
    if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type) return x;
  }
  return {};
}

void Lowerer::step(Cursor c, ir::Node& node, std::map<std::string, int>& used) {
  const Cursor binding = c.child(Node::step_binding);
  const Cursor name = binding ? binding.child(Node::identifier) : Cursor();
  const Cursor callee = c.child(Node::callee);
  ir::StepNode step;
  TypeId type = TypeTable::simple(TypeKind::poison);
  std::string base = "step";
  if (callee) {
    const Target t = target(callee_name(callee), callee);
    step.call = {.kind = t.kind,
                 .name = t.name,
                 .callable = t.callable,
                 .arguments = arguments(t, c.child(Node::arguments), callee)};
    type = t.result;
    base = t.name.substr(t.name.rfind('.') + 1);
  }
  const Cursor declared = binding ? type_node(binding) : Cursor();
  if (declared) {
    const TypeId wanted = sema::resolve_type(m_, *module_, declared);
    if (!t_.assignable(type, wanted)) {
      m_.sink.report(Kind::type_mismatch, declared.span(),
                     fmt::format("the value of `{}` is {}, not {}", step.call.name,
                                 t_.display(type), t_.display(wanted)));
    }
    step.check = t_.needs_check(type, wanted);
    type = wanted;
  }
  // What another program gives is looked at, whatever it was declared to be.
  if (step.call.kind == ir::CalleeKind::extern_tool && t_[type].kind != TypeKind::any)
    step.check = true;
  step.type = type;
  step_options(c.child(Node::options), step, type, name ? std::string(name.text()) : "");
  node.named = static_cast<bool>(name);
  if (name) {
    node.name = name.text();
    // Named steps of one block are unique by the rule on names; exclusive arms have paths of their
    // own.
    ++used[node.name];
    step.slot = define(node.name, name.span(), type, true).slot;
    set_former_names(level().scope, step.slot, node.was);
  } else {
    node.name = unique(used, base);
    while (level().names.contains(node.name)) node.name = unique(used, base);
  }
  node.data = std::move(step);
}

void Lowerer::step_options(Cursor block, ir::StepNode& step, TypeId& type,
                           const std::string& name) {
  const TypeId own = type;
  Cursor fallback;
  for (const OptionNode& o : sema::check_options(m_, "step", block, block)) {
    if (!o.value) continue;
    if (o.name == "default") {
      fallback = o.value;
    } else {
      step_option(o, step, own, name);
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

namespace {

// What waits for something cannot be had from a cache.
bool waits(const ir::Call& call) {
  if (call.kind == ir::CalleeKind::workflow || call.kind == ir::CalleeKind::workflow_start)
    return true;
  if (call.kind != ir::CalleeKind::builtin || ir::find_builtin(call.name) == nullptr) return false;
  static constexpr std::string_view effects[] = {"http.", "exec.", "file.", "sql."};
  return std::none_of(std::begin(effects), std::end(effects),
                      [&](std::string_view prefix) { return call.name.starts_with(prefix); });
}

}  // namespace

void Lowerer::step_option(const OptionNode& o, ir::StepNode& step, TypeId own,
                          const std::string& name) {
  const TypeId duration = TypeTable::simple(TypeKind::duration);
  const TypeId string = TypeTable::simple(TypeKind::string);
  ir::StepOptions& out = step.options;
  // Those that are evaluated when the value is there see it, by the step's name or as `this`.
  const auto with_own = [&](TypeId wanted) {
    own_value_ = own;
    own_name_ = name;
    const ExprId e = typed(o.value, wanted, fmt::format("`{}`", o.name));
    own_value_.reset();
    return e;
  };
  if (o.name == "retry") {
    out.retry = sema::retry_policy(m_, *module_, o.value);
  } else if (o.name == "timeout") {
    out.timeout = typed(o.value, duration, "`timeout`");
  } else if (o.name == "attempt_timeout") {
    out.attempt_timeout = typed(o.value, duration, "`attempt_timeout`");
  } else if (o.name == "on_error") {
    if (sema::symbol_value(m_, o, "step") == "continue") out.on_error = ir::OnError::continue_;
  } else if (o.name == "idempotency_key") {
    out.idempotency_key = typed(o.value, string, "`idempotency_key`");
  } else if (o.name == "at_most_once") {
    out.at_most_once = flag(o.value);
  } else if (o.name == "label") {
    out.label = typed(o.value, string, "`label`");
  } else if (o.name == "tags") {
    out.tags = tags(o.value);
  } else if (o.name == "ensure") {
    out.ensure = with_own(TypeTable::simple(TypeKind::boolean));
  } else if (o.name == "review") {
    out.review = with_own(string);
  } else if (o.name == "confirm") {
    out.confirm = typed(o.value, string, "`confirm`");
  } else if (o.name == "undo") {
    out.undo = undo(o, own, name);
  } else if (o.name == "cache") {
    out.cache = typed(o.value, duration, "`cache`");
    if (waits(step.call)) {
      m_.sink
          .report(Kind::bad_option_value, o.name_node.span(),
                  fmt::format("`{}` cannot be cached", step.call.name))
          .note("only what answers by itself, with the same value for the same arguments, can");
    }
  } else if (o.name == "at_end") {
    out.cancel_at_end = sema::symbol_value(m_, o, "step") == "cancel";
    if (step.call.kind != ir::CalleeKind::workflow_start) {
      m_.sink
          .report(Kind::bad_option_value, o.name_node.span(),
                  "`at_end` is for a run that is started with `.start(…)`")
          .note("a workflow called as a step always ends before its parent");
    }
  }
}

ir::NodeId Lowerer::undo(const OptionNode& o, TypeId own, const std::string& name) {
  // `refund(x)` is a reference with arguments, `pay.refund(x)` a selection from one.
  Cursor reference = o.value;
  Cursor list = o.value.child(Node::arguments);
  std::string callee;
  if (o.value.is(Node::postfix)) {
    reference = o.value.child(Node::reference);
    const auto selects = o.value.children(Node::select);
    if (reference && selects.size() == 1) {
      list = selects[0].child(Node::arguments);
      callee = fmt::format("{}.{}", reference.name(), selects[0].child(Node::identifier).text());
    }
  } else if (reference.is(Node::reference)) {
    callee = reference.name();
  }
  if (callee.empty() || !list) {
    m_.sink.report(Kind::bad_option_value, o.value.span(),
                   "`undo` is a call: `undo: refund(charge.id)`");
    return {};
  }
  own_value_ = own;
  own_name_ = name;
  own_key_ = true;
  const Cursor named = o.value.is(Node::postfix) ? o.value : reference.child(Node::identifier);
  const Target t = target(callee, named);
  ir::StepNode step{.call = {.kind = t.kind,
                             .name = t.name,
                             .callable = t.callable,
                             .arguments = arguments(t, list, o.value)},
                    .type = t.result,
                    .options = {}};
  own_value_.reset();
  own_key_ = false;
  out_.nodes.push_back(
      {.name = "undo", .data = std::move(step), .doc = "", .origin = origin(o.value)});
  return ir::NodeId(out_.nodes.size() - 1);
}

bool Lowerer::flag(Cursor value) {
  const auto v = sema::constant_value(m_, *module_, value);
  if (v && v->kind() == cel::Kind::boolean) return v->as_bool();
  if (v) m_.sink.report(Kind::bad_option_value, value.span(), "this is true or false");
  return false;
}

uint32_t Lowerer::count(const OptionNode& o, uint32_t most) {
  const auto v = sema::constant_value(m_, *module_, o.value);
  if (!v) return 1;
  if (v->kind() == cel::Kind::int_ && v->as_int() >= 1 && v->as_int() <= most)
    return static_cast<uint32_t>(v->as_int());
  m_.sink.report(Kind::bad_option_value, o.value.span(),
                 fmt::format("`{}` is a number from 1 to {}", o.name, most));
  return 1;
}

}  // namespace kflow::lower
