// Strings: text blocks move with the code around them, expressions inside are laid out.
#include <algorithm>
#include <utility>

#include "compiler/format/layout.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::format {
namespace {

struct Quotes {
  size_t open = 0;   // prefix and quotes
  size_t close = 0;  // quotes
  bool raw = false;
  bool triple = false;
};

Quotes quotes_of(std::string_view literal) {
  Quotes q;
  size_t prefix = 0;
  while (prefix < literal.size() && literal[prefix] != '"' && literal[prefix] != '\'') {
    q.raw |= literal[prefix] == 'r' || literal[prefix] == 'R';
    ++prefix;
  }
  const std::string_view rest = literal.substr(prefix);
  q.triple = rest.size() >= 6 && rest[1] == rest[0] && rest[2] == rest[0];
  q.close = q.triple ? 3 : 1;
  q.open = prefix + q.close;
  return q;
}

bool only_spaces(std::string_view t) { return t.find_first_not_of(" \t\r") == t.npos; }

// Lines without their `\n`; at least one.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  for (;;) {
    const size_t end = text.find('\n');
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::string_view without_indent(std::string_view line, size_t most) {
  size_t n = 0;
  while (n < most && n < line.size() && (line[n] == ' ' || line[n] == '\t')) ++n;
  return line.substr(n);
}

Cursor last_child(Cursor c) {
  Cursor last = c;
  for (Cursor x = c.first(); x; x = c.next(x)) last = x;
  return last;
}

bool has_line_in_hole(Cursor c) {
  for (const Cursor hole : c.children(Node::interpolation)) {
    if (hole.text().find('\n') != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

// The literal as it is written, with the expressions inside laid out on one line each.
std::string Layout::with_holes(Cursor c) {
  if (!c.is(Node::string) || has_line_in_hole(c)) return std::string(c.text());
  std::string out;
  for (Cursor x = c.first(); x; x = c.next(x)) {
    if (!x.is(Node::interpolation)) {
      out += x.text();
      continue;
    }
    Page outside = std::exchange(page_, Page(SIZE_MAX));
    const Page::GroupId group = page_.begin_group(false);
    any(x.expression());
    page_.end_group(group);
    std::string inside = page_.print();
    while (inside.ends_with('\n')) inside.pop_back();
    page_ = std::move(outside);
    out += "${" + inside + "}";
  }
  return out;
}

void Layout::string(Cursor c) {
  leading_comments(c);
  const std::string literal = with_holes(c);
  if (literal.find('\n') == std::string::npos) {
    page_.owned_text(literal);
  } else if (!text_block(c, literal)) {
    const std::vector<std::string_view> lines = split(literal);
    page_.owned_text(std::string(lines.front()));
    for (size_t i = 1; i < lines.size(); ++i) page_.literal_line(std::string(lines[i]), false);
  }
  trailing_comments(last_child(c));
}

// False for what cannot move: raw text, and lines inside of an expression.
bool Layout::text_block(Cursor c, std::string_view literal) {
  const Quotes q = quotes_of(literal);
  if (!q.triple || q.raw || has_line_in_hole(c)) return false;
  const std::string_view body = literal.substr(q.open, literal.size() - q.open - q.close);
  std::vector<syntax::LiteralError> errors;
  const size_t indent = syntax::common_indent(body, 0, errors);
  if (!errors.empty()) return false;
  const std::vector<std::string_view> lines = split(body);
  const std::string_view closing = literal.substr(literal.size() - q.close);
  page_.owned_text(std::string(literal.substr(0, q.open)) +
                   (only_spaces(lines.front()) ? "" : std::string(lines.front())));
  for (size_t i = 1; i + 1 < lines.size(); ++i)
    page_.literal_line(std::string(without_indent(lines[i], indent)), true);
  const bool alone = lines.back().find_first_not_of(" \t") == std::string_view::npos;
  page_.literal_line(
      (alone ? "" : std::string(without_indent(lines.back(), indent))) + std::string(closing),
      true);
  return true;
}

}  // namespace kflow::format
