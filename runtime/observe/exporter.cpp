// The exporter's thread: takes what has gathered, sends it, tries again.
#include "runtime/observe/exporter.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "runtime/activities/post.hpp"

namespace kflow::observe {
namespace {

constexpr int64_t first_backoff_ms = 500;

// `a=1,b=2`, percent-decoded values.
std::vector<std::pair<std::string, std::string>> pairs(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    const size_t equal = item.find('=');
    if (equal == std::string_view::npos || equal == 0) continue;
    std::string value;
    const std::string_view raw = item.substr(equal + 1);
    for (size_t i = 0; i < raw.size(); ++i) {
      unsigned code = 0;
      if (raw[i] == '%' && i + 2 < raw.size() &&
          std::from_chars(raw.data() + i + 1, raw.data() + i + 3, code, 16).ptr ==
              raw.data() + i + 3) {
        value.push_back(static_cast<char>(code));
        i += 2;
      } else {
        value.push_back(raw[i]);
      }
    }
    out.emplace_back(item.substr(0, equal), std::move(value));
  }
  return out;
}

}  // namespace

ExportSettings export_settings(const std::function<const char*(const char*)>& environment) {
  const auto text = [&](const char* name) {
    const char* v = environment(name);
    return std::string(v == nullptr ? "" : v);
  };
  ExportSettings out;
  if (text("OTEL_SDK_DISABLED") == "true") return out;
  std::string base = text("OTEL_EXPORTER_OTLP_ENDPOINT");
  while (base.ends_with('/')) base.pop_back();
  out.traces_url = text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  out.metrics_url = text("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
  if (out.traces_url.empty() && !base.empty()) out.traces_url = base + "/v1/traces";
  if (out.metrics_url.empty() && !base.empty()) out.metrics_url = base + "/v1/metrics";
  for (const auto& [name, value] : pairs(text("OTEL_EXPORTER_OTLP_HEADERS")))
    out.headers.push_back(name + ": " + value);
  out.headers.emplace_back("Content-Type: application/json");
  const std::string timeout = text("OTEL_EXPORTER_OTLP_TIMEOUT");
  int64_t ms = 0;
  if (std::from_chars(timeout.data(), timeout.data() + timeout.size(), ms).ec == std::errc() &&
      ms > 0)
    out.timeout_ms = ms;
  const std::string name = text("OTEL_SERVICE_NAME");
  out.resource.push_back({"service.name", name.empty() ? "kflow" : name, std::nullopt});
  for (auto& [key, value] : pairs(text("OTEL_RESOURCE_ATTRIBUTES"))) {
    if (key != "service.name" || name.empty()) {
      std::erase_if(out.resource, [&](const Attribute& a) { return a.name == key; });
      out.resource.push_back({key, value, std::nullopt});
    }
  }
  return out;
}

Exporter::Exporter(ExportSettings settings, Registry& registry, std::function<Millis()> clock)
    : settings_(std::move(settings)),
      registry_(registry),
      dropped_(registry.counter("kflow.export.dropped_spans", "Spans that were not exported")),
      clock_(std::move(clock)),
      started_(clock_()) {
  thread_ = std::thread([this] { run(); });
}

Exporter::~Exporter() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
    flush_until_ = clock_() + flush_deadline_ms;
  }
  changed_.notify_all();
  thread_.join();
}

void Exporter::add(std::vector<Span> spans) {
  if (spans.empty() || settings_.traces_url.empty()) return;
  size_t dropped = 0;
  bool full = false;
  {
    const std::lock_guard guard(mutex_);
    for (Span& span : spans) {
      if (queue_.size() < max_queued_spans) {
        queue_.push_back(std::move(span));
      } else {
        ++dropped;
      }
    }
    full = queue_.size() >= spans_per_request;
  }
  if (dropped > 0) dropped_.add({}, static_cast<double>(dropped));
  if (full) changed_.notify_all();
}

// Sleeps between tries; false: stopping, and out of time.
bool Exporter::wait(int64_t ms) {
  std::unique_lock lock(mutex_);
  if (stopping_) {
    const Millis left = flush_until_ - clock_();
    if (left <= 0) return false;
    ms = std::min<int64_t>(ms, left);
  }
  changed_.wait_for(lock, std::chrono::milliseconds(ms), [&] { return stopping_; });
  return !stopping_ || clock_() < flush_until_;
}

bool Exporter::send(const std::string& url, const std::string& body) {
  int64_t backoff = first_backoff_ms;
  for (int attempt = 1;; ++attempt, backoff *= 2) {
    const auto answer = activities::http_post(url, settings_.headers, body, settings_.timeout_ms);
    if (answer && answer->status >= 200 && answer->status < 300) return true;
    const bool again =
        !answer || answer->status == 429 || (answer->status >= 502 && answer->status <= 504);
    if (!again || attempt == export_attempts) return false;
    if (!wait(answer && answer->retry_after_ms > 0 ? answer->retry_after_ms : backoff))
      return false;
  }
}

void Exporter::run() {
  Millis metrics_due = started_ + metrics_every_ms;
  for (;;) {
    std::vector<Span> batch;
    bool last = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(export_every_ms),
                        [&] { return stopping_ || queue_.size() >= spans_per_request; });
      const auto end =
          queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), spans_per_request));
      batch.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
      queue_.erase(queue_.begin(), end);
      last = stopping_ && (queue_.empty() || clock_() >= flush_until_);
    }
    if (!batch.empty() && !send(settings_.traces_url, trace_request(settings_.resource, batch)))
      dropped_.add({}, static_cast<double>(batch.size()));
    const Millis now = clock_();
    if (!settings_.metrics_url.empty() && (last || now >= metrics_due)) {
      (void)send(settings_.metrics_url,
                 metrics_request(settings_.resource, registry_, started_, now));
      metrics_due = now + metrics_every_ms;
    }
    if (last) return;
  }
}

}  // namespace kflow::observe
