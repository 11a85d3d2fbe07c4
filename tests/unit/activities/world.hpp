// Effects with a folder of their own to work in, and somebody who waits for what comes of them.
#pragma once

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/activities/activity.hpp"
#include "tests/support/catch.hpp"

namespace kflow::activities {

/// The secrets that are set, by name.
using Secrets = std::map<std::string, std::string, std::less<>>;

class World {
 public:
  explicit World(Secrets secrets = {}, std::shared_ptr<Tape> tape = nullptr)
      : root(std::filesystem::temp_directory_path() /
             ("kflow-activities-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(root);
    std::filesystem::create_directories(root);
    Options options{.file_roots = {root.string()}, .log = {}};
    options.tape = std::move(tape);
    options.secret = [secrets](std::string_view name) -> std::optional<std::string> {
      const auto it = secrets.find(name);
      return it == secrets.end() ? std::nullopt : std::optional(it->second);
    };
    activities_ = std::make_unique<Activities>(std::move(options), [this](Completion c) {
      const std::lock_guard guard(mutex_);
      done_[c.token].push_back(std::move(c));
      changed_.notify_all();
    });
  }
  ~World() {
    activities_.reset();
    std::filesystem::remove_all(root);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  uint64_t start(std::string callee, cel::Value input, std::vector<std::string> command = {}) {
    const uint64_t token = ++last_;
    activities_->start({.token = token,
                        .callee = std::move(callee),
                        .command = std::move(command),
                        .input = std::move(input),
                        .idempotency_key = "key-1",
                        .run_id = "run",
                        .attempt = 1});
    return token;
  }
  std::variant<cel::Value, ActivityError> wait(uint64_t token) {
    std::unique_lock lock(mutex_);
    REQUIRE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !done_[token].empty(); }));
    CHECK(done_[token].size() == 1);
    return done_[token].front().outcome;
  }
  cel::Value value(std::string callee, cel::Value input, std::vector<std::string> command = {}) {
    auto outcome = wait(start(std::move(callee), std::move(input), std::move(command)));
    if (const auto* e = std::get_if<ActivityError>(&outcome)) FAIL(e->message);
    return std::get<cel::Value>(outcome);
  }
  ActivityError error(std::string callee, cel::Value input, std::vector<std::string> command = {}) {
    auto outcome = wait(start(std::move(callee), std::move(input), std::move(command)));
    REQUIRE(std::holds_alternative<ActivityError>(outcome));
    return std::get<ActivityError>(outcome);
  }
  void cancel(uint64_t token) { activities_->cancel(token); }
  const std::filesystem::path root;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::vector<Completion>> done_;
  uint64_t last_ = 0;
  std::unique_ptr<Activities> activities_;
};

/// A secret as a program passes it on.
inline cel::Value secret(std::string name) {
  return cel::make_record({{"secret", cel::Value::string(std::move(name))}});
}

}  // namespace kflow::activities
