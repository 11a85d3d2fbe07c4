// Writing OTLP as JSON.
#include "runtime/observe/otlp.hpp"

#include "compiler/base/hash.hpp"
#include "compiler/base/json.hpp"

namespace kflow::observe {
namespace {

std::string nanos(Millis ms) { return std::to_string(ms) + "000000"; }

void write_attributes(JsonWriter& out, const std::vector<Attribute>& attributes) {
  out.key("attributes");
  out.begin_array();
  for (const Attribute& a : attributes) {
    out.begin_object();
    out.key("key"), out.string(a.name);
    out.key("value");
    out.begin_object();
    if (a.number) {
      out.key("intValue"), out.string(std::to_string(*a.number));
    } else {
      out.key("stringValue"), out.string(a.text);
    }
    out.end_object();
    out.end_object();
  }
  out.end_array();
}

void write_resource(JsonWriter& out, const Resource& resource) {
  out.key("resource");
  out.begin_object();
  write_attributes(out, resource);
  out.end_object();
}

void write_scope(JsonWriter& out) {
  out.key("scope");
  out.begin_object();
  out.key("name"), out.string("kflow");
  out.end_object();
}

void write_span(JsonWriter& out, const Span& span) {
  out.begin_object();
  out.key("traceId"), out.string(to_hex(span.trace_id));
  out.key("spanId"), out.string(to_hex(span.span_id));
  if (!span.parent_id.empty()) out.key("parentSpanId"), out.string(to_hex(span.parent_id));
  out.key("name"), out.string(span.name);
  out.key("kind"), out.integer(span.client ? 3 : 1);  // SPAN_KIND_CLIENT, _INTERNAL
  out.key("startTimeUnixNano"), out.string(nanos(span.start));
  out.key("endTimeUnixNano"), out.string(nanos(span.end));
  write_attributes(out, span.attributes);
  if (span.link) {
    out.key("links");
    out.begin_array();
    out.begin_object();
    out.key("traceId"), out.string(to_hex(span.link->first));
    out.key("spanId"), out.string(to_hex(span.link->second));
    out.end_object();
    out.end_array();
  }
  out.key("status");
  out.begin_object();
  if (span.failed) {
    out.key("code"), out.integer(2);  // STATUS_CODE_ERROR
    out.key("message"), out.string(span.message);
  }
  out.end_object();
  out.end_object();
}

void write_point(JsonWriter& out, const Metric& m, const Labels& labels, const Series& series,
                 Millis started, Millis now) {
  out.begin_object();
  std::vector<Attribute> attributes;
  for (const auto& [name, value] : labels) attributes.push_back({name, value, std::nullopt});
  write_attributes(out, attributes);
  out.key("startTimeUnixNano"), out.string(nanos(started));
  out.key("timeUnixNano"), out.string(nanos(now));
  if (m.kind == MetricKind::histogram) {
    uint64_t total = 0;
    for (size_t i = 0; i < series.buckets(); ++i) total += series.count(i);
    out.key("count"), out.string(std::to_string(total));
    out.key("sum"), out.number(series.value());
    out.key("bucketCounts");
    out.begin_array();
    for (size_t i = 0; i < series.buckets(); ++i) out.string(std::to_string(series.count(i)));
    out.end_array();
    out.key("explicitBounds");
    out.begin_array();
    for (const double bound : m.bounds) out.number(bound);
    out.end_array();
  } else {
    out.key("asDouble"), out.number(series.value());
  }
  out.end_object();
}

}  // namespace

std::string trace_request(const Resource& resource, std::span<const Span> spans) {
  JsonWriter out;
  out.begin_object();
  out.key("resourceSpans");
  out.begin_array();
  out.begin_object();
  write_resource(out, resource);
  out.key("scopeSpans");
  out.begin_array();
  out.begin_object();
  write_scope(out);
  out.key("spans");
  out.begin_array();
  for (const Span& span : spans) write_span(out, span);
  out.end_array();
  out.end_object();
  out.end_array();
  out.end_object();
  out.end_array();
  out.end_object();
  return out.take();
}

std::string metrics_request(const Resource& resource, const Registry& registry, Millis started,
                            Millis now) {
  static constexpr const char* kinds[] = {"sum", "gauge", "histogram"};
  JsonWriter out;
  out.begin_object();
  out.key("resourceMetrics");
  out.begin_array();
  out.begin_object();
  write_resource(out, resource);
  out.key("scopeMetrics");
  out.begin_array();
  out.begin_object();
  write_scope(out);
  out.key("metrics");
  out.begin_array();
  for (const Metric* m : registry.all()) {
    out.begin_object();
    out.key("name"), out.string(m->name);
    out.key("description"), out.string(m->help);
    out.key("unit"), out.string(m->unit);
    out.key(kinds[static_cast<size_t>(m->kind)]);
    out.begin_object();
    out.key("dataPoints");
    out.begin_array();
    for (const auto& [labels, series] : m->all())
      write_point(out, *m, labels, *series, started, now);
    out.end_array();
    if (m->kind != MetricKind::gauge)
      out.key("aggregationTemporality"), out.integer(2);  // cumulative
    if (m->kind == MetricKind::counter) out.key("isMonotonic"), out.boolean(true);
    out.end_object();
    out.end_object();
  }
  out.end_array();
  out.end_object();
  out.end_array();
  out.end_object();
  out.end_array();
  out.end_object();
  return out.take();
}

}  // namespace kflow::observe
