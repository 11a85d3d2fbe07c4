// The way of a request: site → route → who → parameters → handler.
#include "runtime/server/app.hpp"

#include <fmt/format.h>

#include "compiler/base/hash.hpp"
#include "runtime/server/documents.hpp"
#include "runtime/server/run_socket.hpp"

namespace kflow::server {
namespace {

constexpr size_t worker_threads = 4;
// A larger body is read by a worker.
constexpr size_t quick_body_bytes = 64U << 10;

constexpr std::string_view socket_path = "/workflows/ws";

bool changes_something(std::string_view method) {
  return method != "GET" && method != "HEAD" && method != "OPTIONS";
}

}  // namespace

Problem problem_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
      return {422, error.message};
    case ErrorCode::not_found:
      return {404, error.message};
    case ErrorCode::already_exists:
    case ErrorCode::conflict:
      return {409, error.message};
    case ErrorCode::permission:
      return {403, error.message};
    case ErrorCode::limit:
      return {413, error.message};
    case ErrorCode::unavailable:
    case ErrorCode::timeout:
    case ErrorCode::cancelled:
      return {503, error.message};
    case ErrorCode::no_space:
      return {507, error.message};
    case ErrorCode::corrupt:
    case ErrorCode::incompatible:
    case ErrorCode::io:
    case ErrorCode::internal:
      return {500, error.message};
  }
  return {500, error.message};
}

void answer(const CallPtr& call, const Problem& problem) { call->reply(to_response(problem)); }
void answer(const CallPtr& call, const Error& error) { answer(call, problem_of(error)); }

Problem input_problem(std::span<const engine::InputProblem> problems, const std::string& before) {
  Problem out{422, ""};
  for (const engine::InputProblem& p : problems) {
    const std::string path = p.path.empty() ? "" : before + p.path;
    out.detail +=
        (out.detail.empty() ? "" : "; ") + (path.empty() ? p.rule : "`" + path + "` " + p.rule);
    out.errors.emplace_back(path, p.rule);
  }
  return out;
}

void with_run(App& app, const CallPtr& call,
              const std::function<void(const store::RunHeader&)>& then) {
  const auto found = app.find_run(call->who, call->text("workflow_id"), call->text("run_id"));
  if (const auto* problem = std::get_if<Problem>(&found)) return answer(call, *problem);
  const store::RunHeader& run = std::get<store::RunHeader>(found);
  if (call->has("session_id") && call->text("session_id") != run.session_id)
    return answer(call, Problem{404, "the session has no such run"});
  // Of a run that is nobody's in particular, anybody may be the user.
  if (call->has("user_id") && !run.user_id.empty() && call->text("user_id") != run.user_id)
    return answer(call, Problem{404, "the user has no such run"});
  then(run);
}

Response event_response(std::shared_ptr<Stream> stream) {
  return {.status = 200,
          .content_type = "text/event-stream",
          .headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}},
          .stream = std::move(stream)};
}

Response started_response(int status, const store::RunHeader& run) {
  JsonWriter out;
  out.begin_object();
  out.key("run_id"), out.string(run.id);
  out.key("session_id"), out.string(run.session_id);
  out.key("status"), out.string(machine::to_string(run.status));
  out.end_object();
  return json_response(status, out.take());
}

App::App(Parts parts, const Options& options)
    : parts_(std::move(parts)),
      options_(options),
      guard_(options),
      workers_(worker_threads),
      feeds_({.store = parts_.store,
              .workers = &workers_,
              .on_network = [network = parts_.network](std::function<void()> task) {
                network->post(std::move(task));
              }}) {
  add_routes();
}

App::~App() { workers_.stop(); }

void App::add_routes() {
  add_system_routes(*this);
  add_workflow_routes(*this);
  add_start_routes(*this);
  add_run_routes(*this);
  add_control_routes(*this);
  add_session_routes(*this);
  add_schedule_routes(*this);
  openapi_ = router_.openapi(parts_.version);
}

bool App::start_begun() {
  if (starting_.fetch_add(1) < options_.limits.starts) return true;
  --starting_;
  return false;
}

