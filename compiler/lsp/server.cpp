// Messages of the Language Server Protocol 3.17, in whatever order they come.
#include "compiler/lsp/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "compiler/base/json.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/format/format.hpp"
#include "compiler/lsp/features.hpp"
#include "compiler/lsp/transport.hpp"
#include "compiler/lsp/worker.hpp"
#include "compiler/syntax/parse.hpp"

namespace kflow::lsp {
namespace {

namespace fs = std::filesystem;
using cel::Value;

// Codes of JSON-RPC and of the protocol.
constexpr int parse_error = -32700;
constexpr int invalid_request = -32600;
constexpr int method_not_found = -32601;
constexpr int invalid_params = -32602;
constexpr int not_initialized = -32002;
constexpr int request_failed = -32803;
constexpr int request_cancelled = -32800;
constexpr int content_modified = -32801;

/// After an edit diagnostics wait so long for another one.
constexpr auto quiet = std::chrono::milliseconds(40);
/// Messages that are read ahead, to find those that cancel others.
constexpr size_t most_ahead = 10'000;

/// Files of the folder that are looked through for references.
constexpr size_t max_files = 500;

/// What a request is refused with.
struct Refusal {
  int code = invalid_params;
  std::string message;
};
using Reply = std::variant<std::string, Refusal>;

// ---- reading messages: a missing or odd part is null, "" or 0

const Value& at(const Value& v, std::string_view key) {
  static const Value null;
  const Value* found = v.kind() == cel::Kind::map ? v.find(key) : nullptr;
  return found == nullptr ? null : *found;
}
std::string text_at(const Value& v, std::string_view key) {
  const Value& s = at(v, key);
  return s.kind() == cel::Kind::string ? std::string(s.as_string()) : "";
}
uint32_t number_at(const Value& v, std::string_view key) {
  const Value& n = at(v, key);
  if (n.kind() != cel::Kind::int_) return 0;
  return static_cast<uint32_t>(std::clamp<int64_t>(n.as_int(), 0, UINT32_MAX));
}
Place place_at(const Value& v, std::string_view key) {
  const Value& p = at(v, key);
  return {number_at(p, "line"), number_at(p, "character")};
}
Range range_at(const Value& v, std::string_view key) {
  const Value& r = at(v, key);
  return {place_at(r, "start"), place_at(r, "end")};
}

bool is_identifier(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

struct Open {
  Document document{""};
  int64_t version = 0;
  uint64_t generation = 0;          // grows when this text or one that it may import changes
  std::unique_ptr<Analysis> quick;  // both of the present generation
  std::unique_ptr<Analysis> whole;
  bool asked = false;  // the worker has been given this generation
};

/// A message that was read and is not handled yet.
struct Message {
  Value content;  // null: it is no JSON
  std::string error;
  bool cancelled = false;
};

class Server {
 public:
  Server(int in, int out) : transport_(in, out) {
    add("textDocument/hover", &Server::hover_, at_once);
    add("textDocument/completion", &Server::complete, at_once);
    add("textDocument/definition", &Server::define, at_once);
    add("textDocument/formatting", &Server::format_, at_once);
    add("textDocument/documentSymbol", &Server::symbols, at_once);
    add("textDocument/semanticTokens/full", &Server::tokens, at_once);
    add("textDocument/foldingRange", &Server::folds, at_once);
    add("textDocument/references", &Server::refer, when_whole);
    add("textDocument/prepareRename", &Server::prepare_rename, at_once);
    add("textDocument/rename", &Server::rename, when_whole);
    add("textDocument/codeAction", &Server::actions, when_whole);
    add("textDocument/inlayHint", &Server::hints, when_whole);
  }

  int run() {
    while (!exit_) {
      take_analyses();
      while (!over_ && queue_.size() < most_ahead && transport_.has_more()) read_one();
      if (!queue_.empty()) {
        Message next = std::move(queue_.front());
        queue_.pop_front();
        message(next);
        continue;
      }
      if (over_ && deferred_.empty()) break;
      const int wait = ask_worker();
      transport_.wait(worker_.ready(), worker_.ready() < 0 ? 20 : wait);
    }
    return shut_down_ ? 0 : 1;
  }

 private:
  using Handler = Reply (Server::*)(Open& open, const std::string& uri, const Value& params);
  /// Some answers need no more than the text around a place; others wait for the whole analysis,
  /// and what comes after them does not wait for them.
  enum When : uint8_t { at_once, when_whole };
  struct Method {
    Handler handler = nullptr;
    When when = at_once;
  };
  struct Deferred {
    Value id;
    Handler handler = nullptr;
    std::string uri;
    Value params;
    uint64_t generation = 0;
  };
  void add(const char* method, Handler handler, When when) { handlers_[method] = {handler, when}; }

  void read_one() {
    const auto content = transport_.read();
    if (!content) {
      over_ = true;
      return;
    }
    auto parsed = cel::from_json(*content);
    if (!parsed) return (void)queue_.push_back({Value(), parsed.error().message});
    if (text_at(*parsed, "method") == "$/cancelRequest" && parsed->find("id") == nullptr)
      return cancel(at(at(*parsed, "params"), "id"));
    queue_.push_back({std::move(*parsed), ""});
  }

  // A request that has been answered cannot be cancelled any more; one that was never made neither.
  void cancel(const Value& id) {
    for (Message& m : queue_) {
      const Value* other = m.content.kind() == cel::Kind::map ? m.content.find("id") : nullptr;
      if (other != nullptr && Value::identical(*other, id)) m.cancelled = true;
    }
    std::erase_if(deferred_, [&](const Deferred& d) {
      if (!Value::identical(d.id, id)) return false;
      respond(d.id, Refusal{request_cancelled, "cancelled"});
      return true;
    });
  }

  void message(const Message& m) {
    if (!m.error.empty()) return respond(Value(), Refusal{parse_error, m.error});
    const Value& content = m.content;
    if (content.kind() != cel::Kind::map)
      return respond(Value(), Refusal{invalid_request, "a message is an object"});
    const Value& id = at(content, "id");
    const std::string method = text_at(content, "method");
    const bool request = content.find("id") != nullptr;
    if (method.empty()) {
      // An answer to a request of ours, of which there are none.
      if (request && content.find("result") == nullptr && content.find("error") == nullptr)
        respond(id, Refusal{invalid_request, "a request has a method"});
      return;
    }
    if (!request) return notification(method, at(content, "params"));
    if (m.cancelled) return respond(id, Refusal{request_cancelled, "cancelled"});
    if (const auto reply = this->request(id, method, at(content, "params"))) respond(id, *reply);
  }

  void respond(const Value& id, const Reply& reply) {
    JsonWriter json;
    json.begin_object();
    json.key("jsonrpc"), json.string("2.0");
    json.key("id"), json.raw(cel::to_json(id));
    if (const auto* result = std::get_if<std::string>(&reply)) {
      json.key("result"), json.raw(*result);
    } else {
      const auto& refusal = std::get<Refusal>(reply);
      json.key("error"), json.begin_object();
      json.key("code"), json.integer(refusal.code);
      json.key("message"), json.string(refusal.message);
      json.end_object();
    }
    json.end_object();
    transport_.write(json.take());
  }

  // None: it is answered later.
  std::optional<Reply> request(const Value& id, const std::string& method, const Value& params) {
    if (method == "initialize") return initialize(params);
    if (!initialized_) return Refusal{not_initialized, "`initialize` comes first"};
    if (shut_down_) return Refusal{invalid_request, "the server is shut down"};
    if (method == "shutdown") {
      shut_down_ = true;
      return "null";
    }
    const auto handler = handlers_.find(method);
    if (handler == handlers_.end())
      return Refusal{method_not_found, "there is no method `" + method + "`"};
    const std::string uri = text_at(at(params, "textDocument"), "uri");
    const auto open = open_.find(uri);
    if (open == open_.end())
      return Refusal{invalid_params, "the document `" + uri + "` is not open"};
    const auto& [answer, when] = handler->second;
    if (when == when_whole && !open->second.whole) {
      deferred_.push_back({id, answer, uri, params, open->second.generation});
      return std::nullopt;
    }
    return (this->*answer)(open->second, uri, params);
  }

  // Gives the worker what has to be analysed, and says how long nothing else has to happen.
  int ask_worker() {
    const auto now = std::chrono::steady_clock::now();
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(changed_at_ + quiet - now);
    int wait = -1;
    for (auto& [uri, open] : open_) {
      if (open.asked) continue;
      const bool wanted = std::any_of(deferred_.begin(), deferred_.end(),
                                      [&](const Deferred& d) { return d.uri == uri; });
      if (!wanted && left.count() > 0) {
        wait = static_cast<int>(left.count()) + 1;
        continue;
      }
      open.asked = true;
      worker_.submit({uri, open.generation, path_of(uri), open.document.text(), texts()});
    }
    return wait;
  }

  void take_analyses() {
    for (Worker::Done& done : worker_.take()) {
      const auto it = open_.find(done.uri);
      if (it == open_.end() || it->second.generation != done.generation) continue;
      Open& open = it->second;
      open.whole = std::move(done.analysis);
      open.quick.reset();
      publish(done.uri, diagnostics_json(*open.whole), open.version);
    }
    std::vector<Deferred> ready;
    for (size_t i = 0; i < deferred_.size();) {
      const auto it = open_.find(deferred_[i].uri);
      const bool stale = it == open_.end() || it->second.generation != deferred_[i].generation;
      if (!stale && !it->second.whole) {
        ++i;
        continue;
      }
      ready.push_back(std::move(deferred_[i]));
      deferred_.erase(deferred_.begin() + static_cast<ptrdiff_t>(i));
    }
    for (const Deferred& d : ready) {
      const auto it = open_.find(d.uri);
      if (it == open_.end() || it->second.generation != d.generation) {
        respond(d.id, Refusal{content_modified, "the document has changed since"});
      } else {
        respond(d.id, (this->*d.handler)(it->second, d.uri, d.params));
      }
    }
  }

  Reply initialize(const Value& params) {
    initialized_ = true;
    root_ = path_of(text_at(params, "rootUri"));
    const Value& folders = at(params, "workspaceFolders");
    if (folders.kind() == cel::Kind::list && folders.size() > 0)
      root_ = path_of(text_at(folders.as_list()[0], "uri"));
    return fmt::format(
        R"({{"capabilities":{{"positionEncoding":"utf-16","textDocumentSync":{{"openClose":true,)"
        R"("change":2,"save":{{"includeText":false}}}},"hoverProvider":true,)"
        R"("completionProvider":{{"triggerCharacters":[".",":","@"]}},"definitionProvider":true,)"
        R"("referencesProvider":true,"renameProvider":{{"prepareProvider":true}},)"
        R"("documentFormattingProvider":true,"codeActionProvider":{{"codeActionKinds":["quickfix"]}},)"
        R"("documentSymbolProvider":true,"foldingRangeProvider":true,"inlayHintProvider":true,)"
        R"("semanticTokensProvider":{{"legend":{},"full":true}}}},)"
        R"("serverInfo":{{"name":"kflowc"}}}})",
        semantic_legend());
  }

  void notification(const std::string& method, const Value& params) {
    if (method == "exit") {
      exit_ = true;
      return;
    }
    if (!initialized_ || shut_down_) return;
    const Value& document = at(params, "textDocument");
    const std::string uri = text_at(document, "uri");
    if (method == "textDocument/didOpen") {
      Open& open = open_[uri];
      open.document.set(text_at(document, "text"));
      changed(open, document);
      changed_at_ = {};  // nobody types yet
    } else if (method == "textDocument/didChange") {
      const auto open = open_.find(uri);
      if (open == open_.end()) return;
      const Value& changes = at(params, "contentChanges");
      if (changes.kind() != cel::Kind::list) return;
      for (const Value& change : changes.as_list()) {
        if (at(change, "range").kind() == cel::Kind::map) {
          open->second.document.replace(range_at(change, "range"), text_at(change, "text"));
        } else {
          open->second.document.set(text_at(change, "text"));
        }
      }
      changed(open->second, document);
    } else if (method == "textDocument/didClose") {
      if (open_.erase(uri) > 0) publish(uri, "[]", -1);
      forget_analyses();
    } else if (method == "textDocument/didSave" || method == "workspace/didChangeWatchedFiles") {
      forget_analyses();
    }
  }

  // Other documents may import this one.
  void changed(Open& open, const Value& document) {
    open.version = number_at(document, "version");
    changed_at_ = std::chrono::steady_clock::now();
    forget_analyses();
  }
  void forget_analyses() {
    for (auto& [uri, open] : open_) {
      open.quick.reset(), open.whole.reset();
      open.generation = ++generations_;
      open.asked = false;
    }
  }

  std::map<std::string, std::string> texts() const {
    std::map<std::string, std::string> out;
    for (const auto& [uri, open] : open_) out[path_of(uri)] = open.document.text();
    return out;
  }

  // What is known of the text; of what stands at an offset, everything.
  const Analysis& analysis(Open& open, const std::string& uri,
                           std::optional<uint32_t> offset = std::nullopt) {
    if (open.whole) return *open.whole;
    if (!open.quick) open.quick = analyse(path_of(uri), open.document.text(), texts(), true);
    if (offset) open.quick->look_into(*offset);
    return *open.quick;
  }

  void publish(const std::string& uri, const std::string& diagnostics, int64_t version) {
    JsonWriter json;
    json.begin_object();
    json.key("jsonrpc"), json.string("2.0");
    json.key("method"), json.string("textDocument/publishDiagnostics");
    json.key("params"), json.begin_object();
    json.key("uri"), json.string(uri);
    if (version >= 0) json.key("version"), json.integer(version);
    json.key("diagnostics"), json.raw(diagnostics);
    json.end_object();
    json.end_object();
    transport_.write(json.take());
  }

  uint32_t offset(const Open& open, const Value& params) const {
    return open.document.offset(place_at(params, "position"));
  }

  Reply hover_(Open& open, const std::string& uri, const Value& params) {
    const uint32_t at = offset(open, params);
    return hover(analysis(open, uri, at), at);
  }

  Reply complete(Open& open, const std::string& uri, const Value& params) {
    // With a name at the cursor the text parses, so what stands around is known.
    const uint32_t at = offset(open, params);
    std::string text = open.document.text();
    uint32_t word = at;
    while (word > 0 && is_identifier("_" + text.substr(word - 1, 1))) --word;
    text.insert(at, placeholder);
    const auto patched = analyse(path_of(uri), text, texts(), true);
    patched->look_into(at);
    return completion(*patched, word);
  }

  Reply define(Open& open, const std::string& uri, const Value& params) {
    const uint32_t at = offset(open, params);
    const auto found = definition(analysis(open, uri, at), at);
    return found ? locations_json({*found}) : "null";
  }

  // All places of what is named at the cursor: in this document, in the other open ones and in the
  // files of the folder.
  std::vector<Location> everywhere(Open& open, const std::string& uri, uint32_t at,
                                   bool declaration) {
    const Analysis& here = *open.whole;
    const auto target = target_of(here, at);
    if (!target) return {};
    std::vector<Location> out = references(here, target->first, target->second, declaration);
    for (const std::string& path : folder()) {
      if (path == path_of(uri)) continue;
      const auto held = texts();
      const auto known = held.find(path);
      std::string text;
      if (known != held.end()) {
        text = known->second;
      } else if (auto read = source::read_file(path, source::max_file_size)) {
        text = std::move(*read);
      } else {
        continue;
      }
      const auto other = analyse(path, text, held);
      for (Location& l :
           references(*other, target->first, target->second, declaration && path == target->first))
        out.push_back(std::move(l));
    }
    return out;
  }

  std::vector<std::string> folder() const {
    std::vector<std::string> out;
    for (const auto& [uri, open] : open_) out.push_back(path_of(uri));
    if (!root_.empty() && root_ != "/") {
      for (std::string& path : source::expand({root_})) {
        if (out.size() >= max_files) break;
        if (path.ends_with(".kflow")) out.push_back(std::move(path));
      }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Reply refer(Open& open, const std::string& uri, const Value& params) {
    const Value& declaration = at(at(params, "context"), "includeDeclaration");
    const bool with = declaration.kind() != cel::Kind::boolean || declaration.as_bool();
    return locations_json(everywhere(open, uri, offset(open, params), with));
  }

  // What can be renamed: a name whose declaration is in a file.
  std::optional<Range> renamed(Open& open, const std::string& uri, uint32_t at) {
    const Analysis& a = analysis(open, uri, at);
    const auto target = target_of(a, at);
    const Cursor token = a.token_at(at);
    if (!target || !target->first.starts_with('/') || !token || !token.is(Node::identifier))
      return std::nullopt;
    return a.document.range(token.begin(), token.end());
  }

  Reply prepare_rename(Open& open, const std::string& uri, const Value& params) {
    const auto range = renamed(open, uri, offset(open, params));
    return range ? range_json(*range) : "null";
  }

  Reply rename(Open& open, const std::string& uri, const Value& params) {
    const std::string name = text_at(params, "newName");
    if (!is_identifier(name) || syntax::is_reserved(name))
      return Refusal{request_failed, "`" + name + "` is no name"};
    const uint32_t at = offset(open, params);
    if (!renamed(open, uri, at)) return Refusal{request_failed, "this cannot be renamed here"};
    std::map<std::string, std::vector<Range>> edits;
    for (const Location& l : everywhere(open, uri, at, true)) edits[l.path].push_back(l.range);
    JsonWriter json;
    json.begin_object();
    json.key("changes"), json.begin_object();
    for (const auto& [path, ranges] : edits) {
      json.key(path == path_of(uri) ? uri : uri_of(path)), json.begin_array();
      for (const Range& range : ranges) {
        json.begin_object();
        json.key("range"), json.raw(range_json(range));
        json.key("newText"), json.string(name);
        json.end_object();
      }
      json.end_array();
    }
    json.end_object();
    json.end_object();
    return json.take();
  }

  Reply format_(Open& open, const std::string& uri, const Value&) {
    source::Manager sources(nullptr);
    diagnostics::Sink sink;
    const auto file = sources.add(uri, uri, open.document.text());
    const auto text = format::format(sources[file], sink);
    if (!text && sink.has_errors()) return "[]";  // it does not parse: its diagnostics say so
    if (!text) return Refusal{request_failed, text.error().message};
    if (*text == open.document.text()) return "[]";
    const auto end = static_cast<uint32_t>(open.document.text().size());
    JsonWriter json;
    json.begin_array();
    json.begin_object();
    json.key("range"), json.raw(range_json(open.document.range(0, end)));
    json.key("newText"), json.string(*text);
    json.end_object();
    json.end_array();
    return json.take();
  }

  // Those that are answered when the whole analysis is there.
  Reply actions(Open& open, const std::string& uri, const Value& params) {
    return code_actions(*open.whole, uri, range_at(params, "range"));
  }
  Reply symbols(Open& open, const std::string& uri, const Value&) {
    return document_symbols(analysis(open, uri));
  }
  Reply tokens(Open& open, const std::string& uri, const Value&) {
    return semantic_tokens(analysis(open, uri));
  }
  Reply folds(Open& open, const std::string& uri, const Value&) {
    return folding_ranges(analysis(open, uri));
  }
  Reply hints(Open& open, const std::string&, const Value& params) {
    return inlay_hints(*open.whole, range_at(params, "range"));
  }

  Transport transport_;
  Worker worker_;
  std::map<std::string, Method> handlers_;
  std::map<std::string, Open> open_;  // by URI
  std::deque<Message> queue_;
  std::vector<Deferred> deferred_;
  uint64_t generations_ = 0;
  std::chrono::steady_clock::time_point changed_at_;
  bool over_ = false;  // the end of the input
  std::string root_;
  bool initialized_ = false;
  bool shut_down_ = false;
  bool exit_ = false;
};

}  // namespace

int serve(int in, int out) { return Server(in, out).run(); }

}  // namespace kflow::lsp
