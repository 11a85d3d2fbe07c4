// Actions of WebSocket clients, done by the same routes as those of HTTP.
#include "runtime/server/run_socket.hpp"

#include <algorithm>

#include "compiler/cel/value_codec.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/notices.hpp"

namespace kflow::server {
namespace {

std::string text_of(const cel::Value& message, std::string_view name) {
  const cel::Value* v = message.find(name);
  return v != nullptr && v->kind() == cel::Kind::string ? std::string(v->as_string()) : "";
}

// Some fields of a message, as the body of a route.
std::string body_of(const cel::Value& message, std::initializer_list<std::string_view> fields,
                    std::initializer_list<std::pair<std::string_view, cel::Value>> more = {}) {
  cel::MapBuilder out;
  for (const std::string_view name : fields) {
    if (const cel::Value* v = message.find(name)) out.add(name, *v);
  }
  for (const auto& [name, value] : more) out.add(name, value);
  return cel::to_json(std::move(out).take());
}

}  // namespace

RunSocket::RunSocket(App& app, Request head, Principal who)
    : app_(app), head_(std::move(head)), who_(std::move(who)) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("connected");
  out.key("requires_auth"), out.boolean(!who_.signed_in);
  out.end_object();
  out_.push_back(out.take());
}

void RunSocket::say(std::string json) {
  {
    const std::lock_guard guard(mutex_);
    if (closed_) return;
    out_.push_back(std::move(json));
  }
  wake();
}

void RunSocket::say_error(std::string_view action, const std::string& what,
                          std::string_view event) {
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string(event);
  if (!action.empty()) out.key("action"), out.string(action);
  out.key("error"), out.string(what);
  out.end_object();
  say(out.take());
}

// A problem document as a message.
void RunSocket::say_problem(std::string_view action, const Response& response) {
  const auto problem = cel::from_json(response.body);
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("error");
  out.key("action"), out.string(action);
  out.key("status"), out.integer(response.status);
  out.key("error"), out.string(problem ? text_of(*problem, "detail") : "it was refused");
  const cel::Value* errors = problem ? problem->find("errors") : nullptr;
  if (errors != nullptr) out.key("errors"), out.raw(cel::to_json(*errors));
  out.end_object();
  say(out.take());
}

void RunSocket::wake() {
  std::function<void()> ready;
  {
    const std::lock_guard guard(mutex_);
    ready.swap(ready_);
  }
  if (ready) ready();
}

bool RunSocket::admitted() {
  const std::lock_guard guard(mutex_);
  return who_.signed_in;
}

void RunSocket::closed() {
  std::vector<std::shared_ptr<Following>> runs;
  std::function<void()> ready;
  std::function<void()> more;
  const std::lock_guard guard(mutex_);
  closed_ = true;
  runs.swap(runs_);
  ready.swap(ready_);
  more.swap(more_);
  actions_.clear();
  out_.clear();
}

// ---- events out

SocketPeer::Pull RunSocket::pull(size_t most, std::function<void()> ready) {
  Pull out;
  std::function<void()> more;
  {
    const std::lock_guard guard(mutex_);
    collect(out, most);
    if (out.messages.empty()) ready_ = std::move(ready);
    more = take_more();
  }
  if (more) more();
  return out;
}

void RunSocket::collect(Pull& out, size_t most) {
  size_t bytes = 0;
  while (!out_.empty() && bytes < most) {
    bytes += out_.front().size();
    out.messages.push_back({make_piece(std::move(out_.front()))});
    out_.pop_front();
  }
  // Each run in turn, so that a talkative one does not keep the others waiting.
  size_t idle = 0;
  while (bytes < most && idle < runs_.size() && out_.empty()) {
    turn_ = turn_ >= runs_.size() ? 0 : turn_;
    Following& run = *runs_[turn_];
    if (run.reader.cursor() >= run.notice_at) {
      run.notice_at = UINT64_MAX;
      bytes += run.notice.size();
      out.messages.push_back({make_piece(std::move(run.notice))});
    }
    std::function<void()> wake_up = [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->wake();
    };
    const auto frames = run.reader.next(run_share_bytes, &wake_up, run.notice_at);
    if (frames) {
      const Segment& segment = *frames->segment;
      for (size_t i = frames->begin; i < frames->end; ++i) {
        const Frame& frame = segment.frames[i];
        bytes += frame.json_size;
        out.messages.push_back(
            {{segment.text, std::string_view(*segment.text).substr(frame.json, frame.json_size)}});
      }
      idle = 0;
    } else {
      ++idle;
    }
    if (run.reader.ended() && run.reader.cursor() < run.notice_at) {
      runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(turn_));
      idle = 0;
    } else {
      ++turn_;
    }
  }
}

