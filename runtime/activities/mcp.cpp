// MCP calls: one thread with all sessions; it starts servers, moves bytes and keeps time.
#include "runtime/activities/mcp.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/import_schema.hpp"
#include "runtime/activities/mcp_transport.hpp"
#include "runtime/activities/tape.hpp"
#include "runtime/activities/task_queue.hpp"
#include "runtime/mcp/result.hpp"

namespace kflow::activities {
namespace {

using cel::Value;
using mcp::Failure;
using mcp::Millis;

constexpr size_t least_secret = 4;  // a shorter one would take half the text along

Millis now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

ActivityError to_error(Failure f) {
  return {.kind = std::move(f.kind),
          .code = std::move(f.code),
          .message = std::move(f.message),
          .status = f.status,
          .data = std::move(f.data),
          .retryable = f.retryable,
          .retry_after_ms = f.retry_after_ms};
}

// Two declarations that say the same are one server.
std::string key_of(const ir::McpServer& s) {
  std::string out = s.url + "\n";
  for (const std::string& word : s.command) out += word + '\0';
  for (const ir::McpSetting& x : s.settings) out += "\n" + x.name + "=" + x.text + '\0' + x.secret;
  return out;
}

/// A process that was left and is on its way out.
struct Leaving {
  Spawned process;
  int stage = 0;  // its input is closed; SIGTERM; SIGKILL
  Millis due = 0;
};

class McpThread final : public McpWorker {
 public:
  McpThread(Options options, Exchanges& http, CompletionHandler done)
      : options_(std::move(options)), http_(http), done_(std::move(done)) {
    ::signal(SIGPIPE, SIG_IGN);
    thread_ = std::thread([this] { loop(); });
  }
  ~McpThread() override {
    tasks_.post([this] { stop_all(); });
    thread_.join();
  }

  void start(Request request) override {
    tasks_.post([this, r = std::move(request)]() mutable { begin(std::move(r)); });
  }
  void cancel(uint64_t token) override {
    tasks_.post([this, token] {
      const auto it = calls_.find(token);
      if (it == calls_.end()) return;
      Server& server = *it->second.server;
      apply(server, server.session->cancel(token, now_ms()));
    });
  }
  void list(ir::McpServer spec, ListHandler done) override {
    tasks_.post([this, spec = std::move(spec), done = std::move(done)] {
      if (stopping_) return done(cancelled_error());
      auto server = server_of(spec);
      if (auto* failure = std::get_if<Failure>(&server)) return done(to_error(std::move(*failure)));
      Server& s = *std::get<Server*>(server);
      s.listeners.push_back(done);
      if (s.session->ready()) tell_listeners(s);
    });
  }

 private:
  struct Server {
    ir::McpServer spec;
    std::unique_ptr<mcp::Session> session;
    std::unique_ptr<McpTransport> transport;
    McpHttp* http = nullptr;
    std::vector<ListHandler> listeners;
    uint64_t generation = 0;  // of the connection: what is late is for none of the present
    bool over = false;        // to be taken out of the table
    bool again = false;       // … and made anew at once, for `waiting`
    std::deque<mcp::Call> waiting;
  };
  struct Running {
    Request request;
    Server* server = nullptr;
  };

  // ---- calls

  void begin(Request request) {
    const uint64_t token = request.token;
    if (stopping_) return done_({token, cancelled_error()});
    const ir::Program& program = *request.program;
    const ir::Callable& tool = program[request.mcp];
    const ir::McpServer& spec = program[tool.mcp.server];
    std::vector<std::pair<std::string, schema::TypeId>> fields;
    for (const ir::Param& p : tool.params) fields.emplace_back(p.name, p.type);
    auto schema_value = cel::from_json(tool.mcp.input_schema);
    Value arguments = schema::arguments_to_wire(
        program.types, schema_value ? *schema_value : Value(), fields, request.input);
    if (options_.tape && from_tape(request, arguments)) return;
    auto server = server_of(spec);
    if (auto* failure = std::get_if<Failure>(&server))
      return done_({token, to_error(std::move(*failure))});
    Server& s = *std::get<Server*>(server);
    mcp::Call call{.token = token,
                   .tool = tool.mcp.name,
                   .arguments = arguments,
                   .input_schema = tool.mcp.input_schema,
                   .output_schema = tool.mcp.output_schema,
                   .timeout_ms = spec.timeout_ms};
    request.input = std::move(arguments);
    calls_[token] = {std::move(request), &s};
    apply(s, s.session->call(std::move(call), now_ms()));
  }

