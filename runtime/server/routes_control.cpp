// What is done to runs: cancel, signal, answer, retry, fork.
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/load.hpp"
#include "runtime/server/app.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/parameters.hpp"

namespace kflow::server {
namespace {

using store::RunHeader;

void cancel(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    auto asked =
        engine::request_cancel(app.store(), run, call->text("reason"), call->flag("kill", false));
    if (!asked) return answer(call, asked.error());
    call->reply(json_response(200, "{}"));
  });
}

void signal(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    const cel::Value* value = call->value("value");
    auto sent = engine::send_signal(app.store(), run, call->text("name"),
                                    value == nullptr ? cel::Value() : *value,
                                    call->text("Idempotency-Key"));
    if (!sent) return answer(call, sent.error());
    call->reply(started_response(202, run));
  });
}

const cel::Value* given(const cel::Value& record, std::string_view name) {
  const cel::Value* v = record.find(name);
  return v == nullptr || v->is_null() ? nullptr : v;
}

// One element of `step_requirements`: which question, and the answer; a problem's path begins with
// `at`. Nothing: it is left open.
std::optional<machine::AnswerInput> read_answer(const cel::Value& record,
                                                const machine::Requirement& open,
                                                const std::string& at, Problem& problem) {
  const auto wrong = [&](const std::string& field, const std::string& what) {
    problem.errors.emplace_back(at + field, what);
    return std::nullopt;
  };
  machine::AnswerInput out{.requirement = open.id, .accepted = true};
  const cel::Value* confirmed = given(record, "confirmed");
  const cel::Value* input = given(record, "user_input");
  const cel::Value* edited = given(record, "edited_output");
  const cel::Value* feedback = given(record, "feedback");
  if (confirmed == nullptr && input == nullptr && edited == nullptr) return std::nullopt;
  if (confirmed != nullptr && confirmed->kind() != cel::Kind::boolean)
    return wrong(".confirmed", "must be true or false");
  if (feedback != nullptr && feedback->kind() != cel::Kind::string)
    return wrong(".feedback", "must be a string");
  if (confirmed != nullptr) out.accepted = confirmed->as_bool();
  if (feedback != nullptr) out.feedback = feedback->as_string();
  const bool form = open.kind == machine::AskKind::form;
  const bool review = open.kind == machine::AskKind::review;
  if (input != nullptr && !form) return wrong(".user_input", "the question asks for no input");
  if (edited != nullptr && !review) return wrong(".edited_output", "nothing is reviewed");
  if (out.accepted && form && input == nullptr)
    return wrong(".user_input", "the question wants a value");
  if (out.accepted && input != nullptr) out.value = *input;
  if (out.accepted && edited != nullptr) out.value = *edited;
  return out;
}

struct Resolved {
  machine::Requirement requirement;
  machine::AnswerInput answer;
};

// The answers that are given, each to its open question; all of them are good, or none is taken.
std::variant<std::vector<Resolved>, Problem> resolve(const cel::Value& given_list,
                                                     const std::vector<machine::Requirement>& open,
                                                     const ir::Program& program) {
  Problem problem{422, ""};
  std::vector<Resolved> out;
  if (given_list.kind() != cel::Kind::list)
    return Problem{422,
                   "`step_requirements` must be a list",
                   {{"step_requirements", "must be a list of answers"}}};
  size_t i = 0;
  for (const cel::Value& record : given_list.as_list()) {
    const std::string at = "step_requirements[" + std::to_string(i++) + "]";
    const cel::Value* id = record.kind() == cel::Kind::map ? given(record, "id") : nullptr;
    if (id == nullptr || id->kind() != cel::Kind::string) {
      problem.errors.emplace_back(at + ".id", "names the question that is answered");
      continue;
    }
    const machine::Requirement* asked = nullptr;
    for (const machine::Requirement& r : open) {
      if (r.id == id->as_string()) asked = &r;
    }
    if (asked == nullptr) {
      problem.status = problem.errors.empty() ? 409 : 422;
      problem.errors.emplace_back(at + ".id", "the run does not ask this (any more)");
      continue;
    }
    auto answer = read_answer(record, *asked, at, problem);
    if (!answer) continue;
    if (answer->value) {
      const std::string what = machine::check_answer(program, *asked, *answer->value);
      if (!what.empty()) {
        const bool form = asked->kind == machine::AskKind::form;
        problem.errors.emplace_back(at + (form ? ".user_input" : ".edited_output"), what);
        continue;
      }
    }
    out.push_back({*asked, std::move(*answer)});
  }
  if (problem.errors.empty() && out.empty())
    problem.errors.emplace_back("step_requirements", "answers nothing");
  if (problem.errors.empty()) return out;
  for (const auto& [path, message] : problem.errors) {
    problem.detail += (problem.detail.empty() ? "`" : "; `") + path + "` " + message;
    if (problem.status == 409 && message.find("any more") == std::string::npos)
      problem.status = 422;
  }
  return problem;
}

