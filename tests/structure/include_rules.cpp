// The include graph of source texts, and what layers.txt forbids in it.
#include "tests/structure/include_rules.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>

namespace kflow::structure {
namespace {

struct Include {
  std::string header;
  bool quoted = false;
  std::size_t line = 0;
};

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

/// Is `path` the folder or file `place`, or something in it?
bool lies_in(std::string_view path, std::string_view place) {
  return path.starts_with(place) && (path.size() == place.size() || path[place.size()] == '/');
}

bool lies_in_any(std::string_view path, const std::vector<std::string>& places) {
  return std::ranges::any_of(places,
                             [&](const std::string& place) { return lies_in(path, place); });
}

bool matches(std::string_view header, std::string_view pattern) {
  return pattern.ends_with('/') ? header.starts_with(pattern) : header == pattern;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// The file an `#include` line names; none for any other line.
std::optional<Include> read_include(std::string_view line) {
  line = trimmed(line);
  if (!line.starts_with('#')) return std::nullopt;
  line = trimmed(line.substr(1));
  constexpr std::string_view keyword = "include";
  if (!line.starts_with(keyword)) return std::nullopt;
  line = trimmed(line.substr(keyword.size()));
  if (line.size() < 2 || (line[0] != '"' && line[0] != '<')) return std::nullopt;
  const auto end = line.find(line[0] == '"' ? '"' : '>', 1);
  if (end == std::string_view::npos) return std::nullopt;
  std::string header(line.substr(1, end - 1));
  // The public headers include each other as those of an installed library do.
  if (line[0] == '"' && header.starts_with("kflow/")) header.insert(0, "runtime/include/");
  return Include{.header = std::move(header), .quoted = line[0] == '"'};
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// `code` is `text` without comments.
std::vector<Include> read_includes(std::string_view text, std::string_view code) {
  const auto visible = split_lines(code);
  const auto lines = split_lines(text);
  std::vector<Include> includes;
  for (std::size_t i = 0; i < lines.size() && i < visible.size(); ++i) {
    // The blanked line tells whether it is code at all; the original one still has the name.
    if (!trimmed(visible[i]).starts_with('#')) continue;
    if (auto include = read_include(lines[i])) {
      include->line = i + 1;
      includes.push_back(std::move(*include));
    }
  }
  return includes;
}

class Checker {
 public:
  Checker(const Rules& rules, const Files& files) : rules_(rules), files_(files) {
    for (const auto& [path, text] : files) {
      const auto& code = code_.emplace(path, without_comments_and_literals(text)).first->second;
      includes_.emplace(path, read_includes(text, code));
    }
  }

  std::vector<std::string> run() {
    for (const auto& [path, text] : files_) {
      check_form(path, text);
      check_keywords(path);
      for (const Include& include : includes_.at(path)) check_include(path, include);
      check_leaks(path);
    }
    return std::move(problems_);
  }

 private:
  void report(std::string_view path, std::size_t line, const std::string& what) {
    problems_.push_back(std::string(path) + ":" + std::to_string(line) + ": " + what);
  }

  void check_form(const std::string& path, std::string_view text) {
    if (!text.starts_with("// "))
      report(path, 1, "the first line does not say what the file is for");
    if (path.ends_with(".hpp") && text.find("\n#pragma once\n") == std::string_view::npos) {
      report(path, 1, "the header has no `#pragma once`");
    }
  }

  void check_keywords(const std::string& path) {
    const auto lines = split_lines(code_.at(path));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      for (const std::string_view word : {"co_await", "co_yield", "co_return"}) {
        if (lines[i].find(word) != std::string_view::npos) {
          report(path, i + 1, "`" + std::string(word) + "`: GCC 12 miscompiles coroutines");
        }
      }
    }
  }

  /// The layer a path belongs to: the longest one that contains it.
  std::string layer_of(std::string_view path) const {
    std::string found;
    for (const auto& [layer, _] : rules_.layers) {
      if (lies_in(path, layer) && layer.size() > found.size()) found = layer;
    }
    return found;
  }

  void check_include(const std::string& path, const Include& include) {
    if (include.quoted && !files_.contains(include.header)) {
      report(path, include.line,
             "`" + include.header + "` is not a file, seen from the repository's root");
      return;
    }
    if (include.quoted) check_layer(path, include);
    for (const auto& [header, owners] : rules_.only) {
      if (matches(include.header, header) && !is_owner(path, header, owners)) {
        report(path, include.line, "`" + include.header + "` belongs to " + owners.front());
      }
    }
    for (const auto& [folder, headers] : rules_.never) {
      if (!lies_in(path, folder)) continue;
      for (const std::string& header : headers) {
        if (matches(include.header, header)) {
          report(path, include.line, folder + " never includes `" + include.header + "`");
        }
      }
    }
  }

  void check_layer(const std::string& path, const Include& include) {
    const std::string from = layer_of(path);
    const std::string to = layer_of(include.header);
    if (from.empty() || to.empty()) {
      report(path, include.line,
             "`" + (from.empty() ? path : include.header) + "` is in no layer of layers.txt");
      return;
    }
    const auto& allowed = rules_.layers.find(from)->second;
    if (from != to && !contains(allowed, to) && !contains(allowed, "*")) {
      report(path, include.line, from + " may not use " + to);
    }
  }

  /// Owners, and the folder the header itself lies in.
  static bool is_owner(std::string_view path, std::string_view header,
                       const std::vector<std::string>& owners) {
    return lies_in_any(path, owners) || (header.ends_with('/') && path.starts_with(header));
  }

  /// Headers with an owner that reach `path` through a header of that owner.
  void check_leaks(const std::string& path) {
    std::set<std::string, std::less<>> seen{path};
    std::vector<std::string> open{path};
    while (!open.empty()) {
      const std::string at = std::move(open.back());
      open.pop_back();
      for (const Include& include : includes_.at(at)) {
        if (at != path) check_leak(path, at, include);
        if (include.quoted && files_.contains(include.header) &&
            seen.insert(include.header).second) {
          open.push_back(include.header);
        }
      }
    }
  }

  void check_leak(const std::string& path, const std::string& at, const Include& include) {
    for (const auto& [header, owners] : rules_.only) {
      // Where `at` is no owner either, the violation is reported there.
      if (matches(include.header, header) && is_owner(at, header, owners) &&
          !is_owner(path, header, owners)) {
        report(path, 1, "`" + include.header + "` gets in here through " + at);
      }
    }
  }

  const Rules& rules_;
  const Files& files_;
  Files code_;  // texts without comments and literals
  std::map<std::string, std::vector<Include>, std::less<>> includes_;
  std::vector<std::string> problems_;
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Where the comment or literal that begins at `at` ends; `at` itself where none begins.
std::size_t end_of_blank(std::string_view text, std::size_t at) {
  const auto after = [&](std::string_view what, std::size_t from) {
    const auto found = text.find(what, from);
    return found == std::string_view::npos ? text.size() : found + what.size();
  };
  const std::string_view rest = text.substr(at);
  if (rest.starts_with("//")) return std::min(text.find('\n', at), text.size());
  if (rest.starts_with("/*")) return after("*/", at + 2);
  if (rest.starts_with("R\"") && (at == 0 || !is_word(text[at - 1]))) {
    const auto open = text.find('(', at);
    if (open == std::string_view::npos) return text.size();
    return after(")" + std::string(text.substr(at + 2, open - at - 2)) + "\"", open);
  }
  // A quote inside a number (1'000) opens nothing.
  if (rest[0] != '"' && (rest[0] != '\'' || (at > 0 && is_word(text[at - 1])))) return at;
  std::size_t end = at + 1;
  while (end < text.size() && text[end] != rest[0] && text[end] != '\n') {
    end += text[end] == '\\' ? 2U : 1U;
  }
  return std::min(end + 1, text.size());
}

}  // namespace

std::string without_comments_and_literals(std::string_view text) {
  std::string code(text);
  constexpr std::string_view openers = "/\"'R";
  for (std::size_t at = text.find_first_of(openers); at < text.size();) {
    const auto end = end_of_blank(text, at);
    for (std::size_t i = at; i < end; ++i) {
      if (code[i] != '\n') code[i] = ' ';
    }
    at = text.find_first_of(openers, std::max(end, at + 1));
  }
  return code;
}

Rules parse_rules(std::string_view text, std::vector<std::string>& problems) {
  Rules rules;
  std::size_t number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    std::istringstream words{std::string(line.substr(0, line.find('#')))};
    std::string kind;
    std::string name;
    std::string colon;
    if (!(words >> kind)) continue;
    words >> name >> colon;
    std::vector<std::string> list;
    for (std::string word; words >> word;) list.push_back(word);
    const bool known = kind == "layer" || kind == "only" || kind == "never";
    if (!known || colon != ":" || (kind != "layer" && list.empty())) {
      problems.push_back("layers.txt:" + std::to_string(number) + ": not a rule");
    } else if (kind == "only") {
      rules.only.emplace_back(name, list);
    } else if (kind == "never") {
      rules.never.emplace_back(name, list);
    } else if (!rules.layers.emplace(name, list).second) {
      problems.push_back("layers.txt:" + std::to_string(number) + ": `" + name + "` twice");
    }
  }
  for (const auto& [layer, uses] : rules.layers) {
    for (const std::string& use : uses) {
      if (use != "*" && !rules.layers.contains(use)) {
        problems.push_back("layers.txt: `" + layer + "` uses `" + use + "`, which is no layer");
      }
    }
  }
  return rules;
}

std::vector<std::string> find_layer_cycles(const Rules& rules) {
  std::vector<std::string> problems;
  for (const auto& [layer, _] : rules.layers) {
    std::set<std::string, std::less<>> seen;
    std::vector<std::string> open{layer};
    while (!open.empty()) {
      const std::string at = std::move(open.back());
      open.pop_back();
      const auto found = rules.layers.find(at);
      if (found == rules.layers.end()) continue;
      for (const std::string& use : found->second) {
        if (seen.insert(use).second) open.push_back(use);
      }
    }
    if (seen.contains(layer)) problems.push_back("`" + layer + "` uses itself through others");
  }
  return problems;
}

std::vector<std::string> check(const Rules& rules, const Files& files) {
  return Checker(rules, files).run();
}

}  // namespace kflow::structure
