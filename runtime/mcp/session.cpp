// The session's decisions.
#include "runtime/mcp/session.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/base/utf8.hpp"
#include "compiler/cel/base64.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/schema/import_schema.hpp"

namespace kflow::mcp {

using cel::Kind;
using cel::Value;

namespace {

constexpr size_t text_shown = 500;
constexpr std::string_view meta_prefix = "io.modelcontextprotocol/";

std::string clipped(std::string_view text, size_t most = text_shown) {
  if (text.size() <= most) return std::string(text);
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return std::string(text.substr(0, most)) + "…";
}

Failure cancelled() {
  return {.kind = "cancelled", .code = "cancelled", .message = "the step was stopped"};
}

bool is_handshake(std::string_view protocol) {
  return std::ranges::find(handshake_protocols, protocol) != std::end(handshake_protocols);
}

std::string known_protocols() {
  return fmt::format("{}, {}", modern_protocol, fmt::join(handshake_protocols, ", "));
}

Failure rpc_failure(const Message& m) {
  cel::MapBuilder data;
  data.add("code", Value::integer(m.code));
  if (!m.content.is_null()) data.add("data", m.content);
  return {.code = "rpc_error",
          .message = clipped(m.text.empty() ? fmt::format("error {}", m.code) : m.text, 4000),
          .data = std::move(data).take(),
          .rpc_code = m.code};
}

std::string identity(const Value* info) {
  if (info == nullptr) return "";
  const std::string name = text_member(*info, "name");
  const std::string version = text_member(*info, "version");
  return clipped(name + (version.empty() ? "" : " " + version), 200);
}

}  // namespace

// ---------------------------------------------------------------- messages out

Value Session::with_meta(const Value& params, int64_t progress) const {
  cel::MapBuilder out;
  if (params.kind() == Kind::map) {
    for (const cel::MapEntry& e : params.as_map()) out.add(e.key, e.value);
  }
  cel::MapBuilder meta;
  if (progress != 0) meta.add("progressToken", Value::integer(progress));
  if (modern()) {
    const std::string prefix(meta_prefix);
    meta.add(prefix + "protocolVersion", Value::string(modern_protocol));
    meta.add(prefix + "clientInfo",
             cel::make_record(
                 {{"name", Value::string("kflow")}, {"version", Value::string(options_.version)}}));
    meta.add(prefix + "clientCapabilities", Value::map({}));
  }
  if (meta.size() > 0) out.set("_meta", std::move(meta).take());
  return std::move(out).take();
}

Post Session::request(Request kind, std::string_view method, Value params) {
  const int64_t id = ++last_id_;
  requests_[id] = kind;
  params = with_meta(params, kind == Request::call ? id : 0);
  Post out{.id = id,
           .method = std::string(method),
           .text = request_text(id, method, params.size() > 0 ? params : Value()),
           .headers = {}};
  if (!options_.http || protocol_.empty()) return out;
  out.headers.emplace_back("MCP-Protocol-Version", protocol_);
  if (!modern()) return out;
  out.headers.emplace_back("Mcp-Method", std::string(method));
  if (kind == Request::call)
    out.headers.emplace_back("Mcp-Name", header_value(text_member(params, "name")));
  return out;
}

Post Session::notification(std::string_view method, Value params) const {
  Post out{.id = 0,
           .method = std::string(method),
           .text = notification_text(method, modern() ? with_meta(params, 0) : params),
           .headers = {}};
  if (options_.http && !protocol_.empty())
    out.headers.emplace_back("MCP-Protocol-Version", protocol_);
  return out;
}

// ---------------------------------------------------------------- the beginning

Turn Session::begin(Millis now) {
  Turn turn;
  now_ = started_ = now;
  if (is_handshake(options_.protocol)) {
    initialize(turn);
  } else {
    probe(turn);
  }
  return turn;
}

void Session::probe(Turn& turn) {
  phase_ = Phase::probing;
  tried_modern_ = true;
  probe_until_ = now_ + probe_timeout_ms;
  protocol_ = modern_protocol;  // until it turns out to be another
  turn.posts.push_back(request(Request::discover, "server/discover", Value::map({})));
  probe_id_ = last_id_;
}

void Session::initialize(Turn& turn) {
  phase_ = Phase::initializing;
  tried_handshake_ = true;
  probe_until_ = never;
  protocol_.clear();
  const Value client = cel::make_record(
      {{"name", Value::string("kflow")}, {"version", Value::string(options_.version)}});
  turn.posts.push_back(
      request(Request::initialize, "initialize",
              cel::make_record({{"protocolVersion", Value::string(handshake_protocols[0])},
                                {"capabilities", Value::map({})},
                                {"clientInfo", client}})));
}

void Session::be_modern(Turn& turn, const Value& result) {
  const Value* versions = member(result, "supportedVersions");
  const auto offers = [&](std::string_view version) {
    return versions != nullptr && versions->kind() == Kind::list &&
           std::ranges::any_of(versions->as_list(), [&](const Value& v) {
             return v.kind() == Kind::string && v.as_string() == version;
           });
  };
  if (versions != nullptr && !offers(modern_protocol)) {
    if (!tried_handshake_ && std::ranges::any_of(handshake_protocols, offers))
      return initialize(turn);
    return fail(turn, {.code = "protocol",
                       .message = fmt::format("the MCP server `{}` speaks none of the revisions "
                                              "that kflow does: {}",
                                              options_.name, known_protocols())});
  }
  protocol_ = modern_protocol;
  probe_until_ = never;
  const Value* meta = member(result, "_meta");
  const Value* info =
      meta == nullptr ? nullptr : member(*meta, "io.modelcontextprotocol/serverInfo");
  server_ = identity(info != nullptr ? info : member(result, "serverInfo"));
  const Value* capabilities = member(result, "capabilities");
  const Value* tools = capabilities == nullptr ? nullptr : member(*capabilities, "tools");
  list_changes_ = tools != nullptr && flag_member(*tools, "listChanged");
  phase_ = Phase::listing;
  list(turn, "");
}

void Session::take_initialize(Turn& turn, const Value& result) {
  const std::string version = text_member(result, "protocolVersion");
  if (!is_handshake(version)) {
    return fail(turn, {.code = "protocol",
                       .message = fmt::format(
                           "the MCP server `{}` speaks revision `{}` of the protocol; kflow "
                           "speaks {}",
                           options_.name, clipped(version, 40), known_protocols())});
  }
  protocol_ = version;
  server_ = identity(member(result, "serverInfo"));
  const Value* capabilities = member(result, "capabilities");
  const Value* tools = capabilities == nullptr ? nullptr : member(*capabilities, "tools");
  list_changes_ = tools != nullptr && flag_member(*tools, "listChanged");
  turn.posts.push_back(notification("notifications/initialized", Value()));
  turn.opened = true;
  phase_ = Phase::listing;
  if (capabilities != nullptr && tools == nullptr) return listed(turn);  // it has none
  list(turn, "");
}

// ---------------------------------------------------------------- the list of tools

void Session::list(Turn& turn, const std::string& cursor) {
  if (cursor.empty()) {
    page_tools_.clear();
    pages_ = 0;
  }
  listing_ = true;
  Value params = Value::map({});
  if (!cursor.empty()) params = cel::make_record({{"cursor", Value::string(cursor)}});
  turn.posts.push_back(request(Request::list, "tools/list", std::move(params)));
}

void Session::take_page(Turn& turn, const Value& page) {
  const Value* tools = member(page, "tools");
  if (tools == nullptr || tools->kind() != Kind::list)
    return fail(turn,
                {.code = "protocol",
                 .message = fmt::format("the MCP server `{}` listed no `tools`", options_.name)});
  for (const Value& t : tools->as_list()) {
    ir::LockedTool tool{.name = text_member(t, "name"),
                        .title = text_member(t, "title"),
                        .description = text_member(t, "description"),
                        .input_schema = {},
                        .output_schema = {}};
    const Value* input = member(t, "inputSchema");
    if (tool.name.empty() || input == nullptr || input->kind() != Kind::map) {
      say(turn, fmt::format("a tool without a name or an input schema is left out: {}",
                            clipped(tool.name, 100)));
      continue;
    }
    const Value* execution = member(t, "execution");
    if (execution != nullptr && text_member(*execution, "taskSupport") == "required") {
      say(turn, fmt::format("the tool `{}` is left out: it is for clients with tasks only",
                            clipped(tool.name, 100)));
      continue;
    }
    tool.input_schema = *input;
    if (const Value* output = member(t, "outputSchema"); output != nullptr)
      tool.output_schema = *output;
    if (const Value* hints = member(t, "annotations")) {
      tool.read_only = flag_member(*hints, "readOnlyHint");
      tool.idempotent = flag_member(*hints, "idempotentHint");
      tool.destructive = flag_member(*hints, "destructiveHint", true);
      if (tool.title.empty()) tool.title = text_member(*hints, "title");
    }
    if (options_.http && modern()) {
      if (auto headers = mirrored_headers(tool.input_schema, Value::map({})); !headers) {
        say(turn, fmt::format("the tool `{}` is left out: {}", clipped(tool.name, 100),
                              headers.error().message));
        continue;
      }
    }
    if (page_tools_.size() >= max_tools) {
      return fail(turn, {.kind = "limit",
                         .code = "mcp_tools",
                         .message = fmt::format("the MCP server `{}` lists more than {} tools",
                                                options_.name, max_tools)});
    }
    page_tools_.push_back(std::move(tool));
  }
  const std::string cursor = text_member(page, "nextCursor");
  if (cursor.empty()) return listed(turn);
  if (++pages_ >= max_pages) {
    return fail(turn, {.kind = "limit",
                       .code = "mcp_tools",
                       .message = fmt::format("the MCP server `{}` lists its tools in more than {} "
                                              "pages",
                                              options_.name, max_pages)});
  }
  list(turn, cursor);
}

void Session::listed(Turn& turn) {
  listing_ = false;
  listed_at_ = now_;
  tools_ = std::move(page_tools_);
  page_tools_.clear();
  std::ranges::sort(tools_, {}, &ir::LockedTool::name);
  const auto before = std::exchange(schemas_, {});
  for (const ir::LockedTool& t : tools_)
    schemas_[t.name] = {schema::canonical_json(t.input_schema),
                        t.output_schema.is_null() ? "" : schema::canonical_json(t.output_schema)};
  turn.listed = true;
  if (phase_ == Phase::ready && schemas_ != before)
    say(turn, "its tools have changed; `kflowc mcp sync` writes them into the lock");
  if (phase_ != Phase::listing) return;
  phase_ = Phase::ready;
  if (modern() && list_changes_) {
    turn.posts.push_back(request(
        Request::listen, "subscriptions/listen",
        cel::make_record(
            {{"notifications", cel::make_record({{"toolsListChanged", Value::boolean(true)}})}})));
    listen_id_ = last_id_;
  }
  while (!waiting_.empty()) {
    Call next = std::move(waiting_.front());
    waiting_.pop_front();
    dispatch(turn, std::move(next));
  }
}

// ---------------------------------------------------------------- calls

Turn Session::call(Call call, Millis now) {
  Turn turn;
  now_ = now;
  if (phase_ == Phase::over) {
    turn.done.push_back(
        {call.token, Failure{.code = "mcp_exited",
                             .message = fmt::format("the MCP server `{}` is gone", options_.name),
                             .retryable = true}});
  } else if (waiting_.size() + flights_.size() >= max_calls) {
    turn.done.push_back(
        {call.token, Failure{.kind = "limit",
                             .code = "mcp_calls",
                             .message = fmt::format("more than {} calls of the MCP server `{}` are "
                                                    "under way",
                                                    max_calls, options_.name),
                             .retryable = true}});
  } else if (phase_ == Phase::ready) {
    dispatch(turn, std::move(call));
  } else {
    waiting_.push_back(std::move(call));
  }
  return turn;
}

// What the program was checked with must be what the server is.
std::optional<Failure> Session::differs(const Call& call) const {
  if (call.input_schema.empty()) return std::nullopt;
  const auto it = schemas_.find(call.tool);
  std::string what;
  if (it == schemas_.end()) {
    what = fmt::format("the MCP server `{}` has no tool `{}` any more", options_.name, call.tool);
  } else if (it->second.first != call.input_schema) {
    what = fmt::format(
        "the tool `{}` of the MCP server `{}` takes other arguments than when it "
        "was locked",
        call.tool, options_.name);
  } else if (it->second.second != call.output_schema) {
    what = fmt::format(
        "the tool `{}` of the MCP server `{}` gives another result than when it "
        "was locked",
        call.tool, options_.name);
  } else {
    return std::nullopt;
  }
  return Failure{.code = "mcp_lock",
                 .message = what +
                            "; `kflowc mcp sync FILE` writes the lock anew, and `kflowc check` "
                            "then says what no longer fits"};
}

void Session::dispatch(Turn& turn, Call call) {
  if (auto failure = differs(call)) return turn.done.push_back({call.token, std::move(*failure)});
  Post post = request(
      Request::call, "tools/call",
      cel::make_record({{"name", Value::string(call.tool)}, {"arguments", call.arguments}}));
  if (options_.http && modern()) {
    const auto tool = std::ranges::find(tools_, call.tool, &ir::LockedTool::name);
    if (tool != tools_.end()) {
      if (auto headers = mirrored_headers(tool->input_schema, call.arguments))
        post.headers.insert(post.headers.end(), headers->begin(), headers->end());
    }
  }
  by_token_[call.token] = post.id;
  const Millis timeout = call.timeout_ms > 0 ? call.timeout_ms : call_timeout_ms;
  flights_[post.id] = {.call = std::move(call), .deadline = now_ + timeout};
  turn.posts.push_back(std::move(post));
}

Turn Session::cancel(uint64_t token, Millis now) {
  Turn turn;
  now_ = now;
  const auto waiting = std::ranges::find(waiting_, token, &Call::token);
  if (waiting != waiting_.end()) {
    waiting_.erase(waiting);
    turn.done.push_back({token, cancelled()});
    return turn;
  }
  const auto it = by_token_.find(token);
  if (it == by_token_.end()) return turn;
  const int64_t id = it->second;
  by_token_.erase(it);
  flights_.erase(id);
  requests_.erase(id);
  turn.done.push_back({token, cancelled()});
  turn.abandoned.push_back(id);
  // Without a handshake, over HTTP, closing the stream says it.
  if (!(modern() && options_.http)) {
    turn.posts.push_back(notification("notifications/cancelled",
                                      cel::make_record({{"requestId", Value::integer(id)},
                                                        {"reason", Value::string("stopped")}})));
  }
  return turn;
}

std::optional<Call> Session::take_call(int64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return std::nullopt;
  Call out = std::move(it->second.call);
  by_token_.erase(out.token);
  flights_.erase(it);
  requests_.erase(id);
  return out;
}

std::deque<Call> Session::take_waiting() { return std::exchange(waiting_, {}); }

// ---------------------------------------------------------------- messages in

Turn Session::receive(std::string_view text, Millis now) {
  Turn turn;
  now_ = now;
  if (phase_ == Phase::over) return turn;
  const auto messages = parse_messages(text);
  if (!messages) {
    malformed(turn, fmt::format("{}: {}", messages.error().message,
                                clipped(replace_invalid_utf8(clipped(text, 200)), 200)));
    return turn;
  }
  for (const Message& m : *messages) {
    if (phase_ != Phase::over) take_message(turn, m);
  }
  return turn;
}

void Session::take_message(Turn& turn, const Message& m) {
  switch (m.kind) {
    case Message::Kind::request:
      return answer_request(turn, m);
    case Message::Kind::notification:
      return take_notification(turn, m);
    case Message::Kind::result:
    case Message::Kind::error:
      return take_answer(turn, m);
  }
}

void Session::take_answer(Turn& turn, const Message& m) {
  const int64_t id = m.id.kind() == Kind::int_ ? m.id.as_int() : 0;
  const auto it = requests_.find(id);
  if (it == requests_.end()) {
    // Of a call that was stopped an answer may still have been on its way.
    if (id <= 0 || id > last_id_)
      say(turn, m.kind == Message::Kind::error && m.id.is_null()
                    ? "an error: " + clipped(m.text)
                    : "an answer to a request that was never made");
    return;
  }
  const Request kind = it->second;
  requests_.erase(it);
  if (m.kind == Message::Kind::error) return take_error(turn, id, kind, rpc_failure(m));
  take_result(turn, id, kind, m.content);
}

Turn Session::refused(int64_t id, Failure failure, Millis now) {
  Turn turn;
  now_ = now;
  const auto it = requests_.find(id);
  if (it == requests_.end()) return turn;
  const Request kind = it->second;
  requests_.erase(it);
  take_error(turn, id, kind, std::move(failure));
  return turn;
}

void Session::take_error(Turn& turn, int64_t id, Request kind, Failure failure) {
  switch (kind) {
    case Request::discover: {
      if (phase_ != Phase::probing) return;
      if (failure.rpc_code == unsupported_version) {
        const Value* data = member(failure.data, "data");
        const Value* supported = data == nullptr ? nullptr : member(*data, "supported");
        return be_modern(turn,
                         cel::make_record({{"supportedVersions",
                                            supported == nullptr ? Value::list({}) : *supported}}));
      }
      // An older server does not know the question, in whatever words it says so.
      const bool older = failure.rpc_code != 0 ||
                         (failure.status >= 400 && failure.status < 500 && failure.status != 401 &&
                          failure.status != 403 && failure.status != 407 && failure.status != 429);
      if (older && !tried_handshake_) return initialize(turn);
      return fail(turn, std::move(failure));
    }
    case Request::initialize:
      if (phase_ != Phase::initializing) return;
      if (failure.rpc_code != 0 && !tried_modern_) return probe(turn);
      failure.message = fmt::format("the MCP server `{}` refused the connection: {}", options_.name,
                                    failure.message);
      return fail(turn, std::move(failure));
    case Request::list:
      failure.message = fmt::format("the MCP server `{}` does not list its tools: {}",
                                    options_.name, failure.message);
      if (phase_ == Phase::ready) {  // the old list holds
        listing_ = false;
        return say(turn, failure.message);
      }
      return fail(turn, std::move(failure));
    case Request::listen:
      relisten_at_ = now_ + relisten_ms;
      return;
    case Request::call:
      break;
  }
  const auto ended = end_flight(id);
  if (!ended) return;
  const Call& call = *ended;
  if (failure.rpc_code != 0)
    failure.message =
        fmt::format("`{}` of the MCP server `{}`: {}", call.tool, options_.name, failure.message);
  turn.done.push_back({call.token, std::move(failure)});
}

std::optional<Call> Session::end_flight(int64_t id) {
  const auto flight = flights_.find(id);
  if (flight == flights_.end()) return std::nullopt;
  std::optional<Call> call = std::move(flight->second.call);
  flights_.erase(flight);
  by_token_.erase(call->token);
  return call;
}

void Session::take_result(Turn& turn, int64_t id, Request kind, const Value& result) {
  switch (kind) {
    case Request::discover:
      // A late answer counts as long as the handshake has none.
      if (phase_ == Phase::probing || phase_ == Phase::initializing) be_modern(turn, result);
      return;
    case Request::initialize:
      if (phase_ == Phase::initializing) take_initialize(turn, result);
      return;
    case Request::list:
      return take_page(turn, result);
    case Request::listen:
      relisten_at_ = now_ + relisten_ms;
      return;
    case Request::call:
      break;
  }
  const auto ended = end_flight(id);
  if (!ended) return;
  const Call& call = *ended;
  const std::string type = text_member(result, "resultType");
  if (!type.empty() && type != "complete") {
    const bool asks = type == "input_required";
    Failure failure{
        .code = asks ? "input_required" : "protocol",
        .message = fmt::format("`{}` of the MCP server `{}` {}", call.tool, options_.name,
                               asks ? "asks for more input before it answers, which "
                                      "kflow does not give"
                                    : "gave a result of an unknown type")};
    return turn.done.push_back({call.token, std::move(failure)});
  }
  turn.done.push_back({call.token, result});
}

void Session::take_notification(Turn& turn, const Message& m) {
  if (m.method == "notifications/progress") return take_progress(turn, m.params);
  if (m.method == "notifications/tools/list_changed") {
    if (phase_ != Phase::ready) return;
    relist_at_ = std::min(relist_at_, std::max(now_, listed_at_ + relist_gap_ms));
    return;
  }
  if (m.method == "notifications/message") {
    const Value* data = member(m.params, "data");
    const std::string text = data == nullptr                ? ""
                             : data->kind() == Kind::string ? std::string(data->as_string())
                                                            : cel::to_json(*data);
    const std::string level = text_member(m.params, "level");
    return say(turn, (level.empty() ? "" : level + ": ") + clipped(text));
  }
  if (m.method == "notifications/cancelled" && listen_id_ != 0) {
    const Value* id = member(m.params, "requestId");
    if (id != nullptr && id->kind() == Kind::int_ && id->as_int() == listen_id_ &&
        requests_.erase(listen_id_) > 0)
      relisten_at_ = now_ + relisten_ms;
  }
}

void Session::take_progress(Turn& turn, const Value& params) {
  const Value* token = member(params, "progressToken");
  const auto it = token != nullptr && token->kind() == Kind::int_ ? flights_.find(token->as_int())
                                                                  : flights_.end();
  if (it == flights_.end()) return;
  Flight& flight = it->second;
  if (flight.said != 0 && now_ - flight.said < progress_gap_ms) return;
  flight.said = std::max<Millis>(now_, 1);
  const auto number = [&](const char* key) -> std::string {
    const Value* v = member(params, key);
    return v != nullptr && v->is_number() ? cel::to_display(*v) : "";
  };
  const std::string done = number("progress");
  const std::string total = number("total");
  const std::string text = clipped(text_member(params, "message"));
  std::string line =
      fmt::format("{}: {}{}{}{}", flight.call.tool, done, total.empty() ? "" : " of " + total,
                  text.empty() ? "" : ", ", text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  turn.progress.push_back(std::move(line));
}

void Session::answer_request(Turn& turn, const Message& m) {
  const bool ping = m.method == "ping";
  Post post{.id = 0,
            .method = "",
            .text = ping ? result_text(m.id, Value::map({}))
                         : error_text(m.id, method_not_found,
                                      "kflow does not offer `" + clipped(m.method, 100) + "`"),
            .headers = {}};
  if (options_.http && !protocol_.empty())
    post.headers.emplace_back("MCP-Protocol-Version", protocol_);
  if (!ping) say(turn, fmt::format("asked for `{}`, and was refused", clipped(m.method, 100)));
  turn.posts.push_back(std::move(post));
}

// ---------------------------------------------------------------- time and ends

Millis Session::next_due() const {
  if (phase_ == Phase::over || phase_ == Phase::fresh) return never;
  Millis out = std::min({probe_until_, relist_at_, relisten_at_});
  if (phase_ != Phase::ready) out = std::min(out, started_ + start_timeout_ms);
  for (const auto& [id, flight] : flights_) out = std::min(out, flight.deadline);
  return out;
}

Turn Session::tick(Millis now) {
  Turn turn;
  now_ = now;
  if (phase_ == Phase::over || phase_ == Phase::fresh) return turn;
  if (phase_ != Phase::ready && now >= started_ + start_timeout_ms) {
    fail(turn,
         {.kind = "timeout",
          .code = "mcp_start",
          .message = fmt::format("the MCP server `{}` did not answer within {} s of its start",
                                 options_.name, start_timeout_ms / 1000),
          .retryable = true});
    return turn;
  }
  if (phase_ == Phase::probing && now >= probe_until_) initialize(turn);
  if (now >= relist_at_) {
    relist_at_ = never;
    if (phase_ == Phase::ready && !listing_) list(turn, "");
  }
  if (now >= relisten_at_) {
    relisten_at_ = never;
    if (phase_ == Phase::ready) {
      turn.posts.push_back(request(
          Request::listen, "subscriptions/listen",
          cel::make_record({{"notifications",
                             cel::make_record({{"toolsListChanged", Value::boolean(true)}})}})));
      listen_id_ = last_id_;
    }
  }
  std::vector<std::pair<uint64_t, std::string>> late;
  for (const auto& [id, flight] : flights_) {
    if (now >= flight.deadline) late.emplace_back(flight.call.token, flight.call.tool);
  }
  for (const auto& [token, tool] : late) {
    Turn stopped = cancel(token, now);
    for (Post& p : stopped.posts) turn.posts.push_back(std::move(p));
    turn.abandoned.insert(turn.abandoned.end(), stopped.abandoned.begin(), stopped.abandoned.end());
    turn.done.push_back(
        {token, Failure{.kind = "timeout",
                        .code = "mcp_call",
                        .message = fmt::format("`{}` of the MCP server `{}` did not answer in "
                                               "time; the option `timeout` of `mcp {}` says how "
                                               "long it may take",
                                               tool, options_.name, options_.name),
                        .retryable = true}});
  }
  return turn;
}

Turn Session::lost(Failure failure) {
  Turn turn;
  if (phase_ != Phase::over) fail(turn, std::move(failure));
  return turn;
}

void Session::fail(Turn& turn, Failure failure) {
  phase_ = Phase::over;
  for (const Call& c : waiting_) turn.done.push_back({c.token, failure});
  for (const auto& [id, flight] : flights_) turn.done.push_back({flight.call.token, failure});
  waiting_.clear();
  flights_.clear();
  by_token_.clear();
  requests_.clear();
  turn.failed = std::move(failure);
}

void Session::malformed(Turn& turn, const std::string& what) {
  say(turn, "not a message: " + what);
  if (++malformed_ <= max_malformed) return;
  fail(turn, {.code = "protocol",
              .message = fmt::format("the MCP server `{}` writes what is no message of the "
                                     "protocol: {}",
                                     options_.name, what)});
}

// A server may be as talkative as it likes; what is too much is not kept.
void Session::say(Turn& turn, std::string line) {
  if (now_ - lines_from_ >= 1000) {
    lines_from_ = now_;
    lines_ = 0;
  }
  if (++lines_ > max_lines) return;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  turn.lines.push_back(std::move(line));
}

}  // namespace kflow::mcp
