// Diagnostics as text: for people (source line and carets) and for programs (JSON).
#pragma once

#include <string>

#include "compiler/diagnostics/diagnostics.hpp"

namespace kflow::diagnostics {

/// All diagnostics with their source lines, then a line that counts them; "" if there are none.
std::string render_human(const Sink& sink, const source::Manager& sources, bool colour);

/// One JSON document: {"diagnostics": [{code, severity, message, file, line, column, end_line,
/// end_column, label, notes, suggestions, secondary, fixes}], "errors": n, "warnings": n}. Lines
/// and columns from 1, columns in bytes.
std::string render_json(const Sink& sink, const source::Manager& sources);

}  // namespace kflow::diagnostics