std::optional<Response> App::admit(const Request& head) {
  const bool socket = head.count("upgrade") > 0;
  if (auto problem = guard_.check_site(head, changes_something(head.method) || socket))
    return finished(head, to_response(*problem));
  // Who it is, is asked there. Other upgrades are offers, which are not taken.
  const std::string* wanted = head.header("upgrade");
  if (wanted != nullptr && equal_ignoring_case(*wanted, "websocket")) return std::nullopt;
  auto match = router_.match(head.method, head.target);
  if (head.method == "OPTIONS" && !match.allow.empty()) {
    Response out{.status = 204, .headers = {{"Allow", match.allow}}};
    if (!guard_.cors_origin(head).empty()) {
      out.headers.emplace_back("Access-Control-Allow-Methods", match.allow);
      out.headers.emplace_back("Access-Control-Allow-Headers",
                               "Authorization, Content-Type, Idempotency-Key, Last-Event-ID");
      out.headers.emplace_back("Access-Control-Max-Age", "600");
    }
    return finished(head, std::move(out));
  }
  if (match.problem) {
    Response out = to_response(*match.problem);
    if (match.problem->status == 405) out.headers.emplace_back("Allow", match.allow);
    return finished(head, std::move(out));
  }
  if (auto problem = guard_.check(guard_.who(head), head, match.route->scope)) {
    Response out = to_response(*problem);
    if (problem->status == 401) out.headers.emplace_back("WWW-Authenticate", "Bearer");
    return finished(head, std::move(out));
  }
  return std::nullopt;
}

std::shared_ptr<SocketPeer> App::upgrade(const Request& head, Response& refusal) {
  const std::string path = head.target.substr(0, head.target.find('?'));
  if (path != socket_path || head.method != "GET") {
    refusal = to_response({404, "there is no WebSocket at this path"});
    return nullptr;
  }
  return std::make_shared<RunSocket>(*this, head, guard_.who(head));
}

// What every response gets.
Response App::finished(const Request& request, Response response) const {
  if (const std::string origin = guard_.cors_origin(request); !origin.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Origin", origin);
    response.headers.emplace_back("Access-Control-Allow-Credentials", "true");
    response.headers.emplace_back("Vary", "Origin");
  }
  return response;
}

void App::handle(Request request, Reply reply) {
  auto call = std::make_shared<Call>();
  auto match = std::make_shared<Router::Match>(router_.match(request.method, request.target));
  call->who = guard_.who(request);
  call->route = match->route;
  call->reply = std::move(reply);
  if (!options_.cors.empty()) {
    Request head = request;
    head.body.clear();
    call->reply = [this, head = std::move(head), inner = std::move(call->reply)](Response r) {
      inner(finished(head, std::move(r)));
    };
  }
  const std::string* type = request.header("content-type");
  const bool quick = match->route->quick && request.body.size() <= quick_body_bytes &&
                     (type == nullptr || !lower(*type).starts_with("multipart/"));
  call->request = std::move(request);
  if (quick) return run(call, *match);
  workers_.post([this, call, match] { run(call, *match); });
}

void App::run(const CallPtr& call, const Router::Match& match) {
  if (auto problem = router_.fill(*call, match)) return answer(call, *problem);
  call->route->run(call);
}

