// Loader → parser → checker → lowering → verifier.
#include "compiler/driver/driver.hpp"

#include <filesystem>

#include "compiler/base/check.hpp"
#include "compiler/ir/lock.hpp"
#include "compiler/lower/lower.hpp"
#include "compiler/sema/lints.hpp"
#include "compiler/sema/model.hpp"
#include "compiler/syntax/parse.hpp"
#include "stdlib/stdlib.hpp"

namespace kflow::driver {
namespace {

void compile(Compilation& out, source::FileId root) {
  sema::Model model{.sources = *out.sources, .sink = out.sink};
  for (const std::string_view name : stdlib::module_names())
    model.std_modules.push_back("std/" + std::string(name));
  sema::declare(model, root);
  auto lowered = lower::lower(model);
  for (const auto& module : model.modules) {
    if ((*out.sources)[module->file].path().starts_with("std/")) continue;
    if (!out.sink.has_errors()) sema::lint(model, *module);
    sema::apply_suppressions(model, *module);
  }
  if (!lowered) return;
  out.program = std::move(lowered->program);
  out.tests = std::move(lowered->tests);
  const auto verified = ir::verify(*out.program);
  KFLOW_CHECK(verified.has_value(), verified ? "" : verified.error().message.c_str());
}

std::unique_ptr<Compilation> make() {
  auto out = std::make_unique<Compilation>();
  out->sources = std::make_unique<source::Manager>(stdlib::find_module);
  return out;
}

}  // namespace

Result<std::unique_ptr<Compilation>> compile_file(const std::string& path) {
  auto out = make();
  const auto root = out->sources->load(path);
  if (!root) return std::unexpected(root.error());
  compile(*out, *root);
  return out;
}

std::unique_ptr<Compilation> compile_text_of(const std::string& path, std::string text) {
  auto out = make();
  std::error_code error;
  const auto whole = std::filesystem::weakly_canonical(path, error);
  compile(*out, out->sources->add(error ? path : whole.string(), path, std::move(text)));
  return out;
}

std::unique_ptr<Compilation> compile_text(std::string name, std::string text) {
  auto out = make();
  compile(*out, out->sources->add(name, name, std::move(text)));
  return out;
}

Result<std::unique_ptr<Declarations>> mcp_servers(const std::string& path) {
  auto out = std::make_unique<Declarations>();
  out->sources = std::make_unique<source::Manager>(stdlib::find_module);
  const auto root = out->sources->load(path);
  if (!root) return std::unexpected(root.error());
  sema::Model model{.sources = *out->sources, .sink = out->sink, .locking = true};
  sema::declare(model, *root);
  for (sema::ServerInfo& s : model.servers) {
    if (s.spec.name.empty()) continue;
    out->servers.push_back(
        {std::move(s.spec),
         out->sources->place_in_project(model.modules[s.module]->file, ir::lock_file_name)});
  }
  return out;
}

Result<std::string> print_tree(const std::string& path) {
  auto out = make();
  const auto root = out->sources->load(path);
  if (!root) return std::unexpected(root.error());
  return syntax::parse((*out->sources)[*root], out->sink).print();
}

}  // namespace kflow::driver
