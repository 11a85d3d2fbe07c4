// fake-mcp MODE… [--http PORT-FILE] | --record FILE COMMAND… | --replay FILE: a stand-in for MCP
// servers, well or badly behaved, on standard input and output or on a port of 127.0.0.1. Modes are
// words; without any it is a decent server of revision 2025-11-25 with the tools echo, add, slow,
// fail, image, wrong, crash, flood, progress, sample and grow.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "compiler/cel/value_codec.hpp"
#include "tests/support/fake_mcp/recording.hpp"

using namespace kflow;
using cel::Value;

namespace {

std::set<std::string> modes;
std::mutex output;
bool is(const char* mode) { return modes.contains(mode); }

const Value* find(const Value& v, std::string_view key) {
  return v.kind() == cel::Kind::map ? v.find(key) : nullptr;
}
std::string text(const Value* v) {
  return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string()) : "";
}
Value json(const std::string& s) {
  auto v = cel::from_json(s);
  if (!v) {
    std::fprintf(stderr, "fake-mcp: %s\n", v.error().message.c_str());
    std::exit(9);
  }
  return *v;
}

/// Where the answers and notifications that belong to one request go.
using Say = std::function<void(const std::string& message)>;

std::string answer(const Value& id, const std::string& result) {
  return R"({"jsonrpc":"2.0","id":)" + cel::to_json(id) + R"(,"result":)" + result + "}";
}
std::string error(const Value& id, int code, const std::string& message,
                  const std::string& data = "") {
  return R"({"jsonrpc":"2.0","id":)" + cel::to_json(id) + R"(,"error":{"code":)" +
         std::to_string(code) + R"(,"message":)" + cel::to_json(Value::string(message)) +
         (data.empty() ? "" : ",\"data\":" + data) + "}}";
}
std::string content(const std::string& t, bool failed = false) {
  return R"({"resultType":"complete","content":[{"type":"text","text":)" +
         cel::to_json(Value::string(t)) + "}]" + (failed ? R"(,"isError":true)" : "") + "}";
}

std::map<std::string, std::string> tools() {
  const std::string none = R"({"type":"object","properties":{},"additionalProperties":false})";
  std::map<std::string, std::string> all{
      {"echo", R"({"name":"echo","description":"Says it again.","inputSchema":{"type":"object",)"
               R"("properties":{"message":{"type":"string","description":"What to say",)"
               R"("x-mcp-header":"Said"}},"required":["message"]},)"
               R"("annotations":{"readOnlyHint":true}})"},
      {"add", R"({"name":"add","description":"The sum.","inputSchema":{"type":"object",)"
              R"("properties":{"a":{"type":"number"},"b":{"type":"number"},)"
              R"("round":{"type":"boolean"}},"required":["a","b"]},"outputSchema":{)"
              R"("type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]},)"
              R"("annotations":{"idempotentHint":true}})"}};
  for (const char* name : {"slow", "fail", "image", "crash", "flood", "progress", "sample", "grow",
                           "garbage", "strange", "silent", "ask"})
    all[name] = std::string(R"({"name":")") + name + R"(","description":"It is called )" + name +
                R"(.","inputSchema":)" + none + "}";
  all["wrong"] = R"({"name":"wrong","inputSchema":)" + none +
                 R"(,"outputSchema":{"type":"object","properties":{"n":{"type":"integer"}},)"
                 R"("required":["n"]}})";
  all["get-env"] = R"({"name":"get-env","inputSchema":{"type":"object","properties":{)"
                   R"("name":{"type":"string"}},"required":["name"]}})";
  if (is("changed"))
    all["echo"] = R"({"name":"echo","inputSchema":{"type":"object","properties":{"words":)"
                  R"({"type":"string"}},"required":["words"]}})";
  return all;
}

bool grown = false;

void list(const Value& id, const Value* params, const Say& say) {
  auto all = tools();
  if (grown) all["grown"] = R"({"name":"grown","inputSchema":{"type":"object"}})";
  // Three a page.
  const std::string cursor = params == nullptr ? "" : text(find(*params, "cursor"));
  std::string page;
  std::string next;
  int n = 0;
  for (const auto& [name, tool] : all) {
    if (!cursor.empty() && name < cursor) continue;
    if (n++ == 3) {
      next = name;
      break;
    }
    page += (page.empty() ? "" : ",") + tool;
  }
  if (is("endless")) next = "aaa";
  say(answer(id, R"({"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[)" + page +
                     "]" + (next.empty() ? "" : R"(,"nextCursor":")" + next + "\"") + "}"));
}

