// The interface driven at random from its own OpenAPI document: whatever is asked, the answer is
// one that the document knows, and never a failure of the server.
#include <cstdlib>
#include <random>

#include "tests/server/agentos.hpp"
#include "tests/server/flows.hpp"
#include "tests/server/schema_check.hpp"
#include "tests/server/served.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

class Generator {
 public:
  Generator(unsigned seed, const Served& served) : random_(seed), served_(served) {}
  std::vector<std::string> runs;
  std::string ended;  // one that has, and is followed to its end
  std::vector<std::string> sessions = {"s1"};

  size_t below(size_t n) { return random_() % n; }
  bool chance(size_t in_hundred) { return below(100) < in_hundred; }
  template <typename T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

  std::string any_text() {
    static const std::vector<std::string> texts = {"",
                                                   "x",
                                                   "null",
                                                   "0",
                                                   "-1",
                                                   "{}",
                                                   "[]",
                                                   "true",
                                                   "\xc3\xbc",
                                                   "a b",
                                                   "../..",
                                                   "%00",
                                                   "\"",
                                                   "'; DROP",
                                                   "9223372036854775807",
                                                   "99999999999999999999",
                                                   "1e9",
                                                   std::string(300, 'y'),
                                                   std::string(70'000, 'z'),
                                                   "\xff",
                                                   std::string("\0x", 2),
                                                   "2026-01-01T00:00:00Z"};
    return one_of(texts);
  }
  std::string any_json(int depth = 0) {
    switch (below(depth > 3 ? 6 : 9)) {
      case 0:
        return "null";
      case 1:
        return chance(50) ? "true" : "false";
      case 2:
        return std::to_string(static_cast<int64_t>(random_()) - (1LL << 31));
      case 3:
        return "3.25";
      case 4:
        return "\"text\"";
      case 5:
        return "18446744073709551615";
      case 6:
        return "[" + any_json(depth + 1) + "," + any_json(depth + 1) + "]";
      default: {
        static const std::vector<std::string> names = {"name",      "n",          "id",    "topic",
                                                       "confirmed", "user_input", "title", "x"};
        return "{\"" + one_of(names) + "\":" + any_json(depth + 1) + "}";
      }
    }
  }
  // Of a path: mostly something that is there.
  std::string path_value(const std::string& name) {
    if (chance(15)) {
      std::string text = any_text().substr(0, 200);
      return text.empty() ? "-" : text;
    }
    if (name == "workflow_id") {
      static const std::vector<std::string> workflows = {"hello",   "needs",  "ask",     "form",
                                                         "sleeper", "waiter", "failing", "count"};
      return one_of(workflows);
    }
    if (name == "run_id" && !runs.empty()) return one_of(runs);
    if (name == "session_id") return one_of(sessions);
    if (name == "schedule_id") return "nightly";
    return "first";
  }
  // Of a schema: mostly one that fits.
  std::string json_value(const std::string& name, const cel::Value& schema) {
    if (chance(15)) return any_json();
    const std::string type = field(schema, "type");
    if (name == "input") {
      static const std::vector<std::string> inputs = {"{}", R"({"name":"a"})", R"({"n":3})",
                                                      R"({"topic":"t"})", R"({"title":"t"})"};
      return one_of(inputs);
    }
    if (name == "step_requirements") return R"([{"id":"2.1","confirmed":true}])";
    if (name == "stream") return chance(20) ? "true" : "false";
    if (name == "session_id") return "\"s1\"";
    if (name == "from_step") return R"("first")";
    if (name == "cron") return R"("*/5 * * * *")";
    if (const auto& choices = at(schema, "enum"); choices.kind() == cel::Kind::list)
      return cel::to_json(choices.as_list()[below(choices.as_list().size())]);
    if (type == "boolean") return chance(50) ? "true" : "false";
    if (type == "integer") return std::to_string(below(5));
    if (type == "object") return R"({"a":1})";
    if (type == "string") return "\"v" + std::to_string(below(3)) + "\"";
    return any_json();
  }
  std::string text_value(const std::string& name, const cel::Value& schema) {
    if (chance(15)) return any_text();
    const cel::Value v = json_of(json_value(name, schema));
    return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_json(v);
  }

  Ask request(const std::string& pattern, const std::string& method, const cel::Value& operation) {
    Ask out{.method = method};
    std::string path = pattern;
    std::string query;
    for (const cel::Value& p : at(operation, "parameters").as_list()) {
      const std::string name = field(p, "name");
      const std::string in = field(p, "in");
      if (in == "path") {
        const std::string hole = "{" + name + "}";
        const bool endless = pattern.ends_with("/resume") && name == "run_id";
        path.replace(path.find(hole), hole.size(), encoded(endless ? ended : path_value(name)));
      } else if (chance(35) && in == "query") {
        query += (query.empty() ? "?" : "&") + encoded(name) + "=" +
                 encoded(text_value(name, at(p, "schema")).substr(0, 2000));
      } else if (chance(25) && in == "header") {
        std::string value = chance(30)                ? any_text().substr(0, 300)
                            : name == "Last-Event-ID" ? std::to_string(below(9))
                                                      : "k" + std::to_string(below(4));
        std::erase_if(value, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
        out.headers.emplace_back(name, value);
      }
    }
    if (chance(5)) query += (query.empty() ? "?" : "&") + std::string("unknown=1");
    // A stream that has no end would keep the test waiting.
    if (pattern.ends_with("/events")) query = "?follow=false";
    out.target = path + query;
    const auto& body = at(operation, "requestBody");
    if (body.kind() == cel::Kind::map) write_body(out, body, pattern);
    return out;
  }

 private:
  void write_body(Ask& out, const cel::Value& body, const std::string& pattern) {
    const auto& properties =
        at(at(at(at(body, "content"), "application/json"), "schema"), "properties");
    std::vector<std::pair<std::string, std::string>> fields;
    const bool json = chance(70);
    for (const cel::MapEntry& e : properties.as_map()) {
      const std::string name(e.key.as_string());
      const bool needed = name == "stream" || name == "background" || name == "step_requirements" ||
                          name == "from_step" || name == "name" || name == "token" ||
                          name == "workflow_id" || name == "cron" || name == "session_name";
      if (!needed && !chance(25)) continue;
      // Only runs that end by themselves are waited for.
      if (name == "background" && (pattern.ends_with("/runs") || pattern.ends_with("/continue"))) {
        fields.emplace_back(name, "true");
      } else if (name == "stream") {
        fields.emplace_back(name, "false");
      } else if (name == "workflow_id") {
        fields.emplace_back(name, json ? "\"hello\"" : "hello");
      } else {
        fields.emplace_back(name, json ? json_value(name, e.value) : text_value(name, e.value));
      }
    }
    if (chance(4)) fields.emplace_back("unknown", json ? "1" : "1");
    if (json) {
      out.body = "{";
      for (const auto& [name, value] : fields)
        out.body += (out.body.size() > 1 ? ",\"" : "\"") + name + "\":" + value;
      out.body += "}";
      if (chance(4)) out.body = any_text();
    } else {
      const Ask sent =
          chance(50) ? agentos::form(out.target, fields) : agentos::multipart(out.target, fields);
      out.body = sent.body;
      out.type = sent.type;
    }
    if (chance(3)) out.type = "text/plain";
  }

  std::mt19937 random_;
  const Served& served_;
};

}  // namespace

TEST_CASE("whatever is asked, the answer is one that openapi.json knows, and no 5xx") {
  Served s({.files = {{"flows.kflow", flows},
                      {"nightly.kflow",
                       "workflow nightly() -> int { schedule: cron(\"0 3 * * *\")\n return 1 }"}}});
  const char* given = std::getenv("KFLOW_SEED");
  const unsigned seed = given == nullptr ? 1 : static_cast<unsigned>(std::atoi(given));
  const size_t requests = std::getenv("KFLOW_LONG") != nullptr ? 100'000 : 2'000;
  Generator g(seed, s);
  const cel::Value document = json_of(s.get("/openapi.json").body);
  struct Operation {
    std::string pattern;
    std::string method;
    cel::Value operation;
  };
  std::vector<Operation> operations;
  for (const cel::MapEntry& path : at(document, "paths").as_map()) {
    for (const cel::MapEntry& method : path.value.as_map()) {
      std::string name(method.key.as_string());
      for (char& c : name) c = static_cast<char>(std::toupper(c));
      operations.push_back({std::string(path.key.as_string()), name, method.value});
    }
  }
  REQUIRE(operations.size() >= 30);
  for (const char* workflow : {"hello", "waiter", "failing", "sleeper"})
    g.runs.push_back(s.start(workflow));
  g.ended = s.start("hello");
  s.wait("hello", g.ended, {"COMPLETED"});
  g.runs.push_back(s.start("ask", R"({"topic":"t"})"));
  std::map<int, size_t> statuses;
  std::map<std::string, size_t> good;
  for (size_t i = 0; i < requests; ++i) {
    const Operation& operation = g.one_of(operations);
    const Ask request = g.request(operation.pattern, operation.method, operation.operation);
    const Answer answer = ask(s.port(), request);
    ++statuses[answer.status];
    INFO("seed " << seed << ", request " << i << ": " << request.method << " "
                 << request.target.substr(0, 300) << "\n"
                 << request.body.substr(0, 500) << "\n→ " << answer.status << " "
                 << answer.body.substr(0, 500));
    CHECK(answer.status != 0);
    CHECK(answer.status < 500);
    CHECK(at(operation.operation, "responses").find(std::to_string(answer.status)) != nullptr);
    if (answer.status >= 400) {
      CHECK(answer.headers.at("content-type") == "application/problem+json");
      const cel::Value problem = json_of(answer.body);
      CHECK(field(problem, "status") == std::to_string(answer.status));
      CHECK(!field(problem, "detail").empty());
    } else {
      ++good[field(operation.operation, "operationId")];
      const auto type = answer.headers.find("content-type");
      if (type != answer.headers.end() && type->second == "application/json") {
        const auto& response =
            at(at(operation.operation, "responses"), std::to_string(answer.status));
        const auto& schema = at(at(at(response, "content"), "application/json"), "schema");
        CHECK(check_schema(document, schema, json_of(answer.body)) == "");
      }
    }
    if (answer.status == 202) {
      const std::string id = field(json_of(answer.body), "run_id");
      if (!id.empty() && g.runs.size() < 60) g.runs.push_back(id);
    }
  }
  // It was no dead end: what there is has been reached.
  CHECK(statuses[200] > requests / 20);
  CHECK(statuses[202] > requests / 100);
  CHECK(good.size() >= 20);
  CHECK(s.get("/health").status == 200);
  const std::string after = s.start("hello");
  CHECK(field(s.wait("hello", after, {"COMPLETED"}), "content") == "hello world");
}
