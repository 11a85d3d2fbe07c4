// The interface against its own OpenAPI document, parameter by parameter: what the schemas allow is
// not refused for its form, what they forbid is refused by name, and what is answered is as the
// document says.
#include <algorithm>
#include <functional>
#include <set>

#include "tests/server/agentos.hpp"
#include "tests/server/flows.hpp"
#include "tests/server/schema_check.hpp"
#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

constexpr size_t longest = 100'000;  // of texts that are tried

struct Parameter {
  std::string name;
  std::string in;  // path, query, header, body
  cel::Value schema;
  bool required = false;
};

struct Operation {
  std::string pattern;
  std::string method;
  std::string id;
  cel::Value responses;
  std::vector<Parameter> parameters;
  bool takes_body = false;
};

// A value of one parameter: as JSON, and as the text that a query, a header or a form has.
struct Given {
  std::string json;
  std::string text;
  bool only_json = false;
};
Given text_of(const std::string& text) { return {cel::to_json(cel::Value::string(text)), text}; }
Given json_of_type(const std::string& json) { return {json, json}; }
Given json_only(const std::string& json) { return {json, "", true}; }

std::vector<Operation> operations_of(const cel::Value& document) {
  std::vector<Operation> out;
  for (const cel::MapEntry& path : at(document, "paths").as_map()) {
    for (const cel::MapEntry& method : path.value.as_map()) {
      Operation o{.pattern = std::string(path.key.as_string()),
                  .method = std::string(method.key.as_string()),
                  .id = field(method.value, "operationId"),
                  .responses = at(method.value, "responses")};
      for (char& c : o.method) c = static_cast<char>(std::toupper(c));
      if (const auto& list = at(method.value, "parameters"); list.kind() == cel::Kind::list) {
        for (const cel::Value& p : list.as_list())
          o.parameters.push_back(
              {field(p, "name"), field(p, "in"), at(p, "schema"), field(p, "required") == "true"});
      }
      const auto& body =
          at(at(at(at(method.value, "requestBody"), "content"), "application/json"), "schema");
      o.takes_body = body.kind() == cel::Kind::map;
      std::set<std::string> required;
      if (const auto& list = at(body, "required"); list.kind() == cel::Kind::list) {
        for (const cel::Value& name : list.as_list()) required.emplace(name.as_string());
      }
      if (o.takes_body) {
        for (const cel::MapEntry& p : at(body, "properties").as_map()) {
          const std::string name(p.key.as_string());
          o.parameters.push_back({name, "body", p.value, required.contains(name)});
        }
      }
      out.push_back(std::move(o));
    }
  }
  return out;
}

// What a required parameter is given when another one is looked at.
Given usual(const std::string& name) {
  if (name == "step_requirements") return json_of_type(R"([{"id":"1.1","confirmed":true}])");
  if (name == "workflow_id") return text_of("hello");
  if (name == "cron") return text_of("0 3 * * *");
  return text_of("first");
}

const cel::Value& element(const cel::Value& schema) {
  return field(schema, "type") == "array" ? at(schema, "items") : schema;
}

// Values that the schema allows, at its edges.
std::vector<Given> allowed(const cel::Value& whole) {
  const cel::Value& schema = element(whole);
  const std::string type = field(schema, "type");
  std::vector<Given> out;
  if (const auto& choices = at(schema, "enum"); choices.kind() == cel::Kind::list) {
    for (const cel::Value& c : choices.as_list())
      out.push_back(text_of(std::string(c.as_string())));
  } else if (type == "string") {
    out.push_back(text_of("x"));
    const auto most = static_cast<size_t>(at(schema, "maxLength").as_int());
    if (most <= longest) out.push_back(text_of(std::string(most, 'y')));
  } else if (type == "integer") {
    out.push_back(json_of_type(field(schema, "minimum")));
    if (at(schema, "maximum").kind() == cel::Kind::int_)
      out.push_back(json_of_type(field(schema, "maximum")));
  } else if (type == "boolean") {
    out = {json_of_type("true"), json_of_type("false")};
  } else if (type == "object") {
    out = {json_of_type("{}"), json_of_type(R"({"a":{"b":[1,null]}})")};
  } else if (type.starts_with("[")) {  // a moment
    out = {json_of_type("0"), text_of("2026-01-01T00:00:00Z"), json_of_type("1767225600")};
  } else {
    out = {json_of_type("null"), json_of_type("[1,\"x\"]"), json_of_type("{}")};
  }
  return out;
}

