// The pages' texts.
#include "compiler/diagnostics/pages.hpp"

#include <fmt/format.h>

#include <array>

#include "compiler/base/utf8.hpp"

namespace kflow::diagnostics {
namespace {

struct Row {
  Kind kind;
  Examples examples;
};

constexpr std::array rows{
#define KFLOW_PAGE(name, wrong, right) Row{Kind::name, {wrong, right}},
#include "compiler/diagnostics/pages_more.def"
#include "compiler/diagnostics/pages_names.def"
#include "compiler/diagnostics/pages_types.def"
#undef KFLOW_PAGE
};

void append_indented(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) out += "    ";
    out += replace_invalid_utf8(text.substr(0, end));
    out += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

Examples examples(Kind kind) {
  for (const Row& row : rows) {
    if (row.kind == kind) return row.examples;
  }
  return {};
}

std::string page(Kind kind) {
  const KindInfo& row = info(kind);
  const Examples e = examples(kind);
  std::string out = fmt::format("{}: {} ({})\n\n{}\n\nWrong:\n\n", code_text(kind), row.title,
                                row.severity == Severity::error ? "error" : "warning",
                                row.explanation);
  append_indented(out, e.wrong);
  out += "\nRight:\n\n";
  append_indented(out, e.right);
  if (row.severity == Severity::warning) {
    out += fmt::format("\nSuppressed on its line, or on the line before it, by\n\n    // kflow: "
                       "allow({}) why it is right here\n",
                       code_text(kind));
  }
  return out;
}

}  // namespace kflow::diagnostics
