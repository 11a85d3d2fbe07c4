// SpanBuilder: the events of runs become OpenTelemetry spans. Pure: no clock, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/ir/program.hpp"
#include "runtime/machine/events.hpp"

namespace kflow::observe {

using machine::Millis;

struct Attribute {
  std::string name;
  std::string text;
  std::optional<int64_t> number;  ///< instead of the text
};

/// One finished span, ready to be exported. Ids are derived from the run's id, the activation and
/// the attempt, so that a process that takes a run over goes on with the same trace.
struct Span {
  std::string trace_id;   ///< 16 bytes
  std::string span_id;    ///< 8 bytes
  std::string parent_id;  ///< 8 bytes, or empty
  std::string name;
  Millis start = 0;
  Millis end = 0;
  bool client = false;  ///< a call of another system, not something internal
  bool failed = false;
  std::string message;  ///< of a failure
  std::vector<Attribute> attributes;
  std::optional<std::pair<std::string, std::string>> link;  ///< trace and span of the parent run
};

std::string trace_id_of(const std::string& run_id);
std::string span_id_of(const std::string& run_id, machine::ActId act, uint32_t attempt);

/// A span for each run, one for each step, tool and agent below it, one for each attempt below that.
/// Calls of models and tools, and agents, are named and described as OpenTelemetry's semantic
/// conventions for generative AI have it. Not thread-safe.
class SpanBuilder {
 public:
  /// Events of one run in order; finished spans are appended to `out`. What began in another
  /// process begins, for us, with the first event that is seen of it.
  void add(const std::string& run_id, const ir::Program& program, const machine::Event& event,
           std::vector<Span>& out);
  size_t open_runs() const { return runs_.size(); }

 private:
  struct Open {
    machine::ActId parent = machine::no_act;
    bool step = false;
    Span span;
    std::optional<Span> attempt;
  };
  struct Run {
    Span root;
    std::unordered_map<machine::ActId, Open> acts;
  };
  Run& run_of(const std::string& run_id, const machine::Event& event);
  Open& step_of(Run& run, const std::string& run_id, const ir::Program& program,
                const machine::Event& event);
  void begin_attempt(Open& open, const std::string& run_id, const machine::Event& event,
                     uint32_t attempt);
  static void end(Span& span, Millis when, const machine::RunError* error);

  std::map<std::string, Run> runs_;
};

}  // namespace kflow::observe
