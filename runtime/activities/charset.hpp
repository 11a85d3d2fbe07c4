// Texts of the web in other encodings than UTF-8.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kflow::activities {

/// The encoding that a Content-Type names, or, of HTML that names none there, the one its beginning
/// names (WHATWG HTML §13.2.3.2); "" if there is none. Lower case.
std::string charset_of(std::string_view content_type, std::string_view body);

/// A text in that encoding as UTF-8; none if the encoding is not known or the text is not in it.
std::optional<std::string> to_utf8(std::string_view text, const std::string& charset);

}  // namespace kflow::activities
