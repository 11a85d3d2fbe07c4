// Schedules: their binary form, and what to do about an occurrence, row by row.
#include "compiler/ir/schedule.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "compiler/cel/time.hpp"
#include "tests/support/catch.hpp"

namespace kflow::ir {
namespace {

using Overlap = ScheduleSpec::Overlap;
using CatchUp = ScheduleSpec::CatchUp;
using Verdict = FirePlan::Verdict;

constexpr int64_t second = 1'000;
constexpr int64_t minute = 60 * second;
constexpr int64_t hour = 60 * minute;
constexpr int64_t day = 24 * hour;
constexpr std::string_view id = "nightly";

int64_t ms_of(std::string_view text) { return cel::parse_timestamp(text)->seconds * 1000; }
const int64_t noon = ms_of("2025-06-02T12:00:00Z");

ScheduleSpec hourly(Overlap overlap = Overlap::skip, CatchUp catch_up = CatchUp::skip) {
  return {.cron = "0 * * * *",
          .zone = "Europe/Berlin",
          .overlap = overlap,
          .catch_up = catch_up,
          .jitter_ms = 0,
          .catch_up_limit = 3};
}

// What a scheduler does with the plans until it has to wait, when no run ever ends.
struct Round {
  std::vector<int64_t> started;  ///< the due times of the runs that were created
  int skipped = 0;
  int cancelled = 0;
  std::optional<Occurrence> waits_for;
};
Round run_round(const ScheduleSpec& spec, int64_t due, int64_t now, size_t running = 0) {
  Round round;
  for (;;) {
    const FirePlan plan = plan_fire(spec, due, now, running, id);
    REQUIRE(plan.verdict != Verdict::invalid);
    REQUIRE(plan.next);
    if (plan.verdict == Verdict::wait) {
      round.waits_for = plan.next;
      return round;
    }
    REQUIRE(plan.next->due_ms > due);
    if (plan.starts())
      round.started.push_back(due), ++running;
    else
      ++round.skipped;
    if (plan.cancel_oldest) --running, ++round.cancelled;
    due = plan.next->due_ms;
  }
}

}  // namespace

TEST_CASE("schedule: encode and decode") {
  const ScheduleSpec spec{.cron = "0 9 * * MON",
                          .zone = "Europe/Berlin",
                          .overlap = Overlap::cancel_oldest,
                          .catch_up = CatchUp::all,
                          .jitter_ms = 90'000,
                          .catch_up_limit = 7};
  const std::string bytes = encode_schedule(spec);
  const auto back = decode_schedule(bytes);
  REQUIRE(back);
  CHECK(*back == spec);
  CHECK(*decode_schedule(encode_schedule(ScheduleSpec{})) == ScheduleSpec{});
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto cut = decode_schedule(std::string_view(bytes).substr(0, n));
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::corrupt);
  }
  CHECK_FALSE(decode_schedule(bytes + "x"));
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = bytes;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    const auto decoded = decode_schedule(damaged);
    if (!decoded) continue;
    const FirePlan plan = plan_fire(*decoded, noon, noon, random() % 3, id);
    if ((plan.verdict == Verdict::invalid) == check_schedule(*decoded).has_value())
      FAIL("a sound spec and an invalid plan, or the reverse");
  }
}

TEST_CASE("schedule: names of the policies") {
  for (const auto overlap : {Overlap::skip, Overlap::queue, Overlap::allow, Overlap::cancel_oldest})
    CHECK(parse_overlap(to_string(overlap)) == overlap);
  for (const auto catch_up : {CatchUp::skip, CatchUp::one, CatchUp::all})
    CHECK(parse_catch_up(to_string(catch_up)) == catch_up);
  CHECK(to_string(Overlap::cancel_oldest) == "cancel_oldest");
  CHECK_FALSE(parse_overlap("Skip"));
  CHECK_FALSE(parse_catch_up(""));
}

