// Agents, teams and models: their options, and the hidden steps that their turns are made of.
#include "compiler/ir/providers.hpp"
#include "compiler/ir/schema/secrets.hpp"
#include "compiler/lower/lowerer.hpp"

namespace kflow::lower {

namespace {

constexpr size_t max_tool_name = 64;  // of the providers, the least
constexpr uint32_t most_turns = 1000;
constexpr uint32_t most_history = 1000;
constexpr uint32_t most_reasks = 20;

// A name as models take it: `http.get` becomes `http_get`.
std::string model_name(std::string_view name) {
  std::string out(name.substr(0, max_tool_name));
  for (char& c : out) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
    if (!fine) c = '_';
  }
  return out;
}

// The items of `[a, b]`, or the one thing that is not a list.
std::vector<Cursor> items(Cursor value) {
  std::vector<Cursor> out;
  if (!value.is(Node::list)) return {value};
  for (const Cursor item : value.children(Node::list_item)) {
    if (const Cursor x = item.expression()) out.push_back(x);
  }
  return out;
}

// `name`, `module.name`, `module.server.tool`; "" for anything else.
std::string reference_name(Cursor c) {
  if (c.is(Node::reference) && !c.child(Node::arguments)) return std::string(c.name());
  if (!c.is(Node::postfix)) return "";
  const Cursor head = c.child(Node::reference);
  const auto selects = c.children(Node::select);
  if (!head || selects.empty() || selects.size() > 2) return "";
  std::string out(head.name());
  for (const Cursor s : selects) {
    if (s.child(Node::arguments)) return "";
    out += "." + std::string(s.child(Node::identifier).text());
  }
  return out;
}

}  // namespace

// ---------------------------------------------------------------- models

ir::ModelId Lowerer::model(Cursor value) {
  const auto wrong = [&](std::string_view what) {
    m_.sink.report(Kind::bad_option_value, value.span(), std::string(what))
        .note(
            "a model is the name of a `model { … }`, or \"provider/id\" such as "
            "\"openai/gpt-5.2\"");
    return ir::ModelId();
  };
  if (const std::string name = reference_name(value); !name.empty()) {
    const Module* owner = module_;
    std::string_view local = name;
    if (const size_t dot = name.find('.'); dot != std::string::npos) {
      const auto import = module_->imports.find(name.substr(0, dot));
      if (import != module_->imports.end() && import->second == UINT32_MAX) return {};
      if (import != module_->imports.end()) owner = m_.modules[import->second].get();
      local = local.substr(dot + 1);
    }
    if (const auto it = owner->models.find(local); it != owner->models.end())
      return declared_model(*owner, std::string(local), it->second);
    const auto constant = sema::constant(m_, *module_, name);
    if (constant == nullptr) {
      std::vector<std::string> names;
      for (const auto& [known, node] : module_->models) names.push_back(known);
      if (module_->has_syntax_errors) return {};
      m_.sink.report(Kind::unknown_name, value.span(), fmt::format("no model is named `{}`", name))
          .suggest(name, names);
      return {};
    }
  }
  const auto text = sema::constant_value(m_, *module_, value);
  if (!text) return {};
  if (text->kind() != cel::Kind::string) return wrong("this is no model");
  const std::string_view spec = text->as_string();
  const size_t slash = spec.find('/');
  if (slash == std::string_view::npos || slash + 1 == spec.size())
    return wrong("a model as a text is \"provider/id\"");
  for (uint32_t i = 0; i < out_.models.size(); ++i) {
    if (out_.models[i].name == spec) return ir::ModelId(i);
  }
  ir::Model model{.name = std::string(spec),
                  .provider = std::string(spec.substr(0, slash)),
                  .id = std::string(spec.substr(slash + 1))};
  if (!known_provider(model.provider, value)) return {};
  out_.models.push_back(std::move(model));
  return ir::ModelId(out_.models.size() - 1);
}

