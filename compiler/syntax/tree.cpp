// Walking and printing the flat tree.
#include "compiler/syntax/tree.hpp"

#include <fmt/format.h>

#include <array>

namespace kflow::syntax {
namespace {
constexpr std::array names{"whitespace",
                           "comment",
                           "doc_comment",
                           "missing",
                           "junk",
                           "identifier",
                           "keyword",
                           "punctuation",
                           "op",
                           "null_literal",
                           "bool_literal",
                           "int_literal",
                           "uint_literal",
                           "double_literal",
                           "duration_literal",
                           "string_literal",
                           "bytes_literal",
                           "string_open",
                           "string_text",
                           "string_close",
                           "file",
                           "kflow_decl",
                           "import_decl",
                           "const_decl",
                           "fn_decl",
                           "secret_decl",
                           "type_decl",
                           "record_decl",
                           "config_decl",
                           "agent_decl",
                           "callable_decl",
                           "extern_decl",
                           "test_decl",
                           "params",
                           "param",
                           "result_type",
                           "options",
                           "option",
                           "block",
                           "import_alias",
                           "union_type",
                           "postfix_type",
                           "name_type",
                           "literal_type",
                           "map_type",
                           "record_type",
                           "paren_type",
                           "field",
                           "annotation",
                           "step_stmt",
                           "step_binding",
                           "callee",
                           "let_stmt",
                           "set_stmt",
                           "session_path",
                           "if_stmt",
                           "else_part",
                           "match_stmt",
                           "match_arm",
                           "parallel_stmt",
                           "branch_stmt",
                           "for_stmt",
                           "loop_stmt",
                           "try_stmt",
                           "catch_part",
                           "finally_part",
                           "return_stmt",
                           "fail_stmt",
                           "emit_stmt",
                           "break_stmt",
                           "continue_stmt",
                           "mock_stmt",
                           "mock_params",
                           "mock_list",
                           "mock_fail",
                           "run_stmt",
                           "signal_stmt",
                           "expect_stmt",
                           "ternary",
                           "chain",
                           "unary",
                           "postfix",
                           "select",
                           "index",
                           "reference",
                           "message_literal",
                           "arguments",
                           "named_argument",
                           "paren",
                           "list",
                           "list_item",
                           "map",
                           "map_entry",
                           "string",
                           "interpolation",
                           "error"};
static_assert(names.size() == static_cast<size_t>(Node::error) + 1);
}  // namespace

std::string_view to_string(Node kind) { return names[static_cast<size_t>(kind)]; }
bool is_leaf(Node kind) { return kind < Node::file; }
bool is_trivia(Node kind) { return kind <= Node::doc_comment; }
bool is_expression(Node kind) {
  switch (kind) {
    case Node::null_literal:
    case Node::bool_literal:
    case Node::int_literal:
    case Node::uint_literal:
    case Node::double_literal:
    case Node::duration_literal:
    case Node::string_literal:
    case Node::bytes_literal:
    case Node::message_literal:
    case Node::ternary:
    case Node::chain:
    case Node::unary:
    case Node::postfix:
    case Node::reference:
    case Node::paren:
    case Node::list:
    case Node::map:
    case Node::string:
      return true;
    default:
      return false;
  }
}

Node Cursor::kind() const { return tree_->nodes()[index_].kind; }
uint32_t Cursor::begin() const { return tree_->nodes()[index_].begin; }
uint32_t Cursor::end() const { return tree_->nodes()[index_].end; }
std::string_view Cursor::text() const {
  return tree_ == nullptr ? std::string_view() : tree_->text().substr(begin(), end() - begin());
}
source::Span Cursor::span() const {
  return tree_ == nullptr ? source::Span() : source::Span{tree_->file(), begin(), end()};
}

Cursor Cursor::first() const {
  const auto& nodes = tree_->nodes();
  const uint32_t limit = index_ + nodes[index_].size;
  for (uint32_t i = index_ + 1; i < limit; i += nodes[i].size) {
    if (!is_trivia(nodes[i].kind)) return {tree_, i};
  }
  return {};
}

Cursor Cursor::next(Cursor child) const {
  const auto& nodes = tree_->nodes();
  const uint32_t limit = index_ + nodes[index_].size;
  for (uint32_t i = child.index_ + nodes[child.index_].size; i < limit; i += nodes[i].size) {
    if (!is_trivia(nodes[i].kind)) return {tree_, i};
  }
  return {};
}

Cursor Cursor::child(Node wanted) const {
  for (Cursor c = first(); c; c = next(c)) {
    if (c.kind() == wanted) return c;
  }
  return {};
}

Cursor Cursor::child_after(Cursor after, Node wanted) const {
  for (Cursor c = next(after); c; c = next(c)) {
    if (c.kind() == wanted) return c;
  }
  return {};
}

Cursor Cursor::token(std::string_view wanted) const {
  for (Cursor c = first(); c; c = next(c)) {
    if ((c.kind() == Node::keyword || c.kind() == Node::punctuation || c.kind() == Node::op) &&
        c.text() == wanted)
      return c;
  }
  return {};
}

std::string_view Cursor::name() const {
  const Cursor c = child(Node::identifier);
  return c ? c.text() : std::string_view();
}

std::vector<Cursor> Cursor::children(Node wanted) const {
  std::vector<Cursor> out;
  for (Cursor c = first(); c; c = next(c)) {
    if (c.kind() == wanted) out.push_back(c);
  }
  return out;
}

Cursor Cursor::expression() const {
  for (Cursor c = first(); c; c = next(c)) {
    if (is_expression(c.kind())) return c;
  }
  return {};
}

std::string Cursor::doc() const {
  // The trivia leaves right before the node in preorder belong to an ancestor; walk back over them.
  const auto& nodes = tree_->nodes();
  std::vector<std::string_view> lines;
  for (uint32_t i = index_; i-- > 0;) {
    if (nodes[i].kind == Node::doc_comment) {
      std::string_view line =
          tree_->text().substr(nodes[i].begin + 3, nodes[i].end - nodes[i].begin - 3);
      if (line.starts_with(' ')) line.remove_prefix(1);
      if (line.ends_with('\r')) line.remove_suffix(1);
      lines.push_back(line);
    } else if (!is_trivia(nodes[i].kind) && (is_leaf(nodes[i].kind) || nodes[i].end <= begin())) {
      break;
    }
  }
  std::string out;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (!out.empty()) out.push_back('\n');
    out.append(*line);
  }
  return out;
}

bool Cursor::has_errors() const {
  const auto& nodes = tree_->nodes();
  for (uint32_t i = index_; i < index_ + nodes[index_].size; ++i) {
    if (nodes[i].kind == Node::missing || nodes[i].kind == Node::error ||
        nodes[i].kind == Node::junk)
      return true;
  }
  return false;
}

std::string Tree::reconstruct() const {
  std::string out;
  for (const NodeData& node : nodes_) {
    if (is_leaf(node.kind)) out.append(text_.substr(node.begin, node.end - node.begin));
  }
  return out;
}

std::string Tree::print() const {
  std::string out;
  std::vector<uint32_t> ends;
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    while (!ends.empty() && i >= ends.back()) ends.pop_back();
    const NodeData& node = nodes_[i];
    out.append(ends.size() * 2, ' ');
    out += to_string(node.kind);
    if (is_leaf(node.kind) && node.kind != Node::whitespace)
      out += fmt::format(" `{}`", text_.substr(node.begin, node.end - node.begin));
    out += '\n';
    ends.push_back(i + node.size);
  }
  return out;
}

}  // namespace kflow::syntax
