// Walks a program's blocks for its names, with the visibility rules of language.md §6.
#include "compiler/cli/print_model.hpp"

#include <map>
#include <set>
#include <vector>

#include "compiler/base/json.hpp"

namespace kflow::cli {
namespace {

using ir::BlockId;
using ir::ScopeId;
using ir::Slot;
using schema::TypeId;

struct Name {
  std::string path;
  std::string kind;
  ir::Origin origin;
  std::string type;
  std::string previous;
  std::vector<std::string> outside;
  std::string doc;
};

/// What a block defines, by slot of its scope, and whether control leaves it.
struct Defined {
  std::map<Slot, std::vector<size_t>> names;  // indices into Walker::names
  bool leaves = false;
};

class Walker {
 public:
  explicit Walker(const ir::Program& program) : p_(program) {}
  std::vector<Name> names;

  Defined block(BlockId id, ScopeId scope, const std::string& path) {
    Defined out;
    if (!id) return out;
    for (const ir::NodeId n : p_[id].statements) {
      Defined inner = node(p_[n], scope, path + p_[n].name);
      for (auto& [slot, indices] : inner.names) {
        auto& all = out.names[slot];
        all.insert(all.end(), indices.begin(), indices.end());
      }
      out.leaves |= inner.leaves;
    }
    return out;
  }

 private:
  std::string display(TypeId type) const { return p_.types.display(type); }
  std::string nullable(std::string type) const {
    if (type == "any" || type == "null" || type.ends_with('?')) return type;
    const bool loose = type.find(" | ") != std::string::npos;
    return (loose ? "(" + type + ")" : type) + "?";
  }
  const std::string& seen(size_t index) const {
    const Name& n = names[index];
    return n.outside.empty() ? n.type : n.outside.back();
  }

  void add(Defined& out, const ir::Node& node, const char* kind, ScopeId scope, Slot slot,
           const std::string& path) {
    if (slot == ir::no_slot || p_[scope].slots[slot].name.empty()) return;
    Name name{.path = path,
              .kind = kind,
              .origin = node.origin,
              .type = display(p_[scope].slots[slot].type),
              .previous = "",
              .outside = {},
              .doc = node.doc};
    if (p_[scope].kind != ir::ScopeKind::body) name.previous = nullable(name.type);
    out.names[slot].push_back(names.size());
    names.push_back(std::move(name));
  }

  // Arms of which one runs: a name is certain if every arm that goes on defines it.
  Defined arms(const std::vector<Defined>& all, bool exhaustive) {
    Defined out{.names = {}, .leaves = exhaustive && !all.empty()};
    std::set<Slot> slots;
    for (const Defined& arm : all) {
      for (const auto& [slot, indices] : arm.names) slots.insert(slot);
      out.leaves = out.leaves && arm.leaves;
    }
    for (const Slot slot : slots) {
      bool certain = exhaustive;
      for (const Defined& arm : all) certain = certain && (arm.leaves || arm.names.contains(slot));
      for (const Defined& arm : all) {
        const auto found = arm.names.find(slot);
        if (found == arm.names.end()) continue;
        for (const size_t index : found->second) {
          const std::string type = certain ? seen(index) : nullable(seen(index));
          names[index].outside.push_back(type);
          out.names[slot].push_back(index);
        }
      }
    }
    return out;
  }

  Defined iteration(BlockId body, ScopeId scope, ScopeId outer, const std::string& path,
                    const std::vector<ir::Export>& exports, bool concurrent) {
    const Defined inner = block(body, scope, path + "[].");
    Defined out;
    if (concurrent) {
      for (const auto& [slot, indices] : inner.names) {
        for (const size_t index : indices) {
          if (names[index].outside.empty()) names[index].previous.clear();
        }
      }
    }
    for (const ir::Export& x : exports) {
      const auto found = inner.names.find(x.inner);
      if (found == inner.names.end()) continue;
      for (const size_t index : found->second) {
        names[index].outside.push_back(display(p_[outer].slots[x.outer].type));
        out.names[x.outer].push_back(index);
      }
    }
    return out;
  }

