// Watcher: what the engine tells its observer becomes spans, metrics and log lines.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/engine/observer.hpp"
#include "runtime/observe/exporter.hpp"

namespace kflow::observe {

enum class LogLevel : uint8_t { off, error, info, debug };
struct LogSettings {
  LogLevel level = LogLevel::off;
  bool json = false;
};
/// KFLOW_LOG: `off`, `error`, `info` or `debug`, and perhaps `,json`. An unknown word is an error
/// that says so.
Result<LogSettings> log_settings(std::string_view text);

/// One thread calls it (the engine's loop). Values of steps are never logged, only names, times and
/// error messages.
class Watcher final : public engine::Observer {
 public:
  struct Settings {
    ExportSettings exports;
    LogSettings log;
    std::function<void(const std::string& line)> write_log;
    std::function<Millis()> clock;
  };
  explicit Watcher(Settings settings);
  ~Watcher() override;

  void committed(const store::RunHeader& run, const ir::Program& program,
                 std::span<const machine::Event> events) override;
  void batch(size_t runs, size_t events, double seconds) override;
  void trouble(const std::string& what) override;
  const Registry& registry() const { return registry_; }

 private:
  struct Step {
    Millis started = 0;
    std::string callee;
  };
  void measure_model_call(const ir::StepNode& step, const ir::Program& program,
                          const cel::Value& answer, Millis took);
  void measure(const store::RunHeader& run, const ir::Program& program,
               const machine::Event& event);
  void log(const store::RunHeader& run, const ir::Program& program, const machine::Event& event);
  void line(LogLevel level, std::string_view message,
            const std::vector<std::pair<std::string_view, std::string>>& fields, Millis when);

  Settings settings_;
  Registry registry_;
  Metric& runs_started_;
  Metric& runs_ended_;
  Metric& steps_;
  Metric& attempts_;
  Metric& step_duration_;
  Metric& token_usage_;
  Metric& model_duration_;
  Metric& batches_;
  Metric& batch_events_;
  Metric& batch_duration_;
  SpanBuilder spans_;
  std::map<std::pair<store::RunKey, machine::ActId>, Step> open_;
  std::unique_ptr<Exporter> exporter_;
};

/// From the environment; null where nothing is wanted, but for the registry of metrics (`always`).
Result<std::shared_ptr<Watcher>> make_watcher(
    const std::function<const char*(const char*)>& environment, std::function<Millis()> clock,
    std::function<void(const std::string&)> write_log, bool always = false);

}  // namespace kflow::observe
