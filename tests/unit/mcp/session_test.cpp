// The MCP session alone: what it sends, whom it answers, and what it makes of whatever comes.
#include "runtime/mcp/session.hpp"

#include <random>

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/import_schema.hpp"
#include "runtime/mcp/result.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::mcp;
using cel::Value;

namespace {

Value json(std::string_view text) {
  auto v = cel::from_json(text);
  REQUIRE(v);
  return *v;
}
std::string result(int64_t id, const std::string& content) {
  return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"result":)" + content + "}";
}
std::string error(int64_t id, int code) {
  return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"error":{"code":)" +
         std::to_string(code) + R"(,"message":"no"}})";
}

const std::string initialized =
    R"({"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},)"
    R"("serverInfo":{"name":"s","version":"1"}})";
const std::string discovered =
    R"({"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":)"
    R"({"listChanged":true}}})";
const std::string echo_schema =
    R"({"type":"object","properties":{"m":{"type":"string"}},"required":["m"]})";
const std::string one_tool = R"({"tools":[{"name":"echo","inputSchema":)" + echo_schema + "}]}";

/// The client's side, and what the last input led to.
struct Client {
  explicit Client(bool http = false, std::string protocol = "2025-11-25")
      : session({.name = "s", .http = http, .protocol = std::move(protocol), .version = "0"}) {
    turn = session.begin(now);
  }
  /// Up to the list of tools.
  void open() {
    turn = session.receive(result(1, initialized), now);
    REQUIRE(turn.opened);
    turn = session.receive(result(turn.posts.at(1).id, one_tool), now);
    REQUIRE(session.ready());
  }
  int64_t call(uint64_t token, std::string tool = "echo", Millis timeout = 1000) {
    turn = session.call({.token = token,
                         .tool = std::move(tool),
                         .arguments = json(R"({"m":"x"})"),
                         .input_schema = schema::canonical_json(json(echo_schema)),
                         .output_schema = "",
                         .timeout_ms = timeout},
                        now);
    return turn.posts.empty() ? 0 : turn.posts.at(0).id;
  }
  Failure failure(size_t i = 0) const { return std::get<Failure>(turn.done.at(i).outcome); }

  Millis now = 1000;
  Session session;
  Turn turn;
};

}  // namespace

TEST_CASE("a session opens with the handshake, lists the tools and calls one") {
  Client c;
  CHECK(c.turn.posts.at(0).method == "initialize");
  CHECK(text_member(*member(json(c.turn.posts[0].text), "params"), "protocolVersion") ==
        "2025-11-25");
  c.turn = c.session.receive(result(1, initialized), c.now);
  REQUIRE(c.turn.posts.size() == 2);
  CHECK(c.turn.posts[0].text == R"({"jsonrpc":"2.0","method":"notifications/initialized"})");
  CHECK(c.turn.posts[1].method == "tools/list");
  c.turn = c.session.receive(result(2, one_tool), c.now);
  CHECK(c.session.ready());
  CHECK(c.session.server() == "s 1");
  const int64_t id = c.call(7);
  const Value params = *member(json(c.turn.posts[0].text), "params");
  CHECK(cel::to_json(params) ==
        R"({"name":"echo","arguments":{"m":"x"},"_meta":{"progressToken":3}})");
  c.turn = c.session.receive(result(id, R"({"content":[]})"), c.now);
  REQUIRE(c.turn.done.size() == 1);
  CHECK(c.turn.done[0].token == 7);
  CHECK(std::holds_alternative<Value>(c.turn.done[0].outcome));
}

