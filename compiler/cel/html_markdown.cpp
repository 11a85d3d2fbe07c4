// Tokens to Markdown; of nesting only what Markdown has is kept: quotes, lists, emphasis, links.
#include "compiler/cel/html_markdown.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/html_tokens.hpp"

namespace kflow::cel {
namespace {

using Names = std::string_view;

constexpr size_t max_nesting = 40;  // of lists and quotes, and of emphasis and links
constexpr size_t max_columns = 100;

// Paragraphs of their own.
constexpr auto blocks = std::to_array<Names>(
    {"address", "article", "blockquote", "dl",      "figure",  "figcaption", "header",
     "hgroup",  "main",    "p",          "section", "details", "summary",    "fieldset",
     "h1",      "h2",      "h3",         "h4",      "h5",      "h6"});
// Lines of their own.
constexpr auto lines = std::to_array<Names>({"div", "dt", "dd", "tr", "caption", "center"});
// What is not for reading.
constexpr auto hidden = std::to_array<Names>({"script", "style", "template", "noscript", "svg",
                                              "head", "nav", "footer", "aside", "form", "button",
                                              "select", "iframe", "canvas", "object", "textarea"});

template <size_t N>
bool contains(const std::array<Names, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Where the content lies, if the page says so.
std::string_view content_of(std::string_view html) {
  for (const std::string_view element : {"main", "article"}) {
    size_t begin = 0;
    size_t end = 0;
    size_t depth = 0;
    size_t count = 0;
    HtmlTokens tokens(html);
    while (const auto token = tokens.next()) {
      if (token->kind == HtmlToken::Kind::open &&
          (token->name == "script" || token->name == "style")) {
        tokens.skip_element(token->name);
      }
      if (token->name != element) continue;
      if (token->kind == HtmlToken::Kind::open) {
        if (depth++ == 0 && ++count == 1) begin = tokens.position();
      } else if (depth > 0 && --depth == 0 && count == 1) {
        end = tokens.position() - token->raw.size();
      }
    }
    // An empty one is filled by a script: then the page itself is all there is.
    if (count == 1 && end > begin && html.substr(begin, end - begin).find("<p") != Names::npos)
      return html.substr(begin, end - begin);
  }
  return html;
}

class Writer {
 public:
  Writer(std::string_view html, std::string_view base) : html_(html), base_(base), tokens_(html) {}

  std::string run() {
    while (const auto token = tokens_.next()) {
      switch (token->kind) {
        case HtmlToken::Kind::text:
          text(token->raw);
          break;
        case HtmlToken::Kind::open:
          open(*token);
          break;
        case HtmlToken::Kind::close:
          close(token->name);
          break;
      }
    }
    end_table();
    close_inlines();
    if (preformatted_) end_preformatted();
    while (!out_.empty() && is_html_space(out_.back())) out_.pop_back();
    return std::move(out_);
  }

 private:
  /// A quote, a list, or an item of one: what its lines begin with.
  struct Container {
    std::string name;
    std::string first;  ///< before its first line
    std::string rest;   ///< before all others
    int number = 0;     ///< of the last item of an ordered list
    bool begun = false;
  };
  /// Emphasis or a link; `written` once its beginning is.
  struct Inline {
    std::string name;
    std::string begin;
    std::string end;
    bool written = false;
  };

  // ---- writing

  std::string& target() { return in_cell_ ? cell_ : out_; }

  void prefix() {
    for (Container& c : containers_) {
      out_ += c.begun ? c.rest : c.first;
      c.begun = true;
    }
  }
  // Ends the line (1) or the paragraph (2) before the next text.
  void end(int newlines) {
    if (in_cell_) {
      space_ = true;
      return;
    }
    if (!started_) return;
    newlines_ = std::max(newlines_, newlines);
    space_ = false;
  }
  void flush() {
    if (in_cell_) {
      if (space_ && !cell_.empty()) cell_.push_back(' ');
    } else if (!started_) {
      started_ = true;
      prefix();
    } else if (newlines_ > 0) {
      out_.push_back('\n');
      if (newlines_ > 1) {
        std::string empty;
        for (const Container& c : containers_) {
          if (!c.begun) break;
          empty += c.rest;
        }
        while (empty.ends_with(' ')) empty.pop_back();
        out_ += empty + "\n";
      }
      prefix();
    } else if (space_ && !out_.ends_with(' ')) {
      out_.push_back(' ');
    }
    if (!in_cell_) newlines_ = 0;
    space_ = false;
    out_ += std::exchange(heading_, "");
    for (Inline& i : inlines_) {
      if (i.written) continue;
      target() += i.begin;
      i.written = true;
    }
  }

  void text(std::string_view raw) {
    if (table_ && !in_cell_) return;  // between the cells there is only white space
    for (size_t i = 0; i < raw.size();) {
      size_t length = 1;
      char32_t value = raw[i] == '&' ? html_reference(raw.substr(i), length) : 0;
      if (value == 0) length = 1;
      if (value == 0 && static_cast<unsigned char>(raw[i]) < 128)
        value = static_cast<unsigned char>(raw[i]);
      if (preformatted_) {
        verbatim(raw.substr(i, 1), value);
      } else if (value == U'\u00a0' ||
                 (value < 128 && value != 0 && is_html_space(static_cast<char>(value)))) {
        if (started_ || in_cell_) space_ = space_ || newlines_ == 0;
      } else {
        flush();
        if (in_cell_ && value == '|') target().push_back('\\');
        put(raw.substr(i, 1), value);
      }
      i += length;
    }
  }
  // A character, or a byte of one that is not ASCII.
  void put(std::string_view byte, char32_t value) {
    if (value == 0) {
      target() += byte;
    } else {
      append_utf8(target(), value);
    }
  }
  void verbatim(std::string_view byte, char32_t value) {
    if (value == '\r') return;
    if (value == '\n') {
      if (fenced_) ++newlines_;  // written when more follows
      return;
    }
    if (!fenced_) begin_fence();
    for (; newlines_ > 0; --newlines_) {
      out_.push_back('\n');
      prefix();
    }
    put(byte, value);
  }
  void begin_fence() {
    flush();
    out_ += "```" + language_;
    newlines_ = 1;
    fenced_ = true;
  }
  void end_preformatted() {
    if (fenced_) {
      out_.push_back('\n');
      prefix();
      out_ += "```";
    }
    preformatted_ = fenced_ = false;
    newlines_ = 0;
    end(2);
  }

  // ---- elements

  void open(const HtmlToken& token) {
    const std::string& name = token.name;
    if (contains(hidden, name)) {
      skip(name);
    } else if (preformatted_) {
      if (name == "br") verbatim("\n", '\n');
      if (name == "code" && !fenced_ && language_.empty()) language_ = language(token.raw);
    } else if (name == "br") {
      end(1);
    } else if (name == "hr") {
      rule();
    } else if (name == "img") {
      image(token.raw);
    } else if (name == "pre" && !in_cell_) {
      boundary(2);
      preformatted_ = true;
      language_ = language(token.raw);
    } else if (name == "table") {
      boundary(2);
      if (!table_ && is_data()) table_ = true;
    } else if (name == "tr" && table_) {
      end_cell();
      rows_.emplace_back();
    } else if ((name == "td" || name == "th") && table_) {
      end_cell();
      in_cell_ = true;
    } else if (name == "td" || name == "th") {
      space_ = started_;
    } else if (name == "ul" || name == "ol" || name == "blockquote" || name == "li") {
      open_container(name);
    } else if (contains(blocks, name)) {
      boundary(2);
      if (name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6' && !in_cell_)
        heading_ = std::string(static_cast<size_t>(name[1] - '0'), '#') + " ";
    } else if (contains(lines, name)) {
      boundary(1);
    } else {
      open_inline(token);
    }
  }

  void close(const std::string& name) {
    if (preformatted_) {
      if (name == "pre") end_preformatted();
    } else if (name == "table") {
      end_table();
      boundary(2);
    } else if (table_ && (name == "td" || name == "th" || name == "tr")) {
      end_cell();
    } else if (name == "ul" || name == "ol" || name == "blockquote" || name == "li") {
      close_container(name);
    } else if (contains(blocks, name)) {
      boundary(2);
    } else if (contains(lines, name)) {
      boundary(1);
    } else {
      close_inline(name);
    }
  }

  // Past an element that is not for reading, whatever nests in it.
  void skip(const std::string& name) {
    if (name == "script" || name == "style") return tokens_.skip_element(name);
    size_t depth = 1;
    while (depth > 0) {
      const auto token = tokens_.next();
      if (!token) return;
      const bool opens = token->kind == HtmlToken::Kind::open;
      if (opens && (token->name == "script" || token->name == "style"))
        tokens_.skip_element(token->name);
      // A page without `</head>` still has a body.
      if (name == "head" && token->name == "body") return;
      if (token->name != name || token->kind == HtmlToken::Kind::text) continue;
      if (opens) {
        if (!token->raw.ends_with("/>")) ++depth;
      } else {
        --depth;
      }
    }
  }

  // A block begins or ends: emphasis and links do not reach across.
  void boundary(int newlines) {
    close_inlines();
    heading_.clear();
    end(newlines);
  }
  void close_inlines() {
    for (size_t i = inlines_.size(); i-- > 0;) {
      if (inlines_[i].written) target() += inlines_[i].end;
    }
    std::erase_if(inlines_, [](const Inline& i) { return i.written; });
  }

  void rule() {
    boundary(2);
    if (!started_ || in_cell_) return;
    flush();
    out_ += "---";
    end(2);
  }

  void image(std::string_view tag) {
    const std::string description = html_attribute(tag, "alt");
    const std::string source = resolve_url(base_, html_attribute(tag, "src"));
    if (description.empty() || source.empty() || source.starts_with("data:")) return;
    if (table_ && !in_cell_) return;
    flush();
    target() += "![";
    for (const char c : description) target().push_back(is_html_space(c) ? ' ' : c);
    target() += "](" + source + ")";
  }

  static std::string language(std::string_view tag) {
    const std::string classes = html_attribute(tag, "class");
    for (const std::string_view mark : {"language-", "lang-"}) {
      const size_t at = classes.find(mark);
      if (at == std::string::npos) continue;
      const std::string word = classes.substr(at + mark.size());
      return word.substr(0, word.find_first_of(" \t\n`"));
    }
    return "";
  }

  void open_container(const std::string& name) {
    boundary(name == "li" ? 1 : nested_list() ? 1 : 2);
    if (in_cell_ || containers_.size() >= max_nesting) return;
    Container c{.name = name, .first = "", .rest = ""};
    if (name == "blockquote") {
      c.first = c.rest = "> ";
    } else if (name == "li") {
      while (!containers_.empty() && containers_.back().name == "li") containers_.pop_back();
      c.first = "- ";
      if (!containers_.empty() && containers_.back().name == "ol")
        c.first = std::to_string(++containers_.back().number) + ". ";
      c.rest = std::string(c.first.size(), ' ');
    }
    containers_.push_back(std::move(c));
  }
  bool nested_list() const {
    return std::any_of(containers_.begin(), containers_.end(),
                       [](const Container& c) { return c.name == "li"; });
  }
  void close_container(const std::string& name) {
    boundary(name == "li" ? 1 : 2);
    const auto it = std::find_if(containers_.rbegin(), containers_.rend(),
                                 [&](const Container& c) { return c.name == name; });
    if (it == containers_.rend()) return;
    // An item does not end outside its list.
    if (name == "li" && std::any_of(containers_.rbegin(), it, [](const Container& c) {
          return c.name == "ul" || c.name == "ol";
        }))
      return;
    containers_.erase(it.base() - 1, containers_.end());
    if (name != "li" && name != "blockquote" && nested_list()) newlines_ = std::min(newlines_, 1);
  }

  void open_inline(const HtmlToken& token) {
    if (inlines_.size() >= max_nesting || (table_ && !in_cell_)) return;
    const std::string& name = token.name;
    Inline i{.name = name, .begin = "", .end = ""};
    if (name == "b" || name == "strong") {
      i.begin = i.end = "**";
    } else if (name == "i" || name == "em") {
      i.begin = i.end = "*";
    } else if (name == "code" || name == "kbd" || name == "samp" || name == "tt") {
      i.begin = i.end = "`";
    } else if (name == "del" || name == "s") {
      i.begin = i.end = "~~";
    } else if (name == "a") {
      close_inline("a");
      const std::string to = resolve_url(base_, html_attribute(token.raw, "href"));
      if (to.empty()) return;
      i.begin = "[";
      i.end = "](" + to + ")";
    } else {
      return;
    }
    // Twice the same has no meaning in Markdown.
    if (std::any_of(inlines_.begin(), inlines_.end(),
                    [&](const Inline& x) { return x.begin == i.begin; }))
      return;
    inlines_.push_back(std::move(i));
  }
  void close_inline(std::string_view name) {
    const auto it = std::find_if(inlines_.rbegin(), inlines_.rend(),
                                 [&](const Inline& i) { return i.name == name; });
    if (it == inlines_.rend()) return;
    // Those inside it that were never closed end with it.
    const auto first = it.base() - 1;
    for (auto i = inlines_.end(); i-- != first;) {
      if (i->written) target() += i->end;
    }
    inlines_.erase(first, inlines_.end());
  }

  // ---- tables

  // A table with another one inside is there for the page's layout.
  bool is_data() {
    const size_t at = tokens_.position();
    if (next_end_ < at) next_end_ = find("</table", at);
    if (next_begin_ < at) next_begin_ = find("<table", at);
    return next_end_ != Names::npos && next_end_ < next_begin_;
  }
  size_t find(std::string_view what, size_t from) const {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    const auto it =
        std::search(html_.begin() + static_cast<std::ptrdiff_t>(from), html_.end(), what.begin(),
                    what.end(), [&](char a, char b) { return lower(a) == b; });
    return it == html_.end() ? Names::npos : static_cast<size_t>(it - html_.begin());
  }
  void end_cell() {
    if (!in_cell_) return;
    close_inlines();
    inlines_.clear();
    in_cell_ = false;
    space_ = false;
    if (rows_.empty()) rows_.emplace_back();
    if (rows_.back().size() < max_columns) rows_.back().push_back(std::move(cell_));
    cell_.clear();
  }
  void end_table() {
    if (!table_) return;
    end_cell();
    table_ = false;
    std::erase_if(rows_, [](const auto& row) { return row.empty(); });
    size_t columns = 0;
    for (const auto& row : rows_) columns = std::max(columns, row.size());
    for (size_t r = 0; r < rows_.size(); ++r) {
      rows_[r].resize(columns);
      write_row(rows_[r], columns);
      if (r == 0 && columns > 1) write_row(std::vector<std::string>(columns, "---"), columns);
    }
    rows_.clear();
  }
  void write_row(const std::vector<std::string>& row, size_t columns) {
    flush();
    if (columns == 1) {
      out_ += row[0];
    } else {
      out_ += "|";
      for (const std::string& value : row) out_ += " " + value + " |";
    }
    end(1);
  }

  std::string_view html_;
  std::string_view base_;
  HtmlTokens tokens_;
  std::string out_;
  std::vector<Container> containers_;
  std::vector<Inline> inlines_;
  std::string heading_;
  std::string language_;
  std::vector<std::vector<std::string>> rows_;
  std::string cell_;
  size_t next_end_ = 0;
  size_t next_begin_ = 0;
  int newlines_ = 0;
  bool space_ = false;
  bool started_ = false;
  bool preformatted_ = false;
  bool fenced_ = false;
  bool table_ = false;
  bool in_cell_ = false;
};

// RFC 3986 §5.2.4.
std::string without_dots(std::string_view path) {
  std::vector<std::string_view> parts;
  bool folder = false;
  for (size_t at = 1; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    folder = part == "." || part == "..";
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!folder) parts.push_back(part);
    at = slash + 1;
  }
  std::string out;
  for (const std::string_view part : parts) out.append("/").append(part);
  return folder || out.empty() ? out + "/" : out;
}

}  // namespace

std::string resolve_url(std::string_view base, std::string_view link) {
  while (!link.empty() && is_html_space(link.front())) link.remove_prefix(1);
  while (!link.empty() && is_html_space(link.back())) link.remove_suffix(1);
  if (link.empty() || link.front() == '#') return "";
  std::string clean;
  for (const char c : link) {
    if (c == ' ') {
      clean += "%20";
    } else if (c == '(' || c == ')') {
      clean += c == '(' ? "%28" : "%29";
    } else if (!is_html_space(c)) {
      clean.push_back(c);
    }
  }
  const size_t colon = clean.find(':');
  if (colon != std::string::npos && colon < clean.find_first_of("/?#")) {
    std::string scheme = clean.substr(0, colon);
    for (char& c : scheme) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    const bool leads = scheme == "http" || scheme == "https" || scheme == "mailto" ||
                       scheme == "ftp" || scheme == "tel";
    return leads ? clean : "";
  }
  const size_t scheme = base.find("://");
  if (scheme == std::string_view::npos) return clean;
  if (clean.starts_with("//")) return std::string(base.substr(0, scheme + 1)) + clean;
  base = base.substr(0, base.find_first_of("?#"));
  const size_t path = std::min(base.find('/', scheme + 3), base.size());
  const std::string origin(base.substr(0, path));
  if (clean.front() == '?')
    return origin + (path == base.size() ? "/" : std::string(base.substr(path))) + clean;
  const size_t tail = std::min(clean.find_first_of("?#"), clean.size());
  std::string whole = clean.substr(0, tail);
  if (whole.front() != '/') {
    const std::string_view folder =
        base.substr(path, base.rfind('/') + 1 - std::min(path, base.rfind('/') + 1));
    whole = (path == base.size() ? "/" : std::string(folder)) + whole;
  }
  return origin + without_dots(whole) + clean.substr(tail);
}

std::string html_markdown(std::string_view html, std::string_view base) {
  return Writer(content_of(html), base).run();
}

}  // namespace kflow::cel
