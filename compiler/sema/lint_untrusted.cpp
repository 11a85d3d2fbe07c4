// A summary of each callable says which of its parameters reach a command, and what of it comes
// back; a call is judged by the summary of what it calls.
#include "compiler/sema/lint_untrusted.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "compiler/sema/lint_walk.hpp"

namespace kflow::sema {
namespace {

using diagnostics::Kind;
using syntax::Node;

/// Where a text may come from.
struct Origin {
  std::optional<source::Span> fetched;
  std::set<std::string, std::less<>> params;  ///< of the callable that is looked at

  bool any() const { return fetched.has_value() || !params.empty(); }
  void add(const Origin& other) {
    if (!fetched) fetched = other.fetched;
    params.insert(other.params.begin(), other.params.end());
  }
};

struct Summary {
  std::map<std::string, source::Span, std::less<>>
      commands;  ///< parameters that become part of one
  Origin result;
};

// Numbers and the like say nothing that a shell would obey, and neither does one of a few words.
bool says_nothing(const Module& module, const schema::TypeTable& types, Cursor type) {
  static constexpr std::string_view words[] = {"bool",   "int",      "uint",
                                               "double", "duration", "timestamp"};
  if (!type) return false;
  if (type.is(Node::literal_type)) return true;
  if (type.is(Node::union_type)) {
    for (Cursor x = type.first(); x; x = type.next(x)) {
      if (!x.is(Node::punctuation) && !says_nothing(module, types, x)) return false;
    }
    return true;
  }
  const auto declared = module.types.find(type.text());
  if (declared != module.types.end())
    return types[declared->second].kind == schema::TypeKind::literal_union;
  return std::find(std::begin(words), std::end(words), type.text()) != std::end(words);
}

Cursor type_in(Cursor c) {
  for (Cursor x = c ? c.first() : Cursor(); x; x = c.next(x)) {
    if (x.kind() >= Node::union_type && x.kind() <= Node::paren_type) return x;
  }
  return {};
}

class Untrusted {
 public:
  Untrusted(Model& m, Module& module) : m_(m), module_(module) {
    const Cursor root = module.tree.root();
    for (Cursor c = root.first(); c; c = root.next(c)) {
      if (c.is(Node::callable_decl) || c.is(Node::agent_decl))
        declared_.emplace(std::string(c.name()), c);
    }
    for (const auto& [name, node] : declared_) summary_of(name);
  }

 private:
  using Origins = std::map<std::string, Origin, std::less<>>;

  bool is_harmless(Cursor type) const { return says_nothing(module_, m_.types, type); }

  // Each is looked at once; what calls itself adds nothing to itself.
  const Summary& summary_of(const std::string& name) {
    const auto [it, added] = summaries_.emplace(name, Summary());
    const Cursor node = declared_.at(name);
    if (!added || !node.is(Node::callable_decl)) return it->second;
    Summary out;
    Origins origins;
    if (const Cursor params = node.child(Node::params)) {
      for (const Cursor p : params.children(Node::param)) {
        if (!is_harmless(type_in(p)))
          origins[std::string(p.name())].params.insert(std::string(p.name()));
      }
    }
    each_node(node, [&](Cursor c) { visit(c, origins, out); });
    return summaries_[name] = std::move(out);
  }

  void visit(Cursor c, Origins& origins, Summary& out) {
    if (c.is(Node::step_stmt)) {
      step(c, origins, out);
    } else if (c.is(Node::let_stmt)) {
      if (!is_harmless(type_in(c)))
        origins[std::string(c.name())] = origin_in(c.expression(), origins);
    } else if (c.is(Node::for_stmt)) {
      const Origin origin = origin_in(c.expression(), origins);
      for (const Cursor name : c.children(Node::identifier))
        origins[std::string(name.text())] = origin;
    } else if (c.is(Node::return_stmt)) {
      out.result.add(origin_in(c.expression(), origins));
    }
  }

  void step(Cursor c, Origins& origins, Summary& out) {
    const Cursor callee = c.child(Node::callee);
    const Cursor arguments = c.child(Node::arguments);
    if (!callee) return;
    if (callee.text() == "exec.run") command(arguments, origins, out);
    Origin result;
    if (fetches(callee.text())) {
      result.fetched = callee.span();
    } else if (const auto known = declared_.find(callee.text()); known != declared_.end()) {
      result = call(callee, known->second, arguments, origins, out);
    }
    const Cursor binding = c.child(Node::step_binding);
    if (binding && !is_harmless(type_in(binding))) origins[std::string(binding.name())] = result;
  }

