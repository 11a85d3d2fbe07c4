// Habits from other languages: names of types, values and functions, and conversions that are made
// elsewhere by themselves.
#pragma once

#include <string>
#include <string_view>

#include "compiler/diagnostics/diagnostics.hpp"
#include "compiler/ir/schema/types.hpp"

namespace kflow::sema {

/// Each adds a suggestion with a fix, or a note. False: nothing is known of the name.
bool explain_type_name(std::string_view name, diagnostics::Builder& diagnostic);
bool explain_value_name(std::string_view name, diagnostics::Builder& diagnostic);
/// An option of a `construct`.
bool explain_option_name(std::string_view construct, std::string_view name,
                         diagnostics::Builder& diagnostic);
/// `member`: of `xs.length()`, not of `len(xs)`.
bool explain_function_name(std::string_view name, bool member, diagnostics::Builder& diagnostic);

/// How a `from` becomes a `wanted`; "": it does not.
std::string conversion_note(const schema::TypeTable& types, schema::TypeId from,
                            schema::TypeId wanted);

std::string lower_case(std::string_view text);

}  // namespace kflow::sema
