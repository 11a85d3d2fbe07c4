// serve: the workflows of files over HTTP, until it is told to stop.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/config/settings.hpp"
#include "runtime/observe/watcher.hpp"
#include "runtime/server/server.hpp"

namespace kflow::cli {
namespace {

namespace fs = std::filesystem;

// The elements of `{"diagnostics": […], …}`.
std::string diagnostics_array(const std::string& document) {
  const size_t begin = document.find('[');
  const size_t end = document.rfind(']');
  if (begin == std::string::npos || end == std::string::npos) return "[]";
  return document.substr(begin, end - begin + 1);
}

server::Compile compiler(bool colour) {
  return [colour](const std::string& path) -> Result<server::Compiled> {
    auto compiled = driver::compile_file(path);
    if (!compiled) return std::unexpected(std::move(compiled).error());
    const driver::Compilation& c = **compiled;
    server::Compiled out{
        .rendered = diagnostics::render_human(c.sink, *c.sources, colour),
        .diagnostics = diagnostics_array(diagnostics::render_json(c.sink, *c.sources)),
        .errors = c.sink.errors(),
        .warnings = c.sink.warnings()};
    for (uint32_t i = 0; i < c.sources->size(); ++i)
      out.files.push_back((*c.sources)[source::FileId(i)].path());
    if (c.program)
      out.program = std::make_shared<const ir::Program>(std::move(*(*compiled)->program));
    return out;
  };
}

Result<std::string> secret_of(const config::ServerToken& token, const std::string& folder) {
  if (!token.variable.empty()) {
    const char* value = std::getenv(token.variable.c_str());
    if (value == nullptr || *value == '\0')
      return fail(ErrorCode::invalid_argument, "the token `" + token.name + "`: the variable $" +
                                                   token.variable + " is not set");
    return std::string(value);
  }
  auto text = source::read_file((fs::path(folder) / token.file).string(), 64U << 10);
  if (!text)
    return std::unexpected(std::move(text).error().with_context("the token `" + token.name + "`"));
  while (text->ends_with('\n') || text->ends_with('\r')) text->pop_back();
  return std::move(*text);
}

Result<server::Options> server_options(const config::ServerSettings& settings,
                                       const std::string& folder, const ServeOptions& given) {
  server::Options out;
  if (!settings.listen.empty()) out.listen = settings.listen;
  if (!given.listen.empty()) out.listen = given.listen;
  out.hosts = settings.hosts;
  out.cors = settings.cors;
  const auto file = [&](const std::string& path) {
    return path.empty() ? path : (fs::path(folder) / path).lexically_normal().string();
  };
  out.certificate = file(settings.certificate);
  out.key = file(settings.key);
  for (const config::ServerToken& token : settings.tokens) {
    auto secret = secret_of(token, folder);
    if (!secret) return std::unexpected(std::move(secret).error());
    out.tokens.push_back({.name = token.name,
                          .secret = std::move(*secret),
                          .read = token.read,
                          .run = token.run,
                          .admin = token.admin,
                          .user_id = token.user});
  }
  if (const char* token = std::getenv("KFLOW_TOKEN"); token != nullptr && *token != '\0')
    out.tokens.push_back({.name = "KFLOW_TOKEN", .secret = token});
  server::Limits& limits = out.limits;
  const auto set = [](auto& limit, auto value) {
    if (value > 0) limit = value;
  };
  set(limits.header_bytes, settings.limits.header_kib << 10);
  set(limits.body_bytes, settings.limits.body_mib << 20);
  set(limits.connections, settings.limits.connections);
  set(limits.starts, settings.limits.starts);
  set(limits.header_ms, settings.limits.header_ms);
  set(limits.body_ms, settings.limits.body_ms);
  set(limits.idle_ms, settings.limits.idle_ms);
  set(limits.send_ms, settings.limits.send_ms);
  set(limits.shutdown_ms, settings.limits.shutdown_ms);
  return out;
}

}  // namespace

int serve(const Common& common, const ServeOptions& options) {
  // Blocked before any thread is there: they are waited for here alone.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  Place place = find_place(common.store);
  if (!options.config.empty()) {
    std::error_code error;
    const fs::path file = fs::canonical(options.config, error);
    if (error)
      return fail_with({ErrorCode::invalid_argument,
                        "there is no file `" + options.config + "`, as --config says"});
    if (file.filename() != "kflow.yaml")
      return fail_with({ErrorCode::invalid_argument,
                        "--config names a file `kflow.yaml`: its folder is the project"});
    place.project_root = file.parent_path().string();
  }
  const auto settings = config::load_settings(place.project_root);
  if (!settings) return fail_with(settings.error());
  auto server_side = server_options(settings->server, place.project_root, options);
  if (!server_side) return fail_with(server_side.error());
  auto engine_side = engine_options(place, place.project_root, true);
  if (!engine_side) return fail_with(engine_side.error());
  auto store = open_store(place, true);
  if (!store) return fail_with(store.error());
  const auto watcher = std::dynamic_pointer_cast<observe::Watcher>(engine_side->observer);
  server::ServerSetup setup{
      .options = std::move(*server_side),
      .paths = options.paths.empty() ? std::vector<std::string>{place.project_root} : options.paths,
      .project_root = place.project_root,
      .version = KFLOW_VERSION,
      .compile = compiler(wants_colour(common.colour)),
      .engine = std::move(*engine_side),
      .registry = watcher == nullptr ? nullptr : &watcher->registry(),
      .say = [](const std::string& line) {
        std::fprintf(stderr, "%s%s", line.c_str(), line.ends_with('\n') ? "" : "\n");
      }};
  auto server = server::Server::open(*store, std::move(setup));
  if (!server) return fail_with(server.error());
  for (const std::string& url : (*server)->urls())
    std::fprintf(stderr, "kflow: serving %zu workflow%s at %s\n", (*server)->workflows(),
                 (*server)->workflows() == 1 ? "" : "s", url.c_str());
  int signal = 0;
  ::sigwait(&signals, &signal);
  std::fprintf(stderr, "kflow: stopping\n");
  (*server)->stop();
  return Exit::ok;
}

}  // namespace kflow::cli
