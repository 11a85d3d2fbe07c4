// why, cancel, signal, fork: verbs on one run.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "compiler/cel/value_codec.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/needs.hpp"
#include "runtime/engine/why.hpp"

namespace kflow::cli {

using machine::Millis;

namespace {

// JSON, or the text itself where it is none.
cel::Value loose_value(const std::string& text) {
  if (text.empty()) return {};
  auto value = cel::from_json(text);
  return value ? std::move(*value) : cel::Value::string(text);
}

}  // namespace

int why(const Common& common, const std::string& run) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, run);
  if (!header) return fail_with(header.error());
  const std::string name = short_id(header->id);
  if (is_final(header->status)) {
    std::printf("run %s has ended: %s%s%s\n", name.c_str(),
                std::string(machine::to_string(header->status)).c_str(),
                header->error.empty() ? "" : ": ", header->error.c_str());
    return Exit::ok;
  }
  const auto lines = engine::why(**store, *header, engine::SystemClock().now());
  if (!lines) return fail_with(lines.error());
  for (const engine::WhyLine& line : *lines)
    std::printf("%*s%s\n", static_cast<int>(2 * line.depth), "", line.text.c_str());
  const bool needs_process = std::any_of(lines->begin(), lines->end(),
                                         [](const engine::WhyLine& l) { return l.needs_process; });
  if (!(*store)->alive(header->owner)) {
    auto options = engine_options(place, header->project_root);
    if (!options) return fail_with(options.error());
    if (auto tape = use_tape_of(*options, *header); !tape) return fail_with(tape.error());
    const auto missing = engine::lacking(**store, *header, options->activities);
    if (!missing) return fail_with(missing.error());
    for (const std::string& what : *missing)
      std::printf("nobody can go on with it here without %s\n", what.c_str());
    if (needs_process)
      std::printf("no process runs it; `kflow resume %s` takes it over\n", name.c_str());
  }
  return Exit::ok;
}

int cancel(const Common& common, const std::vector<std::string>& runs, const std::string& reason,
           bool kill) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  int status = Exit::ok;
  for (const std::string& run : runs) {
    auto header = find_run(**store, run);
    auto asked = header ? engine::request_cancel(**store, *header, reason, kill)
                        : Result<void>(std::unexpected(header.error()));
    if (!asked) {
      status = fail_with(asked.error());
      continue;
    }
    // A run without a process is cancelled here; one with a process hears of it at once.
    if (!(*store)->alive(header->owner)) {
      auto options_of_engine = engine_options(place, header->project_root);
      if (!options_of_engine) return fail_with(options_of_engine.error());
      if (auto tape = use_tape_of(*options_of_engine, *header); !tape)
        return fail_with(tape.error());
      auto engine = engine::Engine::open(*store, std::move(*options_of_engine));
      if (!engine) return fail_with(engine.error());
      if (auto taken = (*engine)->resume(header->key);
          !taken && taken.error().code != ErrorCode::conflict)
        return fail_with(taken.error());
      (void)(*engine)->wait(header->key, static_cast<int>(machine::stop_deadline_ms));
    }
    std::fprintf(stderr, "run %s is being %s\n", short_id(header->id).c_str(),
                 kill ? "killed" : "cancelled");
  }
  return status;
}

int signal(const Common& common, const SignalOptions& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, options.run);
  if (!header) return fail_with(header.error());
  auto sent = engine::send_signal(**store, *header, options.name, loose_value(options.value),
                                  options.idempotency_key);
  if (!sent) return fail_with(sent.error());
  auto worker = ensure_worker(**store, place, *header);
  if (!worker) return fail_with(worker.error());
  std::fprintf(stderr, "signal `%s` is in the mailbox of run %s\n", options.name.c_str(),
               short_id(header->id).c_str());
  return Exit::ok;
}

namespace {

Result<std::vector<std::pair<std::string, cel::Value>>> pairs(const std::vector<std::string>& texts,
                                                              std::string_view option) {
  std::vector<std::pair<std::string, cel::Value>> out;
  for (const std::string& text : texts) {
    const size_t equal = text.find('=');
    if (equal == std::string::npos || equal == 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("`{} {}` is not name=value", option, text));
    out.emplace_back(text.substr(0, equal), loose_value(text.substr(equal + 1)));
  }
  return out;
}

}  // namespace

int fork(const Common& common, const ForkCommand& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, options.run);
  if (!header) return fail_with(header.error());
  auto values = pairs(options.values, "--set");
  if (!values) return fail_with(values.error());
  auto inputs = pairs(options.inputs, "-i");
  if (!inputs) return fail_with(inputs.error());
  auto made = engine::fork(**store, *header,
                           {.from = options.from,
                            .values = std::move(*values),
                            .inputs = std::move(*inputs),
                            .id = options.id},
                           engine::SystemClock().now());
  if (!made) return fail_with(made.error());
  const auto taken = handed_over(**store, {.key = made->key});
  if (!taken) return fail_with(taken.error());
  if (!*taken) {
    if (auto spawned = spawn_worker(place, header->project_root, made->id); !spawned)
      return fail_with(spawned.error());
  }
  std::printf("%s\n", made->id.c_str());
  return Exit::ok;
}

}  // namespace kflow::cli