bool Lowerer::known_provider(const std::string& provider, Cursor at) {
  std::vector<std::string> known(std::begin(ir::model_providers), std::end(ir::model_providers));
  if (std::find(known.begin(), known.end(), provider) != known.end()) return true;
  m_.sink
      .report(Kind::bad_option_value, at.span(),
              fmt::format("no provider of models is named `{}`", provider))
      .suggest(provider, known)
      .note(fmt::format("providers: {}; `openai_chat` with a `base_url` is for all that speak its "
                        "language: Ollama, vLLM, llama.cpp, OpenRouter …",
                        fmt::join(known, ", ")));
  return false;
}

ir::ModelId Lowerer::declared_model(const Module& owner, const std::string& name, Cursor decl) {
  // Two modules may each have a model of that name.
  const std::string key = fmt::format("{}.{}", owner.file.value, name);
  if (const auto it = models_.find(key); it != models_.end()) return it->second;
  const ir::ModelId id(out_.models.size());
  models_[key] = id;
  out_.models.push_back({.name = name});
  ir::Model out{.name = name};
  Module* const before = module_;
  module_ = const_cast<Module*>(&owner);
  // Names, duplicates and what is missing were reported where it is declared.
  for (const OptionNode& o : sema::options_in(decl.child(Node::options))) {
    if (o.value && sema::find_option("model", o.name) != nullptr) model_option(out, o);
  }
  check_offered(out, decl);
  module_ = before;
  out_.models[id.value] = std::move(out);
  return id;
}

// What its provider does not have is said here, and not by the first run.
void Lowerer::check_offered(const ir::Model& model, Cursor decl) {
  const bool known = std::ranges::find(ir::model_providers, model.provider) !=
                     std::ranges::end(ir::model_providers);
  if (!known) return;
  for (const OptionNode& o : sema::options_in(decl.child(Node::options))) {
    const auto row = std::ranges::find(ir::provider_options, o.name, &ir::ProviderOption::name);
    if (row == std::ranges::end(ir::provider_options) || row->offered_by(model.provider)) continue;
    std::vector<std::string> offering;
    for (const std::string_view p : row->providers) {
      if (!p.empty()) offering.push_back(fmt::format("`{}`", p));
    }
    m_.sink
        .report(Kind::unsupported_option, o.name_node.span(),
                fmt::format("the provider `{}` has no `{}`", model.provider, o.name))
        .note(fmt::format("it is offered by {}", fmt::join(offering, ", ")));
  }
}

