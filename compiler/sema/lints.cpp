// Lints over the syntax tree of a module.
#include "compiler/sema/lints.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/lint_untrusted.hpp"
#include "compiler/sema/lint_walk.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::sema {
namespace {

using diagnostics::Kind;
using syntax::Node;

// ---- unused declarations

// How often each word stands in a range of the tree as an identifier.
std::map<std::string_view, uint32_t> words_in(Cursor node) {
  std::map<std::string_view, uint32_t> out;
  const auto& nodes = node.tree().nodes();
  for (uint32_t i = node.index(); i < node.index() + nodes[node.index()].size; ++i) {
    if (nodes[i].kind == Node::identifier)
      ++out[node.tree().text().substr(nodes[i].begin, nodes[i].end - nodes[i].begin)];
  }
  return out;
}

// The lines that a node has for itself, their ends included; else the node alone.
source::Span whole_lines(Cursor node) {
  const std::string_view text = node.tree().text();
  uint32_t begin = node.begin();
  uint32_t end = node.end();
  while (begin > 0 && (text[begin - 1] == ' ' || text[begin - 1] == '\t')) --begin;
  while (end < text.size() && (text[end] == ' ' || text[end] == '\t' || text[end] == '\r')) ++end;
  const bool alone =
      (begin == 0 || text[begin - 1] == '\n') && (end == text.size() || text[end] == '\n');
  if (!alone) return node.span();
  return {node.span().file, begin, end < text.size() ? end + 1 : end};
}

bool runs_something(Cursor root) {
  for (Cursor c = root.first(); c; c = root.next(c)) {
    if (c.is(Node::agent_decl) || (c.is(Node::callable_decl) && c.token("workflow"))) return true;
  }
  return false;
}

// What a declaration declares, as a word, if it is one that something has to use.
std::string_view declared_kind(Cursor c) {
  switch (c.kind()) {
    case Node::const_decl:
      return "const";
    case Node::fn_decl:
      return "fn";
    case Node::type_decl:
      return "type";
    case Node::secret_decl:
      return "secret";
    case Node::extern_decl:
      return "tool";
    case Node::callable_decl:
      return c.token("tool") ? "tool" : "";
    case Node::config_decl:
      return c.first().text();
    default:
      return "";
  }
}

void unused_import(Model& m, Cursor c, const std::map<std::string_view, uint32_t>& words) {
  const Cursor alias = c.child(Node::import_alias);
  const Cursor target = c.child(Node::string_literal);
  if (!target) return;
  const std::string path = syntax::decode_plain(target);
  std::string name = alias ? std::string(alias.name()) : path.substr(path.rfind('/') + 1);
  if (!alias && name.ends_with(".kflow")) name.resize(name.size() - 6);
  const auto found = words.find(name);
  if ((found == words.end() ? 0 : found->second) > (alias ? 1U : 0U)) return;
  m.sink.report(Kind::unused, c.span(), fmt::format("the import `{}` is not used", name))
      .fix(whole_lines(c), "");
}

void unused_declarations(Model& m, Cursor root) {
  const auto words = words_in(root);
  const bool program = runs_something(root);
  for (Cursor c = root.first(); c; c = root.next(c)) {
    if (c.is(Node::import_decl)) {
      unused_import(m, c, words);
      continue;
    }
    const std::string_view kind = declared_kind(c);
    const Cursor name = c.child(Node::identifier);
    if (kind.empty() || !name || words.at(name.text()) > 1) continue;
    if (!program && !is_private(name.text())) continue;
    m.sink
        .report(Kind::unused, name.span(),
                fmt::format("the {} `{}` is not used", kind, name.text()))
        .note(program ? "nothing in this file mentions it"
                      : "a name that begins with `_` is known in its own file only");
  }
}

void unused_lets(Model& m, Cursor callable) {
  const auto words = words_in(callable);
  each_node(callable, [&](Cursor c) {
    if (!c.is(Node::let_stmt)) return;
    const Cursor name = c.child(Node::identifier);
    if (!name || is_private(name.text()) || words.at(name.text()) > 1) return;
    m.sink.report(Kind::unused, name.span(), fmt::format("`{}` is not used", name.text()))
        .fix(whole_lines(c), "");
  });
}

// ---- addresses

// Whether everybody on the way may read what goes there; addresses near by are left alone.
bool is_open_address(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  if (!text.starts_with(scheme)) return false;
  std::string_view host = text.substr(scheme.size());
  if (host.starts_with('[')) return !host.starts_with("[::1]");
  host = host.substr(0, host.find_first_of("/:?#$ \"'"));
  if (host.find('.') == std::string_view::npos || host.starts_with("127.") || host == "0.0.0.0")
    return false;
  for (const std::string_view near : {".local", ".localhost", ".internal", ".test", ".example"}) {
    if (host.ends_with(near)) return false;
  }
  return true;
}

void plain_http(Model& m, Cursor declaration) {
  if (declaration.is(Node::test_decl) || declaration.is(Node::import_decl)) return;
  each_node(declaration, [&](Cursor c) {
    if (!c.is(Node::string_literal) && !c.is(Node::string)) return;
    const std::string_view text = c.text();
    const size_t open = text.find_first_of("\"'");
    const size_t begin = text.find_first_not_of("\"'", open);
    if (begin == std::string_view::npos || !is_open_address(text.substr(begin))) return;
    const auto at = c.begin() + static_cast<uint32_t>(begin);
    m.sink.report(Kind::plain_http, {c.span().file, at, at + 7}, "this address is not encrypted")
        .label("`https://` is, where the server offers it");
  });
}

// ---- conditions

bool mentions_names(Cursor expression) {
  bool out = false;
  each_node(expression, [&](Cursor c) { out |= c.is(Node::reference); });
  return out;
}

// What a condition always is, if that can be seen.
std::optional<bool> constant_truth(Model& m, Module& module, Cursor c) {
  if (!c || c.has_errors()) return std::nullopt;
  if (!mentions_names(c)) {
    const auto value = constant_value(m, module, c);
    if (value && value->kind() == cel::Kind::boolean) return value->as_bool();
    return std::nullopt;
  }
  if (!c.is(Node::chain)) return std::nullopt;
  const Cursor left = c.first();
  const Cursor op = c.next(left);
  const Cursor right = op ? c.next(op) : Cursor();
  if (!right || c.next(right) || left.text() != right.text()) return std::nullopt;
  bool calls = false;
  each_node(left, [&](Cursor x) { calls |= x.is(Node::arguments); });
  if (calls) return std::nullopt;
  if (op.text() == "==" || op.text() == "<=" || op.text() == ">=") return true;
  if (op.text() == "!=" || op.text() == "<" || op.text() == ">") return false;
  return std::nullopt;
}

void constant_conditions(Model& m, Module& module, Cursor declaration) {
  const auto look = [&](Cursor condition, std::optional<bool> only = std::nullopt) {
    const auto truth = constant_truth(m, module, condition);
    if (!truth || (only && *truth != *only)) return;
    m.sink.report(Kind::constant_condition, condition.span(),
                  fmt::format("this condition is always {}", *truth));
  };
  each_node(declaration, [&](Cursor c) {
    if (c.is(Node::if_stmt) || c.is(Node::catch_part) || c.is(Node::ternary)) {
      look(c.expression());
    } else if (c.is(Node::option)) {
      // A loop may well say that nothing but `max` ends it.
      if (c.name() == "while") look(c.expression(), false);
      if (c.name() == "until") look(c.expression(), true);
    }
  });
}

// ---- hidden names

class Shadowing {
 public:
  Shadowing(Model& m, Module& module, Cursor declaration) : m_(m) {
    for (const auto& [name, info] : module.consts) add(name, info.node);
    each_node(declaration, [this](Cursor c) {
      if (c.is(Node::param) || c.is(Node::let_stmt) || c.is(Node::step_binding)) add(c.name(), c);
    });
    walk(declaration);
  }

