// Tree: the lossless syntax tree as a flat vector in preorder; every byte of the file is in exactly
// one leaf.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/source/source.hpp"

namespace kflow::syntax {

/// Deepest nesting of expressions, types and blocks that is parsed.
inline constexpr int max_depth = 100;

enum class Node : uint8_t {
  // -- leaves
  whitespace,
  comment,
  doc_comment,
  missing,
  junk,
  identifier,
  keyword,
  punctuation,
  op,
  null_literal,
  bool_literal,
  int_literal,
  uint_literal,
  double_literal,
  duration_literal,
  string_literal,  ///< whole, when nothing is interpolated
  bytes_literal,
  string_open,
  string_text,
  string_close,  ///< the parts of an interpolated string, with interpolation nodes between
  // -- files and declarations
  file,
  kflow_decl,
  import_decl,
  const_decl,
  fn_decl,
  secret_decl,
  type_decl,
  record_decl,
  config_decl /* retry model mcp */,
  agent_decl /* agent team */,
  callable_decl /* tool workflow */,
  extern_decl,
  test_decl,
  params,
  param,
  result_type,
  options,
  option,
  block,
  import_alias,
  // -- types
  union_type,
  postfix_type,
  name_type,
  literal_type,
  map_type,
  record_type,
  paren_type,
  field,
  annotation,
  // -- statements
  step_stmt,
  step_binding,
  callee,
  let_stmt,
  set_stmt,
  session_path,
  if_stmt,
  else_part,
  match_stmt,
  match_arm,
  parallel_stmt,
  branch_stmt,
  for_stmt,
  loop_stmt,
  try_stmt,
  catch_part,
  finally_part,
  return_stmt,
  fail_stmt,
  emit_stmt,
  break_stmt,
  continue_stmt,
  mock_stmt,
  mock_params,
  mock_list,
  mock_fail,
  run_stmt,
  signal_stmt,
  expect_stmt,
  // -- expressions; a chain of one operand, a unary without operators and a postfix without
  // suffixes are left out
  ternary,          ///< condition `?` then `:` otherwise
  chain,            ///< operand (op operand)*, flat: precedence is for the reader
  unary,            ///< op+ operand
  postfix,          ///< primary (select | opt_select | index | opt_index)+
  select,           ///< `.` or `.?` name [arguments]
  index,            ///< `[` or `[?` expression `]`
  reference,        ///< [`.`] identifier [arguments]
  message_literal,  ///< `T{field: value}` of strict CEL, which has no types of this kind
  arguments,
  named_argument,
  paren,
  list,
  list_item,
  map,
  map_entry,
  string,
  interpolation,
  error,  ///< junk tokens that were skipped
};

std::string_view to_string(Node kind);
bool is_leaf(Node kind);

struct NodeData {
  Node kind = Node::junk;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t size = 1;  ///< nodes in this subtree, itself included
};

class Tree;

/// A node of a tree; cheap to copy. Default constructed: none.
class Cursor {
 public:
  Cursor() = default;
  Cursor(const Tree* tree, uint32_t index) : tree_(tree), index_(index) {}
  explicit operator bool() const { return tree_ != nullptr; }
  const Tree& tree() const { return *tree_; }
  uint32_t index() const { return index_; }
  Node kind() const;
  bool is(Node kind_wanted) const { return tree_ != nullptr && kind() == kind_wanted; }
  uint32_t begin() const;
  uint32_t end() const;
  /// Of none: "" and a span that is not valid.
  std::string_view text() const;
  source::Span span() const;

  /// First child that is not trivia; `next` goes on to its siblings. Both give none at the end.
  Cursor first() const;
  Cursor next(Cursor child) const;
  /// First child of a kind, from `after` on if given.
  Cursor child(Node wanted) const;
  Cursor child_after(Cursor after, Node wanted) const;
  /// First child that is a keyword, punctuation or operator with this text.
  Cursor token(std::string_view text_wanted) const;
  /// The identifier child's text, "" if it is missing.
  std::string_view name() const;
  /// Children of a kind.
  std::vector<Cursor> children(Node wanted) const;
  /// First child that is an expression.
  Cursor expression() const;
  /// Text of the doc comment lines before this node, without the slashes.
  std::string doc() const;
  /// Whether something inside was missing or skipped.
  bool has_errors() const;

 private:
  const Tree* tree_ = nullptr;
  uint32_t index_ = 0;
};

class Tree {
 public:
  Tree() = default;
  Tree(source::FileId file, std::string_view text, std::vector<NodeData> nodes)
      : file_(file), text_(text), nodes_(std::move(nodes)) {}
  Cursor root() const { return nodes_.empty() ? Cursor() : Cursor(this, 0); }
  const std::vector<NodeData>& nodes() const { return nodes_; }
  source::FileId file() const { return file_; }
  std::string_view text() const { return text_; }
  /// The text put together from the leaves: equal to `text()` for every input.
  std::string reconstruct() const;
  /// One line a node, indented, for `--print tree`.
  std::string print() const;

 private:
  source::FileId file_;
  std::string_view text_;
  std::vector<NodeData> nodes_;
};

bool is_expression(Node kind);
bool is_trivia(Node kind);

}  // namespace kflow::syntax