  // The network itself, and the modules of the standard library that read it.
  bool fetches(std::string_view callee) const {
    if (callee.starts_with("http.")) return true;
    const auto import = module_.imports.find(callee.substr(0, callee.find('.')));
    if (import == module_.imports.end() || import->second == UINT32_MAX) return false;
    const std::string_view path = m_.sources[m_.modules[import->second]->file].path();
    static constexpr std::string_view readers[] = {"std/web", "std/hackernews", "std/github",
                                                   "std/yfinance"};
    return std::any_of(std::begin(readers), std::end(readers),
                       [&](std::string_view reader) { return path.starts_with(reader); });
  }

  Origin call(Cursor callee, Cursor declaration, Cursor arguments, const Origins& origins,
              Summary& out) {
    const bool agent = declaration.is(Node::agent_decl);
    const std::string name(declaration.name());
    const Summary summary = summary_of(name);
    Origin result;
    if (summary.result.fetched) result.fetched = callee.span();
    std::vector<std::string> params;
    if (const Cursor list = declaration.child(Node::params)) {
      for (const Cursor p : list.children(Node::param)) params.emplace_back(p.name());
    }
    // What a model writes about a text may be what the text told it to write.
    const Cursor type = type_in(declaration.child(Node::result_type));
    const bool repeats = agent && (!type || type.text() == "string");
    size_t position = 0;
    for (Cursor c = arguments ? arguments.first() : Cursor(); c; c = arguments.next(c)) {
      if (c.is(Node::punctuation)) continue;
      const bool named = c.is(Node::named_argument);
      const std::string param = named                      ? std::string(c.name())
                                : position < params.size() ? params[position++]
                                                           : std::string();
      const Cursor value = named ? c.expression() : c;
      const Origin origin = origin_in(value, origins);
      if (!origin.any()) continue;
      if (repeats || summary.result.params.contains(param)) result.add(origin);
      const auto reaches = summary.commands.find(param);
      if (reaches == summary.commands.end()) continue;
      for (const std::string& own : origin.params) out.commands.emplace(own, reaches->second);
      if (!origin.fetched) continue;
      m_.sink
          .report(
              Kind::untrusted_command, value.span(),
              fmt::format("this comes from the network, and `{}` makes it part of a command", name))
          .secondary(*origin.fetched, "it is fetched here")
          .secondary(reaches->second, "here it becomes part of one")
          .note("give it to the program as `stdin`, or as an element of its own in the list");
    }
    return is_harmless(type) ? Origin() : result;
  }

  Origin origin_in(Cursor expression, const Origins& origins) const {
    Origin out;
    if (!expression) return out;
    each_node(expression, [&](Cursor c) {
      if (c.is(Node::reference)) out.add(origin_of(c, origins));
    });
    return out;
  }
  // Of a response only what its author writes counts, not the status.
  static Origin origin_of(Cursor reference, const Origins& origins) {
    const auto found = origins.find(reference.name());
    if (found == origins.end() || reference.child(Node::arguments)) return {};
    if (reference.tree().text().substr(reference.end()).starts_with(".status")) return {};
    return found->second;
  }

  // Parts of a text, by `${}` or `+`. An argument of its own is left alone.
  void command(Cursor arguments, const Origins& origins, Summary& out) {
    if (!arguments) return;
    for (Cursor c = arguments.first(); c; c = arguments.next(c)) {
      if (c.is(Node::named_argument) && c.name() != "argv") continue;
      each_node(c, [&](Cursor part) {
        const bool joined = part.is(Node::chain) && part.token("+");
        if (part.is(Node::interpolation) || joined) part_of_command(part, origins, out);
      });
    }
  }
  void part_of_command(Cursor part, const Origins& origins, Summary& out) {
    each_node(part, [&](Cursor r) {
      if (!r.is(Node::reference)) return;
      const Origin origin = origin_of(r, origins);
      for (const std::string& param : origin.params) out.commands.emplace(param, r.span());
      if (!origin.fetched) return;
      m_.sink
          .report(
              Kind::untrusted_command, r.span(),
              fmt::format("`{}` comes from the network and becomes part of a command", r.name()))
          .secondary(*origin.fetched, "it is fetched here")
          .note("give it to the program as `stdin`, or as an element of its own in the list");
    });
  }

  Model& m_;
  Module& module_;
  std::map<std::string, Cursor, std::less<>> declared_;
  std::map<std::string, Summary, std::less<>> summaries_;
};

}  // namespace

void untrusted_commands(Model& model, Module& module) { Untrusted(model, module); }

}  // namespace kflow::sema
