// Schedules: those of files and those that people add.
#include "compiler/cel/time.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schedule.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/schedule_row.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/parameters.hpp"
#include "runtime/server/schedules.hpp"

namespace kflow::server {
namespace {

using store::Schedule;

Result<void> write_schedule(JsonWriter& out, store::Store& store, const Principal& who,
                            const Schedule& row) {
  const auto content = engine::decode_row(row.spec);
  if (!content) return std::unexpected(content.error());
  const ir::ScheduleSpec& spec = content->spec;
  std::string last_id;
  machine::Millis last_at = 0;
  if (row.last_run != 0) {
    const auto run = store.header(row.last_run);
    if (!run) return std::unexpected(run.error());
    if (*run && (who.user_id.empty() || who.user_id == (*run)->user_id))
      last_id = (*run)->id, last_at = (*run)->created_at;
  }
  out.begin_object();
  out.key("id"), out.string(row.id);
  out.key("workflow_id"), out.string(row.workflow);
  out.key("cron"), out.string(spec.cron);
  out.key("tz"), out.string(spec.zone.empty() ? "UTC" : spec.zone);
  out.key("overlap"), out.string(ir::to_string(spec.overlap));
  out.key("catch_up"), out.string(ir::to_string(spec.catch_up));
  out.key("input"), out.raw(cel::to_json(content->input));
  out.key("enabled"), out.boolean(row.enabled);
  out.key("next_at");
  row.next_due == machine::never || !row.enabled ? out.null() : out.integer(row.next_due);
  out.key("last_at"), last_at == 0 ? out.null() : out.integer(last_at);
  out.key("last_run_id"), last_id.empty() ? out.null() : out.string(last_id);
  out.key("from_file"), out.boolean(!row.id.starts_with(added_schedule));
  out.end_object();
  return {};
}

void list(App& app, const CallPtr& call) {
  const auto rows = app.store().schedules();
  if (!rows) return answer(call, rows.error());
  JsonWriter out;
  out.begin_array();
  for (const Schedule& row : *rows) {
    if (auto ok = write_schedule(out, app.store(), call->who, row); !ok)
      return answer(call, ok.error());
  }
  out.end_array();
  call->reply(json_response(200, out.take()));
}

void with_schedule(App& app, const CallPtr& call, const std::function<void(Schedule)>& then) {
  const std::string id = call->text("schedule_id");
  auto rows = app.store().schedules();
  if (!rows) return answer(call, rows.error());
  for (Schedule& row : *rows) {
    if (row.id == id) return then(std::move(row));
  }
  answer(call, Problem{404, "there is no schedule `" + id + "`"});
}

void respond(App& app, const CallPtr& call, int status, const Schedule& row) {
  JsonWriter out;
  if (auto ok = write_schedule(out, app.store(), call->who, row); !ok)
    return answer(call, ok.error());
  call->reply(json_response(status, out.take()));
}

// Puts the row with its program, and wakes who follows schedules.
bool put(App& app, const CallPtr& call, Schedule& row) {
  const auto program = engine::load_program(app.store(), row.program);
  if (program) row.program_bytes = ir::encode(**program);
  if (auto done = app.store().put_schedule(row); !done) {
    answer(call, done.error());
    return false;
  }
  app.store().ring(store::every_owner);
  return true;
}

void create(App& app, const CallPtr& call) {
  const std::string workflow = call->text("workflow_id");
  const auto catalog = app.programs().catalog();
  const Catalog::Entry* entry = catalog->find(workflow);
  if (entry == nullptr)
    return answer(call, Problem{422,
                                "there is no workflow `" + workflow + "`",
                                {{"workflow_id", "there is no such workflow"}}});
  const ir::Program& program = *entry->file->program;
  ir::ScheduleSpec spec{.cron = call->text("cron"), .zone = call->text("tz")};
  if (const auto overlap = ir::parse_overlap(call->text("overlap", "skip")))
    spec.overlap = *overlap;
  if (const auto catch_up = ir::parse_catch_up(call->text("catch_up", "skip")))
    spec.catch_up = *catch_up;
  const auto sound = ir::check_schedule(spec);
  if (!sound)
    return answer(call, Problem{422, sound.error().message, {{"cron", sound.error().message}}});
  // Looked at again at each start, with the defaults of that moment.
  const cel::Value* given = call->value("input");
  const engine::ScheduleRow content{.spec = spec,
                                    .input = given == nullptr ? cel::Value::map({}) : *given};
  const auto input = engine::inspect_input(program, entry->callable, content.input);
  if (!input.problems.empty()) return answer(call, input_problem(input.problems, "input."));
  std::string encoded = engine::encode_row(content);
  if (encoded.size() > engine::max_schedule_input_bytes) {
    return answer(call,
                  Problem{413, "the input of a schedule has at most " +
                                   std::to_string(engine::max_schedule_input_bytes) + " bytes"});
  }
  Schedule row{.id = std::string(added_schedule) + engine::new_run_id(app.now()),
               .workflow = workflow,
               .program = ir::hash(program),
               .program_bytes = ir::encode(program),
               .project_root = app.parts().project_root,
               .spec = std::move(encoded)};
  const auto first = ir::first_occurrence(spec, app.now(), row.id);
  row.next_due = first ? first->due_ms : machine::never;
  if (auto done = app.store().put_schedule(row); !done) return answer(call, done.error());
  app.store().ring(store::every_owner);
  respond(app, call, 201, row);
}

void enable(App& app, const CallPtr& call, bool on) {
  with_schedule(app, call, [&](Schedule row) {
    if (on && !row.enabled) {
      // What was due meanwhile is not made up for.
      const auto content = engine::decode_row(row.spec);
      const auto first =
          content ? ir::first_occurrence(content->spec, app.now(), row.id) : std::nullopt;
      row.next_due = first ? first->due_ms : machine::never;
    }
    row.enabled = on;
    if (put(app, call, row)) respond(app, call, 200, row);
  });
}

void trigger(App& app, const CallPtr& call) {
  with_schedule(app, call, [&](const Schedule& row) {
    const auto program = engine::load_program(app.store(), row.program);
    if (!program) return answer(call, program.error());
    const ir::CallableId workflow = (*program)->find(row.workflow);
    if (!workflow) return answer(call, Problem{409, "its program has no such workflow"});
    const auto content = engine::decode_row(row.spec);
    if (!content) return answer(call, content.error());
    auto input = engine::check_input(**program, workflow, content->input);
    if (!input) return answer(call, input.error());
    app.engine().start(
        *program, workflow, *input,
        {.user_id = call->who.user_id,
         .tags = {engine::schedule_tag(row.id)},
         .project_root = row.project_root},
        [call](Result<engine::StartedRun> started) {
          if (!started) return answer(call, started.error());
          call->reply(started_response(202, {.id = started->id, .session_id = started->id}));
        });
  });
}

void remove(App& app, const CallPtr& call) {
  with_schedule(app, call, [&](const Schedule& row) {
    if (!row.id.starts_with(added_schedule))
      return answer(call, Problem{409,
                                  "the schedule is that of a file; disable it, or edit the "
                                  "file"});
    if (auto done = app.store().remove_schedule(row.id); !done) return answer(call, done.error());
    call->reply({.status = 204});
  });
}

}  // namespace

void add_schedule_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  app.router().add({.method = "GET",
                    .pattern = "/schedules",
                    .id = "list_schedules",
                    .summary = "What starts by itself, and when next",
                    .answers = {{200, "all of them", "ScheduleList"}},
                    .run = bind(list)});
  app.router().add(
      {.method = "POST",
       .pattern = "/schedules",
       .id = "create_schedule",
       .summary = "Lets a workflow start by itself",
       .scope = Scope::admin,
       .parameters = {{.name = "workflow_id",
                       .in = In::body,
                       .doc = "which one",
                       .required = true,
                       .max_bytes = max_id_bytes},
                      {.name = "cron",
                       .in = In::body,
                       .doc = "as in a file: `0 9 * * MON`",
                       .required = true,
                       .max_bytes = 200},
                      {.name = "input",
                       .in = In::body,
                       .type = Type::object,
                       .doc = "what each run of it is given, by name; at most 64 KiB"},
                      {.name = "tz", .in = In::body, .doc = "a zone; else UTC", .max_bytes = 100},
                      {.name = "overlap",
                       .in = In::body,
                       .doc = "while a run of it goes on",
                       .choices = {"skip", "queue", "allow", "cancel_oldest"}},
                      {.name = "catch_up",
                       .in = In::body,
                       .doc = "what was missed",
                       .choices = {"skip", "one", "all"}}},
       .answers = {{201, "it is followed", "Schedule"}},
       .run = bind(create)});
  app.router().add({.method = "POST",
                    .pattern = "/schedules/{schedule_id}/enable",
                    .id = "enable_schedule",
                    .summary = "Follows a schedule again, from now on",
                    .scope = Scope::admin,
                    .answers = {{200, "the schedule", "Schedule"}},
                    .run = [&app](const CallPtr& call) { enable(app, call, true); }});
  app.router().add({.method = "POST",
                    .pattern = "/schedules/{schedule_id}/disable",
                    .id = "disable_schedule",
                    .summary = "Lets a schedule rest",
                    .scope = Scope::admin,
                    .answers = {{200, "the schedule", "Schedule"}},
                    .run = [&app](const CallPtr& call) { enable(app, call, false); }});
  app.router().add({.method = "POST",
                    .pattern = "/schedules/{schedule_id}/trigger",
                    .id = "trigger_schedule",
                    .summary = "Starts its workflow now",
                    .scope = Scope::run,
                    .answers = {{202, "it is durable and under way", "Started"},
                                refusal(409, "its program has no such workflow")},
                    .run = bind(trigger)});
  app.router().add({.method = "DELETE",
                    .pattern = "/schedules/{schedule_id}",
                    .id = "delete_schedule",
                    .summary = "Removes a schedule that was added here",
                    .scope = Scope::admin,
                    .answers = {{204, "it is gone"}, refusal(409, "it stands in a file")},
                    .run = bind(remove)});
}

}  // namespace kflow::server
