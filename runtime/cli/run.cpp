// run, resume, watch and the detached worker: verbs that execute or follow.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/direct.hpp"
#include "runtime/activities/media_types.hpp"
#include "runtime/cli/commands.hpp"
#include "runtime/cli/program.hpp"
#include "runtime/cli/session.hpp"
#include "runtime/cli/view.hpp"
#include "runtime/config/yaml.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/needs.hpp"

namespace kflow::cli {
namespace {

constexpr int inbox_looks = 50;  // at messages that are still to be taken
constexpr int redraw_ms = 100;
constexpr int work_pause_ms = 1000;
constexpr size_t max_input_bytes = 64U << 20;

std::atomic<int> interrupts = 0;
void on_interrupt(int) { ++interrupts; }

ViewMode view_mode(const Common& common, bool quiet) {
  if (common.json) return ViewMode::json;
  if (quiet) return ViewMode::quiet;
  return ::isatty(STDERR_FILENO) != 0 ? ViewMode::live : ViewMode::plain;
}

Result<cel::Value> read_input_file(const std::string& path) {
  std::string text;
  if (path == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    auto content = source::read_file(path, max_input_bytes);
    if (!content) return std::unexpected(std::move(content).error());
    text = std::move(*content);
  }
  const bool json = path.ends_with(".json") || text.find_first_not_of(" \t\r\n") == text.find('{');
  auto value = json ? cel::from_json(text) : config::from_yaml(text);
  if (!value)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("`{}` is not {}: {}", path, json ? "JSON" : "YAML", value.error().message));
  if (value->kind() != cel::Kind::map && !value->is_null())
    return fail(ErrorCode::invalid_argument, fmt::format("`{}` holds no record of inputs", path));
  return value;
}

/// A file given as `-i name=@PATH`: what is known of it before it is taken into the store.
Result<cel::File> look_at_file(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error)
    return fail(ErrorCode::invalid_argument,
                fmt::format("cannot read the file `{}`: {}", path, error.message()));
  const std::string name = activities::file_name_of(path);
  return cel::File{.name = name, .media_type = activities::media_type_of(name), .size = size};
}

/// Which parameters are files, and their paths.
using FileInputs = std::vector<std::pair<std::string, std::string>>;

enum class Takes : uint8_t { other, text, file, files };
Takes takes(const ir::Program& program, ir::CallableId workflow, const std::string& name) {
  using schema::TypeKind;
  for (const ir::Param& p : program[workflow].params) {
    if (p.name != name) continue;
    const schema::Type& type = program.types[program.types.without_null(p.type)];
    if (type.kind == TypeKind::file) return Takes::file;
    if (type.kind == TypeKind::list && program.types[type.element].kind == TypeKind::file)
      return Takes::files;
    const bool text =
        type.kind == TypeKind::string ||
        (type.kind == TypeKind::literal_union && type.literals[0].kind() == cel::Kind::string);
    return text ? Takes::text : Takes::other;
  }
  return Takes::other;
}

// Takes the files into the store, each in place of what was known of it.
Result<cel::Value> take_files(store::Store& store, const FileInputs& files, const cel::Value& input,
                              std::vector<StageId>& stages) {
  cel::MapBuilder out;
  for (const cel::MapEntry& e : input.as_map()) out.add(e.key, e.value);
  std::map<std::string, std::vector<cel::Value>> taken;
  std::string buffer(1U << 20, '\0');
  for (const auto& [name, path] : files) {
    auto file = look_at_file(path);
    if (!file) return std::unexpected(std::move(file).error());
    std::ifstream in(path, std::ios::binary);
    if (!in)
      return fail(ErrorCode::invalid_argument, fmt::format("cannot read the file `{}`", path));
    auto writer = store.new_blob(file->size);
    if (!writer) return std::unexpected(std::move(writer).error());
    while (in) {
      in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      KFLOW_TRY(
          (*writer)->write(std::string_view(buffer).substr(0, static_cast<size_t>(in.gcount()))));
    }
    if (in.bad()) return fail(ErrorCode::io, fmt::format("cannot read the file `{}`", path));
    auto staged = (*writer)->finish();
    if (!staged) return std::unexpected(std::move(staged).error());
    stages.push_back(staged->stage);
    file->size = staged->size;
    file->sha256 = staged->hash;
    taken[name].push_back(cel::Value::file(std::move(*file)));
  }
  for (auto& [name, values] : taken) {
    const cel::Value* given = input.find(name);
    const bool list = given != nullptr && given->kind() == cel::Kind::list;
    out.set(name, list ? cel::Value::list(std::move(values)) : std::move(values.back()));
  }
  return std::move(out).take();
}

