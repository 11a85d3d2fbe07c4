// Expressions and types.
#include <algorithm>
#include <array>

#include "compiler/format/layout.hpp"

namespace kflow::format {
namespace {

bool is_comma(Cursor c) { return c.is(Node::punctuation) && c.text() == ","; }

// How strongly an operator binds.
int precedence(std::string_view op) {
  static constexpr std::array<std::pair<std::string_view, int>, 15> table{{{"??", 0},
                                                                           {"||", 1},
                                                                           {"&&", 2},
                                                                           {"==", 3},
                                                                           {"!=", 3},
                                                                           {"<", 3},
                                                                           {"<=", 3},
                                                                           {">", 3},
                                                                           {">=", 3},
                                                                           {"in", 3},
                                                                           {"+", 4},
                                                                           {"-", 4},
                                                                           {"*", 5},
                                                                           {"/", 5},
                                                                           {"%", 5}}};
  const auto row = std::find_if(table.begin(), table.end(),
                                [&](const auto& entry) { return entry.first == op; });
  return row == table.end() ? 0 : row->second;
}

bool same(Cursor a, Cursor b) { return a.index() == b.index(); }

// The list or map that an item is.
Cursor bracketed(Cursor item) {
  if (item.is(Node::named_argument) || item.is(Node::list_item)) item = item.expression();
  return item.is(Node::list) || item.is(Node::map) ? item : Cursor();
}

}  // namespace

void Layout::brackets(Cursor node) {
  const Cursor open = node.first();
  const Cursor first = node.next(open);
  Cursor close = first;
  Cursor last;
  size_t items = 0;
  for (Cursor x = first; x; x = node.next(x)) {
    if (node.next(x) && !is_comma(x)) last = x, ++items;
    close = x;
  }
  const bool broken = around(first).line_before || has_comment_inside(node);
  if (same(first, close) && !has_comment_inside(node)) {
    token(open);
    return token(close);
  }
  const bool hugs = last && bracketed(last) && (node.is(Node::arguments) || items == 1);
  const Page::GroupId group = page_.begin_group(broken);
  Page::GroupId inner = 0;
  token(open);
  page_.indent();
  page_.line("");
  for (Cursor x = first; !same(x, close); x = node.next(x)) {
    if (is_comma(x)) continue;
    any(x);
    inner = page_.last_group();
    const Cursor next = node.next(x);
    const Cursor separator = is_comma(next) ? next : Cursor();
    if (same(x, last)) {
      page_.comma_if_broken();
      if (separator) dropped(separator);
      break;
    }
    page_.comma();
    const bool comments_before = separator && !around(separator).leading.empty();
    if (separator && !comments_before) trailing_comments(separator);
    if (broken && blank_above(separator ? node.next(separator) : next)) page_.blank_line();
    page_.line();
    if (comments_before) dropped(separator);
  }
  if (hugs) page_.may_hug(group, inner);
  if (!around(close).leading.empty()) {
    if (last && blank_above(close)) page_.blank_line();
    page_.hard_line();
    around(close).blank_before = false;
    leading_comments(close);
  }
  page_.dedent();
  page_.line("");
  token(close);
  page_.end_group(group);
}

void Layout::chain(Cursor c) {
  int lowest = INT32_MAX;
  bool broken = has_comment_inside(c);
  for (Cursor x = c.next(c.first()); x; x = c.next(x)) {
    broken |= around(x).line_before;
    if (x.is(Node::op)) lowest = std::min(lowest, precedence(x.text()));
  }
  const Page::GroupId group = page_.begin_group(broken);
  any(c.first());
  page_.indent();
  for (Cursor x = c.next(c.first()); x; x = c.next(x)) {
    if (x.is(Node::op) && precedence(x.text()) == lowest) {
      page_.line();
    } else {
      page_.text(" ");
    }
    any(x);
  }
  page_.dedent();
  page_.end_group(group);
}

// One condition: what follows from it on a line each. A row of them: a case a line.
void Layout::ternary(Cursor c) {
  bool broken = false;
  bool row = false;
  for (Cursor x = c;; row = true) {
    broken |= has_comment_inside(x);
    Cursor last = x.first();
    for (Cursor y = x.next(last); y; y = x.next(y)) broken |= around(y).line_before, last = y;
    if (!last.is(Node::ternary)) break;
    x = last;
  }
  const Page::GroupId group = page_.begin_group(broken);
  Cursor rest = c;
  any(rest.first());
  page_.indent();
  for (Cursor x = rest.next(rest.first()); x; x = rest.next(x)) {
    if (x.is(Node::punctuation)) {
      if (row && x.text() == "?") {
        page_.text(" ");
      } else {
        page_.line();
      }
      token(x);
      page_.text(" ");
    } else if (x.is(Node::ternary) && !rest.next(x)) {
      rest = x;
      x = rest.first();
      any(x);
    } else {
      any(x);
    }
  }
  page_.dedent();
  page_.end_group(group);
}

// Calls in a row stand one below the other, or all on one line.
void Layout::postfix(Cursor c) {
  size_t calls = 0;
  bool broken = has_comment_inside(c);
  for (Cursor x = c.next(c.first()); x; x = c.next(x)) {
    if (!x.is(Node::select)) continue;
    broken |= around(x).line_before;
    calls += x.child(Node::arguments) ? 1 : 0;
  }
  if (calls < 2 && !broken) return glued(c);
  const Page::GroupId group = page_.begin_group(broken);
  any(c.first());
  page_.indent();
  for (Cursor x = c.next(c.first()); x; x = c.next(x)) {
    // Where the author broke a row without calls, each part has its line.
    if (x.is(Node::select) && (calls == 0 || x.child(Node::arguments))) page_.line("");
    any(x);
  }
  page_.dedent();
  page_.end_group(group);
}

// Over several lines each arm has its own. `after_word`: a word or sign stands before it.
void Layout::union_type(Cursor c, bool after_word) {
  const bool lone = !c.next(c.next(c.first()));  // `| T`
  bool broken = has_comment_inside(c) || !around(c).leading.empty();
  for (Cursor x = c.next(c.first()); x; x = c.next(x))
    broken |= x.is(Node::punctuation) && around(x).line_before;
  broken |= around(c).line_before && c.first().is(Node::punctuation) && !lone;
  const Page::GroupId group = page_.begin_group(broken);
  page_.indent();
  page_.line(after_word ? " " : "");
  if (lone) {
    token(c.first());
    page_.text(" ");
    any(c.next(c.first()));
  } else {
    Cursor x = c.first();
    leading_comments(x);
    page_.if_broken("| ");
    if (x.is(Node::punctuation)) {
      trailing_comments(x);
      x = c.next(x);
    }
    any(x);
    for (x = c.next(x); x; x = c.next(x)) {
      if (x.is(Node::punctuation)) {
        page_.line();
        token(x);
        page_.text(" ");
      } else {
        any(x);
      }
    }
  }
  page_.dedent();
  if (!after_word) page_.line("");
  page_.end_group(group);
}

void Layout::map_type(Cursor c) {
  for (Cursor x = c.first(); x; x = c.next(x)) {
    if (is_comma(x)) {
      comma(x);
      page_.text(" ");
    } else {
      any(x);
    }
  }
}

}  // namespace kflow::format
