// Places, runs by name, texts.
#include "runtime/cli/session.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/config/settings.hpp"
#include "runtime/engine/project.hpp"
#include "runtime/engine/why.hpp"
#include "runtime/observe/watcher.hpp"
#include "runtime/store/lmdb/lmdb_store.hpp"

namespace kflow::cli {

namespace fs = std::filesystem;

Place find_place(const std::string& store_option) {
  std::error_code error;
  const fs::path here = fs::current_path(error);
  fs::path project;
  for (fs::path p = here; !p.empty(); p = p.parent_path()) {
    if (fs::exists(p / "kflow.yaml", error) || fs::is_directory(p / ".kflow", error)) {
      project = p;
      break;
    }
    if (p == p.parent_path()) break;
  }
  Place out;
  out.project_root = (project.empty() ? here : project).string();
  const char* from_environment = std::getenv("KFLOW_STORE");
  if (!store_option.empty()) {
    out.store = fs::absolute(store_option, error).string();
  } else if (from_environment != nullptr && *from_environment != '\0') {
    out.store = fs::absolute(from_environment, error).string();
  } else if (!project.empty()) {
    out.store = (project / ".kflow").string();
  } else {
    const char* data = std::getenv("XDG_DATA_HOME");
    const char* home = std::getenv("HOME");
    const fs::path base = data != nullptr && *data != '\0'
                              ? fs::path(data)
                              : fs::path(home == nullptr ? "/tmp" : home) / ".local/share";
    out.store = (base / "kflow").string();
  }
  return out;
}

int fail_with(const Error& error) {
  std::string text = error.message;
  size_t at = 0;
  while ((at = text.find('\n', at)) != std::string::npos)
    text.replace(at, 1, "\nkflow: error: "), at += 15;
  std::fprintf(stderr, "kflow: error: %s\n", text.c_str());
  switch (error.code) {
    case ErrorCode::invalid_argument:
      return Exit::usage;
    case ErrorCode::not_found:
    case ErrorCode::conflict:
    case ErrorCode::already_exists:
    case ErrorCode::limit:
      return Exit::failed;
    default:
      return Exit::system_error;
  }
}

Result<std::shared_ptr<store::Store>> open_store(const Place& place, bool create) {
  store::LmdbOptions options;
  options.create = create;
  const auto settings = config::load_settings(place.project_root);
  if (!settings) return std::unexpected(settings.error());
  if (settings->store_max_mib > 0) options.max_bytes = settings->store_max_mib << 20;
  auto opened = store::open_lmdb_store(place.store, options);
  if (!opened) return std::unexpected(std::move(opened).error());
  return std::shared_ptr<store::Store>(std::move(*opened));
}

Result<store::RunHeader> find_run(store::Store& store, const std::string& text) {
  if (text == "@last") {
    auto all = store.list({.parent = 0, .limit = 1});  // not a child of the last
    if (!all) return std::unexpected(std::move(all).error());
    if (all->empty()) return fail(ErrorCode::not_found, "there are no runs yet");
    return std::move(all->front());
  }
  auto exact = store.find(text);
  if (!exact) return std::unexpected(std::move(exact).error());
  if (*exact) return std::move(**exact);
  auto near = text.empty() ? Result<std::vector<store::RunHeader>>(std::vector<store::RunHeader>{})
                           : store.match(text, 4);
  if (!near) return std::unexpected(std::move(near).error());
  if (near->size() == 1) return std::move(near->front());
  if (near->empty())
    return fail(ErrorCode::not_found, "there is no run `" + text + "`; `kflow ps` lists them");
  std::string names;
  for (const auto& header : *near) names += (names.empty() ? "" : ", ") + header.id;
  return fail(ErrorCode::not_found, "`" + text + "` fits several runs: " + names);
}

Result<engine::EngineOptions> engine_options(const Place& place, const std::string& project_root,
                                             bool metrics) {
  engine::EngineOptions options;
  options.project_root = project_root.empty() ? place.project_root : project_root;
  const auto settings = config::load_settings(options.project_root);
  if (!settings) return std::unexpected(settings.error());
  engine::take_settings(*settings, options);
  if (const char* url = std::getenv("KFLOW_MODELS_URL"); url != nullptr && *url != '\0') {
    options.activities.models_url = url;
    while (options.activities.models_url.ends_with('/')) options.activities.models_url.pop_back();
    if (!options.activities.models_url.starts_with("http://") &&
        !options.activities.models_url.starts_with("https://"))
      return fail(ErrorCode::invalid_argument,
                  "$KFLOW_MODELS_URL is no http or https URL; it says where all models are called");
  }
  options.activities.log = [](const std::string& line) {
    std::fprintf(stderr, "log: %s\n", line.c_str());
  };
  options.activities.progress = options.activities.log;
  if (const char* level = std::getenv("KFLOW_LOG"); level != nullptr && *level != '\0') {
    options.activities.on_server_line = [](const std::string& server, const std::string& line) {
      std::fprintf(stderr, "mcp %s: %s\n", server.c_str(), line.c_str());
    };
  }
  options.on_trouble = [](const std::string& what) {
    std::fprintf(stderr, "kflow: warning: %s\n", what.c_str());
  };
  auto watcher = observe::make_watcher(
      [](const char* name) { return std::getenv(name); },
      [] { return engine::SystemClock().now(); },
      [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }, metrics);
  if (watcher) {
    options.observer = std::move(*watcher);
  } else {
    std::fprintf(stderr, "kflow: warning: %s\n", watcher.error().message.c_str());
  }
  return options;
}

std::string short_id(const std::string& id) { return engine::short_id(id); }

std::string duration_text(machine::Millis ms) { return engine::duration_text(ms); }

std::string usage_text(const machine::UsageTotal& u) {
  std::string out = fmt::format("{} in", u.input_tokens);
  if (u.cached_input_tokens > 0) out += fmt::format(" ({} cached)", u.cached_input_tokens);
  out += fmt::format(", {} out", u.output_tokens);
  if (u.reasoning_tokens > 0) out += fmt::format(" ({} reasoning)", u.reasoning_tokens);
  if (u.usd > 0) out += fmt::format(", ${:.4f}", u.usd);
  return out;
}

std::string moment_text(machine::Millis t) {
  return t == 0 ? "-" : cel::format_timestamp({t / 1000, 0});
}

int status_exit(machine::RunStatus s) {
  switch (s) {
    case machine::RunStatus::completed:
    case machine::RunStatus::pending:
    case machine::RunStatus::running:
      return Exit::ok;
    case machine::RunStatus::paused:
      return Exit::paused;
    case machine::RunStatus::cancelled:
      return Exit::cancelled;
    case machine::RunStatus::error:
      return Exit::failed;
  }
  std::unreachable();
}

std::string value_text(const cel::Value& v) {
  if (v.kind() == cel::Kind::string) return std::string(v.as_string());
  return cel::to_json(v, 2);
}

}  // namespace kflow::cli