// `-i name=value`: text for a string parameter, otherwise JSON, or text where it is none; `@PATH`
// for a file.
Result<cel::Value> gather_input(const ir::Program& program, ir::CallableId workflow,
                                const RunOptions& options, FileInputs& files) {
  cel::MapBuilder out;
  std::map<std::string, std::vector<cel::Value>> lists;
  if (!options.input_file.empty()) {
    auto file = read_input_file(options.input_file);
    if (!file) return file;
    if (!file->is_null()) {
      for (const cel::MapEntry& e : file->as_map()) out.add(e.key, e.value);
    }
  }
  for (const std::string& input : options.inputs) {
    const size_t equal = input.find('=');
    if (equal == std::string::npos || equal == 0)
      return fail(ErrorCode::invalid_argument, fmt::format("`-i {}` is not name=value", input));
    const std::string name = input.substr(0, equal);
    const std::string text = input.substr(equal + 1);
    const Takes kind = takes(program, workflow, name);
    if ((kind == Takes::file || kind == Takes::files) && text.starts_with('@')) {
      auto file = look_at_file(text.substr(1));
      if (!file) return std::unexpected(std::move(file).error());
      if (kind == Takes::file) std::erase_if(files, [&](const auto& f) { return f.first == name; });
      files.emplace_back(name, text.substr(1));
      auto& list = lists[name];
      list.push_back(cel::Value::file(std::move(*file)));
      out.set(name, kind == Takes::files ? cel::Value::list(list) : list.back());
      continue;
    }
    if (kind == Takes::file && !text.starts_with('{')) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the input `{}` is a file: give it with -i {}=@PATH", name, name));
    }
    cel::Value value = cel::Value::string(text);
    if (kind != Takes::text) {
      if (auto json = cel::from_json(text)) value = std::move(*json);
    }
    out.set(name, std::move(value));
  }
  return std::move(out).take();
}

int report_end(const View& view) {
  switch (view.status()) {
    case machine::RunStatus::completed:
      break;
    case machine::RunStatus::cancelled:
      std::fprintf(stderr, "kflow: the run was cancelled%s%s\n", view.error().empty() ? "" : ": ",
                   view.error().c_str());
      break;
    case machine::RunStatus::error:
      std::fprintf(stderr, "kflow: error: the run failed: %s\n", view.error().c_str());
      break;
    case machine::RunStatus::pending:
    case machine::RunStatus::running:
    case machine::RunStatus::paused:
      break;
  }
  return status_exit(view.status());
}

void print_result(const Common& common, const View& view) {
  if (common.json || view.status() != machine::RunStatus::completed || view.result().is_null())
    return;
  print_value(common, view.result());
}

// Follows a run that this process executes, until it ends or the user interrupts.
int follow_own(const Common& common, const Place& place, std::unique_ptr<engine::Engine> engine,
               store::Store& store, const store::RunHeader& header,
               std::shared_ptr<const ir::Program> program, std::shared_ptr<SideLines> side_lines,
               bool quiet) {
  View view(view_mode(common, quiet), wants_colour(common.colour), header, std::move(program), 0,
            std::move(side_lines));
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  while (!view.ended()) {
    view.wait(*engine, redraw_ms);
    if (auto read = view.update(store); !read) return fail_with(read.error());
    if (!view.ended() && view.paused()) {
      view.finish();
      if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0 && !quiet && !common.json) {
        if (auto answered = answer_on_terminal(store, header); !answered)
          return fail_with(answered.error());
        continue;
      }
      engine.reset();  // whoever answers sees to it that it goes on
      std::fprintf(stderr, "kflow: run %s waits for an answer; `kflow answer %s` gives it\n",
                   short_id(header.id).c_str(), short_id(header.id).c_str());
      return Exit::paused;
    }
    if (!view.ended()) view.tick(engine::SystemClock().now());
    if (interrupts > 0 && !view.ended()) {
      view.finish();
      engine.reset();  // gives the run up
      if (interrupts > 1) {
        if (auto asked = engine::request_cancel(store, header, "interrupted twice"); !asked)
          return fail_with(asked.error());
      }
      if (auto spawned = spawn_worker(place, header.project_root, header.id); !spawned)
        return fail_with(spawned.error());
      std::fprintf(stderr, "kflow: run %s %s; `kflow watch %s` follows it\n",
                   short_id(header.id).c_str(),
                   interrupts > 1 ? "is being cancelled" : "goes on in the background",
                   short_id(header.id).c_str());
      return Exit::ok;
    }
  }
  view.finish();
  engine.reset();
  print_result(common, view);
  return report_end(view);
}

}  // namespace

