// HTML as a stream of texts and tags, without a tree; what is malformed is text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kflow::cel {

struct HtmlToken {
  enum class Kind { text, open, close } kind = Kind::text;
  std::string_view raw;  ///< as written, with the brackets of a tag
  std::string name;      ///< of a tag, in lower case
};

/// Gives the tokens of a text in order; comments and declarations are left out. Linear time.
class HtmlTokens {
 public:
  explicit HtmlTokens(std::string_view html) : in_(html) {}
  std::optional<HtmlToken> next();
  /// Goes past the end tag of an element whose start tag was just given; to the end if there is
  /// none.
  void skip_element(std::string_view name);
  size_t position() const { return pos_; }

 private:
  std::optional<HtmlToken> tag();

  std::string_view in_;
  size_t pos_ = 0;
};

/// The value of an attribute of a start tag with its references resolved; "" if it has none.
std::string html_attribute(std::string_view tag, std::string_view name);

/// The character that `&…;` at the start of `text` stands for; its length is put into `length`.
/// 0 if it is plain text.
char32_t html_reference(std::string_view text, size_t& length);

/// `text` with its references resolved.
std::string html_unescape(std::string_view text);

bool is_html_space(char c);

}  // namespace kflow::cel
