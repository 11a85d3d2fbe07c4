// Settings → options of an engine.
#include "runtime/engine/project.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "runtime/config/settings.hpp"

namespace kflow::engine {
namespace {

namespace fs = std::filesystem;

constexpr size_t max_secret_bytes = 64U << 10;

activities::ModelEndpoint endpoint(const config::ModelSettings& m) {
  activities::ModelEndpoint out{.base_url = m.base_url,
                                .api_key_variable = m.api_key,
                                .headers = m.headers,
                                .proxy = m.proxy,
                                .timeout_ms = m.timeout_ms,
                                .idle_timeout_ms = m.idle_timeout_ms,
                                .requests_per_minute = static_cast<int64_t>(m.requests_per_minute),
                                .tokens_per_minute = static_cast<int64_t>(m.tokens_per_minute),
                                .concurrent = static_cast<int64_t>(m.concurrent),
                                .stream = m.stream,
                                .previous_response_id = m.previous_response_id,
                                .structured_output = m.structured_output};
  if (!m.price) return out;
  out.price = activities::ModelPrice{.input = m.price->input, .output = m.price->output};
  if (m.price->cached_input >= 0) out.price->cached_input = m.price->cached_input;
  if (m.price->cache_write >= 0) out.price->cache_write = m.price->cache_write;
  return out;
}

// None: it cannot be read, or is longer than a secret is.
std::optional<std::string> secret_of_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(max_secret_bytes + 1, '\0');
  if (!in) return std::nullopt;
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad() || text.size() > max_secret_bytes) return std::nullopt;
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

std::function<std::optional<std::string>(std::string_view)> secret_reader(
    std::map<std::string, config::SecretSource> sources, std::string folder) {
  return [sources = std::move(sources),
          folder = std::move(folder)](std::string_view name) -> std::optional<std::string> {
    std::string variable(name);
    if (const auto it = sources.find(variable); it != sources.end()) {
      if (!it->second.file.empty()) return secret_of_file(fs::path(folder) / it->second.file);
      if (!it->second.variable.empty()) variable = it->second.variable;
    }
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
  };
}

}  // namespace

void take_settings(const config::Settings& settings, EngineOptions& options) {
  activities::Options& a = options.activities;
  a.file_roots = {options.project_root};
  if (!settings.file_roots.empty()) {
    a.file_roots.clear();
    for (const std::string& root : settings.file_roots)
      a.file_roots.push_back((fs::path(options.project_root) / root).lexically_normal().string());
  }
  for (const auto& [name, m] : settings.models) a.models[name] = endpoint(m);
  for (const auto& [name, source] : settings.secrets) a.secret_names.push_back(name);
  a.secret = secret_reader(settings.secrets, options.project_root);
}

}  // namespace kflow::engine
