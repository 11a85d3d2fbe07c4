// Reference pages: what a file declares, with its doc comments, as Markdown.
#pragma once

#include <string>

#include "compiler/syntax/tree.hpp"

namespace kflow::doc {

/// The page of one file; `name` is its heading. Names that begin with `_` are left out: they are
/// the file's own. The tree has no errors.
std::string page(const syntax::Tree& tree, const std::string& name);

}  // namespace kflow::doc