// Values that it forbids.
std::vector<Given> forbidden(const cel::Value& whole) {
  const cel::Value& schema = element(whole);
  const std::string type = field(schema, "type");
  std::vector<Given> out;
  if (at(schema, "enum").kind() == cel::Kind::list) {
    out = {text_of("none_of_them"), json_only("7"), json_only("[[]]")};
  } else if (type == "string") {
    out = {json_only("7"),  json_only("true"), json_only("[]"),
           json_only("{}"), json_only("1.5"),  {R"("a\u0000b")", std::string("a\0b", 3), true}};
    const auto most = static_cast<size_t>(at(schema, "maxLength").as_int());
    if (most <= longest) out.push_back(text_of(std::string(most + 1, 'y')));
  } else if (type == "integer") {
    out = {text_of("x"),
           text_of(""),
           text_of("1.5"),
           text_of("0x1"),
           json_only("[]"),
           json_only("true"),
           json_of_type("99999999999999999999")};
    out.push_back(json_of_type(std::to_string(at(schema, "minimum").as_int() - 1)));
    if (at(schema, "maximum").kind() == cel::Kind::int_)
      out.push_back(json_of_type(std::to_string(at(schema, "maximum").as_int() + 1)));
  } else if (type == "boolean") {
    out = {text_of("maybe"), json_of_type("2"), json_only("[]"), json_only("{}")};
  } else if (type == "object") {
    out = {json_of_type("[1]"), json_of_type("5"), text_of("{"), json_of_type("true")};
  } else if (type.starts_with("[")) {
    out = {text_of("yesterday"), json_of_type("-1"), text_of("2026-13-01T00:00:00Z")};
  }
  return out;
}

class Contract {
 public:
  explicit Contract(Served& served)
      : served_(served), document_(json_of(served.get("/openapi.json").body)) {}

  const cel::Value& document() const { return document_; }

  // The request of an operation with `given` for one parameter, and what is needed for the others.
  // `form`: 0 JSON, 1 urlencoded, 2 multipart.
  Ask request(const Operation& o, const std::string& run, const Parameter* one, const Given& given,
              int form) const {
    Ask out{.method = o.method, .target = o.pattern};
    std::string query;
    std::string json;
    agentos::Fields fields;
    for (const Parameter& p : o.parameters) {
      const bool is_it = one != nullptr && p.name == one->name && p.in == one->in;
      if (p.in == "path") {
        const std::string hole = "{" + p.name + "}";
        const std::string value = p.name == "run_id"        ? run
                                  : p.name == "workflow_id" ? "hello"
                                                            : "first";
        out.target.replace(out.target.find(hole), hole.size(), value);
        continue;
      }
      // What would never end, is not asked for.
      const bool plain = p.name == "stream" || p.name == "background";
      if (!is_it && !p.required && !plain) continue;
      const Given value = is_it   ? given
                          : plain ? json_of_type(p.name == "stream" ? "false" : "true")
                                  : usual(p.name);
      if (p.in == "query")
        query += (query.empty() ? "?" : "&") + encoded(p.name) + "=" + encoded(value.text);
      if (p.in == "header") out.headers.emplace_back(p.name, value.text);
      if (p.in != "body") continue;
      json += (json.empty() ? "\"" : ",\"") + p.name + "\":" + value.json;
      fields.emplace_back(p.name, value.text);
    }
    out.target += query;
    if (!o.takes_body) return out;
    if (form == 0) {
      out.body = "{" + json + "}";
    } else {
      const Ask sent =
          form == 1 ? agentos::form(out.target, fields) : agentos::multipart(out.target, fields);
      out.body = sent.body;
      out.type = sent.type;
    }
    return out;
  }

