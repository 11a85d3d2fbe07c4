// Reading, writing and comparing locks.
#include "compiler/ir/lock.hpp"

#include <algorithm>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/import_schema.hpp"

namespace kflow::ir {
namespace {

using cel::Kind;
using cel::Value;

const Value* find(const Value& v, std::string_view key) {
  return v.kind() == Kind::map ? v.find(key) : nullptr;
}
std::string text_of(const Value& v, std::string_view key) {
  const Value* x = find(v, key);
  return x != nullptr && x->kind() == Kind::string ? std::string(x->as_string()) : "";
}
bool flag_of(const Value& v, std::string_view key, bool fallback) {
  const Value* x = find(v, key);
  return x != nullptr && x->kind() == Kind::boolean ? x->as_bool() : fallback;
}

std::unexpected<Error> malformed(const std::string& what) {
  return fail(ErrorCode::corrupt, "the lock is malformed: " + what);
}

Result<LockedTool> read_tool(const Value& v, const std::string& server) {
  LockedTool out{.name = text_of(v, "name"),
                 .title = text_of(v, "title"),
                 .description = text_of(v, "description"),
                 .input_schema = {},
                 .output_schema = {},
                 .read_only = flag_of(v, "read_only", false),
                 .idempotent = flag_of(v, "idempotent", false),
                 .destructive = flag_of(v, "destructive", true)};
  if (out.name.empty()) return malformed("a tool of `" + server + "` has no `name`");
  const Value* input = find(v, "input");
  if (input == nullptr || input->kind() != Kind::map)
    return malformed("the tool `" + out.name + "` of `" + server + "` has no `input` schema");
  out.input_schema = *input;
  if (const Value* output = find(v, "output")) out.output_schema = *output;
  return out;
}

Result<LockedServer> read_server(const Value& v) {
  LockedServer out{.name = text_of(v, "name"),
                   .command = {},
                   .url = text_of(v, "url"),
                   .protocol = text_of(v, "protocol"),
                   .server = text_of(v, "server"),
                   .tools = {}};
  if (const Value* command = find(v, "command"); command != nullptr) {
    if (command->kind() != Kind::list) return malformed("a `command` is no list");
    for (const Value& word : command->as_list()) {
      if (word.kind() != Kind::string) return malformed("a word of a `command` is no string");
      out.command.emplace_back(word.as_string());
    }
  }
  if (out.command.empty() == out.url.empty())
    return malformed("a server has either a `command` or a `url`");
  const Value* tools = find(v, "tools");
  if (tools == nullptr || tools->kind() != Kind::list)
    return malformed("the server `" + out.name + "` has no list of `tools`");
  for (const Value& t : tools->as_list()) {
    auto tool = read_tool(t, out.name);
    if (!tool) return std::unexpected(std::move(tool).error());
    out.tools.push_back(std::move(*tool));
  }
  return out;
}

void write_tool(JsonWriter& out, const LockedTool& t) {
  out.begin_object();
  out.key("name"), out.string(t.name);
  if (!t.title.empty()) out.key("title"), out.string(t.title);
  if (!t.description.empty()) out.key("description"), out.string(t.description);
  if (t.read_only) out.key("read_only"), out.boolean(true);
  if (t.idempotent) out.key("idempotent"), out.boolean(true);
  if (!t.destructive) out.key("destructive"), out.boolean(false);
  out.key("input"), out.raw(schema::canonical_json(t.input_schema));
  if (!t.output_schema.is_null())
    out.key("output"), out.raw(schema::canonical_json(t.output_schema));
  out.end_object();
}

}  // namespace

const LockedServer* Lock::find(const std::vector<std::string>& command,
                               const std::string& url) const {
  const auto it = std::ranges::find_if(
      servers, [&](const LockedServer& s) { return s.command == command && s.url == url; });
  return it == servers.end() ? nullptr : &*it;
}
LockedServer* Lock::find(const std::vector<std::string>& command, const std::string& url) {
  return const_cast<LockedServer*>(std::as_const(*this).find(command, url));
}

Result<Lock> read_lock(std::string_view text) {
  auto v = cel::from_json(text);
  if (!v) return malformed(v.error().message);
  const Value* format = find(*v, "kflow_lock");
  if (format == nullptr || format->kind() != Kind::int_)
    return malformed("it has no `kflow_lock` with the number of its format");
  if (format->as_int() > lock_format)
    return fail(ErrorCode::incompatible, "the lock was written by a newer version of kflow");
  const Value* servers = find(*v, "mcp");
  if (servers == nullptr || servers->kind() != Kind::list)
    return malformed("it has no list `mcp` of servers");
  Lock out;
  for (const Value& s : servers->as_list()) {
    auto server = read_server(s);
    if (!server) return std::unexpected(std::move(server).error());
    out.servers.push_back(std::move(*server));
  }
  return out;
}

// A line for each tool: a change of one is a change of one line.
std::string write_lock(const Lock& lock) {
  std::string out = "{\n  \"kflow_lock\": " + std::to_string(lock_format) + ",\n  \"mcp\": [";
  std::vector<const LockedServer*> sorted;
  for (const LockedServer& s : lock.servers) sorted.push_back(&s);
  std::ranges::sort(sorted, {},
                    [](const LockedServer* s) { return std::tuple(s->name, s->command, s->url); });
  for (size_t i = 0; i < sorted.size(); ++i) {
    const LockedServer& s = *sorted[i];
    JsonWriter head;
    head.begin_object();
    head.key("name"), head.string(s.name);
    if (s.url.empty()) {
      head.key("command");
      head.begin_array();
      for (const std::string& word : s.command) head.string(word);
      head.end_array();
    } else {
      head.key("url"), head.string(s.url);
    }
    head.key("protocol"), head.string(s.protocol);
    head.key("server"), head.string(s.server);
    out += (i == 0 ? "\n    " : ",\n    ") + head.take() + ",\n     \"tools\": [";
    std::vector<const LockedTool*> tools;
    for (const LockedTool& t : s.tools) tools.push_back(&t);
    std::ranges::sort(tools, {}, [](const LockedTool* t) { return t->name; });
    for (size_t k = 0; k < tools.size(); ++k) {
      JsonWriter tool;
      write_tool(tool, *tools[k]);
      out += (k == 0 ? "\n       " : ",\n       ") + tool.take();
    }
    out += tools.empty() ? "]}" : "\n     ]}";
  }
  out += sorted.empty() ? "]\n}\n" : "\n  ]\n}\n";
  return out;
}

std::vector<std::string> lock_changes(const LockedServer& before, const LockedServer& now) {
  std::vector<std::string> out;
  const auto find_tool = [](const LockedServer& s, const std::string& name) {
    const auto it = std::ranges::find(s.tools, name, &LockedTool::name);
    return it == s.tools.end() ? nullptr : &*it;
  };
  for (const LockedTool& t : now.tools) {
    const LockedTool* old = find_tool(before, t.name);
    if (old == nullptr) {
      out.push_back("+ " + t.name);
      continue;
    }
    std::string what;
    const auto add = [&](bool same, std::string_view name) {
      if (!same) what += (what.empty() ? "" : ", ") + std::string(name);
    };
    using schema::canonical_json;
    add(canonical_json(old->input_schema) == canonical_json(t.input_schema), "input");
    add(canonical_json(old->output_schema) == canonical_json(t.output_schema), "output");
    add(old->description == t.description && old->title == t.title, "description");
    add(old->read_only == t.read_only && old->idempotent == t.idempotent &&
            old->destructive == t.destructive,
        "hints");
    if (!what.empty()) out.push_back("~ " + t.name + ": " + what);
  }
  for (const LockedTool& t : before.tools) {
    if (find_tool(now, t.name) == nullptr) out.push_back("- " + t.name);
  }
  if (before.protocol != now.protocol)
    out.push_back("~ protocol: " + before.protocol + " → " + now.protocol);
  if (before.server != now.server) out.push_back("~ server: " + before.server + " → " + now.server);
  return out;
}

}  // namespace kflow::ir
