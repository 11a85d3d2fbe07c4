// What can be done to a run from any process that has its store open: messages, answers, forks.
#include <algorithm>

#include "compiler/base/bytes.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/former_paths.hpp"
#include "runtime/engine/blobs.hpp"
#include "runtime/engine/engine.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/engine/messages.hpp"
#include "runtime/machine/arguments.hpp"

namespace kflow::engine {
namespace {

using machine::RunStatus;
using store::InboxMessage;
using store::NewRun;

Result<void> send(store::Store& store, const RunHeader& run, InboxMessage message) {
  if (is_final(run.status)) {
    return fail(ErrorCode::conflict,
                "the run has ended already (" + std::string(machine::to_string(run.status)) + ")");
  }
  auto posted = store.post(run.key, message);
  if (!posted) return posted;
  // It may be taken up by anyone if nobody has it, or has it no more.
  store.ring(store::every_owner);
  return {};
}

}  // namespace

Result<void> request_cancel(store::Store& store, const RunHeader& run, const std::string& reason,
                            bool kill) {
  return send(store, run,
              {.kind = kill ? InboxMessage::Kind::kill : InboxMessage::Kind::cancel,
               .dedup = "",
               .body = reason});
}

Result<void> send_signal(store::Store& store, const RunHeader& run, const std::string& name,
                         const cel::Value& value, const std::string& key) {
  if (name.empty()) return fail(ErrorCode::invalid_argument, "a signal has a name");
  if (value.memory() > machine::max_value_bytes) {
    return fail(ErrorCode::limit, "the value of a signal is at most " +
                                      std::to_string(machine::max_value_bytes >> 20) + " MiB");
  }
  return send(store, run,
              {.kind = InboxMessage::Kind::signal,
               .dedup = key.empty() ? "" : "signal key " + key,
               .body = encode_signal({name, value}),
               .files = cel::file_hashes(value)});
}

Result<std::vector<machine::Requirement>> open_requirements(store::Store& store,
                                                            const RunHeader& run) {
  if (is_final(run.status)) return std::vector<machine::Requirement>();
  auto program = load_program(store, run.program);
  if (!program) return std::unexpected(std::move(program).error());
  auto loaded = load_state(store, run.key, *program);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  return machine::requirements(*loaded->state);
}

Result<void> answer(store::Store& store, const RunHeader& run, const ir::Program& program,
                    const machine::Requirement& requirement, machine::AnswerInput answer) {
  const bool form = requirement.kind == machine::AskKind::form;
  if (answer.accepted && form && !answer.value)
    return fail(ErrorCode::invalid_argument, "the question wants a value");
  if (answer.value) {
    const std::string problems = machine::check_answer(program, requirement, *answer.value);
    if (!problems.empty()) return fail(ErrorCode::invalid_argument, problems);
  }
  answer.requirement = requirement.id;
  // The first answer counts: a question has one.
  return send(store, run,
              {.kind = InboxMessage::Kind::answer,
               .dedup = "answer " + requirement.id,
               .body = encode_answer(answer),
               .files = answer.value ? cel::file_hashes(*answer.value) : std::vector<Sha256>()});
}

namespace {

// Copies the events before the step begins, with the changes that are asked for.
class Prefix {
 public:
  Prefix(const ir::Program& program, const ForkOptions& options, ByteWriter& out)
      : program_(program),
        options_(options),
        out_(out),
        from_(ir::recorded_paths(program, options.from)),
        changed_(options.values.size(), false) {
    for (const auto& [path, value] : options.values)
      paths_.push_back(ir::recorded_paths(program, path));
  }

  uint32_t events = 0;
  uint32_t shown = 0;
  bool found = false;
  cel::Value input;

  // False: the copy is complete.
  bool add(machine::Event event) {
    if (found) return false;
    if (auto* started = std::get_if<machine::RunStarted>(&event.data)) {
      started->input = with_inputs(program_[started->workflow], started->input);
      input = started->input;
    }
    const bool begins =
        event.parent != machine::no_act && is_one_of(event.path, from_) && is_beginning(event);
    if (begins) {
      found = true;
      const cel::Value* value = value_of(event.path);
      if (value == nullptr) return false;
      // The step itself gets a value: it has begun and ended.
      event.data = machine::StepStarted{.mode = machine::StepMode::at_once};
      machine::Event ended{
          .act = event.act,
          .node = event.node,
          .time = event.time,
          .shown = true,
          .path = event.path,
          .data = machine::StepCompleted{.value = *value, .cached = false, .undo = {}}};
      put(event);
      put(ended);
      return false;
    }
    if (auto* completed = std::get_if<machine::StepCompleted>(&event.data)) {
      if (const cel::Value* value = value_of(event.path)) completed->value = *value;
    }
    put(event);
    return true;
  }

