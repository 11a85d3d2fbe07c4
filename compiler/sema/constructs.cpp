// The rows of the construct table (language.md §5, §6).
#include "compiler/sema/constructs.hpp"

namespace kflow::sema {
namespace {

using enum OptionKind;

constexpr OptionRow table[] = {
    {"step", "retry", block, "retry", false, "how failed attempts are repeated"},
    {"step", "timeout", expression, "duration", false, "for all attempts together"},
    {"step", "attempt_timeout", expression, "duration", false, "for one attempt"},
    {"step", "on_error", symbol, "fail continue", false, "whether a failure ends the block"},
    {"step", "default", expression, "any", false,
     "the value after a failure with on_error: continue"},
    {"step", "idempotency_key", expression, "string", false,
     "the key that repeats of the effect share"},
    {"step", "at_most_once", constant, "bool", false, "never repeated after a crash in its middle"},
    {"step", "cache", expression, "duration", false, "how long an equal call's value is reused"},
    {"step", "undo", call, "", false, "what compensates the step when the run fails"},
    {"step", "ensure", expression, "bool", false, "a condition on the value"},
    {"step", "confirm", expression, "string", false, "a question a person must agree to first"},
    {"step", "review", expression, "string", false, "a question on the value to a person"},
    {"step", "label", expression, "string", false, "shown instead of the name"},
    {"step", "at_end", symbol, "cancel leave", false,
     "what becomes of a detached run when this one ends"},
    {"step", "tags", constant, "string[]", false, "words to find it by"},
    {"parallel", "join", call, "all settled any first", false, "what must succeed"},
    {"parallel", "limit", constant, "int", false, "branches at the same time"},
    {"for", "limit", constant, "int", false, "iterations at the same time; 1 if not given"},
    {"for", "on_error", symbol, "fail continue collect", false,
     "whether a failed iteration ends the loop"},
    {"loop", "max", expression, "int", true, "most iterations"},
    {"loop", "until", expression, "bool", false, "ends the loop after an iteration"},
    {"loop", "while", expression, "bool", false, "needed before each iteration"},
    {"loop", "on_max", symbol, "continue fail", false, "what reaching max means"},
    {"try", "compensate", constant, "bool", false, "undo what the body did when it fails"},
    {"workflow", "timeout", expression, "duration", false, "for the whole run"},
    {"workflow", "schedule", call, "cron", false, "when it starts by itself"},
    {"workflow", "concurrency", block, "concurrency", false, "runs at the same time"},
    {"workflow", "budget", block, "budget", false, "most that models may cost"},
    {"workflow", "retention", constant, "duration", false, "how long a finished run is kept"},
    {"workflow", "session", anything, "", false, "declared state of a session"},
    {"workflow", "on_cancel", reference, "", false, "a tool to call when the run is cancelled"},
    {"workflow", "on_failure", reference, "", false, "a tool to call when the run fails"},
    {"workflow", "tags", constant, "string[]", false, "words to find its runs by"},
    {"concurrency", "limit", constant, "int", true, "runs at the same time"},
    {"concurrency", "key", expression, "any", false, "counted separately by this value"},
    {"concurrency", "when_full", symbol, "queue reject cancel_oldest", false,
     "what a further run does"},
    {"budget", "usd", expression, "double", false, "US dollars"},
    {"budget", "tokens", expression, "int", false, "tokens in and out"},
    {"retry", "max", constant, "int", false, "attempts in all"},
    {"retry", "backoff", call, "exponential linear constant", false, "how the delays grow"},
    {"retry", "jitter", symbol, "none full equal", false, "how delays are spread"},
    {"retry", "on", anything, "", false, "which errors are tried again"},
    {"agent", "model", anything, "", false, "a model, or \"provider/id\""},
    {"agent", "role", expression, "string", false, "who the agent is"},
    {"agent", "instructions", anything, "", false, "what it is to do: a string or a list"},
    {"agent", "tools", anything, "", false, "tools, agents, workflows, modules, MCP servers"},
    {"agent", "prompt", expression, "string", false, "template over the parameters"},
    {"agent", "max_turns", constant, "int", false, "most calls of the model"},
    {"agent", "history", constant, "int", false, "earlier runs of the session that are told"},
    {"agent", "confirm", anything, "", false, "tools that need a person's yes"},
    {"agent", "guard", anything, "", false, "callables that may reject input or output"},
    {"agent", "parallel_tools", constant, "bool", false, "tool calls at the same time"},
    {"agent", "reask", constant, "int", false, "further tries for an answer of the right type"},
    {"agent", "budget", block, "budget", false, "most that it may cost"},
    {"agent", "tool_options", block, "tool_options", false,
     "timeout and retry of each call of a tool"},
    {"team", "members", anything, "", true, "agents, teams or workflows"},
    {"team", "mode", symbol, "coordinate route broadcast tasks", false, "how the leader works"},
    {"team", "model", anything, "", false, "the leader's model"},
    {"team", "role", expression, "string", false, "who the team is"},
    {"team", "instructions", anything, "", false, "what it is to do"},
    {"team", "tools", anything, "", false, "tools of the leader"},
    {"team", "prompt", expression, "string", false, "template over the parameters"},
    {"team", "max_turns", constant, "int", false, "most calls of the leader's model"},
    {"team", "history", constant, "int", false, "earlier runs of the session that are told"},
    {"team", "confirm", anything, "", false, "tools that need a person's yes"},
    {"team", "guard", anything, "", false, "callables that may reject input or output"},
    {"team", "parallel_tools", constant, "bool", false, "delegation at the same time"},
    {"team", "reask", constant, "int", false, "further tries for an answer of the right type"},
    {"team", "budget", block, "budget", false, "most that it may cost"},
    {"team", "tool_options", block, "tool_options", false,
     "timeout and retry of each call of a tool"},
    {"team", "share_history", constant, "bool", false, "members see the conversation"},
    {"tool_options", "timeout", expression, "duration", false, "for all attempts together"},
    {"tool_options", "attempt_timeout", expression, "duration", false, "for one attempt"},
    {"tool_options", "retry", block, "retry", false, "how failed attempts are repeated"},
    {"model", "provider", constant, "string", true, "who runs it"},
    {"model", "id", constant, "string", true, "its name there"},
    {"model", "temperature", constant, "double", false, "randomness"},
    {"model", "max_output_tokens", constant, "int", false, "longest answer"},
    {"model", "api_key", reference, "", false, "a secret"},
    {"model", "base_url", constant, "string", false, "another endpoint"},
    {"model", "top_p", constant, "double", false, "randomness, by share of probability"},
    {"model", "seed", constant, "int", false, "for answers that repeat, where it is offered"},
    {"model", "stop", constant, "string[]", false, "texts that end an answer"},
    {"model", "reasoning_effort", constant, "string", false,
     "\"none\", \"minimal\", \"low\", \"medium\" or \"high\""},
    {"model", "fallback", anything, "", false, "models to try next"},
    {"mcp", "command", constant, "string[]", false, "the server's program"},
    {"mcp", "env", anything, "", false, "variables of its environment: texts and declared secrets"},
    {"mcp", "url", constant, "string", false, "the server's address"},
    {"mcp", "headers", anything, "", false, "headers of its requests: texts and declared secrets"},
    {"mcp", "bearer", reference, "", false, "a secret: the token of its requests"},
    {"mcp", "timeout", constant, "duration", false, "of one call; 5m if not given"},
    {"extern", "command", constant, "string[]", false, "the program: JSON in, JSON out"},
    {"extern", "idempotent", constant, "bool", false, "may be repeated"},
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
