// WebSocket: actions, runs followed, rules broken.
#include <map>
#include <thread>

#include "tests/server/flows.hpp"
#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

Served::Setup with_flows() { return {.files = {{"flows.kflow", flows}}}; }

}  // namespace

TEST_CASE("a socket starts a run and gets its events, the same as over HTTP") {
  Served s(with_flows());
  WebSocket socket(s.port());
  REQUIRE(socket.status() == 101);
  const cel::Value hello = socket.next();
  CHECK(field(hello, "event") == "connected");
  CHECK(field(hello, "requires_auth") == "false");
  socket.say(R"({"action":"ping"})");
  CHECK(field(socket.next(), "event") == "pong");
  socket.say(R"({"action":"start-workflow","workflow_id":"hello","input":{"name":"ws"}})");
  std::vector<std::string> frames;
  for (;;) {
    const auto text = socket.text();
    REQUIRE(text);
    frames.push_back(*text);
    if (field(json_of(*text), "event") == "WorkflowCompleted") break;
  }
  const std::string run = field(json_of(frames[0]), "run_id");
  Events events(s.port(), {.target = "/workflows/hello/runs/" + run + "/events"});
  const auto all = events.all();
  REQUIRE(all.size() == frames.size());
  for (size_t i = 0; i < all.size(); ++i) CHECK(all[i].data == frames[i]);
}

TEST_CASE("one socket follows many runs, answers them and lets go of them") {
  Served s(with_flows());
  WebSocket socket(s.port());
  socket.until("connected");
  socket.say(R"({"action":"start-workflow","workflow_id":"ask","message":"it"})");
  socket.say(R"({"action":"start-workflow","workflow_id":"waiter"})");
  std::map<std::string, std::string> runs;  // workflow → run
  bool paused = false;
  while (runs.size() < 2 || !paused) {
    const cel::Value frame = socket.next();
    REQUIRE(!frame.is_null());
    runs[field(frame, "workflow_id")] = field(frame, "run_id");
    paused = paused || field(frame, "event") == "WorkflowPaused";
  }
  const cel::Value run = s.wait("ask", runs["ask"], {"PAUSED"});
  const std::string id = field(run.find("step_requirements")->as_list()[0], "id");
  socket.say(R"({"action":"continue-workflow","run_id":")" + runs["ask"] +
             R"(","step_requirements":[{"id":")" + id + R"(","confirmed":true}]})");
  CHECK(field(socket.until("WorkflowCompleted"), "content") == "published");
  socket.say(R"({"action":"signal","run_id":")" + runs["waiter"] + R"(","name":"go","value":[1]})");
  CHECK(field(socket.until("WorkflowCompleted"), "content") == "[1]");

  socket.say(R"({"action":"start-workflow","workflow_id":"sleeper"})");
  const std::string sleeper = field(socket.until("WorkflowStarted"), "run_id");
  socket.say(R"({"action":"unsubscribe","run_id":")" + sleeper + "\"}");
  CHECK(field(socket.until("unsubscribed"), "run_id") == sleeper);
  socket.say(R"({"action":"cancel-run","run_id":")" + sleeper + "\"}");
  CHECK(field(socket.until("accepted"), "action") == "cancel-run");
  s.wait("sleeper", sleeper, {"CANCELLED"});
  socket.say(R"({"action":"ping"})");
  CHECK(field(socket.next(), "event") == "pong");  // nothing of the run came any more
}

TEST_CASE("reconnect: catch_up, subscribed and live, or replay") {
  Served s(with_flows());
  const std::string id = s.start("waiter");
  s.wait("waiter", id, {"RUNNING"});
  WebSocket socket(s.port());
  socket.until("connected");
  socket.say(R"({"action":"reconnect","run_id":")" + id + R"(","last_event_index":0})");
  CHECK(field(socket.next(), "event") == "catch_up");
  const cel::Value subscribed = socket.until("subscribed");
  CHECK(field(subscribed, "run_id") == id);
  CHECK(s.post("/workflows/waiter/runs/" + id + "/signal", R"({"name":"go"})").status == 202);
  CHECK(field(socket.until("WorkflowCompleted"), "run_id") == id);
  socket.say(R"({"action":"reconnect","run_id":")" + id + R"(","last_event_index":1})");
  CHECK(field(socket.next(), "event") == "replay");
  CHECK(field(socket.next(), "event_index") == "2");
  socket.until("WorkflowCompleted");
  socket.say(R"({"action":"reconnect","run_id":")" + id + R"(","session_id":"other"})");
  CHECK(field(socket.next(), "event") == "error");
}

