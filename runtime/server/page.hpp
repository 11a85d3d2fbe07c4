// The page at `/`, as it is embedded in the program.
#pragma once

#include <string_view>

namespace kflow::server {

/// The whole file; "": none was there when this program was built.
std::string_view page_html();
/// Its ETag, quoted.
std::string_view page_tag();

}  // namespace kflow::server
