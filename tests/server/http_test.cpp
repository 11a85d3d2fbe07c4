// The protocol below the routes: malformed, slow, large and hostile requests.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/server/flows.hpp"
#include "tests/server/served.hpp"
#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::test;

namespace {

Served::Setup with_flows() { return {.files = {{"flows.kflow", flows}}}; }

// The status of what is answered to these bytes; 0: nothing.
int status_of(const Served& s, const std::string& bytes) {
  Wire wire(s.port());
  wire.send(bytes);
  return read_answer(wire).status;
}

std::string host(const Served& s) { return "Host: localhost:" + std::to_string(s.port()) + "\r\n"; }

}  // namespace

TEST_CASE("a connection is kept for many requests, also pipelined ones") {
  Served s(with_flows());
  Wire wire(s.port());
  std::string both;
  for (int i = 0; i < 5; ++i) both += "GET /health HTTP/1.1\r\n" + host(s) + "\r\n";
  wire.send(both);
  for (int i = 0; i < 5; ++i) {
    const Answer answer = read_answer(wire);
    CHECK(answer.status == 200);
    CHECK_FALSE(answer.closed);
  }
  // A stream ends, and the connection goes on.
  const std::string body = "{}";
  wire.send("POST /workflows/hello/runs HTTP/1.1\r\n" + host(s) +
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n" + body);
  const Answer streamed = read_answer(wire);
  CHECK(streamed.status == 200);
  CHECK(streamed.body.find("WorkflowCompleted") != std::string::npos);
  wire.send("GET /health HTTP/1.1\r\n" + host(s) + "Connection: close\r\n\r\n");
  CHECK(read_answer(wire).closed);
  CHECK(wire.closed_within(10'000));
}

TEST_CASE("what proxies and servers could read in two ways is refused") {
  Served s(with_flows());
  const std::string post = "POST /workflows/hello/runs HTTP/1.1\r\n" + host(s);
  const auto refused = [&](const std::string& rest) {
    const int status = status_of(s, post + rest);
    INFO(rest << " → " << status);
    return status == 400 || status == 501;
  };
  CHECK(refused("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"));
  CHECK(refused("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"));
  CHECK(refused("Content-Length: 2, 2\r\n\r\n{}"));
  CHECK(refused("Content-Length: +2\r\n\r\n{}"));
  CHECK(refused("Content-Length: -1\r\n\r\n{}"));
  CHECK(refused("Content-Length: 0x2\r\n\r\n{}"));
  CHECK(refused("Content-Length: 99999999999999999999999\r\n\r\n{}"));
  CHECK(refused("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding: identity\r\n\r\n{}"));
  CHECK(refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"));
  CHECK(refused("Transfer-Encoding: chunked\r\n\r\n2;{}\n0\r\n\r\n"));
  CHECK(refused("Content-Length\r\n\r\n"));
  CHECK(refused("Bad Name: x\r\nContent-Length: 2\r\n\r\n{}"));
  CHECK(refused("Host: evil.example\r\nContent-Length: 2\r\n\r\n{}"));
  CHECK(status_of(s, "POST /workflows/hello/runs HTTP/1.0\r\n" + host(s) +
                         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
  // Nothing of it has started anything.
  CHECK(json_of(s.get("/runs").body).find("data")->as_list().empty());
}

TEST_CASE("requests that are none are answered and the connection is closed") {
  Served s(with_flows());
  CHECK(status_of(s, "\x16\x03\x01\x02garbage\r\n\r\n") == 400);
  CHECK(status_of(s, "GET / HTTP/2.0\r\n" + host(s) + "\r\n") == 505);
  CHECK(status_of(s, "GET http://other/ HTTP/1.1\r\n" + host(s) + "\r\n") == 400);
  CHECK(status_of(s, "GET health HTTP/1.1\r\n" + host(s) + "\r\n") == 400);
  CHECK(status_of(s, "GET /health HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of(s, "GET /%zz HTTP/1.1\r\n" + host(s) + "\r\n") == 400);
  CHECK(status_of(s, "GET /%00 HTTP/1.1\r\n" + host(s) + "\r\n") == 400);
  CHECK(status_of(s, "GET /workflows/%ff HTTP/1.1\r\n" + host(s) + "\r\n") == 400);
  CHECK(status_of(s, "BREW /health HTTP/1.1\r\n" + host(s) + "\r\n") == 405);
  CHECK(status_of(s, "GET /health HTTP/1.1\r\n" + host(s) + "Expect: 200-ok\r\n\r\n") == 417);
  CHECK(status_of(s, "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n" + host(s) + "\r\n") == 414);
  CHECK(status_of(s, "GET /health HTTP/1.1\r\n" + host(s) + "X: " + std::string(40'000, 'a') +
                         "\r\n\r\n") == 431);
  std::string many;
  for (int i = 0; i < 200; ++i) many += "X" + std::to_string(i) + ": 1\r\n";
  CHECK(status_of(s, "GET /health HTTP/1.1\r\n" + host(s) + many + "\r\n") == 431);
}

TEST_CASE("no path leads out of what is served") {
  Served s(with_flows());
  for (const char* path :
       {"/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd",
        "/page/../index.html", "/.kflow/data.mdb", "/flows.kflow", "/workflows/..%2f..%2fx",
        "/./index.html/.."}) {
    INFO(path);
    CHECK(s.get(path).status == 404);
  }
}

TEST_CASE("a body over the limit is refused before it is read") {
  Served::Setup setup = with_flows();
  setup.options.limits.body_bytes = 1000;
  Served s(std::move(setup));
  const std::string head =
      "POST /workflows/hello/runs HTTP/1.1\r\n" + host(s) + "Content-Type: application/json\r\n";
  CHECK(status_of(s, head + "Content-Length: 1001\r\n\r\n") == 413);
  CHECK(status_of(s, head + "Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, ' ') +
                         "\r\n0\r\n\r\n") == 413);
  CHECK(status_of(s, head + "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n" + "{}" +
                         std::string(998, ' ')) == 200);
  // Somebody who waits for the word to go on gets it.
  Wire wire(s.port());
  wire.send(head + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK(wire.until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  wire.send("{}");
  CHECK(read_answer(wire, true).status == 200);
}

TEST_CASE("a request that comes byte by byte is given up, others are not kept waiting") {
  Served::Setup setup = with_flows();
  setup.options.limits.header_ms = 1500;
  setup.options.limits.body_ms = 1500;
  setup.options.limits.idle_ms = 1500;
  Served s(std::move(setup));
  Wire slow_head(s.port());
  Wire slow_body(s.port());
  Wire idle(s.port());
  slow_head.send("GET /hea");
  slow_body.send("POST /workflows/hello/runs HTTP/1.1\r\n" + host(s) +
                 "Content-Length: 50\r\n\r\n{");
  for (int i = 0; i < 3; ++i) {
    CHECK(s.get("/health").status == 200);
    slow_head.send("l");
    slow_body.send(" ");
  }
  CHECK(read_answer(slow_head).status == 408);
  CHECK(read_answer(slow_body).status == 408);
  CHECK(slow_head.closed_within(20'000));
  CHECK(slow_body.closed_within(20'000));
  CHECK(idle.closed_within(20'000));
}

TEST_CASE("connections over the limit are told to come again") {
  Served::Setup setup = with_flows();
  setup.options.limits.connections = 3;
  Served s(std::move(setup));
  std::vector<Wire> held;
  for (int i = 0; i < 3; ++i) {
    held.emplace_back(s.port());
    held.back().send("GET /health HTTP/1.1\r\n" + host(s) + "\r\n");
    CHECK(read_answer(held.back()).status == 200);
  }
  Wire fourth(s.port());
  CHECK(read_answer(fourth).status == 503);
  held.clear();
  bool again = false;
  for (int i = 0; i < 500 && !again; ++i) {
    again = s.get("/health").status == 200;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(again);
}

TEST_CASE("HEAD and HTTP/1.0") {
  Served s(with_flows());
  const Answer head = ask(s.port(), {.method = "HEAD", .target = "/health"});
  CHECK(head.status == 200);
  CHECK(head.headers.at("content-length") == "15");
  Wire old(s.port());
  old.send("GET /health HTTP/1.0\r\n" + host(s) + "\r\n");
  CHECK(read_answer(old).closed);
  Wire stream(s.port());
  stream.send("POST /workflows/hello/runs HTTP/1.0\r\n" + host(s) +
              "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
  const Answer answer = read_answer(stream);
  CHECK_FALSE(answer.headers.contains("transfer-encoding"));
  CHECK(answer.body.find("event: WorkflowCompleted") != std::string::npos);
}

namespace {

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return out;
  char buffer[4096];
  for (size_t n = 0; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  ::pclose(pipe);
  return out;
}

}  // namespace

TEST_CASE("TLS by certificate files") {
  char name[] = "/tmp/kflow_tls_XXXXXX";
  const std::string folder = ::mkdtemp(name);
  const std::string cert = folder + "/cert.pem";
  const std::string key = folder + "/key.pem";
  const bool tools =
      std::system(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                   "-days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout " +
                   key + " -out " + cert + " >/dev/null 2>&1 && curl --version >/dev/null")
                      .c_str()) == 0;
  if (!tools) {
    WARN("no openssl or curl on this machine: TLS is not tested");
    std::filesystem::remove_all(folder);
    return;
  }
  {
    Served::Setup setup = with_flows();
    setup.options.certificate = cert;
    setup.options.key = key;
    setup.options.tokens = {{.name = "t", .secret = "secret-token"}};
    Served s(std::move(setup));
    const std::string url = "https://localhost:" + std::to_string(s.port());
    const std::string curl =
        "curl -s -m 30 --ipv4 --cacert " + cert + " -H 'Authorization: Bearer secret-token' ";
    CHECK(output_of(curl + url + "/health") == R"({"status":"ok"})");
    const std::string events = output_of(curl + url + "/workflows/hello/runs -d stream=true");
    CHECK(events.find("event: WorkflowCompleted") != std::string::npos);
    const std::string signed_in = output_of(curl + "-i " + url + "/signin -d token=secret-token");
    CHECK(signed_in.find("; Secure") != std::string::npos);
    // In the clear there is nothing, and the server goes on.
    CHECK(status_of(s, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n") == 0);
    CHECK(output_of(curl + url + "/health") == R"({"status":"ok"})");
  }
  // A certificate that is none is said before anything is served.
  server::Options options;
  options.certificate = key + ".none";
  options.key = key;
  options.listen = {"127.0.0.1:0"};
  server::ServerSetup setup{.options = options,
                            .paths = {folder},
                            .project_root = folder,
                            .compile = test_compiler(),
                            .say = [](const std::string&) {}};
  const auto refused = server::Server::open(store::make_memory_store(), std::move(setup));
  REQUIRE(!refused);
  CHECK(refused.error().message.find("certificate") != std::string::npos);
  std::filesystem::remove_all(folder);
}
