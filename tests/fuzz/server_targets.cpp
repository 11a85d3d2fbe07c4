// The server under any bytes: it answers or closes, and goes on answering others.
#include "tests/fuzz/server_targets.hpp"

#include <sys/socket.h>

#include "compiler/base/check.hpp"
#include "runtime/server/body.hpp"
#include "tests/server/served.hpp"
#include "tests/server/web_socket.hpp"

namespace kflow::fuzz {
namespace {

constexpr size_t look_every = 64;  // inputs between two looks at its health

test::Served& served() {
  static test::Served one([] {
    test::Served::Setup setup{
        .files = {{"f.kflow",
                   "workflow hello(name: string = \"x\") -> string { return name }\n"
                   "workflow wait() -> any {\n  step go = signal.wait(\"go\")\n  return go\n}\n"}}};
    setup.options.limits.header_bytes = 8192;
    setup.options.limits.body_bytes = 64U << 10;
    return setup;
  }());
  return one;
}

void check_health() {
  static size_t runs = 0;
  if (++runs % look_every != 0) return;
  KFLOW_CHECK(served().get("/health").status == 200, "the server goes on answering");
}

// The name of the server is not known when the corpus is made.
std::string head(const std::string& line, const std::string& more = "") {
  return line + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

}  // namespace

void fuzz_body(std::string_view bytes) {
  const size_t line = bytes.find('\n');
  const std::string_view type = bytes.substr(0, std::min(line, bytes.size()));
  const std::string_view body =
      line == std::string_view::npos ? std::string_view() : bytes.substr(line + 1);
  (void)server::parse_body(type, body);
  (void)server::percent_decode(body, true);
  if (const auto form = server::parse_form(body)) {
    for (const auto& [name, value] : *form)
      KFLOW_CHECK(name.find('\0') == std::string::npos, "no zero byte comes through");
  }
}

std::vector<std::string> body_corpus() {
  return {"application/json\n{\"message\":\"a\",\"stream\":false}",
          "application/x-www-form-urlencoded\nmessage=a%20b&stream=false&x=%C3%BC",
          "multipart/form-data; boundary=XX\n--XX\r\nContent-Disposition: form-data; "
          "name=\"a\"\r\n\r\none\r\n--XX\r\nContent-Disposition: form-data; name=\"f\"; "
          "filename=\"x.png\"\r\nContent-Type: image/png\r\n\r\nbytes\r\n--XX--\r\n"};
}

void fuzz_http(std::string_view bytes) {
  test::Wire wire(served().port());
  wire.send(bytes);
  ::shutdown(wire.fd(), SHUT_WR);
  // A stream of a run that waits is without end.
  for (int pieces = 0; pieces < 16 && wire.exactly(1); ++pieces) {
    if (wire.closed_within(20)) break;
  }
  check_health();
}

std::vector<std::string> http_corpus() {
  const std::string json = "Content-Type: application/json\r\nContent-Length: ";
  return {head("GET /health"),
          head("GET /health") + head("GET /workflows/hello"),
          head("POST /workflows/hello/runs", json + "16\r\n") + "{\"stream\":false}",
          head("POST /workflows/hello/runs", json + "2\r\nExpect: 100-continue\r\n") + "{}",
          head("POST /workflows/hello/runs",
               "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n") +
              "8\r\n{\"stream\r\n8\r\n\":false}\r\n0\r\n\r\n",
          head("GET /runs?limit=5&status=RUNNING", "If-None-Match: \"x\"\r\n"),
          head("GET /workflows/hello/runs/none/events", "Last-Event-ID: 3\r\n"),
          head("OPTIONS /workflows", "Origin: http://localhost\r\n"),
          head("GET /workflows/ws",
               "Upgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
               "Sec-WebSocket-Version: 13\r\n")};
}

void fuzz_socket(std::string_view bytes) {
  test::WebSocket socket(served().port());
  KFLOW_CHECK(socket.status() == 101, "the handshake is as it should be");
  socket.raw(std::string(bytes));
  ::shutdown(socket.wire().fd(), SHUT_WR);
  for (int pieces = 0; pieces < 16 && socket.wire().exactly(1); ++pieces) {
    if (socket.wire().closed_within(20)) break;
  }
  check_health();
}

std::vector<std::string> socket_corpus() {
  const auto frame = [](unsigned char first, const std::string& text) {
    std::string out(1, static_cast<char>(first));
    out.push_back(static_cast<char>(0x80 | text.size()));
    out += std::string(4, '\0');  // a mask that changes nothing
    return out + text;
  };
  return {frame(0x81, R"({"action":"ping"})"),
          frame(0x81, R"({"action":"start-workflow","workflow_id":"hello"})"),
          frame(0x01, R"({"action":)") + frame(0x89, "x") + frame(0x80, R"("ping"})"),
          frame(0x81, R"({"action":"reconnect","run_id":"x","last_event_index":1})") +
              frame(0x88, "\x03\xe8"),
          frame(0x82, "binary") + frame(0x8a, "pong")};
}

}  // namespace kflow::fuzz
