// Exporter: sends spans and metrics to an OpenTelemetry collector over HTTP, on a thread of its
// own.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/observe/otlp.hpp"

namespace kflow::observe {

/// As the standard's environment variables say (OpenTelemetry specification, "OTLP exporter").
struct ExportSettings {
  std::string traces_url;   ///< "": no traces
  std::string metrics_url;  ///< "": no metrics
  std::vector<std::string> headers;
  int64_t timeout_ms = 10'000;
  Resource resource;
  bool on() const { return !traces_url.empty() || !metrics_url.empty(); }
};
/// From OTEL_EXPORTER_OTLP_ENDPOINT, _TRACES_ENDPOINT, _METRICS_ENDPOINT, _HEADERS, _TIMEOUT,
/// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_SDK_DISABLED; off without an endpoint.
ExportSettings export_settings(const std::function<const char*(const char*)>& environment);

inline constexpr size_t max_queued_spans = 20'000;  ///< more are dropped, and counted
inline constexpr size_t spans_per_request = 512;
inline constexpr int64_t export_every_ms = 1'000;
inline constexpr int64_t metrics_every_ms = 15'000;
inline constexpr int export_attempts =
    5;  ///< of one request; 429, 502, 503, 504 and no answer are tried again
inline constexpr int64_t flush_deadline_ms = 5'000;  ///< at the end

/// Thread-safe. Never blocks who adds. Destruction sends what is left, for at most
/// `flush_deadline_ms`.
class Exporter {
 public:
  /// `registry` outlives it; its counter of dropped spans is among it.
  Exporter(ExportSettings settings, Registry& registry, std::function<Millis()> clock);
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;
  void add(std::vector<Span> spans);

 private:
  void run();
  bool send(const std::string& url, const std::string& body);
  bool wait(int64_t ms);

  ExportSettings settings_;
  Registry& registry_;
  Metric& dropped_;
  std::function<Millis()> clock_;
  Millis started_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Span> queue_;
  bool stopping_ = false;
  Millis flush_until_ = 0;
  std::thread thread_;
};

}  // namespace kflow::observe
