// Checks `"…".format([…])` of literals: as many values as the text wants, and of the right types.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "compiler/cel/front/check.hpp"
#include "compiler/cel/front/static_type.hpp"

namespace kflow::cel {

/// An item of the list that is formatted.
struct FormattedItem {
  uint32_t begin = 0;  ///< place
  uint32_t end = 0;
  StaticKind kind = StaticKind::dyn;
  bool opaque = false;  ///< an optional, an address: nothing formats those
  std::string type;     ///< for messages
};

/// `begin`, `end`: place of the call.
void check_format(std::string_view text, std::span<const FormattedItem> items, uint32_t begin,
                  uint32_t end, std::vector<CheckError>& errors);

}  // namespace kflow::cel
