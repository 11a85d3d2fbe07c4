// Escaping for XML 1.0 (https://www.w3.org/TR/xml/#syntax).
#include "compiler/base/xml.hpp"

namespace kflow {
namespace {

std::string escaped(std::string_view text, std::string_view line_end) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
        out += line_end;
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\t') out += c;
    }
  }
  return out;
}

}  // namespace

std::string xml_text(std::string_view text) { return escaped(text, "\n"); }
std::string xml_attribute(std::string_view text) { return escaped(text, "&#10;"); }

}  // namespace kflow