  // Sends it, and looks at what comes against the document.
  Answer checked(const Operation& o, const Ask& request) const {
    const Answer answer = ask(served_.port(), request);
    const auto type = answer.headers.find("content-type");
    const std::string media =
        type == answer.headers.end() ? "" : type->second.substr(0, type->second.find(';'));
    const cel::Value& response = at(o.responses, std::to_string(answer.status));
    INFO(o.id << ": " << request.method << " " << request.target.substr(0, 300) << "\n"
              << request.body.substr(0, 300) << "\n→ " << answer.status << " "
              << answer.body.substr(0, 500));
    CHECK(answer.status != 0);
    CHECK(answer.status < 500);
    CHECK(response.kind() == cel::Kind::map);
    if (media == "application/json" || media == "application/problem+json") {
      const cel::Value& schema = at(at(at(response, "content"), media), "schema");
      CHECK(schema.kind() == cel::Kind::map);
      CHECK(check_schema(document_, schema, json_of(answer.body)) == "");
    }
    return answer;
  }

 private:
  Served& served_;
  cel::Value document_;
};

bool names(const Answer& answer, const std::string& parameter) {
  const cel::Value problem = json_of(answer.body);
  const auto& errors = at(problem, "errors");
  if (errors.kind() != cel::Kind::list) return false;
  const auto list = errors.as_list();
  return std::any_of(list.begin(), list.end(),
                     [&](const cel::Value& e) { return field(e, "path") == parameter; });
}

