// Whether two trees differ in nothing but layout.
#include <fmt/format.h>

#include "compiler/format/format.hpp"
#include "compiler/syntax/literals.hpp"

namespace kflow::format {
namespace {

using syntax::Cursor;
using syntax::Node;

std::string_view trimmed(std::string_view t) {
  const size_t end = t.find_last_not_of(" \t\r\f");
  return t.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

class Reader {
 public:
  void read(Cursor c, Node parent) {
    const Node kind = c.kind();
    if (kind == Node::whitespace) return;
    if (syntax::is_trivia(kind)) {
      tokens.emplace_back(trimmed(c.text()));
      return;
    }
    if (kind == Node::punctuation &&
        (c.text() == "," || (c.text() == "|" && parent == Node::union_type)))
      return;
    if (kind == Node::string_literal || kind == Node::bytes_literal || kind == Node::string)
      return literal(c);
    if (syntax::is_leaf(kind)) {
      word(std::string(c.text()));
      return;
    }
    shape.push_back(std::string(to_string(kind)) + "(");
    const auto& nodes = c.tree().nodes();
    for (uint32_t i = c.index() + 1; i < c.index() + nodes[c.index()].size; i += nodes[i].size)
      read(Cursor(&c.tree(), i), kind);
    shape.emplace_back(")");
  }

  std::vector<std::string> shape;   // nodes and words
  std::vector<std::string> tokens;  // words and comments, in the order of the text

 private:
  void word(std::string text) {
    shape.push_back(text);
    tokens.push_back(std::move(text));
  }
  void literal(Cursor c) {
    const syntax::DecodedString decoded = syntax::decode_string(c, true);
    if (!decoded.errors.empty() && !c.is(Node::string)) return word(std::string(c.text()));
    // The quotes are part of what was written.
    word(std::string(c.text().substr(0, c.text().find_first_of("\"'") + 1)));
    for (const syntax::Segment& segment : decoded.segments) {
      if (segment.hole) {
        if (segment.expression) read(segment.expression, Node::interpolation);
      } else {
        word("text " + segment.text);
      }
    }
  }
};

std::string first_difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string_view left = i < a.size() ? a[i] : std::string_view("the end");
    const std::string_view right = i < b.size() ? b[i] : std::string_view("the end");
    if (left != right || (i < a.size()) != (i < b.size()))
      return fmt::format("`{}` became `{}` (word {})", left, right, i);
  }
  return "";
}

}  // namespace

std::string difference_but_for_layout(const syntax::Tree& a, const syntax::Tree& b) {
  Reader left;
  Reader right;
  left.read(a.root(), Node::file);
  right.read(b.root(), Node::file);
  std::string out = first_difference(left.shape, right.shape);
  return out.empty() ? first_difference(left.tokens, right.tokens) : out;
}

}  // namespace kflow::format
