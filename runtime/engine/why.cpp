// Sentences about what runs wait for.
#include "runtime/engine/why.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/engine/load.hpp"

namespace kflow::engine {

using machine::Millis;

std::string short_id(const std::string& id) {
  return id.size() > 8 ? id.substr(id.size() - 8) : id;
}

std::string duration_text(machine::Millis ms) {
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000);
  const machine::Millis s = ms / 1000;
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 86'400) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} d {} h", s / 86'400, s / 3600 % 24);
}

namespace {

std::string sentence(const machine::Waiting& w, Millis now) {
  const Millis left = std::max<Millis>(0, w.due == machine::never ? 0 : w.due - now);
  const std::string until =
      w.due == machine::never ? "" : fmt::format(", for another {} at most", duration_text(left));
  if (w.what == "running") {
    return fmt::format(
        "runs `{}` since {}{}", w.callee, duration_text(now - w.since),
        w.attempt > 1 ? fmt::format(" (attempt {} of {})", w.attempt, w.max_attempts) : "");
  }
  if (w.what == "timer") return fmt::format("sleeps, for another {}", duration_text(left));
  if (w.what == "retry")
    return fmt::format("failed and tries again in {} (attempt {} of {}): {}", duration_text(left),
                       w.attempt + 1, w.max_attempts, w.error);
  if (w.what == "signal") return fmt::format("waits for the signal `{}`{}", w.subject, until);
  if (w.what == "run")
    return fmt::format("waits for run {} ({}){}", short_id(w.subject), w.callee, until);
  if (w.what == "person") return fmt::format("asks: {}{}", w.subject, until);
  return "is being stopped";
}

Result<void> add_lines(store::Store& store, const store::RunHeader& run, Millis now, uint32_t depth,
                       std::vector<WhyLine>& out) {
  auto program = load_program(store, run.program);
  if (!program) return std::unexpected(std::move(program).error());
  auto loaded = load_state(store, run.key, *program);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  const std::string run_id = depth == 0 ? "" : run.id;
  for (const machine::Waiting& w : machine::waiting(*loaded->state)) {
    if (depth > 0 && out.size() >= most_why_lines) return {};
    const size_t at = out.size();
    out.push_back({.path = w.path,
                   .what = w.what,
                   .subject = w.subject,
                   .attempt = w.attempt,
                   .text = fmt::format("step `{}` {}", w.path, sentence(w, now)),
                   .since = w.since,
                   .due = w.due,
                   .needs_process = w.what != "person" && w.what != "signal",
                   .run_id = run_id,
                   .depth = depth});
    if (w.what != "run" || depth + 1 >= deepest_why) continue;
    const auto below = store.find(w.subject);
    // One that cannot be read says so when it is asked about itself.
    if (!below || !*below) continue;
    if (!add_lines(store, **below, now, depth + 1, out)) continue;
    out[at].needs_process = std::any_of(out.begin() + static_cast<ptrdiff_t>(at) + 1, out.end(),
                                        [](const WhyLine& l) { return l.needs_process; });
  }
  if (run.status == machine::RunStatus::pending && !run.slot.empty()) {
    out.push_back(
        {.what = "queued",
         .text = fmt::format("it waits until another run of `{}` has ended (at most {} at a time)",
                             run.workflow, run.slot_limit),
         .run_id = run_id,
         .depth = depth});
  } else if (depth == 0 && out.empty()) {
    out.push_back({.text = "the run waits for nothing: it is about to go on"});
  }
  return {};
}

}  // namespace

Result<std::vector<WhyLine>> why(store::Store& store, const store::RunHeader& run, Millis now) {
  std::vector<WhyLine> out;
  if (auto done = add_lines(store, run, now, 0, out); !done)
    return std::unexpected(std::move(done).error());
  return out;
}

}  // namespace kflow::engine