std::map<std::string, bool> stopped;  // by id
std::mutex stopped_mutex;
bool is_stopped(const Value& id) {
  const std::lock_guard guard(stopped_mutex);
  return stopped[cel::to_json(id)];
}

void call(const Value& id, const Value& params, const Say& say) {
  const std::string name = text(find(params, "name"));
  const Value* arguments = find(params, "arguments");
  const Value* meta = find(params, "_meta");
  const auto argument = [&](const char* key) {
    return arguments == nullptr ? nullptr : find(*arguments, key);
  };
  if (name == "echo") return say(answer(id, content(text(argument("message")))));
  if (name == "get-env") {
    const char* value = std::getenv(text(argument("name")).c_str());
    return say(answer(id, content(value == nullptr ? "(not set)" : value)));
  }
  if (name == "add") {
    const auto number = [&](const char* key) {
      const Value* v = argument(key);
      return v == nullptr                      ? 0.0
             : v->kind() == cel::Kind::double_ ? v->as_double()
                                               : static_cast<double>(v->as_int());
    };
    const std::string sum = cel::to_json(Value::number(number("a") + number("b")));
    return say(answer(id, R"({"resultType":"complete","content":[{"type":"text","text":"sum"}],)"
                          R"("structuredContent":{"sum":)" +
                              sum + R"(,"extra":true}})"));
  }
  if (name == "fail") return say(answer(id, content("it did not work out", true)));
  if (name == "wrong") return say(answer(id, R"({"content":[],"structuredContent":{"n":"many"}})"));
  if (name == "image")
    return say(answer(id, R"({"content":[{"type":"text","text":"here"},{"type":"image",)"
                          R"("mimeType":"image/png","data":"iVBORw=="},{"type":"resource_link",)"
                          R"("uri":"file:///a","name":"a"}]})"));
  if (name == "crash") {
    const char* token = std::getenv("TOKEN");
    std::fprintf(stderr, "something broke%s\n", token == nullptr ? "" : token);
    ::_exit(3);
  }
  if (name == "flood") {
    std::string big(1U << 20, 'x');
    for (int i = 0; i < 40; ++i) big += std::string(1U << 20, 'x');
    return say(answer(id, content(big)));
  }
  if (name == "garbage") {
    for (int i = 0; i < 200; ++i) say("this is not a message");
    return say(answer(id, content("after the garbage")));
  }
  if (name == "strange") {
    say(answer(Value::integer(987654), "{}"));
    say(R"({"jsonrpc":"2.0","method":"notifications/unheard_of"})");
    say("");
    return say(answer(id, content("in spite of all")));
  }
  if (name == "ask")
    return say(answer(id, R"({"resultType":"input_required","inputRequests":{}})"));
  if (name == "sample") {
    say(R"({"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{}})");
    say(R"({"jsonrpc":"2.0","id":"s2","method":"ping"})");
    return say(answer(id, content("asked")));
  }
  if (name == "grow") {
    grown = true;
    say(R"({"jsonrpc":"2.0","method":"notifications/tools/list_changed"})");
    return say(answer(id, content("grown")));
  }
  if (name == "silent") return;
  if (name == "progress" || name == "slow") {
    const Value* token = meta == nullptr ? nullptr : find(*meta, "progressToken");
    if (name == "slow") std::fprintf(stderr, "slow begins\n");
    for (int i = 1; i <= (name == "slow" ? 600 : 3); ++i) {
      if (is_stopped(id)) {
        std::fprintf(stderr, "stopped\n");
        return;
      }
      if (name == "progress" && token != nullptr)
        say(R"({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":)" +
            cel::to_json(*token) + R"(,"progress":)" + std::to_string(i) +
            R"(,"total":3,"message":"at it"}})");
      ::usleep(name == "slow" ? 100'000 : 1'000);
    }
    return say(answer(id, content("done")));
  }
  say(error(id, -32602, "there is no tool " + name));
}