  Defined node(const ir::Node& n, ScopeId scope, const std::string& path) {
    Defined out;
    const std::string inside = path + ".";
    if (const auto* step = std::get_if<ir::StepNode>(&n.data)) {
      add(out, n, "step", scope, step->slot, path);
    } else if (const auto* let = std::get_if<ir::LetNode>(&n.data)) {
      add(out, n, "let", scope, let->slot, path);
    } else if (const auto* if_ = std::get_if<ir::IfNode>(&n.data)) {
      std::vector<Defined> all;
      bool exhaustive = false;
      for (const auto& arm : if_->arms) {
        all.push_back(block(arm.body, scope, inside));
        exhaustive |= !arm.condition;
      }
      return arms(all, exhaustive);
    } else if (const auto* match = std::get_if<ir::MatchNode>(&n.data)) {
      std::vector<Defined> all;
      for (const auto& arm : match->arms) all.push_back(block(arm.body, scope, inside));
      return arms(all, true);  // one that is not would have been refused
    } else if (const auto* parallel = std::get_if<ir::ParallelNode>(&n.data)) {
      for (const auto& branch : parallel->branches) {
        Defined made =
            block(branch.body, scope, branch.name.empty() ? inside : inside + branch.name + ".");
        for (auto& [slot, indices] : made.names) {
          for (const size_t index : indices) {
            const bool all = parallel->join == ir::JoinKind::all;
            names[index].outside.push_back(all ? seen(index) : nullable(seen(index)));
          }
          out.names[slot] = indices;
        }
      }
    } else if (const auto* each = std::get_if<ir::ForNode>(&n.data)) {
      return iteration(each->body, each->scope, scope, path, each->exports, each->limit > 1);
    } else if (const auto* loop = std::get_if<ir::LoopNode>(&n.data)) {
      return iteration(loop->body, loop->scope, scope, path, loop->exports, false);
    } else if (const auto* guarded = std::get_if<ir::TryNode>(&n.data)) {
      std::vector<Defined> all{block(guarded->body, scope, inside)};
      for (const auto& handler : guarded->catches)
        all.push_back(block(handler.body, scope, inside));
      out = arms(all, true);
      block(guarded->finally, scope, inside);
    } else {
      out.leaves = std::holds_alternative<ir::ReturnNode>(n.data) ||
                   std::holds_alternative<ir::FailNode>(n.data) ||
                   std::holds_alternative<ir::BreakNode>(n.data) ||
                   std::holds_alternative<ir::ContinueNode>(n.data);
    }
    return out;
  }

  const ir::Program& p_;
};

std::string_view kind_of(ir::CallableKind kind) {
  switch (kind) {
    case ir::CallableKind::workflow:
      return "workflow";
    case ir::CallableKind::tool:
      return "tool";
    case ir::CallableKind::extern_tool:
      return "extern tool";
    case ir::CallableKind::mcp_tool:
      return "mcp tool";
    case ir::CallableKind::agent:
      return "agent";
    case ir::CallableKind::team:
      return "team";
  }
  return "";
}

}  // namespace

std::string print_model(const ir::Program& program, const source::Manager& sources) {
  JsonWriter out(2);
  const auto text = [&](std::string_view key, std::string_view value) {
    out.key(key), out.string(value);
  };
  out.begin_object();
  out.key("callables"), out.begin_array();
  for (const ir::Callable& c : program.callables) {
    out.begin_object();
    text("name", c.name);
    text("kind", kind_of(c.kind));
    text("doc", c.doc);
    out.key("params"), out.begin_array();
    for (const ir::Param& p : c.params) {
      out.begin_object();
      text("name", p.name);
      text("type", program.types.display(p.type));
      out.key("required"), out.boolean(!p.fallback);
      out.end_object();
    }
    out.end_array();
    text("result", program.types.display(c.result));
    out.key("names"), out.begin_array();
    Walker walker(program);
    if (c.body) walker.block(c.body, c.scope, "");
    for (const Name& n : walker.names) {
      out.begin_object();
      text("path", n.path);
      text("kind", n.kind);
      text("file", sources[source::FileId(n.origin.file)].name());
      out.key("line"), out.unsigned_integer(n.origin.line);
      out.key("column"), out.unsigned_integer(n.origin.column);
      text("type", n.type);
      if (!n.previous.empty()) text("previous", n.previous);
      if (!n.outside.empty()) {
        out.key("outside"), out.begin_array();
        for (const std::string& type : n.outside) out.string(type);
        out.end_array();
      }
      if (!n.doc.empty()) text("doc", n.doc);
      out.end_object();
    }
    out.end_array();
    out.end_object();
  }
  out.end_array(), out.end_object();
  return out.take() + "\n";
}

}  // namespace kflow::cli
