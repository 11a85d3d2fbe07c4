// App: what stands behind the routes: store, engine, programs, feeds; and the way of a request
// through them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>

#include "runtime/engine/engine.hpp"
#include "runtime/observe/metrics.hpp"
#include "runtime/server/feed.hpp"
#include "runtime/server/guard.hpp"
#include "runtime/server/network.hpp"
#include "runtime/server/programs.hpp"
#include "runtime/server/reader.hpp"
#include "runtime/server/router.hpp"
#include "runtime/server/workers.hpp"

namespace kflow::server {

/// Thread-safe, but for `admit`, `handle` and `upgrade`.
class App final : public Handler {
 public:
  struct Parts {
    std::shared_ptr<store::Store> store;
    std::shared_ptr<engine::Clock> clock;
    std::unique_ptr<Programs> programs;
    Network* network = nullptr;
    std::string project_root;
    std::string version;
    const observe::Registry* registry = nullptr;  ///< of what the engine did
    std::function<void(const std::string&)> say;
  };
  App(Parts parts, const Options& options);
  ~App() override;
  void set_engine(engine::Engine* engine) { engine_ = engine; }
  /// Ends what waits: requests that would be answered later are told to come again.
  void stop();

  std::optional<Response> admit(const Request& head) override;
  void handle(Request request, Reply reply) override;
  std::shared_ptr<SocketPeer> upgrade(const Request& head, Response& refusal) override;

  // What handlers use.
  store::Store& store() { return *parts_.store; }
  engine::Engine& engine() { return *engine_; }
  Programs& programs() { return *parts_.programs; }
  const Parts& parts() const { return parts_; }
  Feeds& feeds() { return feeds_; }
  Guard& guard() { return guard_; }
  Router& router() { return router_; }
  const Options& options() const { return options_; }
  Workers& workers() { return workers_; }
  machine::Millis now() const { return parts_.clock->now(); }
  const std::string& openapi() const { return openapi_; }
  /// False: too many runs are being started. Each true is ended by `start_ended`.
  bool start_begun();
  void start_ended() { --starting_; }

  /// Does what a route does, for a client that speaks otherwise; `segments` are of its path. On a
  /// worker's thread; `reply` is called there or later.
  void perform(const Principal& who, std::string_view method,
               const std::vector<std::string>& segments, std::string json, std::string key,
               Reply reply);

  /// The run that a call means, if its caller may see it; a problem with 404 or 500 else. "" for
  /// `workflow`: of any.
  std::variant<store::RunHeader, Problem> find_run(const Principal& who, std::string_view workflow,
                                                   std::string_view run);
  /// Answers with the run's document when it has ended or is PAUSED, with events beyond `after`.
  /// Not if its client has gone.
  void answer_at_end(CallPtr call, std::shared_ptr<Feed> feed, uint64_t after);
  size_t waiting();  ///< requests that are answered at the end of a run

 private:
  friend class EndWaiter;
  void forget(const std::shared_ptr<class EndWaiter>& waiter);
  void add_routes();
  void run(const CallPtr& call, const Router::Match& match);
  Response finished(const Request& request, Response response) const;

  Parts parts_;
  Options options_;
  Guard guard_;
  Router router_;
  Workers workers_;
  Feeds feeds_;
  engine::Engine* engine_ = nullptr;
  std::string openapi_;
  std::atomic<uint64_t> starting_ = 0;
  std::mutex waiters_mutex_;
  std::set<std::shared_ptr<class EndWaiter>> waiters_;
  bool stopping_ = false;
};

/// The status that an error of ours is answered with, and its message.
Problem problem_of(const Error& error);
/// `call` gets a problem document.
void answer(const CallPtr& call, const Problem& problem);
void answer(const CallPtr& call, const Error& error);
/// 422 with what is wrong with a workflow's input; `before`: of each path.
Problem input_problem(std::span<const engine::InputProblem> problems, const std::string& before);
/// Calls `then` with the run that the call means (workflow_id, run_id, session_id, user_id), or
/// answers that there is none.
void with_run(App& app, const CallPtr& call,
              const std::function<void(const store::RunHeader&)>& then);
/// An SSE response.
Response event_response(std::shared_ptr<Stream> stream);
/// 202 or 200 with ids and status.
Response started_response(int status, const store::RunHeader& run);

// routes_*.cpp: each adds its part of the table.
void add_system_routes(App& app);
void add_workflow_routes(App& app);
void add_start_routes(App& app);
void add_run_routes(App& app);
void add_control_routes(App& app);
void add_session_routes(App& app);
void add_schedule_routes(App& app);

}  // namespace kflow::server
