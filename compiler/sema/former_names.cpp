// `@was("old_name")`: what bridges renames when a run is moved to a newer program.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/sema/expressions.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::sema {

using diagnostics::Kind;
using syntax::Node;

namespace {

bool is_name(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !text.empty() && letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9');
  });
}

// The arguments, which are names in quotes.
std::vector<std::string> names_in(Model& m, Cursor annotation) {
  std::vector<std::string> out;
  if (annotation.has_errors()) return out;
  const Cursor list = annotation.child(Node::arguments);
  bool any = false;
  for (Cursor x = list ? list.first() : Cursor(); x; x = list.next(x)) {
    if (x.is(Node::punctuation)) continue;
    any = true;
    if (x.is(Node::string)) {
      m.sink.report(Kind::not_constant, x.span(), "an earlier name takes no `${}`");
      continue;
    }
    std::string name = x.is(Node::string_literal) ? syntax::decode_plain(x) : std::string();
    if (is_name(name)) {
      out.push_back(std::move(name));
    } else {
      m.sink.report(Kind::wrong_arguments, x.span(),
                    "`@was` takes the earlier name in quotes, as in `@was(\"old_name\")`");
    }
  }
  if (!any)
    m.sink.report(Kind::wrong_arguments, annotation.span(),
                  "`@was` needs the earlier name, as in `@was(\"old_name\")`");
  return out;
}

}  // namespace

std::optional<FormerNames> former_names(Model& m, Cursor owner, Cursor name, bool among_others) {
  std::optional<FormerNames> out;
  for (const Cursor a : owner.children(Node::annotation)) {
    if (a.name() == "was") {
      if (out) {
        m.sink.report(Kind::wrong_former_name, a.span(), "`@was` stands here twice")
            .note("several earlier names are arguments of one: `@was(\"last\", \"first\")`");
        continue;
      }
      auto was = names_in(m, a);
      if (!was.empty() && name)
        out = FormerNames{std::string(name.text()), std::move(was), name.span(), a.span()};
    } else if (!among_others && !a.name().empty()) {
      static const std::vector<std::string> known{"was"};
      m.sink
          .report(Kind::unknown_annotation, a.span(),
                  fmt::format("`@{}` does not stand here; only `@was` does", a.name()))
          .suggest(a.name(), known);
    }
  }
  return out;
}

void check_former_names(Model& m, const std::vector<FormerNames>& names,
                        const std::function<std::optional<source::Span>(std::string_view)>& place) {
  std::map<std::string, const FormerNames*, std::less<>> taken;
  for (const FormerNames& n : names) {
    for (const std::string& was : n.was) {
      if (was == n.name) {
        m.sink.report(Kind::wrong_former_name, n.span, fmt::format("`{}` is its name now", was))
            .note("`@was` gives what it was called before");
        continue;
      }
      if (const auto there = place(was)) {
        m.sink
            .report(Kind::wrong_former_name, n.span,
                    fmt::format("`{}` exists still, so `{}` is no new name of it", was, n.name))
            .secondary(*there, "it is defined here");
        continue;
      }
      const auto [it, added] = taken.emplace(was, &n);
      if (added) continue;
      if (it->second == &n) {
        m.sink.report(Kind::wrong_former_name, n.span, fmt::format("`{}` stands here twice", was));
        continue;
      }
      m.sink
          .report(Kind::wrong_former_name, n.span,
                  fmt::format("`{}` and `{}` cannot both have been `{}`", it->second->name, n.name,
                              was))
          .secondary(it->second->span, "said here already");
    }
  }
}

}  // namespace kflow::sema
