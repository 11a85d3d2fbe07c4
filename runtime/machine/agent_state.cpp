// What the events of an agent's turn do to its state.
#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/files.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/machine/run_state.hpp"

namespace kflow::machine {

using cel::Value;
using conversation::Message;
using conversation::Part;
using conversation::PartKind;

const ir::Callable& callable_of(const RunState& s, const Act& agent) {
  const auto& step = std::get<ir::StepNode>((*s.program)[agent.node].data);
  return (*s.program)[step.call.callable];
}

ir::ModelId model_of(const RunState& s, const Act& agent) {
  const ir::ModelId own = callable_of(s, agent).agent.model;
  const auto& fallback = (*s.program)[own].fallback;
  const uint32_t n = agent.agent->model;
  return n == 0 || n > fallback.size() ? own : fallback[n - 1];
}

namespace {

// Pictures and documents that the tools of one turn show their model; of more it has the names.
constexpr size_t max_files_shown = 20;

// Octets, of images and the like, are nothing that a model could read in a text.
Value readable(const Value& v) {
  if (v.kind() == cel::Kind::bytes)
    return Value::string("(" + std::to_string(v.size()) + " bytes)");
  if (v.kind() == cel::Kind::list) {
    std::vector<Value> items;
    for (const Value& x : v.as_list()) items.push_back(readable(x));
    return Value::list(std::move(items));
  }
  if (v.kind() != cel::Kind::map) return v;
  std::vector<cel::MapEntry> entries;
  for (const cel::MapEntry& e : v.as_map()) entries.push_back({e.key, readable(e.value)});
  return Value::map(std::move(entries));
}

std::string result_text(const ToolCall& call) {
  std::string text = call.value.kind() == cel::Kind::string ? std::string(call.value.as_string())
                                                            : cel::to_json(readable(call.value));
  if (text.size() <= max_tool_result) return text;
  size_t cut = max_tool_result;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  text.resize(cut);
  return text + "\n… (cut: the result is longer than " + std::to_string(max_tool_result >> 10) +
         " KiB)";
}

void fail(AgentData& data, RunError error, uint64_t cause) {
  error.cause_seq = cause;
  data.failure = std::move(error);
  data.phase = AgentPhase::failed;
}

void take_answer(RunState& s, Act& agent, const Value& value) {
  AgentData& data = *agent.agent;
  const auto answer = conversation::answer_from(value);
  if (!answer) {
    return fail(data,
                {.kind = "internal",
                 .code = "malformed_answer",
                 .message = "a call of the model gave a value that is no answer"},
                s.events);
  }
  const UsageTotal used = used_by(*answer);
  data.own += used;
  count_usage(s, agent, used);
  data.calls.clear();
  data.text = conversation::text_of(answer->message);
  data.stop = static_cast<uint8_t>(answer->stop);
  for (const Part& part : answer->message.parts) {
    if (part.kind != PartKind::tool_call) continue;
    ToolCall call;
    call.id = part.id;
    call.name = part.name;
    call.arguments = part.arguments;
    data.calls.push_back(std::move(call));
  }
  if (!answer->message.parts.empty())
    data.messages.push_back(conversation::to_value(answer->message));
  data.phase = data.calls.empty() ? AgentPhase::answer : AgentPhase::calls;
}

bool other_model_may_help(const RunError& error) {
  return error.kind == "model" || error.kind == "http" || error.kind == "timeout";
}

void take_verdict(const RunState& s, const Act& agent, const Act& guard, const Value& value,
                  const RunError* error) {
  AgentData& data = *agent.agent;
  if (error != nullptr) return fail(data, *error, s.events);
  const bool said_no = value.kind() == cel::Kind::boolean && !value.as_bool();
  const std::string why =
      value.kind() == cel::Kind::string ? std::string(value.as_string()) : std::string();
  if (!said_no && why.empty()) {
    const auto& guards = callable_of(s, agent).agent.guards;
    const auto asked = std::ranges::find(guards, guard.node, &ir::Guard::node);
    data.guard = static_cast<uint32_t>(asked - guards.begin()) + 1;
    return;
  }
  const std::string what = data.phase == AgentPhase::input ? "the message" : "the answer";
  fail(data,
       {.kind = "rejected",
        .code = "guard",
        .message = "`" + (*s.program)[guard.node].name + "` rejected " + what +
                   (why.empty() ? "" : ": " + why),
        .step = guard.path},
       data.phase == AgentPhase::output ? data.turn_seq : s.events);
}

// Pictures and documents that tools returned go along as they are: the model's dialect shows them
// to those that can see them (runtime/activities/model_media.cpp), the others have their names.
void add_files(Message& results, const std::vector<ToolCall>& calls) {
  size_t shown = 0;
  for (const ToolCall& call : calls) {
    if (call.is_error) continue;
    std::vector<cel::File> files;
    cel::files_in(call.value, files);
    for (const cel::File& f : files) {
      const bool visible = f.media_type.starts_with("image/") || f.media_type == "application/pdf";
      if (!visible || ++shown > max_files_shown) continue;
      results.parts.push_back({.kind = PartKind::media,
                               .id = call.id,
                               .name = call.name,
                               .media_type = f.media_type,
                               .file = f,
                               .filename = f.name});
    }
  }
}

}  // namespace

bool is_member(const ir::AgentOptions& team, std::string_view name) {
  const auto end = team.tools.begin() + static_cast<std::ptrdiff_t>(team.members);
  return std::find_if(team.tools.begin(), end,
                      [&](const ir::AgentTool& t) { return t.name == name; }) != end;
}

void count_usage(RunState& s, Act& act, const UsageTotal& used) {
  for (Act* up = &act; up != nullptr; up = s.find(up->parent)) {
    if (up->agent) up->agent->total += used;
  }
  s.usage += used;
}

void take_part(RunState& s, Act& agent, const Act& part, const Value& value,
               const RunError* error) {
  AgentData& data = *agent.agent;
  if (part.node == callable_of(s, agent).agent.call) {
    if (error == nullptr) return take_answer(s, agent, value);
    const auto& own = (*s.program)[callable_of(s, agent).agent.model];
    if (data.model < own.fallback.size() && other_model_may_help(*error)) {
      ++data.model;
      --data.turns;
      data.phase = AgentPhase::turn;
      return;
    }
    return fail(data, *error, error->cause_seq);
  }
  if (data.phase == AgentPhase::input || data.phase == AgentPhase::output)
    return take_verdict(s, agent, part, value, error);
  const auto call = std::ranges::find(data.calls, part.id, &ToolCall::act);
  if (call == data.calls.end()) return;
  call->answered = true;
  call->is_error = error != nullptr;
  call->value = error != nullptr ? Value::string(error->message) : value;
  settle_calls(s, agent);
}

void settle_calls(const RunState& s, Act& agent) {
  AgentData& data = *agent.agent;
  const ir::AgentOptions& options = callable_of(s, agent).agent;
  if (data.phase != AgentPhase::calls || !std::ranges::all_of(data.calls, &ToolCall::answered))
    return;
  // Members that were all called at once: the leader is told in words.
  if (options.mode == ir::TeamMode::broadcast && data.turns == 0) return;
  Message results{.role = conversation::Role::tool};
  for (const ToolCall& call : data.calls) {
    results.parts.push_back({.kind = PartKind::tool_result,
                             .text = result_text(call),
                             .id = call.id,
                             .name = call.name,
                             .is_error = call.is_error});
  }
  add_files(results, data.calls);
  data.messages.push_back(conversation::to_value(results));
  const bool handed_over = options.mode == ir::TeamMode::route &&
                           std::ranges::any_of(data.calls, [&](const ToolCall& c) {
                             return c.act != no_act && !c.is_error && is_member(options, c.name);
                           });
  data.phase = handed_over ? AgentPhase::answer : AgentPhase::turn;
}

}  // namespace kflow::machine
