// Index: what the checker learns about places in the text, kept for editors only.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/schema/types.hpp"
#include "compiler/source/source.hpp"

namespace kflow::sema {

struct Index {
  /// A name, and where what it means is declared.
  struct Use {
    source::Span at;
    source::Span definition;
  };
  /// A parameter, step, let or variable of a loop, where it is defined.
  struct Name {
    source::Span at;
    std::string name;
    schema::TypeId type;
  };
  /// An expression, or a part of one.
  struct Typed {
    source::Span at;
    schema::TypeId type;
  };
  std::vector<Use> uses;
  std::vector<Name> names;
  std::vector<Typed> types;
};

}  // namespace kflow::sema