int run(const Common& common, const RunOptions& options) {
  auto program = compile(options.file, common);
  if (!program) {
    if (!program.error().message.empty()) fail_with(program.error());
    return Exit::failed;
  }
  auto workflow = choose(**program, options.workflow);
  if (!workflow) return fail_with(workflow.error());
  if ((**program)[*workflow].kind != ir::CallableKind::workflow) {
    ir::Direct direct = ir::run_directly(**program, *workflow);
    *workflow = direct.workflow;
    program = std::make_shared<const ir::Program>(std::move(direct.program));
  }
  FileInputs files;
  auto input = gather_input(**program, *workflow, options, files);
  if (!input) return fail_with(input.error());
  auto checked = engine::check_input(**program, *workflow, *input);
  if (!checked) return fail_with(checked.error());
  if (options.dry_run) {
    std::fputs(ir::print(**program).c_str(), stdout);
    return Exit::ok;
  }
  const Place place = find_place(common.store);
  auto store = open_store(place, true);
  if (!store) return fail_with(store.error());
  engine::StartOptions start{.id = options.id,
                             .session_id = options.session,
                             .user_id = "",
                             .tags = {},
                             .idempotency_key = options.idempotency_key,
                             .project_root = place.project_root,
                             .detached = options.background};
  auto options_of_engine = engine_options(place, place.project_root);
  if (!options_of_engine) return fail_with(options_of_engine.error());
  if (auto tape = use_new_tape(*options_of_engine, options.record, options.replay, **program);
      !tape)
    return fail_with(tape.error());
  const auto side_lines = print_by_view(*options_of_engine);
  auto engine = engine::Engine::open(*store, std::move(*options_of_engine));
  if (!engine) return fail_with(engine.error());
  if (!files.empty()) {
    input = take_files(**store, files, *input, start.stages);
    if (!input) return fail_with(input.error());
  }
  auto started = (*engine)->start(*program, *workflow, *input, start);
  if (!started) return fail_with(started.error());
  if (options.background) {
    engine->reset();
    const auto taken = handed_over(**store, {.key = started->key});
    if (!taken) return fail_with(taken.error());
    if (!*taken) {
      if (auto spawned = spawn_worker(place, place.project_root, started->id); !spawned)
        return fail_with(spawned.error());
    }
    std::printf("%s\n", started->id.c_str());
    return Exit::ok;
  }
  auto header = (*store)->header(started->key);
  if (!header || !*header)
    return fail_with(header ? Error{ErrorCode::not_found, "the run is gone"} : header.error());
  if (started->existed) {
    // Somebody has it, or it is over: look on. Nobody has it: go on with it here.
    const bool orphan = !is_final((*header)->status) && !(*store)->alive((*header)->owner);
    if (!orphan || !(*engine)->resume(started->key)) {
      engine->reset();
      return watch(common, {.run = started->id});
    }
  }
  return follow_own(common, place, std::move(*engine), **store, **header, *program, side_lines,
                    options.quiet);
}

namespace {

// Runs that nobody has, for want of something.
int say_what_is_left(const Place& place, store::Store& store) {
  int status = Exit::ok;
  const auto runs = store.list({.limit = 1000});
  if (!runs) return fail_with(runs.error());
  for (const store::RunHeader& run : *runs) {
    if (is_final(run.status) || store.alive(run.owner)) continue;
    auto options = engine_options(place, run.project_root);
    if (!options) return fail_with(options.error());
    if (!use_tape_of(*options, run)) continue;
    if (auto fits = engine::check_needs(store, run, options->activities); !fits) {
      std::fprintf(stderr, "kflow: %s\n", fits.error().message.c_str());
      status = Exit::failed;
    }
  }
  return status;
}

}  // namespace

