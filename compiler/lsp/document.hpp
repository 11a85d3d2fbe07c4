// Document: the text of an open file, and places in it as editors count them: lines from 0, columns
// in UTF-16 units.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::lsp {

struct Place {
  uint32_t line = 0;
  uint32_t character = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};
struct Range {
  Place start;
  Place end;
};

/// Any bytes; what is no UTF-8 counts a unit a byte.
class Document {
 public:
  explicit Document(std::string text) { set(std::move(text)); }
  void set(std::string text);
  /// Places beyond the text or inside a character are moved to the next sensible one before.
  void replace(const Range& range, std::string_view text);
  const std::string& text() const { return text_; }

  uint32_t offset(Place place) const;
  Place place(uint32_t offset) const;
  Range range(uint32_t begin, uint32_t end) const { return {place(begin), place(end)}; }

 private:
  std::string text_;
  std::vector<uint32_t> lines_;  ///< where they begin
};

/// A path of a `file:` URI; other URIs stay as they are.
std::string path_of(std::string_view uri);
std::string uri_of(std::string_view path);

}  // namespace kflow::lsp
