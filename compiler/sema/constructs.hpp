// The construct table: every construct with its options, for the checker and for whoever documents
// or completes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::sema {

enum class OptionKind : uint8_t {
  expression,  ///< evaluated at run time; `detail` is its type as the language writes it
  constant,    ///< known to the compiler; `detail` is its type
  symbol,      ///< one of the words in `detail`, separated by spaces
  reference,   ///< a declaration, or a list of them
  call,        ///< a call or a word: `first(2)`, `refund(id)`
  block,       ///< `{ … }` of the construct named in `detail`, or a reference to such a declaration
  anything,
};

struct OptionRow {
  std::string_view construct;
  std::string_view name;
  OptionKind kind = OptionKind::expression;
  std::string_view detail;
  bool required = false;
  std::string_view doc;
};

const OptionRow* find_option(std::string_view construct, std::string_view name);
/// Names of the construct's options in the table's order.
std::vector<std::string> option_names(std::string_view construct);
std::span<const OptionRow> all_options();

}  // namespace kflow::sema
