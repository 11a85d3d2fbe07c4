// Compiled programs.
#include "kflow/program.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "compiler/ir/requirements.hpp"
#include "runtime/embed/data.hpp"

namespace kflow::embed {

using detail::ProgramData;

static_assert(static_cast<int>(ErrorCode::internal) ==
              static_cast<int>(kflow::ErrorCode::internal));

Error to_error(kflow::Error error) {
  return {static_cast<ErrorCode>(error.code), std::move(error.message)};
}

Program ProgramData::wrap(std::shared_ptr<const ir::Program> program) {
  return Program(std::make_shared<const ProgramData>(ProgramData{std::move(program)}));
}
const std::shared_ptr<const ir::Program>& ProgramData::unwrap(const Program& program) {
  return program.data_->program;
}

Result<Program> Program::load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{ErrorCode::not_found, "cannot read `" + path + "`"};
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  auto program = decode(bytes);
  if (!program) return Error{program.error().code, path + ": " + program.error().message};
  return program;
}

Result<Program> Program::decode(std::string_view bytes) {
  auto program = ir::decode(bytes);
  if (!program) return to_error(std::move(program).error());
  return ProgramData::wrap(std::make_shared<const ir::Program>(std::move(*program)));
}

std::string Program::encode() const { return ir::encode(*data_->program); }
std::string Program::hash() const { return to_hex(ir::hash(*data_->program)); }

std::vector<std::string> Program::workflows() const {
  std::vector<std::string> out;
  for (const ir::Callable& c : data_->program->callables) {
    if (c.kind == ir::CallableKind::workflow) out.push_back(c.name);
  }
  return out;
}

std::vector<std::string> Program::functions() const {
  std::vector<std::string> out;
  const ir::Program& p = *data_->program;
  for (uint32_t i = 0; i < p.callables.size(); ++i) {
    if (p.callables[i].kind != ir::CallableKind::workflow) continue;
    for (std::string& name : ir::requirements(p, ir::CallableId(i)).functions) {
      if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(std::move(name));
    }
  }
  return out;
}

const char* version() { return KFLOW_VERSION; }

}  // namespace kflow::embed