TEST_CASE("a server is first asked what only servers without a handshake know") {
  SECTION("one of those") {
    Client c(true, "");
    CHECK(c.turn.posts.at(0).method == "server/discover");
    CHECK(c.turn.posts[0].headers.at(0).second == "2026-07-28");
    CHECK(c.turn.posts[0].headers.at(1) ==
          std::pair<std::string, std::string>("Mcp-Method", "server/discover"));
    c.turn = c.session.receive(result(1, discovered), c.now);
    CHECK(c.turn.posts.at(0).method == "tools/list");
    CHECK_FALSE(c.turn.opened);
    c.turn = c.session.receive(
        result(2, R"({"tools":[{"name":"ä","inputSchema":{"type":"object","properties":{)"
                  R"("m":{"type":"string","x-mcp-header":"M"}}}},{"name":"bad","inputSchema":{)"
                  R"("properties":{"m":{"type":"number","x-mcp-header":"M"}}}}]})"),
        c.now);
    CHECK(c.session.tools().size() == 1);
    CHECK(c.turn.lines.size() == 1);
    CHECK(c.turn.posts.at(0).method == "subscriptions/listen");
    c.turn = c.session.call({.token = 1, .tool = "ä", .arguments = json(R"({"m":"é"})")}, c.now);
    const auto& headers = c.turn.posts.at(0).headers;
    CHECK(headers.at(2) == std::pair<std::string, std::string>("Mcp-Name", "=?base64?w6Q=?="));
    CHECK(headers.at(3) == std::pair<std::string, std::string>("Mcp-Param-M", "=?base64?w6k=?="));
    CHECK(c.turn.posts[0].text.find("io.modelcontextprotocol/clientCapabilities") !=
          std::string::npos);
    // Closing the stream says that nobody waits.
    c.turn = c.session.cancel(1, c.now);
    CHECK(c.turn.posts.empty());
    CHECK(c.turn.abandoned.size() == 1);
  }
  SECTION("an older one that says it does not know") {
    Client c(false, "");
    c.turn = c.session.receive(error(1, -32601), c.now);
    CHECK(c.turn.posts.at(0).method == "initialize");
    CHECK(c.turn.posts[0].text.find("_meta") == std::string::npos);
  }
  SECTION("an older one behind HTTP") {
    Client c(true, "");
    c.turn = c.session.refused(1, {.code = "http_400", .message = "no", .status = 400}, c.now);
    CHECK(c.turn.posts.at(0).method == "initialize");
  }
  SECTION("one that is not reached at all") {
    Client c(true, "");
    c.turn = c.session.refused(1, {.code = "mcp_connect", .message = "no"}, c.now);
    REQUIRE(c.turn.failed);
    CHECK(c.turn.failed->code == "mcp_connect");
  }
  SECTION("one that says nothing, and then everything at once") {
    Client c(false, "");
    CHECK(c.session.next_due() == c.now + probe_timeout_ms);
    c.now += probe_timeout_ms;
    c.turn = c.session.tick(c.now);
    CHECK(c.turn.posts.at(0).method == "initialize");
    c.turn = c.session.receive(error(1, -32601), c.now);
    CHECK(c.turn.posts.empty());
    c.turn = c.session.receive(result(2, initialized), c.now);
    CHECK(c.turn.opened);
  }
  SECTION("a late answer of a modern one counts") {
    Client c(false, "");
    c.now += probe_timeout_ms;
    c.turn = c.session.tick(c.now);
    c.turn = c.session.receive(result(1, discovered), c.now);
    CHECK(c.turn.posts.at(0).method == "tools/list");
    CHECK(c.session.modern());
    CHECK(c.session.receive(error(2, -32022), c.now).posts.empty());
  }
  SECTION("the lock said an older one, and it has become modern") {
    Client c;
    c.turn = c.session.receive(error(1, -32022), c.now);
    CHECK(c.turn.posts.at(0).method == "server/discover");
    c.turn = c.session.receive(result(2, discovered), c.now);
    CHECK(c.session.modern());
  }
  SECTION("a modern one of another revision that still knows the handshake") {
    Client c(false, "");
    c.turn =
        c.session.receive(R"({"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"","data":)"
                          R"({"supported":["2027-01-01","2025-06-18"]}}})",
                          c.now);
    CHECK(c.turn.posts.at(0).method == "initialize");
  }
}

TEST_CASE("a revision that nobody here speaks ends the session with a reason") {
  Client c;
  c.call(1);
  c.turn =
      c.session.receive(result(1, R"({"protocolVersion":"1999-01-01","capabilities":{}})"), c.now);
  REQUIRE(c.turn.failed);
  CHECK(c.turn.failed->message.find("1999-01-01") != std::string::npos);
  REQUIRE(c.turn.done.size() == 1);  // the call that waited
  c.call(2);
  CHECK(c.failure().code == "mcp_exited");
}

