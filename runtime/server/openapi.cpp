// The table of routes as an OpenAPI 3.1 document.
#include <algorithm>
#include <set>
#include <span>

#include "compiler/base/json.hpp"
#include "runtime/server/router.hpp"
#include "runtime/server/schemas.hpp"

namespace kflow::server {
namespace {

std::string_view place_of(In in) {
  switch (in) {
    case In::path:
      return "path";
    case In::query:
      return "query";
    case In::header:
      return "header";
    case In::body:
      return "body";
  }
  return "";
}

void write_schema(JsonWriter& out, const Parameter& p) {
  out.begin_object();
  switch (p.type) {
    case Type::text:
      out.key("type"), out.string("string");
      if (p.required || p.in == In::path) out.key("minLength"), out.integer(1);
      out.key("maxLength"), out.unsigned_integer(p.max_bytes);
      if (p.choices.empty()) out.key("pattern"), out.raw(R"("^[^\\u0000]*$")");
      if (!p.choices.empty()) {
        out.key("enum");
        out.begin_array();
        for (const std::string_view choice : p.choices) out.string(choice);
        out.end_array();
      }
      break;
    case Type::integer:
      out.key("type"), out.string("integer");
      out.key("minimum"), out.integer(p.min);
      out.key("maximum"), out.integer(p.max);
      break;
    case Type::boolean:
      out.key("type"), out.string("boolean");
      break;
    case Type::json:
      break;  // anything
    case Type::object:
      out.key("type"), out.string("object");
      break;
    case Type::moment:
      out.key("type"), out.raw(R"(["integer","string"])");
      out.key("description"), out.string("RFC 3339, or seconds since 1970");
      break;
  }
  out.end_object();
}

void write_parameter(JsonWriter& out, std::string_view name, In in, const Parameter* p) {
  out.begin_object();
  out.key("name"), out.string(name);
  out.key("in"), out.string(place_of(in));
  if (p != nullptr) out.key("description"), out.string(p->doc);
  out.key("required"), out.boolean(in == In::path || (p != nullptr && p->required));
  out.key("schema");
  if (p == nullptr) {
    out.raw(R"({"type":"string","minLength":1})");
  } else if (p->many) {
    out.begin_object();
    out.key("type"), out.string("array");
    out.key("items");
    write_schema(out, *p);
    out.end_object();
  } else {
    write_schema(out, *p);
  }
  out.end_object();
}

void write_body(JsonWriter& out, const Route& route) {
  out.key("requestBody");
  out.begin_object();
  bool required = false;
  for (const Parameter& p : route.parameters) required |= p.in == In::body && p.required;
  out.key("required"), out.boolean(required);
  out.key("content");
  out.begin_object();
  for (const std::string_view media :
       {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}) {
    out.key(media);
    out.begin_object();
    out.key("schema");
    out.begin_object();
    out.key("type"), out.string("object");
    out.key("properties");
    out.begin_object();
    for (const Parameter& p : route.parameters) {
      if (p.in != In::body) continue;
      out.key(p.name);
      write_schema(out, p);
    }
    out.end_object();
    if (required) {
      out.key("required");
      out.begin_array();
      for (const Parameter& p : route.parameters) {
        if (p.in == In::body && p.required) out.string(p.name);
      }
      out.end_array();
    }
    out.key("additionalProperties"), out.boolean(route.files && media == "multipart/form-data");
    out.end_object();
    out.end_object();
  }
  out.end_object();
  out.end_object();
}

// All of one status: they differ in what the body is.
void write_answers(JsonWriter& out, std::span<const Answer> answers) {
  out.key(std::to_string(answers[0].status));
  out.begin_object();
  out.key("description"), out.string(answers[0].doc);
  if (!answers[0].schema.empty()) {
    out.key("content");
    out.begin_object();
    for (const Answer& a : answers) {
      out.key(a.media);
      out.begin_object();
      // Of a stream, there is a schema for none of its frames alone.
      if (a.media == "text/event-stream") {
        out.end_object();
        continue;
      }
      out.key("schema");
      if (a.schema == "text") {
        out.raw(R"({"type":"string"})");
      } else {
        out.raw(R"({"$ref":"#/components/schemas/)" + std::string(a.schema) + "\"}");
      }
      out.end_object();
    }
    out.end_object();
  }
  out.end_object();
}

void write_route(JsonWriter& out, const Route& route) {
  out.begin_object();
  out.key("operationId"), out.string(route.id);
  out.key("summary"), out.string(route.summary);
  out.key("parameters");
  out.begin_array();
  std::string_view rest = route.pattern;
  for (size_t at = rest.find('{'); at != std::string_view::npos; at = rest.find('{')) {
    const size_t end = rest.find('}', at);
    const std::string_view name = rest.substr(at + 1, end - at - 1);
    write_parameter(out, name, In::path, nullptr);
    rest.remove_prefix(end + 1);
  }
  bool body = false;
  for (const Parameter& p : route.parameters) {
    if (p.in == In::body) {
      body = true;
    } else {
      write_parameter(out, p.name, p.in, &p);
    }
  }
  out.end_array();
  if (body) write_body(out, route);
  out.key("responses");
  out.begin_object();
  std::set<int> said;
  // What every route may say, and this one has not said better.
  std::vector<Answer> answers = route.answers;
  for (const Answer& a : answers) said.insert(a.status);
  const auto also = [&](int status, std::string_view doc) {
    if (said.insert(status).second)
      answers.push_back({status, doc, "Problem", "application/problem+json"});
  };
  also(400, "malformed");
  if (route.scope != Scope::open) also(401, "a token is needed"), also(403, "not allowed");
  also(404, "there is no such thing"), also(408, "it did not come in time");
  also(413, "too large"), also(414, "too long an address"), also(415, "a body of another kind");
  also(421, "not the name of this server"), also(422, "a parameter is wrong");
  also(431, "too large headers"), also(503, "not now");
  std::ranges::stable_sort(answers, {}, &Answer::status);
  for (size_t i = 0; i < answers.size();) {
    size_t end = i;
    while (end < answers.size() && answers[end].status == answers[i].status) ++end;
    write_answers(out, std::span(answers).subspan(i, end - i));
    i = end;
  }
  out.end_object();
  if (route.scope == Scope::open) {
    out.key("security"), out.raw("[]");
  } else {
    out.key("security"), out.raw(R"([{"bearer":[]},{"cookie":[]},{}])");
    out.key("description"),
        out.string("Needs the scope `" + std::string(to_string(route.scope)) + "`.");
  }
  out.end_object();
}

}  // namespace

std::string Router::openapi(std::string_view version) const {
  JsonWriter out;
  out.begin_object();
  out.key("openapi"), out.string("3.1.0");
  out.key("info");
  out.begin_object();
  out.key("title"), out.string("kflow");
  out.key("version"), out.string(version);
  out.key("description"), out.string("Durable workflows: start, follow, answer and look at runs.");
  out.end_object();
  out.key("paths");
  out.begin_object();
  std::set<std::string_view> patterns;
  for (const auto& [first, ignored] : routes_) {
    if (!patterns.insert(first->pattern).second) continue;
    out.key(first->pattern);
    out.begin_object();
    for (const auto& [route, parts] : routes_) {
      if (route->pattern != first->pattern) continue;
      out.key(lower(route->method));
      write_route(out, *route);
    }
    out.end_object();
  }
  out.end_object();
  out.key("components");
  out.begin_object();
  out.key("schemas"), out.raw(component_schemas);
  out.key("securitySchemes");
  out.raw(R"({"bearer":{"type":"http","scheme":"bearer"},)"
          R"("cookie":{"type":"apiKey","in":"cookie","name":"kflow_session"}})");
  out.end_object();
  out.end_object();
  return out.take();
}

}  // namespace kflow::server
