// What of a program is worth showing.
#include "compiler/graph/figure.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "compiler/cel/value_codec.hpp"

namespace kflow::graph {
namespace {

// A text on one line.
std::string flat(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (space && (out.empty() || out.back() == ' ')) continue;
    out += space ? ' ' : c;
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

// The first paragraph, on one line.
std::string summary(const std::string& doc) { return flat(doc.substr(0, doc.find("\n\n"))); }

class Builder {
 public:
  explicit Builder(const ir::Program& p) : p_(p) {}

  std::vector<Item> block(ir::ScopeId scope, ir::BlockId id) {
    std::vector<Item> out;
    if (!id) return out;
    for (const ir::NodeId n : p_[id].statements) {
      const ir::Node& node = p_[n];
      Item item = std::visit([&](const auto& data) { return made(scope, node, data); }, node.data);
      item.doc = node.doc;
      out.push_back(std::move(item));
    }
    return out;
  }

  std::vector<Item> agent(const ir::Callable& c) {
    const ir::Model& model = p_[c.agent.model];
    Item self{.shape = Shape::box,
              .tone = Tone::agent,
              .title = c.name,
              .detail = (c.kind == ir::CallableKind::team ? "team · " : "agent · ") +
                        model.provider + "/" + model.id};
    Item parts{.shape = Shape::together, .title = "what it can call"};
    for (size_t i = 0; i < c.agent.tools.size(); ++i) {
      const ir::AgentTool& tool = c.agent.tools[i];
      const ir::Call& call = std::get<ir::StepNode>(p_[tool.node].data).call;
      Item item{.shape = Shape::box,
                .tone = tone(call),
                .title = tool.name,
                .detail = i < c.agent.members ? "member" : kind(call)};
      parts.lanes.push_back({.label = "", .items = {std::move(item)}});
    }
    std::vector<Item> out{std::move(self)};
    if (!parts.lanes.empty()) out.push_back(std::move(parts));
    return out;
  }

 private:
  std::string text(ir::ExprId id) const { return id ? flat(p_[id].text) : std::string(); }

  static Tone tone(const ir::Call& call) {
    switch (call.kind) {
      case ir::CalleeKind::agent:
      case ir::CalleeKind::team:
      case ir::CalleeKind::model:
        return Tone::agent;
      case ir::CalleeKind::tool:
      case ir::CalleeKind::extern_tool:
      case ir::CalleeKind::mcp_tool:
        return Tone::tool;
      case ir::CalleeKind::workflow:
      case ir::CalleeKind::workflow_start:
        return Tone::workflow;
      case ir::CalleeKind::builtin:
        break;
    }
    if (call.name.starts_with("human.")) return Tone::person;
    if (call.name.starts_with("sleep") || call.name.starts_with("signal.")) return Tone::time;
    if (call.name.starts_with("runs.")) return Tone::workflow;
    return Tone::effect;
  }

  static std::string kind(const ir::Call& call) {
    switch (call.kind) {
      case ir::CalleeKind::agent:
        return "agent";
      case ir::CalleeKind::team:
        return "team";
      case ir::CalleeKind::tool:
        return "tool";
      case ir::CalleeKind::extern_tool:
        return "external tool";
      case ir::CalleeKind::mcp_tool:
        return "MCP tool";
      case ir::CalleeKind::workflow:
        return "workflow";
      case ir::CalleeKind::workflow_start:
        return "starts workflow";
      case ir::CalleeKind::model:
        return "model";
      case ir::CalleeKind::builtin:
        break;
    }
    return "";
  }

  Item made(ir::ScopeId, const ir::Node& node, const ir::StepNode& x) {
    Item out{.shape = Shape::box, .tone = tone(x.call)};
    const std::string of = kind(x.call);
    const std::string callee = of.empty() ? x.call.name : of + " " + x.call.name;
    const std::string first = x.call.arguments.empty() ? "" : text(x.call.arguments[0].value);
    out.title = node.named ? node.name : x.call.name;
    out.detail = node.named ? callee : of;
    // What is waited for, or asked, says more than the name of the built-in.
    if (out.tone == Tone::time || out.tone == Tone::person || !node.named) {
      if (!first.empty()) out.detail += (out.detail.empty() ? "" : " · ") + first;
    }
    const ir::StepOptions& o = x.options;
    const auto note = [&](std::string_view name, ir::ExprId value) {
      if (value) out.notes.push_back(fmt::format("{} {}", name, text(value)));
    };
    if (o.retry) out.notes.push_back(fmt::format("up to {} tries", o.retry->max));
    note("timeout", o.timeout);
    if (o.on_error == ir::OnError::continue_) out.notes.emplace_back("goes on after an error");
    if (o.at_most_once) out.notes.emplace_back("at most once");
    note("cache", o.cache);
    if (o.undo) out.notes.push_back("undo: " + std::get<ir::StepNode>(p_[o.undo].data).call.name);
    if (o.confirm) out.notes.emplace_back("a person agrees first");
    if (o.review) out.notes.emplace_back("a person reviews it");
    if (o.ensure) out.notes.emplace_back("ensure " + text(o.ensure));
    return out;
  }
  Item made(ir::ScopeId, const ir::Node& node, const ir::LetNode& x) {
    return {.shape = Shape::line, .tone = Tone::pure, .title = node.name + " = " + text(x.value)};
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::SetNode& x) {
    return {.shape = Shape::line,
            .tone = Tone::pure,
            .title = fmt::format("set session.{} = {}", fmt::join(x.path, "."), text(x.value))};
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::EmitNode& x) {
    return {.shape = Shape::line, .tone = Tone::pure, .title = "emit " + text(x.value)};
  }
  Item made(ir::ScopeId scope, const ir::Node&, const ir::IfNode& x) {
    Item out{.shape = Shape::choice, .title = "if"};
    for (const ir::IfNode::Arm& arm : x.arms)
      out.lanes.push_back(
          {.label = arm.condition ? text(arm.condition) : "else", .items = block(scope, arm.body)});
    if (out.lanes.size() == 1 || (!x.arms.empty() && x.arms.back().condition))
      out.lanes.push_back({.label = "else", .items = {}});
    return out;
  }
  Item made(ir::ScopeId scope, const ir::Node&, const ir::MatchNode& x) {
    Item out{.shape = Shape::choice, .title = text(x.subject)};
    for (const ir::MatchNode::Arm& arm : x.arms) {
      std::string label;
      for (const cel::Value& v : arm.patterns)
        label += (label.empty() ? "" : ", ") + cel::to_json(v);
      out.lanes.push_back(
          {.label = label.empty() ? "else" : label, .items = block(scope, arm.body)});
    }
    return out;
  }
  Item made(ir::ScopeId scope, const ir::Node&, const ir::ParallelNode& x) {
    Item out{.shape = Shape::together, .title = "in parallel"};
    switch (x.join) {
      case ir::JoinKind::all:
        break;
      case ir::JoinKind::settled:
        out.detail = "until all have ended";
        break;
      case ir::JoinKind::any:
        out.detail = "until one succeeds";
        break;
      case ir::JoinKind::first:
        out.detail = fmt::format("until {} succeed", x.first);
        break;
    }
    if (x.limit > 0)
      out.detail += fmt::format("{}{} at a time", out.detail.empty() ? "" : ", ", x.limit);
    for (const ir::ParallelNode::Branch& b : x.branches)
      out.lanes.push_back({.label = b.name, .items = block(scope, b.body)});
    return out;
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::ForNode& x) {
    std::string names;
    for (const ir::Slot slot : {x.key, x.value}) {
      if (slot != ir::no_slot) names += (names.empty() ? "" : ", ") + p_[x.scope].slots[slot].name;
    }
    Item out{.shape = Shape::repeated, .title = fmt::format("for {} in {}", names, text(x.items))};
    if (x.limit > 1) out.detail = fmt::format("{} at a time", x.limit);
    if (x.on_error == ir::OnError::continue_)
      out.detail += std::string(out.detail.empty() ? "" : ", ") + "goes on after an error";
    out.lanes.push_back({.label = "", .items = block(x.scope, x.body)});
    return out;
  }
  Item made(ir::ScopeId, const ir::Node& node, const ir::LoopNode& x) {
    Item out{.shape = Shape::repeated, .title = node.named ? "loop " + node.name : "loop"};
    if (x.while_) out.detail = "while " + text(x.while_);
    if (x.until) out.detail = "until " + text(x.until);
    out.detail += fmt::format("{}at most {} times", out.detail.empty() ? "" : ", ", text(x.max));
    out.lanes.push_back({.label = "", .items = block(x.scope, x.body)});
    return out;
  }
  Item made(ir::ScopeId scope, const ir::Node&, const ir::TryNode& x) {
    Item out{.shape = Shape::attempt, .title = "try"};
    if (x.compensate) out.detail = "undoes what it did when it fails";
    out.lanes.push_back({.label = "", .items = block(scope, x.body)});
    for (const ir::TryNode::Catch& c : x.catches)
      out.lanes.push_back({.label = c.guard ? "catch if " + text(c.guard) : "catch",
                           .items = block(scope, c.body)});
    if (x.finally) out.lanes.push_back({.label = "finally", .items = block(scope, x.finally)});
    return out;
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::ReturnNode& x) {
    return {.shape = Shape::end, .tone = Tone::good, .title = "return", .detail = text(x.value)};
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::FailNode& x) {
    return {.shape = Shape::end,
            .tone = Tone::bad,
            .title = "fail",
            .detail = text(x.message ? x.message : x.code)};
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::BreakNode&) {
    return {.shape = Shape::end, .tone = Tone::jump, .title = "break"};
  }
  Item made(ir::ScopeId, const ir::Node&, const ir::ContinueNode&) {
    return {.shape = Shape::end, .tone = Tone::jump, .title = "continue"};
  }

  const ir::Program& p_;
};

}  // namespace

bool Lane::leaves() const { return !items.empty() && items.back().shape == Shape::end; }

Figure figure_of(const ir::Program& program, ir::CallableId callable) {
  const ir::Callable& c = program[callable];
  Figure out{.title = c.name, .doc = summary(c.doc), .items = {}};
  const bool agent = c.kind == ir::CallableKind::agent || c.kind == ir::CallableKind::team;
  std::vector<std::string> params;
  for (const ir::Param& p : c.params)
    params.push_back(p.name + ": " + program.types.display(p.type));
  out.title += fmt::format("({})", fmt::join(params, ", "));
  if (program.types[c.result].kind != schema::TypeKind::null)
    out.title += " → " + program.types.display(c.result);
  Builder builder(program);
  out.items = agent ? builder.agent(c) : builder.block(c.scope, c.body);
  return out;
}

}  // namespace kflow::graph