// One message; false: the server ends.
void handle(const std::string& line, const Say& say) {
  auto v = cel::from_json(line);
  if (!v) return say(error(Value(), -32700, "parse error"));
  const std::string method = text(find(*v, "method"));
  const Value* id = find(*v, "id");
  const Value* params = find(*v, "params");
  const Value* meta = params == nullptr ? nullptr : find(*params, "_meta");
  if (method == "notifications/cancelled" && params != nullptr) {
    const std::lock_guard guard(stopped_mutex);
    stopped[cel::to_json(*find(*params, "requestId"))] = true;
    return;
  }
  if (id == nullptr || method.empty()) return;
  if (is("mute")) return;
  if (method == "server/discover") {
    if (is("suicidal")) ::_exit(4);
    if (is("modern"))
      return say(answer(*id,
                        R"({"resultType":"complete","supportedVersions":["2026-07-28"],)"
                        R"("capabilities":{"tools":{"listChanged":true}},"_meta":{)"
                        R"("io.modelcontextprotocol/serverInfo":{"name":"fake","version":"2"}}})"));
    return say(error(*id, -32601, "method not found"));
  }
  if (is("modern") &&
      (meta == nullptr ||
       text(find(*meta, "io.modelcontextprotocol/protocolVersion")) != "2026-07-28"))
    return say(error(*id, -32022, "unsupported protocol version",
                     R"({"supported":["2026-07-28"],"requested":"?"})"));
  if (method == "initialize") {
    if (is("dies")) {
      std::fprintf(stderr, "no license\n");
      ::_exit(5);
    }
    return say(answer(*id, std::string(R"({"protocolVersion":")") +
                               (is("old")      ? "2024-11-05"
                                : is("future") ? "2099-01-01"
                                               : "2025-11-25") +
                               R"(","capabilities":{"tools":{"listChanged":true}},)"
                               R"("serverInfo":{"name":"fake","version":"1.0"}})"));
  }
  if (method == "tools/list") return list(*id, params, say);
  if (method == "subscriptions/listen") return;
  if (method == "tools/call" && params != nullptr) return call(*id, *params, say);
  say(error(*id, -32601, "method not found"));
}

int over_stdio() {
  const Say say = [](const std::string& message) {
    const std::lock_guard guard(output);
    std::cout << message << "\n" << std::flush;
  };
  if (is("banner")) say("Welcome to the fake server!");
  std::fprintf(stderr, "fake-mcp is running\n");
  std::string line;
  while (std::getline(std::cin, line)) {
    // A call may last while others come in.
    std::thread([line, say] { handle(line, say); }).detach();
    ::usleep(200);
  }
  if (is("immortal")) {
    for (;;) ::usleep(100'000);
  }
  ::_exit(0);
}

// ---- HTTP

struct Asked {
  std::string method;
  std::map<std::string, std::string> headers;
  std::string body;
};

bool read_request(int fd, Asked& out) {
  std::string data;
  char buffer[1U << 16];
  size_t end = std::string::npos;
  while ((end = data.find("\r\n\r\n")) == std::string::npos) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) return false;
    data.append(buffer, static_cast<size_t>(n));
  }
  std::istringstream head(data.substr(0, end));
  std::string line;
  std::getline(head, line);
  out.method = line.substr(0, line.find(' '));
  while (std::getline(head, line)) {
    while (!line.empty() && line.back() == '\r') line.pop_back();
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    out.headers[name] = line.substr(line.find_first_not_of(" ", colon + 1));
  }
  out.body = data.substr(end + 4);
  const size_t length =
      out.headers.contains("content-length") ? std::stoul(out.headers["content-length"]) : 0;
  while (out.body.size() < length) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) return false;
    out.body.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

