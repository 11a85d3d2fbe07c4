// Values behind labels; text.
#include "runtime/observe/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace kflow::observe {

void Series::add(double v) {
  double before = value_.load(std::memory_order_relaxed);
  while (!value_.compare_exchange_weak(before, before + v, std::memory_order_relaxed)) continue;
}

void Series::observe(size_t bucket, double v) {
  counts_[bucket].fetch_add(1, std::memory_order_relaxed);
  add(v);
}

Metric::Metric(std::string n, std::string h, std::string u, MetricKind k, std::vector<double> b)
    : name(std::move(n)), help(std::move(h)), unit(std::move(u)), kind(k), bounds(std::move(b)) {}

Series& Metric::series(const Labels& labels) {
  const std::lock_guard guard(mutex_);
  const auto it = series_.find(labels);
  if (it != series_.end()) return *it->second;
  Labels key = labels;
  if (series_.size() >= max_series) {
    for (auto& [label, value] : key) value = "other";
  }
  auto& made = series_[key];
  if (!made) made = std::make_unique<Series>(bounds.size());
  return *made;
}

void Metric::observe(const Labels& labels, double v) {
  const auto bound = std::lower_bound(bounds.begin(), bounds.end(), v);
  series(labels).observe(static_cast<size_t>(bound - bounds.begin()), v);
}

std::vector<std::pair<Labels, const Series*>> Metric::all() const {
  const std::lock_guard guard(mutex_);
  std::vector<std::pair<Labels, const Series*>> out;
  for (const auto& [labels, series] : series_) out.emplace_back(labels, series.get());
  return out;
}

Metric& Registry::add(std::unique_ptr<Metric> metric) {
  const std::lock_guard guard(mutex_);
  metrics_.push_back(std::move(metric));
  return *metrics_.back();
}
Metric& Registry::counter(std::string name, std::string help, std::string unit) {
  return add(std::make_unique<Metric>(std::move(name), std::move(help), std::move(unit),
                                      MetricKind::counter, std::vector<double>()));
}
Metric& Registry::gauge(std::string name, std::string help, std::string unit) {
  return add(std::make_unique<Metric>(std::move(name), std::move(help), std::move(unit),
                                      MetricKind::gauge, std::vector<double>()));
}
Metric& Registry::histogram(std::string name, std::string help, std::string unit,
                            std::vector<double> bounds) {
  return add(std::make_unique<Metric>(std::move(name), std::move(help), std::move(unit),
                                      MetricKind::histogram, std::move(bounds)));
}
std::vector<const Metric*> Registry::all() const {
  const std::lock_guard guard(mutex_);
  std::vector<const Metric*> out;
  for (const auto& metric : metrics_) out.push_back(metric.get());
  return out;
}

namespace {

// In help texts `\` and line ends are escaped, in label values also `"`.
std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out.push_back(c);
  }
  return out;
}

// Prometheus knows no dots in names.
std::string plain_name(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::string label_text(const Labels& labels, std::string_view extra = "") {
  std::string out;
  for (const auto& [name, value] : labels)
    out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : ",", plain_name(name),
                       escaped(value, true));
  if (!extra.empty()) out += (out.empty() ? "" : ",") + std::string(extra);
  return out.empty() ? "" : "{" + out + "}";
}

std::string number(double v) {
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", v);
}

void write_series(std::string& out, const std::string& name, const Metric& m, const Labels& labels,
                  const Series& series) {
  if (m.kind != MetricKind::histogram) {
    out += fmt::format("{}{} {}\n", name, label_text(labels), number(series.value()));
    return;
  }
  uint64_t total = 0;
  for (size_t i = 0; i < series.buckets(); ++i) {
    total += series.count(i);
    const std::string bound = i < m.bounds.size() ? number(m.bounds[i]) : "+Inf";
    out += fmt::format("{}_bucket{} {}\n", name, label_text(labels, "le=\"" + bound + "\""), total);
  }
  out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, label_text(labels),
                     number(series.value()), name, label_text(labels), total);
}

}  // namespace

std::string prometheus_text(const Registry& registry) {
  static constexpr const char* kinds[] = {"counter", "gauge", "histogram"};
  std::string out;
  for (const Metric* m : registry.all()) {
    std::string name = plain_name(m->name);
    if (m->unit == "s") name += "_seconds";
    if (m->unit == "By") name += "_bytes";
    if (m->kind == MetricKind::counter) name += "_total";
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escaped(m->help, false), name,
                       kinds[static_cast<size_t>(m->kind)]);
    for (const auto& [labels, series] : m->all()) write_series(out, name, *m, labels, *series);
  }
  return out;
}

}  // namespace kflow::observe
