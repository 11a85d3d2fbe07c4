// The rows of the construct table (language.md §5, §6).
#include "compiler/sema/constructs.hpp"

namespace kflow::sema {
namespace {

using enum OptionKind;

constexpr OptionRow table[] = {
    {"step", "retry", block, "retry", false, true, "how failed attempts are repeated"},
    {"step", "timeout", expression, "duration", false, true, "for all attempts together"},
    {"step", "attempt_timeout", expression, "duration", false, true, "for one attempt"},
    {"step", "on_error", symbol, "fail continue", false, true, "whether a failure ends the block"},
    {"step", "default", expression, "any", false, true,
     "the value after a failure with on_error: continue"},
    {"step", "idempotency_key", expression, "string", false, true,
     "the key that repeats of the effect share"},
    {"step", "at_most_once", constant, "bool", false, true,
     "never repeated after a crash in its middle"},
    {"step", "cache", expression, "duration", false, true,
     "how long an equal call's value is reused"},
    {"step", "undo", call, "", false, true, "what compensates the step when the run fails"},
    {"step", "ensure", expression, "bool", false, true, "a condition on the value"},
    {"step", "confirm", expression, "string", false, true,
     "a question a person must agree to first"},
    {"step", "review", expression, "string", false, true, "a question on the value to a person"},
    {"step", "label", expression, "string", false, true, "shown instead of the name"},
    {"step", "at_end", symbol, "cancel leave", false, true,
     "what becomes of a detached run when this one ends"},
    {"step", "tags", constant, "string[]", false, true, "words to find it by"},
    {"parallel", "join", call, "all settled any first", false, true, "what must succeed"},
    {"parallel", "limit", constant, "int", false, true, "branches at the same time"},
    {"for", "limit", constant, "int", false, true, "iterations at the same time; 1 if not given"},
    {"for", "on_error", symbol, "fail continue collect", false, true,
     "whether a failed iteration ends the loop"},
    {"loop", "max", expression, "int", true, true, "most iterations"},
    {"loop", "until", expression, "bool", false, true, "ends the loop after an iteration"},
    {"loop", "while", expression, "bool", false, true, "needed before each iteration"},
    {"loop", "on_max", symbol, "continue fail", false, true, "what reaching max means"},
    {"try", "compensate", constant, "bool", false, true, "undo what the body did when it fails"},
    {"workflow", "timeout", expression, "duration", false, true, "for the whole run"},
    {"workflow", "schedule", call, "cron", false, true, "when it starts by itself"},
    {"workflow", "concurrency", block, "concurrency", false, true, "runs at the same time"},
    {"workflow", "budget", block, "budget", false, true, "most that models may cost"},
    {"workflow", "retention", constant, "duration", false, true, "how long a finished run is kept"},
    {"workflow", "session", anything, "", false, true, "declared state of a session"},
    {"workflow", "on_cancel", reference, "", false, true,
     "a tool to call when the run is cancelled"},
    {"workflow", "on_failure", reference, "", false, true, "a tool to call when the run fails"},
    {"workflow", "tags", constant, "string[]", false, true, "words to find its runs by"},
    {"concurrency", "limit", constant, "int", true, true, "runs at the same time"},
    {"concurrency", "key", expression, "any", false, true, "counted separately by this value"},
    {"concurrency", "when_full", symbol, "queue reject cancel_oldest", false, true,
     "what a further run does"},
    {"budget", "usd", expression, "double", false, true, "US dollars"},
    {"budget", "tokens", expression, "int", false, true, "tokens in and out"},
    {"retry", "max", constant, "int", false, true, "attempts in all"},
    {"retry", "backoff", call, "exponential linear constant", false, true, "how the delays grow"},
    {"retry", "jitter", symbol, "none full equal", false, true, "how delays are spread"},
    {"retry", "on", anything, "", false, true, "which errors are tried again"},
    {"agent", "model", anything, "", false, true, "a model, or \"provider/id\""},
    {"agent", "role", expression, "string", false, true, "who the agent is"},
    {"agent", "instructions", anything, "", false, true, "what it is to do: a string or a list"},
    {"agent", "tools", anything, "", false, true, "tools, agents, workflows, modules, MCP servers"},
    {"agent", "prompt", expression, "string", false, true, "template over the parameters"},
    {"agent", "max_turns", constant, "int", false, true, "most calls of the model"},
    {"agent", "history", constant, "int", false, true, "earlier runs of the session that are told"},
    {"agent", "confirm", anything, "", false, true, "tools that need a person's yes"},
    {"agent", "guard", anything, "", false, true, "callables that may reject input or output"},
    {"agent", "parallel_tools", constant, "bool", false, true, "tool calls at the same time"},
    {"agent", "reask", constant, "int", false, true,
     "further tries for an answer of the right type"},
    {"agent", "budget", block, "budget", false, true, "most that it may cost"},
    {"agent", "tool_options", block, "tool_options", false, true,
     "timeout and retry of each call of a tool"},
    {"team", "members", anything, "", true, true, "agents, teams or workflows"},
    {"team", "mode", symbol, "coordinate route broadcast tasks", false, true,
     "how the leader works"},
    {"team", "model", anything, "", false, true, "the leader's model"},
    {"team", "role", expression, "string", false, true, "who the team is"},
    {"team", "instructions", anything, "", false, true, "what it is to do"},
    {"team", "tools", anything, "", false, true, "tools of the leader"},
    {"team", "prompt", expression, "string", false, true, "template over the parameters"},
    {"team", "max_turns", constant, "int", false, true, "most calls of the leader's model"},
    {"team", "history", constant, "int", false, true, "earlier runs of the session that are told"},
    {"team", "confirm", anything, "", false, true, "tools that need a person's yes"},
    {"team", "guard", anything, "", false, true, "callables that may reject input or output"},
    {"team", "parallel_tools", constant, "bool", false, true, "delegation at the same time"},
    {"team", "reask", constant, "int", false, true,
     "further tries for an answer of the right type"},
    {"team", "budget", block, "budget", false, true, "most that it may cost"},
    {"team", "tool_options", block, "tool_options", false, true,
     "timeout and retry of each call of a tool"},
    {"team", "share_history", constant, "bool", false, true, "members see the conversation"},
    {"tool_options", "timeout", expression, "duration", false, true, "for all attempts together"},
    {"tool_options", "attempt_timeout", expression, "duration", false, true, "for one attempt"},
    {"tool_options", "retry", block, "retry", false, true, "how failed attempts are repeated"},
    {"model", "provider", constant, "string", true, true, "who runs it"},
    {"model", "id", constant, "string", true, true, "its name there"},
    {"model", "temperature", constant, "double", false, true, "randomness"},
    {"model", "max_output_tokens", constant, "int", false, true, "longest answer"},
    {"model", "api_key", reference, "", false, true, "a secret"},
    {"model", "base_url", constant, "string", false, true, "another endpoint"},
    {"model", "top_p", constant, "double", false, true, "randomness, by share of probability"},
    {"model", "seed", constant, "int", false, true, "for answers that repeat, where it is offered"},
    {"model", "stop", constant, "string[]", false, true, "texts that end an answer"},
    {"model", "reasoning_effort", constant, "string", false, true,
     "\"none\", \"minimal\", \"low\", \"medium\" or \"high\""},
    {"model", "fallback", anything, "", false, true, "models to try next"},
    {"mcp", "command", constant, "string[]", false, true, "the server's program"},
    {"mcp", "env", anything, "", false, true,
     "variables of its environment: texts and declared secrets"},
    {"mcp", "url", constant, "string", false, true, "the server's address"},
    {"mcp", "headers", anything, "", false, true,
     "headers of its requests: texts and declared secrets"},
    {"mcp", "bearer", reference, "", false, true, "a secret: the token of its requests"},
    {"mcp", "timeout", constant, "duration", false, true, "of one call; 5m if not given"},
    {"extern", "command", constant, "string[]", false, true, "the program: JSON in, JSON out"},
    {"extern", "idempotent", constant, "bool", false, true, "may be repeated"},
};

}  // namespace

const OptionRow* find_option(std::string_view construct, std::string_view name) {
  for (const OptionRow& row : table) {
    if (row.construct == construct && row.name == name) return &row;
  }
  return nullptr;
}

std::vector<std::string> option_names(std::string_view construct) {
  std::vector<std::string> out;
  for (const OptionRow& row : table) {
    if (row.construct == construct) out.emplace_back(row.name);
  }
  return out;
}

std::span<const OptionRow> all_options() { return table; }

}  // namespace kflow::sema
