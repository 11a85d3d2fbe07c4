// UTF-8 by the table of RFC 3629.
#include "compiler/base/utf8.hpp"

namespace kflow {

CodePoint decode_utf8(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {};
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char b0 = byte(pos);
  if (b0 < 0x80) return {b0, 1};
  if (b0 < 0xc2 || b0 > 0xf4) return {};
  const uint8_t length = b0 < 0xe0 ? 2 : b0 < 0xf0 ? 3 : 4;
  if (text.size() - pos < length) return {};
  char32_t value = b0 & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    const unsigned char b = byte(pos + i);
    if ((b & 0xc0) != 0x80) return {};
    value = (value << 6) | (b & 0x3f);
  }
  if (length == 3 && (value < 0x800 || (value >= 0xd800 && value <= 0xdfff))) return {};
  if (length == 4 && (value < 0x10000 || value > 0x10ffff)) return {};
  return {value, length};
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xf0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

size_t find_invalid_utf8(std::string_view text) {
  size_t pos = 0;
  while (pos < text.size()) {
    if (static_cast<unsigned char>(text[pos]) < 0x80) {
      ++pos;
      continue;
    }
    const CodePoint c = decode_utf8(text, pos);
    if (c.length == 0) return pos;
    pos += c.length;
  }
  return std::string_view::npos;
}

size_t count_code_points(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return n;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_bad_run = false;
  for (size_t pos = 0; pos < text.size();) {
    const CodePoint c = decode_utf8(text, pos);
    if (c.length == 0) {
      if (!in_bad_run) out.append("\xef\xbf\xbd");
      in_bad_run = true;
      ++pos;
      continue;
    }
    in_bad_run = false;
    out.append(text.substr(pos, c.length));
    pos += c.length;
  }
  return out;
}

}  // namespace kflow
