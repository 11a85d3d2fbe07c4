// MCP servers: their declarations, and their tools as the lock has them.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "compiler/ir/lock.hpp"
#include "compiler/ir/schema/import_schema.hpp"
#include "compiler/sema/model.hpp"

namespace kflow::sema {

using diagnostics::Kind;
using schema::TypeTable;
using syntax::Node;

namespace {

constexpr int64_t longest_call_ms = 24LL * 3600 * 1000;

bool is_token(std::string_view name) {  // RFC 9110 §5.6.2
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}
bool is_variable(std::string_view name) {
  return !name.empty() && name.find('=') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

class ServerReader {
 public:
  ServerReader(Model& m, Module& module) : m_(m), module_(module) {}

  ir::McpServer read(Cursor decl) {
    ir::McpServer out{.name = std::string(decl.name())};
    Cursor command;
    Cursor url;
    for (const OptionNode& o : options_in(decl.child(Node::options))) {
      if (!o.value) continue;
      if (o.name == "command") command = o.name_node, words(out, o);
      if (o.name == "url") url = o.name_node, address(out, o);
      if (o.name == "bearer") bearer(out, o);
      if (o.name == "headers" || o.name == "env") settings(out, o);
      if (o.name == "timeout") timeout(out, o);
    }
    one_of(decl, command, url);
    for (const OptionNode& o : options_in(decl.child(Node::options))) {
      const bool of_program = o.name == "env";
      const bool of_address = o.name == "headers" || o.name == "bearer";
      if ((of_program && !command && url) || (of_address && command && !url)) {
        wrong(o.name_node,
              fmt::format("`{}` goes with `{}`", o.name, of_program ? "command" : "url"));
      }
    }
    if (!sound_) out.name.clear();
    return out;
  }

 private:
  diagnostics::Builder wrong(Cursor at, std::string message) {
    sound_ = false;
    return m_.sink.report(Kind::bad_option_value, at.span(), std::move(message));
  }

  void one_of(Cursor decl, Cursor command, Cursor url) {
    if (command && url) {
      wrong(url, "a server has a `command` or a `url`, not both");
    } else if (!command && !url) {
      sound_ = false;
      m_.sink
          .report(
              Kind::missing_option, decl.child(Node::identifier).span(),
              fmt::format("the MCP server `{}` has neither a `command` nor a `url`", decl.name()))
          .note(
              "`command: [\"npx\", \"-y\", \"package@version\"]` starts a program, `url: "
              "\"https://…\"` is a server that runs already");
    }
  }

  void words(ir::McpServer& out, const OptionNode& o) {
    const auto v = constant_value(m_, module_, o.value);
    if (!v) return void(sound_ = false);
    const bool list = v->kind() == cel::Kind::list && v->size() > 0 &&
                      std::ranges::all_of(v->as_list(), [](const cel::Value& x) {
                        return x.kind() == cel::Kind::string &&
                               x.as_string().find('\0') == std::string_view::npos;
                      });
    if (!list || v->as_list()[0].as_string().empty()) {
      wrong(o.value, "`command` is a list of strings: the program and its arguments");
      return;
    }
    for (const cel::Value& x : v->as_list()) out.command.emplace_back(x.as_string());
  }

  void address(ir::McpServer& out, const OptionNode& o) {
    const auto v = constant_value(m_, module_, o.value);
    if (!v) return void(sound_ = false);
    const std::string_view text = v->kind() == cel::Kind::string ? v->as_string() : "";
    if (!text.starts_with("http://") && !text.starts_with("https://")) {
      wrong(o.value, "`url` is an http or https address");
      return;
    }
    out.url = text;
  }

  std::string secret(Cursor value) {
    const std::string name = value.is(Node::reference) ? std::string(value.name()) : "";
    return module_.secrets.contains(name) ? name : "";
  }

  void bearer(ir::McpServer& out, const OptionNode& o) {
    const std::string name = secret(o.value);
    if (name.empty()) {
      wrong(o.value, "`bearer` names a declared secret")
          .suggest(o.value.text(), {module_.secrets.begin(), module_.secrets.end()})
          .note("declare it with `secret NAME`; its value comes from the environment");
      return;
    }
    add(out, o.name_node, {.name = "Authorization", .text = "Bearer ", .secret = name});
  }

  void timeout(ir::McpServer& out, const OptionNode& o) {
    const auto v = constant_value(m_, module_, o.value);
    if (!v) return void(sound_ = false);
    const int64_t ms = v->kind() == cel::Kind::duration ? v->as_duration().nanos / 1'000'000 : 0;
    if (ms < 1 || ms > longest_call_ms) {
      wrong(o.value, "`timeout` is a duration of at most 24h");
      return;
    }
    out.timeout_ms = ms;
  }

  void add(ir::McpServer& out, Cursor at, ir::McpSetting setting) {
    if (std::ranges::any_of(out.settings,
                            [&](const ir::McpSetting& s) { return s.name == setting.name; })) {
      wrong(at, fmt::format("`{}` is given twice", setting.name));
      return;
    }
    out.settings.push_back(std::move(setting));
  }

  // `{ "X-Key": SECRET, accept: "text" }`
  void settings(ir::McpServer& out, const OptionNode& o) {
    if (!o.value.is(Node::map)) {
      wrong(o.value, fmt::format("`{}` is a map: `{{ NAME: \"text\" }}`", o.name));
      return;
    }
    const bool header = o.name == "headers";
    for (const Cursor entry : o.value.children(Node::map_entry)) {
      ir::McpSetting setting;
      Cursor value = entry.expression();
      Cursor name = entry.child(Node::identifier);
      if (name) {
        setting.name = name.text();
      } else {
        name = value;
        value = after(entry, value);
        // A bare word stands for itself, as in every map.
        const auto key =
            name.is(Node::reference) ? std::nullopt : constant_value(m_, module_, name);
        if (name.is(Node::reference)) {
          setting.name = name.name();
        } else if (key && key->kind() == cel::Kind::string) {
          setting.name = key->as_string();
        }
      }
      if (!value) continue;
      if (header ? !is_token(setting.name) : !is_variable(setting.name)) {
        wrong(name, header ? "this is no name of a header" : "this is no name of a variable");
        continue;
      }
      setting.secret = secret(value);
      if (setting.secret.empty() && !text(setting, value, header)) continue;
      add(out, name, std::move(setting));
    }
  }

  bool text(ir::McpSetting& setting, Cursor value, bool header) {
    // Of a text with a secret in it the reason is worth more than that it is not constant.
    if (value.is(Node::string)) {
      for (const Cursor hole : value.children(Node::interpolation)) {
        if (secret(hole.expression()).empty()) continue;
        wrong(value, "a secret is never part of a text")
            .note(header ? "`bearer: TOKEN` sends `Authorization: Bearer …`; elsewhere a secret "
                           "is the whole value"
                         : "a secret is the whole value: `{ TOKEN: TOKEN }`");
        return false;
      }
    }
    const auto v = constant_value(m_, module_, value);
    if (!v) return sound_ = false;
    if (v->kind() != cel::Kind::string || (header && v->as_string().find_first_of(std::string_view(
                                                         "\r\n\0", 3)) != std::string_view::npos)) {
      wrong(value, "a value here is a text, or a declared secret");
      return false;
    }
    setting.text = v->as_string();
    return true;
  }

  static Cursor after(Cursor parent, Cursor first) {
    for (Cursor c = parent.next(first); c; c = parent.next(c)) {
      if (syntax::is_expression(c.kind())) return c;
    }
    return {};
  }

  Model& m_;
  Module& module_;
  bool sound_ = true;
};

// The lock that holds for a file; null: there is none, or it is damaged, which was reported.
struct FoundLock {
  ir::Lock lock;
  bool damaged = false;
};
FoundLock lock_for(Model& m, source::FileId file) {
  const auto loaded = m.sources.load_of_project(file, ir::lock_file_name);
  FoundLock out;
  if (!loaded && loaded.error().code == ErrorCode::not_found) return out;
  source::Span span{file, 0, 0};
  std::string message = loaded ? "" : loaded.error().message;
  if (loaded) {
    auto lock = ir::read_lock(m.sources[*loaded].text());
    if (lock) {
      out.lock = std::move(*lock);
      return out;
    }
    span = {*loaded, 0, 0};
    message = lock.error().message;
  }
  m.sink.report(Kind::bad_lock, span, message)
      .note("`kflowc mcp sync FILE` writes it anew, once it is deleted");
  out.damaged = true;
  return out;
}

void declare_tool(Model& m, uint32_t id, const ir::LockedTool& tool) {
  ServerInfo& server = m.servers[id];
  Module& module = *m.modules[server.module];
  std::string local = schema::identifier_of(tool.name);
  for (int n = 2; std::ranges::find(server.tools, local) != server.tools.end(); ++n)
    local = schema::identifier_of(tool.name) + "_" + std::to_string(n);
  server.tools.push_back(local);
  CallableInfo info{.kind = ir::CallableKind::mcp_tool,
                    .name = server.spec.name + "." + local,
                    .node = {},
                    .params = {},
                    .result_declared = true,
                    .span = server.span,
                    .module = server.module,
                    .server = id};
  info.doc = tool.description.empty() ? tool.title : tool.description;
  info.mcp = {.server = {},
              .name = tool.name,
              .input_schema = schema::canonical_json(tool.input_schema),
              .output_schema =
                  tool.output_schema.is_null() ? "" : schema::canonical_json(tool.output_schema)};
  info.idempotent = tool.read_only || tool.idempotent;
  schema::ImportedObject input = schema::import_object(m.types, tool.input_schema, local);
  if (input.has_fields) {
    std::vector<schema::Field> fields;
    for (schema::ImportedField& f : input.fields) {
      info.params.push_back({.name = f.field.name,
                             .type = f.field.type,
                             .fallback = {},
                             .optional = !f.required,
                             .constraints = f.field.constraints,
                             .doc = f.field.doc,
                             .span = server.span});
      fields.push_back(std::move(f.field));
    }
    info.arguments = m.types.record(std::move(fields));
  } else {
    info.arguments = m.types.map_of(TypeTable::simple(schema::TypeKind::any));
    info.params.push_back({.name = "arguments",
                           .type = info.arguments,
                           .fallback = {},
                           .optional = true,
                           .constraints = {},
                           .doc = "All arguments: what they may be is not known here.",
                           .span = server.span});
  }
  info.result = tool.output_schema.is_null()
                    ? TypeTable::simple(schema::TypeKind::any)
                    : schema::import_schema(m.types, tool.output_schema, local).type;
  // Parameters without a default come first, as everywhere: arguments may be given by position.
  std::ranges::stable_partition(info.params, [](const ParamInfo& p) { return !p.optional; });
  module.callables[info.name] = static_cast<uint32_t>(m.callables.size());
  m.callables.push_back(std::move(info));
}

}  // namespace

ir::McpServer mcp_server(Model& m, Module& module, Cursor declaration) {
  return ServerReader(m, module).read(declaration);
}

void declare_tools(Model& m, uint32_t id) {
  ServerInfo& server = m.servers[id];
  const source::FileId file = m.modules[server.module]->file;
  const FoundLock found = lock_for(m, file);
  if (found.damaged) return;
  const ir::LockedServer* locked = found.lock.find(server.spec.command, server.spec.url);
  if (locked == nullptr) {
    const std::string place = m.sources.place_in_project(file, ir::lock_file_name);
    m.sink
        .report(Kind::not_locked, server.span,
                fmt::format("the tools of the MCP server `{}` are not known: `{}` has no entry for "
                            "its {}",
                            server.spec.name, place, server.spec.url.empty() ? "command" : "url"))
        .note(fmt::format("`kflowc mcp sync {}` asks the server and writes it",
                          m.sources[file].name()));
    return;
  }
  server.spec.protocol = locked->protocol;
  server.known = true;
  for (const ir::LockedTool& tool : locked->tools) declare_tool(m, id, tool);
}

std::optional<uint32_t> find_server(const Model& m, const Module& module, std::string_view name) {
  if (const auto it = module.servers.find(name); it != module.servers.end()) return it->second;
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos || is_private(name.substr(dot + 1))) return std::nullopt;
  const auto import = module.imports.find(name.substr(0, dot));
  if (import == module.imports.end() || import->second == UINT32_MAX) return std::nullopt;
  const Module& other = *m.modules[import->second];
  const auto it = other.servers.find(name.substr(dot + 1));
  return it == other.servers.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace kflow::sema
