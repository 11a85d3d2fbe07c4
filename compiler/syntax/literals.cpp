// Escapes of CEL, and the dedent rule of language.md §3.
#include "compiler/syntax/literals.hpp"

#include <algorithm>

#include "compiler/base/utf8.hpp"

namespace kflow::syntax {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Decoder {
 public:
  Decoder(bool raw, bool bytes, bool interpolated, std::vector<LiteralError>& errors)
      : raw_(raw), bytes_(bytes), interpolated_(interpolated), errors_(errors) {}

  // Decodes `text`, which begins at `offset` of the file. `indent`: columns dropped after each
  // newline.
  std::string decode(std::string_view text, uint32_t offset, size_t indent, bool at_line_start) {
    std::string out;
    out.reserve(text.size());
    bool line_start = at_line_start;
    for (size_t i = 0; i < text.size();) {
      if (line_start && indent > 0) {
        size_t skipped = 0;
        while (skipped < indent && i < text.size() && (text[i] == ' ' || text[i] == '\t'))
          ++skipped, ++i;
        line_start = false;
        continue;
      }
      line_start = false;
      const char c = text[i];
      if (c == '\\' && !raw_) {
        i += escape(text.substr(i), offset + static_cast<uint32_t>(i), out);
        continue;
      }
      if (c == '\n') line_start = true;
      out.push_back(c);
      ++i;
    }
    return out;
  }

 private:
  void error(uint32_t begin, size_t length, std::string message) {
    errors_.push_back({begin, begin + static_cast<uint32_t>(length), std::move(message)});
  }

  void code_point(std::string& out, uint32_t value, uint32_t at, size_t length) {
    if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
      return error(at, length, "this escape is not a Unicode character");
    }
    append_utf8(out, value);
  }

  // Length of the escape at the front of `text`.
  size_t escape(std::string_view text, uint32_t at, std::string& out) {
    if (text.size() < 2) return error(at, 1, "a lone backslash"), 1;
    switch (text[1]) {
      case 'a':
        out.push_back('\a');
        return 2;
      case 'b':
        out.push_back('\b');
        return 2;
      case 'f':
        out.push_back('\f');
        return 2;
      case 'n':
        out.push_back('\n');
        return 2;
      case 'r':
        out.push_back('\r');
        return 2;
      case 't':
        out.push_back('\t');
        return 2;
      case 'v':
        out.push_back('\v');
        return 2;
      case '\\':
      case '?':
      case '"':
      case '\'':
      case '`':
        out.push_back(text[1]);
        return 2;
      case '$':
        if (interpolated_) return out.push_back('$'), 2;
        break;
      case 'x':
      case 'X':
        return numeric(text, at, out, 2, 2, 16);
      case 'u':
        return numeric(text, at, out, 2, 4, 16);
      case 'U':
        return numeric(text, at, out, 2, 8, 16);
      case '0':
      case '1':
      case '2':
      case '3':
        return numeric(text, at, out, 1, 3, 8);
      default:
        break;
    }
    const CodePoint c = decode_utf8(text, 1);
    const size_t length = 1 + std::max<size_t>(c.length, 1);
    error(at, length, "unknown escape `" + std::string(text.substr(0, length)) + "`");
    return length;
  }

  size_t numeric(std::string_view text, uint32_t at, std::string& out, size_t skip, size_t digits,
                 uint32_t base) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const int d = skip + i < text.size() ? hex_digit(text[skip + i]) : -1;
      if (d < 0 || d >= static_cast<int>(base)) {
        error(at, std::min(skip + i, text.size()),
              "this escape needs " + std::to_string(digits) +
                  (base == 8 ? " octal" : " hexadecimal") + " digits");
        return std::min(skip + i, text.size());
      }
      value = value * base + static_cast<uint32_t>(d);
    }
    const bool octets = bytes_ && (digits == 2 || base == 8);
    if (octets) {
      out.push_back(static_cast<char>(value));
    } else if (bytes_) {
      error(at, skip + digits, "`\\u` and `\\U` have no meaning in bytes");
    } else {
      code_point(out, value, at, skip + digits);
    }
    return skip + digits;
  }

  bool raw_;
  bool bytes_;
  bool interpolated_;
  std::vector<LiteralError>& errors_;
};

struct Quotes {
  size_t prefix = 0;
  bool raw = false;
  bool bytes = false;
  bool triple = false;
};

