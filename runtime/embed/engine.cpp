// Engine over engine::Engine: runs by their ids.
#include "kflow/engine.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "compiler/base/check.hpp"
#include "compiler/ir/schema/json_schema.hpp"
#include "runtime/embed/data.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/needs.hpp"
#include "runtime/engine/stream.hpp"

namespace kflow::embed {

using detail::EngineData;
using detail::ProgramData;
using detail::ProjectData;
using detail::StoreData;
using detail::ValueData;

namespace {

constexpr int longest_wait_ms = 60'000;

kflow::Error moved_away() {
  return {kflow::ErrorCode::invalid_argument,
          "this engine was moved away; use the one it was moved to"};
}

std::optional<std::string> from_environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

// What a callback throws ends with it: nobody of the engine's threads could do anything about it.
std::function<void(const std::string&)> told(const detail::EngineId& engine,
                                             std::function<void(const std::string&)> tell) {
  if (!tell) return nullptr;
  return [engine, tell = std::move(tell)](const std::string& text) {
    const detail::InsideCallback inside(engine);
    try {
      tell(text);
    } catch (...) {  // see above
    }
  };
}

// A secret that cannot be told is one that is not set.
std::function<std::optional<std::string>(std::string_view)> asked(
    const detail::EngineId& engine,
    std::function<std::optional<std::string>(std::string_view)> ask) {
  return [engine, ask = std::move(ask)](std::string_view name) -> std::optional<std::string> {
    const detail::InsideCallback inside(engine);
    try {
      return ask(name);
    } catch (...) {
      return std::nullopt;
    }
  };
}

engine::EngineOptions options_of(const detail::EngineId& id, EngineOptions&& given) {
  engine::EngineOptions out;
  const ProjectData* project = given.project ? &ProjectData::of(*given.project) : nullptr;
  if (project != nullptr) out.activities = project->activities;
  std::error_code error;
  if (!given.project_root.empty()) {
    out.project_root = std::filesystem::absolute(given.project_root, error).string();
  } else {
    out.project_root =
        project != nullptr ? project->root : std::filesystem::current_path(error).string();
  }
  out.adopt = given.adopt;
  out.schedules = given.adopt;
  out.on_trouble = told(id, std::move(given.on_trouble));
  if (given.clock) out.clock = detail::make_clock(detail::ClockData::of(*given.clock));
  activities::Options& a = out.activities;
  if (!given.file_roots.empty()) {
    a.file_roots = std::move(given.file_roots);
  } else if (project == nullptr) {
    a.file_roots = {out.project_root};
  }
  if (given.secret) {
    a.secret = asked(id, std::move(given.secret));
  } else if (project == nullptr) {
    a.secret = from_environment;
  }
  a.models_url = std::move(given.models_url);
  while (a.models_url.ends_with('/')) a.models_url.pop_back();
  a.log = told(id, std::move(given.on_log));
  a.progress = a.log;
  detail::take_functions(given.functions, id, a);
  return out;
}

kflow::Result<store::RunHeader> find(const std::unique_ptr<EngineData>& data,
                                     const std::string& id) {
  if (data == nullptr) return std::unexpected(moved_away());
  auto found = data->store->find(id);
  if (!found) return std::unexpected(std::move(found).error());
  if (!*found) return fail(kflow::ErrorCode::not_found, "there is no run `" + id + "`");
  return std::move(**found);
}

Result<Run> run_of(const EngineData& data, const store::RunHeader& header) {
  Run out;
  out.id = header.id;
  out.workflow = header.workflow;
  out.status = static_cast<Status>(header.status);
  out.created_at_ms = header.created_at;
  out.ended_at_ms = header.ended_at;
  if (!has_ended(out.status)) return out;
  auto outcome = engine::read_outcome(*data.store, header.key);
  if (!outcome) return to_error(std::move(outcome).error());
  if (const auto* value = std::get_if<cel::Value>(&*outcome)) {
    out.value = ValueData::wrap(*value);
  } else {
    const auto& e = std::get<machine::RunError>(*outcome);
    out.error = {e.kind, e.code, e.message, e.step, ValueData::wrap(e.data)};
  }
  return out;
}

static_assert(static_cast<int>(Status::pending) == static_cast<int>(machine::RunStatus::pending) &&
              static_cast<int>(Status::paused) == static_cast<int>(machine::RunStatus::paused) &&
              static_cast<int>(Status::error) == static_cast<int>(machine::RunStatus::error));

}  // namespace

Engine::Engine(std::unique_ptr<EngineData> data) : data_(std::move(data)) {}
Engine::~Engine() {
  // It would wait for the very thread that it is on.
  if (data_ != nullptr)
    KFLOW_CHECK(!detail::InsideCallback::of(data_->id),
                "an engine is closed from within one of its functions or callbacks; close it on a "
                "thread of your own");
}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&& other) noexcept {
  Engine old(std::move(data_));
  data_ = std::move(other.data_);
  return *this;
}

Result<Engine> Engine::open(const Store& store, EngineOptions options) {
  auto handle = StoreData::of(store).open();
  if (!handle) return to_error(std::move(handle).error());
  auto data = std::make_unique<EngineData>();
  data->id = std::make_shared<const char>();
  data->store = std::move(*handle);
  engine::EngineOptions inner = options_of(data->id, std::move(options));
  data->project_root = inner.project_root;
  inner.activities.blobs = nullptr;
  data->activities = inner.activities;
  auto opened = engine::Engine::open(data->store, std::move(inner));
  if (!opened) return to_error(std::move(opened).error());
  data->engine = std::move(*opened);
  return Engine(std::move(data));
}

