// A session is the runs that name it.
#include "runtime/server/sessions.hpp"

#include <algorithm>

namespace kflow::server {

Result<std::optional<KnownSession>> look_at_session(store::Store& store, const std::string& user_id,
                                                    const std::string& id) {
  const auto runs = store.list({.session_id = id, .limit = most_runs_of_session});
  if (!runs) return std::unexpected(runs.error());
  KnownSession out{.id = id};
  for (const store::RunHeader& h : *runs) {
    if (!user_id.empty() && h.user_id != user_id) return std::nullopt;
    if (out.runs == 0) out.workflow = h.workflow, out.user_id = h.user_id;
    ++out.runs;
    out.created_at = h.created_at;
    out.updated_at = std::max({out.updated_at, h.created_at, h.ended_at});
  }
  if (out.runs == 0) {
    const auto state = store.session(id);
    if (!state) return std::unexpected(state.error());
    if (state->version == 0 || !user_id.empty()) return std::nullopt;
  }
  return out;
}

Result<bool> may_use_session(store::Store& store, const std::string& user_id,
                             const std::string& id) {
  if (user_id.empty() || id.empty()) return true;
  const auto known = look_at_session(store, user_id, id);
  if (!known) return std::unexpected(known.error());
  if (*known) return true;
  const auto others = look_at_session(store, "", id);
  if (!others) return std::unexpected(others.error());
  return !*others;
}

}  // namespace kflow::server
