// Events → metrics, log lines, spans.
#include "runtime/observe/watcher.hpp"

#include <fmt/format.h>

#include "compiler/base/json.hpp"
#include "compiler/cel/time.hpp"
#include "runtime/conversation/conversation.hpp"
#include "runtime/machine/machine.hpp"
#include "runtime/observe/gen_ai.hpp"

namespace kflow::observe {
namespace {

using machine::Event;

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::off:
      return "off";
    case LogLevel::error:
      return "error";
    case LogLevel::info:
      return "info";
    case LogLevel::debug:
      return "debug";
  }
  std::unreachable();
}

std::string callee_of(const ir::Program& program, const Event& event) {
  if (!event.node) return "";
  const auto* step = std::get_if<ir::StepNode>(&program[event.node].data);
  return step == nullptr ? "" : step->call.name;
}

const std::vector<double> seconds_bounds{0.001, 0.005, 0.01, 0.05, 0.1, 0.5,
                                         1,     5,     10,   60,   300, 3600};

// The conventions' bounds.
const std::vector<double> token_bounds{1,     4,      16,     64,      256,     1024,     4096,
                                       16384, 65536,  262144, 1048576, 4194304, 16777216, 67108864};
const std::vector<double> model_seconds_bounds{0.01, 0.02, 0.04, 0.08,  0.16,  0.32,  0.64,
                                               1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92};

}  // namespace

Result<LogSettings> log_settings(std::string_view text) {
  LogSettings out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (word == "json") {
      out.json = true;
      continue;
    }
    bool known = false;
    for (const LogLevel level : {LogLevel::off, LogLevel::error, LogLevel::info, LogLevel::debug}) {
      if (word != to_string(level)) continue;
      out.level = level;
      known = true;
    }
    if (!known)
      return fail(ErrorCode::invalid_argument,
                  "KFLOW_LOG: `" + std::string(word) + "` is not off, error, info, debug or json");
  }
  return out;
}

Watcher::Watcher(Settings settings)
    : settings_(std::move(settings)),
      runs_started_(registry_.counter("kflow.runs.started", "Runs that began")),
      runs_ended_(registry_.counter("kflow.runs.ended", "Runs that ended")),
      steps_(registry_.counter("kflow.steps", "Steps that ended")),
      attempts_(registry_.counter("kflow.step.attempts", "Attempts of steps that began")),
      step_duration_(registry_.histogram(
          "kflow.step.duration", "Time from the start of a step to its end", "s", seconds_bounds)),
      token_usage_(registry_.histogram("gen_ai.client.token.usage",
                                       "Tokens of a model's call", "{token}", token_bounds)),
      model_duration_(registry_.histogram("gen_ai.client.operation.duration",
                                          "Time that a model's call took", "s",
                                          model_seconds_bounds)),
      batches_(registry_.counter("kflow.commits", "Durable commits")),
      batch_events_(registry_.counter("kflow.commit.events", "Events written")),
      batch_duration_(
          registry_.histogram("kflow.commit.duration", "Time that a durable commit took", "s",
                              {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1})) {
  if (settings_.exports.on())
    exporter_ = std::make_unique<Exporter>(settings_.exports, registry_, settings_.clock);
}

Watcher::~Watcher() = default;

void Watcher::committed(const store::RunHeader& run, const ir::Program& program,
                        std::span<const Event> events) {
  std::vector<Span> finished;
  for (const Event& event : events) {
    measure(run, program, event);
    if (settings_.log.level != LogLevel::off) log(run, program, event);
    if (exporter_) spans_.add(run.id, program, event, finished);
  }
  if (exporter_) exporter_->add(std::move(finished));
}

void Watcher::batch(size_t, size_t events, double seconds) {
  batches_.add({});
  batch_events_.add({}, static_cast<double>(events));
  batch_duration_.observe({}, seconds);
}

void Watcher::trouble(const std::string& what) {
  if (settings_.log.level != LogLevel::off) line(LogLevel::error, what, {}, settings_.clock());
}

