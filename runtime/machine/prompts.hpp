// Prompts: what models are told, put together from an agent's options. Plain text, no I/O.
#pragma once

#include <string>

#include "compiler/cel/value.hpp"
#include "runtime/conversation/conversation.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

/// Role, instructions (a string, a list of strings, or null) and what a team's leader must know.
std::string system_text(const ir::Program& program, const ir::Callable& agent,
                        const cel::Value& role, const cel::Value& instructions);
/// What an agent without a `prompt` is told: the message itself, or its parameters by name.
std::string message_text(const ir::Callable& agent, const cel::Value& input);
/// The request of the turn that is due. `agent` has the kind agent.
conversation::ModelRequest model_request(const RunState& state, const Act& agent);
/// The answers of all members, for the one who puts them together.
std::string synthesis_text(const AgentData& data);

/// Tools that a team in the mode `tasks` has besides its members.
inline constexpr std::string_view task_tools[] = {"add_task", "complete_task", "list_tasks"};
std::string tasks_text(const std::vector<TeamTask>& tasks);

/// Whether an agent's answer is JSON of a type, and whether that stands in `{"value": …}` because
/// only objects can be asked for.
bool is_structured(const ir::Program& program, const ir::Callable& agent);
bool is_wrapped(const ir::Program& program, const ir::Callable& agent);

}  // namespace kflow::machine