bool RunSocket::follows(std::string_view run_id) {
  const std::lock_guard guard(mutex_);
  return std::ranges::any_of(runs_, [&](const auto& r) { return r->run_id == run_id; });
}

bool RunSocket::follow(const store::RunHeader& run, Reader::Rules rules, std::string notice,
                       uint64_t notice_at) {
  auto feed = app_.feeds().open(run);
  if (!feed) {
    say_error("", feed.error().message);
    return false;
  }
  auto following = std::make_shared<Following>(std::move(*feed), rules);
  following->run_id = run.id;
  following->notice = std::move(notice);
  following->notice_at = notice_at;
  {
    const std::lock_guard guard(mutex_);
    if (closed_) return false;
    if (runs_.size() < max_followed_runs) {
      // A new place in a run takes that of the old one.
      std::erase_if(runs_, [&](const auto& r) { return r->run_id == run.id; });
      runs_.push_back(std::move(following));
    }
  }
  if (following != nullptr) {
    say_error("", "a socket follows at most " + std::to_string(max_followed_runs) + " runs");
    return false;
  }
  wake();
  return true;
}

// ---- actions in

bool RunSocket::full() const {
  return actions_.size() >= max_waiting_actions || out_.size() >= max_waiting_answers;
}

// Of what was kept back, when half of it is done.
std::function<void()> RunSocket::take_more() {
  const bool room =
      actions_.size() < max_waiting_actions / 2 && out_.size() < max_waiting_answers / 2;
  return room ? std::exchange(more_, nullptr) : nullptr;
}

bool RunSocket::received(std::string text, std::function<void()> more) {
  bool begin = false;
  bool go_on = true;
  {
    const std::lock_guard guard(mutex_);
    if (closed_) return true;
    actions_.push_back(std::move(text));
    begin = !std::exchange(busy_, true);
    go_on = !full();
    if (!go_on) more_ = std::move(more);
  }
  if (begin) app_.workers().post([self = shared_from_this()] { self->step(); });
  return go_on;
}

void RunSocket::step() {
  std::string text;
  std::function<void()> more;
  {
    const std::lock_guard guard(mutex_);
    if (closed_ || actions_.empty()) {
      busy_ = false;
      return;
    }
    text = std::move(actions_.front());
    actions_.pop_front();
    more = take_more();
  }
  if (more) more();
  act(text, [self = shared_from_this()] { self->app_.workers().post([self] { self->step(); }); });
}

void RunSocket::act(const std::string& text, Done done) {
  const auto message = cel::from_json(text);
  if (!message || message->kind() != cel::Kind::map) {
    say_error("", message ? "a message is a JSON object with an `action`"
                          : "this is not JSON: " + message.error().message);
    return done();
  }
  const std::string action = text_of(*message, "action");
  if (action == "authenticate") {
    authenticate(*message);
    return done();
  }
  bool signed_in = false;
  {
    const std::lock_guard guard(mutex_);
    signed_in = who_.signed_in;
  }
  if (!signed_in) {
    say_error(action, "send the action `authenticate` with a `token` first", "auth_required");
    return done();
  }
  if (action == "ping") {
    say(R"({"event":"pong"})");
    return done();
  }
  if (action == "start-workflow") return start(*message, std::move(done));
  if (action == "continue-workflow") return answer(*message, std::move(done));
  if (action == "cancel-run") return command(*message, "cancel", std::move(done));
  if (action == "signal") return command(*message, "signal", std::move(done));
  if (action == "reconnect") {
    reconnect(*message);
  } else if (action == "unsubscribe") {
    unsubscribe(*message);
  } else {
    say_error(action.substr(0, 100),
              "there is no such action; there are authenticate, ping, start-workflow, reconnect, "
              "continue-workflow, cancel-run, signal, unsubscribe");
  }
  done();
}

void RunSocket::authenticate(const cel::Value& message) {
  Principal who;
  if (!app_.guard().requires_auth()) {
    who = app_.guard().who(head_);
  } else if (auto known = app_.guard().by_token(text_of(message, "token"))) {
    who = std::move(*known);
  }
  if (!who.signed_in)
    return say_error("authenticate", "this is no token of this server", "auth_error");
  {
    const std::lock_guard guard(mutex_);
    who_ = who;
  }
  say(R"({"event":"authenticated"})");
}

