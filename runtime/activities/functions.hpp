// Functions of the embedding program that begin something and give their value later, without a
// thread that waits.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>

#include "runtime/activities/activity.hpp"

namespace kflow::activities {

struct AsyncCall {
  std::string run_id;
  std::string idempotency_key;
  uint32_t attempt = 1;
  std::shared_ptr<const std::atomic<bool>> stopped;
};
/// Tells what came of it: once, from any thread, while the function runs or later; what is told
/// after the step was stopped counts no more. If all copies are gone untold, the step fails with
/// `abandoned`.
using AsyncDone = std::function<void(std::variant<cel::Value, ActivityError>)>;
/// Called on one thread, one call after another: it must not block. An exception is an error of
/// kind `tool`.
using AsyncFunction = std::function<void(const cel::Value&, const AsyncCall&, AsyncDone)>;

/// Stands in for the world where one of its functions is called, and nowhere else. Thread-safe;
/// what is told after it is gone is for nobody.
class AsyncFunctions final : public StandIn {
 public:
  explicit AsyncFunctions(std::map<std::string, AsyncFunction, std::less<>> functions);
  ~AsyncFunctions() override;
  AsyncFunctions(const AsyncFunctions&) = delete;
  AsyncFunctions& operator=(const AsyncFunctions&) = delete;
  bool contains(std::string_view name) const;

  bool start(const Request& request, const CompletionHandler& done) override;
  void cancel(uint64_t token) override;
  void forget() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kflow::activities