void write_all(int fd, const std::string& data) {
  size_t at = 0;
  while (at < data.size()) {
    const ssize_t n = ::send(fd, data.data() + at, data.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

void whole(int fd, const std::string& status, const std::string& body,
           const std::string& extra = "") {
  write_all(fd, "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\nConnection: close\r\n" + extra + "\r\n" +
                    body);
}

std::mutex session_mutex;
std::string session = "session-1";
int sessions = 1;
std::map<std::string, std::vector<std::string>> kept;  // events of streams that broke off
std::ofstream journal;

void note(const std::string& line) {
  const std::lock_guard guard(output);
  if (journal) journal << line << std::endl;
}

void serve(int fd) {
  Asked asked;
  if (!read_request(fd, asked)) return;
  const std::string given =
      asked.headers.contains("mcp-session-id") ? asked.headers["mcp-session-id"] : "";
  std::string head;
  for (const char* h : {"mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name",
                        "mcp-param-said", "authorization", "last-event-id"}) {
    if (asked.headers.contains(h)) head += std::string(" ") + h + "=" + asked.headers[h];
  }
  const auto message = cel::from_json(asked.body);
  const std::string method = message ? text(find(*message, "method")) : "";
  note(asked.method + " " + method + head);
  if (is("secret") && asked.headers["authorization"] != "Bearer sesame")
    return whole(fd, "401 Unauthorized", "");
  if (asked.method == "DELETE") return whole(fd, "200 OK", "");
  const bool stateful = !is("modern") && !is("stateless");
  std::string current;
  {
    const std::lock_guard guard(session_mutex);
    current = session;
  }
  if (stateful && method == "server/discover" && given.empty())
    return whole(fd, "400 Bad Request", error(Value(), -32000, "Bad Request: no session"));
  if (stateful && method != "initialize" && given != current)
    return whole(fd, given.empty() ? "400 Bad Request" : "404 Not Found", "");
  const std::string events =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
      "Connection: close\r\n\r\n";
  if (asked.method == "GET") {
    const std::string last = asked.headers["last-event-id"];
    if (!last.empty()) {  // what is left of a stream
      std::vector<std::string> rest;
      {
        const std::lock_guard guard(session_mutex);
        rest = kept[last];
      }
      std::string body;
      for (const std::string& m : rest) body += "id: " + last + "x\ndata: " + m + "\n\n";
      return write_all(fd, events + body);
    }
    if (!is("stream")) return whole(fd, "405 Method Not Allowed", "");
    write_all(fd, events + ": welcome\n\n");
    while (!grown) ::usleep(10'000);
    return write_all(fd,
                     "id: g1\ndata: {\"jsonrpc\":\"2.0\",\"method\":"
                     "\"notifications/tools/list_changed\"}\n\n");
  }
  if (!message || find(*message, "id") == nullptr || method.empty()) {
    handle(asked.body, [](const std::string&) {});
    return whole(fd, "202 Accepted", "");
  }
  const Value* params = find(*message, "params");
  const std::string tool = params == nullptr ? "" : text(find(*params, "name"));
  if (is("forgetful") && tool == "echo") {  // once
    modes.erase("forgetful");
    const std::lock_guard guard(session_mutex);
    session = "session-" + std::to_string(++sessions);
    return whole(fd, "404 Not Found", "");
  }
  std::string extra;
  if (method == "initialize" && stateful) extra = "Mcp-Session-Id: " + current + "\r\n";
  if (tool == "slow" || tool == "progress" || tool == "sample" || is("sse")) {
    write_all(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n" +
                      extra + "\r\n");
    std::vector<std::string> all;
    int n = 0;
    // A stream that breaks off after its first event, and goes on elsewhere.
    const bool breaks = is("breaks") && !tool.empty();
    if (breaks) write_all(fd, "id: e1\nretry: 10\ndata:\n\n");
    handle(asked.body, [&](const std::string& m) {
      if (breaks) return void(all.push_back(m));
      write_all(fd, "id: e" + std::to_string(++n) + "\ndata: " + m + "\n\n");
    });
    if (breaks) {
      const std::lock_guard guard(session_mutex);
      kept["e1"] = all;
    }
    return;
  }
  std::string body;
  handle(asked.body, [&](const std::string& m) { body = m; });
  const bool refused = body.find("\"code\":-32022") != std::string::npos;
  whole(fd, refused ? "400 Bad Request" : "200 OK", body, extra);
}

int over_http(const std::string& port_file) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener, 64) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return 1;
  journal.open(port_file + ".journal");
  std::ofstream(port_file + ".new") << ntohs(address.sin_port) << "\n";
  std::rename((port_file + ".new").c_str(), port_file.c_str());
  std::thread([] {  // it ends with whoever holds its input
    char c = 0;
    while (::read(0, &c, 1) > 0) {
    }
    ::_exit(0);
  })
      .detach();
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    std::thread([fd] {
      serve(fd);
      ::shutdown(fd, SHUT_WR);
      ::close(fd);
    }).detach();
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string port_file;
  if (argc > 3 && std::string(argv[1]) == "--record")
    return record(argv[2], std::vector<std::string>(argv + 3, argv + argc));
  if (argc == 3 && std::string(argv[1]) == "--replay") return replay(argv[2]);
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--http" && i + 1 < argc) {
      port_file = argv[++i];
    } else {
      modes.insert(argv[i]);
    }
  }
  return port_file.empty() ? over_stdio() : over_http(port_file);
}