void Lowerer::model_option(ir::Model& out, const OptionNode& o) {
  if (o.name == "fallback") {
    for (const Cursor item : items(o.value)) {
      if (const ir::ModelId other = model(item)) out.fallback.push_back(other);
    }
    return;
  }
  if (o.name == "api_key") {
    const std::string name = reference_name(o.value);
    if (!module_->secrets.contains(name)) {
      m_.sink.report(Kind::bad_option_value, o.value.span(), "`api_key` names a declared secret")
          .suggest(name, {module_->secrets.begin(), module_->secrets.end()})
          .note("declare it with `secret NAME`; its value comes from the environment");
      return;
    }
    out.api_key = name;
    return;
  }
  const auto v = sema::constant_value(m_, *module_, o.value);
  if (!v) return;
  const auto wrong = [&](std::string_view what) {
    m_.sink.report(Kind::bad_option_value, o.value.span(), fmt::format("`{}` is {}", o.name, what));
  };
  const auto number = [&](std::optional<double>& into, double least, double most) {
    const std::optional<double> x = v->kind() == cel::Kind::double_ ? std::optional(v->as_double())
                                    : v->kind() == cel::Kind::int_
                                        ? std::optional(static_cast<double>(v->as_int()))
                                        : std::nullopt;
    if (!x || *x < least || *x > most)
      return wrong(fmt::format("a number from {} to {}", least, most));
    into = x;
  };
  const auto integer = [&](std::optional<int64_t>& into, int64_t least) {
    if (v->kind() != cel::Kind::int_ || v->as_int() < least)
      return wrong(fmt::format("an int of at least {}", least));
    into = v->as_int();
  };
  const auto text = [&](std::string& into) {
    if (v->kind() != cel::Kind::string || v->as_string().empty()) return wrong("a text");
    into = v->as_string();
  };
  if (o.name == "provider") {
    text(out.provider);
    if (!out.provider.empty()) known_provider(out.provider, o.value);
  } else if (o.name == "id") {
    text(out.id);
  } else if (o.name == "temperature") {
    number(out.temperature, 0, 2);
  } else if (o.name == "top_p") {
    number(out.top_p, 0, 1);
  } else if (o.name == "max_output_tokens") {
    integer(out.max_output_tokens, 1);
  } else if (o.name == "seed") {
    integer(out.seed, INT64_MIN);
  } else if (o.name == "base_url") {
    text(out.base_url);
  } else if (o.name == "reasoning_effort") {
    static constexpr std::string_view efforts[] = {"none", "minimal", "low", "medium", "high"};
    if (v->kind() != cel::Kind::string ||
        std::find(std::begin(efforts), std::end(efforts), v->as_string()) == std::end(efforts))
      return wrong("\"none\", \"minimal\", \"low\", \"medium\" or \"high\"");
    out.reasoning_effort = v->as_string();
  } else if (o.name == "stop") {
    const bool list = v->kind() == cel::Kind::list &&
                      std::all_of(v->as_list().begin(), v->as_list().end(),
                                  [](const auto& x) { return x.kind() == cel::Kind::string; });
    if (!list) return wrong("a list of strings");
    for (const cel::Value& x : v->as_list()) out.stop.emplace_back(x.as_string());
  }
}

// ---------------------------------------------------------------- agents and teams

void Lowerer::agent(ir::CallableId id, const CallableInfo& info) {
  out_.callables[id.value].scope = levels_[0].scope;
  const Cursor block = info.node.child(Node::options);
  // Of a text with holes only the holes are reported: what is around them would be guessed at.
  if (!block || info.node.has_errors()) return;
  const bool team = info.kind == ir::CallableKind::team;
  const std::string_view construct = team ? "team" : "agent";
  for (const sema::ParamInfo& p : info.params) {
    if (!schema::holds_secret(t_, p.type)) continue;
    m_.sink
        .report(Kind::secret_flow, p.span,
                fmt::format("a model is told the parameters of its {}, so `{}` cannot be a secret",
                            construct, p.name))
        .note("give the secret to a `tool` that the model calls, as a default");
  }
  session_type_ = {};
  ir::AgentOptions out;
  out.mode = team ? ir::TeamMode::coordinate : ir::TeamMode::none;
  out.message = !info.node.child(Node::params);
  out.call = hidden("model", {.kind = ir::CalleeKind::model, .name = info.name, .callable = id},
                    TypeTable::simple(TypeKind::any), info.node);
  // Members before tools, and `confirm` after both, in whatever order they are written.
  std::map<std::string, OptionNode> options;
  for (OptionNode& o : sema::options_in(block)) {
    if (o.value && sema::find_option(construct, o.name) != nullptr)
      options.emplace(o.name, std::move(o));
  }
  const auto given = [&](std::string_view name) -> const OptionNode* {
    const auto it = options.find(std::string(name));
    return it == options.end() ? nullptr : &it->second;
  };
  if (const OptionNode* o = given("members")) agent_tools(out, *o, true);
  out.members = static_cast<uint32_t>(out.tools.size());
  if (const OptionNode* o = given("tools")) agent_tools(out, *o, false);
  for (const auto& [name, o] : options) agent_option(out, o, info);
  if (const OptionNode* o = given("members")) check_members(out, *o, info);
  if (!given("model")) {
    m_.sink
        .report(Kind::missing_option, info.span,
                fmt::format("{} `{}` has no model", team ? "the team" : "the agent", info.name))
        .note("`model: \"openai/gpt-5.2\"`, or the name of a `model { … }`");
  }
  if (!out.message && !out.prompt && info.params.empty()) {
    m_.sink
        .report(
            Kind::missing_option, info.span,
            fmt::format("`{}` is told nothing: it has no parameters and no `prompt`", info.name))
        .note("leave the parentheses out for one parameter `message`, or give a `prompt`");
  }
  out_.callables[id.value].agent = std::move(out);
}

