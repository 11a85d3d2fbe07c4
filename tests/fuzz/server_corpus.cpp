// What the fuzzing of the server begins with: requests as clients send them, shapes that proxies
// and servers are known to read in different ways, and frames of every kind.
#include "tests/fuzz/server_targets.hpp"

namespace kflow::fuzz {
namespace {

// The name of the server is not known when the corpus is made.
std::string head(const std::string& line, const std::string& more = "") {
  return line + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

std::string post(const std::string& more, const std::string& body) {
  return head("POST /workflows/hello/runs", "Content-Type: application/json\r\n" + more) + body;
}

std::string of_length(const std::string& target, const std::string& type, const std::string& body) {
  return head("POST " + target, "Content-Type: " + type +
                                    "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n") +
         body;
}

// A frame of a client, under a mask that changes nothing.
std::string frame(unsigned char first, const std::string& text) {
  std::string out(1, static_cast<char>(first));
  if (text.size() < 126) {
    out.push_back(static_cast<char>(0x80 | text.size()));
  } else {
    out.push_back(static_cast<char>(0xfe));
    out.push_back(static_cast<char>(text.size() >> 8));
    out.push_back(static_cast<char>(text.size() & 0xff));
  }
  return out + std::string(4, '\0') + text;
}

const std::string multipart =
    "--XX\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\none\r\n"
    "--XX\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\nfalse\r\n"
    "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.png\"\r\n"
    "Content-Type: image/png\r\n\r\nbytes\r\n--XX--\r\n";

// Each hides a second request in what somebody may take for a body.
std::vector<std::string> smuggled() {
  const std::string hidden = head("GET /health");
  const std::string length = "Content-Length: " + std::to_string(hidden.size() + 5) + "\r\n";
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::string none = "0\r\n\r\n";
  std::vector<std::string> out = {
      post(length + chunked, none + hidden),
      post(chunked + length, none + hidden),
      post("Content-Length: 5\r\n" + length, none + hidden),
      post("Content-Length: 5, 5\r\n", none + hidden),
      post("Content-Length: 0\r\n", hidden),
      post("Content-Length: +5\r\n", none + hidden),
      post("Content-Length: 05\r\n", none + hidden),
      post("Content-Length: 5 \r\n", none + hidden),
      post("Content-Length:\t5\r\n", none + hidden),
      post("Content-Length : 5\r\n", none + hidden),
      post("Content-Length: 0x5\r\n", none + hidden),
      post("Content-Length: 18446744073709551621\r\n", none + hidden),
      post("Content-Length: 5\r\n Transfer-Encoding: chunked\r\n", none + hidden),
      post("X: y\r\n Content-Length: 5\r\n", none + hidden),
      post("X: y\rContent-Length: 5\r\n", none + hidden),
      post("X: y\nContent-Length: 5\r\n", none + hidden),
      post("X: y\r\n\rContent-Length: 5\r\n", none + hidden),
      post(std::string("Content-Length: 5\0\r\n", 20), none + hidden),
      post("Transfer-Encoding: chunked, identity\r\n", none + hidden),
      post("Transfer-Encoding: chunked;q=1\r\n", none + hidden),
      post("Transfer-Encoding: \"chunked\"\r\n", none + hidden),
      post("Transfer-Encoding: x\r\n" + chunked, none + hidden),
      post("Transfer-Encoding: CHUNKED\r\n", none + hidden),
      post("Transfer-Encoding:\x0b"
           "chunked\r\n",
           none + hidden),
      post("Transfer-Encoding\r\n: chunked\r\n", none + hidden),
      post("transfer_encoding: chunked\r\nContent-Length: 5\r\n", none + hidden),
      post(chunked, "5\r\nhello" + hidden),
      post(chunked, "5;a=\"\r\n\"\r\nhello\r\n" + none + hidden),
      post(chunked, "0;x\r\nContent-Length: 100\r\nHost: other\r\n\r\n" + hidden),
      post(chunked, "00000000000000005\r\nhello\r\n" + none + hidden),
      post(chunked, "fffffffffffffffe\r\nhello\r\n" + none + hidden),
      post(chunked, "10000000000000005\r\nhello\r\n" + none + hidden),
      post(chunked, "5\nhello\n0\n\n" + hidden),
      post(chunked, "-5\r\nhello\r\n" + none + hidden),
      post(chunked, "5 \r\nhello\r\n" + none + hidden),
      post(chunked, "\r\n5\r\nhello\r\n" + none + hidden),
      post("Expect: 100-continue\r\n" + chunked, none + hidden),
      post("Connection: close, keep-alive, Content-Length\r\nContent-Length: 5\r\n", none + hidden),
      "POST /workflows/hello/runs HTTP/1.0\r\nHost: localhost\r\n" + chunked + "\r\n" + none +
          hidden,
      "POST /workflows/hello/runs HTTP/1.1\nHost: localhost\nContent-Length: 5\n\n" + none + hidden,
      "GET /health\r\nHost: localhost\r\n\r\n" + hidden,
      "GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden,
      "GET /health HTTP/1.1 \r\nHost: localhost\r\n\r\n" + hidden,
      "GET /health HTTP/1.10\r\nHost: localhost\r\n\r\n" + hidden,
      "\r\n\r\n" + hidden,
      " " + hidden,
      "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n" + hidden,
      "GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n" + hidden,
      "GET /health HTTP/1.1\r\nHost: localhost, other\r\n\r\n" + hidden,
      "GET http://localhost/health HTTP/1.1\r\nHost: other\r\n\r\n" + hidden,
      "GET /health#x HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden,
      "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n" + hidden,
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\x04\0\0\0\0\0", 9),
      head("GET /health", "Content-Length: " + std::to_string(hidden.size()) + "\r\n") + hidden,
      head("HEAD /health", "Content-Length: 5\r\n") + none + hidden,
      head("GET /workflows",
           "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
           "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n") +
          hidden,
      head("POST /workflows/ws",
           "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n") +
          none + hidden};
  return out;
}

}  // namespace

std::vector<std::string> body_corpus() {
  return {"application/json\n{\"message\":\"a\",\"stream\":false}",
          "application/x-www-form-urlencoded\nmessage=a%20b&stream=false&x=%C3%BC",
          "multipart/form-data; boundary=XX\n" + multipart,
          "multipart/form-data; boundary=\"X X\"\n--X X\r\n\r\n\r\n--X X--",
          "application/json; charset=utf-8\n{\"a\":[{\"b\":1e400}],\"a\":2}"};
}

std::vector<std::string> http_corpus() {
  const std::string socket =
      "Upgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
  std::vector<std::string> out = {
      head("GET /health"),
      head("GET /health") + head("GET /workflows/hello"),
      post("Content-Length: 16\r\n", "{\"stream\":false}"),
      post("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}"),
      post("Transfer-Encoding: chunked\r\n", "8\r\n{\"stream\r\n8\r\n\":false}\r\n0\r\n\r\n"),
      of_length("/workflows/hello/runs", "application/x-www-form-urlencoded",
                "message=a&stream=false&background=true"),
      of_length("/workflows/hello/runs", "multipart/form-data; boundary=XX", multipart),
      of_length("/workflows/wait/runs", "application/json",
                R"({"run_id":"w","stream":false,"background":true})"),
      of_length("/workflows/wait/runs/w/signal", "application/json",
                R"({"name":"go","value":[1]})"),
      of_length("/workflows/wait/runs/w/resume", "application/json", R"({"last_event_index":0})"),
      of_length("/workflows/wait/runs/w/cancel", "application/json", R"({"reason":"x"})"),
      of_length("/workflows/hello/runs/h/fork", "application/json", R"({"from_step":"a"})"),
      of_length("/schedules", "application/json",
                R"({"workflow_id":"hello","cron":"0 3 * * *","name":"n"})"),
      of_length("/signin", "application/json", R"({"token":"x"})"),
      head("GET /runs?limit=5&status=RUNNING", "If-None-Match: \"x\"\r\n"),
      head("GET /runs?cursor=1f&since=2026-01-01T00:00:00Z&tag=a%20b"),
      head("GET /workflows/hello/runs/none/events", "Last-Event-ID: 3\r\n"),
      head("GET /workflows/wait/runs/w/events?last_event_index=-1&follow=true"),
      head("GET /sessions?type=workflow"),
      head("DELETE /workflows/hello/runs/none"),
      head("OPTIONS /workflows", "Origin: http://localhost\r\n"),
      head("GET /%2e%2e/%2e%2e/etc/passwd"),
      head("GET /openapi.json", "Cookie: kflow_session=x; y=z\r\nAuthorization: Bearer x\r\n"),
      head("GET /workflows/ws", socket),
      head("GET /workflows/ws", socket) + frame(0x81, R"({"action":"ping"})"),
      head("GET /workflows/ws", socket + "Sec-WebSocket-Extensions: permessage-deflate\r\n"
                                         "Sec-WebSocket-Protocol: a, b\r\n"),
      "GET /health HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n" +
          head("GET /health", "Connection: close\r\n"),
  };
  for (std::string& shape : smuggled()) out.push_back(std::move(shape));
  return out;
}

std::vector<std::string> socket_corpus() {
  const std::string ping = R"({"action":"ping"})";
  return {frame(0x81, ping),
          frame(0x81, R"({"action":"start-workflow","workflow_id":"hello"})"),
          frame(0x81, R"({"action":"start-workflow","workflow_id":"wait","run_id":"s"})") +
              frame(0x81, R"({"action":"signal","run_id":"s","name":"go","value":{"a":1}})"),
          frame(0x81, R"({"action":"reconnect","run_id":"s","workflow_id":"wait"})") +
              frame(0x81, R"({"action":"unsubscribe","run_id":"s"})"),
          frame(0x81, R"({"action":"cancel-run","run_id":"s","reason":"x","kill":true})"),
          frame(0x81, R"({"action":"continue-workflow","run_id":"s","step_requirements":[{}]})"),
          frame(0x81, R"({"action":"authenticate","token":"x"})"),
          frame(0x01, R"({"action":)") + frame(0x89, "x") + frame(0x80, R"("ping"})"),
          frame(0x81, R"({"action":"reconnect","run_id":"x","last_event_index":1})") +
              frame(0x88, "\x03\xe8"),
          frame(0x82, "binary") + frame(0x8a, "pong"),
          frame(0x81, R"({"action":"ping","x":")" + std::string(300, 'y') + "\"}"),
          std::string("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14),
          std::string("\x81\xff\0\0\0\0\0\0\0\x11\0\0\0\0", 14) + ping,
          std::string("\x81\xfe\0\x11\0\0\0\0", 8) + ping,
          "\x81\x11" + ping,
          frame(0xc1, ping) + frame(0x81, ping),
          frame(0x83, ping) + frame(0x8b, ""),
          frame(0x80, ping) + frame(0x00, "x"),
          frame(0x01, "{") + frame(0x81, "}"),
          frame(0x09, "x"),
          frame(0x88, "\x03"),
          frame(0x88, "\x03\xed") + frame(0x88, std::string("\0\0", 2)),
          frame(0x88, "\x03\xe8\xff\xfe"),
          frame(0x88, "") + frame(0x81, ping),
          frame(0x89, std::string(126, 'x')),
          frame(0x81, "\xff\xfe") + frame(0x01, "\xe2\x82") + frame(0x80, "\xac")};
}

}  // namespace kflow::fuzz
