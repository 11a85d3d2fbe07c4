// What the build makes of the `.kflow` files: their names and bytes.
#pragma once

#include <span>
#include <string_view>

namespace kflow::stdlib {

struct Embedded {
  std::string_view name;  ///< "csv" of `import "std/csv"`
  std::span<const unsigned char> bytes;
};

/// In the generated source file.
std::span<const Embedded> embedded();

}  // namespace kflow::stdlib