TEST_CASE("what is no action is an error, and the socket stays open") {
  Served s(with_flows());
  WebSocket socket(s.port());
  socket.until("connected");
  for (const char* text :
       {"", "nonsense", "[1]", "7", "{}", R"({"action":7})", R"({"action":"fly"})",
        R"({"action":"start-workflow","workflow_id":"none"})", R"({"action":"start-workflow"})",
        R"({"action":"start-workflow","workflow_id":"needs","input":{"title":7}})",
        R"({"action":"start-workflow","workflow_id":"../x"})",
        R"({"action":"reconnect","run_id":"none"})", R"({"action":"reconnect"})",
        R"({"action":"cancel-run","run_id":"none"})", R"({"action":"signal","run_id":"none"})",
        R"({"action":"continue-workflow","run_id":"none"})",
        R"({"action":"unsubscribe","run_id":"none"})"}) {
    INFO(text);
    socket.say(text);
    const cel::Value answer = socket.next();
    CHECK(field(answer, "event") == "error");
    CHECK(!field(answer, "error").empty());
  }
  socket.frame(0x82, "binary");
  CHECK(field(socket.next(), "event") == "error");
  socket.say(R"({"action":"ping"})");
  CHECK(field(socket.next(), "event") == "pong");
}

TEST_CASE("a socket signs in before it does anything") {
  Served::Setup setup = with_flows();
  setup.options.tokens = {{.name = "t", .secret = "secret-token"},
                          {.name = "r", .secret = "secret-read", .run = false, .admin = false}};
  Served s(std::move(setup));
  WebSocket socket(s.port());
  CHECK(field(socket.next(), "requires_auth") == "true");
  for (const char* action : {R"({"action":"start-workflow","workflow_id":"hello"})",
                             R"({"action":"ping"})", R"({"action":"fly"})"}) {
    socket.say(action);
    CHECK(field(socket.next(), "event") == "auth_required");
  }
  socket.say(R"({"action":"authenticate","token":"wrong"})");
  CHECK(field(socket.next(), "event") == "auth_error");
  socket.say(R"({"action":"authenticate","token":"secret-read"})");
  CHECK(field(socket.next(), "event") == "authenticated");
  socket.say(R"({"action":"start-workflow","workflow_id":"hello"})");
  CHECK(field(socket.next(), "status") == "403");
  socket.say(R"({"action":"authenticate","token":"secret-token"})");
  CHECK(field(socket.next(), "event") == "authenticated");
  socket.say(R"({"action":"start-workflow","workflow_id":"hello"})");
  CHECK(field(socket.until("WorkflowCompleted"), "content") == "hello world");
  WebSocket by_header(s.port(), {{"Authorization", "Bearer secret-token"}});
  CHECK(field(by_header.next(), "requires_auth") == "false");
}

TEST_CASE("a socket that does not say who it is, is closed") {
  Served::Setup setup = with_flows();
  setup.options.tokens = {{.name = "t", .secret = "secret-token"}};
  setup.options.limits.header_ms = 1000;
  Served s(std::move(setup));
  WebSocket silent(s.port());
  WebSocket known(s.port());
  known.say(R"({"action":"authenticate","token":"secret-token"})");
  CHECK(field(known.until("authenticated"), "event") == "authenticated");
  WebSocket wrong(s.port());
  wrong.say(R"({"action":"authenticate","token":"wrong"})");
  for (WebSocket* socket : {&silent, &wrong}) {
    while (socket->text()) {
    }
    CHECK(socket->close_code == 1008);
  }
  known.say(R"({"action":"ping"})");
  CHECK(field(known.next(), "event") == "pong");
}

