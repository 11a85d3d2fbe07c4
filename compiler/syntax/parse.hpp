// Parsing: any bytes → a lossless tree and diagnostics. No exceptions, bounded depth, always ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/source/source.hpp"
#include "compiler/syntax/tree.hpp"

namespace kflow::syntax {

/// Parses a .kflow file. The tree refers to the file's text, which must outlive it.
Tree parse(const source::File& file, diagnostics::Sink& sink);

/// Words that cannot be names anywhere (language.md §3).
bool is_reserved(std::string_view word);

}  // namespace kflow::syntax
