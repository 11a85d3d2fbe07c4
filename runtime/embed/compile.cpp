// Compiling, for hosts that ship the parser.
#include "kflow/compile.hpp"

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/embed/data.hpp"

namespace kflow::embed {
namespace {

Result<Program> finished(driver::Compilation& compilation) {
  if (!compilation.program) {
    return Error{ErrorCode::invalid_argument,
                 diagnostics::render_human(compilation.sink, *compilation.sources, false)};
  }
  return detail::ProgramData::wrap(
      std::make_shared<const ir::Program>(std::move(*compilation.program)));
}

}  // namespace

Result<Program> compile_file(const std::string& path) {
  auto compilation = driver::compile_file(path);
  if (!compilation) return to_error(std::move(compilation).error());
  return finished(**compilation);
}

Result<Program> compile_text(const std::string& name, const std::string& text) {
  return finished(*driver::compile_text(name, text));
}

}  // namespace kflow::embed
