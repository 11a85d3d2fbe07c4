// Tapes of runs: a new one for a new run, and the one that a run goes on with.
#include <filesystem>

#include "runtime/activities/tape.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/models/dialect.hpp"

namespace kflow::cli {

namespace {

// How a run's row names its tape.
constexpr std::string_view recording = "record ";
constexpr std::string_view replaying = "replay ";

// Whatever could be a key is kept out of the tape; what a run reads later is added by the
// activities.
std::vector<std::string> secrets_of(const engine::EngineOptions& options,
                                    const ir::Program* program) {
  std::vector<std::string> out;
  const auto add = [&](std::string_view name) {
    if (name.empty() || !options.activities.secret) return;
    if (auto value = options.activities.secret(name)) out.push_back(std::move(*value));
  };
  for (const models::Dialect* d : models::all_dialects()) add(d->key_variable());
  for (const std::string& name : options.activities.secret_names) add(name);
  for (const auto& [name, endpoint] : options.activities.models) add(endpoint.api_key_variable);
  if (program != nullptr) {
    for (const ir::Model& m : program->models) add(m.api_key);
    for (const ir::McpServer& s : program->servers) {
      for (const ir::McpSetting& setting : s.settings) add(setting.secret);
    }
  }
  return out;
}

Result<void> take(engine::EngineOptions& options, Result<std::shared_ptr<activities::Tape>> tape,
                  std::string name) {
  if (!tape) return std::unexpected(std::move(tape).error());
  options.activities.tape = std::move(*tape);
  options.tape = std::move(name);
  return {};
}

}  // namespace

Result<void> use_new_tape(engine::EngineOptions& options, const std::string& record,
                          const std::string& replay, const ir::Program& program) {
  if (record.empty() && replay.empty()) return {};
  // The run may go on in another folder.
  const auto full = [](const std::string& path) {
    std::error_code error;
    return path.empty() ? path : std::filesystem::absolute(path, error).lexically_normal().string();
  };
  auto secrets = secrets_of(options, &program);
  if (record.empty()) {
    return take(options, activities::Tape::load(full(replay), std::move(secrets)),
                std::string(replaying) + full(replay));
  }
  return take(options, activities::Tape::begin(full(record), std::move(secrets), full(replay)),
              std::string(recording) + full(record));
}

Result<void> use_tape_of(engine::EngineOptions& options, const store::RunHeader& run) {
  const std::string& name = run.tape;
  if (name.empty()) return {};
  auto secrets = secrets_of(options, nullptr);
  if (name.starts_with(recording)) {
    return take(options, activities::Tape::go_on(name.substr(recording.size()), std::move(secrets)),
                name);
  }
  if (!name.starts_with(replaying))
    return fail(ErrorCode::incompatible, "run `" + run.id + "` has a tape of an unknown kind");
  auto taken = take(
      options, activities::Tape::load(name.substr(replaying.size()), std::move(secrets)), name);
  if (!taken) {
    return fail(taken.error().code,
                "run `" + run.id + "` is answered from a tape, and " + taken.error().message);
  }
  return {};
}

}  // namespace kflow::cli
