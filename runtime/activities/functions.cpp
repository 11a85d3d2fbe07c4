// Functions of the embedding program that give their value later.
#include "runtime/activities/functions.hpp"

#include <fmt/format.h>

#include <mutex>
#include <unordered_map>

#include "runtime/activities/task_queue.hpp"
#include "runtime/activities/worker.hpp"

namespace kflow::activities {
namespace {

ActivityError thrown(const std::string& callee, const char* what) {
  return {.kind = "tool",
          .code = "exception",
          .message = what == nullptr ? fmt::format("`{}` threw something unknown", callee)
                                     : fmt::format("`{}`: {}", callee, what)};
}

// Shared with those who will tell a value: they may outlive the worker.
class Pending {
 public:
  std::shared_ptr<const std::atomic<bool>> add(uint64_t token, const CompletionHandler& done) {
    auto stopped = std::make_shared<std::atomic<bool>>(false);
    const std::lock_guard guard(mutex_);
    calls_.emplace(token, Entry{done, stopped});
    return stopped;
  }
  // Under the lock: whoever is told does not end in the middle of it.
  void finish(uint64_t token, Outcome outcome) {
    const std::lock_guard guard(mutex_);
    const auto it = calls_.find(token);
    if (it == calls_.end()) return;
    const CompletionHandler done = std::move(it->second.done);
    calls_.erase(it);
    done({token, std::move(outcome)});
  }
  void stop(uint64_t token) {
    const std::lock_guard guard(mutex_);
    const auto it = calls_.find(token);
    if (it == calls_.end()) return;
    *it->second.stopped = true;
    const CompletionHandler done = std::move(it->second.done);
    calls_.erase(it);
    done({token, cancelled_error()});
  }
  void stop_all() {
    const std::lock_guard guard(mutex_);
    for (const auto& [token, entry] : calls_) {
      *entry.stopped = true;
      entry.done({token, cancelled_error()});
    }
    calls_.clear();
  }

 private:
  struct Entry {
    CompletionHandler done;
    std::shared_ptr<std::atomic<bool>> stopped;
  };
  std::mutex mutex_;
  std::unordered_map<uint64_t, Entry> calls_;
};

// One call; all copies of what its function was given hold it.
class Promise {
 public:
  Promise(std::shared_ptr<Pending> pending, uint64_t token, std::string callee)
      : pending_(std::move(pending)), token_(token), callee_(std::move(callee)) {}
  ~Promise() {
    if (!told_)
      pending_->finish(
          token_, ActivityError{.kind = "tool",
                                .code = "abandoned",
                                .message = fmt::format("`{}` has dropped its call without a value",
                                                       callee_)});
  }
  Promise(const Promise&) = delete;
  Promise& operator=(const Promise&) = delete;
  void tell(Outcome outcome) {
    if (!told_.exchange(true)) pending_->finish(token_, std::move(outcome));
  }

 private:
  std::shared_ptr<Pending> pending_;
  uint64_t token_;
  std::string callee_;
  std::atomic<bool> told_ = false;
};

}  // namespace

struct AsyncFunctions::State {
  std::map<std::string, AsyncFunction, std::less<>> functions;
  std::shared_ptr<Pending> pending = std::make_shared<Pending>();
  TaskThread thread;
};

AsyncFunctions::AsyncFunctions(std::map<std::string, AsyncFunction, std::less<>> functions)
    : state_(std::make_unique<State>()) {
  state_->functions = std::move(functions);
}
AsyncFunctions::~AsyncFunctions() { forget(); }

bool AsyncFunctions::contains(std::string_view name) const {
  return state_->functions.contains(name);
}

bool AsyncFunctions::start(const Request& request, const CompletionHandler& done) {
  if (request.model != nullptr || !request.command.empty() || request.mcp) return false;
  const auto it = state_->functions.find(request.callee);
  if (it == state_->functions.end()) return false;
  auto stopped = state_->pending->add(request.token, done);
  state_->thread.post([pending = state_->pending, &function = it->second,
                       stopped = std::move(stopped), r = request] {
    if (*stopped) return;
    const auto promise = std::make_shared<Promise>(pending, r.token, r.callee);
    const AsyncCall call{.run_id = r.run_id,
                         .idempotency_key = r.idempotency_key,
                         .attempt = r.attempt,
                         .stopped = stopped};
    try {
      function(r.input, call, [promise](Outcome outcome) { promise->tell(std::move(outcome)); });
    } catch (const std::exception& e) {
      promise->tell(thrown(r.callee, e.what()));
    } catch (...) {
      promise->tell(thrown(r.callee, nullptr));
    }
  });
  return true;
}

void AsyncFunctions::cancel(uint64_t token) { state_->pending->stop(token); }
void AsyncFunctions::forget() { state_->pending->stop_all(); }

}  // namespace kflow::activities