void resume_with_answers(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    const auto open = engine::open_requirements(app.store(), run);
    if (!open) return answer(call, open.error());
    if (open->empty()) {
      return answer(call, Problem{409, is_final(run.status)
                                           ? "the run has ended (" +
                                                 std::string(machine::to_string(run.status)) + ")"
                                           : "the run asks nothing at present"});
    }
    const auto program = engine::load_program(app.store(), run.program);
    if (!program) return answer(call, program.error());
    auto resolved = resolve(*call->value("step_requirements"), *open, **program);
    if (auto* problem = std::get_if<Problem>(&resolved)) return answer(call, *problem);
    auto feed = app.feeds().open(run);
    if (!feed) return answer(call, feed.error());
    const uint64_t from = (*feed)->state().next_index;
    for (Resolved& r : std::get<std::vector<Resolved>>(resolved)) {
      auto sent = engine::answer(app.store(), run, **program, r.requirement, std::move(r.answer));
      if (!sent) return answer(call, sent.error());
    }
    const bool stream = call->flag("stream", true);
    if (stream) {
      return call->reply(event_response(std::make_shared<EventStream>(
          std::move(*feed), Reader::Rules{.from = from, .pause_from = from})));
    }
    if (call->flag("background", false)) return call->reply(started_response(202, run));
    app.answer_at_end(call, std::move(*feed), from);
  });
}

void retry(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    if (is_final(run.status) && run.status != machine::RunStatus::error) {
      return answer(
          call, Problem{409, "the run has ended (" + std::string(machine::to_string(run.status)) +
                                 "); only failed ones can be taken up again"});
    }
    auto taken = app.engine().resume(run.key);
    if (!taken) return answer(call, taken.error());
    const auto header = app.store().header(run.key);
    call->reply(started_response(202, header && *header ? **header : run));
  });
}

void fork(App& app, const CallPtr& call) {
  with_run(app, call, [&](const RunHeader& run) {
    engine::ForkOptions options{.from = call->text("from_step"), .id = call->text("new_run_id")};
    const auto pairs = [&](std::string_view name, auto& into) {
      const cel::Value* record = call->value(name);
      if (record == nullptr) return;
      for (const cel::MapEntry& e : record->as_map())
        into.emplace_back(std::string(e.key.as_string()), e.value);
    };
    pairs("set", options.values);
    pairs("input", options.inputs);
    const auto made = engine::fork(app.store(), run, options, app.now());
    if (!made) {
      Problem problem = problem_of(made.error());
      if (problem.status == 404) problem.status = 422;  // the run is there, the step is not
      return answer(call, problem);
    }
    const auto header = app.store().header(made->key);
    if (!header || !*header) return answer(call, Problem{404, "the run is gone already"});
    call->reply(started_response(202, **header));
  });
}

}  // namespace

void add_control_routes(App& app) {
  const auto bind = [&app](void (*handler)(App&, const CallPtr&)) {
    return [&app, handler](const CallPtr& call) { handler(app, call); };
  };
  const Answer ended = refusal(409, "the run has ended, or not as it should be for this");
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/cancel",
       .id = "cancel_run",
       .summary = "Cancels a run and what it started; durable when it is answered",
       .scope = Scope::run,
       .parameters =
           {{.name = "kill",
             .in = In::body,
             .type = Type::boolean,
             .doc = "wait for nothing, compensate nothing"},
            {.name = "reason", .in = In::body, .doc = "recorded with the run", .max_bytes = 4096}},
       .answers = {{200, "it is being cancelled", "Empty"}, ended},
       .run = bind(cancel)});
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/signal",
       .id = "signal_run",
       .summary = "Puts a signal into a run's mailbox",
       .scope = Scope::run,
       .parameters = {idempotency_row("a second signal with the same key is dropped"),
                      {.name = "name",
                       .in = In::body,
                       .doc = "as the workflow waits for it",
                       .required = true,
                       .max_bytes = 1024},
                      {.name = "value", .in = In::body, .type = Type::json, .doc = "any JSON"}},
       .answers = {{202, "it is durable", "Started"}, ended},
       .run = bind(signal)});
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/continue",
       .id = "continue_run",
       .summary = "Answers what a run asks of people",
       .scope = Scope::run,
       .parameters = {{.name = "step_requirements",
                       .in = In::body,
                       .type = Type::json,
                       .doc = "those of the run document with `confirmed`, `user_input`, "
                              "`edited_output` or `feedback` filled in; the others stay open",
                       .required = true},
                      stream_row(),
                      background_row(),
                      of_session_row(In::body),
                      of_user_row(In::body)},
       .answers = {{200, "the events that follow, or the run at its end or next pause", "Run"},
                   {200, "the events", "text", "text/event-stream"},
                   {202, "the answers are durable", "Started"},
                   ended},
       .run = bind(resume_with_answers)});
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/retry",
       .id = "retry_run",
       .summary = "Takes up a failed run from its failed step, or one whose process is gone",
       .scope = Scope::run,
       .answers = {{202, "it goes on", "Started"}, ended},
       .run = bind(retry)});
  app.router().add(
      {.method = "POST",
       .pattern = "/workflows/{workflow_id}/runs/{run_id}/fork",
       .id = "fork_run",
       .summary = "A new run that shares what was recorded before a step",
       .scope = Scope::run,
       .parameters =
           {{.name = "from_step",
             .in = In::body,
             .doc = "path of the step that is done anew",
             .required = true,
             .max_bytes = 4096},
            {.name = "input", .in = In::body, .type = Type::object, .doc = "inputs to change"},
            {.name = "set",
             .in = In::body,
             .type = Type::object,
             .doc = "values of steps to change, by path"},
            new_run_row("new_run_id")},
       .answers = {{202, "it is durable and under way", "Started"}, ended},
       .run = bind(fork)});
}

}  // namespace kflow::server
