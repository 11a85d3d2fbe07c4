// Finding the definitions of a block without checking it.
#include "compiler/lower/environment.hpp"

namespace kflow::lower {
namespace {

using sema::Cursor;
using syntax::Node;

void collect(Cursor node, bool through_loop, std::vector<Definition>& out) {
  for (Cursor c = node.first(); c; c = node.next(c)) {
    switch (c.kind()) {
      case Node::step_stmt: {
        const Cursor binding = c.child(Node::step_binding);
        const Cursor name = binding ? binding.child(Node::identifier) : Cursor();
        if (name) out.push_back({std::string(name.text()), c, name.span(), through_loop});
        break;
      }
      case Node::let_stmt:
        if (const Cursor name = c.child(Node::identifier))
          out.push_back({std::string(name.text()), c, name.span(), through_loop});
        break;
      case Node::for_stmt:
      case Node::loop_stmt:
        collect(c, true, out);
        break;
      case Node::block:
      case Node::if_stmt:
      case Node::else_part:
      case Node::match_stmt:
      case Node::match_arm:
      case Node::parallel_stmt:
      case Node::branch_stmt:
      case Node::try_stmt:
      case Node::catch_part:
      case Node::finally_part:
        collect(c, through_loop, out);
        break;
      default:
        break;
    }
  }
}

}  // namespace

std::vector<Definition> definitions_in(Cursor block) {
  std::vector<Definition> out;
  if (block) collect(block, false, out);
  return out;
}

}  // namespace kflow::lower