// Whether the team's mode can work with its members.
void Lowerer::check_members(const ir::AgentOptions& out, const OptionNode& o,
                            const CallableInfo& info) {
  if (out.members == 0 && o.value.is(Node::list) && o.value.children(Node::list_item).empty()) {
    m_.sink.report(Kind::bad_option_value, o.value.span(), "a team needs a member");
    return;
  }
  for (uint32_t i = 0; i < out.members; ++i) {
    const ir::AgentTool& member = out.tools[i];
    const auto& step = std::get<ir::StepNode>(out_.nodes[member.node.value].data);
    const TypeId result = step.type;
    if (step.call.kind == ir::CalleeKind::team && step.call.name == info.name) {
      m_.sink.report(Kind::recursive, o.value.span(),
                     fmt::format("the team `{}` is a member of itself", info.name));
    }
    if (out.mode == ir::TeamMode::route && !t_.assignable(result, info.result)) {
      m_.sink
          .report(Kind::type_mismatch, o.value.span(),
                  fmt::format("the member `{}` answers with {}, the team `{}` with {}", member.name,
                              t_.display(result), info.name, t_.display(info.result)))
          .note("with `mode: route` the member's answer is the team's, as it is");
    }
    if (out.mode != ir::TeamMode::broadcast) continue;
    for (const schema::Field& field : t_[member.input].fields) {
      const bool told = field.fallback || field.name == "message" ||
                        std::any_of(info.params.begin(), info.params.end(),
                                    [&](const auto& p) { return p.name == field.name; });
      if (told || t_.accepts_null(field.type)) continue;
      m_.sink
          .report(Kind::bad_option_value, o.value.span(),
                  fmt::format("the member `{}` needs `{}`, which the team `{}` is not told",
                              member.name, field.name, info.name))
          .note(
              "with `mode: broadcast` every member gets what the team gets: the message, and the "
              "team's parameters by name");
    }
  }
}

ir::NodeId Lowerer::hidden(std::string name, ir::Call call, TypeId type, Cursor at) {
  out_.nodes.push_back({.name = std::move(name),
                        .data = ir::StepNode{.call = std::move(call), .type = type, .options = {}},
                        .doc = "",
                        .origin = origin(at)});
  return ir::NodeId(out_.nodes.size() - 1);
}

