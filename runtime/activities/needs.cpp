// Secrets, keys, functions and programs are looked for where effects would look for them.
#include "runtime/activities/needs.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/activities/functions.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/activities/transfer.hpp"

namespace kflow::activities {
namespace {

bool is_set(const Options& options, const std::string& secret) {
  return options.secret && options.secret(secret).has_value();
}

std::string secret_phrase(const std::string& name) {
  return fmt::format(
      "the secret `{}` (set the environment variable, or say in kflow.yaml where it is)", name);
}

// Whether a model or one of those that stand in for it can be called.
std::optional<std::string> missing_key(const ir::Program& program, ir::ModelId id,
                                       const Options& options) {
  std::vector<ir::ModelId> all{id};
  const auto& fallback = program[id].fallback;
  all.insert(all.end(), fallback.begin(), fallback.end());
  std::string first;
  for (const ir::ModelId one : all) {
    const ir::Model& m = program[one];
    const std::string variable = wanted_key({.provider = m.provider,
                                             .id = m.id,
                                             .name = m.name,
                                             .base_url = m.base_url,
                                             .api_key = m.api_key},
                                            options);
    if (variable.empty()) return std::nullopt;
    if (first.empty()) {
      first = fmt::format("a key for the model `{}/{}` (set the environment variable {}{})",
                          m.provider, m.id, variable,
                          m.api_key.empty() ? "" : ", or say in kflow.yaml where the secret is");
    }
  }
  return first;
}

// As `execvp` finds it.
bool is_program(const std::string& name, const Options& options) {
  if (name.find('/') != std::string::npos) {
    const bool relative = name.front() != '/' && !options.file_roots.empty();
    return ::access((relative ? options.file_roots.front() + "/" + name : name).c_str(), X_OK) == 0;
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
  for (;;) {
    const size_t colon = rest.find(':');
    const std::string folder(rest.substr(0, colon));
    if (::access(((folder.empty() ? "." : folder) + "/" + name).c_str(), X_OK) == 0) return true;
    if (colon == std::string_view::npos) return false;
    rest.remove_prefix(colon + 1);
  }
}

}  // namespace

std::vector<std::string> missing(const ir::Program& program, const ir::Requirements& needs,
                                 const Options& options) {
  std::vector<std::string> out;
  const auto* later = dynamic_cast<const AsyncFunctions*>(options.stand_in.get());
  for (const std::string& name : needs.functions) {
    if (!options.functions.contains(name) && (later == nullptr || !later->contains(name)))
      out.push_back(
          fmt::format("the function `{}` (the program that embeds kflow registers it)", name));
  }
  // A tape has the answers, and whoever stands in for the world gives them.
  const bool simulated = options.stand_in && later == nullptr;
  if (simulated || (options.tape && options.tape->replays())) return out;
  for (const std::string& name : needs.secrets) {
    if (!is_set(options, name)) out.push_back(secret_phrase(name));
  }
  for (const ir::ModelId id : needs.models) {
    if (auto phrase = missing_key(program, id, options);
        phrase && std::ranges::find(out, *phrase) == out.end())
      out.push_back(std::move(*phrase));
  }
  for (const ir::McpServerId id : needs.servers) {
    const ir::McpServer& server = program[id];
    if (!server.command.empty() && !is_program(server.command.front(), options))
      out.push_back(
          fmt::format("the program `{}` of the MCP server `{}` (install it, or put it on "
                      "the PATH)",
                      server.command.front(), server.name));
  }
  return out;
}

}  // namespace kflow::activities
