// The handles of kflow.h.
#pragma once

#include <functional>
#include <new>
#include <optional>
#include <string>

#include "kflow/engine.hpp"
#include "kflow/kflow.h"

struct kflow_error {
  kflow::embed::Error error;
};
struct kflow_store {
  kflow::embed::Store store;
};
struct kflow_project {
  kflow::embed::Project project;
};
struct kflow_program {
  kflow::embed::Program program;
};
struct kflow_functions {
  kflow::embed::Functions functions;
};
struct kflow_clock {
  kflow::embed::ManualClock clock;
};
struct kflow_engine {
  kflow::embed::Engine engine;
};
struct kflow_call {
  kflow::embed::Call call;
  std::optional<kflow::embed::FunctionResult> result;  ///< of a synchronous call
  std::optional<kflow::embed::Completion> done;        ///< of an asynchronous one
};

namespace kflow::embed {

inline kflow_error* new_error(Error error) { return new kflow_error{std::move(error)}; }

// No exception crosses into C: what throws here has no memory left.
template <typename F>
kflow_error* guarded(F&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& e) {
    return new_error({ErrorCode::internal, e.what()});
  } catch (...) {
    return new_error({ErrorCode::internal, "something unknown was thrown"});
  }
}

inline kflow_error* missing(const char* name) {
  return new_error({ErrorCode::invalid_argument, std::string("`") + name + "` is NULL"});
}

}  // namespace kflow::embed
