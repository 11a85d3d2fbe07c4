// Formats of literals, before they are evaluated.
#include "compiler/cel/front/check_format.hpp"

#include <fmt/format.h>

namespace kflow::cel {
namespace {

bool is_unknown(const FormattedItem& item) {
  return item.kind <= StaticKind::dyn || item.kind == StaticKind::variable ||
         item.kind == StaticKind::wrapper;
}

// Whether a conversion takes values of a kind; nullopt: there is no such conversion.
std::optional<bool> takes(char conversion, const FormattedItem& item) {
  const StaticKind k = item.kind;
  const bool whole = k == StaticKind::int_ || k == StaticKind::uint_;
  switch (conversion) {
    case 's':
      return !item.opaque;
    case 'd':
    case 'f':
    case 'e':
      return whole || k == StaticKind::double_;
    case 'b':
      return whole || k == StaticKind::boolean;
    case 'o':
      return whole;
    case 'x':
    case 'X':
      return whole || k == StaticKind::string || k == StaticKind::bytes;
    default:
      return std::nullopt;
  }
}

}  // namespace

void check_format(std::string_view text, std::span<const FormattedItem> items, uint32_t begin,
                  uint32_t end, std::vector<CheckError>& errors) {
  const auto error = [&](uint32_t from, uint32_t to, std::string message) {
    errors.push_back({from, to, EvalErrorKind::format, std::move(message)});
  };
  size_t used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') continue;
    if (++i < text.size() && text[i] == '%') continue;
    if (i < text.size() && text[i] == '.') {
      ++i;
      while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    }
    if (i >= text.size()) return error(begin, end, "the format ends after a `%`");
    const char conversion = text[i];
    if (!takes(conversion, {}))
      return error(begin, end, fmt::format("unknown conversion `%{}` in a format", conversion));
    if (used == items.size())
      return error(begin, end, fmt::format("the format wants more than {} values", items.size()));
    const FormattedItem& item = items[used++];
    if (!is_unknown(item) && !*takes(conversion, item)) {
      error(item.begin, item.end,
            fmt::format("`%{}` does not format a `{}`", conversion, item.type));
    }
  }
  if (used < items.size()) {
    error(items[used].begin, items.back().end,
          fmt::format("the format wants {} values, not {}", used, items.size()));
  }
}

}  // namespace kflow::cel
