// Page: what a file says as a stream of words, possible line ends and groups, and how it is broken
// into lines.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace kflow::format {

/// Longest line that is not broken where it can be, in characters.
inline constexpr size_t page_width = 100;

/// Built in order of the text, printed once. A group is either on one line as a whole (its `line`s
/// are spaces or nothing) or broken at each `line` that stands directly in it. Texts that are given
/// must outlive the page. One thread.
class Page {
 public:
  using GroupId = uint32_t;

  explicit Page(size_t width = page_width) : width_(width) {}

  void text(std::string_view t) { add(Kind::text, t); }
  void owned_text(std::string t) { add(Kind::text, keep(std::move(t))); }
  void comma() { add(Kind::comma, ","); }
  /// Written only when the group is broken.
  void if_broken(std::string_view t) { add(Kind::if_broken, t); }
  void comma_if_broken() { add(Kind::comma_if_broken, ","); }
  /// A line end when the group is broken, else `flat`.
  void line(std::string_view flat = " ") { add(Kind::line, flat); }
  /// A line end always; it breaks no group.
  void hard_line() { add(Kind::hard_line, {}); }
  /// An empty line, unless there is one already.
  void blank_line() { add(Kind::blank_line, {}); }
  /// A comment behind what stands on the line; the line ends with it.
  void trailing_comment(std::string_view t) { add(Kind::trailing_comment, t); }
  /// A comment with a line of its own.
  void comment_line(std::string_view t) { add(Kind::comment_line, t); }
  /// A further line of a text literal: a line end, the indentation unless it is empty, the text as
  /// it is. The indentation is that of the surrounding lines and one step more; of one that is not
  /// `indented` there is none.
  void literal_line(std::string t, bool indented) {
    add(Kind::literal_line, keep(std::move(t)));
    commands_.back().broken = indented;
  }

  GroupId begin_group(bool broken);
  void end_group(GroupId id) {
    add(Kind::end_group, {});
    last_group_ = id;
  }
  /// If `outer` does not fit, it may stay as it is with only `last`, its last part, broken.
  void may_hug(GroupId outer, GroupId last) { commands_[outer].inner = last; }
  /// If `outer` does not fit, it is broken only where `value`, which follows its line end, then
  /// fits on one line; else `value` is broken.
  void break_only_for(GroupId outer, GroupId value) {
    commands_[outer].inner = value;
    commands_[outer].only_if_it_fits = true;
  }
  GroupId last_group() const { return last_group_; }  ///< the one that was ended last
  /// What stands between is one step deeper, if the group is broken.
  void indent() { add(Kind::indent, {}); }
  void dedent() { add(Kind::dedent, {}); }

  std::string print();

 private:
  enum class Kind : uint8_t {
    text,
    comma,
    if_broken,
    comma_if_broken,
    line,
    hard_line,
    blank_line,
    trailing_comment,
    comment_line,
    literal_line,
    begin_group,
    end_group,
    indent,
    dedent,
  };
  static constexpr uint32_t none = UINT32_MAX;
  struct Command {
    Kind kind = Kind::text;
    bool broken = false;           // of begin_group; of literal_line: indented
    bool only_if_it_fits = false;  // of begin_group
    uint32_t inner = none;         // of begin_group
    std::string_view text;
  };
  void add(Kind kind, std::string_view t) { commands_.push_back({kind, false, false, none, t}); }
  std::string_view keep(std::string t) { return kept_.emplace_back(std::move(t)); }

  void write(std::string_view t);
  void end_line();
  void new_group(uint32_t at);
  /// Whether what comes from `at` on, a group that is held on one line, ends or can be broken
  /// before the page's width is reached. `opened`: a group in it that is taken as broken, with
  /// those inside.
  bool fits(uint32_t at, uint32_t opened, size_t column) const;

  size_t width_;
  std::vector<Command> commands_;
  GroupId last_group_ = none;
  std::deque<std::string> kept_;
  // of printing
  std::string out_;
  std::string pending_;        // the comment that ends the line
  std::vector<bool> modes_;    // of the open groups: broken
  std::vector<bool> indents_;  // of the open indents: whether they count
  size_t depth_ = 0;
  size_t column_ = 0;
  bool line_start_ = true;
};

}  // namespace kflow::format
