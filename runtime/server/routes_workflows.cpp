// Routes of workflows and their sources.
#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/outline.hpp"
#include "compiler/ir/schedule.hpp"
#include "compiler/ir/schema/json_schema.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/parameters.hpp"

namespace kflow::server {
namespace {

std::string schedule_text(const ir::Callable& workflow) {
  if (workflow.workflow.schedule.empty()) return "";
  const auto spec = ir::decode_schedule(workflow.workflow.schedule);
  if (!spec) return "";
  return spec->zone.empty() ? spec->cron : spec->cron + " " + spec->zone;
}

void write_row(JsonWriter& out, const ir::Callable& workflow, const std::string& version,
               const SourceFile* file) {
  out.key("id"), out.string(workflow.name);
  out.key("name"), out.string(workflow.name);
  out.key("description"), out.string(workflow.doc);
  out.key("version"), out.string(version);
  if (file != nullptr) out.key("file"), out.string(file->shown);
  out.key("tags");
  out.begin_array();
  for (const std::string& tag : workflow.workflow.tags) out.string(tag);
  out.end_array();
  const std::string schedule = schedule_text(workflow);
  out.key("schedule"), schedule.empty() ? out.null() : out.string(schedule);
  out.key("errors"), out.unsigned_integer(file == nullptr ? 0 : file->errors);
  out.key("warnings"), out.unsigned_integer(file == nullptr ? 0 : file->warnings);
  out.key("stale"), out.boolean(file != nullptr && file->stale);
}

void list(App& app, const CallPtr& call) {
  const auto catalog = app.programs().catalog();
  JsonWriter out;
  out.begin_array();
  for (const auto& [id, entry] : catalog->workflows) {
    out.begin_object();
    write_row(out, (*entry.file->program)[entry.callable], entry.file->version, entry.file.get());
    out.end_object();
  }
  out.end_array();
  call->reply(json_response(200, out.take()));
}

std::string input_schema(const ir::Program& program, const ir::Callable& workflow) {
  std::vector<schema::Field> fields;
  for (const ir::Param& p : workflow.params) {
    schema::Field field{.name = p.name, .type = p.type, .constraints = p.constraints, .doc = p.doc};
    if (p.fallback) {
      if (const cel::Value* constant = program[p.fallback].program.constant())
        field.fallback = *constant;
    }
    fields.push_back(std::move(field));
  }
  return schema::json_schema(program.types, fields);
}

void get(App& app, const CallPtr& call) {
  const std::string id = call->text("workflow_id");
  const auto catalog = app.programs().catalog();
  const Catalog::Entry* entry = catalog->find(id);
  std::shared_ptr<const ir::Program> program = entry ? entry->file->program : nullptr;
  std::string version = entry ? entry->file->version : "";
  const SourceFile* file = entry ? entry->file.get() : nullptr;
  if (call->has("version") && call->text("version") != version) {
    version = call->text("version");
    const auto hash = sha256_from_hex(version);
    auto loaded = hash ? engine::load_program(app.store(), *hash)
                       : Result<std::shared_ptr<const ir::Program>>(
                             fail(ErrorCode::not_found, "a version is 64 hexadecimal digits"));
    if (!loaded)
      return answer(call, Problem{404, "there is no version `" + version + "` of the workflow"});
    program = std::move(*loaded);
    file = nullptr;
  }
  const ir::CallableId callable = program ? program->find(id) : ir::CallableId();
  if (!callable) return answer(call, Problem{404, "there is no workflow `" + id + "`"});
  const ir::Callable& workflow = (*program)[callable];
  JsonWriter out;
  out.begin_object();
  write_row(out, workflow, version, file);
  out.key("versions");
  out.begin_array();
  if (entry != nullptr) out.string(entry->file->version);
  if (entry == nullptr || version != entry->file->version) out.string(version);
  out.end_array();
  out.key("input_schema"), out.raw(input_schema(*program, workflow));
  out.key("output_schema");
  workflow.result ? out.raw(schema::json_schema(program->types, workflow.result)) : out.raw("{}");
  out.key("graph"), out.raw(ir::outline_json(*program, callable));
  out.end_object();
  call->reply(json_response(200, out.take()));
}

void sources(App& app, const CallPtr& call) {
  const auto catalog = app.programs().catalog();
  JsonWriter out;
  out.begin_array();
  for (const auto& file : catalog->files) {
    out.begin_object();
    out.key("path"), out.string(file->shown);
    out.key("workflows");
    out.begin_array();
    for (const auto& [id, entry] : catalog->workflows) {
      if (entry.file == file) out.string(id);
    }
    out.end_array();
    out.key("stale"), out.boolean(file->stale);
    out.key("loaded_at"), file->loaded_at == 0 ? out.null() : out.integer(file->loaded_at);
    out.key("text"), out.string(file->text);
    out.key("diagnostics"), out.raw(file->diagnostics);
    out.end_object();
  }
  out.end_array();
  call->reply(json_response(200, out.take()));
}

}  // namespace

void add_workflow_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  app.router().add({.method = "GET",
                    .pattern = "/workflows",
                    .id = "list_workflows",
                    .summary = "The workflows that are served",
                    .answers = {{200, "all of them", "WorkflowList"}},
                    .run = bind(list)});
  app.router().add({.method = "GET",
                    .pattern = "/workflows/{workflow_id}",
                    .id = "get_workflow",
                    .summary = "A workflow: its input, its graph",
                    .parameters = {{.name = "version",
                                    .doc = "as a run has it, if not the newest one",
                                    .max_bytes = 64}},
                    .answers = {{200, "the workflow", "Workflow"}},
                    .run = bind(get)});
  app.router().add({.method = "GET",
                    .pattern = "/workflows/ws",
                    .id = "socket",
                    .summary = "Upgrades to a WebSocket: actions in, events of any runs out",
                    .scope = Scope::open,
                    .answers = {{101, "the WebSocket"}, refusal(426, "without an upgrade")},
                    .run =
                        [](const CallPtr& call) {
                          Response out = to_response({426, "connect here by WebSocket"});
                          out.headers.emplace_back("Upgrade", "websocket");
                          call->reply(std::move(out));
                        },
                    .quick = true});
  app.router().add({.method = "GET",
                    .pattern = "/sources",
                    .id = "list_sources",
                    .summary = "The files that are served, and what is wrong with them",
                    .answers = {{200, "all of them", "SourceList"}},
                    .run = bind(sources)});
}

}  // namespace kflow::server