 private:
  void add(std::string_view name, Cursor c) {
    const Cursor at = c && !c.is(Node::identifier) ? c.child(Node::identifier) : c;
    if (at) names_.emplace(std::string(name), at.span());
  }

  void walk(Cursor c) {
    const size_t before = inner_.size();
    if (c.is(Node::catch_part)) {
      if (const Cursor name = c.child(Node::identifier)) hides(name.text(), name.span(), "catch");
    }
    if (c.is(Node::select)) macro(c);
    for (Cursor x = c.first(); x; x = c.next(x)) {
      // The variables of a loop are there in its body.
      if (c.is(Node::for_stmt) && x.is(Node::block)) {
        for (const Cursor name : c.children(Node::identifier))
          inner_.emplace_back(name.text(), name.span());
      }
      walk(x);
    }
    inner_.resize(before);
  }

  // `.map(x, …)`: a variable is a plain name before another argument.
  void macro(Cursor c) {
    const Cursor arguments = c.child(Node::arguments);
    if (!arguments || std::find(macros_.begin(), macros_.end(), c.name()) == macros_.end()) return;
    const size_t variables = c.name().starts_with("transform") ? 2 : 1;
    size_t at = 0;
    for (Cursor x = arguments.first(); x && at < variables; x = arguments.next(x)) {
      if (x.is(Node::punctuation)) continue;
      if (!x.is(Node::reference) || x.child(Node::arguments)) return;
      hides(x.name(), x.span(), "macro");
      inner_.emplace_back(x.name(), x.span());
      ++at;
    }
  }

