// What a tool's result means as a value of the language.
#pragma once

#include <string_view>
#include <variant>

#include "compiler/ir/schema/types.hpp"
#include "runtime/mcp/session.hpp"

namespace kflow::mcp {

/// Longest message of an error that a tool gave, in bytes.
inline constexpr size_t max_error_text = 16U << 10;

/// The value of a result object: its structured content, of `type` if the tool has an output schema
/// (`structured`); else its text; else, where there is more than text, the list of its contents:
/// `{type, text}`, `{type, mime_type, data}` with bytes, `{type, uri, name, …}`. A result that says
/// it is an error is one, with the code `tool_error`.
std::variant<cel::Value, Failure> value_of(const cel::Value& result, const schema::TypeTable& types,
                                           schema::TypeId type, bool structured,
                                           std::string_view tool);

}  // namespace kflow::mcp
