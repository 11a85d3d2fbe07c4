// Texts and requests for models.
#include "runtime/machine/prompts.hpp"

#include "compiler/base/json.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/json_schema.hpp"

namespace kflow::machine {

using cel::Value;
using schema::TypeKind;

namespace {

std::string text_of(const Value& v) {
  return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_json(v);
}

// A message without its files, which go along as they are: nothing of a file alone, the texts of a
// list of texts and files.
std::string told(const Value& v) {
  if (v.kind() == cel::Kind::file) return "";
  std::vector<cel::File> files;
  cel::files_in(v, files);
  if (files.empty() || v.kind() != cel::Kind::list) return text_of(v);
  std::string out;
  for (const Value& item : v.as_list()) {
    if (item.kind() == cel::Kind::file) continue;
    out += (out.empty() ? "" : "\n\n") + text_of(item);
  }
  return out;
}

void paragraph(std::string& out, std::string_view text) {
  if (text.empty()) return;
  if (!out.empty()) out += "\n\n";
  out += text;
}

std::string_view team_text(ir::TeamMode mode) {
  switch (mode) {
    case ir::TeamMode::none:
      return "";
    case ir::TeamMode::coordinate:
      return "You lead a team. Its members are among your tools: give each the part of the work "
             "that fits it best, with all that it needs to know, since members do not see this "
             "conversation. Several can work at the same time. Then put what they found together "
             "into one answer of your own.";
    case ir::TeamMode::route:
      return "You decide which member of your team answers. Call exactly one member, the one that "
             "fits best, and pass the request on unchanged. Its answer is given as it is.";
    case ir::TeamMode::broadcast:
      return "All members of your team have been given the same request. Put their answers "
             "together into one of your own: keep what agrees, say where they differ.";
    case ir::TeamMode::tasks:
      return "You lead a team and keep a list of tasks. Break the request down with add_task, let "
             "members do the work by calling them, and record each result with complete_task. "
             "When every task is complete, give the final answer.";
  }
  return "";
}

// The type of the answer as an object's schema.
std::string output_schema(const ir::Program& program, const ir::Callable& agent) {
  if (!is_wrapped(program, agent))
    return schema::json_schema(program.types, agent.result, {.aliases = true});
  const schema::Field value{.name = "value", .type = agent.result};
  return schema::json_schema(program.types, std::span(&value, 1), {.aliases = true});
}

conversation::ModelSpec spec_of(const ir::Model& m) {
  return {.provider = m.provider,
          .id = m.id,
          .name = m.name,
          .temperature = m.temperature,
          .top_p = m.top_p,
          .max_output_tokens = m.max_output_tokens,
          .reasoning_effort = m.reasoning_effort,
          .seed = m.seed,
          .stop = m.stop,
          .base_url = m.base_url,
          .api_key = m.api_key};
}

std::string object_schema(std::initializer_list<std::pair<std::string_view, std::string_view>> f) {
  JsonWriter out;
  out.begin_object();
  out.key("type"), out.string("object");
  out.key("properties");
  out.begin_object();
  for (const auto& [name, type] : f) {
    out.key(name);
    out.begin_object();
    out.key("type"), out.string(type);
    out.end_object();
  }
  out.end_object();
  out.key("required");
  out.begin_array();
  for (const auto& [name, type] : f) out.string(name);
  out.end_array();
  out.key("additionalProperties"), out.boolean(false);
  out.end_object();
  return out.take();
}

}  // namespace

bool is_structured(const ir::Program& program, const ir::Callable& agent) {
  const TypeKind kind = program.types[agent.result].kind;
  return kind != TypeKind::string && kind != TypeKind::any;
}

bool is_wrapped(const ir::Program& program, const ir::Callable& agent) {
  return is_structured(program, agent) && program.types[agent.result].kind != TypeKind::record;
}

std::string system_text(const ir::Program&, const ir::Callable& agent, const Value& role,
                        const Value& instructions) {
  std::string out;
  if (!role.is_null()) paragraph(out, text_of(role));
  if (instructions.kind() == cel::Kind::list) {
    std::string list;
    for (const Value& item : instructions.as_list())
      list += (list.empty() ? "- " : "\n- ") + text_of(item);
    paragraph(out, list);
  } else if (!instructions.is_null()) {
    paragraph(out, text_of(instructions));
  }
  paragraph(out, team_text(agent.agent.mode));
  return out;
}

std::string message_text(const ir::Callable& agent, const Value& input) {
  if (agent.agent.message) {
    const Value* message = input.find("message");
    return message == nullptr ? "" : told(*message);
  }
  std::string out;
  for (const ir::Param& p : agent.params) {
    const Value* v = input.find(p.name);
    const bool file = v != nullptr && v->kind() == cel::Kind::file;
    out += (out.empty() ? "" : "\n\n") + p.name + ": " +
           (v == nullptr ? "null"
            : file       ? "the file `" + v->as_file().name + "`"
                         : cel::to_json(*v));
  }
  return out;
}

conversation::ModelRequest model_request(const RunState& s, const Act& act) {
  const ir::Program& program = *s.program;
  const ir::Callable& agent = callable_of(s, act);
  const AgentData& data = *act.agent;
  conversation::ModelRequest out{.model = spec_of(program[model_of(s, act)]),
                                 .system = data.system};
  for (const Value& m : data.messages) {
    if (auto message = conversation::message_from(m)) out.messages.push_back(std::move(*message));
  }
  const bool synthesis = agent.agent.mode == ir::TeamMode::broadcast;
  for (uint32_t i = synthesis ? agent.agent.members : 0; i < agent.agent.tools.size(); ++i) {
    const ir::AgentTool& tool = agent.agent.tools[i];
    out.tools.push_back(
        {.name = tool.name,
         .description = tool.description,
         .schema = !tool.schema.empty()
                       ? tool.schema
                       : schema::json_schema(program.types, program.types[tool.input].fields,
                                             {.aliases = true})});
  }
  if (agent.agent.mode == ir::TeamMode::tasks) {
    out.tools.push_back({.name = std::string(task_tools[0]),
                         .description = "Adds a task to the list.",
                         .schema = object_schema({{"title", "string"}})});
    out.tools.push_back({.name = std::string(task_tools[1]),
                         .description = "Marks a task as complete, with its result in a sentence.",
                         .schema = object_schema({{"number", "integer"}, {"result", "string"}})});
    out.tools.push_back({.name = std::string(task_tools[2]),
                         .description = "Shows the list of tasks.",
                         .schema = object_schema({})});
  }
  if (agent.agent.mode == ir::TeamMode::route) out.tool_choice = conversation::ToolChoice::required;
  out.parallel_tools = agent.agent.parallel_tools && agent.agent.mode != ir::TeamMode::route;
  if (is_structured(program, agent)) {
    out.output_name = program.types[agent.result].name;
    if (out.output_name.empty()) out.output_name = "answer";
    out.output_schema = output_schema(program, agent);
  }
  return out;
}

std::string synthesis_text(const AgentData& data) {
  std::string out = "The members answered:";
  for (const ToolCall& call : data.calls) {
    out += "\n\n## " + call.name + "\n\n" +
           (call.is_error ? "(it failed: " + text_of(call.value) + ")" : text_of(call.value));
  }
  return out;
}

std::string tasks_text(const std::vector<TeamTask>& tasks) {
  if (tasks.empty()) return "The list is empty.";
  std::string out;
  for (size_t i = 0; i < tasks.size(); ++i) {
    out += (i == 0 ? "" : "\n") + std::to_string(i + 1) + ". [" + (tasks[i].done ? "x" : " ") +
           "] " + tasks[i].title + (tasks[i].result.empty() ? "" : ": " + tasks[i].result);
  }
  return out;
}

}  // namespace kflow::machine
