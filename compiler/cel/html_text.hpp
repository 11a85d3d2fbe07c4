// The readable text of an HTML document or fragment.
#pragma once

#include <string>
#include <string_view>

namespace kflow::cel {

/// Tags, comments, scripts and styles left out, character references resolved, white space
/// collapsed, block elements on lines of their own. Never fails: whatever is not markup is text.
/// Linear time; UTF-8 in, UTF-8 out.
std::string html_text(std::string_view html);

}  // namespace kflow::cel
