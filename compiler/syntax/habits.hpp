// Habits from other languages: what stands where the grammar wants something else, and how that is
// written here.
#pragma once

#include <string>
#include <string_view>

#include "compiler/syntax/recorder.hpp"

namespace kflow::syntax {

/// A note for the error; "": the text looks like nothing known.
std::string habit_note(std::string_view text, const SyntaxError& error);

}  // namespace kflow::syntax