int resume(const Common& common, const ResumeOptions& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  if (options.all) {
    auto adopting = engine_options(place, "");
    if (!adopting) return fail_with(adopting.error());
    adopting->project_root.clear();
    adopting->adopt = true;
    auto engine = engine::Engine::open(*store, std::move(*adopting));
    if (!engine) return fail_with(engine.error());
    // What can be taken over is taken at once; then until nothing is left.
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(redraw_ms));
    } while ((*engine)->active() > 0);
    engine->reset();
    if (const int left = say_what_is_left(place, **store); left != Exit::ok) return left;
    std::fprintf(stderr, "kflow: no run is left without a process\n");
    return Exit::ok;
  }
  auto header = find_run(**store, options.run.empty() ? "@last" : options.run);
  if (!header) return fail_with(header.error());
  if (is_final(header->status) && header->status != machine::RunStatus::error) {
    return fail_with({ErrorCode::conflict,
                      fmt::format("the run {} has ended ({}); only failed ones can be resumed, "
                                  "`kflow fork` begins anew at a step",
                                  short_id(header->id), machine::to_string(header->status))});
  }
  std::shared_ptr<const ir::Program> next;
  if (!options.program.empty()) {
    auto compiled = compile(options.program, common);
    if (!compiled) {
      if (!compiled.error().message.empty()) fail_with(compiled.error());
      return Exit::failed;
    }
    next = std::move(*compiled);
  }
  auto options_of_engine = engine_options(place, header->project_root);
  if (!options_of_engine) return fail_with(options_of_engine.error());
  if (auto tape = use_tape_of(*options_of_engine, *header); !tape) return fail_with(tape.error());
  if (next == nullptr) {
    if (auto fits = engine::check_needs(**store, *header, options_of_engine->activities); !fits)
      return fail_with(fits.error());
  }
  const auto side_lines = print_by_view(*options_of_engine);
  auto engine = engine::Engine::open(*store, std::move(*options_of_engine));
  if (!engine) return fail_with(engine.error());
  auto taken = next == nullptr ? (*engine)->resume(header->key)
                               : (*engine)->move(header->key, std::move(next));
  if (!taken) return fail_with(taken.error());
  // What was sent while nobody had the run is taken before anything is said of what it waits for.
  for (int i = 0; i < inbox_looks; ++i) {
    const auto sent = (*store)->inbox(header->key, 1);
    if (!sent || sent->empty()) break;
    (void)(*engine)->wait(header->key, redraw_ms);
  }
  header = find_run(**store, header->id);
  if (!header) return fail_with(header.error());
  auto program = engine::load_program(**store, header->program);
  if (!program) return fail_with(program.error());
  return follow_own(common, place, std::move(*engine), **store, *header, *program, side_lines,
                    false);
}

int watch(const Common& common, const WatchOptions& options) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, options.run);
  if (!header) return fail_with(header.error());
  auto program = engine::load_program(**store, header->program);
  if (!program) return fail_with(program.error());
  Common mode = common;
  mode.json |= options.events;
  View view(view_mode(mode, false), wants_colour(common.colour), *header, *program, options.from);
  ::signal(SIGINT, on_interrupt);
  while (interrupts == 0) {
    if (auto read = view.update(**store); !read) return fail_with(read.error());
    if (view.ended()) break;
    view.tick(engine::SystemClock().now());
    std::this_thread::sleep_for(std::chrono::milliseconds(redraw_ms));
  }
  view.finish();
  if (interrupts > 0) return Exit::interrupted;
  print_result(mode, view);
  return report_end(view);
}

int work(const Common& common, const std::string& run) {
  const Place place = find_place(common.store);
  auto store = open_store(place, false);
  if (!store) return fail_with(store.error());
  auto header = find_run(**store, run);
  if (!header) return fail_with(header.error());
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  auto options = engine_options(place, header->project_root);
  if (!options) return fail_with(options.error());
  if (auto tape = use_tape_of(*options, *header); !tape) return fail_with(tape.error());
  options->adopt = true;
  options->park = true;
  auto engine = engine::Engine::open(*store, std::move(*options));
  if (!engine) return fail_with(engine.error());
  (void)(*engine)->resume(
      header->key);  // another process may have been quicker: then there is nothing to do
  while (interrupts == 0) {
    const auto now = (*engine)->wait(header->key, work_pause_ms);
    if (!now) return fail_with(now.error());
    // Who waits for a message alone is taken up by whoever sends it; timers are for this process.
    const auto due = (*store)->next_due();
    if ((*engine)->active() == 0 && (!due || *due == machine::never)) break;
    // Its own run has ended, which is no reason to wait; a signal ends the pause.
    if (is_final(now->status)) ::usleep(work_pause_ms * 1000);
    if (!std::filesystem::exists(place.store)) {
      return fail_with({ErrorCode::not_found, "the store `" + place.store + "` is gone"});
    }
  }
  return Exit::ok;
}

}  // namespace kflow::cli
