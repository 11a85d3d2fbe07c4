// Calls from other threads, and waiting for commits.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "compiler/ir/requirements.hpp"
#include "runtime/activities/functions.hpp"
#include "runtime/engine/impl.hpp"

namespace kflow::engine {

// Functions of the embedding program that the workflow may call and that this process does not
// have.
static std::string missing_functions(const ir::Program& program, ir::CallableId workflow,
                                     const activities::Options& options) {
  std::string out;
  const auto* later = dynamic_cast<const activities::AsyncFunctions*>(options.stand_in.get());
  for (const std::string& name : ir::requirements(program, workflow).functions) {
    if (options.functions.contains(name) || (later != nullptr && later->contains(name))) continue;
    out += (out.empty() ? "`" : ", `") + name + "`";
  }
  return out;
}

void Engine::Impl::start(std::shared_ptr<const ir::Program> program, ir::CallableId workflow,
                         const cel::Value& input, const StartOptions& options, Then then) {
  if (const std::string missing = missing_functions(*program, workflow, options_.activities);
      !missing.empty()) {
    return then(fail(ErrorCode::invalid_argument,
                     "the workflow calls functions of an embedding program that this process does "
                     "not have: " +
                         missing + "; an `extern tool` with a `command` runs anywhere"));
  }
  auto checked = check_input(*program, workflow, input);
  if (!checked) return then(std::unexpected(std::move(checked).error()));
  auto pending = std::make_shared<PendingStart>();
  pending->program = std::move(program);
  pending->workflow = workflow;
  pending->input = std::move(*checked);
  pending->options = options;
  pending->then = std::move(then);
  post([this, pending] { starts_.push_back(pending); });
}

Result<StartedRun> Engine::Impl::start(std::shared_ptr<const ir::Program> program,
                                       ir::CallableId workflow, const cel::Value& input,
                                       const StartOptions& options) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Result<StartedRun>> result;
  };
  const auto answer = std::make_shared<Answer>();
  start(std::move(program), workflow, input, options, [answer](Result<StartedRun> result) {
    const std::lock_guard guard(answer->mutex);
    answer->result = std::move(result);
    answer->changed.notify_all();
  });
  std::unique_lock lock(answer->mutex);
  answer->changed.wait(lock, [&] { return answer->result.has_value(); });
  return std::move(*answer->result);
}

Result<void> Engine::Impl::resume(RunKey run, std::shared_ptr<const ir::Program> next) {
  struct Answer {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Result<void>> result;
  };
  auto answer = std::make_shared<Answer>();
  const auto attempt = std::make_shared<std::function<void()>>();
  *attempt = [this, run, next, answer, attempt] {
    const auto here = runs_.find(run);
    // It has just ended here, and is let go in a moment.
    if (here != runs_.end() && is_final(here->second->header.status) && !stopping_)
      return post(*attempt);
    Result<void> result;
    if (here == runs_.end()) {
      result = claim(run, next);
    } else if (next != nullptr) {
      result = fail(ErrorCode::conflict, "the run is being executed");
    }
    {
      const std::lock_guard guard(answer->mutex);
      answer->result = std::move(result);
      answer->changed.notify_all();
    }
    *attempt = {};  // it holds itself
  };
  post(*attempt);
  std::unique_lock lock(answer->mutex);
  answer->changed.wait(lock, [&] { return answer->result.has_value(); });
  return std::move(*answer->result);
}

Result<RunHeader> Engine::Impl::wait(RunKey run, int timeout_ms) {
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms < 0 ? 0 : timeout_ms);
  Waiting::Wait waiting(waiting_, Waiting::For::end, run);
  for (;;) {
    const uint64_t before = waiting.begin();
    auto header = store_->header(run);
    if (!header) return std::unexpected(std::move(header).error());
    if (!*header) return fail(ErrorCode::not_found, "no such run");
    if (is_final((*header)->status)) return std::move(**header);
    if (timeout_ms >= 0 && std::chrono::steady_clock::now() >= until) return std::move(**header);
    waiting.wait(before, timeout_ms < 0 ? std::nullopt : std::optional(until));
  }
}

bool Engine::Impl::wait_for_events(RunKey run, uint64_t seq, int timeout_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  Waiting::Wait waiting(waiting_, Waiting::For::events, run);
  for (;;) {
    const uint64_t before = waiting.begin();
    const auto chunks = store_->read(run, seq, 1);
    if (!chunks || !chunks->empty()) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    waiting.wait(before, until);
  }
}

bool Engine::Impl::wait_for_stream(RunKey run, uint64_t size, int timeout_ms) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  Waiting::Wait waiting(waiting_, Waiting::For::events, run);
  for (;;) {
    const uint64_t before = waiting.begin();
    const auto now = store_->stream_size(run);
    if (!now || *now > size) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    waiting.wait(before, until);
  }
}

void Engine::Impl::notify_commit(const std::vector<RunKey>& runs,
                                 const std::vector<RunKey>& ended) {
  if (options_.on_events && !runs.empty()) options_.on_events(runs);
  waiting_.committed(runs, ended);
}

void Engine::Impl::notify_all() {
  if (options_.on_events) options_.on_events({});
  waiting_.all();
}

}  // namespace kflow::engine