Result<std::string> Engine::start(const Program& program, const std::string& workflow,
                                  const Value& input, const StartOptions& options) {
  if (data_ == nullptr) return to_error(moved_away());
  const auto& p = ProgramData::unwrap(program);
  const ir::CallableId entry = p->find(workflow);
  if (!entry || (*p)[entry].kind != ir::CallableKind::workflow) {
    std::string names;
    for (const std::string& name : program.workflows())
      names += (names.empty() ? "`" : ", `") + name + "`";
    return Error{ErrorCode::not_found, "the program has no workflow `" + workflow + "`" +
                                           (names.empty() ? "" : "; it has " + names)};
  }
  const cel::Value record = input.is_null() ? cel::Value::map({}) : ValueData::unwrap(input);
  auto started = data_->engine->start(p, entry, record,
                                      {.id = options.id,
                                       .session_id = options.session_id,
                                       .user_id = options.user_id,
                                       .tags = options.tags,
                                       .idempotency_key = options.idempotency_key,
                                       .project_root = data_->project_root});
  if (!started) return to_error(std::move(started).error());
  return started->id;
}

Result<Run> Engine::get(const std::string& run_id) const {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  return run_of(*data_, *header);
}

Result<Run> Engine::await(const std::string& run_id, int timeout_ms) const {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto ended = data_->engine->wait(header->key, timeout_ms);
  if (!ended) return to_error(std::move(ended).error());
  return run_of(*data_, *ended);
}

Result<std::vector<Run>> Engine::list(std::optional<Status> status, std::size_t limit) const {
  if (data_ == nullptr) return to_error(moved_away());
  store::RunFilter filter{.limit = limit};
  if (status) filter.status = static_cast<machine::RunStatus>(*status);
  auto headers = data_->store->list(filter);
  if (!headers) return to_error(std::move(headers).error());
  std::vector<Run> out;
  for (const store::RunHeader& h : *headers) {
    auto run = run_of(*data_, h);
    if (!run) return run.error();
    out.push_back(std::move(*run));
  }
  return out;
}

Result<void> Engine::signal(const std::string& run_id, const std::string& name, const Value& value,
                            const std::string& key) {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto sent = engine::send_signal(*data_->store, *header, name, ValueData::unwrap(value), key);
  if (!sent) return to_error(std::move(sent).error());
  return {};
}

Result<std::vector<Question>> Engine::questions(const std::string& run_id) const {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto program = engine::load_program(*data_->store, header->program);
  if (!program) return to_error(std::move(program).error());
  auto open = engine::open_requirements(*data_->store, *header);
  if (!open) return to_error(std::move(open).error());
  std::vector<Question> out;
  for (const machine::Requirement& r : *open) {
    Question q;
    q.id = r.id;
    q.step = r.path;
    q.text = r.question;
    q.show = ValueData::wrap(r.show);
    if (r.form) q.form = schema::json_schema((*program)->types, r.form);
    q.expires_at_ms = r.expires == machine::never ? 0 : r.expires;
    out.push_back(std::move(q));
  }
  return out;
}

Result<void> Engine::answer(const std::string& run_id, const std::string& question_id,
                            const Answer& answer) {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto program = engine::load_program(*data_->store, header->program);
  if (!program) return to_error(std::move(program).error());
  auto open = engine::open_requirements(*data_->store, *header);
  if (!open) return to_error(std::move(open).error());
  for (const machine::Requirement& r : *open) {
    if (r.id != question_id) continue;
    machine::AnswerInput given{
        .requirement = r.id, .accepted = answer.approve, .value = {}, .feedback = answer.feedback};
    if (answer.value) given.value = ValueData::unwrap(*answer.value);
    auto sent = engine::answer(*data_->store, *header, **program, r, std::move(given));
    if (!sent) return to_error(std::move(sent).error());
    return {};
  }
  return Error{ErrorCode::not_found,
               "run `" + run_id + "` asks no question `" + question_id + "` now"};
}

Result<void> Engine::cancel(const std::string& run_id, const std::string& reason, bool kill) {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto asked = engine::request_cancel(*data_->store, *header, reason, kill);
  if (!asked) return to_error(std::move(asked).error());
  return {};
}

Result<void> Engine::resume(const std::string& run_id) {
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  auto fits = engine::check_needs(*data_->store, *header, data_->activities);
  if (!fits) return to_error(std::move(fits).error());
  auto taken = data_->engine->resume(header->key);
  if (!taken) return to_error(std::move(taken).error());
  return {};
}

Result<void> Engine::read_events(const std::string& run_id, std::uint64_t from,
                                 const Visitor& visit) const {
  auto ended = follow(run_id, from, visit, 0);
  if (!ended) return ended.error();
  return {};
}

Result<bool> Engine::follow(const std::string& run_id, std::uint64_t from, const Visitor& visit,
                            int timeout_ms) const {
  if (!visit) return Error{ErrorCode::invalid_argument, "there is no visitor"};
  auto header = find(data_, run_id);
  if (!header) return to_error(std::move(header).error());
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  const auto stream = data_->streams.of(*data_->store, header->key);
  engine::RunStream behind(*data_->store, header->key);
  for (;;) {
    // Of a run that had ended before it was read, all was read.
    auto before = find(data_, run_id);
    if (!before) return to_error(std::move(before).error());
    const bool ended = has_ended(static_cast<Status>(before->status));
    bool more = true;
    auto read = stream->read(from, behind, [&](uint64_t index, const std::string& frame) {
      from = index + 1;
      more = visit({index, frame});
      return more;
    });
    if (!read) return to_error(std::move(read).error());
    if (!more) return false;
    if (ended) return true;
    int wait = longest_wait_ms;
    if (timeout_ms >= 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      wait = static_cast<int>(std::min<std::int64_t>(wait, left.count()));
    }
    data_->engine->wait_for_stream(header->key, from, wait);
  }
}

}  // namespace kflow::embed
