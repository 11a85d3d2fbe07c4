// Comments that suppress a warning: `// kflow: allow(KF7003, KF7005) reason`.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/lints.hpp"

namespace kflow::sema {
namespace {

using diagnostics::Kind;
using syntax::Node;

struct Allow {
  source::Span span;
  uint32_t line = 0;  ///< whose warnings it suppresses
  std::vector<std::string> codes;
  std::vector<source::Span> places;  ///< of the codes
  bool reason = false;
  std::vector<bool> used;  ///< by code
};

std::string_view trimmed(std::string_view s) {
  const size_t begin = s.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return "";
  return s.substr(begin, s.find_last_not_of(" \t\r") - begin + 1);
}

// The line that a comment is about: its own if something stands before it there, else the next
// with something else than comments.
uint32_t line_of(const source::File& file, uint32_t begin) {
  const source::Position at = file.position(begin);
  if (!trimmed(file.line(at.line).substr(0, at.column - 1)).empty()) return at.line;
  for (uint32_t line = at.line + 1; line <= file.line_count(); ++line) {
    const std::string_view text = trimmed(file.line(line));
    if (!text.empty() && !text.starts_with("//")) return line;
  }
  return at.line;
}

std::optional<Allow> read(const source::File& file, uint32_t begin, uint32_t end) {
  std::string_view text = file.text().substr(begin, end - begin);
  text.remove_prefix(std::min(text.find_first_not_of('/'), text.size()));
  text = trimmed(text);
  constexpr std::string_view mark = "kflow:";
  if (!text.starts_with(mark)) return std::nullopt;
  text = trimmed(text.substr(mark.size()));
  constexpr std::string_view word = "allow(";
  const size_t close = text.find(')');
  if (!text.starts_with(word) || close == std::string_view::npos) return std::nullopt;
  Allow out{.span = {file.id(), begin, end}, .line = line_of(file, begin)};
  std::string_view codes = text.substr(word.size(), close - word.size());
  while (!codes.empty()) {
    const size_t comma = std::min(codes.find(','), codes.size());
    if (const auto code = trimmed(codes.substr(0, comma)); !code.empty()) {
      const auto at = static_cast<uint32_t>(code.data() - file.text().data());
      out.codes.emplace_back(code);
      out.places.push_back({file.id(), at, at + static_cast<uint32_t>(code.size())});
    }
    codes.remove_prefix(std::min(comma + 1, codes.size()));
  }
  out.used.assign(out.codes.size(), false);
  out.reason = !trimmed(text.substr(close + 1)).empty();
  return out;
}

std::vector<Allow> allows_in(const Model& m, const Module& module) {
  std::vector<Allow> out;
  const source::File& file = m.sources[module.file];
  for (const syntax::NodeData& n : module.tree.nodes()) {
    if (n.kind != Node::comment) continue;
    if (auto allow = read(file, n.begin, n.end)) out.push_back(std::move(*allow));
  }
  return out;
}

void report(Model& m, const Allow& allow) {
  const auto useless = [&](std::string message, std::optional<size_t> code = std::nullopt) {
    return m.sink.report(Kind::useless_allow, code ? allow.places[*code] : allow.span,
                         std::move(message));
  };
  if (allow.codes.empty()) {
    useless("this comment names no code").note("write `// kflow: allow(KF7003) reason`");
    return;
  }
  for (size_t i = 0; i < allow.codes.size(); ++i) {
    const diagnostics::KindInfo* row = diagnostics::find_kind(allow.codes[i]);
    if (row == nullptr) {
      useless(fmt::format("there is no diagnostic `{}`", allow.codes[i]), i)
          .note("`kflowc explain` lists all");
    } else if (row->severity == diagnostics::Severity::error) {
      useless(fmt::format("`{}` is an error, and errors cannot be suppressed", allow.codes[i]), i);
    } else if (!allow.used[i]) {
      auto d = useless(fmt::format("there is no `{}` here to suppress", allow.codes[i]), i);
      if (allow.codes.size() == 1) d.fix(allow.span, "");
    }
  }
  if (!allow.reason) useless("a suppression gives its reason after the code");
}

}  // namespace

void apply_suppressions(Model& m, Module& module) {
  std::vector<Allow> allows = allows_in(m, module);
  if (allows.empty()) return;
  const source::File& file = m.sources[module.file];
  m.sink.suppress([&](const diagnostics::Diagnostic& d) {
    if (d.span.file != module.file) return false;
    const uint32_t line = file.position(d.span.begin).line;
    bool out = false;
    for (Allow& allow : allows) {
      if (allow.line != line) continue;
      for (size_t i = 0; i < allow.codes.size(); ++i) {
        if (allow.codes[i] != diagnostics::code_text(d.kind)) continue;
        allow.used[i] = true;
        out = true;
      }
    }
    return out;
  });
  if (m.sink.has_errors()) return;
  for (const Allow& allow : allows) report(m, allow);
}

}  // namespace kflow::sema
