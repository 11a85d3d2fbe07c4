// A run is left to those that can go on with it.
#include "runtime/engine/needs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/activities/needs.hpp"
#include "runtime/engine/impl.hpp"

namespace kflow::engine {

Result<std::vector<std::string>> lacking(store::Store& store, const RunHeader& run,
                                         const activities::Options& options) {
  auto program = load_program(store, run.program);
  if (!program) return std::unexpected(std::move(program).error());
  const ir::Program& p = **program;
  return activities::missing(p, ir::requirements(p, p.find_or_was(run.workflow)), options);
}

Result<void> check_needs(store::Store& store, const RunHeader& run,
                         const activities::Options& options) {
  auto missing = lacking(store, run, options);
  if (!missing) return std::unexpected(std::move(missing).error());
  if (missing->empty()) return {};
  return fail(ErrorCode::unavailable,
              fmt::format("run `{}` needs what this process does not have: {}", run.id,
                          fmt::join(*missing, "; ")));
}

// Runs that this process may take now and can go on with; others are said once. Whoever has started
// a run of a program has said yes to what there is, and a run that is to be cancelled needs
// nothing.
Result<std::vector<RunHeader>> Engine::Impl::claimable_here(Millis t) {
  const auto unfit = [&](const RunHeader& h) {
    if (runs_.contains(h.key)) return true;
    if (at_home_.contains(h.program)) return false;
    const auto fits = check_needs(*store_, h, options_.activities);
    if (fits) return false;
    const auto messages = store_->inbox(h.key, 100);
    if (messages && std::ranges::any_of(*messages, [](const store::InboxMessage& m) {
          return m.kind == store::InboxMessage::Kind::cancel ||
                 m.kind == store::InboxMessage::Kind::kill;
        }))
      return false;
    if (left_alone_.insert(h.key).second)
      trouble(fits.error().message + "; it is left to another process");
    return true;
  };
  // Behind those that are left alone there may be others.
  for (size_t limit = claim_batch;; limit *= 2) {
    auto found = store_->claimable(t, limit, options_.project_root, options_.tape);
    if (!found) return found;
    const bool all = found->size() < limit;
    std::erase_if(*found, unfit);
    if (all || !found->empty()) {
      if (found->size() > claim_batch) found->resize(claim_batch);
      return found;
    }
  }
}

}  // namespace kflow::engine
