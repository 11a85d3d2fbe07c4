// The values that literal tokens stand for: escapes, indentation of text blocks, numbers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/syntax/tree.hpp"

namespace kflow::syntax {

struct LiteralError {
  uint32_t begin = 0;  ///< offset in the file
  uint32_t end = 0;
  std::string message;
};

/// Part of a string: text, or an expression between `${` and `}`.
struct Segment {
  std::string text;
  Cursor expression;  ///< none for text; also none (with `hole`) when it is missing
  bool hole = false;
};

struct DecodedString {
  bool bytes = false;
  std::vector<Segment> segments;  ///< of a plain string: one text
  std::vector<LiteralError> errors;
};

/// Decodes a string_literal, bytes_literal or string node. `dedent`: the language's rule for `"""`:
/// the first newline and the common indentation are dropped.
DecodedString decode_string(Cursor node, bool dedent);

/// Common indentation of the lines of a text block after its first, the closing quotes' line
/// included; blank lines do not count. `body`: what stands between the quotes, `offset` in the
/// file.
size_t common_indent(std::string_view body, uint32_t offset, std::vector<LiteralError>& errors);

/// Whole decoded text of a literal without holes; "" if the node is none.
std::string decode_plain(Cursor node);

}  // namespace kflow::syntax
