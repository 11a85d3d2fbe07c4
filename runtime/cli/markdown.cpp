// Blocks and spans as md4c reports them, written with ANSI escapes.
#include "runtime/cli/markdown.hpp"

#include <fmt/format.h>
#include <md4c.h>

#include <algorithm>
#include <vector>

namespace kflow::cli {
namespace {

constexpr const char* reset = "\x1b[0m";
constexpr const char* bold = "\x1b[1m";
constexpr const char* dim = "\x1b[2m";
constexpr const char* italic = "\x1b[3m";
constexpr const char* underlined = "\x1b[4m";
constexpr const char* struck = "\x1b[9m";
constexpr const char* cyan = "\x1b[36m";

// Columns that a text takes: code points, without escapes.
size_t columns(std::string_view text) {
  size_t out = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = std::min(text.find('m', i), text.size());
    } else {
      out += (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
    }
  }
  return out;
}

class Renderer {
 public:
  int enter_block(MD_BLOCKTYPE type, void* detail) {
    switch (type) {
      case MD_BLOCK_QUOTE:
        separate();
        indents_.push_back(fmt::format("{}│{} ", dim, reset));
        break;
      case MD_BLOCK_UL:
      case MD_BLOCK_OL:
        if (lists_.empty()) separate();
        lists_.push_back(type == MD_BLOCK_OL ? static_cast<MD_BLOCK_OL_DETAIL*>(detail)->start : 0);
        ordered_.push_back(type == MD_BLOCK_OL);
        break;
      case MD_BLOCK_LI:
        begin_item(*static_cast<MD_BLOCK_LI_DETAIL*>(detail));
        break;
      case MD_BLOCK_HR:
        separate();
        start_line();
        out_ += fmt::format("{}────────────────────{}", dim, reset);
        break;
      case MD_BLOCK_H:
        separate();
        start_line();
        push(static_cast<MD_BLOCK_H_DETAIL*>(detail)->level == 1 ? "\x1b[1;4m" : bold);
        break;
      case MD_BLOCK_CODE:
        separate();
        code_ = true;
        break;
      case MD_BLOCK_P:
        if (!item_begun_) separate();
        start_line();
        break;
      case MD_BLOCK_TABLE:
        separate();
        rows_.clear();
        break;
      case MD_BLOCK_TR:
        rows_.emplace_back();
        break;
      case MD_BLOCK_TH:
      case MD_BLOCK_TD:
        outer_.swap(out_);
        out_.clear();
        break;
      default:
        break;
    }
    return 0;
  }

  int leave_block(MD_BLOCKTYPE type) {
    switch (type) {
      case MD_BLOCK_QUOTE:
        indents_.pop_back();
        break;
      case MD_BLOCK_UL:
      case MD_BLOCK_OL:
        lists_.pop_back();
        ordered_.pop_back();
        break;
      case MD_BLOCK_LI:
        indents_.pop_back();
        item_begun_ = false;
        break;
      case MD_BLOCK_H:
        pop();
        break;
      case MD_BLOCK_CODE:
        while (out_.ends_with('\n')) out_.pop_back();
        code_ = false;
        break;
      case MD_BLOCK_TH:
      case MD_BLOCK_TD:
        rows_.back().push_back(std::move(out_));
        out_.clear();
        outer_.swap(out_);
        break;
      case MD_BLOCK_TABLE:
        write_table();
        break;
      default:
        break;
    }
    return 0;
  }

  int enter_span(MD_SPANTYPE type, void* detail) {
    switch (type) {
      case MD_SPAN_EM:
        push(italic);
        break;
      case MD_SPAN_STRONG:
        push(bold);
        break;
      case MD_SPAN_CODE:
        push(cyan);
        break;
      case MD_SPAN_DEL:
        push(struck);
        break;
      case MD_SPAN_A: {
        const MD_ATTRIBUTE& href = static_cast<MD_SPAN_A_DETAIL*>(detail)->href;
        link_ = printable({href.text, href.size});
        link_begin_ = out_.size();
        push(underlined);
        break;
      }
      default:
        break;
    }
    return 0;
  }

  int leave_span(MD_SPANTYPE type) {
    if (type == MD_SPAN_EM || type == MD_SPAN_STRONG || type == MD_SPAN_CODE ||
        type == MD_SPAN_DEL || type == MD_SPAN_A)
      pop();
    // Where a link leads is said, unless its text says it already.
    if (type == MD_SPAN_A && out_.find(link_, link_begin_) == std::string::npos)
      out_ += fmt::format(" {}({}){}", dim, link_, reset) + styles();
    return 0;
  }