TEST_CASE("calls wait for the list, and must fit what was locked") {
  Client c;
  CHECK(c.call(1) == 0);
  c.open();
  CHECK(c.turn.posts.at(0).method == "tools/call");
  c.call(2, "gone");
  CHECK(c.failure().code == "mcp_lock");
  CHECK(c.failure().message.find("kflowc mcp sync") != std::string::npos);
  c.turn = c.session.call(
      {.token = 3, .tool = "echo", .arguments = json("{}"), .input_schema = R"({"type":"object"})"},
      c.now);
  CHECK(c.failure().code == "mcp_lock");
  c.turn = c.session.call({.token = 4,
                           .tool = "echo",
                           .arguments = json("{}"),
                           .input_schema = schema::canonical_json(json(echo_schema)),
                           .output_schema = "{}"},
                          c.now);
  CHECK(c.failure().message.find("result") != std::string::npos);
}

TEST_CASE("pages are put together, and do not go on for ever") {
  Client c;
  c.turn = c.session.receive(result(1, initialized), c.now);
  int64_t id = 2;
  size_t pages = 0;
  while (!c.turn.failed) {
    c.turn = c.session.receive(result(id++, R"({"tools":[{"name":"t)" + std::to_string(pages) +
                                                R"(","inputSchema":{}}],"nextCursor":"n"})"),
                               c.now);
    REQUIRE(++pages <= max_pages);
  }
  CHECK(c.turn.failed->kind == "limit");
}

TEST_CASE("a list without tools, and a list that is none") {
  Client none;
  none.turn = none.session.receive(
      result(1, R"({"protocolVersion":"2025-06-18","capabilities":{}})"), none.now);
  CHECK(none.session.ready());
  Client broken;
  broken.turn = broken.session.receive(result(1, initialized), broken.now);
  broken.turn = broken.session.receive(result(2, R"({"tools":"many"})"), broken.now);
  CHECK(broken.turn.failed);
}

TEST_CASE("a call that takes too long is cancelled and ends in a timeout") {
  Client c;
  c.open();
  const int64_t id = c.call(1);
  CHECK(c.session.next_due() == c.now + 1000);
  c.turn = c.session.receive(R"({"jsonrpc":"2.0","method":"notifications/progress","params":)"
                             R"({"progressToken":)" +
                                 std::to_string(id) + R"(,"progress":1,"total":4}})",
                             c.now);
  CHECK(c.turn.progress == std::vector<std::string>{"echo: 1 of 4"});
  CHECK(c.session.next_due() == c.now + 1000);  // progress extends nothing
  c.now += 1000;
  c.turn = c.session.tick(c.now);
  CHECK(c.turn.posts.at(0).method == "notifications/cancelled");
  bool late = false;
  for (const Done& d : c.turn.done) {
    const auto& f = std::get<Failure>(d.outcome);
    late = late || f.kind == "timeout";
  }
  CHECK(late);
  CHECK(c.turn.done.size() == 1);
  CHECK(c.session.receive(result(id, "{}"), c.now).done.empty());  // too late, and no surprise
}

TEST_CASE("a server that does not get ready in time is given up") {
  Client c;
  c.call(1);
  c.now += start_timeout_ms;
  c.turn = c.session.tick(c.now);
  REQUIRE(c.turn.failed);
  CHECK(c.turn.failed->kind == "timeout");
  CHECK(c.failure().code == "mcp_start");
}

TEST_CASE("requests of the server: ping is answered, others are refused") {
  Client c;
  c.open();
  c.turn = c.session.receive(R"({"jsonrpc":"2.0","id":"a","method":"ping"})", c.now);
  CHECK(c.turn.posts.at(0).text == R"({"jsonrpc":"2.0","id":"a","result":{}})");
  c.turn = c.session.receive(R"({"jsonrpc":"2.0","id":5,"method":"roots/list"})", c.now);
  CHECK(c.turn.posts.at(0).text.find("-32601") != std::string::npos);
}

TEST_CASE("a changed list is asked for again, not more than once a second") {
  Client c;
  c.open();
  const std::string changed = R"({"jsonrpc":"2.0","method":"notifications/tools/list_changed"})";
  for (int i = 0; i < 50; ++i) CHECK(c.session.receive(changed, c.now).posts.empty());
  CHECK(c.session.next_due() == c.now + relist_gap_ms);
  c.now += relist_gap_ms;
  c.turn = c.session.tick(c.now);
  REQUIRE(c.turn.posts.size() == 1);
  CHECK(c.session.ready());  // calls go on meanwhile
  c.turn = c.session.receive(result(c.turn.posts[0].id, R"({"tools":[]})"), c.now);
  CHECK(c.session.tools().empty());
  CHECK(c.turn.lines.size() == 1);
}

