// UTF-16 columns, changes, URIs.
#include "compiler/lsp/document.hpp"

#include <algorithm>

#include "compiler/base/utf8.hpp"

namespace kflow::lsp {
namespace {

// Bytes and UTF-16 units of the character at `at`.
std::pair<uint32_t, uint32_t> character(std::string_view text, size_t at) {
  const CodePoint c = decode_utf8(text, at);
  const auto length = static_cast<uint32_t>(std::max<size_t>(c.length, 1));
  return {length, length == 4 ? 2U : 1U};
}

}  // namespace

void Document::set(std::string text) {
  text_ = std::move(text);
  lines_.assign(1, 0);
  for (size_t at = text_.find('\n'); at != std::string::npos; at = text_.find('\n', at + 1))
    lines_.push_back(static_cast<uint32_t>(at + 1));
}

void Document::replace(const Range& range, std::string_view text) {
  const uint32_t begin = offset(range.start);
  const uint32_t end = std::max(begin, offset(range.end));
  std::string changed = text_;
  changed.replace(begin, end - begin, text);
  set(std::move(changed));
}

uint32_t Document::offset(Place place) const {
  if (place.line >= lines_.size()) return static_cast<uint32_t>(text_.size());
  uint32_t at = lines_[place.line];
  uint32_t end = place.line + 1 < lines_.size() ? lines_[place.line + 1] - 1
                                                : static_cast<uint32_t>(text_.size());
  if (end > at && text_[end - 1] == '\r') --end;
  for (uint32_t units = 0; at < end;) {
    const auto [bytes, width] = character(text_, at);
    if (units + width > place.character) break;
    units += width;
    at += bytes;
  }
  return std::min(at, end);
}

Place Document::place(uint32_t offset) const {
  offset = std::min(offset, static_cast<uint32_t>(text_.size()));
  const auto after = std::upper_bound(lines_.begin(), lines_.end(), offset);
  const auto line = static_cast<uint32_t>(after - lines_.begin() - 1);
  uint32_t units = 0;
  for (uint32_t at = lines_[line]; at < offset;) {
    const auto [bytes, width] = character(text_, at);
    at += bytes;
    units += width;
  }
  return {line, units};
}

std::string path_of(std::string_view uri) {
  constexpr std::string_view scheme = "file://";
  if (!uri.starts_with(scheme)) return std::string(uri);
  uri.remove_prefix(scheme.size());
  if (!uri.starts_with('/')) uri.remove_prefix(std::min(uri.find('/'), uri.size()));
  std::string out;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (size_t i = 0; i < uri.size(); ++i) {
    const bool coded =
        uri[i] == '%' && i + 2 < uri.size() && digit(uri[i + 1]) >= 0 && digit(uri[i + 2]) >= 0;
    out += coded ? static_cast<char>(digit(uri[i + 1]) * 16 + digit(uri[i + 2])) : uri[i];
    if (coded) i += 2;
  }
  return out;
}

std::string uri_of(std::string_view path) {
  if (!path.starts_with('/')) return std::string(path);
  std::string out = "file://";
  constexpr std::string_view plain = "/-_.~";
  for (const char c : path) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      plain.find(c) != std::string_view::npos;
    if (safe) {
      out += c;
    } else {
      constexpr std::string_view digits = "0123456789ABCDEF";
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

}  // namespace kflow::lsp