  static std::string tape_name(const Request& r) {
    const ir::Callable& tool = (*r.program)[r.mcp];
    return (*r.program)[tool.mcp.server].name + "/" + tool.mcp.name;
  }

  // True: answered by the tape, or refused, as the answer is not there and nothing else is asked.
  // No server is started.
  bool from_tape(const Request& request, const Value& arguments) {
    const std::string body = schema::canonical_json(arguments);
    const auto found = options_.tape->find("MCP", tape_name(request), body);
    if (!found && !options_.tape->replays()) return false;
    if (!found) {
      done_({request.token,
             ActivityError{
                 .kind = "tool",
                 .code = "not_on_tape",
                 .message = fmt::format("the tape `{}` holds no such call of `{}`: {}",
                                        options_.tape->path(), request.callee, found.error())}});
      return true;
    }
    if (auto kept = options_.tape->record("MCP", tape_name(request), body, *found); !kept) {
      done_({request.token, not_kept(kept.error())});
      return true;
    }
    replay(request, *found);
    return true;
  }

  void replay(const Request& request, const TapeAnswer& answer) {
    auto content = cel::from_json(answer.body);
    if (content && answer.status == 200) return finish(request, std::move(*content));
    const Value* data = content ? mcp::member(*content, "error") : nullptr;
    done_({request.token, ActivityError{.kind = "tool",
                                        .code = "rpc_error",
                                        .message = content ? mcp::text_member(*content, "message")
                                                           : std::string("an error"),
                                        .data = data != nullptr ? *data : Value()}});
  }

  void finish(const Request& request, std::variant<Value, Failure> outcome) {
    if (auto* failure = std::get_if<Failure>(&outcome))
      return done_({request.token, to_error(std::move(*failure))});
    const ir::Program& program = *request.program;
    const ir::Callable& tool = program[request.mcp];
    auto value = mcp::value_of(std::get<Value>(outcome), program.types, tool.result,
                               !tool.mcp.output_schema.empty(), tool.name);
    if (auto* failure = std::get_if<Failure>(&value))
      return done_({request.token, to_error(std::move(*failure))});
    done_({request.token, std::get<Value>(std::move(value))});
  }

  // An answer that cannot be kept on the tape is none.
  static ActivityError not_kept(const Error& error) {
    return {.kind = "internal", .code = "tape", .message = error.message};
  }

  Result<void> record(const Request& request, const std::variant<Value, Failure>& outcome) {
    if (!options_.tape) return {};
    TapeAnswer answer{.status = 200, .headers = {}, .body = ""};
    if (const auto* value = std::get_if<Value>(&outcome)) {
      answer.body = schema::canonical_json(*value);
    } else {
      const Failure& failure = std::get<Failure>(outcome);
      if (failure.rpc_code == 0) return {};  // of this world, not of the server's answer
      answer.status = 500;
      answer.body = cel::to_json(
          cel::make_record({{"message", Value::string(failure.message)}, {"error", failure.data}}));
    }
    return options_.tape->record("MCP", tape_name(request), schema::canonical_json(request.input),
                                 std::move(answer));
  }

  // ---- servers

  std::variant<Server*, Failure> server_of(const ir::McpServer& spec) {
    const std::string key = key_of(spec);
    auto it = servers_.find(key);
    if (it != servers_.end() && it->second->over) {
      clear_away();
      it = servers_.find(key);
    }
    if (it != servers_.end()) return it->second.get();
    if (servers_.size() >= max_servers) {
      return Failure{.kind = "limit",
                     .code = "mcp_servers",
                     .message = fmt::format("more than {} MCP servers are running", max_servers)};
    }
    auto server = std::make_unique<Server>();
    server->spec = spec;
    if (auto failure = connect(*server)) return std::move(*failure);
    Server* out = server.get();
    servers_[key] = std::move(server);
    return out;
  }

