// Starting runs.
#include "compiler/base/bytes.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/parameters.hpp"
#include "runtime/server/sessions.hpp"

namespace kflow::server {
namespace {

struct Target {
  std::shared_ptr<const ir::Program> program;
  ir::CallableId workflow;
};

std::variant<Target, Problem> find_target(App& app, const Call& call) {
  const std::string id = call.text("workflow_id");
  const std::string version = call.text("version");
  const auto catalog = app.programs().catalog();
  const Catalog::Entry* entry = catalog->find(id);
  if (entry != nullptr && (version.empty() || version == entry->file->version))
    return Target{entry->file->program, entry->callable};
  if (version.empty()) return Problem{404, "there is no workflow `" + id + "`"};
  const auto hash = sha256_from_hex(version);
  auto program = hash ? engine::load_program(app.store(), *hash)
                      : Result<std::shared_ptr<const ir::Program>>(
                            fail(ErrorCode::not_found, "a version is 64 hexadecimal digits"));
  const ir::CallableId workflow = program ? (*program)->find(id) : ir::CallableId();
  if (!workflow || (**program)[workflow].kind != ir::CallableKind::workflow)
    return Problem{404, "there is no version `" + version + "` of a workflow `" + id + "`"};
  return Target{std::move(*program), workflow};
}

// Which parameter a `message` is for: the one of that name, else the only one that must be given,
// else the only one.
const ir::Param* message_parameter(const ir::Program& program, const ir::Callable& workflow) {
  const ir::Param* required = nullptr;
  size_t count = 0;
  for (const ir::Param& p : workflow.params) {
    if (p.name == "message") return &p;
    if (p.fallback || program.types.accepts_null(p.type)) continue;
    required = &p;
    ++count;
  }
  if (count == 1) return required;
  return workflow.params.size() == 1 ? &workflow.params[0] : nullptr;
}

bool takes_text(const ir::Program& program, const ir::Param& p) {
  const schema::Type& type = program.types[program.types.without_null(p.type)];
  return type.kind == schema::TypeKind::string || (type.kind == schema::TypeKind::literal_union &&
                                                   type.literals[0].kind() == cel::Kind::string);
}

std::variant<cel::Value, Problem> input_of(const Call& call, const Target& target) {
  const ir::Program& program = *target.program;
  const ir::Callable& workflow = program[target.workflow];
  const cel::Value* message = call.value("message");
  const cel::Value* input = call.value("input");
  if (message != nullptr && input != nullptr) {
    return Problem{422,
                   "a run is started with `message` or with `input`, not both",
                   {{"message", "stands beside `input`"}}};
  }
  if (input != nullptr) return *input;
  if (message == nullptr) return cel::Value::map({});
  // Clients that know of messages alone send a record as the JSON of it.
  const auto json = message->kind() == cel::Kind::string ? cel::from_json(message->as_string())
                                                         : Result<cel::Value>(*message);
  const ir::Param* parameter = message_parameter(program, workflow);
  if (parameter == nullptr) {
    if (json && json->kind() == cel::Kind::map) return *json;
    return Problem{
        422,
        "`" + workflow.name + "` has several inputs; give them as `input`, a record of their names",
        {{"message", "does not say which input it is"}}};
  }
  const bool text = takes_text(program, *parameter);
  if (json && json->kind() == cel::Kind::map && json->find(parameter->name) != nullptr)
    return *json;
  return cel::make_record({{parameter->name, text || !json ? *message : *json}});
}

// Takes files of a multipart form into the store, each in place of the parameter it is named after.
Result<cel::Value> with_files(App& app, const Call& call, cel::Value input,
                              std::vector<StageId>& stages) {
  if (call.files.empty() || (input.kind() != cel::Kind::map && !input.is_null())) return input;
  cel::MapBuilder out;
  std::map<std::string, std::vector<cel::Value>> taken;
  if (input.kind() == cel::Kind::map) {
    for (const cel::MapEntry& e : input.as_map()) out.add(e.key, e.value);
  }
  for (const Field& field : call.files) {
    const std::string_view bytes = field.value.as_bytes();
    auto writer = app.store().new_blob(bytes.size());
    if (!writer) return std::unexpected(std::move(writer).error());
    KFLOW_TRY((*writer)->write(bytes));
    auto staged = (*writer)->finish();
    if (!staged) return std::unexpected(std::move(staged).error());
    stages.push_back(staged->stage);
    const size_t slash = field.file_name.find_last_of("/\\");
    taken[field.name].push_back(cel::Value::file(
        {.name = slash == std::string::npos ? field.file_name : field.file_name.substr(slash + 1),
         .media_type = field.media_type.empty() ? "application/octet-stream" : field.media_type,
         .size = staged->size,
         .sha256 = staged->hash}));
  }
  for (auto& [name, files] : taken) {
    const bool one = files.size() == 1;
    out.set(name, one ? std::move(files[0]) : cel::Value::list(std::move(files)));
  }
  return std::move(out).take();
}

// A single file for a parameter that is a list of them.
cel::Value as_lists(const ir::Program& program, const ir::Callable& workflow, cel::Value input) {
  if (input.kind() != cel::Kind::map) return input;
  cel::MapBuilder out;
  for (const cel::MapEntry& e : input.as_map()) out.add(e.key, e.value);
  for (const ir::Param& p : workflow.params) {
    const cel::Value* given = input.find(p.name);
    const schema::Type& type = program.types[program.types.without_null(p.type)];
    if (given != nullptr && given->kind() == cel::Kind::file && type.kind == schema::TypeKind::list)
      out.set(p.name, cel::Value::list({*given}));
  }
  return std::move(out).take();
}

Problem start_problem(const Error& error) {
  Problem out = problem_of(error);
  if (error.code == ErrorCode::limit) out.status = 429;
  return out;
}

// The run is durable: answer as was asked.
void respond(App& app, const CallPtr& call, const engine::StartedRun& started) {
  const bool stream = call->flag("stream", true);
  const auto header = app.store().header(started.key);
  if (!header || !*header)
    return answer(call, Problem{header ? 404 : 500, "the run is gone already"});
  if (!call->who.user_id.empty() && (*header)->user_id != call->who.user_id)
    return answer(call, Problem{409, "the idempotency key was used for another run"});
  if (!stream && call->flag("background", false))
    return call->reply(started_response(202, **header));
  auto feed = app.feeds().open(**header);
  if (!feed) return answer(call, feed.error());
  if (!stream) return app.answer_at_end(call, std::move(*feed), 0);
  const Reader::Rules rules = Reader::to_pause((*feed)->state(), 0);
  Response response = event_response(std::make_shared<EventStream>(std::move(*feed), rules));
  response.headers.emplace_back("Run-Id", started.id);
  call->reply(std::move(response));
}

// The fields of the session that are given, over those that it has.
std::optional<Problem> put_state(App& app, const Call& call, const Target& target,
                                 const std::string& session) {
  const ir::Program& program = *target.program;
  const ir::TypeId type = program[target.workflow].workflow.session;
  if (!type)
    return Problem{422,
                   "the workflow declares no session state",
                   {{"session_state", "is not declared by the workflow"}}};
  cel::Value before = machine::initial_session(program, target.workflow);
  const auto row = app.store().session(session);
  if (!row) return problem_of(row.error());
  if (row->version > 0) {
    ByteReader in(row->state);
    before = cel::decode_value(in);
  }
  cel::MapBuilder state;
  for (const cel::MapEntry& e : before.as_map()) state.set(e.key.as_string(), e.value);
  for (const cel::MapEntry& e : call.value("session_state")->as_map())
    state.set(e.key.as_string(), e.value);
  const auto checked =
      schema::validate(program.types, type, std::move(state).take(), schema::Source::json);
  Problem problem{422, ""};
  for (const schema::Violation& v : checked.violations) {
    problem.detail +=
        (problem.detail.empty() ? "`session_state." : "; `session_state.") + v.path + "` " + v.rule;
    problem.errors.emplace_back("session_state." + v.path, v.rule);
  }
  if (!problem.errors.empty()) return problem;
  ByteWriter out;
  cel::encode_value(checked.value, out);
  if (out.size() > machine::max_session_bytes)
    return Problem{413, "the state of a session is at most 1 MiB"};
  const auto put = app.store().put_session({.id = session,
                                            .expected_version = row->version,
                                            .state = out.take(),
                                            .files = cel::file_hashes(checked.value)});
  if (!put) return problem_of(put.error());
  return std::nullopt;
}

void start_run(App& app, const CallPtr& call, const Target& target, const cel::Value& input,
               const engine::StartOptions& options) {
  if (!app.start_begun()) {
    (void)app.store().release_stages(options.stages);
    Response busy = to_response({429, "too many runs are being started; try again"});
    busy.headers.emplace_back("Retry-After", "1");
    return call->reply(std::move(busy));
  }
  const bool background = call->flag("background", false) && !call->flag("stream", true);
  app.engine().start(
      target.program, target.workflow, input, options,
      [&app, call, background, session = options.session_id](Result<engine::StartedRun> started) {
        app.start_ended();
        if (!started) return answer(call, start_problem(started.error()));
        if (background && !started->existed) {
          // Nothing to look up: it is as it was started.
          return call->reply(started_response(
              202, {.id = started->id, .session_id = session.empty() ? started->id : session}));
        }
        app.workers().post([&app, call, run = *started] { respond(app, call, run); });
      });
}

void start(App& app, const CallPtr& call) {
  auto found = find_target(app, *call);
  if (auto* problem = std::get_if<Problem>(&found)) return answer(call, *problem);
  const Target target = std::move(std::get<Target>(found));
  auto input = input_of(*call, target);
  if (auto* problem = std::get_if<Problem>(&input)) return answer(call, *problem);
  engine::StartOptions options{.id = call->text("run_id"),
                               .session_id = call->text("session_id"),
                               .user_id = call->text("user_id"),
                               .idempotency_key = call->text("Idempotency-Key"),
                               .project_root = app.parts().project_root};
  if (!call->who.user_id.empty()) {
    if (!options.user_id.empty() && options.user_id != call->who.user_id)
      return answer(call, Problem{403, "the token acts for another user"});
    options.user_id = call->who.user_id;
    const auto may = may_use_session(app.store(), options.user_id, options.session_id);
    if (!may) return answer(call, may.error());
    // Its state is theirs as well.
    if (!*may) return answer(call, Problem{403, "the session is another user's"});
  }
  auto complete = with_files(app, *call, std::move(std::get<cel::Value>(input)), options.stages);
  if (!complete) {
    (void)app.store().release_stages(options.stages);
    return answer(call, complete.error());
  }
  *complete = as_lists(*target.program, (*target.program)[target.workflow], std::move(*complete));
  engine::CheckedInput checked = engine::inspect_input(*target.program, target.workflow, *complete);
  if (!checked.problems.empty()) {
    (void)app.store().release_stages(options.stages);
    return answer(call, input_problem(checked.problems, ""));
  }
  if (!call->has("session_state")) return start_run(app, call, target, checked.value, options);
  if (options.id.empty()) options.id = engine::new_run_id(app.now());
  if (options.session_id.empty()) options.session_id = options.id;
  app.workers().post([&app, call, target, input = checked.value, options] {
    if (auto problem = put_state(app, *call, target, options.session_id))
      return answer(call, *problem);
    start_run(app, call, target, input, options);
  });
}

}  // namespace

void add_start_routes(App& app) {
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs",
       .id = "start_run",
       .summary = "Starts a run",
       .scope = Scope::run,
       .parameters = {idempotency_row("a second start with the same key gives the first run"),
                      {.name = "message",
                       .in = In::body,
                       .type = Type::text,
                       .doc =
                           "the workflow's one input, or the one named `message`; or all as JSON",
                       .max_bytes = 16U << 20},
                      {.name = "input",
                       .in = In::body,
                       .type = Type::object,
                       .doc = "the workflow's inputs by name"},
                      stream_row(),
                      background_row(),
                      {.name = "session_id",
                       .in = In::body,
                       .doc = "the session it belongs to; else one of its own",
                       .max_bytes = max_id_bytes},
                      {.name = "session_state",
                       .in = In::body,
                       .type = Type::object,
                       .doc = "of the session, before the run begins"},
                      {.name = "user_id",
                       .in = In::body,
                       .doc = "on whose behalf",
                       .max_bytes = max_id_bytes},
                      new_run_row("run_id"),
                      {.name = "version",
                       .in = In::body,
                       .doc = "of the workflow, if not the newest",
                       .max_bytes = 64}},
       .answers = {{200, "its events, or the run when it has ended or waits for a person", "Run"},
                   {200, "its events", "text", "text/event-stream"},
                   {202, "it is durable and under way", "Started"},
                   refusal(409, "the key or the id was used for another run"),
                   refusal(429, "too many runs")},
       .run = [&app](const CallPtr& call) { start(app, call); },
       .quick = true,
       .files = true});
}

}  // namespace kflow::server