TEST_CASE("what is no message is borne for a while; batches of old revisions are read") {
  Client c;
  c.open();
  const int64_t a = c.call(1);
  const int64_t b = c.call(2);
  c.turn = c.session.receive("[" + result(a, "{}") + "," + result(b, "{}") + "]", c.now);
  CHECK(c.turn.done.size() == 2);
  for (size_t i = 0; i < max_malformed; ++i) {
    c.turn = c.session.receive("hello", c.now);
    REQUIRE_FALSE(c.turn.failed);
  }
  c.turn = c.session.receive(R"({"jsonrpc":"1.0"})", c.now);
  REQUIRE(c.turn.failed);
  CHECK(c.turn.failed->code == "protocol");
}

TEST_CASE("whatever comes, each call is answered exactly once") {
  std::mt19937 random(42);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 300; ++round) {
    Client c(pick(2) == 0, pick(2) == 0 ? "" : "2025-11-25");
    std::map<uint64_t, int> answers;
    uint64_t token = 0;
    const auto take = [&](const Turn& t) {
      for (const Done& d : t.done) ++answers[d.token];
    };
    for (int step = 0; step < 60; ++step) {
      c.now += pick(3000);
      const int64_t id = pick(12);
      switch (pick(11)) {
        case 0:
          take(c.session.receive(result(id, initialized), c.now));
          break;
        case 1:
          take(c.session.receive(result(id, one_tool), c.now));
          break;
        case 2:
          take(c.session.receive(result(id, discovered), c.now));
          break;
        case 3:
          take(c.session.receive(error(id, -32601), c.now));
          break;
        case 4:
          take(c.session.receive("{\"jsonrpc\"", c.now));
          break;
        case 5:
          take(c.session.receive(R"({"jsonrpc":"2.0","method":"notifications/tools/list_changed"})",
                                 c.now));
          break;
        case 6:
          take(c.session.refused(id, {.code = "http_500", .message = "x", .status = 500}, c.now));
          break;
        case 7:
          take(c.session.cancel(token == 0 ? 0 : 1 + random() % token, c.now));
          break;
        case 8:
          take(c.session.tick(c.now));
          break;
        default:
          c.call(++token);
          take(c.turn);
      }
    }
    take(c.session.lost({.code = "mcp_exited", .message = "gone"}));
    for (uint64_t t = 1; t <= token; ++t) {
      INFO("round " << round << " token " << t);
      REQUIRE(answers[t] == 1);
    }
  }
}

TEST_CASE("results become values") {
  schema::TypeTable types;
  const auto value = [&](const char* text) {
    return value_of(json(text), types, schema::TypeTable::simple(schema::TypeKind::any), false,
                    "t");
  };
  CHECK(std::get<Value>(
            value(R"({"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})")) ==
        Value::string("a\nb"));
  CHECK(std::get<Value>(value(R"({"content":[]})")).is_null());
  CHECK(std::get<Value>(value(R"({"content":[],"structuredContent":[1]})")).size() == 1);
  const Value mixed = std::get<Value>(value(
      R"({"content":[{"type":"image","mimeType":"image/png","data":"AQI="},{"type":"resource",)"
      R"("resource":{"uri":"a","text":"t"}},{"type":"resource_link","uri":"b","name":"n"}]})"));
  CHECK(cel::to_display(mixed) ==
        R"([{"type": "image", "mime_type": "image/png", "data": b"\x01\x02"}, )"
        R"({"type": "resource", "uri": "a", "text": "t"}, )"
        R"({"type": "resource_link", "uri": "b", "name": "n"}])");
  const auto failed = value(R"({"content":[{"type":"text","text":"no"}],"isError":true})");
  CHECK(std::get<Failure>(failed).code == "tool_error");
  CHECK(std::get<Failure>(failed).message == "no");
  CHECK(std::holds_alternative<Failure>(
      value_of(json("[]"), types, schema::TypeTable::simple(schema::TypeKind::any), false, "t")));

  const auto imported = schema::import_schema(
      types, json(R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})"),
      "t");
  const auto structured = [&](const char* text) {
    return value_of(json(text), types, imported.type, true, "t");
  };
  CHECK(cel::to_json(std::get<Value>(structured(R"({"structuredContent":{"n":1.0,"more":2}})"))) ==
        R"({"n":1})");
  CHECK(std::get<Failure>(structured(R"({"structuredContent":{"n":"x"}})")).code ==
        "output_schema");
  CHECK(std::get<Failure>(structured(R"({"content":[]})")).code == "output_schema");
}
