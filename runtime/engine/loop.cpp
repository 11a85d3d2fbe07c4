// The loop: what comes in, timers, sleep.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "compiler/base/check.hpp"
#include "compiler/cel/value_codec.hpp"
#include "runtime/engine/impl.hpp"

namespace kflow::engine {
namespace {
constexpr Millis longest_poll_ms = 3'600'000;
}

Result<void> Engine::Impl::open() {
  auto bell = Doorbell::open();
  if (!bell) return std::unexpected(std::move(bell).error());
  bell_ = std::move(*bell);
  auto owner = store_->register_owner(bell_->address());
  if (!owner) return std::unexpected(std::move(owner).error());
  owner_ = *owner;
  alarm_ = options_.clock->alarm();
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  stop_watch_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  options_.activities.on_delta = [this](uint64_t token, bool reasoning, std::string text) {
    on_delta(token, reasoning, std::move(text));
  };
  activities_ = std::make_unique<activities::Activities>(
      options_.activities, [this](activities::Completion c) { on_completion(std::move(c)); });
  committer_ = std::thread([this] { commit_loop(); });
  loop_ = std::thread([this] { loop(); });
  if (options_.adopt) watcher_ = std::thread([this] { watch(); });
  return {};
}

Engine::Impl::~Impl() {
  post([this] { stopping_ = true; });
  if (loop_.joinable()) loop_.join();
  {
    const std::lock_guard guard(commit_mutex_);
    commit_stop_ = true;
  }
  commit_changed_.notify_all();
  if (committer_.joinable()) committer_.join();
  signal_fd(stop_watch_);
  if (watcher_.joinable()) watcher_.join();
  activities_.reset();
  if (wake_ >= 0) ::close(wake_);
  if (stop_watch_ >= 0) ::close(stop_watch_);
}

void Engine::Impl::signal_fd(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
}

void Engine::Impl::post(std::function<void()> task) {
  {
    const std::lock_guard guard(inbox_mutex_);
    inbox_.push_back(std::move(task));
  }
  signal_fd(wake_);
}

void Engine::Impl::on_completion(activities::Completion completion) {
  {
    const std::lock_guard guard(inbox_mutex_);
    completions_.push_back(std::move(completion));
  }
  signal_fd(wake_);
}

void Engine::Impl::trouble(const std::string& what) const {
  if (options_.on_trouble) options_.on_trouble(what);
  if (options_.observer) options_.observer->trouble(what);
}

void Engine::Impl::loop() {
  if (options_.adopt) adopt();
  for (;;) {
    drain();
    if (!stopping_) gather();
    if (!committing_) {
      if (!gathered_.empty() && (retry_at_ == 0 || stopping_)) {
        if (gathered_.size() == 1 && runs_.size() <= 1 && ready_.empty()) {
          // Nothing else could be gathered meanwhile: without the way to the other thread and back.
          commit_here(take_gathered());
        } else {
          hand_over(take_gathered());
        }
        continue;
      }
      if (stopping_) {
        shut_down();
        return;
      }
      if (retry_at_ == 0 && !(starts_.empty() && ready_.empty())) continue;
    }
    sleep();
  }
}

void Engine::Impl::drain() {
  // The bell is silenced before what it rang for is taken: what comes later rings it again.
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(wake_, &count, sizeof count);
  std::vector<std::function<void()>> tasks;
  std::vector<activities::Completion> completions;
  {
    const std::lock_guard guard(inbox_mutex_);
    tasks.swap(inbox_);
    completions.swap(completions_);
  }
  for (auto& task : tasks) task();
  take_deltas();  // those of the completions at hand were there before them
  for (auto& completion : completions) take(std::move(completion));
  if (rung_) {
    rung_ = false;
    for (const auto& [key, run] : runs_) look_into_inbox(*run);
    if (options_.adopt) adopt();
    notify_all();  // another process may have written what somebody here waits for
  }
  finish_commit();
  const Millis t = now();
  while (!timers_.empty() && timers_.begin()->first <= t) {
    const RunKey key = timers_.begin()->second;
    timers_.erase(timers_.begin());
    if (const auto it = runs_.find(key); it != runs_.end()) {
      it->second->inputs.emplace_back(machine::TickInput{});
      wake(*it->second);
    }
  }
  if (options_.adopt && next_adoption_ <= t) adopt();
}

void Engine::Impl::on_delta(uint64_t token, bool reasoning, std::string text) {
  bool first = false;
  {
    const std::lock_guard guard(delta_mutex_);
    first = deltas_.empty();
    if (!first && deltas_.back().token == token && deltas_.back().reasoning == reasoning) {
      deltas_.back().text += text;
    } else {
      deltas_.push_back({token, reasoning, std::move(text)});
    }
  }
  if (first) signal_fd(wake_);
}

// What has come of one answer since the last commit goes into one event.
void Engine::Impl::take_deltas() {
  std::vector<Piece> pieces;
  {
    const std::lock_guard guard(delta_mutex_);
    pieces.swap(deltas_);
  }
  for (Piece& piece : pieces) {
    const auto it = effects_.find(piece.token);
    if (it == effects_.end()) continue;
    const Effect& effect = it->second;
    const auto run = runs_.find(effect.run);
    if (run == runs_.end()) continue;
    const auto kind = piece.reasoning ? machine::DeltaKind::reasoning : machine::DeltaKind::text;
    auto& inputs = run->second->inputs;
    const auto same = std::find_if(inputs.rbegin(), inputs.rend(), [&](const machine::Input& i) {
      const auto* delta = std::get_if<machine::DeltaInput>(&i);
      return delta != nullptr && delta->act == effect.act;
    });
    auto* last = same == inputs.rend() ? nullptr : std::get_if<machine::DeltaInput>(&*same);
    if (last != nullptr && last->attempt == effect.attempt && last->kind == kind) {
      last->text += piece.text;
    } else {
      inputs.emplace_back(
          machine::DeltaInput{effect.act, effect.attempt, kind, std::move(piece.text)});
    }
    wake(*run->second);
  }
}

void Engine::Impl::take(activities::Completion completion) {
  const auto it = effects_.find(completion.token);
  if (it == effects_.end()) return;  // of a run that is not ours any more
  const Effect effect = it->second;
  effects_.erase(it);
  const auto run = runs_.find(effect.run);
  if (run == runs_.end()) return;
  run->second->tokens.erase({effect.act, effect.attempt});
  machine::OutcomeInput input{.act = effect.act, .attempt = effect.attempt, .outcome = {}};
  if (auto* value = std::get_if<cel::Value>(&completion.outcome)) {
    input.outcome = std::move(*value);
  } else {
    input.outcome =
        to_run_error(std::get<activities::ActivityError>(std::move(completion.outcome)));
  }
  run->second->inputs.emplace_back(std::move(input));
  wake(*run->second);
}

void Engine::Impl::sleep() {
  Millis due = timers_.empty() ? machine::never : timers_.begin()->first;
  if (options_.adopt) due = std::min(due, next_adoption_);
  Millis left = machine::never;
  if (!committing_ && retry_at_ != 0) left = std::max<Millis>(retry_at_ - steady_ms(), 0);
  if (alarm_) {
    alarm_->set(due);
  } else if (due != machine::never) {
    left = std::min(left, std::max<Millis>(due - now(), 0));
  }
  const int timeout =
      left == machine::never ? -1 : static_cast<int>(std::min(left, longest_poll_ms));
  pollfd fds[3] = {
      {wake_, POLLIN, 0}, {bell_->fd(), POLLIN, 0}, {alarm_ ? alarm_->fd() : -1, POLLIN, 0}};
  ::poll(fds, 3, timeout);
  if (fds[1].revents != 0) {
    bell_->drain();
    rung_ = true;
  }
}

}  // namespace kflow::engine
