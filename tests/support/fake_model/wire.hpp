// What the stand-in's server needs of its wire formats.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "compiler/cel/value.hpp"

namespace kflow::test {

/// A stamp is a piece of text `NNNNNN@TTTTTTTTTTTTTTTTTTTT;`: its number and, filled in when it is
/// sent, the monotonic clock in nanoseconds.
inline constexpr size_t stamp_digits = 6;
inline constexpr size_t stamp_clock_digits = 20;
inline constexpr size_t stamp_size = stamp_digits + stamp_clock_digits + 2;

/// The body that answers a request for that path; none: nothing is there. `stream`: as events.
std::optional<std::string> wire_answer(const std::string& path, const std::string& asked,
                                       const cel::Value& answer, bool& stream);
std::string error_body(const cel::Value& error);
/// The last thing a user said, wherever the dialect keeps it.
std::string last_text(const cel::Value& request);

// Fields of a JSON object; "", null or `fallback` if they are not there.
std::string text_at(const cel::Value* v, std::string_view name);
const cel::Value* at(const cel::Value* v, std::string_view name);
int64_t int_at(const cel::Value* v, std::string_view name, int64_t fallback);

}  // namespace kflow::test