  void put(const machine::Event& event) {
    machine::encode_event(event, out_);
    ++events;
    shown += event.shown;
  }

  std::string unchanged() const {
    std::string out;
    for (size_t i = 0; i < changed_.size(); ++i) {
      if (!changed_[i]) out += (out.empty() ? "`" : ", `") + options_.values[i].first + "`";
    }
    return out;
  }

 private:
  static bool is_beginning(const machine::Event& e) {
    return std::holds_alternative<machine::StepStarted>(e.data) ||
           std::holds_alternative<machine::ToolEntered>(e.data) ||
           std::holds_alternative<machine::Asked>(e.data);
  }
  const cel::Value* value_of(const std::string& path) {
    for (size_t i = 0; i < options_.values.size(); ++i) {
      if (!is_one_of(path, paths_[i])) continue;
      changed_[i] = true;
      return &options_.values[i].second;
    }
    return nullptr;
  }
  // What was recorded, under the names that the parameters and fields have now.
  cel::Value with_inputs(const ir::Callable& workflow, const cel::Value& given) const {
    cel::MapBuilder out;
    for (const ir::Param& p : workflow.params) {
      if (const cel::Value* v = machine::argument_of(p, given))
        out.add(p.name, schema::with_present_names(program_.types, p.type, *v));
    }
    for (const auto& [name, value] : options_.inputs) out.set(name, value);
    return std::move(out).take();
  }

  static bool is_one_of(const std::string& path, const std::vector<std::string>& paths) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  }

  const ir::Program& program_;
  const ForkOptions& options_;
  ByteWriter& out_;
  std::vector<std::string> from_;                // and what it was called before
  std::vector<std::vector<std::string>> paths_;  // of the values, likewise
  std::vector<bool> changed_;
};

}  // namespace

Result<StartedRun> fork(store::Store& store, const RunHeader& run, const ForkOptions& options,
                        Millis now) {
  auto program = load_program(store, run.program);
  if (!program) return std::unexpected(std::move(program).error());
  BlobSink blobs;
  ByteWriter bytes(&blobs);
  Prefix prefix(**program, options, bytes);
  // What was recorded before the first resumption is a log of its own; what comes after one leaves
  // parts of it out.
  bool resumed = false;
  auto read = read_events(store, run.key, 0, [&](const machine::Event& event, uint64_t, uint64_t) {
    resumed = std::holds_alternative<machine::RunResumed>(event.data);
    return !resumed && prefix.add(event);
  });
  if (!read) return std::unexpected(std::move(read).error());
  if (resumed) {
    return fail(ErrorCode::conflict,
                "run `" + run.id + "` had not reached a step `" + options.from +
                    "` before it failed and was resumed; fork it from a step before that");
  }
  if (!prefix.found)
    return fail(ErrorCode::not_found, "the run has not reached a step `" + options.from +
                                          "`; `kflow get` lists its steps");
  if (const std::string missing = prefix.unchanged(); !missing.empty()) {
    return fail(ErrorCode::not_found,
                "no value was recorded for " + missing + " before the step `" + options.from + "`");
  }
  const ir::CallableId workflow = (*program)->find_or_was(run.workflow);
  auto checked = check_input(**program, workflow, prefix.input);
  if (!checked) return std::unexpected(std::move(checked).error());

  NewRun fork{.header = run, .program = "", .events = "", .event_count = 0, .public_count = 0};
  RunHeader& h = fork.header;
  h.id = options.id.empty() ? new_run_id(now) : options.id;
  h.status = RunStatus::pending;
  h.created_at = h.started_at = now;
  h.ended_at = 0;
  h.error.clear();
  h.usage = {};
  h.owner = store::no_owner;
  h.epoch = 0;
  h.attempt = 1;
  h.parent = 0;
  h.attached = false;
  h.trimmed = false;
  machine::RunForked forked{.run_id = h.id, .from_id = run.id, .session_id = h.session_id};
  if (const auto session = store.session(h.session_id); session && session->version > 0) {
    ByteReader in(session->state);
    forked.session = cel::decode_value(in);
  } else {
    forked.session = machine::initial_session(**program, workflow);
  }
  prefix.put({.act = 1, .time = now, .data = std::move(forked)});
  const std::string encoded = ir::encode(**program);
  fork.program = encoded;
  fork.events = bytes.buffer();
  fork.event_count = prefix.events;
  fork.public_count = prefix.shown;
  fork.next_due = now;
  fork.blobs = blobs.blobs();
  const auto started = store.start(std::span(&fork, 1));
  if (!started) return std::unexpected(started.error());
  const store::Started& row = started->front();
  if (row.refused) return std::unexpected(*row.refused);
  store.ring(store::every_owner);
  return StartedRun{row.key, row.id, false, row.queued};
}

}  // namespace kflow::engine
