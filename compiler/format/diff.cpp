// Unified diffs: Myers' algorithm on lines.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "compiler/format/format.hpp"

namespace kflow::format {
namespace {

constexpr size_t context = 3;
/// Over this many differing lines the whole file is shown as replaced.
constexpr size_t max_differences = 4000;

using Lines = std::vector<std::string_view>;

Lines split(std::string_view text) {
  Lines out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    out.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return out;
}

/// A line that stays (' '), goes ('-') or comes ('+').
struct Edit {
  char what = ' ';
  std::string_view line;
};

std::vector<Edit> replaced(const Lines& a, const Lines& b) {
  std::vector<Edit> out;
  for (const auto line : a) out.push_back({'-', line});
  for (const auto line : b) out.push_back({'+', line});
  return out;
}

// Shortest edit script; `frontiers` are kept to walk back.
std::vector<Edit> edits(const Lines& a, const Lines& b) {
  const auto n = static_cast<long>(a.size());
  const auto m = static_cast<long>(b.size());
  const long most = std::min<long>(n + m, static_cast<long>(max_differences));
  const long offset = most + 1;
  std::vector<long> reached(static_cast<size_t>(2 * most + 3), 0);
  const auto at = [&](std::vector<long>& v, long k) -> long& {
    return v[static_cast<size_t>(k + offset)];
  };
  std::vector<std::vector<long>> frontiers;
  bool found = false;
  for (long d = 0; d <= most && !found; ++d) {
    frontiers.push_back(reached);
    for (long k = -d; k <= d; k += 2) {
      const bool down = k == -d || (k != d && at(reached, k - 1) < at(reached, k + 1));
      long x = down ? at(reached, k + 1) : at(reached, k - 1) + 1;
      while (x < n && x - k < m && a[static_cast<size_t>(x)] == b[static_cast<size_t>(x - k)]) ++x;
      at(reached, k) = x;
      if (x >= n && x - k >= m) {
        found = true;
        break;
      }
    }
  }
  if (!found) return replaced(a, b);
  std::vector<Edit> out;
  long x = n;
  long y = m;
  for (auto d = static_cast<long>(frontiers.size()) - 1; d >= 0; --d) {
    std::vector<long>& v = frontiers[static_cast<size_t>(d)];
    const long k = x - y;
    const bool down = k == -d || (k != d && at(v, k - 1) < at(v, k + 1));
    const long from_k = down ? k + 1 : k - 1;
    const long from_x = d == 0 ? 0 : at(v, from_k);
    const long from_y = d == 0 ? 0 : from_x - from_k;
    while (x > from_x && y > from_y) out.push_back({' ', a[static_cast<size_t>(--x)]}), --y;
    if (d == 0) break;
    if (down) {
      out.push_back({'+', b[static_cast<size_t>(--y)]});
    } else {
      out.push_back({'-', a[static_cast<size_t>(--x)]});
    }
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::string range(size_t first, size_t count) {
  return count == 1 ? fmt::format("{}", first)
                    : fmt::format("{},{}", count == 0 ? first - 1 : first, count);
}

}  // namespace

std::string unified_diff(std::string_view name, std::string_view before, std::string_view after) {
  if (before == after) return "";
  const std::vector<Edit> all = edits(split(before), split(after));
  std::string out = fmt::format("--- {}\n+++ {}\n", name, name);
  size_t old_line = 1;
  size_t new_line = 1;
  for (size_t i = 0; i < all.size();) {
    // A hunk: from `context` lines before the next change to where two contexts' worth stay equal.
    size_t change = i;
    while (change < all.size() && all[change].what == ' ') ++change;
    if (change == all.size()) break;
    const size_t begin = std::max(i, change > context ? change - context : 0);
    size_t end = change;
    for (size_t equal = 0, j = change; j < all.size() && equal <= 2 * context; ++j) {
      equal = all[j].what == ' ' ? equal + 1 : 0;
      if (equal == 0) end = j + 1;
    }
    end = std::min(all.size(), end + context);
    old_line += begin - i;
    new_line += begin - i;
    size_t old_count = 0;
    size_t new_count = 0;
    std::string body;
    for (size_t j = begin; j < end; ++j) {
      old_count += all[j].what != '+';
      new_count += all[j].what != '-';
      body += all[j].what;
      body += all[j].line;
      if (!all[j].line.ends_with('\n')) body += "\n\\ No newline at end of file\n";
    }
    out += fmt::format("@@ -{} +{} @@\n{}", range(old_line, old_count), range(new_line, new_count),
                       body);
    old_line += old_count;
    new_line += new_count;
    i = end;
  }
  return out;
}

}  // namespace kflow::format