  std::optional<Failure> connect(Server& server) {
    server.generation = ++generations_;
    for (const ir::McpSetting& s : server.spec.settings) {
      if (s.secret.empty() || !options_.tape || !options_.secret) continue;
      if (const auto value = options_.secret(s.secret)) options_.tape->hide(*value);
    }
    McpReceiver receiver = receiver_of(server);
    const std::string cwd =
        options_.file_roots.empty() ? std::string() : options_.file_roots.front();
    if (server.spec.url.empty()) {
      auto started = start_stdio(server.spec, options_.secret, cwd, std::move(receiver));
      if (auto* failure = std::get_if<Failure>(&started)) return std::move(*failure);
      server.transport = std::move(std::get<0>(started));
    } else {
      auto started =
          start_http(server.spec, options_.secret, exchanges_of(server), std::move(receiver));
      if (auto* failure = std::get_if<Failure>(&started)) return std::move(*failure);
      server.http = std::get<0>(started).get();
      server.transport = std::move(std::get<0>(started));
    }
    server.session =
        std::make_unique<mcp::Session>(mcp::SessionOptions{.name = server.spec.name,
                                                           .http = !server.spec.url.empty(),
                                                           .protocol = server.spec.protocol,
                                                           .version = KFLOW_VERSION});
    server.over = false;
    apply(server, server.session->begin(now_ms()));
    return std::nullopt;
  }

  McpExchanges exchanges_of(Server& server) {
    return {.begin =
                [this, &server](Exchange e) {
                  const uint64_t id = ++exchange_ids_;
                  e.id = id;
                  exchange_of_[id] = {&server, server.generation};
                  http_.begin_exchange(std::move(e), [this](ExchangeEvent event) {
                    tasks_.post([this, event = std::move(event)] { exchanged(event); });
                  });
                  return id;
                },
            .stop = [this](uint64_t id) { http_.stop_exchange(id); }};
  }

  void exchanged(const ExchangeEvent& event) {
    const auto it = exchange_of_.find(event.id);
    if (it == exchange_of_.end()) return;
    const auto [server, generation] = it->second;
    if (event.kind == ExchangeEvent::Kind::end) exchange_of_.erase(it);
    if (server == nullptr || server->generation != generation || server->http == nullptr) return;
    server->http->take(event, now_ms());
  }

  McpReceiver receiver_of(Server& server) {
    return {.message =
                [this, &server](const std::string& text) {
                  if (!server.over) apply(server, server.session->receive(text, now_ms()));
                },
            .refused =
                [this, &server](int64_t id, Failure failure) {
                  if (!server.over)
                    apply(server, server.session->refused(id, std::move(failure), now_ms()));
                },
            .expired = [this, &server](int64_t id) { expired(server, id); },
            .lost = [this, &server](Failure failure) { lost(server, std::move(failure)); },
            .line = [this, &server](const std::string& line) { say(server, line); },
            .waits_for =
                [&server](int64_t id) { return !server.over && server.session->waits_for(id); }};
  }

  void say(const Server& server, const std::string& line) const {
    if (options_.on_server_line) options_.on_server_line(server.spec.name, clean(server, line));
  }

  // A server may print what it was given; errors are recorded, and lines go to logs.
  std::string clean(const Server& server, std::string text) const {
    for (const ir::McpSetting& s : server.spec.settings) {
      const auto value =
          s.secret.empty() || !options_.secret ? std::nullopt : options_.secret(s.secret);
      if (!value || value->size() < least_secret) continue;
      for (size_t at = 0; (at = text.find(*value, at)) != std::string::npos; at += 3)
        text.replace(at, value->size(), "***");
    }
    return text;
  }

  // A server may end because it was asked what it does not know: the next one is not asked.
  void lost(Server& server, Failure failure) {
    if (server.over) return;
    if (server.session->probing()) {
      server.waiting = server.session->take_waiting();
      server.spec.protocol = mcp::handshake_protocols[0];
      server.again = server.over = true;
      return;
    }
    apply(server, server.session->lost(std::move(failure)));
  }

