// The pure decisions of schedules: jitter, overlap, catching up; and the binary form of a
// ScheduleSpec.
#include "compiler/ir/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <span>
#include <utility>

#include "compiler/base/hash.hpp"
#include "compiler/cel/time.hpp"

namespace kflow::ir {
namespace {

using Overlap = ScheduleSpec::Overlap;
using CatchUp = ScheduleSpec::CatchUp;
using Verdict = FirePlan::Verdict;

constexpr uint8_t format_version = 1;

constexpr std::array<std::string_view, 4> overlap_names{"skip", "queue", "allow", "cancel_oldest"};
constexpr std::array<std::string_view, 3> catch_up_names{"skip", "one", "all"};

template <typename E>
std::optional<E> named(std::span<const std::string_view> names, std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<E>(found - names.begin());
}

bool in_range(int64_t ms) {
  return ms > cel::min_timestamp_seconds * 1000 && ms < cel::max_timestamp_seconds * 1000;
}

// A sound spec with its expression parsed: the occurrences of one schedule.
class Occurrences {
 public:
  Occurrences(const ScheduleSpec& spec, const Cron& cron, std::string_view id)
      : spec_(spec), cron_(cron), id_(id) {}

  std::optional<int64_t> due_after(int64_t ms) const { return next_after(cron_, spec_.zone, ms); }

  /// Jitter never reaches the next occurrence: so they start in the order in which they are due.
  Occurrence at(int64_t due_ms) const {
    if (spec_.jitter_ms == 0) return {due_ms, due_ms};
    int64_t room = spec_.jitter_ms + 1;
    if (const auto next = due_after(due_ms)) room = std::min(room, *next - due_ms);
    ByteWriter name;
    name.string(id_);
    name.svarint(due_ms);
    return {due_ms,
            due_ms + static_cast<int64_t>(xxh3(name.buffer()) % static_cast<uint64_t>(room))};
  }

  std::optional<Occurrence> after(int64_t ms) const {
    const auto due = due_after(ms);
    if (!due) return std::nullopt;
    return at(*due);
  }

  /// The first after `due_ms` that starts at `ms` or later.
  std::optional<Occurrence> starting_from(int64_t due_ms, int64_t ms) const {
    // Of those due before `ms` only the last can start later, by its jitter; what is due earlier
    // need not be looked at.
    auto found = after(std::max(due_ms, ms - spec_.jitter_ms - 1));
    while (found && found->start_ms < ms) found = after(found->due_ms);
    return found;
  }

  /// The first of the latest `limit` > 0 after `due_ms` that start before `ms`; nullopt if there
  /// are fewer.
  std::optional<Occurrence> latest(size_t limit, int64_t due_ms, int64_t ms) const {
    // Looks back over a window that doubles until it holds enough, so that a year of minutes is not
    // counted one by one.
    for (int64_t window = static_cast<int64_t>(limit) * 60'000;; window *= 2) {
      const bool all = window >= ms - due_ms;
      std::deque<int64_t> dues;
      for (auto o = after(all ? due_ms : ms - window); o && o->start_ms < ms;
           o = after(o->due_ms)) {
        dues.push_back(o->due_ms);
        if (dues.size() > limit) dues.pop_front();
      }
      if (dues.size() == limit) return at(dues.front());
      if (all) return std::nullopt;
    }
  }

