// Workflows that start by themselves: what is due is started in the transaction that moves the
// schedule on.
#include <algorithm>

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schedule.hpp"
#include "runtime/engine/impl.hpp"
#include "runtime/engine/schedule_row.hpp"

namespace kflow::engine {
namespace {

// Occurrences of one schedule that one look deals with; the rest at the next.
constexpr size_t max_fires = 1000;
// Looked at again after an error of the store.
constexpr Millis schedule_retry_ms = 5'000;

// Unfinished runs of a schedule, oldest first.
Result<std::vector<RunHeader>> unfinished(store::Store& store, std::string_view id) {
  auto runs = store.list({.tag = schedule_tag(id), .limit = ir::max_schedule_queue + 1});
  if (!runs) return runs;
  std::erase_if(*runs, [](const RunHeader& h) { return is_final(h.status); });
  std::reverse(runs->begin(), runs->end());
  return runs;
}

}  // namespace

std::string encode_row(const ScheduleRow& row) {
  ByteWriter out;
  ir::encode_schedule(row.spec, out);
  if (!row.input.as_map().empty()) cel::encode_value(row.input, out);
  return out.take();
}

Result<ScheduleRow> decode_row(std::string_view bytes) {
  ByteReader in(bytes);
  ScheduleRow out{.spec = ir::decode_schedule(in)};
  if (!in.failed() && !in.done()) out.input = cel::decode_value(in);
  if (!in.done() || out.input.kind() != cel::Kind::map)
    return fail(ErrorCode::corrupt, "a stored schedule cannot be read");
  return out;
}

std::string schedule_tag(std::string_view id) { return "schedule:" + std::string(id); }

Result<void> put_schedule(store::Store& store, const std::string& id, const ir::Program& program,
                          ir::CallableId workflow, const std::string& project_root, Millis now) {
  const std::string& encoded = program[workflow].workflow.schedule;
  auto spec = ir::decode_schedule(encoded);
  if (!spec)
    return fail(ErrorCode::invalid_argument,
                "the workflow `" + program[workflow].name + "` has no `schedule`");
  const auto first = ir::first_occurrence(*spec, now, id);
  if (!first)
    return fail(ErrorCode::invalid_argument,
                "the schedule of `" + program[workflow].name +
                    "` cannot be followed here: " + ir::check_schedule(*spec).error().message);
  store::Schedule row{.id = id,
                      .workflow = program[workflow].name,
                      .program = ir::hash(program),
                      .program_bytes = ir::encode(program),
                      .project_root = project_root,
                      .spec = encoded,
                      .next_due = first->due_ms};
  const auto known = store.schedules();
  if (!known) return std::unexpected(known.error());
  for (const store::Schedule& old : *known) {
    if (old.id != id) continue;
    row.enabled = old.enabled;
    row.last_run = old.last_run;
    if (old.spec == encoded) row.next_due = old.next_due;
  }
  auto put = store.put_schedule(row);
  if (put) store.ring(store::every_owner);
  return put;
}

// One occurrence. False: nothing more is due, `next` says when.
bool Engine::Impl::fire(const store::Schedule& schedule, Millis t, Millis& next) {
  const auto row = decode_row(schedule.spec);
  const auto running = unfinished(*store_, schedule.id);
  if (!row || !running) {
    trouble("schedule `" + schedule.id +
            "`: " + (row ? running.error().message : row.error().message));
    next = t + schedule_retry_ms;
    return false;
  }
  const ir::FirePlan plan =
      ir::plan_fire(row->spec, schedule.next_due, t, running->size(), schedule.id);
  if (plan.verdict == ir::FirePlan::Verdict::invalid) {
    trouble("schedule `" + schedule.id +
            "` cannot be followed here: " + ir::check_schedule(row->spec).error().message);
    next = t + schedule_retry_ms;
    return false;
  }
  next = plan.next ? plan.next->start_ms : machine::never;
  if (plan.verdict == ir::FirePlan::Verdict::wait) return false;
  const Millis next_due = plan.next ? plan.next->due_ms : machine::never;

  NewRun run;
  BlobSink blobs;
  ByteWriter events(&blobs);
  if (plan.starts()) {
    const auto program = load_program(*store_, schedule.program);
    const ir::CallableId workflow =
        program ? (*program)->find(schedule.workflow) : ir::CallableId();
    const auto input =
        workflow
            ? check_input(**program, workflow, row->input)
            : Result<cel::Value>(fail(ErrorCode::not_found, "its program has no such workflow"));
    if (!input) {
      trouble("schedule `" + schedule.id +
              "`: " + (program ? input.error().message : program.error().message));
      next = t + schedule_retry_ms;
      return false;
    }
    RunHeader& h = run.header;
    describe(h, **program, workflow);
    h.id = machine::derived_run_id(schedule.next_due,
                                   schedule.id + "\n" + std::to_string(schedule.next_due));
    h.program = schedule.program;
    h.tags.push_back(schedule_tag(schedule.id));
    h.session_id = h.id;
    h.project_root = schedule.project_root;
    h.created_at = h.started_at = t;
    if (!enter_slot(h, **program, workflow, *input)) h.slot.clear();
    if (plan.verdict == ir::FirePlan::Verdict::start_queued && h.slot.empty()) {
      h.slot = schedule_tag(schedule.id);
      h.slot_limit = 1;
    }
    auto state = machine::make_state(*program);
    machine::RunStarted started{.workflow = workflow,
                                .input = *input,
                                .run_id = h.id,
                                .session_id = h.session_id,
                                .user_id = ""};
    const machine::Turn turn = machine::begin(*state, std::move(started), t);
    for (const machine::Event& event : turn.events) machine::encode_event(event, events);
    run.events = events.buffer();
    run.event_count = static_cast<uint32_t>(turn.events.size());
    run.public_count = 1;
    run.blobs = blobs.blobs();
    run.next_due = t;
  }
  if (plan.cancel_oldest && !running->empty())
    (void)request_cancel(*store_, running->front(), "the schedule starts a newer run");
  const auto fired = store_->fire_schedule(schedule.id, schedule.next_due, next_due,
                                           plan.starts() ? &run : nullptr);
  if (!fired && fired.error().code != ErrorCode::conflict) {
    trouble("schedule `" + schedule.id + "`: " + fired.error().message);
    next = t + schedule_retry_ms;
    return false;
  }
  return true;
}

Millis Engine::Impl::run_schedules(Millis t) {
  Millis soonest = machine::never;
  for (size_t fires = 0; fires < max_fires; ++fires) {
    const auto schedules = store_->schedules();
    if (!schedules) return t + schedule_retry_ms;
    bool fired = false;
    soonest = machine::never;
    for (const store::Schedule& schedule : *schedules) {
      const bool ours =
          options_.project_root.empty() || schedule.project_root == options_.project_root;
      if (!schedule.enabled || !ours || schedule.next_due == machine::never) continue;
      Millis next = machine::never;
      fired = fire(schedule, t, next) || fired;
      soonest = std::min(soonest, next);
    }
    if (!fired) return soonest;
  }
  return t;
}

}  // namespace kflow::engine
