// Pages: what `kflowc explain CODE` prints, with a wrong and a right example. Tests compile them.
#pragma once

#include <string>
#include <string_view>

#include "compiler/diagnostics/diagnostics.hpp"

namespace kflow::diagnostics {

/// Texts of files: the first is `example.kflow`, others follow a line `--- NAME`.
struct Examples {
  std::string_view wrong;  ///< gives exactly this diagnostic, once
  std::string_view right;  ///< gives none
};
Examples examples(Kind kind);

/// The whole page, for people.
std::string page(Kind kind);

}  // namespace kflow::diagnostics
