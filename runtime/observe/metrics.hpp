// Metrics: counters, gauges and histograms, and their text for Prometheus.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kflow::observe {

using Labels = std::vector<std::pair<std::string, std::string>>;

/// Label sets a metric keeps apart at most; further ones are counted together under `other`.
inline constexpr size_t max_series = 1000;

enum class MetricKind : uint8_t { counter, gauge, histogram };

/// One line of values. Lock-free.
class Series {
 public:
  explicit Series(size_t buckets) : counts_(buckets + 1) {}
  void add(double v);
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  /// Of a histogram; `bucket` is the index of the first bound that is not below the value.
  void observe(size_t bucket, double v);
  double value() const { return value_.load(std::memory_order_relaxed); }
  uint64_t count(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }
  size_t buckets() const { return counts_.size(); }

 private:
  std::atomic<double> value_ = 0;  // of a histogram: the sum
  std::vector<std::atomic<uint64_t>> counts_;
};

/// A metric with all its label sets. Thread-safe.
class Metric {
 public:
  Metric(std::string name, std::string help, std::string unit, MetricKind kind,
         std::vector<double> bounds);
  void add(const Labels& labels, double v = 1) { series(labels).add(v); }
  void set(const Labels& labels, double v) { series(labels).set(v); }
  void observe(const Labels& labels, double v);

  const std::string name;
  const std::string help;
  const std::string unit;  ///< UCUM: "s", "By", "1"
  const MetricKind kind;
  const std::vector<double> bounds;
  /// A copy of the label sets and the values behind them, which go on changing.
  std::vector<std::pair<Labels, const Series*>> all() const;

 private:
  Series& series(const Labels& labels);
  mutable std::mutex mutex_;
  std::map<Labels, std::unique_ptr<Series>> series_;
};

/// Owns metrics; references stay good. Thread-safe.
class Registry {
 public:
  Metric& counter(std::string name, std::string help, std::string unit = "1");
  Metric& gauge(std::string name, std::string help, std::string unit = "1");
  Metric& histogram(std::string name, std::string help, std::string unit,
                    std::vector<double> bounds);
  std::vector<const Metric*> all() const;

 private:
  Metric& add(std::unique_ptr<Metric> metric);
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Metric>> metrics_;
};

/// The exposition format of Prometheus, version 0.0.4. Names have `_`, counters end in `_total`.
std::string prometheus_text(const Registry& registry);

}  // namespace kflow::observe