TEST_CASE("schedule: what is not sound") {
  const auto error = [](auto change) {
    ScheduleSpec spec = hourly();
    change(spec);
    const auto checked = check_schedule(spec);
    CHECK(plan_fire(spec, noon, noon, 0, id) == FirePlan{});
    CHECK_FALSE(first_occurrence(spec, noon, id));
    return checked ? std::string() : checked.error().message;
  };
  CHECK(check_schedule(hourly()));
  CHECK(error([](ScheduleSpec& s) { s.cron = "0 25 * * *"; }) ==
        "`25` in the hour field; it takes 0-23");
  CHECK(error([](ScheduleSpec& s) { s.zone = "Berlin"; }) ==
        "no time zone `Berlin`; it takes a name such as `Europe/Berlin`, or an offset such as "
        "`+02:00`");
  CHECK(error([](ScheduleSpec& s) { s.jitter_ms = -1; }) ==
        "a jitter of -1 ms; it takes 0 to 86400000 (one day)");
  CHECK(error([](ScheduleSpec& s) { s.jitter_ms = day + 1; }) ==
        "a jitter of 86400001 ms; it takes 0 to 86400000 (one day)");
  CHECK(error([](ScheduleSpec& s) { s.catch_up_limit = 10'001; }) ==
        "a catch-up limit of 10001; the greatest is 10000");
  CHECK(plan_fire(hourly(), INT64_MIN, noon, 0, id) == FirePlan{});
  CHECK(plan_fire(hourly(), noon, INT64_MAX, 0, id) == FirePlan{});
}

TEST_CASE("schedule: one occurrence, by time and overlap") {
  struct Row {
    const char* what;
    Overlap overlap;
    int64_t late;
    size_t running;
    Verdict verdict;
    bool cancel_oldest;
    int64_t next;  ///< after noon
  };
  const std::vector<Row> rows{
      {"before its time", Overlap::skip, -1, 0, Verdict::wait, false, 0},
      {"long before its time", Overlap::skip, -100 * day, 5, Verdict::wait, false, 0},
      {"on time", Overlap::skip, 0, 0, Verdict::start, false, hour},
      {"late", Overlap::skip, 30 * second, 0, Verdict::start, false, hour},
      {"as late as the grace", Overlap::skip, minute, 0, Verdict::start, false, hour},
      {"missed", Overlap::skip, minute + 1, 0, Verdict::skipped_missed, false, hour},
      {"missed long ago", Overlap::skip, 10 * hour + 5, 0, Verdict::skipped_missed, false,
       10 * hour},
      {"missed, the next within the grace", Overlap::skip, 5 * hour + minute, 0,
       Verdict::skipped_missed, false, 5 * hour},
      {"missed, the next missed too", Overlap::skip, 5 * hour + minute + 1, 0,
       Verdict::skipped_missed, false, 6 * hour},
      {"skip, one runs", Overlap::skip, 0, 1, Verdict::skipped_overlap, false, hour},
      {"queue, none runs", Overlap::queue, 0, 0, Verdict::start, false, hour},
      {"queue, one runs", Overlap::queue, 0, 1, Verdict::start_queued, false, hour},
      {"queue, nearly full", Overlap::queue, 0, max_schedule_queue - 1, Verdict::start_queued,
       false, hour},
      {"queue, full", Overlap::queue, 0, max_schedule_queue, Verdict::skipped_overlap, false, hour},
      {"allow, many run", Overlap::allow, 0, 50, Verdict::start, false, hour},
      {"cancel_oldest, none runs", Overlap::cancel_oldest, 0, 0, Verdict::start, false, hour},
      {"cancel_oldest, two run", Overlap::cancel_oldest, 0, 2, Verdict::start, true, hour},
      {"cancel_oldest, missed", Overlap::cancel_oldest, 2 * minute, 2, Verdict::skipped_missed,
       false, hour},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const FirePlan plan = plan_fire(hourly(row.overlap), noon, noon + row.late, row.running, id);
    CHECK(plan.verdict == row.verdict);
    CHECK(plan.cancel_oldest == row.cancel_oldest);
    CHECK(plan.next == Occurrence{noon + row.next, noon + row.next});
  }
}

TEST_CASE("schedule: occurrences that nobody was there to start") {
  struct Row {
    const char* what;
    CatchUp catch_up;
    Overlap overlap;
    int64_t late;                  ///< now, after noon
    std::vector<int64_t> started;  ///< hours after noon
    int skipped;
    int64_t waits_for;  ///< hours after noon
  };
  const std::vector<Row> rows{
      {"skip: nothing", CatchUp::skip, Overlap::allow, 5 * hour + 10 * minute, {}, 1, 6},
      {"skip: but the one that is only late",
       CatchUp::skip,
       Overlap::allow,
       5 * hour + 10 * second,
       {5},
       1,
       6},
      {"one: a single run", CatchUp::one, Overlap::allow, 5 * hour + 10 * minute, {0}, 0, 6},
      {"one: the late one is part of it",
       CatchUp::one,
       Overlap::allow,
       5 * hour + 10 * second,
       {0},
       0,
       6},
      {"one: so is the one due this moment", CatchUp::one, Overlap::allow, 5 * hour, {0}, 0, 6},
      {"one: missed by little", CatchUp::one, Overlap::allow, 2 * minute, {0}, 0, 1},
      {"all: below the limit", CatchUp::all, Overlap::allow, hour + 10 * minute, {0, 1}, 0, 2},
      {"all: at the limit", CatchUp::all, Overlap::allow, 2 * hour + 10 * minute, {0, 1, 2}, 0, 3},
      {"all: beyond it, the latest",
       CatchUp::all,
       Overlap::allow,
       3 * hour + 10 * minute,
       {1, 2, 3},
       1,
       4},
      {"all: far beyond it",
       CatchUp::all,
       Overlap::allow,
       2'000 * hour + 10 * minute,
       {1'998, 1'999, 2'000},
       1,
       2'001},
      {"all: a late one is not counted",
       CatchUp::all,
       Overlap::allow,
       3 * hour + 10 * second,
       {0, 1, 2, 3},
       0,
       4},
      {"all with skip: the first runs",
       CatchUp::all,
       Overlap::skip,
       2 * hour + 10 * minute,
       {0},
       2,
       3},
      {"all with queue", CatchUp::all, Overlap::queue, 2 * hour + 10 * minute, {0, 1, 2}, 0, 3},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    const Round round = run_round(hourly(row.overlap, row.catch_up), noon, noon + row.late);
    std::vector<int64_t> started;
    for (const int64_t due : round.started) started.push_back((due - noon) / hour);
    CHECK(started == row.started);
    CHECK(round.skipped == row.skipped);
    CHECK(round.waits_for == Occurrence{noon + row.waits_for * hour, noon + row.waits_for * hour});
  }
  const Round cancelling = run_round(hourly(Overlap::cancel_oldest, CatchUp::all), noon,
                                     noon + 2 * hour + 10 * minute, 1);
  CHECK(cancelling.started.size() == 3);
  CHECK(cancelling.cancelled == 3);
  ScheduleSpec none = hourly(Overlap::allow, CatchUp::all);
  none.catch_up_limit = 0;
  CHECK(run_round(none, noon, noon + 5 * hour + 10 * minute).started.empty());
}

TEST_CASE("schedule: a year of missed minutes is not gone through one by one") {
  ScheduleSpec spec = hourly(Overlap::allow, CatchUp::all);
  spec.cron = "* * * * *";
  const int64_t now = noon + 365 * day + 30 * second;
  const FirePlan plan = plan_fire(spec, noon, now, 0, id);
  CHECK(plan.verdict == Verdict::skipped_missed);
  CHECK(plan.next->due_ms == noon + 365 * day - 3 * minute);
  spec.catch_up = CatchUp::skip;
  CHECK(plan_fire(spec, noon, now, 0, id).next->due_ms == noon + 365 * day);
  spec.catch_up = CatchUp::one;
  CHECK(plan_fire(spec, noon, now, 0, id).next->due_ms == noon + 365 * day + minute);
  spec.cron = "0 0 29 2 *";
  spec.catch_up = CatchUp::all;
  const Round leap_days =
      run_round(spec, ms_of("2012-02-28T23:00:00Z"), ms_of("2025-06-01T00:00:00Z"));
  CHECK(leap_days.started.size() == 3);
  CHECK(leap_days.skipped == 1);
}

TEST_CASE("schedule: jitter is fixed by the schedule and the occurrence") {
  ScheduleSpec spec = hourly();
  spec.jitter_ms = 10 * minute;
  std::set<int64_t> delays;
  int64_t due = noon;
  for (int i = 0; i < 200; ++i) {
    const auto next = first_occurrence(spec, due, id);
    REQUIRE(next);
    CHECK(next->due_ms == due + hour);
    const int64_t delay = next->start_ms - next->due_ms;
    CHECK((delay >= 0 && delay <= spec.jitter_ms));
    delays.insert(delay);
    CHECK(first_occurrence(spec, due, id) == next);
    CHECK(plan_fire(spec, next->due_ms, next->start_ms - 1, 0, id) ==
          FirePlan{.verdict = Verdict::wait, .next = next});
    CHECK(plan_fire(spec, next->due_ms, next->start_ms, 0, id).verdict == Verdict::start);
    CHECK(plan_fire(spec, next->due_ms, next->start_ms + minute, 0, id).verdict == Verdict::start);
    CHECK(plan_fire(spec, next->due_ms, next->start_ms + minute + 1, 0, id).verdict ==
          Verdict::skipped_missed);
    due = next->due_ms;
  }
  CHECK(delays.size() > 190);
  CHECK(*delays.begin() < minute);
  CHECK(*delays.rbegin() > 9 * minute);
  CHECK(first_occurrence(spec, noon, "a")->start_ms != first_occurrence(spec, noon, "b")->start_ms);
}

TEST_CASE("schedule: jitter longer than the interval keeps the order") {
  ScheduleSpec spec = hourly(Overlap::allow);
  spec.cron = "*/5 * * * *";
  spec.jitter_ms = day;
  auto occurrence = first_occurrence(spec, noon, id);
  for (int i = 0; i < 500; ++i) {
    REQUIRE(occurrence);
    const FirePlan plan = plan_fire(spec, occurrence->due_ms, occurrence->start_ms, 0, id);
    REQUIRE(plan.verdict == Verdict::start);
    REQUIRE(plan.next);
    CHECK(plan.next->due_ms == occurrence->due_ms + 5 * minute);
    CHECK(occurrence->start_ms < plan.next->due_ms);
    occurrence = plan.next;
  }
  // After a pause, with every policy, it goes on with the first that can still start.
  const int64_t now = noon + 30 * day;
  for (const auto catch_up : {CatchUp::skip, CatchUp::one, CatchUp::all}) {
    spec.catch_up = catch_up;
    const Round round = run_round(spec, noon, now);
    REQUIRE(round.waits_for);
    CHECK(round.waits_for->start_ms > now);
    CHECK(round.waits_for->due_ms <= now + 5 * minute);
  }
}

TEST_CASE("schedule: across a jump of the clock") {
  ScheduleSpec spec = hourly();
  spec.cron = "30 2 * * *";
  const auto first = first_occurrence(spec, ms_of("2025-03-29T12:00:00Z"), id);
  REQUIRE(first);
  CHECK(first->due_ms == ms_of("2025-03-30T01:00:00Z"));
  const FirePlan plan = plan_fire(spec, first->due_ms, first->start_ms, 0, id);
  CHECK(plan.verdict == Verdict::start);
  CHECK(plan.next->due_ms == ms_of("2025-03-31T00:30:00Z"));
}

// The plan against a naive reference: every occurrence listed, and the policy applied to the list.
TEST_CASE("schedule: random times against a list of all occurrences") {
  std::mt19937 random(5);
  const auto below = [&](int64_t n) {
    return std::uniform_int_distribution<int64_t>(0, n - 1)(random);
  };
  constexpr std::array<std::string_view, 4> crons{"*/7 * * * *", "0 3,4 * * *", "30 2 * * SUN",
                                                  "0-10 2 * * *"};
  for (int i = 0; i < 2'000; ++i) {
    ScheduleSpec spec = hourly(Overlap::allow, static_cast<CatchUp>(below(3)));
    spec.cron = crons[static_cast<size_t>(below(4))];
    spec.jitter_ms = below(3) * 20 * minute;
    spec.catch_up_limit = static_cast<size_t>(below(6));
    const int64_t begin = ms_of("2025-03-25T00:00:00Z") + below(day);
    const int64_t now = begin + (below(2) == 0 ? below(12 * day) : below(hour));
    std::vector<Occurrence> all;
    for (auto o = first_occurrence(spec, begin, id);
         o && (all.empty() || all.back().start_ms <= now);
         o = first_occurrence(spec, o->due_ms, id)) {
      all.push_back(*o);
    }
    std::vector<int64_t> missed;
    std::vector<int64_t> late;
    for (const Occurrence& o : all) {
      if (o.start_ms < now - schedule_grace_ms)
        missed.push_back(o.due_ms);
      else if (o.start_ms <= now)
        late.push_back(o.due_ms);
    }
    std::vector<int64_t> expected;
    switch (spec.catch_up) {
      case CatchUp::skip:
        expected = late;
        break;
      case CatchUp::one:
        if (missed.empty())
          expected = late;
        else
          expected = {missed.front()};
        break;
      case CatchUp::all:
        expected.assign(missed.end() - static_cast<std::ptrdiff_t>(
                                           std::min(missed.size(), spec.catch_up_limit)),
                        missed.end());
        expected.insert(expected.end(), late.begin(), late.end());
        break;
    }
    INFO(spec.cron << " catch_up " << to_string(spec.catch_up) << " jitter " << spec.jitter_ms
                   << " begin " << begin << " now " << now);
    const Round round = run_round(spec, all.front().due_ms, now);
    CHECK(round.started == expected);
    CHECK(round.waits_for == all.back());
  }
}

}  // namespace kflow::ir