 private:
  const ScheduleSpec& spec_;
  const Cron& cron_;
  std::string_view id_;
};

// A run for `due_ms` is wanted: whether those that have not ended let it start.
FirePlan with_overlap(const ScheduleSpec& spec, size_t running, std::optional<Occurrence> next) {
  FirePlan plan{.verdict = Verdict::start, .next = next};
  if (running == 0) return plan;
  switch (spec.overlap) {
    case Overlap::skip:
      plan.verdict = Verdict::skipped_overlap;
      break;
    case Overlap::queue:
      plan.verdict =
          running < max_schedule_queue ? Verdict::start_queued : Verdict::skipped_overlap;
      break;
    case Overlap::allow:
      break;
    case Overlap::cancel_oldest:
      plan.cancel_oldest = true;
      break;
  }
  return plan;
}

}  // namespace

std::string_view to_string(Overlap overlap) { return overlap_names[std::to_underlying(overlap)]; }
std::string_view to_string(CatchUp catch_up) {
  return catch_up_names[std::to_underlying(catch_up)];
}
std::optional<Overlap> parse_overlap(std::string_view name) {
  return named<Overlap>(overlap_names, name);
}
std::optional<CatchUp> parse_catch_up(std::string_view name) {
  return named<CatchUp>(catch_up_names, name);
}

Result<Cron> check_schedule(const ScheduleSpec& spec) {
  auto cron = parse_cron(spec.cron);
  KFLOW_TRY(cron);
  if (!cel::zone_exists(spec.zone)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("no time zone `{}`; it takes a name such as `Europe/Berlin`, or an "
                            "offset such as `+02:00`",
                            spec.zone));
  }
  if (spec.jitter_ms < 0 || spec.jitter_ms > max_schedule_jitter_ms) {
    return fail(ErrorCode::limit, fmt::format("a jitter of {} ms; it takes 0 to {} (one day)",
                                              spec.jitter_ms, max_schedule_jitter_ms));
  }
  if (spec.catch_up_limit > max_catch_up_limit) {
    return fail(ErrorCode::limit, fmt::format("a catch-up limit of {}; the greatest is {}",
                                              spec.catch_up_limit, max_catch_up_limit));
  }
  return cron;
}

void encode_schedule(const ScheduleSpec& spec, ByteWriter& out) {
  out.u8(format_version);
  out.string(spec.cron);
  out.string(spec.zone);
  out.u8(std::to_underlying(spec.overlap));
  out.u8(std::to_underlying(spec.catch_up));
  out.svarint(spec.jitter_ms);
  out.varint(spec.catch_up_limit);
}

ScheduleSpec decode_schedule(ByteReader& in) {
  ScheduleSpec spec;
  if (in.u8() != format_version) in.fail();
  spec.cron = in.string();
  spec.zone = in.string();
  const uint8_t overlap = in.u8();
  const uint8_t catch_up = in.u8();
  if (overlap >= overlap_names.size() || catch_up >= catch_up_names.size()) {
    in.fail();
  } else {
    spec.overlap = static_cast<Overlap>(overlap);
    spec.catch_up = static_cast<CatchUp>(catch_up);
  }
  spec.jitter_ms = in.svarint();
  spec.catch_up_limit = in.varint();
  return spec;
}

std::string encode_schedule(const ScheduleSpec& spec) {
  ByteWriter out;
  encode_schedule(spec, out);
  return out.take();
}

Result<ScheduleSpec> decode_schedule(std::string_view bytes) {
  ByteReader in(bytes);
  ScheduleSpec spec = decode_schedule(in);
  if (!in.done()) return fail(ErrorCode::corrupt, "a stored schedule cannot be read");
  return spec;
}

std::optional<Occurrence> first_occurrence(const ScheduleSpec& spec, int64_t now_ms,
                                           std::string_view schedule_id) {
  const auto cron = check_schedule(spec);
  if (!cron || !in_range(now_ms)) return std::nullopt;
  return Occurrences(spec, *cron, schedule_id).after(now_ms);
}

FirePlan plan_fire(const ScheduleSpec& spec, int64_t due_ms, int64_t now_ms, size_t running,
                   std::string_view schedule_id) {
  const auto cron = check_schedule(spec);
  if (!cron || !in_range(due_ms) || !in_range(now_ms)) return {};
  const Occurrences occurrences(spec, *cron, schedule_id);
  const Occurrence due = occurrences.at(due_ms);
  if (now_ms < due.start_ms) return {.verdict = Verdict::wait, .next = due};
  const int64_t missed_before = now_ms - schedule_grace_ms;  // what starts before that is missed
  if (due.start_ms >= missed_before) return with_overlap(spec, running, occurrences.after(due_ms));
  switch (spec.catch_up) {
    case CatchUp::skip:
      break;
    case CatchUp::one:
      return with_overlap(spec, running, occurrences.starting_from(due_ms, now_ms + 1));
    case CatchUp::all: {
      if (spec.catch_up_limit == 0) break;
      const auto first = occurrences.latest(spec.catch_up_limit, due_ms, missed_before);
      if (!first) return with_overlap(spec, running, occurrences.after(due_ms));
      return {.verdict = Verdict::skipped_missed, .next = first};
    }
  }
  return {.verdict = Verdict::skipped_missed,
          .next = occurrences.starting_from(due_ms, missed_before)};
}

}  // namespace kflow::ir
