// UTF-8: validation, decoding, encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kflow {

/// One decoded code point and the bytes it took; `length` 0 means the input is malformed at that
/// place.
struct CodePoint {
  char32_t value = 0;
  uint8_t length = 0;
};

/// Decodes the code point at `pos` (RFC 3629: no surrogates, no overlong forms).
CodePoint decode_utf8(std::string_view text, size_t pos);
/// Appends `c`, which must be a Unicode scalar value.
void append_utf8(std::string& out, char32_t c);
/// Offset of the first malformed byte, or npos if all is valid.
size_t find_invalid_utf8(std::string_view text);
/// Number of code points of valid UTF-8.
size_t count_code_points(std::string_view text);
/// `text` with each run of malformed bytes replaced by one U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace kflow
