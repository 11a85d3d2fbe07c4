// What files are: media types by the ends of names, and names that are safe to use.
#pragma once

#include <string>
#include <string_view>

namespace kflow::activities {

/// "image/png" of "a.PNG"; "application/octet-stream" where it is not known.
std::string media_type_of(std::string_view name);
/// Whether it is text that can stand in a message: text/…, JSON, XML, YAML, CSV and the like.
bool is_text_type(std::string_view media_type);
/// The last part of a path or of what a server calls its file, without control characters and
/// invalid UTF-8, at most 255 bytes; "" if nothing is left.
std::string file_name_of(std::string_view path);
/// Lower case, without parameters; "" if it is none.
std::string bare_media_type(std::string_view header);

}  // namespace kflow::activities