namespace {

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace

void App::perform(const Principal& who, std::string_view method,
                  const std::vector<std::string>& segments, std::string json, std::string key,
                  Reply reply) {
  auto call = std::make_shared<Call>();
  call->request.method = method;
  for (const std::string& segment : segments) call->request.target += "/" + percent_encode(segment);
  call->request.headers.emplace_back("content-type", "application/json");
  if (!key.empty()) call->request.headers.emplace_back("idempotency-key", std::move(key));
  call->request.body = std::move(json);
  call->who = who;
  call->reply = std::move(reply);
  const auto match = router_.match(method, call->request.target);
  if (match.problem) return answer(call, *match.problem);
  if (auto problem = guard_.check(who, call->request, match.route->scope))
    return answer(call, *problem);
  call->route = match.route;
  run(call, match);
}

std::variant<store::RunHeader, Problem> App::find_run(const Principal& who,
                                                      std::string_view workflow,
                                                      std::string_view run) {
  auto found = store().find(run);
  if (!found) return problem_of(found.error());
  const bool seen = *found && (workflow.empty() || (*found)->workflow == workflow) &&
                    (who.user_id.empty() || (*found)->user_id == who.user_id);
  if (!seen)
    return Problem{404, workflow.empty() ? "there is no such run" : "the workflow has no such run"};
  return std::move(**found);
}

/// Waits for the end of a run on behalf of a request, while its client is there.
class EndWaiter : public std::enable_shared_from_this<EndWaiter> {
 public:
  EndWaiter(App& app, CallPtr call, std::shared_ptr<Feed> feed, uint64_t after)
      : app_(app), call_(std::move(call)), feed_(std::move(feed)), after_(after) {}

  void begin() {
    if (const auto caller = call_->request.caller) {
      caller->when_gone([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->drop();
      });
    }
    look();
  }
  void stop() {
    if (auto call = take())
      answer(call, Problem{503, "the server stops; the run goes on, ask for it again"});
  }

 private:
  void look() {
    const Feed::State state = feed_->state();
    const bool there = state.gone || (state.next_index > after_ &&
                                      (state.ended || state.status == machine::RunStatus::paused));
    if (there) return app_.workers().post([self = shared_from_this()] { self->answer_now(); });
    const uint64_t id = feed_->park([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->look();
    });
    {
      const std::lock_guard guard(mutex_);
      if (call_ != nullptr) parked_ = id;
    }
    if (parked() != id) return feed_->unpark(id);
    // It may have changed in between.
    const Feed::State now = feed_->state();
    if (now.next_index != state.next_index || now.status != state.status ||
        now.ended != state.ended || now.gone)
      feed_->changed();
  }
  void answer_now() {
    const auto header = app_.store().header(feed_->run().key);
    auto document = !header || !*header
                        ? Result<std::string>(fail(ErrorCode::not_found, "the run is gone"))
                        : run_document(app_.store(), **header, false);
    if (auto call = take()) {
      document ? call->reply(json_response(200, std::move(*document)))
               : answer(call, document.error());
    }
    app_.forget(shared_from_this());
  }
  // Nobody is there to be answered.
  void drop() {
    (void)take();
    app_.forget(shared_from_this());
  }
  uint64_t parked() {
    const std::lock_guard guard(mutex_);
    return parked_;
  }
  // Whoever gets it answers.
  CallPtr take() {
    uint64_t parked = 0;
    CallPtr call;
    {
      const std::lock_guard guard(mutex_);
      call = std::exchange(call_, nullptr);
      parked = std::exchange(parked_, 0);
    }
    if (parked != 0) feed_->unpark(parked);
    return call;
  }

  App& app_;
  std::mutex mutex_;
  CallPtr call_;
  std::shared_ptr<Feed> feed_;
  const uint64_t after_;
  uint64_t parked_ = 0;
};

void App::answer_at_end(CallPtr call, std::shared_ptr<Feed> feed, uint64_t after) {
  auto waiter = std::make_shared<EndWaiter>(*this, std::move(call), std::move(feed), after);
  bool late = false;
  {
    const std::lock_guard guard(waiters_mutex_);
    late = stopping_;
    if (!late) waiters_.insert(waiter);
  }
  late ? waiter->stop() : waiter->begin();
}

void App::forget(const std::shared_ptr<EndWaiter>& waiter) {
  const std::lock_guard guard(waiters_mutex_);
  waiters_.erase(waiter);
}

size_t App::waiting() {
  const std::lock_guard guard(waiters_mutex_);
  return waiters_.size();
}

void App::stop() {
  std::set<std::shared_ptr<EndWaiter>> waiters;
  {
    const std::lock_guard guard(waiters_mutex_);
    stopping_ = true;
    waiters.swap(waiters_);
  }
  for (const auto& waiter : waiters) waiter->stop();
}

}  // namespace kflow::server
