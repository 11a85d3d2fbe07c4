// Types of foreign JSON Schemas, locks, and the way back to the wire.
#include "compiler/ir/schema/import_schema.hpp"

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/lock.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::schema;
using cel::Value;

namespace {

Value json(std::string_view text) {
  auto v = cel::from_json(text);
  REQUIRE(v);
  return *v;
}

std::string shown(std::string_view text, size_t notes = 0) {
  TypeTable types;
  const ImportedType imported = import_schema(types, json(text), "t");
  INFO(text);
  CHECK(imported.notes.size() == notes);
  return types.display(imported.type);
}

}  // namespace

TEST_CASE("schemas become the types that mean the same") {
  CHECK(shown("true") == "any");
  CHECK(shown("{}") == "any");
  CHECK(shown(R"({"type":"string"})") == "string");
  CHECK(shown(R"({"type":"integer","minimum":1})") == "int");
  CHECK(shown(R"({"type":"number"})") == "double");
  CHECK(shown(R"({"type":"boolean"})") == "bool");
  CHECK(shown(R"({"type":"null"})") == "null");
  CHECK(shown(R"({"type":["string","null"]})") == "string?");
  CHECK(shown(R"({"type":"string","nullable":true})") == "string?");
  CHECK(shown(R"({"type":"string","format":"date-time"})") == "timestamp");
  CHECK(shown(R"({"type":"string","contentEncoding":"base64"})") == "bytes");
  CHECK(shown(R"({"enum":["a","b"]})") == R"("a" | "b")");
  CHECK(shown(R"({"enum":["a",null]})") == R"("a"?)");
  CHECK(shown(R"({"const":3})") == "3");
  CHECK(shown(R"({"type":"array","items":{"type":"string"}})") == "string[]");
  CHECK(shown(R"({"type":"array"})") == "any[]");
  CHECK(shown(R"({"type":"object"})") == "map<string, any>");
  CHECK(shown(R"({"type":"object","additionalProperties":{"type":"integer"}})") ==
        "map<string, int>");
  CHECK(shown(R"({"type":"object","additionalProperties":false})") == "{}");
  CHECK(
      shown(R"({"properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]})") ==
      "{a: string, b: int?}");
  CHECK(shown(R"({"anyOf":[{"type":"integer"},{"type":"null"}]})") == "int?");
  CHECK(shown(R"({"anyOf":[{"const":"x"},{"const":"y"}]})") == R"("x" | "y")");
  CHECK(shown(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})") == "double");
  CHECK(shown(R"({"allOf":[{"type":"integer"}]})") == "int");
  CHECK(shown(R"({"$defs":{"A":{"type":"integer"}},"$ref":"#/$defs/A"})") == "int");
  CHECK(
      shown(
          R"({"definitions":{"a/b":{"type":"integer"}},"items":{"$ref":"#/definitions/a~1b"}})") ==
      "int[]");
}

TEST_CASE("what has no counterpart is any, with a note") {
  CHECK(shown(R"({"anyOf":[{"type":"integer"},{"type":"string"}]})", 1) == "any");
  CHECK(shown(R"({"type":"array","prefixItems":[{},{}]})", 1) == "any[]");
  CHECK(shown(R"({"$ref":"https://elsewhere/x"})", 1) == "any");
  CHECK(shown(R"({"allOf":[{"type":"object"},{"type":"object"}]})", 1) == "any");
  CHECK(shown(R"({"enum":["a",1]})", 1) == "any");
  CHECK(shown(R"({"type":"colour"})", 1) == "any");
  CHECK(shown(R"j({"type":"string","pattern":"(?=x)"})j", 1) == "string");
  CHECK(shown(R"j({"properties":{"a":{"type":"string","pattern":"(?=x)"}}})j", 1) ==
        "{a: string?}");
  CHECK(shown(R"({"properties":{"a":{}},"additionalProperties":{"type":"string"}})", 1) == "any");
  CHECK(shown(R"({"$ref":"#/nowhere"})", 1) == "any");
  CHECK(shown("3", 1) == "any");
  CHECK(shown(R"({"$defs":{"A":{"items":{"$ref":"#/$defs/A"}}},"$ref":"#/$defs/A"})", 1).size() >
        0);
}

TEST_CASE("records may refer to themselves, and small schemas do not unfold without end") {
  TypeTable types;
  const auto tree = import_schema(
      types,
      json(
          R"({"$ref":"#/$defs/Node","$defs":{"Node":{"type":"object","properties":{)"
          R"("name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/Node"}}},)"
          R"("required":["name","children"]}}})"),
      "t");
  CHECK(types.display(tree.type) == "Node");
  CHECK(validate(types, tree.type, json(R"({"name":"a","children":[{"name":"b","children":[]}]})"),
                 Source::json)
            .ok());
  CHECK_FALSE(
      validate(types, tree.type, json(R"({"name":"a","children":[{"name":1}]})"), Source::json)
          .ok());
  // Each level names the next twice.
  std::string bomb = R"({"$ref":"#/$defs/a0","$defs":{"a40":{"type":"string"})";
  for (int i = 0; i < 40; ++i) {
    const std::string n = R"({"$ref":"#/$defs/a)" + std::to_string(i + 1) + R"("})";
    bomb += R"(,"a)" + std::to_string(i) + R"(":{"type":"object","properties":{"x":)" + n +
            ",\"y\":" + n + "}}";
  }
  const auto big = import_schema(types, json(bomb + "}}"), "t");
  CHECK(big.type);
  std::string deep = "{\"type\":\"string\"}";
  for (int i = 0; i < 90; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  CHECK(import_schema(types, json(deep), "t").notes.size() == 1);
}

TEST_CASE("records of a union are told apart by their literal field") {
  TypeTable types;
  const auto imported = import_schema(
      types,
      json(
          R"({"anyOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"integer"}},)"
          R"("required":["kind"]},{"type":"object","properties":{"kind":{"const":"b"}},)"
          R"("required":["kind"]}]})"),
      "t");
  CHECK(types[imported.type].kind == TypeKind::record_union);
  CHECK(validate(types, imported.type, json(R"({"kind":"a","x":1})"), Source::json).ok());
  CHECK_FALSE(validate(types, imported.type, json(R"({"kind":"c"})"), Source::json).ok());
}

TEST_CASE("rules of a schema are checked, names become identifiers, and both find their way back") {
  TypeTable types;
  const Value schema =
      json(R"({"type":"object","properties":{"max-count":{"type":"integer","minimum":1,)"
           R"("exclusiveMaximum":10},"in":{"type":"string","minLength":2},"when":{"type":"string",)"
           R"("format":"date-time"},"list":{"type":"array","items":{"type":"object","properties":{)"
           R"("old-text":{"type":"string"},"note":{"type":"string"}},"required":["old-text"]}},)"
           R"("maybe":{"type":["string","null"]}},"required":["max-count","maybe"]})");
  const ImportedObject object = import_object(types, schema, "t");
  REQUIRE(object.has_fields);
  std::vector<Field> fields;
  std::vector<std::pair<std::string, TypeId>> named;
  for (const ImportedField& f : object.fields) {
    fields.push_back(f.field);
    named.emplace_back(f.field.name, f.field.type);
  }
  CHECK(fields[0].name == "max_count");
  CHECK(fields[1].name == "in_");
  const TypeId record = types.record(fields);
  const auto checked = validate(
      types, record,
      json(
          R"({"max-count":3,"maybe":null,"when":"2026-01-02T03:04:05Z","list":[{"old-text":"a"}]})"),
      Source::json);
  REQUIRE(checked.ok());
  CHECK(canonical_json(arguments_to_wire(types, schema, named, checked.value)) ==
        R"({"list":[{"old-text":"a"}],"max-count":3,"maybe":null,"when":"2026-01-02T03:04:05Z"})");
  CHECK_FALSE(validate(types, record, json(R"({"max-count":10,"maybe":"x"})"), Source::json).ok());
  CHECK_FALSE(
      validate(types, record, json(R"({"max-count":1,"maybe":"x","in":"a"})"), Source::json).ok());
  CHECK(cel::to_json(
            without_unknown(types, record, json(R"({"max-count":1,"x":2,"list":[{"y":1}]})"))) ==
        R"({"max-count":1,"list":[{}]})");
  CHECK(identifier_of("get-sum") == "get_sum");
  CHECK(identifier_of("7zip") == "_7zip");
  CHECK(identifier_of("größe") == "gr__e");
  CHECK(identifier_of("true") == "true_");
  CHECK(identifier_of("") == "_");
}

TEST_CASE("an object whose keys are not known is one argument") {
  TypeTable types;
  for (const char* text : {R"({"type":"object","additionalProperties":true})",
                           R"({"anyOf":[{"type":"object","properties":{"a":{}}}]})"}) {
    CHECK_FALSE(import_object(types, json(text), "t").has_fields);
    CHECK(cel::to_json(arguments_to_wire(types, json(text), {},
                                         json(R"({"arguments":{"a":1}})"))) == R"({"a":1})");
  }
  CHECK(import_object(types, json(R"({"type":"object"})"), "t").has_fields);
}

TEST_CASE("a lock is read as it was written, sorted, and compared tool by tool") {
  ir::LockedServer files{.name = "files",
                         .command = {"npx", "x"},
                         .url = "",
                         .protocol = "2025-11-25",
                         .server = "s 1",
                         .tools = {{.name = "b", .input_schema = json(R"({"z":1,"a":2})")},
                                   {.name = "a",
                                    .description = "says \"a\"",
                                    .input_schema = json("{}"),
                                    .output_schema = json("true"),
                                    .read_only = true,
                                    .destructive = false}}};
  ir::Lock lock{{files}};
  lock.servers.push_back({.name = "web", .command = {}, .url = "https://x/mcp"});
  const std::string text = ir::write_lock(lock);
  const auto again = ir::read_lock(text);
  REQUIRE(again);
  CHECK(ir::write_lock(*again) == text);
  CHECK(text.find(R"("input":{"a":2,"z":1})") != std::string::npos);
  REQUIRE(again->find({"npx", "x"}, ""));
  CHECK(again->find({"npx", "x"}, "")->tools.at(0).name == "a");
  CHECK(again->find({"npx", "x"}, "")->tools.at(0).read_only);
  CHECK(again->find({"npx"}, "") == nullptr);
  CHECK(ir::lock_changes(files, *again->find({"npx", "x"}, "")).empty());
  ir::LockedServer changed = files;
  changed.tools[0].input_schema = json(R"({"a":3})");
  changed.tools[1].name = "c";
  CHECK(ir::lock_changes(files, changed) == std::vector<std::string>{"~ b: input", "+ c", "- a"});
  for (const char* bad : {"", "[]", R"({"kflow_lock":1})", R"({"kflow_lock":1,"mcp":[{}]})",
                          R"({"kflow_lock":1,"mcp":[{"command":["x"],"tools":[{}]}]})",
                          R"({"kflow_lock":99,"mcp":[]})",
                          R"({"kflow_lock":1,"mcp":[{"command":[1],"tools":[]}]})"}) {
    INFO(bad);
    CHECK_FALSE(ir::read_lock(bad));
  }
}
