// Runs → JSON.
#include "runtime/server/documents.hpp"

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/json_schema.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/server/frames.hpp"

namespace kflow::server {
namespace {

void text_or_null(JsonWriter& out, std::string_view key, const std::string& text) {
  out.key(key);
  text.empty() ? out.null() : out.string(text);
}

void seconds_or_null(JsonWriter& out, std::string_view key, machine::Millis t) {
  out.key(key);
  t == 0 ? out.null() : out.number(static_cast<double>(t) / 1000);
}

void millis_or_null(JsonWriter& out, std::string_view key, machine::Millis t) {
  out.key(key);
  t == 0 || t == machine::never ? out.null() : out.integer(t);
}

void write_value(JsonWriter& out, std::string_view key, const cel::Value& value) {
  out.key(key), out.raw(cel::to_json(value));
}

void write_row_fields(JsonWriter& out, const store::RunHeader& h, const std::string& parent) {
  out.key("run_id"), out.string(h.id);
  out.key("workflow_id"), out.string(h.workflow);
  out.key("workflow_name"), out.string(h.workflow);
  out.key("version"), out.string(to_hex(h.program));
  out.key("session_id"), out.string(h.session_id);
  text_or_null(out, "user_id", h.user_id);
  text_or_null(out, "parent_run_id", parent);
  out.key("status"), out.string(machine::to_string(h.status));
  out.key("created_at"), out.integer(h.created_at / 1000);
  seconds_or_null(out, "started_at", h.started_at);
  seconds_or_null(out, "ended_at", h.ended_at);
  text_or_null(out, "error", h.error);
  out.key("tags");
  out.begin_array();
  for (const std::string& tag : h.tags) out.string(tag);
  out.end_array();
}

void write_usage(JsonWriter& out, const machine::UsageTotal& usage) {
  out.key("usage");
  usage.calls == 0 ? out.null() : out.raw(cel::to_json(machine::to_value(usage)));
}

std::string_view kind_of(const machine::Requirement& r) {
  switch (r.kind) {
    case machine::AskKind::confirm:
      return r.of_tool ? "tool_confirmation" : "confirmation";
    case machine::AskKind::decide:
      return "confirmation";
    case machine::AskKind::form:
      return "user_input";
    case machine::AskKind::review:
      return "output_review";
  }
  return "";
}

std::string_view callee_kind(const ir::StepNode& step) {
  switch (step.call.kind) {
    case ir::CalleeKind::builtin:
      return "builtin";
    case ir::CalleeKind::tool:
    case ir::CalleeKind::extern_tool:
    case ir::CalleeKind::mcp_tool:
      return "tool";
    case ir::CalleeKind::workflow:
    case ir::CalleeKind::workflow_start:
      return "workflow";
    case ir::CalleeKind::agent:
      return "agent";
    case ir::CalleeKind::team:
      return "team";
    case ir::CalleeKind::model:
      return "model";
  }
  return "";
}

void write_metrics(JsonWriter& out, const store::RunHeader& run, const engine::StepTable& table) {
  out.key("metrics");
  out.begin_object();
  out.key("steps");
  out.begin_object();
  std::map<std::string_view, const engine::StepRow*> last;  // a name stands once
  for (const engine::StepRow& row : table.rows) last[row.path] = &row;
  for (const auto& [path, row] : last) {
    out.key(path);
    out.begin_object();
    out.key("attempts"), out.integer(row->attempts);
    if (row->ended_at != 0) {
      out.key("duration"), out.number(static_cast<double>(row->ended_at - row->started_at) / 1000);
    }
    if (row->usage.calls > 0) write_usage(out, row->usage);
    out.end_object();
  }
  out.end_object();
  out.key("duration");
  run.ended_at == 0 ? out.null()
                    : out.number(static_cast<double>(run.ended_at - run.started_at) / 1000);
  out.end_object();
}

Result<void> write_events(JsonWriter& out, store::Store& store, const store::RunHeader& run) {
  engine::RunStream stream(store, run.key);
  const auto frames = read_segment(store, run.key, stream, 0, UINT64_MAX, max_embedded_events);
  if (!frames) return std::unexpected(frames.error());
  if (!(*frames)->at_end)
    return fail(ErrorCode::limit,
                "the run has more events than fit into its document; read them from …/events");
  out.key("events");
  out.begin_array();
  for (const Frame& frame : (*frames)->frames)
    out.raw(std::string_view(*(*frames)->text).substr(frame.json, frame.json_size));
  out.end_array();
  return {};
}

}  // namespace

Result<std::string> parent_id(store::Store& store, const store::RunHeader& run) {
  if (run.parent == 0) return std::string();
  const auto parent = store.header(run.parent);
  if (!parent) return std::unexpected(parent.error());
  return *parent ? (*parent)->id : std::string();
}

Result<std::string> current_step(store::Store& store, const store::RunHeader& run) {
  if (is_final(run.status)) return std::string();
  const auto program = engine::load_program(store, run.program);
  if (!program) return std::unexpected(program.error());
  const auto loaded = engine::load_state(store, run.key, *program);
  if (!loaded) return std::unexpected(loaded.error());
  const auto waiting = machine::waiting(*loaded->state);
  return waiting.empty() ? std::string() : waiting[0].path;
}

void write_run_row(JsonWriter& out, const store::RunHeader& run, const std::string& parent,
                   const std::string& step) {
  out.begin_object();
  write_row_fields(out, run, parent);
  text_or_null(out, "current_step", step);
  write_usage(out, run.usage);
  out.end_object();
}

void write_step(JsonWriter& out, const engine::StepRow& row, const ir::Program& program,
                bool values) {
  out.begin_object();
  out.key("step_id"), out.string(row.path);
  if (row.node) {
    out.key("step_name"), out.string(program[row.node].name);
    out.key("step_index"), out.integer(row.node.value);
  }
  if (!row.label.empty()) out.key("step_label"), out.string(row.label);
  out.key("callee"), out.string(row.callee);
  out.key("status"), out.string(row.status);
  out.key("attempts"), out.integer(row.attempts);
  out.key("attempt_list");
  out.begin_array();
  for (const engine::AttemptRow& t : row.tries) {
    out.begin_object();
    out.key("attempt"), out.integer(t.attempt);
    millis_or_null(out, "started_at", t.started_at);
    millis_or_null(out, "ended_at", t.ended_at);
    text_or_null(out, "error", t.error);
    millis_or_null(out, "due", t.due);
    out.end_object();
  }
  out.end_array();
  out.key("started_at"), out.integer(row.started_at);
  millis_or_null(out, "ended_at", row.ended_at);
  if (values) {
    write_value(out, "input", row.input);
    write_value(out, "content", row.output);
  }
  text_or_null(out, "error", row.error);
  if (row.cached) out.key("cached"), out.boolean(true);
  if (!row.child.empty()) out.key("child_run_id"), out.string(row.child);
  if (row.usage.calls > 0) write_usage(out, row.usage);
  out.end_object();
}

void write_requirement(JsonWriter& out, const machine::Requirement& r, const ir::Program& program) {
  out.begin_object();
  out.key("id"), out.string(r.id);
  out.key("step_id"), out.string(r.path);
  if (r.node) {
    out.key("step_name"), out.string(program[r.node].name);
    out.key("step_index"), out.integer(r.node.value);
    const auto* step = std::get_if<ir::StepNode>(&program[r.node].data);
    if (step != nullptr) out.key("step_type"), out.string(callee_kind(*step));
  }
  out.key("kind"), out.string(kind_of(r));
  out.key("message"), out.string(r.question);
  out.key("schema");
  r.form ? out.raw(schema::json_schema(program.types, r.form)) : out.null();
  if (!r.show.is_null()) write_value(out, "show", r.show);
  write_value(out, "step_input", r.input);
  write_value(out, "step_output", r.value);
  out.key("expires_at");
  r.expires == machine::never ? out.null() : out.integer(r.expires / 1000);
  out.key("on_timeout");
  if (r.expires == machine::never) {
    out.null();
  } else if (r.has_default) {
    out.begin_object();
    write_value(out, "default", r.fallback);
    out.end_object();
  } else {
    out.string("error");
  }
  // What an answer fills in.
  for (const char* name : {"confirmed", "user_input", "edited_output", "feedback"})
    out.key(name), out.null();
  out.end_object();
}

Result<std::string> run_document(store::Store& store, const store::RunHeader& run, bool events) {
  const auto program = engine::load_program(store, run.program);
  if (!program) return std::unexpected(program.error());
  const auto parent = parent_id(store, run);
  if (!parent) return std::unexpected(parent.error());
  engine::StepTable table;
  const auto left_out = engine::read_steps(store, run, *program, false, table);
  if (!left_out) return std::unexpected(left_out.error());
  const auto size = store.stream_size(run.key);
  if (!size) return std::unexpected(size.error());
  std::vector<machine::Requirement> open;
  if (run.status == machine::RunStatus::paused || run.status == machine::RunStatus::running) {
    auto asked = engine::open_requirements(store, run);
    if (!asked) return std::unexpected(std::move(asked).error());
    open = std::move(*asked);
  }
  JsonWriter out;
  out.begin_object();
  write_row_fields(out, run, *parent);
  write_value(out, "input", table.input);
  write_value(out, "content", table.result);
  out.key("content_type");
  out.string(table.result.kind() == cel::Kind::string ? "str" : "json");
  out.key("event_count"), out.unsigned_integer(*size);
  if (*left_out > 0) out.key("events_left_out"), out.unsigned_integer(*left_out);
  out.key("step_results");
  out.begin_array();
  for (const engine::StepRow& row : table.rows) write_step(out, row, **program, true);
  out.end_array();
  write_metrics(out, run, table);
  write_usage(out, table.usage.calls > 0 ? table.usage : run.usage);
  out.key("step_requirements");
  out.begin_array();
  for (const machine::Requirement& r : open) write_requirement(out, r, **program);
  out.end_array();
  text_or_null(out, "paused_step_name",
               open.empty() || !open[0].node ? "" : (**program)[open[0].node].name);
  if (events) KFLOW_TRY(write_events(out, store, run));
  out.end_object();
  return out.take();
}

}  // namespace kflow::server