void Lowerer::agent_option(ir::AgentOptions& out, const OptionNode& o, const CallableInfo& info) {
  const TypeId string = TypeTable::simple(TypeKind::string);
  if (o.name == "model") {
    out.model = model(o.value);
  } else if (o.name == "role") {
    out.role = typed(o.value, string, "`role`");
  } else if (o.name == "instructions") {
    const CheckedExpression checked = check(o.value);
    const TypeId type = sema::outer_type(m_, checked);
    if (t_.assignable(type, string) || t_.assignable(type, t_.list_of(string))) {
      out.instructions = add(checked, o.value, type, false);
    } else {
      m_.sink.report(
          Kind::type_mismatch, o.value.span(),
          fmt::format("`instructions` is a string or a list of strings, not {}", t_.display(type)));
    }
  } else if (o.name == "prompt") {
    out.prompt = typed(o.value, string, "`prompt`");
  } else if (o.name == "max_turns") {
    out.max_turns = count(o, most_turns);
  } else if (o.name == "history") {
    out.history = count(o, most_history);
  } else if (o.name == "reask") {
    const auto v = sema::constant_value(m_, *module_, o.value);
    if (v && (v->kind() != cel::Kind::int_ || v->as_int() < 0 || v->as_int() > most_reasks)) {
      m_.sink.report(Kind::bad_option_value, o.value.span(),
                     fmt::format("`reask` is a number from 0 to {}", most_reasks));
    } else if (v) {
      out.reask = static_cast<uint32_t>(v->as_int());
    }
  } else if (o.name == "parallel_tools") {
    out.parallel_tools = flag(o.value);
  } else if (o.name == "share_history") {
    out.share_history = flag(o.value);
  } else if (o.name == "mode") {
    const std::string word = sema::symbol_value(m_, o, "team");
    out.mode = word == "route"       ? ir::TeamMode::route
               : word == "broadcast" ? ir::TeamMode::broadcast
               : word == "tasks"     ? ir::TeamMode::tasks
                                     : ir::TeamMode::coordinate;
  } else if (o.name == "budget") {
    out.budget = budget(o.value);
  } else if (o.name == "tool_options") {
    tool_options(out, o.value);
  } else if (o.name == "confirm") {
    confirmed_tools(out, o);
  } else if (o.name == "guard") {
    for (const Cursor item : items(o.value)) guard(out, item, info);
  }
}

ir::Budget Lowerer::budget(Cursor value) {
  ir::Budget out;
  if (!value.is(Node::map) && !value.is(Node::options)) {
    m_.sink.report(Kind::bad_option_value, value.span(),
                   "`budget` is a block: `{ usd: 2.0, tokens: 200000 }`");
    return out;
  }
  for (const OptionNode& o : sema::check_options(m_, "budget", value, value)) {
    if (!o.value) continue;
    if (o.name == "usd") out.usd = typed(o.value, TypeTable::simple(TypeKind::double_), "`usd`");
    if (o.name == "tokens")
      out.tokens = typed(o.value, TypeTable::simple(TypeKind::int_), "`tokens`");
  }
  return out;
}

// Of every call that the model makes; a `tool` may be stricter inside.
void Lowerer::tool_options(ir::AgentOptions& out, Cursor value) {
  if (!value.is(Node::map) && !value.is(Node::options)) {
    m_.sink.report(Kind::bad_option_value, value.span(),
                   "`tool_options` is a block: `{ timeout: 30s, retry: { max: 2 } }`");
    return;
  }
  const TypeId duration = TypeTable::simple(TypeKind::duration);
  for (const OptionNode& o : sema::check_options(m_, "tool_options", value, value)) {
    if (!o.value) continue;
    const std::optional<ir::RetryPolicy> retry =
        o.name == "retry" ? sema::retry_policy(m_, *module_, o.value) : std::nullopt;
    const ExprId limit =
        o.name == "retry" ? ExprId() : typed(o.value, duration, "`" + o.name + "`");
    for (const ir::AgentTool& tool : out.tools) {
      ir::StepOptions& options = std::get<ir::StepNode>(out_.nodes[tool.node.value].data).options;
      if (o.name == "timeout") options.timeout = limit;
      if (o.name == "attempt_timeout") options.attempt_timeout = limit;
      if (retry) options.retry = retry;
    }
  }
}

