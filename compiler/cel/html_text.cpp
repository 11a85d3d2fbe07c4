// Tokens to lines of text; no tree is built.
#include "compiler/cel/html_text.hpp"

#include <algorithm>
#include <array>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/html_tokens.hpp"

namespace kflow::cel {
namespace {

using Names = std::string_view;

// Elements that begin and end a line.
constexpr auto block_elements = std::to_array<Names>(
    {"address",  "article",    "aside",  "blockquote", "br",   "dd",   "div", "dl", "dt",
     "fieldset", "figcaption", "figure", "footer",     "form", "h1",   "h2",  "h3", "h4",
     "h5",       "h6",         "header", "hr",         "li",   "main", "nav", "ol", "p",
     "pre",      "section",    "table",  "title",      "tr",   "ul"});
// Elements whose content is not for reading.
constexpr auto hidden_elements = std::to_array<Names>({"script", "style", "template"});

template <size_t N>
bool contains(const std::array<Names, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Writer {
 public:
  std::string run(std::string_view html) {
    HtmlTokens tokens(html);
    while (const auto token = tokens.next()) {
      if (token->kind == HtmlToken::Kind::text) {
        text(token->raw);
      } else if (contains(block_elements, token->name)) {
        line();
      } else if (token->name == "td" || token->name == "th") {
        space();
      } else if (token->kind == HtmlToken::Kind::open && contains(hidden_elements, token->name)) {
        tokens.skip_element(token->name);
      }
    }
    while (out_.ends_with(' ') || out_.ends_with('\n')) out_.pop_back();
    return std::move(out_);
  }

 private:
  void text(std::string_view raw) {
    for (size_t i = 0; i < raw.size();) {
      size_t length = 0;
      const char32_t value = raw[i] == '&' ? html_reference(raw.substr(i), length) : 0;
      if (value == U'\u00a0' || is_html_space(value == 0 ? raw[i] : ascii(value))) {
        space();
      } else if (value != 0) {
        append_utf8(out_, value);
      } else {
        out_.push_back(raw[i]);
      }
      i += value == 0 ? 1 : length;
    }
  }
  static char ascii(char32_t c) { return c < 128 ? static_cast<char>(c) : 'x'; }
  void space() {
    if (!out_.empty() && out_.back() != ' ' && out_.back() != '\n') out_.push_back(' ');
  }
  void line() {
    while (out_.ends_with(' ')) out_.pop_back();
    if (!out_.empty() && out_.back() != '\n') out_.push_back('\n');
  }

  std::string out_;
};

}  // namespace

std::string html_text(std::string_view html) { return Writer().run(html); }

}  // namespace kflow::cel
