// One callable's step graph as nested JSON: what pages and other programs draw.
#pragma once

#include <string>

#include "compiler/ir/program.hpp"

namespace kflow::ir {

/// `{"name", "params": […], "result", "body": [node…], "callables": {name: …}}`, compact.
///
/// A node is `{"id", "kind", "name", "named", "line", …}`: `id` is the `step_index` of event
/// frames, `kind` the statement's keyword. By kind:
///   step      callee, callee_kind, args [{name, text}], type, options {name: text}
///   let, set, return, fail, emit   text
///   if        arms [{when, body}], `when` null: else
///   match     text (the subject), arms
///   parallel  join, first, limit, branches [{name, body}]
///   for       text (the items), variables, limit, continues, body
///   loop      max, until, while, body
///   try       body, catches [{name, guard, body}], finally (null: none)
/// `callables` holds what its steps call, directly or not, and its models can call: kind, doc, and
/// of a tool or workflow the body, of an agent or team the model, mode, members and tools. Expressions are
/// given as their source; secrets are names only, so nothing here needs hiding.
std::string outline_json(const Program& program, CallableId callable);

}  // namespace kflow::ir
