// Schemas of a compiled file's types, and declarations from a schema.
#include "compiler/cli/schema.hpp"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/diagnostics/render.hpp"
#include "compiler/driver/driver.hpp"
#include "compiler/ir/schema/import_schema.hpp"
#include "compiler/ir/schema/json_schema.hpp"
#include "compiler/ir/schema/type_text.hpp"

namespace kflow::cli {
namespace {

using schema::TypeId;

int fail_with(const std::string& message) {
  std::fprintf(stderr, "kflowc: error: %s\n", message.c_str());
  return 1;
}

// The parameters of a callable as fields. A default that is computed when the run starts stands as
// null: the field may be left out.
std::vector<schema::Field> parameters(const ir::Program& program, const ir::Callable& c) {
  std::vector<schema::Field> out;
  for (const ir::Param& p : c.params) {
    schema::Field f{.name = p.name,
                    .type = p.type,
                    .fallback = {},
                    .constraints = p.constraints,
                    .doc = p.doc,
                    .was = {},
                    .alias = ""};
    if (p.fallback) {
      const cel::Value* constant = program[p.fallback].program.constant();
      f.fallback = constant != nullptr ? *constant : cel::Value();
    }
    out.push_back(std::move(f));
  }
  return out;
}

class Schemas {
 public:
  Schemas(const ir::Program& program, bool model) : p_(program), options_{.aliases = model} {
    for (uint32_t i = 0; i < p_.types.size(); ++i) {
      const std::string& name = p_.types[TypeId(i)].name;
      if (!name.empty()) types_.emplace(name, TypeId(i));
    }
  }

  std::string all() {
    JsonWriter out(2);
    out.begin_object();
    out.key("callables"), out.begin_object();
    for (const ir::Callable& c : p_.callables) {
      if (!is_of_file(c)) continue;
      out.key(c.name);
      callable(out, c);
    }
    out.end_object();
    out.key("types"), out.begin_object();
    for (const auto& [name, type] : types_) out.key(name), out.raw(of(type));
    out.end_object(), out.end_object();
    return out.take();
  }

  // "" if nothing has that name.
  std::string one(const std::string& name) {
    if (const auto it = types_.find(name); it != types_.end())
      return schema::json_schema(p_.types, it->second, indented());
    for (const ir::Callable& c : p_.callables) {
      if (c.name != name) continue;
      JsonWriter out(2);
      callable(out, c);
      return out.take();
    }
    return "";
  }

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, type] : types_) out.push_back(name);
    for (const ir::Callable& c : p_.callables) {
      if (is_of_file(c)) out.push_back(c.name);
    }
    return out;
  }

 private:
  static bool is_of_file(const ir::Callable& c) { return c.name.find('.') == std::string::npos; }
  std::string of(TypeId type) { return schema::json_schema(p_.types, type, options_); }
  schema::SchemaOptions indented() const { return {.aliases = options_.aliases, .indent = 2}; }
  void callable(JsonWriter& out, const ir::Callable& c) {
    out.begin_object();
    out.key("input"), out.raw(schema::json_schema(p_.types, parameters(p_, c), options_));
    out.key("output"), out.raw(of(c.result));
    out.end_object();
  }

  const ir::Program& p_;
  schema::SchemaOptions options_;
  std::map<std::string, TypeId> types_;
};

int from_schema(const SchemaVerb& options) {
  std::string text;
  if (options.file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    auto read = source::read_file(options.file, source::max_file_size);
    if (!read) return fail_with(read.error().message);
    text = std::move(*read);
  }
  const auto value = cel::from_json(text);
  if (!value) return fail_with("`" + options.file + "` is not JSON: " + value.error().message);
  if (value->kind() != cel::Kind::map && value->kind() != cel::Kind::boolean)
    return fail_with("`" + options.file + "` is not a JSON Schema: one is an object or a bool");
  std::string name = options.name;
  if (name.empty()) {
    const cel::Value* title = value->kind() == cel::Kind::map ? value->find("title") : nullptr;
    name = title != nullptr && title->kind() == cel::Kind::string
               ? schema::identifier_of(title->as_string())
               : "Imported";
  }
  schema::TypeTable types;
  const schema::ImportedType imported = schema::import_schema(types, *value, name, true);
  for (const std::string& note : imported.notes) std::printf("// %s\n", note.c_str());
  const cel::Value* doc = value->kind() == cel::Kind::map ? value->find("description") : nullptr;
  const bool has_doc = doc != nullptr && doc->kind() == cel::Kind::string;
  std::fputs(
      schema::declarations(types, imported.type, name, has_doc ? doc->as_string() : "").c_str(),
      stdout);
  return 0;
}

}  // namespace

int run_schema(const SchemaVerb& options) {
  if (options.from) return from_schema(options);
  auto compiled = driver::compile_file(options.file);
  if (!compiled) return fail_with(compiled.error().message);
  const bool colour = ::isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  std::fputs(diagnostics::render_human((*compiled)->sink, *(*compiled)->sources, colour).c_str(),
             stderr);
  if (!(*compiled)->program) return 1;
  Schemas schemas(*(*compiled)->program, options.model);
  const std::string out = options.name.empty() ? schemas.all() : schemas.one(options.name);
  if (out.empty()) {
    const auto near = diagnostics::did_you_mean(options.name, schemas.names());
    return fail_with("`" + options.file + "` declares no type or callable `" + options.name + "`" +
                     (near.empty() ? "" : "; did you mean `" + near[0] + "`?"));
  }
  std::printf("%s\n", out.c_str());
  return 0;
}

}  // namespace kflow::cli
