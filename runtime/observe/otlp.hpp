// The JSON encoding of OTLP 1.x (opentelemetry-proto): requests of the trace and the metrics
// service.
#pragma once

#include <span>
#include <string>

#include "runtime/observe/metrics.hpp"
#include "runtime/observe/spans.hpp"

namespace kflow::observe {

/// Attributes of the process, such as service.name.
using Resource = std::vector<Attribute>;

/// ExportTraceServiceRequest: ids in hex, times as strings of nanoseconds.
std::string trace_request(const Resource& resource, std::span<const Span> spans);
/// ExportMetricsServiceRequest with cumulative sums.
std::string metrics_request(const Resource& resource, const Registry& registry, Millis started,
                            Millis now);

}  // namespace kflow::observe
