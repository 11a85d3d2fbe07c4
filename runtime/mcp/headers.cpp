// Arguments mirrored into HTTP headers (`x-mcp-header`, revision 2026-07-28, "Streamable HTTP").
#include <algorithm>
#include <set>

#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/mcp/session.hpp"

namespace kflow::mcp {

using cel::Kind;
using cel::Value;

namespace {

constexpr std::string_view annotation = "x-mcp-header";
constexpr int64_t safe_integer = 9'007'199'254'740'991;

std::string small(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

class Mirror {
 public:
  std::vector<std::pair<std::string, std::string>> headers;
  std::string problem;

  // Along `properties` only; anywhere else an annotation is a mistake.
  void object(const Value& schema, const Value* arguments) {
    for (const cel::MapEntry& e : schema.as_map()) {
      if (e.key.kind() != Kind::string) continue;
      const std::string_view key = e.key.as_string();
      if (key != "properties" || e.value.kind() != Kind::map) {
        if (key != annotation) elsewhere(e.value);
        continue;
      }
      for (const cel::MapEntry& p : e.value.as_map()) {
        if (p.value.kind() != Kind::map) continue;
        const Value* given = arguments == nullptr || arguments->kind() != Kind::map
                                 ? nullptr
                                 : arguments->find(p.key);
        if (const Value* name = p.value.find(annotation)) property(p.value, *name, given);
        object(p.value, given);
      }
    }
  }

 private:
  void wrong(std::string what) {
    if (problem.empty()) problem = std::move(what);
  }

  void elsewhere(const Value& v) {
    if (v.kind() == Kind::list) {
      for (const Value& x : v.as_list()) elsewhere(x);
    } else if (v.kind() == Kind::map) {
      if (v.find(annotation) != nullptr) wrong("`x-mcp-header` stands where it cannot");
      for (const cel::MapEntry& e : v.as_map()) elsewhere(e.value);
    }
  }

  void property(const Value& schema, const Value& name, const Value* given) {
    const std::string type = text_member(schema, "type");
    if (name.kind() != Kind::string || !is_token(name.as_string()))
      return wrong("`x-mcp-header` is no name of a header");
    if (type != "string" && type != "integer" && type != "boolean")
      return wrong("`x-mcp-header` of an argument that is neither text, integer nor bool");
    if (!names_.insert(small(name.as_string())).second)
      return wrong("`x-mcp-header` names one header twice");
    if (given == nullptr || given->is_null()) return;
    std::string text;
    if (given->kind() == Kind::string) {
      text = given->as_string();
    } else if (given->kind() == Kind::boolean) {
      text = given->as_bool() ? "true" : "false";
    } else if (given->kind() == Kind::int_ && given->as_int() <= safe_integer &&
               given->as_int() >= -safe_integer) {
      text = std::to_string(given->as_int());
    } else {
      return;
    }
    headers.emplace_back("Mcp-Param-" + std::string(name.as_string()), header_value(text));
  }

  std::set<std::string> names_;
};

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> mirrored_headers(const Value& input_schema,
                                                                          const Value& arguments) {
  Mirror mirror;
  if (input_schema.kind() == Kind::map) mirror.object(input_schema, &arguments);
  if (!mirror.problem.empty()) return fail(ErrorCode::invalid_argument, mirror.problem);
  return std::move(mirror.headers);
}

std::string header_value(std::string_view text) {
  const bool plain =
      std::ranges::all_of(text, [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\t'; });
  const bool padded = !text.empty() && (text.front() == ' ' || text.front() == '\t' ||
                                        text.back() == ' ' || text.back() == '\t');
  const bool marked = text.starts_with("=?base64?") && text.ends_with("?=");
  if (plain && !padded && !marked) return std::string(text);
  return "=?base64?" + cel::base64_encode(text) + "?=";
}

}  // namespace kflow::mcp
