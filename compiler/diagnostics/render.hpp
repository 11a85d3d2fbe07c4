// Diagnostics as text: for people (source line and carets) and for programs (JSON, SARIF, GitHub).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/diagnostics/diagnostics.hpp"

namespace kflow::diagnostics {

/// A diagnostic and the sources it refers to.
struct Finding {
  const Diagnostic* diagnostic = nullptr;
  const source::Manager* sources = nullptr;
};

/// The diagnostics of several compilations, each once: what is wrong with an imported file is found
/// by everybody who imports it. Refers to the sinks and sources.
class Findings {
 public:
  void add(const Sink& sink, const source::Manager& sources);
  const std::vector<Finding>& all() const { return all_; }
  size_t errors() const { return errors_; }
  size_t warnings() const { return warnings_; }
  size_t dropped() const { return dropped_; }

 private:
  std::vector<Finding> all_;
  std::set<std::tuple<Kind, std::string, uint32_t, uint32_t, std::string>> seen_;
  size_t errors_ = 0;
  size_t warnings_ = 0;
  size_t dropped_ = 0;
};

/// All diagnostics with their source lines, then a line that counts them; "" if there are none.
std::string render_human(const Findings& findings, bool colour);
std::string render_human(const Sink& sink, const source::Manager& sources, bool colour);

/// One JSON document: {"diagnostics": [{code, severity, message, file, line, column, end_line,
/// end_column, label, notes, suggestions, secondary, fixes}], "errors": n, "warnings": n}. Lines
/// and columns from 1, columns in bytes.
std::string render_json(const Findings& findings);
std::string render_json(const Sink& sink, const source::Manager& sources);

/// SARIF 2.1.0, one run; columns count code points. `version`: of the tool.
std::string render_sarif(const Findings& findings, std::string_view version);

/// Workflow commands of GitHub Actions, a line each: `::error file=…,line=…,col=…,title=KF2004::…`.
std::string render_github(const Findings& findings);

}  // namespace kflow::diagnostics
