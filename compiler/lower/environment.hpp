// Environment: which names a statement sees, and what they mean.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compiler/ir/program.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::lower {

struct Binding {
  ir::ScopeId scope;
  ir::Slot slot = ir::no_slot;
  schema::TypeId type;
  source::Span span;
};

/// A name that a loop's body defines further down: read before that, it means the preceding
/// iteration's value.
struct Future {
  schema::TypeId type;
  source::Span span;
};

/// One level of an `ir::Scope`: the names defined so far, and of loops those to come.
struct Level {
  ir::ScopeId scope;
  bool loop = false;        ///< a `for` or `loop` iteration
  bool concurrent = false;  ///< a `for` with a limit above 1
  std::map<std::string, Binding, std::less<>> names;
  std::map<std::string, Future, std::less<>> futures;
  std::map<std::string, int>
      used;  ///< path segments of its statements, so that no two have the same path
};

/// What a block defined: its new names and whether control leaves it by return, fail, break or
/// continue.
struct BlockResult {
  ir::BlockId block;
  std::map<std::string, Binding, std::less<>> defined;
  bool leaves = false;
};

/// All names that the statements of a block define in its own scope, found before any is checked:
/// with a type where the text says one, else none.
struct Definition {
  std::string name;
  sema::Cursor node;  ///< the statement
  source::Span span;
  bool through_loop = false;  ///< seen through an inner for (a list) or loop
};
std::vector<Definition> definitions_in(sema::Cursor block);

}  // namespace kflow::lower
