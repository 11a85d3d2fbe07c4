// mcp sync: asks the servers that files declare for their tools, and writes them into the lock.
#include "runtime/activities/mcp.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/lock.hpp"
#include "compiler/ir/schema/import_schema.hpp"
#include "compiler/source/source.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"

namespace kflow::cli {
namespace {

namespace fs = std::filesystem;

/// One lock and the servers that belong into it.
struct LockPlace {
  ir::Lock lock;
  std::vector<ir::McpServer> servers;
};

Result<std::map<std::string, LockPlace>> places_of(const std::vector<std::string>& files,
                                                   const Common& common) {
  std::map<std::string, LockPlace> out;
  for (const std::string& file : files) {
    auto declared = driver::mcp_servers(file);
    if (!declared) return std::unexpected(std::move(declared).error());
    if ((*declared)->sink.has_errors()) {
      std::fputs(diagnostics::render_human((*declared)->sink, *(*declared)->sources,
                                           wants_colour(common.colour))
                     .c_str(),
                 stderr);
      return fail(ErrorCode::invalid_argument, "");
    }
    for (driver::DeclaredServer& s : (*declared)->servers) {
      auto& servers = out[s.lock].servers;
      const bool known = std::ranges::any_of(servers, [&](const ir::McpServer& x) {
        return x.command == s.spec.command && x.url == s.spec.url;
      });
      if (!known) servers.push_back(std::move(s.spec));
    }
  }
  return out;
}

Result<ir::Lock> lock_at(const std::string& path) {
  auto text = source::read_file(path, source::max_file_size);
  if (!text && text.error().code == ErrorCode::not_found) return ir::Lock{};
  if (!text) return std::unexpected(std::move(text).error());
  auto lock = ir::read_lock(*text);
  if (!lock) return std::unexpected(std::move(lock).error().with_context(path));
  return lock;
}

// Another reader sees the old lock or the new one.
Result<void> write_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out || std::rename(fresh.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(fresh.c_str());
    return fail(ErrorCode::io, fmt::format("cannot write `{}`: {}", path, std::strerror(error)));
  }
  return {};
}

// How a step calls the tool, and what of its schemas has no counterpart here.
std::string signature(const ir::LockedTool& tool, std::vector<std::string>& notes) {
  schema::TypeTable types;
  schema::ImportedObject input = schema::import_object(types, tool.input_schema, tool.name);
  std::string params = input.has_fields ? "" : "arguments: map<string, any>";
  std::ranges::stable_partition(input.fields,
                                [](const schema::ImportedField& f) { return f.required; });
  for (const schema::ImportedField& f : input.fields)
    params += fmt::format("{}{}: {}", params.empty() ? "" : ", ", f.field.name,
                          types.display(f.field.type));
  std::string result = "any";
  for (const std::string& n : input.notes) notes.push_back("input: " + n);
  if (!tool.output_schema.is_null()) {
    const schema::ImportedType output = schema::import_schema(types, tool.output_schema, tool.name);
    result = types.display(output.type);
    for (const std::string& n : output.notes) notes.push_back("output: " + n);
  }
  return fmt::format("{}({}) -> {}", schema::identifier_of(tool.name), params, result);
}

void print_server(const ir::LockedServer& now, const ir::LockedServer* before) {
  std::vector<std::string> changes =
      ir::lock_changes(before == nullptr ? ir::LockedServer{} : *before, now);
  if (before == nullptr) {  // everything is new
    std::erase_if(changes, [](const std::string& c) { return !c.starts_with('+'); });
  }
  std::printf("%s: %zu tool%s (%s, protocol %s)%s\n", now.name.c_str(), now.tools.size(),
              now.tools.size() == 1 ? "" : "s", now.server.c_str(), now.protocol.c_str(),
              changes.empty() && before != nullptr ? ", unchanged" : "");
  for (const std::string& change : changes) {
    std::vector<std::string> notes;
    std::string line = change;
    const std::string name = change.substr(2, change.find(':') - 2);
    const auto tool = std::ranges::find(now.tools, name, &ir::LockedTool::name);
    if (tool != now.tools.end() && change[0] != '-') {
      const std::string text = signature(*tool, notes);
      line = change[0] == '+' ? "+ " + text : change + "\n    " + text;
    }
    std::printf("  %s\n", line.c_str());
    for (const std::string& note : notes) std::printf("    note: %s\n", note.c_str());
  }
}

// False: the server did not answer, and what was locked of it stays.
bool sync_server(LockPlace& place, const ir::McpServer& spec, const activities::Options& options,
                 bool& changed) {
  auto answer = activities::list_tools(spec, options);
  if (const auto* error = std::get_if<activities::ActivityError>(&answer)) {
    std::fprintf(stderr, "kflow: error: %s\n", error->message.c_str());
    return false;
  }
  ir::LockedServer& now = std::get<ir::LockedServer>(answer);
  ir::LockedServer* before = place.lock.find(spec.command, spec.url);
  print_server(now, before);
  if (before == nullptr) {
    place.lock.servers.push_back(std::move(now));
    changed = true;
  } else {
    changed = changed || !ir::lock_changes(*before, now).empty();
    *before = std::move(now);
  }
  return true;
}

}  // namespace

int mcp_sync(const Common& common, const McpSyncOptions& options) {
  auto places = places_of(options.files, common);
  if (!places && places.error().message.empty()) return Exit::failed;
  if (!places) return fail_with(places.error());
  if (places->empty()) {
    std::fprintf(stderr, "kflow: error: no `mcp` server is declared there\n");
    return Exit::failed;
  }
  const Place project = find_place(common.store);
  auto engine = engine_options(project, "");
  if (!engine) return fail_with(engine.error());
  bool good = true;
  bool stale = false;
  for (auto& [path, place] : *places) {
    auto lock = lock_at(path);
    if (!lock) return fail_with(lock.error());
    place.lock = std::move(*lock);
    bool changed = false;
    for (const ir::McpServer& spec : place.servers)
      good = sync_server(place, spec, engine->activities, changed) && good;
    if (!changed) continue;
    stale = true;
    if (options.check) {
      std::printf("%s is out of date\n", path.c_str());
      continue;
    }
    if (auto written = write_file(path, ir::write_lock(place.lock)); !written)
      return fail_with(written.error());
    std::printf("%s written\n", path.c_str());
  }
  return good && !(options.check && stale) ? Exit::ok : Exit::failed;
}

}  // namespace kflow::cli
