// Functions of the embedding program, as activities call them.
#include "kflow/functions.hpp"

#include <utility>

#include "runtime/activities/functions.hpp"
#include "runtime/embed/data.hpp"

namespace kflow::embed {

using detail::EngineId;
using detail::InsideCallback;
using detail::ValueData;

namespace {

std::variant<cel::Value, activities::ActivityError> outcome_of(FunctionResult result) {
  if (const Value* v = std::get_if<Value>(&result)) return ValueData::unwrap(*v);
  Failure& f = std::get<Failure>(result);
  return activities::ActivityError{.kind = "tool",
                                   .code = std::move(f.code),
                                   .message = std::move(f.message),
                                   .data = ValueData::unwrap(f.data),
                                   .retryable = f.retryable};
}

}  // namespace

namespace {
thread_local const InsideCallback* innermost = nullptr;
}
InsideCallback::InsideCallback(const EngineId& engine)
    : engine_(engine.get()), outer_(std::exchange(innermost, this)) {}
InsideCallback::~InsideCallback() { innermost = outer_; }
bool InsideCallback::of(const EngineId& engine) {
  for (const InsideCallback* at = innermost; at != nullptr; at = at->outer_) {
    if (at->engine_ == engine.get()) return true;
  }
  return false;
}

void detail::take_functions(const Functions& functions, const EngineId& engine,
                            activities::Options& options) {
  for (const auto& [name, function] : functions.functions()) {
    options.functions[name] = [function, engine](const cel::Value& arguments,
                                                 const activities::FunctionCall& call) {
      const InsideCallback here(engine);
      return outcome_of(
          function(ValueData::wrap(arguments), Call(call.run_id, call.idempotency_key, call.attempt,
                                                    [&call] { return call.stopped.load(); })));
    };
  }
  std::map<std::string, activities::AsyncFunction, std::less<>> later;
  for (const auto& [name, function] : functions.async_functions()) {
    later[name] = [function, engine](const cel::Value& arguments, const activities::AsyncCall& call,
                                     activities::AsyncDone done) {
      const InsideCallback here(engine);
      function(ValueData::wrap(arguments),
               Call(call.run_id, call.idempotency_key, call.attempt,
                    [stopped = call.stopped] { return stopped->load(); }),
               Completion([done = std::move(done)](FunctionResult result) {
                 done(outcome_of(std::move(result)));
               }));
    };
  }
  if (!later.empty())
    options.stand_in = std::make_shared<activities::AsyncFunctions>(std::move(later));
}

}  // namespace kflow::embed
