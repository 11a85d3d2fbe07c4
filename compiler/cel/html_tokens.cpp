// Tags, attributes and character references.
#include "compiler/cel/html_tokens.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "compiler/base/utf8.hpp"

namespace kflow::cel {
namespace {

constexpr size_t longest_name = 16;

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

bool equal_ignoring_case(std::string_view text, std::string_view lower_case) {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return lower(a) == b; });
}

// 0 if it is no number or no character.
char32_t numbered(std::string_view digits) {
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

// The `>` that ends a tag; one inside a quoted attribute does not.
size_t tag_end(std::string_view tag, size_t from) {
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

}  // namespace

bool is_html_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }

char32_t html_reference(std::string_view text, size_t& length) {
  constexpr size_t longest = 12;
  const std::string_view rest = text.substr(0, longest);
  const size_t end = rest.find(';');
  if (!rest.starts_with('&') || end == std::string_view::npos || end < 2) return 0;
  const std::string_view name = rest.substr(1, end - 1);
  length = end + 1;
  if (name.front() == '#') return numbered(name.substr(1));
  const auto known = std::find_if(references.begin(), references.end(),
                                  [&](const Reference& r) { return r.name == name; });
  return known == references.end() ? 0 : known->value;
}

std::string html_unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t length = 0;
    const char32_t value = text[i] == '&' ? html_reference(text.substr(i), length) : 0;
    if (value == 0) {
      out.push_back(text[i++]);
    } else {
      append_utf8(out, value);
      i += length;
    }
  }
  return out;
}

std::string html_attribute(std::string_view tag, std::string_view name) {
  if (tag.ends_with('>')) tag.remove_suffix(1);
  if (tag.ends_with('/')) tag.remove_suffix(1);
  size_t at = 1;
  while (at < tag.size() && !is_html_space(tag[at])) ++at;  // past the element's name
  while (at < tag.size()) {
    while (at < tag.size() && (is_html_space(tag[at]) || tag[at] == '/')) ++at;
    const size_t begin = at;
    while (at < tag.size() && tag[at] != '=' && !is_html_space(tag[at])) ++at;
    const std::string_view found = tag.substr(begin, at - begin);
    while (at < tag.size() && is_html_space(tag[at])) ++at;
    std::string_view value;
    if (at < tag.size() && tag[at] == '=') {
      ++at;
      while (at < tag.size() && is_html_space(tag[at])) ++at;
      const char quote = at < tag.size() && (tag[at] == '"' || tag[at] == '\'') ? tag[at] : '\0';
      size_t end = at;
      if (quote != '\0') {
        end = std::min(tag.find(quote, ++at), tag.size());
      } else {
        while (end < tag.size() && !is_html_space(tag[end])) ++end;
      }
      value = tag.substr(at, end - at);
      at = std::min(end + (quote != '\0' ? 1 : 0), tag.size());
    }
    if (equal_ignoring_case(found, name)) return html_unescape(value);
    if (at == begin) ++at;
  }
  return "";
}

std::optional<HtmlToken> HtmlTokens::next() {
  while (pos_ < in_.size()) {
    const std::string_view rest = in_.substr(pos_);
    if (rest.front() == '<') {
      if (rest.starts_with("<!") || rest.starts_with("<?")) {
        const bool comment = rest.starts_with("<!--");
        const size_t end = comment ? rest.find("-->", 4) : rest.find('>');
        pos_ = end == std::string_view::npos ? in_.size() : pos_ + end + (comment ? 3 : 1);
        continue;
      }
      if (auto found = tag()) return found;
    }
    // Up to the next `<`, the one here (which is text) included.
    const size_t end = std::min(in_.find('<', pos_ + 1), in_.size());
    HtmlToken out{.raw = in_.substr(pos_, end - pos_), .name = ""};
    pos_ = end;
    return out;
  }
  return std::nullopt;
}

std::optional<HtmlToken> HtmlTokens::tag() {
  const std::string_view rest = in_.substr(pos_);
  const bool closing = rest.starts_with("</");
  size_t at = closing ? 2 : 1;
  HtmlToken out{.kind = closing ? HtmlToken::Kind::close : HtmlToken::Kind::open, .raw = {}};
  for (; at < rest.size() && (is_letter(rest[at]) || is_digit(rest[at]) || rest[at] == '-') &&
         out.name.size() < longest_name;
       ++at)
    out.name.push_back(lower(rest[at]));
  if (out.name.empty() || !is_letter(out.name.front())) return std::nullopt;
  const size_t end = tag_end(rest, at);
  out.raw = end == std::string_view::npos ? rest : rest.substr(0, end + 1);
  pos_ += out.raw.size();
  return out;
}

void HtmlTokens::skip_element(std::string_view name) {
  for (;;) {
    const size_t close = in_.find("</", pos_);
    if (close == std::string_view::npos) {
      pos_ = in_.size();
      return;
    }
    pos_ = close + 2;
    if (!equal_ignoring_case(in_.substr(pos_, name.size()), name)) continue;
    const size_t end = in_.find('>', pos_);
    pos_ = end == std::string_view::npos ? in_.size() : end + 1;
    return;
  }
}

}  // namespace kflow::cel