// What the table says of a value's form, not what a handler says of its meaning.
bool about_form(const Answer& answer) {
  for (const char* what : {"must be", "has at most", "is one of", "is at least", "is a time:"}) {
    if (answer.status == 422 && answer.body.find(what) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("each parameter takes what its schema allows, and refuses by name what it forbids") {
  Served s({.files = {{"flows.kflow", flows}}});
  const Contract contract(s);
  const auto operations = operations_of(contract.document());
  REQUIRE(operations.size() >= 30);
  size_t tried = 0;
  for (const Operation& o : operations) {
    const std::string run = s.start("hello");
    s.wait("hello", run, {"COMPLETED"});
    contract.checked(o, contract.request(o, run, nullptr, {}, 0));
    for (const Parameter& p : o.parameters) {
      if (p.in == "path") continue;
      const int forms = p.in == "body" ? 3 : 1;
      for (int form = 0; form < forms; ++form) {
        const bool as_text = form > 0 || p.in != "body";
        const auto sent = [&](const Given& given) {
          ++tried;
          return contract.checked(o, contract.request(o, run, &p, given, form));
        };
        for (const Given& given : forbidden(p.schema)) {
          if (as_text && given.only_json) continue;
          // An empty header or field of a number is as good as none.
          if (as_text && given.text.empty()) continue;
          const Answer answer = sent(given);
          INFO(o.id << " " << p.in << " " << p.name << " = " << given.json.substr(0, 100) << " → "
                    << answer.status << " " << answer.body.substr(0, 300));
          CHECK(answer.status == 422);
          CHECK(names(answer, p.name));
        }
        for (const Given& given : allowed(p.schema)) {
          // A stream without an end would keep the test waiting; these are tested elsewhere.
          if (p.name == "stream" || p.name == "background" || p.name == "follow") continue;
          const Answer answer = sent(given);
          INFO(o.id << " " << p.in << " " << p.name << " = " << given.json.substr(0, 100) << " → "
                    << answer.status << " " << answer.body.substr(0, 300));
          CHECK(!(about_form(answer) && names(answer, p.name)));
        }
      }
      if (!p.required) continue;
      Operation without = o;
      std::erase_if(without.parameters, [&](const Parameter& q) { return q.name == p.name; });
      const Answer answer = contract.checked(o, contract.request(without, run, nullptr, {}, 0));
      CHECK(answer.status == 422);
      CHECK(names(answer, p.name));
    }
  }
  CHECK(tried > 400);
  CHECK(s.get("/health").status == 200);
}

TEST_CASE("headers of every kind are answered as the document says") {
  Served s({.files = {{"flows.kflow", flows}}});
  const Contract contract(s);
  const std::string run = s.start("hello");
  s.wait("hello", run, {"COMPLETED"});
  const std::vector<std::pair<std::string, std::string>> headers = {
      {"Accept", "text/html"},
      {"Accept", "nonsense"},
      {"Accept-Encoding", "br;q=1.0, *;q=0"},
      {"Authorization", ""},
      {"Authorization", "Bearer"},
      {"Authorization", "Basic dXNlcjpwYXNz"},
      {"Authorization", "Bearer " + std::string(4000, 'x')},
      {"Cookie", "kflow_session=; =; a=\"b"},
      {"Content-Type", "multipart/form-data"},
      {"Content-Type", "application/json; charset=latin1; x=\""},
      {"Idempotency-Key", "\xff\xfe"},
      {"Idempotency-Key", std::string(256, 'k')},
      {"If-None-Match", "*"},
      {"If-Modified-Since", "yesterday"},
      {"Last-Event-ID", "1e3"},
      {"Last-Event-ID", "-2"},
      {"Range", "bytes=0-1"},
      {"TE", "trailers, deflate;q=0.5"},
      {"Upgrade", "h2c"},
      {"Via", "1.1 proxy"},
      {"X-Forwarded-Host", "evil.example"},
      {"X-HTTP-Method-Override", "DELETE"}};
  for (const Operation& o : operations_of(contract.document())) {
    for (const auto& header : headers) {
      Ask request = contract.request(o, run, nullptr, {}, 0);
      request.headers.push_back(header);
      if (header.first == "Content-Type") request.type = "";
      contract.checked(o, request);
    }
  }
  CHECK(s.get("/workflows/hello/runs/" + run).status <= 404);  // it may be deleted by now
}

TEST_CASE("actions of a WebSocket, right and wrong, are each answered with an event") {
  Served s({.files = {{"flows.kflow", flows}}});
  const std::string done = s.start("hello");
  s.wait("hello", done, {"COMPLETED"});
  const std::vector<std::string> values = {"null",
                                           "7",
                                           "-1",
                                           "1.5",
                                           "true",
                                           "[]",
                                           "{}",
                                           "\"\"",
                                           "\"x\"",
                                           "\"" + done + "\"",
                                           "\"" + std::string(300, 'y') + "\"",
                                           R"("\u0000")",
                                           R"("../..")",
                                           "99999999999999999999"};
  const std::vector<std::pair<std::string, std::vector<std::string>>> actions = {
      {"authenticate", {"token"}},
      {"ping", {"x"}},
      {"start-workflow",
       {"workflow_id", "message", "input", "session_id", "user_id", "run_id", "version",
        "idempotency_key"}},
      {"reconnect", {"run_id", "workflow_id", "session_id", "last_event_index"}},
      {"continue-workflow", {"run_id", "workflow_id", "step_requirements"}},
      {"cancel-run", {"run_id", "reason", "kill"}},
      {"signal", {"run_id", "name", "value", "idempotency_key"}},
      {"unsubscribe", {"run_id"}}};
  WebSocket socket(s.port());
  socket.until("connected");
  size_t tried = 0;
  for (const auto& [action, fields] : actions) {
    for (const std::string& name : fields) {
      for (const std::string& value : values) {
        std::string message = R"({"action":")" + action + R"(","workflow_id":"hello")";
        if (name != "run_id" && action != "start-workflow")
          message += R"(,"run_id":")" + done + "\"";
        socket.say(message + ",\"" + name + "\":" + value + "}");
        // Whatever it starts, a ping is answered in its turn.
        socket.say(R"({"action":"ping"})");
        bool answered = false;
        for (;;) {
          const cel::Value event = socket.next();
          INFO(message << " " << name << ": " << value.substr(0, 100));
          REQUIRE(event.kind() == cel::Kind::map);
          if (field(event, "event") == "pong") break;
          answered = true;
          CHECK(!field(event, "event").empty());
        }
        ++tried;
        CHECK(
            (answered || action == "ping" || action == "start-workflow" || action == "reconnect"));
      }
    }
  }
  CHECK(tried > 250);
}
