// The language server as an editor talks to it: the real program, over its standard input and
// output.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "tests/support/catch.hpp"

namespace fs = std::filesystem;
using namespace kflow;
using cel::Value;

namespace {

constexpr int patience_ms = 60'000;

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

/// A value by a path of fields and indexes: `"result.0.uri"`. Null if it is not there.
Value get(const Value& v, std::string_view path) {
  Value at = v;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    if (at.kind() == cel::Kind::list) {
      const size_t i = std::stoul(std::string(name));
      if (i >= at.as_list().size()) return {};
      at = Value(at.as_list()[i]);
    } else if (at.kind() == cel::Kind::map && at.find(name) != nullptr) {
      at = Value(*at.find(name));
    } else {
      return {};
    }
  }
  return at;
}
std::string text(const Value& v) {
  return v.kind() == cel::Kind::string ? std::string(v.as_string()) : cel::to_json(v);
}

/// An editor with one server.
class Editor {
 public:
  Editor() {
    int in[2];
    int out[2];
    REQUIRE(::pipe(in) == 0);
    REQUIRE(::pipe(out) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      for (const int fd : {in[0], in[1], out[0], out[1]}) ::close(fd);
      ::execl(KFLOWC, "kflowc", "lsp", nullptr);
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    to_ = in[1];
    from_ = out[0];
  }
  ~Editor() {
    ::close(to_);
    ::close(from_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  void raw(std::string_view bytes) const {
    REQUIRE(::write(to_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  void send(const std::string& content) const {
    raw("Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content);
  }
  void notify(const std::string& method, const std::string& params) const {
    send(R"({"jsonrpc":"2.0","method":")" + method + R"(","params":)" + params + "}");
  }
  /// The answer; notifications on the way are kept.
  Value request(const std::string& method, const std::string& params) {
    const int id = ++last_id_;
    send(R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"method":")" + method +
         R"(","params":)" + params + "}");
    return answer(id);
  }
  Value answer(int id) {
    for (;;) {
      const Value m = receive();
      if (get(m, "id") == Value::integer(id)) return m;
      take(m);
    }
  }
  Value receive() {
    for (;;) {
      const size_t end = buffer_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const size_t length = std::stoul(buffer_.substr(buffer_.find(": ") + 2));
        if (buffer_.size() >= end + 4 + length) {
          const auto v = cel::from_json(std::string_view(buffer_).substr(end + 4, length));
          REQUIRE(v);
          buffer_.erase(0, end + 4 + length);
          return *v;
        }
      }
      pollfd waiting{from_, POLLIN, 0};
      REQUIRE(::poll(&waiting, 1, patience_ms) == 1);
      char bytes[1U << 16];
      const ssize_t n = ::read(from_, bytes, sizeof bytes);
      REQUIRE(n > 0);
      buffer_.append(bytes, static_cast<size_t>(n));
    }
  }
  /// The diagnostics of a document's version, once they come.
  Value diagnostics(const std::string& uri, int64_t version) {
    for (;;) {
      const auto known = published_.find(uri);
      if (known != published_.end() && get(known->second, "version") == Value::integer(version))
        return get(known->second, "diagnostics");
      take(receive());
    }
  }
  /// How often diagnostics have come.
  int published() const { return times_published_; }
  int finish() {
    request("shutdown", "null");
    notify("exit", "null");
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WEXITSTATUS(status);
  }
  int wait_end() {
    ::close(to_);
    to_ = -1;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  void take(const Value& m) {
    if (text(get(m, "method")) != "textDocument/publishDiagnostics") return;
    published_[text(get(m, "params.uri"))] = get(m, "params");
    ++times_published_;
  }
  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  int last_id_ = 0;
  std::string buffer_;
  std::map<std::string, Value> published_;
  int times_published_ = 0;
};

/// A document in an editor, with places in it by what stands there.
struct Text {
  std::string uri;
  std::string content;
  int version = 1;

  std::string position(std::string_view at, size_t add = 0) const {
    const size_t i = content.find(at);
    REQUIRE(i != std::string::npos);
    return position(i + add);
  }
  std::string position(size_t offset) const {
    const size_t line = static_cast<size_t>(
        std::count(content.begin(), content.begin() + static_cast<long>(offset), '\n'));
    const size_t begin = offset == 0 ? std::string::npos : content.rfind('\n', offset - 1);
    size_t units = 0;
    for (size_t i = begin == std::string::npos ? 0 : begin + 1; i < offset; ++i) {
      const auto c = static_cast<unsigned char>(content[i]);
      units += (c & 0xc0) == 0x80 ? 0 : c >= 0xf0 ? 2 : 1;
    }
    return R"({"line":)" + std::to_string(line) + R"(,"character":)" + std::to_string(units) + "}";
  }
  std::string document() const { return R"("textDocument":{"uri":)" + json_text(uri) + "}"; }
  std::string at(std::string_view what, size_t add = 0) const {
    return "{" + document() + R"(,"position":)" + position(what, add) + "}";
  }
  void open(Editor& e) const {
    e.notify("textDocument/didOpen",
             R"({"textDocument":{"uri":)" + json_text(uri) + R"(,"languageId":"kflow","version":)" +
                 std::to_string(version) + R"(,"text":)" + json_text(content) + "}}");
  }
  void set(Editor& e, std::string now) {
    content = std::move(now);
    e.notify("textDocument/didChange", R"({"textDocument":{"uri":)" + json_text(uri) +
                                           R"(,"version":)" + std::to_string(++version) +
                                           R"(},"contentChanges":[{"text":)" + json_text(content) +
                                           "}]}");
  }
  /// Puts in a piece, as typing does.
  void insert(Editor& e, size_t offset, const std::string& piece) {
    const std::string p = position(offset);
    content.insert(offset, piece);
    e.notify("textDocument/didChange",
             R"({"textDocument":{"uri":)" + json_text(uri) + R"(,"version":)" +
                 std::to_string(++version) + R"(},"contentChanges":[{"range":{"start":)" + p +
                 R"(,"end":)" + p + R"(},"text":)" + json_text(piece) + "}]}");
  }
};

constexpr const char* sample = R"(kflow 1

import "std/hackernews"

// 🦊 and é stand before what follows.
const most = 12

/// One post.
type Post {
  /// What it is about.
  title: string
  day: int
}

retry patient { max: 3 }

fn twice(title: string) -> string = title + " " + title

/// Writes posts.
agent writer(topic: string) -> Post {
  model: "openai/gpt-5.2"
  history: 3
}

/// Plans.
workflow plan(topic: string) -> string {
  step post = writer(topic) { retry: patient }
  let line = "🦊 ${post.title} ${most}"
  for i in [1, 2] {
    step found = hackernews.search(topic, count: i)
  }
  return twice(line)
}
)";

void initialize(Editor& e, const std::string& root = "") {
  const Value r = e.request("initialize", R"({"capabilities":{},"rootUri":)" +
                                              (root.empty() ? "null" : json_text(root)) + "}");
  CHECK(get(r, "result.capabilities.hoverProvider") == Value::boolean(true));
  e.notify("initialized", "{}");
}

std::set<std::string> labels(const Value& answer) {
  std::set<std::string> out;
  const Value items = get(answer, "result.items");
  REQUIRE(items.kind() == cel::Kind::list);
  for (const Value& item : items.as_list()) out.insert(text(get(item, "label")));
  return out;
}

std::string hover(Editor& e, const Text& t, std::string_view what, size_t add = 0) {
  return text(get(e.request("textDocument/hover", t.at(what, add)), "result.contents.value"));
}

bool has(const std::string& whole, std::string_view part) {
  return whole.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("requests are cancelled while they wait") {
  Editor e;
  initialize(e);
  Text t{"file:///nowhere/a.kflow", sample};
  t.open(e);
  const auto frame = [](const std::string& content) {
    return "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
  };
  const auto request = [&](int id, const std::string& method, const std::string& params) {
    return frame(R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"method":"textDocument/)" +
                 method + R"(","params":)" + params + "}");
  };
  const auto cancel = [&](int id) {
    return frame(R"({"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":)" +
                 std::to_string(id) + "}}");
  };
  const auto change = [&](int version) {
    return frame(R"({"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":)"
                 R"({"uri":)" +
                 json_text(t.uri) + R"(,"version":)" + std::to_string(version) +
                 R"(},"contentChanges":[{"text":)" + json_text(t.content) + "}]}}");
  };
  const std::string here = t.at("writer(topic) {");
  const std::string references = "{" + t.document() + R"(,"position":)" +
                                 t.position("writer(topic) {") +
                                 R"(,"context":{"includeDeclaration":true}})";
  // All of it is there before the first is answered.
  e.raw(change(2) + request(900, "hover", here) + request(901, "references", references) +
        request(902, "hover", here) + request(903, "references", references) + cancel(900) +
        cancel(901) + cancel(12345) + cancel(903));
  CHECK(get(e.answer(900), "error.code") == Value::integer(-32800));
  CHECK(get(e.answer(901), "error.code") == Value::integer(-32800));
  CHECK(has(text(get(e.answer(902), "result.contents.value")), "Writes posts."));
  CHECK(get(e.answer(903), "error.code") == Value::integer(-32800));
  // An answer about a text that is gone is none.
  e.raw(change(3) + request(910, "references", references) + change(4) +
        request(911, "references", references));
  CHECK(get(e.answer(910), "error.code") == Value::integer(-32801));
  CHECK(get(e.answer(911), "result").size() == 2);
  CHECK(e.diagnostics(t.uri, 4).size() == 0);
  CHECK(e.finish() == 0);
}

TEST_CASE("edits that follow each other are analysed once; diagnostics come when they pause") {
  Editor e;
  initialize(e);
  Text t{"file:///nowhere/a.kflow", sample};
  t.open(e);
  for (int i = 0; i < 50; ++i) t.insert(e, t.content.size(), "// " + std::to_string(i) + "\n");
  CHECK(e.diagnostics(t.uri, 51).size() == 0);
  CHECK(e.published() <= 3);
  // What is asked meanwhile is about the text of that moment.
  t.insert(e, t.content.find("const most"), "const least = 1\n");
  CHECK(has(hover(e, t, "const least", 7), "const least = 1"));
  CHECK(e.finish() == 0);
}

TEST_CASE("warnings are shown in editors, and suppressed as by kflowc check") {
  Editor e;
  initialize(e);
  Text t{"file:///nowhere/a.kflow",
         "workflow w() {\n  step http.get(\"http://example.com/\")\n}\n"};
  t.open(e);
  const Value found = e.diagnostics(t.uri, 1);
  REQUIRE(found.size() == 1);
  CHECK(text(get(found, "0.code")) == "KF7003");
  CHECK(get(found, "0.severity") == Value::integer(2));
  t.insert(e, t.content.find("  step"), "  // kflow: allow(KF7003) it is a test\n");
  CHECK(e.diagnostics(t.uri, 2).size() == 0);
  CHECK(e.finish() == 0);
}

TEST_CASE("hover, definition, references, rename") {
  Editor e;
  initialize(e);
  Text t{"file:///nowhere/a.kflow", sample};
  t.open(e);
  CHECK(e.diagnostics(t.uri, 1).size() == 0);
  CHECK(has(hover(e, t, "writer(topic) {"), "agent writer(topic: string) -> Post"));
  CHECK(has(hover(e, t, "writer(topic) {"), "Writes posts."));
  CHECK(has(hover(e, t, "post.title", 1), "post: Post"));
  CHECK(has(hover(e, t, "post.title", 6), "title: string"));
  CHECK(has(hover(e, t, "${most}", 3), "const most = 12"));
  CHECK(has(hover(e, t, "history: 3", 2), "option of `agent`"));
  CHECK(has(hover(e, t, "-> Post", 4), "One post."));
  CHECK(has(hover(e, t, "hackernews.search", 12), "Searches the stories"));
  CHECK(hover(e, t, "// 🦊", 1) == "null");

  const auto line = [](const Value& v, const std::string& path) {
    return text(get(v, path + ".range.start.line"));
  };
  CHECK(line(e.request("textDocument/definition", t.at("writer(topic) {")), "result.0") == "19");
  CHECK(line(e.request("textDocument/definition", t.at("post.title", 1)), "result.0") == "26");
  CHECK(line(e.request("textDocument/definition", t.at("${most}", 3)), "result.0") == "5");
  // The standard library has no file to go to.
  CHECK(
      get(e.request("textDocument/definition", t.at("hackernews.search", 12)), "result").is_null());

  const Value all =
      e.request("textDocument/references", "{" + t.document() + R"(,"position":)" +
                                               t.position("topic: string) -> string") +
                                               R"(,"context":{"includeDeclaration":true}})");
  CHECK(get(all, "result").size() == 3);
  const Value parameter =
      e.request("textDocument/rename", "{" + t.document() + R"(,"position":)" +
                                           t.position("title + ") + R"(,"newName":"text"})");
  CHECK(get(parameter, "result.changes").find(t.uri)->size() == 3);
  CHECK(has(hover(e, t, "title + ", 1), "title: string"));

  Value renamed =
      e.request("textDocument/rename", "{" + t.document() + R"(,"position":)" +
                                           t.position("step post", 6) + R"(,"newName":"draft"})");
  const Value edits = get(renamed, "result.changes");
  REQUIRE(edits.kind() == cel::Kind::map);
  const Value list = *edits.find(t.uri);
  REQUIRE(list.size() == 2);
  // The fox is two UTF-16 units wide.
  CHECK(cel::to_json(get(list, "1.range")) ==
        R"({"start":{"line":27,"character":19},"end":{"line":27,"character":23}})");
  CHECK(has(text(get(e.request("textDocument/rename", "{" + t.document() + R"(,"position":)" +
                                                          t.position("step post", 6) +
                                                          R"(,"newName":"loop"})"),
                     "error.message")),
            "is no name"));
  CHECK(has(text(get(e.request("textDocument/rename", "{" + t.document() + R"(,"position":)" +
                                                          t.position("hackernews.search", 12) +
                                                          R"(,"newName":"x"})"),
                     "error.message")),
            "cannot be renamed"));
  CHECK(e.finish() == 0);
}

TEST_CASE("a file of the folder that imports another is found and renamed with it") {
  char name[] = "/tmp/kflow_lsp_XXXXXX";
  const fs::path folder = ::mkdtemp(name);
  const std::string lib = "/// Says it.\ntool say(what: string) -> string { return what }\n";
  const std::string user =
      "import \"./lib.kflow\"\nworkflow w() -> string { step x = lib.say(\"a\")  return x }\n";
  std::ofstream(folder / "lib.kflow") << lib;
  std::ofstream(folder / "user.kflow") << user;
  {
    Editor e;
    initialize(e, "file://" + folder.string());
    Text t{"file://" + (folder / "lib.kflow").string(), lib};
    t.open(e);
    const Value renamed =
        e.request("textDocument/rename", "{" + t.document() + R"(,"position":)" +
                                             t.position("say(") + R"(,"newName":"tell"})");
    const Value changes = get(renamed, "result.changes");
    REQUIRE(changes.size() == 2);
    const Value other = *changes.find("file://" + (folder / "user.kflow").string());
    CHECK(cel::to_json(get(other, "0.range.start")) == R"({"line":1,"character":38})");
    // From the user's side the definition is in the other file.
    Text u{"file://" + (folder / "user.kflow").string(), user};
    u.open(e);
    const Value to = e.request("textDocument/definition", u.at("lib.say", 5));
    CHECK(text(get(to, "result.0.uri")) == t.uri);
    // What is typed in one is seen by the other before it is saved.
    t.set(e, "/// Says it.\ntool tell(what: string) -> string { return what }\n");
    CHECK(get(e.request("textDocument/definition", u.at("lib.say", 5)), "result").is_null());
    CHECK(e.finish() == 0);
  }
  fs::remove_all(folder);
}

TEST_CASE("completion: fields, names, options with their words, callables, types, parameters") {
  Editor e;
  initialize(e);
  const auto complete = [&](const std::string& before, const std::string& typed) {
    Text t{"file:///nowhere/a.kflow", sample};
    t.open(e);
    const size_t place = t.content.find(before) + before.size();
    t.insert(e, place, typed);
    return labels(e.request("textDocument/completion", "{" + t.document() + R"(,"position":)" +
                                                           t.position(place + typed.size()) + "}"));
  };
  const std::string body = "retry: patient }\n";
  const auto fields = complete(body, "  let x = post.");
  CHECK(fields == std::set<std::string>{"title", "day"});
  CHECK(complete(body, "  let x = post.ti").contains("title"));
  CHECK(complete(body, "  let x = post.title.").contains("upperAscii"));
  CHECK(complete(body, "  let x = ").contains("post"));
  CHECK(complete(body, "  let x = ").contains("most"));
  CHECK(complete(body, "  if ").contains("post"));
  const auto steps = complete(body, "  step x = ");
  CHECK(steps.contains("writer"));
  CHECK(steps.contains("http.get"));
  CHECK(steps.contains("hackernews.top_stories"));
  CHECK(complete(body, "  step x = http.").contains("post"));
  CHECK(complete(body, "  step x = hackernews.").contains("top_stories"));
  CHECK(complete(body, "  step x = writer(").contains("topic:"));
  const auto options = complete(body, "  step x = writer(topic) { timeout: 1s, ");
  CHECK(options.contains("on_error"));
  CHECK_FALSE(options.contains("timeout"));
  CHECK(complete(body, "  step x = writer(topic) { on_error: ") ==
        std::set<std::string>{"fail", "continue"});
  CHECK(complete(body, "  step x = writer(topic) { retry: ") == std::set<std::string>{"patient"});
  CHECK(complete(body, "  ").contains("parallel"));
  CHECK(complete("  history: 3\n", "  ").contains("instructions"));
  CHECK(complete("  history: 3\n", "  tools: [").contains("hackernews"));
  CHECK(complete("type Post {\n", "  x: ").contains("Post"));
  CHECK(complete(body, "  let x: ").contains("string"));
  CHECK(complete("kflow 1\n", "w").contains("workflow"));
  CHECK(complete("day: int", " @").contains("range"));
  CHECK(complete("// 🦊 ", "a").empty());
  CHECK(complete(body, "  let x = \"te").empty());
  CHECK(complete(body, "  let x = \"${").contains("post"));
  CHECK(e.finish() == 0);
}

TEST_CASE("formatting, fixes, symbols, tokens, folds, hints") {
  Editor e;
  initialize(e);
  Text t{"file:///nowhere/a.kflow", sample};
  t.open(e);
  CHECK(
      get(e.request("textDocument/formatting", "{" + t.document() + R"(,"options":{}})"), "result")
          .size() == 0);
  t.set(e, "workflow w()->int{return 1}");
  const Value formatted =
      e.request("textDocument/formatting", "{" + t.document() + R"(,"options":{}})");
  CHECK(text(get(formatted, "result.0.newText")) == "workflow w() -> int { return 1 }\n");
  t.set(e, "workflow w( {");
  CHECK(
      get(e.request("textDocument/formatting", "{" + t.document() + R"(,"options":{}})"), "result")
          .size() == 0);
  CHECK(text(get(e.diagnostics(t.uri, 3), "0.code")) == "KF1001");

  std::string wrong = sample;
  wrong.replace(wrong.find("history: 3"), 7, "histroy");
  t.set(e, wrong);
  const Value d = e.diagnostics(t.uri, 4);
  REQUIRE(d.size() == 1);
  CHECK(text(get(d, "0.code")) == "KF2004");
  CHECK(text(get(d, "0.severity")) == "1");
  CHECK(has(text(get(d, "0.message")), "did you mean `history`?"));
  const Value actions = e.request("textDocument/codeAction",
                                  "{" + t.document() + R"(,"context":{"diagnostics":[]},"range":)" +
                                      cel::to_json(get(d, "0.range")) + "}");
  REQUIRE(get(actions, "result").size() == 1);
  CHECK(text(get(actions, "result.0.kind")) == "quickfix");
  CHECK(text(get(*get(actions, "result.0.edit.changes").find(t.uri), "0.newText")) == "history");

  t.set(e, sample);
  const Value symbols = e.request("textDocument/documentSymbol", "{" + t.document() + "}");
  std::vector<std::string> names;
  for (const Value& s : get(symbols, "result").as_list()) names.push_back(text(get(s, "name")));
  CHECK(names == std::vector<std::string>{"\"std/hackernews\"", "most", "Post", "patient", "twice",
                                          "writer", "plan"});
  CHECK(text(get(symbols, "result.6.children.0.name")) == "post");

  const Value tokens =
      get(e.request("textDocument/semanticTokens/full", "{" + t.document() + "}"), "result.data");
  REQUIRE(tokens.size() % 5 == 0);
  CHECK(tokens.size() > 200);
  CHECK(cel::to_json(Value::list({tokens.as_list().begin(), tokens.as_list().begin() + 5})) ==
        "[0,0,5,0,0]");

  const Value folds =
      get(e.request("textDocument/foldingRange", "{" + t.document() + "}"), "result");
  CHECK(folds.size() >= 4);
  const Value hints = get(
      e.request(
          "textDocument/inlayHint",
          "{" + t.document() +
              R"(,"range":{"start":{"line":0,"character":0},"end":{"line":99,"character":0}}})"),
      "result");
  std::vector<std::string> shown;
  for (const Value& h : hints.as_list()) shown.push_back(text(get(h, "label")));
  CHECK(shown == std::vector<std::string>{": Post", ": string", ": 1 | 2", ": Story[]"});
  CHECK(e.finish() == 0);
}

TEST_CASE("any order, broken messages, unknown methods") {
  Editor e;
  CHECK(text(get(e.request("textDocument/hover", "{}"), "error.code")) == "-32002");
  e.notify("textDocument/didOpen", "{}");
  e.send("{broken");
  CHECK(text(get(e.receive(), "error.code")) == "-32700");
  e.send("[1, 2]");
  CHECK(text(get(e.receive(), "error.code")) == "-32600");
  e.send(R"({"jsonrpc":"2.0","id":77})");
  CHECK(text(get(e.receive(), "error.code")) == "-32600");
  e.raw("Garbage: 1\r\n\r\n");
  e.raw("Content-Length: much\r\n\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\n{}");
  initialize(e);
  CHECK(text(get(e.request("textDocument/nothing", "{}"), "error.code")) == "-32601");
  CHECK(text(get(e.request("textDocument/hover", R"({"textDocument":{"uri":"file:///x"}})"),
                 "error.code")) == "-32602");
  e.notify("textDocument/didChange", R"({"textDocument":{"uri":"file:///x"},"contentChanges":7})");
  e.notify("textDocument/didClose", R"({"textDocument":5})");
  e.notify("$/cancelRequest", R"({"id":1})");
  Text t{"file:///nowhere/a.kflow", "workflow w() -> int { return 1 }\n"};
  t.open(e);
  for (const char* place : {R"({"line":99999,"character":99999})", R"({"line":-5,"character":-5})",
                            R"({"line":"x"})", "null", R"({"line":0,"character":1e300})"}) {
    for (const char* method :
         {"hover", "definition", "completion", "references", "rename", "prepareRename"}) {
      const Value r = e.request(std::string("textDocument/") + method,
                                "{" + t.document() + R"(,"newName":"x","position":)" + place + "}");
      CHECK((r.find("result") != nullptr || r.find("error") != nullptr));
    }
  }
  CHECK(has(hover(e, t, "w()"), "workflow w"));
  e.request("shutdown", "null");
  CHECK(text(get(e.request("textDocument/hover", t.at("w()")), "error.code")) == "-32600");
  e.notify("exit", "null");
  CHECK(WEXITSTATUS(e.wait_end()) == 0);
  // The end of the input without a word is the end, too.
  Editor silent;
  CHECK(WEXITSTATUS(silent.wait_end()) == 1);
}

TEST_CASE(
    "edits at any place, in the middle of characters too, leave the server with the same text") {
  Editor e;
  initialize(e);
  std::mt19937 random(7);
  const auto pick = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  Text t{"file:///nowhere/a.kflow", sample};
  t.open(e);
  for (int i = 0; i < 300; ++i) {
    static const char* pieces[] = {"🦊",        "é",  "\n", "}",  "{",   "\"",
                                   "step x = ", "${", ".",  "  ", "// ", "\"\"\""};
    size_t at = pick(t.content.size() + 1);
    while (at < t.content.size() && (static_cast<unsigned char>(t.content[at]) & 0xc0) == 0x80)
      ++at;
    t.insert(e, at, pieces[pick(std::size(pieces))]);
    if (i % 20 == 0) {
      const std::string at_random = "{" + t.document() + R"(,"position":)" + t.position(at) + "}";
      for (const char* method : {"hover", "completion", "definition"})
        CHECK(get(e.request(std::string("textDocument/") + method, at_random), "error").is_null());
      for (const char* method : {"semanticTokens/full", "foldingRange", "documentSymbol"})
        CHECK(
            get(e.request(std::string("textDocument/") + method, "{" + t.document() + "}"), "error")
                .is_null());
    }
  }
  // A place between the two halves of a fox counts as before it.
  t.set(e, "// 🦊\n");
  e.notify(
      "textDocument/didChange",
      R"({"textDocument":{"uri":)" + json_text(t.uri) +
          R"(,"version":999},"contentChanges":[{"range":{"start":{"line":0,"character":4},"end":{"line":0,"character":4}},"text":"x"}]})");
  t.content = "// x🦊\n";
  // What the server holds comes back from the formatter.
  e.notify(
      "textDocument/didChange",
      R"({"textDocument":{"uri":)" + json_text(t.uri) +
          R"(,"version":1000},"contentChanges":[{"range":{"start":{"line":1,"character":0},"end":{"line":1,"character":0}},"text":"const  a=1"}]})");
  CHECK(text(get(e.request("textDocument/formatting", "{" + t.document() + R"(,"options":{}})"),
                 "result.0.newText")) == "// x🦊\nconst a = 1\n");
  CHECK(e.finish() == 0);
}

TEST_CASE("a file of 2 000 lines, and a huge one") {
  Editor e;
  initialize(e);
  std::string big = "workflow w(a: int) -> int {\n";
  for (int i = 0; i < 1000; ++i) {
    const std::string n = std::to_string(i);
    big += "  step s" + n + " = uuid()\n  let v" + n + " = s" + n + ".size() + a\n";
  }
  Text t{"file:///nowhere/big.kflow", big + "  return v1\n}\n"};
  t.open(e);
  CHECK(e.diagnostics(t.uri, 1).size() == 200);  // as many as are kept, of 999 that are unused
  std::vector<double> times;
  for (int i = 0; i < 9; ++i) {
    t.insert(e, t.content.find("let v500"), " ");
    const auto begin = std::chrono::steady_clock::now();
    CHECK(has(hover(e, t, "v700 ="), "v700: int"));
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  std::sort(times.begin(), times.end());
  std::printf("hover after an edit of 2 000 lines: %.1f ms (median), %.1f ms (least)\n", times[4],
              times[0]);
  CHECK(times[0] < 500);  // far above what it takes, for busy machines

  std::string huge(3'000'000, '(');
  Text h{"file:///nowhere/huge.kflow", huge};
  h.open(e);
  CHECK(e.diagnostics(h.uri, 1).size() >= 1);
  CHECK(e.finish() == 0);
}