// Tools, agents, teams, workflows, built-ins, or all that a module has of them.
void Lowerer::agent_tools(ir::AgentOptions& out, const OptionNode& o, bool members) {
  for (const Cursor item : items(o.value)) {
    const std::string name = reference_name(item);
    if (name.empty()) {
      m_.sink.report(Kind::bad_option_value, item.span(),
                     fmt::format("`{}` lists names{}", o.name,
                                 members ? "" : " of tools, agents, workflows and modules"));
      continue;
    }
    const auto import = module_->imports.find(name);
    if (import != module_->imports.end()) {
      if (import->second == UINT32_MAX) continue;
      if (members) {
        m_.sink
            .report(Kind::bad_option_value, item.span(),
                    fmt::format("the module `{}` is no member of a team", name))
            .note(fmt::format("name its agents and workflows, such as `{}.…`; as `tools` a team's "
                              "leader takes whole modules",
                              name));
        continue;
      }
      const Module& other = *m_.modules[import->second];
      size_t found = 0;
      for (const auto& [inner, index] : other.callables) {
        // The module's own, and the tools of its MCP servers: those are named by `module.server`.
        if (sema::is_private(inner) || inner.find('.') != std::string::npos) continue;
        agent_tool(out, fmt::format("{}.{}", name, inner), item);
        ++found;
      }
      if (found == 0) {
        m_.sink.report(Kind::bad_option_value, item.span(),
                       fmt::format("the module `{}` has nothing that can be called", name));
      }
      continue;
    }
    if (const auto server = sema::find_server(m_, *module_, name)) {
      const sema::ServerInfo& info = m_.servers[*server];
      for (const std::string& tool : info.tools)
        agent_tool(out, fmt::format("{}.{}", name, tool), item);
      if (info.known && info.tools.empty()) {
        m_.sink.report(Kind::bad_option_value, item.span(),
                       fmt::format("the MCP server `{}` has no tools", name));
      }
      continue;
    }
    const size_t before = out.tools.size();
    agent_tool(out, name, item);
    if (!members || out.tools.size() == before) continue;
    const ir::CalleeKind kind =
        std::get<ir::StepNode>(out_.nodes[out.tools.back().node.value].data).call.kind;
    if (kind == ir::CalleeKind::agent || kind == ir::CalleeKind::team ||
        kind == ir::CalleeKind::workflow)
      continue;
    m_.sink
        .report(Kind::bad_option_value, item.span(),
                fmt::format("`{}` is no member of a team", name))
        .note(
            "members are agents, teams and workflows; what else the leader may call goes into "
            "`tools`");
  }
}

void Lowerer::agent_tool(ir::AgentOptions& out, const std::string& name, Cursor at) {
  const Target t = target(name, at);
  if (!t.known) return;
  ir::AgentTool tool{.name = model_name(name)};
  if (std::any_of(out.tools.begin(), out.tools.end(),
                  [&](const ir::AgentTool& x) { return x.name == tool.name; })) {
    m_.sink.report(Kind::duplicate_name, at.span(),
                   fmt::format("`{}` is among the tools twice", name));
    return;
  }
  const auto index = sema::find_callable(m_, *module_, name);
  if (t.kind == ir::CalleeKind::mcp_tool) {
    // The model is told what the server says, word for word.
    const CallableInfo& info = m_.callables[*index];
    tool.description = info.doc;
    tool.schema = info.mcp.input_schema;
    tool.input = info.arguments;
    tool.node =
        hidden(tool.name, {.kind = t.kind, .name = t.name, .callable = t.callable}, t.result, at);
    out.tools.push_back(std::move(tool));
    return;
  }
  if (index) {
    tool.description = m_.callables[*index].node.doc();
    if (tool.description.empty()) {
      m_.sink
          .report(Kind::no_description, at.span(),
                  fmt::format("`{}` has no description for the model", name))
          .secondary(m_.callables[*index].span, "declared here")
          .note("say in a `///` comment before the declaration what it does and when to use it");
    }
  } else if (const ir::Builtin* builtin = ir::find_builtin(name)) {
    tool.description = builtin->doc;
  }
  std::vector<schema::Field> fields;
  for (const sema::ParamInfo& p : t.params) {
    if (t_.is_secret(p.type)) {
      // A model neither sees a secret nor chooses one.
      if (p.optional) continue;
      m_.sink
          .report(
              Kind::bad_option_value, at.span(),
              fmt::format("`{}` needs the secret `{}`, which a model cannot give", name, p.name))
          .note("write a tool that gives it, and let the agent have that one");
      return;
    }
    schema::Field field{.name = p.name, .type = p.type, .constraints = p.constraints, .doc = p.doc};
    if (p.fallback) field.fallback = sema::constant_value(m_, *module_of(index), p.fallback);
    if (p.optional && !p.fallback) field.type = t_.nullable(p.type);
    // What an agent is told by another one is a text.
    const bool implicit = index &&
                          (t.kind == ir::CalleeKind::agent || t.kind == ir::CalleeKind::team) &&
                          !m_.callables[*index].node.child(Node::params);
    if (implicit) {
      field.type = TypeTable::simple(TypeKind::string);
      field.doc = "The task or question, with all that is needed to understand it.";
    }
    fields.push_back(std::move(field));
  }
  tool.input = t_.record(std::move(fields));
  tool.node =
      hidden(tool.name, {.kind = t.kind, .name = t.name, .callable = t.callable}, t.result, at);
  if (t.kind == ir::CalleeKind::extern_tool && t_[t.result].kind != TypeKind::any)
    std::get<ir::StepNode>(out_.nodes[tool.node.value].data).check = true;
  out.tools.push_back(std::move(tool));
}