  // The server has forgotten us: the request it did not look at is made again, in a new session.
  void expired(Server& server, int64_t request) {
    if (server.over) return;
    server.waiting = server.session->take_waiting();
    if (auto call = server.session->take_call(request)) server.waiting.push_back(std::move(*call));
    server.again = true;
    apply(server,
          server.session->lost({.code = "mcp_session",
                                .message = fmt::format("the MCP server `{}` has ended the session",
                                                       server.spec.name),
                                .retryable = true}));
  }

  void apply(Server& server, mcp::Turn turn) {
    for (const std::string& line : turn.lines) say(server, line);
    for (const std::string& line : turn.progress) {
      if (options_.progress) options_.progress(server.spec.name + "." + line);
    }
    for (const int64_t id : turn.abandoned) server.transport->abandon(id);
    for (mcp::Post& p : turn.posts) server.transport->send(std::move(p));
    if (turn.opened) server.transport->opened(server.session->protocol());
    for (mcp::Done& d : turn.done) {
      const auto it = calls_.find(d.token);
      if (it == calls_.end()) continue;
      const Running running = std::move(it->second);
      calls_.erase(it);
      if (auto* failure = std::get_if<Failure>(&d.outcome))
        failure->message = clean(server, std::move(failure->message));
      if (auto kept = record(running.request, d.outcome); !kept) {
        done_({running.request.token, not_kept(kept.error())});
        continue;
      }
      finish(running.request, std::move(d.outcome));
    }
    if (turn.listed) tell_listeners(server);
    if (!turn.failed) return;
    server.over = true;
    turn.failed->message = clean(server, std::move(turn.failed->message));
    for (const ListHandler& handler : std::exchange(server.listeners, {}))
      handler(to_error(*turn.failed));
  }

  void tell_listeners(Server& server) {
    const mcp::Session& s = *server.session;
    for (const ListHandler& handler : std::exchange(server.listeners, {})) {
      handler(ir::LockedServer{.name = server.spec.name,
                               .command = server.spec.command,
                               .url = server.spec.url,
                               .protocol = s.protocol(),
                               .server = s.server(),
                               .tools = s.tools()});
    }
  }

  // Takes leave of the connection; the process is given time to end by itself.
  void retire(Server& server) {
    server.generation = 0;
    if (server.http != nullptr) {
      for (const uint64_t id : server.http->goodbye()) goodbyes_.push_back(id);
      server.http = nullptr;
    }
    if (!server.transport) return;
    Spawned process = server.transport->leave();
    server.transport.reset();
    if (process.pid <= 0) {
      for (int* fd : {&process.in, &process.out, &process.err, &process.pidfd}) close_fd(*fd);
      return;
    }
    close_fd(process.in);
    leaving_.push_back({process, 0, now_ms() + stdin_grace_ms});
  }

  // False: it cannot be reached any more, and who waited was told.
  bool reconnect(Server& server) {
    server.again = false;
    std::deque<mcp::Call> waiting = std::exchange(server.waiting, {});
    const auto failure = connect(server);
    for (mcp::Call& call : waiting) {
      if (!failure) {
        apply(server, server.session->call(std::move(call), now_ms()));
      } else if (calls_.erase(call.token) > 0) {
        done_({call.token, to_error(*failure)});
      }
    }
    if (!failure) return true;
    for (const ListHandler& handler : std::exchange(server.listeners, {}))
      handler(to_error(*failure));
    return false;
  }

  void clear_away() {
    for (auto it = servers_.begin(); it != servers_.end();) {
      Server& server = *it->second;
      if (!server.over) {
        ++it;
        continue;
      }
      retire(server);
      if (server.again && !stopping_ && reconnect(server)) {
        ++it;
        continue;
      }
      gone_.push_back(std::move(it->second));
      it = servers_.erase(it);
    }
    // Events that are still on their way name them.
    for (const auto& server : gone_) {
      for (auto& [id, target] : exchange_of_) {
        if (target.first == server.get()) target.first = nullptr;
      }
    }
    gone_.clear();
  }