TEST_CASE("upgrades of other sites and bad handshakes are refused") {
  Served s(with_flows());
  CHECK(WebSocket(s.port(), {{"Origin", "https://evil.example"}}).status() == 403);
  CHECK(WebSocket(s.port(), {{"Sec-Fetch-Site", "cross-site"}}).status() == 403);
  CHECK(WebSocket(s.port(), {{"Host", "evil.example"}}).status() == 421);
  CHECK(WebSocket(s.port(), {}, "/workflows/hello").status() == 404);
  CHECK(s.get("/workflows/ws").status == 426);
  const auto refused = [&](const std::string& line, const std::string& headers) {
    Wire wire(s.port());
    wire.send(line + "\r\nHost: localhost\r\nUpgrade: websocket\r\n" + headers);
    const Answer answer = read_answer(wire);  // not in the words of a library, and not HTTP/1.0
    CHECK(field(json_of(answer.body), "status") == std::to_string(answer.status));
    CHECK(wire.closed_within(10'000));
    return answer.status;
  };
  const std::string get = "GET /workflows/ws HTTP/1.1";
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const std::string version = "Sec-WebSocket-Version: 13\r\n";
  const std::string wish = "Connection: Upgrade\r\n";
  CHECK(refused(get, wish + version + "\r\n") == 400);
  CHECK(refused(get, wish + version + "Sec-WebSocket-Key: short==\r\n\r\n") == 400);
  CHECK(refused(get, wish + key + "\r\n") == 426);
  CHECK(refused(get, wish + key + "Sec-WebSocket-Version: 8\r\n\r\n") == 426);
  CHECK(refused(get, key + version + "\r\n") == 400);
  CHECK(refused("GET /workflows/ws HTTP/1.0", wish + key + version + "\r\n") == 400);
  CHECK(refused(get, wish + key + version + "Content-Length: 2\r\n\r\n{}") == 400);
  CHECK(refused(get, wish + key + version + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
  // Frames that do not wait for the answer.
  CHECK(refused(get, wish + key + version + "\r\n" + std::string("\x81\x80\0\0\0\0", 6)) == 400);
}

TEST_CASE("frames of every illegal kind end the socket, and nothing else") {
  Served s(with_flows());
  const auto closes = [&](const std::function<void(WebSocket&)>& what) {
    WebSocket socket(s.port());
    socket.until("connected");
    what(socket);
    while (socket.text()) {
    }
    return socket.close_code;
  };
  CHECK(closes([](WebSocket& w) { w.frame(0x81, "{}", false); }) == 1002);  // not masked
  CHECK(closes([](WebSocket& w) { w.frame(0xc1, "{}"); }) == 1002);         // a reserved bit
  CHECK(closes([](WebSocket& w) { w.frame(0x83, "{}"); }) == 1002);         // a reserved opcode
  CHECK(closes([](WebSocket& w) { w.frame(0x8b, "{}"); }) == 1002);
  CHECK(closes([](WebSocket& w) { w.frame(0x80, "{}"); }) == 1002);  // goes on, with nothing
  CHECK(closes([](WebSocket& w) { w.frame(0x09, "x"); }) == 1002);   // a ping in parts
  CHECK(closes([](WebSocket& w) { w.frame(0x89, std::string(126, 'x')); }) == 1002);
  CHECK(closes([](WebSocket& w) {
          w.frame(0x01, "{");
          w.frame(0x81, "}");
        }) == 1002);
  CHECK(closes([](WebSocket& w) { w.frame(0x81, "\xff\xfe"); }) == 1007);
  CHECK(closes([](WebSocket& w) { w.frame(0x88, "\x03"); }) == 1002);
  CHECK(closes([](WebSocket& w) {
          w.raw(std::string("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 14));
        }) == 1009);
  CHECK(closes([](WebSocket& w) { w.frame(0x88, "\x03\xe8"); }) == 1000);
  // Parts of a message are fine.
  WebSocket socket(s.port());
  socket.until("connected");
  socket.frame(0x01, R"({"action":)");
  socket.frame(0x89, "ping");
  socket.frame(0x80, R"("ping"})");
  CHECK(field(socket.next(), "event") == "pong");
}

TEST_CASE("sockets are told when the server stops") {
  Served s(with_flows());
  WebSocket socket(s.port());
  socket.until("connected");
  std::thread stop([&] { s.stop(); });
  while (socket.text()) {
  }
  CHECK(socket.close_code == 1012);
  socket.wire().close();
  stop.join();
}
