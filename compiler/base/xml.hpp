// Texts as XML has them: in pictures and in reports.
#pragma once

#include <string>
#include <string_view>

namespace kflow {

/// Between tags: `& < > "` as entities; control characters that XML 1.0 has not are left out.
std::string xml_text(std::string_view text);
/// The value of an attribute in double quotes: line ends too are kept, as references.
std::string xml_attribute(std::string_view text);

}  // namespace kflow
