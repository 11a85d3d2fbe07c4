// Opening and closing spans.
#include "runtime/observe/spans.hpp"

#include "compiler/base/hash.hpp"
#include "runtime/observe/gen_ai.hpp"

namespace kflow::observe {
namespace {

using machine::Event;
using machine::RunError;

std::string digest(const std::string& seed, size_t bytes) {
  const Sha256 hash = sha256(seed);
  return std::string(reinterpret_cast<const char*>(hash.data()), bytes);
}


Attribute text(std::string name, std::string value) {
  return {std::move(name), std::move(value), std::nullopt};
}
Attribute number(std::string name, int64_t value) { return {std::move(name), "", value}; }

}  // namespace

std::string trace_id_of(const std::string& run_id) { return digest("trace\n" + run_id, 16); }
std::string span_id_of(const std::string& run_id, machine::ActId act, uint32_t attempt) {
  return digest("span\n" + run_id + "\n" + std::to_string(act) + "\n" + std::to_string(attempt), 8);
}

void SpanBuilder::end(Span& span, Millis when, const RunError* error) {
  span.end = std::max(span.start, when);
  if (error == nullptr) return;
  span.failed = true;
  span.message = error->message;
  span.attributes.push_back(text("error.type", error->kind));
  if (error->status != 0)
    span.attributes.push_back(number("http.response.status_code", error->status));
}

SpanBuilder::Run& SpanBuilder::run_of(const std::string& run_id, const Event& event) {
  const auto [it, added] = runs_.try_emplace(run_id);
  if (!added) return it->second;
  Span& root = it->second.root;
  root.trace_id = trace_id_of(run_id);
  root.span_id = span_id_of(run_id, 1, 0);
  root.start = event.time;
  root.attributes.push_back(text("kflow.run.id", run_id));
  return it->second;
}

SpanBuilder::Open& SpanBuilder::step_of(Run& run, const std::string& run_id,
                                        const ir::Program& program, const Event& event) {
  const auto [it, added] = run.acts.try_emplace(event.act);
  Open& open = it->second;
  if (event.parent != machine::no_act) open.parent = event.parent;
  if (open.step) return open;
  open.step = true;
  open.span.trace_id = run.root.trace_id;
  open.span.span_id = span_id_of(run_id, event.act, 0);
  open.span.name = event.node ? program[event.node].name : "step";
  open.span.start = event.time;
  open.span.attributes.push_back(text("kflow.run.id", run_id));
  open.span.attributes.push_back(text("kflow.step.path", event.path));
  if (event.node) {
    if (const auto* step = std::get_if<ir::StepNode>(&program[event.node].data)) {
      open.span.attributes.push_back(text("kflow.callee", step->call.name));
      describe_begin(open.span, program, *step, event.role == machine::Role::call);
    }
  }
  // Below the nearest step or tool around it, else below the run.
  open.span.parent_id = run.root.span_id;
  for (auto up = run.acts.find(open.parent); up != run.acts.end();
       up = run.acts.find(up->second.parent)) {
    if (!up->second.step) continue;
    open.span.parent_id = up->second.span.span_id;
    break;
  }
  return open;
}

void SpanBuilder::begin_attempt(Open& open, const std::string& run_id, const Event& event,
                                uint32_t attempt) {
  Span span;
  span.trace_id = open.span.trace_id;
  span.span_id = span_id_of(run_id, event.act, attempt);
  span.parent_id = open.span.span_id;
  span.name = open.span.name + " attempt";
  span.start = event.time;
  span.attributes.push_back(number("kflow.attempt", attempt));
  open.attempt = std::move(span);
}

void SpanBuilder::add(const std::string& run_id, const ir::Program& program, const Event& event,
                      std::vector<Span>& out) {
  Run& run = run_of(run_id, event);
  const auto finish_attempt = [&](Open& open, const RunError* error) {
    if (!open.attempt) return;
    end(*open.attempt, event.time, error);
    out.push_back(std::move(*open.attempt));
    open.attempt.reset();
  };
  const auto finish_step = [&](const RunError* error) {
    Open& open = step_of(run, run_id, program, event);
    finish_attempt(open, error);
    end(open.span, event.time, error);
    out.push_back(std::move(open.span));
    run.acts.erase(event.act);
  };
  const auto finish_run = [&](const RunError* error, std::string_view status) {
    for (auto& [act, open] : run.acts) {
      if (!open.step) continue;
      finish_attempt(open, error);
      end(open.span, event.time, error);
      out.push_back(std::move(open.span));
    }
    end(run.root, event.time, error);
    run.root.attributes.push_back(text("kflow.run.status", std::string(status)));
    out.push_back(std::move(run.root));
    runs_.erase(run_id);
  };
  if (const auto* started = std::get_if<machine::RunStarted>(&event.data)) {
    run.root.name = program[started->workflow].name;
    run.root.attributes.push_back(text("kflow.workflow", run.root.name));
    run.root.attributes.push_back(text("session.id", started->session_id));
    if (!started->parent_id.empty())
      run.root.link = {trace_id_of(started->parent_id), span_id_of(started->parent_id, 1, 0)};
  } else if (const auto* step = std::get_if<machine::StepStarted>(&event.data)) {
    Open& open = step_of(run, run_id, program, event);
    finish_attempt(open, nullptr);
    begin_attempt(open, run_id, event, step->attempt);
  } else if (const auto* tool = std::get_if<machine::ToolEntered>(&event.data)) {
    begin_attempt(step_of(run, run_id, program, event), run_id, event, tool->attempt);
  } else if (std::holds_alternative<machine::AgentEntered>(event.data) ||
             std::holds_alternative<machine::Asked>(event.data)) {
    step_of(run, run_id, program, event);
  } else if (const auto* retry = std::get_if<machine::StepRetryScheduled>(&event.data)) {
    finish_attempt(step_of(run, run_id, program, event), &retry->error);
  } else if (const auto* ended = std::get_if<machine::AgentEnded>(&event.data)) {
    describe_usage(step_of(run, run_id, program, event).span, ended->usage.input_tokens,
                   ended->usage.output_tokens);
  } else if (const auto* completed = std::get_if<machine::StepCompleted>(&event.data)) {
    if (is_model_call(program, event))
      describe_answer(step_of(run, run_id, program, event).span, completed->value);
    finish_step(nullptr);
  } else if (const auto* failed = std::get_if<machine::StepFailed>(&event.data)) {
    finish_step(&failed->error);
  } else if (std::holds_alternative<machine::StepCancelled>(event.data)) {
    const RunError cancelled{.kind = "cancelled", .code = "cancelled", .message = "stopped"};
    finish_step(&cancelled);
  } else if (std::holds_alternative<machine::RunCompleted>(event.data)) {
    finish_run(nullptr, "COMPLETED");
  } else if (const auto* error = std::get_if<machine::RunFailed>(&event.data)) {
    finish_run(&error->error, "ERROR");
  } else if (const auto* stopped = std::get_if<machine::RunCancelled>(&event.data)) {
    const RunError cancelled{.kind = "cancelled", .code = "cancelled", .message = stopped->reason};
    finish_run(&cancelled, "CANCELLED");
  } else if (event.parent != machine::no_act) {
    run.acts[event.act].parent = event.parent;  // a block: only its place matters
  } else if (std::holds_alternative<machine::ContainerEnded>(event.data)) {
    run.acts.erase(event.act);
  }
}

}  // namespace kflow::observe