void RunSocket::start(const cel::Value& message, Done done) {
  const std::string key = text_of(message, "idempotency_key");
  app_.perform(
      who_, "POST", {"workflows", text_of(message, "workflow_id"), "runs"},
      body_of(message, {"message", "input", "session_id", "user_id", "run_id", "version"},
              {{"stream", cel::Value::boolean(false)}, {"background", cel::Value::boolean(true)}}),
      key, [self = shared_from_this(), done](Response response) {
        // On a thread of the engine's, perhaps.
        self->app_.workers().post([self, done, response = std::move(response)] {
          if (response.status != 202) {
            self->say_problem("start-workflow", response);
            return done();
          }
          const auto started = cel::from_json(response.body);
          const auto run = self->app_.store().find(text_of(*started, "run_id"));
          if (run && *run) self->follow(**run, {});
          done();
        });
      });
}

std::optional<store::RunHeader> RunSocket::run_of(const cel::Value& message,
                                                  std::string_view action) {
  auto found = app_.find_run(who_, text_of(message, "workflow_id"), text_of(message, "run_id"));
  if (const auto* problem = std::get_if<Problem>(&found)) {
    say_error(action, problem->detail);
    return std::nullopt;
  }
  store::RunHeader run = std::move(std::get<store::RunHeader>(found));
  const std::string session = text_of(message, "session_id");
  if (!session.empty() && session != run.session_id) {
    say_error(action, "the session has no such run");
    return std::nullopt;
  }
  return run;
}

void RunSocket::reconnect(const cel::Value& message) {
  const auto run = run_of(message, "reconnect");
  if (!run) return;
  uint64_t from = 0;
  if (const cel::Value* last = message.find("last_event_index"); last && !last->is_null()) {
    if (last->kind() != cel::Kind::int_ || last->as_int() < -1)
      return say_error("reconnect", "`last_event_index` is an integer of at least -1");
    from = static_cast<uint64_t>(last->as_int() + 1);
  }
  auto feed = app_.feeds().open(*run);
  if (!feed) return say_error("reconnect", feed.error().message);
  const Feed::State state = (*feed)->state();
  const auto missed = count_missed(app_.store(), *run, from, state);
  if (!missed) return say_error("reconnect", missed.error().message);
  if (state.ended || state.status == machine::RunStatus::paused) {
    say(replay_notice(*run, from, *missed, state));
    follow(*run, {.from = from, .stop_at = state.next_index});
    return;
  }
  say(catch_up_notice(*run, *missed, state));
  follow(*run, {.from = std::min(from, state.next_index)}, subscribed_notice(*run, state),
         state.next_index);
}

void RunSocket::answer(const cel::Value& message, Done done) {
  const auto run = run_of(message, "continue-workflow");
  if (!run) return done();
  if (!follows(run->id)) {
    const auto size = app_.store().stream_size(run->key);
    if (!size || !follow(*run, {.from = *size})) return done();
  }
  app_.perform(
      who_, "POST", {"workflows", run->workflow, "runs", run->id, "continue"},
      body_of(message, {"step_requirements"},
              {{"stream", cel::Value::boolean(false)}, {"background", cel::Value::boolean(true)}}),
      "", [self = shared_from_this(), done](Response response) {
        if (response.status != 202) self->say_problem("continue-workflow", response);
        done();
      });
}

// An action on a run that is a route of the same name.
void RunSocket::command(const cel::Value& message, std::string_view route, Done done) {
  const std::string action = text_of(message, "action");
  const auto run = run_of(message, action);
  if (!run) return done();
  const std::string body = route == "cancel" ? body_of(message, {"reason", "kill"})
                                             : body_of(message, {"name", "value"});
  app_.perform(who_, "POST", {"workflows", run->workflow, "runs", run->id, std::string(route)},
               body, text_of(message, "idempotency_key"),
               [self = shared_from_this(), done, action, id = run->id](Response response) {
                 if (response.status >= 300) {
                   self->say_problem(action, response);
                 } else {
                   JsonWriter out;
                   out.begin_object();
                   out.key("event"), out.string("accepted");
                   out.key("action"), out.string(action);
                   out.key("run_id"), out.string(id);
                   out.end_object();
                   self->say(out.take());
                 }
                 done();
               });
}

void RunSocket::unsubscribe(const cel::Value& message) {
  const std::string id = text_of(message, "run_id");
  size_t gone = 0;
  {
    const std::lock_guard guard(mutex_);
    gone = std::erase_if(runs_, [&](const auto& r) { return r->run_id == id; });
  }
  if (gone == 0) return say_error("unsubscribe", "this socket does not follow that run");
  JsonWriter out;
  out.begin_object();
  out.key("event"), out.string("unsubscribed");
  out.key("run_id"), out.string(id);
  out.end_object();
  say(out.take());
}

}  // namespace kflow::server
