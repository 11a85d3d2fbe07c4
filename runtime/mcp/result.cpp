// Results of tools.
#include "runtime/mcp/result.hpp"

#include <fmt/format.h>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/ir/schema/import_schema.hpp"

namespace kflow::mcp {

using cel::Kind;
using cel::Value;

namespace {

// One item of a result's content (2025-11-25, "Tools", "Tool Result").
Value item_of(const Value& item) {
  const std::string type = text_member(item, "type");
  cel::MapBuilder out;
  out.add("type", Value::string(type));
  const auto text = [&](const Value& from, const char* key, const char* name) {
    if (const std::string v = text_member(from, key); !v.empty()) out.add(name, Value::string(v));
  };
  const auto octets = [&](const Value& from, const char* key) {
    const std::string encoded = text_member(from, key);
    if (const auto decoded = cel::base64_decode(encoded)) {
      out.add("data", Value::bytes(*decoded));
    } else {
      out.add("data", Value::string(encoded));
    }
  };
  if (type == "text") {
    out.add("text", Value::string(text_member(item, "text")));
  } else if (type == "image" || type == "audio") {
    text(item, "mimeType", "mime_type");
    octets(item, "data");
  } else if (type == "resource") {
    if (const Value* r = member(item, "resource")) {
      text(*r, "uri", "uri"), text(*r, "mimeType", "mime_type"), text(*r, "text", "text");
      if (member(*r, "blob") != nullptr) octets(*r, "blob");
    }
  } else {
    for (const auto& [key, name] :
         {std::pair("uri", "uri"), std::pair("name", "name"), std::pair("title", "title"),
          std::pair("description", "description"), std::pair("mimeType", "mime_type")})
      text(item, key, name);
  }
  return std::move(out).take();
}

// The texts of a result, a line between them; `all`: there is nothing else.
std::string texts(const Value& content, bool& all) {
  std::string out;
  bool first = true;
  all = true;
  if (content.kind() != Kind::list) return out;
  for (const Value& item : content.as_list()) {
    if (text_member(item, "type") != "text") {
      all = false;
      continue;
    }
    if (!first) out += "\n";
    first = false;
    out += text_member(item, "text");
  }
  return out;
}

}  // namespace

std::variant<Value, Failure> value_of(const Value& result, const schema::TypeTable& types,
                                      schema::TypeId type, bool structured, std::string_view tool) {
  if (result.kind() != Kind::map)
    return Failure{.code = "protocol",
                   .message = fmt::format("`{}` gave a result that is no object", tool)};
  const Value* content = member(result, "content");
  bool only_text = true;
  std::string text = content == nullptr ? "" : texts(*content, only_text);
  const Value* own = member(result, "structuredContent");
  if (flag_member(result, "isError")) {
    if (text.size() > max_error_text)
      text = replace_invalid_utf8(text.substr(0, max_error_text)) + "…";
    return Failure{.code = "tool_error",
                   .message = text.empty() ? fmt::format("`{}` failed", tool) : std::move(text),
                   .data = own == nullptr ? Value() : *own};
  }
  if (structured) {
    if (own == nullptr)
      return Failure{.code = "output_schema",
                     .message = fmt::format("`{}` has an output schema and gave no "
                                            "`structuredContent`",
                                            tool)};
    const schema::Validation checked = schema::validate(
        types, type, schema::without_unknown(types, type, *own), schema::Source::json);
    if (checked.ok()) return checked.value;
    std::string what;
    for (const schema::Violation& v : checked.violations)
      what += fmt::format("\n{}: {} (it is {})", v.path.empty() ? "the result" : v.path, v.rule,
                          v.value);
    return Failure{
        .code = "output_schema",
        .message = fmt::format("what `{}` gave does not fit its output schema:{}", tool, what),
        .data = *own};
  }
  if (own != nullptr) return *own;
  if (content == nullptr || content->kind() != Kind::list || content->as_list().empty())
    return Value();
  if (only_text) return Value::string(std::move(text));
  std::vector<Value> items;
  for (const Value& item : content->as_list()) items.push_back(item_of(item));
  return Value::list(std::move(items));
}

}  // namespace kflow::mcp