Quotes quotes_of(std::string_view token) {
  Quotes q;
  while (q.prefix < token.size() && token[q.prefix] != '"' && token[q.prefix] != '\'') {
    q.raw |= token[q.prefix] == 'r' || token[q.prefix] == 'R';
    q.bytes |= token[q.prefix] == 'b' || token[q.prefix] == 'B';
    ++q.prefix;
  }
  const std::string_view rest = token.substr(q.prefix);
  q.triple = rest.size() >= 3 && rest[1] == rest[0] && rest[2] == rest[0] &&
             (rest.size() >= 6 || token.size() == q.prefix + 3);
  return q;
}

// Before closing quotes on a line of their own, what is left of the indentation is not part of the
// text.
void drop_last_indent(std::string& text) {
  const size_t newline = text.rfind('\n');
  if (newline == std::string::npos) return;
  if (text.find_first_not_of(" \t", newline + 1) == std::string::npos) text.erase(newline + 1);
}

}  // namespace

size_t common_indent(std::string_view body, uint32_t offset, std::vector<LiteralError>& errors) {
  size_t indent = SIZE_MAX;
  char used = 0;
  size_t pos = body.find('\n');
  while (pos != std::string_view::npos) {
    const size_t begin = pos + 1;
    const size_t next = body.find('\n', begin);
    const bool last = next == std::string_view::npos;
    const std::string_view line = body.substr(begin, last ? std::string_view::npos : next - begin);
    size_t n = 0;
    while (n < line.size() && (line[n] == ' ' || line[n] == '\t')) ++n;
    const bool blank = n == line.size() || (n + 1 == line.size() && line[n] == '\r');
    if (!blank || last) {
      for (size_t i = 0; i < n; ++i) {
        if (used == 0) used = line[i];
        if (line[i] != used) {
          const auto at = offset + static_cast<uint32_t>(begin + i);
          errors.push_back({at, at + 1, "the indentation of this text mixes tabs and spaces"});
          return 0;
        }
      }
      indent = std::min(indent, n);
    }
    pos = next;
  }
  return indent == SIZE_MAX ? 0 : indent;
}

DecodedString decode_string(Cursor node, bool dedent) {
  DecodedString out;
  const std::string_view token = node.text();
  const Quotes q = quotes_of(token);
  out.bytes = q.bytes;
  const size_t open = q.prefix + (q.triple ? 3 : 1);
  const size_t quote_length = q.triple ? 3 : 1;
  // An unclosed literal (reported already) has no closing quotes.
  const bool closed =
      token.size() >= open + quote_length && token.ends_with(token.substr(q.prefix, quote_length));
  const std::string_view body =
      token.substr(std::min(open, token.size()),
                   closed ? token.size() - open - quote_length : std::string_view::npos);
  const auto body_offset = node.begin() + static_cast<uint32_t>(std::min(open, token.size()));
  const bool block = dedent && q.triple && !q.raw && body.find('\n') != std::string_view::npos;
  const size_t indent = block ? common_indent(body, body_offset, out.errors) : 0;
  const bool plain = node.kind() != Node::string;
  Decoder decoder(q.raw, q.bytes, dedent && !q.raw && token.substr(q.prefix).starts_with('"'),
                  out.errors);

  const auto text = [&](std::string_view part, uint32_t offset) {
    bool line_start = offset > body_offset && node.tree().text()[offset - 1] == '\n';
    if (block && offset == body_offset) {
      const size_t newline = part.find('\n');
      if (part.substr(0, newline).find_first_not_of(" \t\r") == std::string_view::npos &&
          newline != std::string_view::npos) {
        offset += static_cast<uint32_t>(newline + 1);
        part.remove_prefix(newline + 1);
        line_start = true;
      }
    }
    return decoder.decode(part, offset, indent, line_start);
  };
  if (plain) {
    out.segments.push_back({text(body, body_offset), {}, false});
  } else {
    for (Cursor c = node.first(); c; c = node.next(c)) {
      if (c.is(Node::string_text)) out.segments.push_back({text(c.text(), c.begin()), {}, false});
      if (c.is(Node::interpolation)) out.segments.push_back({"", c.expression(), true});
    }
  }
  if (block && !out.segments.empty() && !out.segments.back().hole)
    drop_last_indent(out.segments.back().text);
  return out;
}

std::string decode_plain(Cursor node) {
  if (!node) return "";
  std::string out;
  for (const Segment& segment : decode_string(node, true).segments) out += segment.text;
  return out;
}

}  // namespace kflow::syntax
