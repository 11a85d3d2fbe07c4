// A walk over the nodes below one, in the order of the text.
#pragma once

#include "compiler/syntax/tree.hpp"

namespace kflow::sema {

/// Calls `visit` with the node and everything inside it that is no trivia.
template <typename Visit>
void each_node(syntax::Cursor node, const Visit& visit) {
  visit(node);
  for (syntax::Cursor c = node.first(); c; c = node.next(c)) each_node(c, visit);
}

}  // namespace kflow::sema