Module* Lowerer::module_of(std::optional<uint32_t> callable) const {
  return callable ? m_.modules[m_.callables[*callable].module].get() : module_;
}

// Tools that a person must agree to.
void Lowerer::confirmed_tools(ir::AgentOptions& out, const OptionNode& o) {
  for (const Cursor item : items(o.value)) {
    const std::string name = reference_name(item);
    const auto tool = std::find_if(out.tools.begin(), out.tools.end(),
                                   [&](const auto& x) { return x.name == model_name(name); });
    if (tool == out.tools.end()) {
      std::vector<std::string> names;
      for (const ir::AgentTool& x : out.tools) names.push_back(x.name);
      m_.sink
          .report(Kind::bad_option_value, item.span(),
                  fmt::format("`{}` is none of the agent's tools", item.text()))
          .suggest(name, names);
      continue;
    }
    const std::string question = fmt::format("May `{}` be called?", tool->name);
    const ExprId expr =
        constant_expr(cel::Value::string(question), TypeTable::simple(TypeKind::string), item);
    std::get<ir::StepNode>(out_.nodes[tool->node.value].data).options.confirm = expr;
  }
}

void Lowerer::guard(ir::AgentOptions& out, Cursor item, const CallableInfo& info) {
  const std::string name = reference_name(item);
  if (name.empty()) {
    m_.sink.report(Kind::bad_option_value, item.span(), "`guard` lists names of callables");
    return;
  }
  const Target t = target(name, item);
  if (!t.known) return;
  const auto takes = [&](std::string_view param) {
    return std::any_of(t.params.begin(), t.params.end(),
                       [&](const sema::ParamInfo& p) { return p.name == param; });
  };
  ir::Guard guard{
      .node = {}, .input = takes("input") && !takes("output"), .output = takes("output")};
  const TypeKind result = t_[t_.without_null(t.result)].kind;
  const bool others = std::any_of(t.params.begin(), t.params.end(), [](const sema::ParamInfo& p) {
    return p.name != "input" && p.name != "output" && !p.optional;
  });
  const bool sound =
      (guard.input || guard.output) && !others &&
      (result == TypeKind::boolean || result == TypeKind::string || result == TypeKind::any);
  if (!sound) {
    m_.sink
        .report(Kind::bad_option_value, item.span(),
                fmt::format("`{}` cannot guard `{}`", name, info.name))
        .note(
            "a guard has a parameter `input` (called before the first turn) or `output` (called "
            "with the answer), and gives a bool, or a string that says why it rejects");
    return;
  }
  guard.node = hidden(model_name(name), {.kind = t.kind, .name = t.name, .callable = t.callable},
                      t.result, item);
  out.guards.push_back(guard);
}

}  // namespace kflow::lower
