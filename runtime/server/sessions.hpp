// Sessions: what their runs say of them, and whose they are.
#pragma once

#include <optional>
#include <string>

#include "compiler/base/result.hpp"
#include "runtime/store/store.hpp"

namespace kflow::server {

/// Of a longer session, the latest so many runs are looked at.
inline constexpr size_t most_runs_of_session = 1'000;

struct KnownSession {
  std::string id;
  std::string workflow;  ///< of its latest run
  std::string user_id;   ///< as well
  size_t runs = 0;
  machine::Millis created_at = 0;
  machine::Millis updated_at = 0;
};

/// None: there is no such session, or it is not that user's ("": everybody's): one with a run of
/// somebody else, or with a state and no run, is nobody's.
Result<std::optional<KnownSession>> look_at_session(store::Store& store, const std::string& user_id,
                                                    const std::string& id);
/// Whether that user may start a run in it: it is theirs, or new.
Result<bool> may_use_session(store::Store& store, const std::string& user_id,
                             const std::string& id);

}  // namespace kflow::server
