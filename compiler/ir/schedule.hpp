// Schedules of workflows: what one says, and what to do about an occurrence that may be due. Pure:
// the caller brings the time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/base/bytes.hpp"
#include "compiler/base/result.hpp"
#include "compiler/ir/cron.hpp"

namespace kflow::ir {

/// An occurrence that could have started this long ago is late, not missed.
inline constexpr int64_t schedule_grace_ms = 60'000;
inline constexpr int64_t max_schedule_jitter_ms = 86'400'000;
inline constexpr size_t max_catch_up_limit = 10'000;
/// With `overlap: queue`, occurrences beyond this many unfinished runs are skipped.
inline constexpr size_t max_schedule_queue = 1'000;

/// `schedule: cron("0 9 * * MON", tz: "Europe/Berlin", overlap: skip)`.
struct ScheduleSpec {
  /// What an occurrence does while runs of the same schedule have not ended.
  enum class Overlap : uint8_t {
    skip,           ///< no run for it
    queue,          ///< its run waits until those before it have ended
    allow,          ///< it runs beside them
    cancel_oldest,  ///< the oldest of them is cancelled, its run starts
  };
  /// What becomes of occurrences that nobody was there to start.
  enum class CatchUp : uint8_t {
    skip,  ///< nothing
    one,   ///< one run for all of them
    all,   ///< a run each, for the latest `catch_up_limit` of them
  };
  std::string cron;  ///< as the author wrote it
  std::string zone;  ///< "": UTC
  Overlap overlap = Overlap::skip;
  CatchUp catch_up = CatchUp::skip;
  /// An occurrence starts up to this much later, but always before the next one is due.
  int64_t jitter_ms = 0;
  size_t catch_up_limit = 100;
  bool operator==(const ScheduleSpec&) const = default;
};

/// The names as the language writes them; nullopt: there is no such.
std::string_view to_string(ScheduleSpec::Overlap overlap);
std::string_view to_string(ScheduleSpec::CatchUp catch_up);
std::optional<ScheduleSpec::Overlap> parse_overlap(std::string_view name);
std::optional<ScheduleSpec::CatchUp> parse_catch_up(std::string_view name);

/// The expression parsed, if everything in `spec` is sound (zone, limits); else the error says what
/// is not.
Result<Cron> check_schedule(const ScheduleSpec& spec);

/// Appends `spec`; part of the program's format.
void encode_schedule(const ScheduleSpec& spec, ByteWriter& out);
/// Reads one; on malformed input the reader has failed. Whether the spec makes sense is
/// check_schedule's to say.
ScheduleSpec decode_schedule(ByteReader& in);
std::string encode_schedule(const ScheduleSpec& spec);
/// Error corrupt.
Result<ScheduleSpec> decode_schedule(std::string_view bytes);

/// One firing of a schedule. `due_ms` is its name: by it a run is started once, whoever tries.
struct Occurrence {
  int64_t due_ms = 0;    ///< the moment that the expression gives
  int64_t start_ms = 0;  ///< with the jitter added; the moment to wake up at
  bool operator==(const Occurrence&) const = default;
};

/// What to do now about the occurrence that a schedule stands at.
struct FirePlan {
  enum class Verdict : uint8_t {
    wait,             ///< its time has not come; `next` is the occurrence itself
    start,            ///< create its run
    start_queued,     ///< create its run, to wait until those before it have ended
    skipped_overlap,  ///< no run: one has not ended (with `queue`: too many wait already)
    skipped_missed,   ///< no run: it was missed
    invalid,  ///< spec fails check_schedule (its zone may be gone), or a time is out of range
  };
  Verdict verdict = Verdict::invalid;
  bool cancel_oldest = false;      ///< cancel the oldest unfinished run, in the same commit
  std::optional<Occurrence> next;  ///< what the schedule stands at afterwards; nullopt: no more
  bool starts() const { return verdict == Verdict::start || verdict == Verdict::start_queued; }
  bool operator==(const FirePlan&) const = default;
};

/// The first occurrence after `now_ms`: what a new schedule stands at. nullopt if the spec is not
/// sound.
std::optional<Occurrence> first_occurrence(const ScheduleSpec& spec, int64_t now_ms,
                                           std::string_view schedule_id);

/// Decides about the occurrence `due_ms` at the time `now_ms`, with `running` runs of this schedule
/// that have not ended (queued ones among them). Depends on its arguments and the zone database
/// alone: two processes that try come to the same plan, and the one that moves the schedule from
/// `due_ms` to `next` in the commit that creates the run wins. To be called again at once when
/// `next` is already due.
///
/// The jitter is a function of `schedule_id` and `due_ms`, so that it does not change when the
/// decision is repeated. An occurrence is missed if `now_ms` is more than schedule_grace_ms after
/// its start. Then, by spec.catch_up:
/// - skip: no run; `next` is the first occurrence that is not missed.
/// - one: a run for `due_ms`, which stands for everything due until now; `next` is the first that
///   is still to come.
/// - all: a run for `due_ms`, then for each that follows, oldest first; only when more than
///   catch_up_limit are missed there is no run, and `next` is the first of the latest
///   catch_up_limit.
/// Overlap holds for runs that are caught up as for any others: with `skip`, the first starts and
/// the rest are skipped.
FirePlan plan_fire(const ScheduleSpec& spec, int64_t due_ms, int64_t now_ms, size_t running,
                   std::string_view schedule_id);

}  // namespace kflow::ir
