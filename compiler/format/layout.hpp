// Layout: walks the tree of one file and says on a Page what stands where.
#pragma once

#include <string_view>
#include <vector>

#include "compiler/format/page.hpp"
#include "compiler/syntax/tree.hpp"

namespace kflow::format {

using syntax::Cursor;
using syntax::Node;

/// Lays out one tree without errors, once.
class Layout {
 public:
  explicit Layout(const syntax::Tree& tree);
  std::string run();

 private:
  struct Comment {
    std::string_view text;
    bool blank_before = false;
  };
  /// What stands between a token and its neighbours.
  struct Surroundings {
    std::vector<Comment> leading;            ///< comments on lines of their own before it
    std::vector<std::string_view> trailing;  ///< comments behind it on its line
    bool line_before = false;                ///< a line end since the token before it
    bool blank_before = false;               ///< an empty line right before it
    bool taken = false;                      ///< its leading comments are written already
  };

  // layout_statements.cpp
  void read_surroundings();
  static Cursor first_token(Cursor c);
  Surroundings& around(Cursor c);  ///< of the first token of a node
  bool has_comment_inside(Cursor c) const;
  /// Whether an empty line stands before the node, its comments included.
  bool blank_above(Cursor c);

  void leading_comments(Cursor c);
  void trailing_comments(Cursor c);
  void token(Cursor c);
  /// A comma that is written elsewhere or not at all; its comments are kept.
  void dropped(Cursor c);
  void comma(Cursor c);
  void any(Cursor c);
  void glued(Cursor c);
  /// Children in a row, with spaces where they belong. `option`: its value may be a block.
  void spaced(Cursor c, bool option);
  static bool breaks_after_equals(Cursor owner, Cursor value);
  void file(Cursor root);
  void match(Cursor c);
  void braces(Cursor node, Cursor open);
  static bool one_line_pair(Node kind) {
    return kind == Node::option || kind == Node::field || kind == Node::map_entry;
  }

  // layout_expressions.cpp
  void brackets(Cursor node);
  void chain(Cursor c);
  void ternary(Cursor c);
  void postfix(Cursor c);
  void union_type(Cursor c, bool after_word);
  void map_type(Cursor c);

  // text_block.cpp
  std::string with_holes(Cursor c);
  void string(Cursor c);
  bool text_block(Cursor c, std::string_view literal);

  const syntax::Tree& tree_;
  Page page_;
  std::vector<uint32_t> number_of_;  // by node: its place in `around_`, of tokens
  std::vector<Surroundings> around_;
};

}  // namespace kflow::format