  void stop_all() {
    stopping_ = true;
    for (auto& [key, server] : servers_) {
      if (!server->over) {
        const ActivityError stopped = cancelled_error();
        apply(*server,
              server->session->lost(
                  {.kind = stopped.kind, .code = stopped.code, .message = stopped.message}));
      }
      for (const mcp::Call& call : std::exchange(server->waiting, {})) {
        if (calls_.erase(call.token) > 0) done_({call.token, cancelled_error()});
      }
      server->over = true;
      server->again = false;
    }
    clear_away();
    goodbye_until_ = now_ms() + goodbye_ms;
  }

  bool goodbye_is_said() {
    std::erase_if(goodbyes_, [&](uint64_t id) { return !exchange_of_.contains(id); });
    return goodbyes_.empty() || now_ms() >= goodbye_until_;
  }

  // ---- the loop

  void reap(Millis now) {
    for (auto it = leaving_.begin(); it != leaving_.end();) {
      char buffer[1U << 14];  // what it says now is for nobody, but must not block it
      for (const int fd : {it->process.out, it->process.err}) {
        while (fd >= 0 && ::read(fd, buffer, sizeof buffer) > 0) {
        }
      }
      if (::waitpid(it->process.pid, nullptr, WNOHANG) == it->process.pid) {
        ::kill(-it->process.pid, SIGKILL);  // whatever it left behind in its group
        for (int* fd : {&it->process.out, &it->process.err, &it->process.pidfd}) close_fd(*fd);
        it = leaving_.erase(it);
        continue;
      }
      if (now >= it->due) {
        ::kill(-it->process.pid, it->stage == 0 ? SIGTERM : SIGKILL);
        it->due = now + term_grace_ms;
        ++it->stage;
      }
      ++it;
    }
  }

  int timeout(Millis now) const {
    Millis first = mcp::never;
    for (const auto& [key, server] : servers_) {
      if (server->over) return 0;
      first = std::min({first, server->session->next_due(), server->transport->next_due()});
    }
    for (const Leaving& l : leaving_) first = std::min(first, l.due);
    if (stopping_ && !goodbyes_.empty()) first = std::min(first, goodbye_until_);
    if (first == mcp::never) return -1;
    return static_cast<int>(std::clamp<Millis>(first - now, 0, 60'000));
  }

  void loop() {
    // The kernel's parent-death signal follows the thread that forked: this one lives as long as
    // the worker.
    for (;;) {
      tasks_.run();
      const Millis now = now_ms();
      for (auto& [key, server] : servers_) {
        if (!server->over) server->transport->work(now);
        if (!server->over && server->session->next_due() <= now)
          apply(*server, server->session->tick(now));
      }
      clear_away();
      reap(now);
      if (stopping_ && leaving_.empty() && goodbye_is_said()) return;
      std::vector<pollfd> fds{{tasks_.fd(), POLLIN, 0}};
      for (const auto& [key, server] : servers_) server->transport->watch(fds);
      for (const Leaving& l : leaving_) {
        if (l.process.pidfd >= 0) fds.push_back({l.process.pidfd, POLLIN, 0});
      }
      ::poll(fds.data(), fds.size(), timeout(now_ms()));
    }
  }

  Options options_;
  Exchanges& http_;
  CompletionHandler done_;
  TaskQueue tasks_;
  std::map<std::string, std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Server>> gone_;
  std::map<uint64_t, Running> calls_;
  std::map<uint64_t, std::pair<Server*, uint64_t>> exchange_of_;
  uint64_t exchange_ids_ = 0;
  uint64_t generations_ = 0;
  std::vector<Leaving> leaving_;
  std::vector<uint64_t> goodbyes_;
  Millis goodbye_until_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<McpWorker> make_mcp_worker(Options options, Exchanges& http,
                                           CompletionHandler done) {
  return std::make_unique<McpThread>(std::move(options), http, std::move(done));
}

std::variant<ir::LockedServer, ActivityError> list_tools(const ir::McpServer& server,
                                                         const Options& options) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<std::variant<ir::LockedServer, ActivityError>> answer;
  const auto http = make_http_worker(options, [](Completion) {});
  const auto worker = make_mcp_worker(options, *http, [](Completion) {});
  worker->list(server, [&](std::variant<ir::LockedServer, ActivityError> a) {
    const std::lock_guard guard(mutex);
    answer = std::move(a);
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return answer.has_value(); });
  return std::move(*answer);
}

}  // namespace kflow::activities
