// The readable part of an HTML page as Markdown.
#pragma once

#include <string>
#include <string_view>

namespace kflow::cel {

/// Headings, paragraphs, lists, quotes, code, tables, links, emphasis and described images; what a
/// page has around its content (navigation, footers, forms, scripts) is left out, and if it marks
/// its content as `<main>` or as its one `<article>`, so is everything else. Links are made
/// absolute by `base`, the page's own URL, unless that is empty. Characters with a meaning in
/// Markdown are not escaped: it is for reading. Never fails; linear time; UTF-8 in, UTF-8 out.
std::string html_markdown(std::string_view html, std::string_view base);

/// The absolute URL that a link in the page `base` means (RFC 3986 §5.2); "" for one that leads
/// nowhere, such as `javascript:` or `#place`.
std::string resolve_url(std::string_view base, std::string_view link);

}  // namespace kflow::cel