  int text(MD_TEXTTYPE type, std::string_view text) {
    if (type == MD_TEXT_NULLCHAR) return 0;
    if (type == MD_TEXT_BR || type == MD_TEXT_SOFTBR) {
      start_line();
      return 0;
    }
    item_begun_ = false;
    if (!code_) {
      out_ += printable(text);
      return 0;
    }
    for (const char c : printable(text)) {
      if (out_.empty() || out_.back() == '\n') out_ += prefix() + "    ";
      out_ += c;
    }
    return 0;
  }

  std::string take() {
    if (!out_.empty() && out_.back() != '\n') out_ += '\n';
    return std::move(out_);
  }

 private:
  // A blank line between blocks, none at the beginning.
  void separate() {
    if (out_.empty()) return;
    if (out_.back() != '\n') out_ += '\n';
    if (!out_.ends_with("\n\n") && !item_begun_) out_ += prefix() + "\n";
  }
  std::string prefix() const {
    std::string out;
    for (const std::string& indent : indents_) out += indent;
    return out;
  }
  void start_line() {
    if (item_begun_) return;  // behind the bullet
    if (!out_.empty() && out_.back() != '\n') out_ += '\n';
    out_ += prefix() + styles();
  }
  void begin_item(const MD_BLOCK_LI_DETAIL& item) {
    if (!out_.empty() && out_.back() != '\n') out_ += '\n';
    std::string mark = ordered_.back() ? fmt::format("{}. ", lists_.back()++) : "• ";
    if (item.is_task) mark = item.task_mark == ' ' ? "☐ " : "☑ ";
    out_ += prefix() + mark;
    indents_.push_back(std::string(columns(mark), ' '));
    item_begun_ = true;
  }
  void push(const char* style) {
    styles_.push_back(style);
    out_ += style;
  }
  void pop() {
    styles_.pop_back();
    out_ += reset + styles();
  }
  std::string styles() const {
    std::string out;
    for (const char* style : styles_) out += style;
    return out;
  }
  void write_table() {
    std::vector<size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
    }
    for (size_t r = 0; r < rows_.size(); ++r) {
      start_line();
      for (size_t i = 0; i < rows_[r].size(); ++i) {
        const std::string& cell = rows_[r][i];
        out_ += (i > 0 ? "  " : "") + (r == 0 ? bold + cell + reset : cell) +
                std::string(widths[i] - columns(cell), ' ');
      }
      while (out_.ends_with(' ')) out_.pop_back();
    }
  }

  std::string out_;
  std::string outer_;  // while a cell of a table is written
  std::vector<std::string> indents_;
  std::vector<unsigned> lists_;  // next numbers
  std::vector<bool> ordered_;
  std::vector<const char*> styles_;
  std::vector<std::vector<std::string>> rows_;
  std::string link_;
  size_t link_begin_ = 0;
  bool code_ = false;
  bool item_begun_ = false;  // nothing stands behind its bullet yet
};

Renderer& self(void* user) { return *static_cast<Renderer*>(user); }

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u >= 0x20 && u != 0x7f) out += c;
    if (c == '\n' || c == '\t') out += c;
  }
  return out;
}

std::string render_markdown(std::string_view text) {
  Renderer renderer;
  const MD_PARSER parser{
      .abi_version = 0,
      .flags = MD_DIALECT_GITHUB | MD_FLAG_NOHTML,
      .enter_block = [](MD_BLOCKTYPE t, void* d, void* u) { return self(u).enter_block(t, d); },
      .leave_block = [](MD_BLOCKTYPE t, void*, void* u) { return self(u).leave_block(t); },
      .enter_span = [](MD_SPANTYPE t, void* d, void* u) { return self(u).enter_span(t, d); },
      .leave_span = [](MD_SPANTYPE t, void*, void* u) { return self(u).leave_span(t); },
      .text = [](MD_TEXTTYPE t, const MD_CHAR* s, MD_SIZE n,
                 void* u) { return self(u).text(t, {s, n}); },
      .debug_log = nullptr,
      .syntax = nullptr};
  if (text.size() > UINT32_MAX ||
      md_parse(text.data(), static_cast<MD_SIZE>(text.size()), &parser, &renderer) != 0)
    return printable(text) + "\n";
  return renderer.take();
}

}  // namespace kflow::cli
