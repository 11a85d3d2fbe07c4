// A scanner of tags and character references; no tree is built.
#include "compiler/cel/html_text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "compiler/base/utf8.hpp"

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

struct Reference {
  std::string_view name;
  char32_t value;
};
constexpr auto references = std::to_array<Reference>(
    {{"amp", U'&'},    {"lt", U'<'},     {"gt", U'>'},     {"quot", U'"'},   {"apos", U'\''},
     {"nbsp", U' '},   {"copy", U'©'},   {"reg", U'®'},    {"trade", U'™'},  {"hellip", U'…'},
     {"mdash", U'—'},  {"ndash", U'–'},  {"lsquo", U'‘'},  {"rsquo", U'’'},  {"ldquo", U'“'},
     {"rdquo", U'”'},  {"laquo", U'«'},  {"raquo", U'»'},  {"bull", U'•'},   {"middot", U'·'},
     {"sect", U'§'},   {"para", U'¶'},   {"deg", U'°'},    {"plusmn", U'±'}, {"times", U'×'},
     {"divide", U'÷'}, {"frac12", U'½'}, {"frac14", U'¼'}, {"euro", U'€'},   {"pound", U'£'},
     {"yen", U'¥'},    {"cent", U'¢'},   {"larr", U'←'},   {"rarr", U'→'},   {"uarr", U'↑'},
     {"darr", U'↓'},   {"auml", U'ä'},   {"ouml", U'ö'},   {"uuml", U'ü'},   {"Auml", U'Ä'},
     {"Ouml", U'Ö'},   {"Uuml", U'Ü'},   {"szlig", U'ß'},  {"eacute", U'é'}, {"egrave", U'è'},
     {"ecirc", U'ê'},  {"agrave", U'à'}, {"acirc", U'â'},  {"ccedil", U'ç'}, {"ntilde", U'ñ'},
     {"oacute", U'ó'}, {"aacute", U'á'}, {"iacute", U'í'}, {"uacute", U'ú'}});

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }

template <size_t N>
bool contains(const std::array<Names, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Scanner {
 public:
  explicit Scanner(std::string_view html) : in_(html) {}

  std::string run() {
    while (pos_ < in_.size()) {
      const char c = in_[pos_];
      if (c == '<' && markup()) continue;
      if (c == '&' && reference()) continue;
      if (is_space(c)) {
        space();
      } else {
        out_.push_back(c);
      }
      ++pos_;
    }
    trim_end();
    return std::move(out_);
  }

 private:
  void space() {
    if (!out_.empty() && out_.back() != ' ' && out_.back() != '\n') out_.push_back(' ');
  }
  void line() {
    trim_spaces();
    if (!out_.empty() && out_.back() != '\n') out_.push_back('\n');
  }
  void trim_spaces() {
    while (out_.ends_with(' ')) out_.pop_back();
  }
  void trim_end() {
    while (out_.ends_with(' ') || out_.ends_with('\n')) out_.pop_back();
  }

  // A tag, comment or declaration at `pos_`; false if the `<` is text.
  bool markup() {
    const std::string_view rest = in_.substr(pos_);
    if (rest.starts_with("<!--")) return skip_past(rest.find("-->", 4), 3);
    if (rest.starts_with("<!") || rest.starts_with("<?")) return skip_past(rest.find('>'), 1);
    const bool closing = rest.starts_with("</");
    size_t at = closing ? 2 : 1;
    std::string name;
    for (; at < rest.size() && (is_letter(rest[at]) || is_digit(rest[at])) && name.size() < 12;
         ++at)
      name.push_back(lower(rest[at]));
    if (name.empty() || !is_letter(name.front())) return false;
    skip_past(tag_end(rest, at), 1);
    if (contains(block_elements, name)) {
      line();
    } else if (name == "td" || name == "th") {
      space();
    } else if (!closing && contains(hidden_elements, name)) {
      skip_element(name);
    }
    return true;
  }

  bool skip_past(size_t end, size_t length) {
    pos_ = end == std::string_view::npos ? in_.size() : pos_ + end + length;
    return true;
  }
  // The `>` that ends a tag; one inside a quoted attribute does not.
  static size_t tag_end(std::string_view tag, size_t from) {
    char quote = '\0';
    for (size_t i = from; i < tag.size(); ++i) {
      if (quote != '\0') {
        if (tag[i] == quote) quote = '\0';
      } else if ((tag[i] == '"' || tag[i] == '\'') && tag[i - 1] == '=') {
        quote = tag[i];
      } else if (tag[i] == '>') {
        return i;
      }
    }
    return std::string_view::npos;
  }
  // Up to and including the closing tag of the element whose opening tag was just passed.
  void skip_element(const std::string& name) {
    for (;;) {
      const size_t close = in_.find("</", pos_);
      if (close == std::string_view::npos) {
        pos_ = in_.size();
        return;
      }
      pos_ = close + 2;
      const std::string_view found = in_.substr(pos_, name.size());
      if (!std::equal(found.begin(), found.end(), name.begin(), name.end(),
                      [](char a, char b) { return lower(a) == b; }))
        continue;
      const size_t end = in_.find('>', pos_);
      pos_ = end == std::string_view::npos ? in_.size() : end + 1;
      return;
    }
  }

  // `&name;`, `&#123;` or `&#x1f;` at `pos_`; false if the `&` is text.
  bool reference() {
    constexpr size_t longest = 12;
    const std::string_view rest = in_.substr(pos_, longest);
    const size_t end = rest.find(';');
    if (end == std::string_view::npos || end < 2) return false;
    const std::string_view name = rest.substr(1, end - 1);
    char32_t value = 0;
    if (name.front() == '#') {
      value = number(name.substr(1));
    } else {
      for (const Reference& r : references) {
        if (r.name == name) value = r.value;
      }
    }
    if (value == 0) return false;
    if (value == U'\u00a0' || (value < 128 && is_space(static_cast<char>(value)))) {
      space();
    } else {
      append_utf8(out_, value);
    }
    pos_ += end + 1;
    return true;
  }
  // 0 if it is no number or no character.
  static char32_t number(std::string_view digits) {
    const bool hex = digits.starts_with('x') || digits.starts_with('X');
    if (hex) digits.remove_prefix(1);
    if (digits.empty()) return 0;
    uint32_t value = 0;
    for (const char c : digits) {
      const char l = lower(c);
      if (!is_digit(c) && !(hex && l >= 'a' && l <= 'f')) return 0;
      value = value * (hex ? 16 : 10) + static_cast<uint32_t>(is_digit(c) ? c - '0' : l - 'a' + 10);
      if (value > 0x10ffff) return 0;
    }
    const bool control = value < 0x20 && value != '\n' && value != '\t' && value != '\r';
    if (control || (value >= 0xd800 && value <= 0xdfff)) return 0;
    return value;
  }

  std::string_view in_;
  size_t pos_ = 0;
  std::string out_;
};

}  // namespace

std::string html_text(std::string_view html) { return Scanner(html).run(); }

}  // namespace kflow::cel
