// Finds out encodings, and converts by iconv.
#include "runtime/activities/charset.hpp"

#include <iconv.h>

#include <algorithm>
#include <cerrno>

namespace kflow::activities {
namespace {

constexpr size_t looked_at = 1024;  // of the beginning of a page, as browsers do

std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

// The word after `charset=` from `at` on.
std::string charset_after(std::string_view text, size_t at) {
  at = text.find("charset", at);
  if (at == std::string_view::npos) return "";
  at = text.find_first_not_of(" \t\r\n", at + 7);
  if (at == std::string_view::npos || text[at] != '=') return "";
  at = text.find_first_not_of(" \t\r\n\"'", at + 1);
  if (at == std::string_view::npos) return "";
  return std::string(text.substr(at, text.find_first_of(" \t\r\n\"';,>/", at) - at));
}

}  // namespace

std::string charset_of(std::string_view content_type, std::string_view body) {
  const std::string type = lower(content_type);
  if (std::string named = charset_after(type, 0); !named.empty()) return named;
  if (type.find("html") == std::string::npos) return "";
  const std::string head = lower(body.substr(0, looked_at));
  for (size_t at = 0; (at = head.find("<meta", at)) != std::string::npos; ++at) {
    const std::string_view tag = std::string_view(head).substr(at, head.find('>', at) - at);
    if (std::string named = charset_after(tag, 0); !named.empty()) return named;
  }
  return "";
}

std::optional<std::string> to_utf8(std::string_view text, const std::string& charset) {
  // What calls itself ISO 8859-1 or ASCII is this in practice (WHATWG Encoding §4.2).
  const bool western = charset == "iso-8859-1" || charset == "latin1" || charset == "us-ascii";
  const iconv_t converter = ::iconv_open("UTF-8", western ? "WINDOWS-1252" : charset.c_str());
  if (converter == reinterpret_cast<iconv_t>(-1)) return std::nullopt;
  std::string in(text);
  std::string out;
  char* from = in.data();
  size_t left = in.size();
  bool sound = true;
  while (left > 0 && sound) {
    char piece[4096];
    char* to = piece;
    size_t room = sizeof piece;
    if (::iconv(converter, &from, &left, &to, &room) == static_cast<size_t>(-1)) {
      if (errno == EILSEQ && western) {  // five octets that mean nothing
        ++from, --left;
        out.append(piece, static_cast<size_t>(to - piece)).append("\xef\xbf\xbd");
        continue;
      }
      sound = errno == E2BIG;
    }
    out.append(piece, static_cast<size_t>(to - piece));
  }
  ::iconv_close(converter);
  return sound ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace kflow::activities