  void hides(std::string_view name, source::Span span, std::string_view where) {
    const auto inside = std::find_if(inner_.rbegin(), inner_.rend(),
                                     [&](const auto& entry) { return entry.first == name; });
    const auto outside = names_.find(name);
    if (inside == inner_.rend() && outside == names_.end()) return;
    const source::Span other = inside != inner_.rend() ? inside->second : outside->second;
    m_.sink
        .report(Kind::shadowing, span,
                fmt::format("`{}` of this {} hides another `{}`", name, where, name))
        .secondary(other, "this one");
  }

  Model& m_;
  const std::vector<std::string> macros_ = cel::macro_names();
  std::map<std::string, source::Span, std::less<>> names_;
  std::vector<std::pair<std::string_view, source::Span>> inner_;
};

// ---- sets that race

struct SetOf {
  std::string_view path;
  source::Span span;
  bool reads_itself = false;
};

std::vector<SetOf> sets_in(Cursor statement) {
  std::vector<SetOf> out;
  const auto add = [&](Cursor c) {
    if (!c.is(Node::set_stmt)) return;
    const Cursor path = c.child(Node::session_path);
    const Cursor value = c.expression();
    if (!path || !value) return;
    out.push_back(
        {path.text(), path.span(), value.text().find(path.text()) != std::string_view::npos});
  };
  add(statement);
  each_node(statement, [&](Cursor c) {
    if (c.index() != statement.index()) add(c);
  });
  return out;
}

bool overlap(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return b.starts_with(a) && (b.size() == a.size() || b[a.size()] == '.');
}

void racing_branches(Model& m, Cursor parallel) {
  const Cursor block = parallel.child(Node::block);
  if (!block) return;
  std::vector<std::pair<size_t, SetOf>> seen;
  size_t branch = 0;
  for (Cursor c = block.first(); c; c = block.next(c), ++branch) {
    for (const SetOf& set : sets_in(c)) {
      const auto other = std::find_if(seen.begin(), seen.end(), [&](const auto& entry) {
        return entry.first != branch && overlap(entry.second.path, set.path) &&
               !(entry.second.reads_itself && set.reads_itself);
      });
      if (other != seen.end()) {
        m.sink
            .report(Kind::racing_sets, set.span,
                    fmt::format("two branches set `{}`, and the slower one wins", set.path))
            .secondary(other->second.span, "the other one");
      }
      seen.emplace_back(branch, set);
    }
  }
}

void racing_iterations(Model& m, Module& module, Cursor loop) {
  const Cursor block = loop.child(Node::block);
  if (!block) return;
  for (const Cursor option : block.children(Node::option)) {
    if (option.name() != "limit") continue;
    const auto limit = constant_value(m, module, option.expression());
    if (!limit || limit->kind() != cel::Kind::int_ || limit->as_int() <= 1) return;
    for (const SetOf& set : sets_in(block)) {
      if (set.reads_itself) continue;
      m.sink
          .report(Kind::racing_sets, set.span,
                  fmt::format("iterations that run at the same time set `{}`, and the slowest one "
                              "wins",
                              set.path))
          .secondary(option.span(), "they run at the same time");
    }
  }
}

}  // namespace

void lint(Model& m, Module& module) {
  const Cursor root = module.tree.root();
  unused_declarations(m, root);
  untrusted_commands(m, module);
  for (Cursor c = root.first(); c; c = root.next(c)) {
    plain_http(m, c);
    constant_conditions(m, module, c);
    if (c.is(Node::callable_decl)) unused_lets(m, c);
    if (c.is(Node::callable_decl) || c.is(Node::fn_decl) || c.is(Node::agent_decl))
      Shadowing(m, module, c);
    each_node(c, [&](Cursor x) {
      if (x.is(Node::parallel_stmt)) racing_branches(m, x);
      if (x.is(Node::for_stmt)) racing_iterations(m, module, x);
    });
  }
}

}  // namespace kflow::sema