void Watcher::measure(const store::RunHeader& run, const ir::Program& program, const Event& event) {
  const auto ended = [&](std::string_view outcome) {
    const auto it = open_.find({run.key, event.act});
    if (it == open_.end()) return;
    steps_.add({{"callee", it->second.callee}, {"outcome", std::string(outcome)}});
    step_duration_.observe({{"callee", it->second.callee}},
                           static_cast<double>(event.time - it->second.started) / 1000);
    open_.erase(it);
  };
  const auto run_ended = [&](std::string_view status) {
    runs_ended_.add({{"workflow", run.workflow}, {"status", std::string(status)}});
    open_.erase(open_.lower_bound({run.key, 0}), open_.lower_bound({run.key + 1, 0}));
  };
  if (std::holds_alternative<machine::RunStarted>(event.data)) {
    runs_started_.add({{"workflow", run.workflow}});
  } else if (std::holds_alternative<machine::StepStarted>(event.data) ||
             std::holds_alternative<machine::ToolEntered>(event.data) ||
             std::holds_alternative<machine::AgentEntered>(event.data)) {
    const std::string callee = callee_of(program, event);
    open_.try_emplace({run.key, event.act}, Step{event.time, callee});
    attempts_.add({{"callee", callee}});
  } else if (const auto* completed = std::get_if<machine::StepCompleted>(&event.data)) {
    if (const auto it = open_.find({run.key, event.act});
        it != open_.end() && is_model_call(program, event))
      measure_model_call(std::get<ir::StepNode>(program[event.node].data), program,
                         completed->value, event.time - it->second.started);
    ended("completed");
  } else if (const auto* failed = std::get_if<machine::StepFailed>(&event.data)) {
    ended(failed->error.kind);
  } else if (std::holds_alternative<machine::StepCancelled>(event.data)) {
    ended("cancelled");
  } else if (std::holds_alternative<machine::RunCompleted>(event.data)) {
    run_ended("COMPLETED");
  } else if (std::holds_alternative<machine::RunFailed>(event.data)) {
    run_ended("ERROR");
  } else if (std::holds_alternative<machine::RunCancelled>(event.data)) {
    run_ended("CANCELLED");
  }
}

void Watcher::measure_model_call(const ir::StepNode& step, const ir::Program& program,
                                 const cel::Value& value, Millis took) {
  const auto answer = conversation::answer_from(value);
  if (!answer) return;
  const ir::Model& model = model_of(program, step);
  Labels labels{{"gen_ai.operation.name", "chat"},
                {"gen_ai.provider.name", std::string(provider_name(model.provider))},
                {"gen_ai.request.model", model.id},
                {"gen_ai.response.model", answer->model.empty() ? model.id : answer->model}};
  model_duration_.observe(labels, static_cast<double>(took) / 1000);
  labels.emplace_back("gen_ai.token.type", "input");
  token_usage_.observe(labels, static_cast<double>(answer->usage.input_tokens));
  labels.back().second = "output";
  token_usage_.observe(labels, static_cast<double>(answer->usage.output_tokens));
}

void Watcher::log(const store::RunHeader& run, const ir::Program& program, const Event& event) {
  std::vector<std::pair<std::string_view, std::string>> fields{{"run", run.id},
                                                               {"workflow", run.workflow}};
  if (!event.path.empty()) fields.emplace_back("step", event.path);
  const auto with_error = [&](const machine::RunError& error) {
    fields.emplace_back("error_kind", error.kind);
    fields.emplace_back("error", error.message);
  };
  LogLevel level = LogLevel::debug;
  if (const auto* failed = std::get_if<machine::RunFailed>(&event.data)) {
    level = LogLevel::error;
    with_error(failed->error);
  } else if (const auto* step = std::get_if<machine::StepFailed>(&event.data)) {
    level = LogLevel::info;
    with_error(step->error);
  } else if (const auto* retry = std::get_if<machine::StepRetryScheduled>(&event.data)) {
    level = LogLevel::info;
    with_error(retry->error);
  } else if (event.act == 1 && event.shown) {
    level = LogLevel::info;
  } else if (!event.shown) {
    return;
  }
  line(level, machine::public_name(program, event), fields, event.time);
}

void Watcher::line(LogLevel level, std::string_view message,
                   const std::vector<std::pair<std::string_view, std::string>>& fields,
                   Millis when) {
  if (level > settings_.log.level || !settings_.write_log) return;
  const std::string time =
      cel::format_timestamp({when / 1000, static_cast<int32_t>(when % 1000) * 1'000'000});
  if (settings_.log.json) {
    JsonWriter out;
    out.begin_object();
    out.key("time"), out.string(time);
    out.key("level"), out.string(to_string(level));
    out.key("message"), out.string(message);
    for (const auto& [name, value] : fields) out.key(name), out.string(value);
    out.end_object();
    return settings_.write_log(out.take());
  }
  std::string text = fmt::format("{} {} {}", time, to_string(level), message);
  for (const auto& [name, value] : fields) text += fmt::format(" {}={}", name, value);
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  settings_.write_log(text);
}

Result<std::shared_ptr<Watcher>> make_watcher(
    const std::function<const char*(const char*)>& environment, std::function<Millis()> clock,
    std::function<void(const std::string&)> write_log, bool always) {
  Watcher::Settings settings{.exports = export_settings(environment),
                             .log = {},
                             .write_log = std::move(write_log),
                             .clock = std::move(clock)};
  if (const char* text = environment("KFLOW_LOG")) {
    auto log = log_settings(text);
    if (!log) return std::unexpected(std::move(log).error());
    settings.log = *log;
  }
  if (!always && !settings.exports.on() && settings.log.level == LogLevel::off)
    return std::shared_ptr<Watcher>();
  return std::make_shared<Watcher>(std::move(settings));
}

}  // namespace kflow::observe
