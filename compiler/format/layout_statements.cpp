// Declarations, statements, options and blocks; what stands between tokens.
#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/format/layout.hpp"
#include "compiler/sema/constructs.hpp"

namespace kflow::format {
namespace {

constexpr uint32_t no_number = UINT32_MAX;

std::string_view trimmed(std::string_view t) {
  const size_t end = t.find_last_not_of(" \t\r\f");
  return t.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

bool is_comma(Cursor c) { return c.is(Node::punctuation) && c.text() == ","; }
bool is_punctuation(Cursor c, std::string_view text) {
  return c.is(Node::punctuation) && c.text() == text;
}

// Whether a space stands between two neighbours.
bool spaced_apart(Cursor before, Cursor next) {
  if (is_punctuation(next, ":") || is_punctuation(next, ".") || is_punctuation(before, ".") ||
      is_punctuation(before, "@") || is_punctuation(before, "?"))
    return false;
  return !next.is(Node::params) && !next.is(Node::mock_params) && !next.is(Node::arguments);
}

// An option whose value is a block of further options, by its name.
bool takes_block(std::string_view name) {
  const auto rows = sema::all_options();
  return std::any_of(rows.begin(), rows.end(), [&](const sema::OptionRow& row) {
    return row.kind == sema::OptionKind::block && row.name == name;
  });
}

}  // namespace

Layout::Layout(const syntax::Tree& tree) : tree_(tree) { read_surroundings(); }

std::string Layout::run() {
  file(tree_.root());
  return page_.print();
}

void Layout::read_surroundings() {
  const auto& nodes = tree_.nodes();
  number_of_.assign(nodes.size(), no_number);
  Surroundings next;
  size_t lines = 0;  // line ends since the last token or comment
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    if (!syntax::is_leaf(nodes[i].kind)) continue;
    const std::string_view text = Cursor(&tree_, i).text();
    if (nodes[i].kind == Node::whitespace) {
      lines += static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
      next.line_before |= lines > 0;
    } else if (syntax::is_trivia(nodes[i].kind)) {
      if (!around_.empty() && !next.line_before && next.leading.empty()) {
        around_.back().trailing.push_back(trimmed(text));
        next.line_before = true;
      } else {
        next.leading.push_back({trimmed(text), lines > 1});
      }
      lines = 0;
    } else {
      next.blank_before = lines > 1;
      number_of_[i] = static_cast<uint32_t>(around_.size());
      around_.push_back(std::move(next));
      next = {};
      lines = 0;
    }
  }
  around_.push_back(std::move(next));  // the end of the file
}

Cursor Layout::first_token(Cursor c) {
  while (!syntax::is_leaf(c.kind())) {
    const Cursor inner = c.first();
    KFLOW_CHECK(bool(inner), "a node without tokens in a tree without errors");
    c = inner;
  }
  return c;
}

Layout::Surroundings& Layout::around(Cursor c) {
  const uint32_t number = number_of_[first_token(c).index()];
  KFLOW_CHECK(number != no_number, "a token that was not read");
  return around_[number];
}

bool Layout::has_comment_inside(Cursor c) const {
  const auto& nodes = tree_.nodes();
  const uint32_t end = c.index() + nodes[c.index()].size;
  for (uint32_t i = c.index() + 1; i < end; i += nodes[i].size) {
    if (nodes[i].kind == Node::comment || nodes[i].kind == Node::doc_comment) return true;
  }
  return false;
}

bool Layout::blank_above(Cursor c) {
  const Surroundings& s = around(c);
  return s.leading.empty() || s.taken ? s.blank_before : s.leading.front().blank_before;
}

void Layout::leading_comments(Cursor c) {
  Surroundings& s = around(c);
  if (s.taken) return;
  s.taken = true;
  for (size_t i = 0; i < s.leading.size(); ++i) {
    if (i > 0 && s.leading[i].blank_before) page_.blank_line();
    page_.comment_line(s.leading[i].text);
  }
  if (!s.leading.empty() && s.blank_before) page_.blank_line();
}

void Layout::trailing_comments(Cursor c) {
  for (const std::string_view t : around(c).trailing) page_.trailing_comment(t);
}

void Layout::token(Cursor c) {
  leading_comments(c);
  page_.text(c.text());
  trailing_comments(c);
}

void Layout::dropped(Cursor c) {
  leading_comments(c);
  trailing_comments(c);
}

void Layout::comma(Cursor c) {
  leading_comments(c);
  page_.comma();
  trailing_comments(c);
}

void Layout::any(Cursor c) {
  switch (c.kind()) {
    case Node::block:
    case Node::options:
    case Node::record_type:
      return braces(c, c.first());
    case Node::params:
    case Node::mock_params:
    case Node::mock_list:
    case Node::arguments:
    case Node::list:
    case Node::map:
      return brackets(c);
    case Node::string:
    case Node::string_literal:
    case Node::bytes_literal:
      return string(c);
    case Node::chain:
      return chain(c);
    case Node::ternary:
      return ternary(c);
    case Node::postfix:
      return postfix(c);
    case Node::union_type:
      return union_type(c, false);
    case Node::map_type:
      return map_type(c);
    case Node::postfix_type:
    case Node::name_type:
    case Node::literal_type:
    case Node::paren_type:
    case Node::callee:
    case Node::session_path:
    case Node::annotation:
    case Node::unary:
    case Node::select:
    case Node::index:
    case Node::reference:
    case Node::paren:
    case Node::list_item:
      return glued(c);
    case Node::match_stmt:
      return match(c);
    default:
      if (syntax::is_leaf(c.kind())) return token(c);
      return spaced(c, false);
  }
}

void Layout::glued(Cursor c) {
  for (Cursor x = c.first(); x; x = c.next(x)) any(x);
}

void Layout::spaced(Cursor c, bool option) {
  Cursor before;
  for (Cursor x = c.first(); x; x = c.next(x)) {
    const Cursor next = c.next(x);
    if (is_comma(x)) {
      if (next && !next.is(Node::block)) {
        comma(x);
      } else {
        dropped(x);
      }
      if (next) before = x;
      continue;
    }
    if (x.is(Node::union_type)) {
      union_type(x, bool(before));
    } else if (before && is_punctuation(before, "=") && breaks_after_equals(c, x)) {
      const Page::GroupId group = page_.begin_group(c.is(Node::fn_decl) && around(x).line_before);
      page_.indent();
      page_.line();
      const Page::GroupId value = page_.begin_group(false);
      any(x);
      page_.end_group(value);
      page_.break_only_for(group, value);
      page_.dedent();
      page_.end_group(group);
    } else {
      if (before && spaced_apart(before, x)) page_.text(" ");
      if (option && x.is(Node::map) && takes_block(c.name())) {
        braces(x, x.first());
      } else {
        any(x);
      }
    }
    before = x;
  }
}

// A value that cannot be broken itself goes to the next line if it is too long.
bool Layout::breaks_after_equals(Cursor owner, Cursor value) {
  if (value.is(Node::string_literal) || value.is(Node::string))
    return value.text().find('\n') == std::string_view::npos;
  return owner.is(Node::fn_decl) &&
         (value.is(Node::chain) || value.is(Node::ternary) || value.is(Node::postfix));
}

void Layout::file(Cursor root) {
  for (Cursor c = root.first(); c; c = root.next(c)) {
    if (blank_above(c)) page_.blank_line();
    page_.hard_line();
    any(c);
  }
  const Surroundings& end = around_.back();
  for (const Comment& comment : end.leading) {
    if (comment.blank_before) page_.blank_line();
    page_.comment_line(comment.text);
  }
}

void Layout::match(Cursor c) {
  Cursor x = c.first();
  token(x);
  page_.text(" ");
  x = c.next(x);
  any(x);
  page_.text(" ");
  braces(c, c.next(x));
}

// `{ … }` with an item a line, or all on one line if the author wrote it so.
void Layout::braces(Cursor node, Cursor open) {
  const Cursor first = node.next(open);
  Cursor close = first;
  for (Cursor x = first; x; x = node.next(x)) close = x;
  if (first.index() == close.index() && around(close).leading.empty() &&
      around(open).trailing.empty()) {
    token(open);
    return token(close);
  }
  const std::string_view inside = tree_.text().substr(open.end(), close.begin() - open.end());
  const Page::GroupId group = page_.begin_group(inside.find('\n') != std::string_view::npos);
  token(open);
  page_.indent();
  Cursor before;
  for (Cursor x = first; x.index() != close.index(); x = node.next(x)) {
    if (is_comma(x)) {
      dropped(x);
      continue;
    }
    if (before && blank_above(x)) page_.blank_line();
    page_.line(!before                                                   ? " "
               : one_line_pair(before.kind()) && one_line_pair(x.kind()) ? ", "
                                                                         : "  ");
    if (one_line_pair(x.kind())) {
      leading_comments(x);
      spaced(x, true);
    } else {
      any(x);
    }
    before = x;
  }
  if (!around(close).leading.empty()) {
    if (before && blank_above(close)) page_.blank_line();
    page_.hard_line();
    around(close).blank_before = false;
    leading_comments(close);
  }
  page_.dedent();
  page_.line();
  token(close);
  page_.end_group(group);
}

}  // namespace kflow::format
