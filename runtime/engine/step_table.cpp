// Events → rows of steps.
#include "runtime/engine/step_table.hpp"

#include <algorithm>

#include "runtime/engine/load.hpp"

namespace kflow::engine {
void StepTable::add(const ir::Program& program, const machine::Event& e) {
  program_ = &program;
  if (e.parent != machine::no_act) parent_of_[e.act] = e.parent;
  if (const auto* s = std::get_if<machine::RunStarted>(&e.data)) input = s->input;
  if (const auto* s = std::get_if<machine::RunCompleted>(&e.data)) result = s->value;
  if (const auto* s = std::get_if<machine::RunFailed>(&e.data))
    error = (s->error.step.empty() ? "" : "step `" + s->error.step + "`: ") + s->error.message;
  if (const auto* s = std::get_if<machine::StepStarted>(&e.data)) {
    StepRow& row = row_of(program, e);
    row.begun = true;
    row.attempts = s->attempt;
    row.status = "RUNNING";
    row.tries.push_back({.attempt = s->attempt, .started_at = e.time});
    if (s->attempt == 1) row.input = s->input;
    if (!s->child.empty()) row.child = s->child;
    const auto* node = std::get_if<ir::StepNode>(&program[e.node].data);
    const cel::Value* model = node != nullptr && node->call.kind == ir::CalleeKind::model &&
                                      s->input.kind() == cel::Kind::map
                                  ? s->input.find("model")
                                  : nullptr;
    if (model != nullptr) row.callee = model->as_string();
  } else if (const auto* t = std::get_if<machine::ToolEntered>(&e.data)) {
    StepRow& row = row_of(program, e);
    row.begun = true;
    row.attempts = t->attempt;
    row.status = "RUNNING";
    row.tries.push_back({.attempt = t->attempt, .started_at = e.time});
    if (t->attempt == 1) row.input = t->input;
  } else if (const auto* a = std::get_if<machine::AgentEntered>(&e.data)) {
    StepRow& row = row_of(program, e);
    row.begun = true;
    row.status = "RUNNING";
    row.input = a->input;
    row.tries.push_back({.started_at = e.time});
  } else if (const auto* d = std::get_if<machine::AgentEnded>(&e.data)) {
    row_of(program, e).usage = d->usage;
  } else if (const auto* g = std::get_if<machine::AgentFailed>(&e.data)) {
    row_of(program, e).usage = g->usage;
  } else if (const auto* u = std::get_if<machine::UsageRecorded>(&e.data)) {
    if (e.act == 1) {
      usage = u->usage;
    } else {
      row_of(program, e).usage = u->usage;
      usage += u->usage;
    }
  } else if (const auto* q = std::get_if<machine::Asked>(&e.data)) {
    StepRow& row = row_of(program, e);
    row.status = "PAUSED";
    row.begun = row.begun || q->number == 1;
    if (q->number == 1) row.input = q->input;
  } else if (std::holds_alternative<machine::Answered>(e.data)) {
    row_of(program, e).status = "RUNNING";
  } else if (std::holds_alternative<machine::RunResumed>(e.data)) {
    error.clear();
  } else if (const auto* c = std::get_if<machine::StepCompleted>(&e.data)) {
    StepRow& row = end(e, "COMPLETED");
    row.output = c->value;
    row.cached = c->cached;
    row.error.clear();
    if (row.model) add_usage(e.act, c->value);
  } else if (const auto* r = std::get_if<machine::StepRetryScheduled>(&e.data)) {
    StepRow& row = row_of(program, e);
    row.status = "RETRYING";
    row.error = r->error.message;
    if (!row.tries.empty()) {
      row.tries.back().ended_at = e.time;
      row.tries.back().due = r->due;
      row.tries.back().error = r->error.message;
    }
  } else if (const auto* f = std::get_if<machine::StepFailed>(&e.data)) {
    StepRow& row = end(e, "ERROR");
    row.error = f->error.message;
    row.output = f->value;
    if (!row.tries.empty()) row.tries.back().error = f->error.message;
  } else if (std::holds_alternative<machine::StepCancelled>(e.data)) {
    end(e, "CANCELLED");
  }
}

void StepTable::forget_what_began_before() {
  std::erase_if(rows, [](const StepRow& row) { return !row.begun; });
  by_act_.clear();
}

void StepTable::add_open(const machine::Waiting& w) {
  const auto same = [&](const StepRow& row) { return row.path == w.path && row.ended_at == 0; };
  if (std::any_of(rows.begin(), rows.end(), same)) return;
  rows.push_back({.begun = true,
                  .path = w.path,
                  .label = "",
                  .callee = w.callee,
                  .status = w.what == "retry" ? "RETRYING" : "RUNNING",
                  .attempts = std::max<uint32_t>(1, w.attempt),
                  .started_at = w.since,
                  .input = {},
                  .output = {},
                  .error = w.error});
}

// A call counts for itself, for the agent whose turn it is, and for the run.
void StepTable::add_usage(machine::ActId act, const cel::Value& value) {
  const auto answer = conversation::answer_from(value);
  if (!answer) return;
  const machine::UsageTotal used = machine::used_by(*answer);
  usage += used;
  rows[by_act_[act]].usage += used;
  const auto agent = by_act_.find(parent_of_[act]);
  if (agent != by_act_.end()) rows[agent->second].usage += used;
}

StepRow& StepTable::row_of(const ir::Program& program, const machine::Event& e) {
  const auto [it, added] = by_act_.emplace(e.act, rows.size());
  if (added) {
    const auto* step = std::get_if<ir::StepNode>(&program[e.node].data);
    rows.push_back({.begun = false,
                    .path = e.path,
                    .label = e.label,
                    .callee = step == nullptr ? "" : step->call.name,
                    .status = "",
                    .attempts = 1,
                    .started_at = e.time,
                    .model = step != nullptr && step->call.kind == ir::CalleeKind::model,
                    .node = e.node});
  }
  return rows[it->second];
}

StepRow& StepTable::end(const machine::Event& e, std::string status) {
  StepRow& row = row_of(*program_, e);
  row.status = std::move(status);
  row.ended_at = e.time;
  if (!row.tries.empty() && row.tries.back().ended_at == 0) row.tries.back().ended_at = e.time;
  return row;
}

Result<uint64_t> read_steps(store::Store& store, const store::RunHeader& header,
                            const std::shared_ptr<const ir::Program>& program, bool whole,
                            StepTable& table) {
  const auto last = store.last(header.key);
  if (!last) return std::unexpected(last.error());
  const uint64_t events = *last ? (*last)->first_seq + (*last)->event_count : 0;
  const uint64_t from = whole || events <= most_events_listed ? 0 : events - most_events_listed;
  if (from > 0) {
    // The input is in the first event.
    KFLOW_TRY(read_events(store, header.key, 0, [&](const machine::Event& e, uint64_t, uint64_t) {
      table.add(*program, e);
      return false;
    }));
  }
  KFLOW_TRY(read_events(store, header.key, from, [&](const machine::Event& e, uint64_t, uint64_t) {
    table.add(*program, e);
    return true;
  }));
  if (from == 0) return 0;
  table.forget_what_began_before();
  if (is_final(header.status)) return from;
  const auto loaded = load_state(store, header.key, program);
  if (!loaded) return std::unexpected(loaded.error());
  for (const machine::Waiting& w : machine::waiting(*loaded->state)) table.add_open(w);
  return from;
}

}  // namespace kflow::engine
