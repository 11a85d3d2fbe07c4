// Parse, lay out, and look whether the result says the same.
#include "compiler/format/format.hpp"

#include "compiler/format/layout.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::format {

Result<std::string> format(const source::File& file, diagnostics::Sink& sink) {
  const syntax::Tree tree = syntax::parse(file, sink);
  if (sink.has_errors())
    return fail(ErrorCode::invalid_argument,
                "`" + file.name() + "` does not parse; it is left as it is");
  std::string out = Layout(tree).run();
  const source::File written(file.id(), file.path(), file.name(), out);
  diagnostics::Sink syntax_errors;
  const syntax::Tree again = syntax::parse(written, syntax_errors);
  const std::string difference = syntax_errors.has_errors()
                                     ? "what was made does not parse"
                                     : difference_but_for_layout(tree, again);
  if (!difference.empty()) {
    return fail(ErrorCode::internal, "`" + file.name() +
                                         "` cannot be formatted without changing what it says (" +
                                         difference + "); it is left as it is. Please report this");
  }
  return out;
}

}  // namespace kflow::format
