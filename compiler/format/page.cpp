// Breaking into lines, from left to right: a group is held on one line if that fits.
#include "compiler/format/page.hpp"

#include <algorithm>

namespace kflow::format {
namespace {

constexpr size_t step = 2;

size_t characters(std::string_view t) {
  return static_cast<size_t>(std::count_if(
      t.begin(), t.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

Page::GroupId Page::begin_group(bool broken) {
  add(Kind::begin_group, {});
  commands_.back().broken = broken;
  return static_cast<GroupId>(commands_.size() - 1);
}

void Page::write(std::string_view t) {
  if (t.empty() || (line_start_ && t == " ")) return;
  if (line_start_) {
    column_ = depth_ * step;
    out_.append(column_, ' ');
    line_start_ = false;
  }
  out_ += t;
  column_ += characters(t);
}

void Page::end_line() {
  if (line_start_ && pending_.empty()) return;
  while (out_.ends_with(' ')) out_.pop_back();
  if (!pending_.empty()) {
    if (!out_.empty() && !out_.ends_with('\n')) out_ += ' ';
    out_ += pending_;
    pending_.clear();
  }
  out_ += '\n';
  line_start_ = true;
  column_ = 0;
}

void Page::new_group(uint32_t at) {
  Command& group = commands_[at];
  const size_t column = line_start_ ? depth_ * step : column_;
  if (!group.broken && (modes_.empty() || modes_.back()) && !fits(at, none, column)) {
    const size_t below = (depth_ + 1) * step;
    bool hug = group.inner != none;
    if (hug && group.only_if_it_fits) {
      // A value that does not fit on a line of its own either is broken itself, where it stands,
      // unless its beginning fits below only.
      hug = !fits(group.inner, none, below) &&
            (fits(at, group.inner, column) || !fits(group.inner, group.inner, below));
    } else if (hug) {
      hug = fits(at, group.inner, column);
    }
    if (hug) {
      commands_[group.inner].broken = true;
    } else {
      group.broken = true;
    }
  }
  modes_.push_back(group.broken);
}

bool Page::fits(uint32_t at, uint32_t opened, size_t column) const {
  std::vector<bool> modes = modes_;
  size_t inside = 0;  // groups open in the one that is asked about, itself included
  bool rest = false;  // past its end: groups there can be broken
  for (uint32_t i = at; i < commands_.size(); ++i) {
    const Command& c = commands_[i];
    switch (c.kind) {
      case Kind::text:
      case Kind::comma:
        column += characters(c.text);
        break;
      case Kind::if_broken:
      case Kind::comma_if_broken:
        if (!modes.empty() && modes.back()) column += characters(c.text);
        break;
      case Kind::line:
        if (modes.empty() || modes.back()) return true;
        column += characters(c.text);
        break;
      case Kind::begin_group:
        modes.push_back(c.broken || i >= opened || rest);
        if (!rest) ++inside;
        break;
      case Kind::end_group:
        if (modes.empty()) return true;
        modes.pop_back();
        if (!rest && --inside == 0) rest = true;
        break;
      case Kind::hard_line:
      case Kind::blank_line:
      case Kind::trailing_comment:
      case Kind::comment_line:
      case Kind::literal_line:
        return true;
      case Kind::indent:
      case Kind::dedent:
        break;
    }
    if (column > width_) return false;
  }
  return true;
}

std::string Page::print() {
  for (uint32_t i = 0; i < commands_.size(); ++i) {
    const Command& c = commands_[i];
    const bool broken = modes_.empty() || modes_.back();
    switch (c.kind) {
      case Kind::if_broken:
      case Kind::text:
        if (c.kind == Kind::if_broken && !broken) break;
        if (!pending_.empty()) end_line();
        write(c.text);
        break;
      case Kind::comma_if_broken:
      case Kind::comma:
        if (c.kind == Kind::comma || broken) write(c.text);
        break;
      case Kind::line:
        if (broken || !pending_.empty()) {
          end_line();
        } else {
          write(c.text);
        }
        break;
      case Kind::hard_line:
        end_line();
        break;
      case Kind::blank_line:
        end_line();
        if (!out_.empty() && !out_.ends_with("\n\n")) out_ += '\n';
        break;
      case Kind::trailing_comment:
        if (!pending_.empty()) end_line();
        if (line_start_) {
          write(c.text);
          end_line();
        } else {
          pending_ = c.text;
        }
        break;
      case Kind::comment_line:
        end_line();
        write(c.text);
        end_line();
        break;
      case Kind::literal_line:
        out_ += '\n';
        column_ = 0;
        if (!c.text.empty()) {
          column_ = c.broken ? (depth_ + 1) * step : 0;
          out_.append(column_, ' ');
          out_ += c.text;
          column_ += characters(c.text);
        }
        break;
      case Kind::begin_group:
        new_group(i);
        break;
      case Kind::end_group:
        modes_.pop_back();
        break;
      case Kind::indent:
        indents_.push_back(broken);
        if (broken) ++depth_;
        break;
      case Kind::dedent:
        if (indents_.back()) --depth_;
        indents_.pop_back();
        break;
    }
  }
  end_line();
  return std::move(out_);
}

}  // namespace kflow::format
