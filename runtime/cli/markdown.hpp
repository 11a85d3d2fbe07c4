// Markdown for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace kflow::cli {

/// CommonMark with GitHub's tables, task lists, strikethrough and links, as text with ANSI colours.
/// Control characters are dropped, so that a text from elsewhere cannot drive the terminal. Lines
/// are left as long as they are: the terminal breaks them.
std::string render_markdown(std::string_view text);

/// The text without control characters other than line ends and tabs.
std::string printable(std::string_view text);

}  // namespace kflow::cli
