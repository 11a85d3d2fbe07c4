// Walks the leaves of a tree.
#include "compiler/cli/print_tokens.hpp"

#include <fmt/format.h>

#include <iterator>

#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::cli {

Result<std::string> print_tokens(const std::string& path) {
  source::Manager sources(nullptr);
  diagnostics::Sink sink;
  const auto file = sources.load(path);
  if (!file) return std::unexpected(file.error());
  const syntax::Tree tree = syntax::parse(sources[*file], sink);
  std::string out;
  for (const syntax::NodeData& node : tree.nodes()) {
    if (!syntax::is_leaf(node.kind) || node.kind == syntax::Node::whitespace ||
        node.begin == node.end)
      continue;
    const auto at = sources[*file].position(node.begin);
    fmt::format_to(std::back_inserter(out), "{}:{} {} {}\n", at.line, at.column,
                   syntax::to_string(node.kind),
                   tree.text().substr(node.begin, node.end - node.begin));
  }
  return out;
}

}  // namespace kflow::cli
