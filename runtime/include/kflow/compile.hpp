// Compiling .kflow files: in the library kflow::kflow only, kflow::runtime has no parser.
#pragma once

#include <string>

#include "kflow/program.hpp"

namespace kflow::embed {

/// A file and what it imports. invalid_argument: it has errors, which are the message, as `kflowc
/// check` shows them.
Result<Program> compile_file(const std::string& path);
/// A text. `name` stands in messages; imports are relative to the current folder.
Result<Program> compile_text(const std::string& name, const std::string& text);

}  // namespace kflow::embed
