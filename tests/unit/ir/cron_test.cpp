// Cron expressions row by row: when they fire, in which zone, around which jump of the clock; and
// what is refused, how.
#include "compiler/ir/cron.hpp"

#include <string>
#include <vector>

#include "compiler/cel/time.hpp"
#include "tests/support/catch.hpp"

namespace kflow::ir {
namespace {

int64_t ms_of(std::string_view text) {
  const auto t = cel::parse_timestamp(text);
  REQUIRE(t);
  return t->seconds * 1000 + t->nanos / 1'000'000;
}

struct Row {
  std::string_view expression;
  std::string_view zone;
  std::string_view after;
  std::vector<std::string_view> fires;  ///< the firings that follow, one by one
};

void check_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    INFO(row.expression << " in " << row.zone << " after " << row.after);
    const auto cron = parse_cron(row.expression);
    REQUIRE(cron);
    int64_t at = ms_of(row.after);
    for (const std::string_view expected : row.fires) {
      INFO("expected " << expected);
      const auto next = next_after(*cron, row.zone, at);
      REQUIRE(next);
      CHECK(cel::format_timestamp({*next / 1000, 0}) ==
            cel::format_timestamp(*cel::parse_timestamp(expected)));
      at = *next;
    }
  }
}

constexpr std::string_view berlin = "Europe/Berlin";
constexpr std::string_view new_york = "America/New_York";
constexpr std::string_view lord_howe = "Australia/Lord_Howe";
constexpr std::string_view kathmandu = "Asia/Kathmandu";

}  // namespace

TEST_CASE("cron: fields, lists, ranges, steps and names") {
  check_rows({
      {"* * * * *",
       "UTC",
       "2025-06-01T12:00:00Z",
       {"2025-06-01T12:01:00Z", "2025-06-01T12:02:00Z"}},
      {"* * * * *", "UTC", "2025-06-01T12:00:00.001Z", {"2025-06-01T12:01:00Z"}},
      {"* * * * *", "UTC", "2025-06-01T11:59:59.999Z", {"2025-06-01T12:00:00Z"}},
      {"*/15 * * * *",
       "UTC",
       "2025-06-01T12:07:00Z",
       {"2025-06-01T12:15:00Z", "2025-06-01T12:30:00Z", "2025-06-01T12:45:00Z",
        "2025-06-01T13:00:00Z"}},
      {"5/20 * * * *",
       "UTC",
       "2025-06-01T12:00:00Z",
       {"2025-06-01T12:05:00Z", "2025-06-01T12:25:00Z", "2025-06-01T12:45:00Z",
        "2025-06-01T13:05:00Z"}},
      {"10-30/10,59 8 * * *",
       "UTC",
       "2025-06-01T08:10:00Z",
       {"2025-06-01T08:20:00Z", "2025-06-01T08:30:00Z", "2025-06-01T08:59:00Z",
        "2025-06-02T08:10:00Z"}},
      {"*/7 * * * *",
       "UTC",
       "2025-06-01T12:50:00Z",
       {"2025-06-01T12:56:00Z", "2025-06-01T13:00:00Z"}},
      {"*/60 * * * *", "UTC", "2025-06-01T12:01:00Z", {"2025-06-01T13:00:00Z"}},
      {"0 9-17/4 * * *",
       "UTC",
       "2025-06-01T00:00:00Z",
       {"2025-06-01T09:00:00Z", "2025-06-01T13:00:00Z", "2025-06-01T17:00:00Z",
        "2025-06-02T09:00:00Z"}},
      {"0 9 * * MON", "UTC", "2025-06-02T09:00:00Z", {"2025-06-09T09:00:00Z"}},
      {"0 9 * * mon-Fri", "UTC", "2025-06-06T09:00:00Z", {"2025-06-09T09:00:00Z"}},
      {"0 9 * * 1-5",
       "UTC",
       "2025-06-05T09:00:00Z",
       {"2025-06-06T09:00:00Z", "2025-06-09T09:00:00Z"}},
      {"0 9 * * 7",
       "UTC",
       "2025-06-05T09:00:00Z",
       {"2025-06-08T09:00:00Z", "2025-06-15T09:00:00Z"}},
      {"0 9 * * 0", "UTC", "2025-06-05T09:00:00Z", {"2025-06-08T09:00:00Z"}},
      {"0 9 * * 5-7",
       "UTC",
       "2025-06-05T09:00:00Z",
       {"2025-06-06T09:00:00Z", "2025-06-07T09:00:00Z", "2025-06-08T09:00:00Z",
        "2025-06-13T09:00:00Z"}},
      {"0 9 * * SAT-SUN",
       "UTC",
       "2025-06-05T09:00:00Z",
       {"2025-06-07T09:00:00Z", "2025-06-08T09:00:00Z", "2025-06-14T09:00:00Z"}},
      {"0 9 * * 7-1",
       "UTC",
       "2025-06-05T09:00:00Z",
       {"2025-06-08T09:00:00Z", "2025-06-09T09:00:00Z", "2025-06-15T09:00:00Z"}},
      {"0 9 * * */3",
       "UTC",
       "2025-06-01T10:00:00Z",
       {"2025-06-04T09:00:00Z", "2025-06-07T09:00:00Z", "2025-06-08T09:00:00Z"}},
      {"0 0 1 jan,JUL ?",
       "UTC",
       "2025-02-01T00:00:00Z",
       {"2025-07-01T00:00:00Z", "2026-01-01T00:00:00Z"}},
      {"0 0 1 */5 *",
       "UTC",
       "2025-02-01T00:00:00Z",
       {"2025-06-01T00:00:00Z", "2025-11-01T00:00:00Z", "2026-01-01T00:00:00Z"}},
      {" 0\t0  ?  *   ? ", "UTC", "2025-02-01T00:00:00Z", {"2025-02-02T00:00:00Z"}},
      {"00 09 01 02 *", "UTC", "2025-01-01T00:00:00Z", {"2025-02-01T09:00:00Z"}},
      {"59 23 31 12 *",
       "UTC",
       "2025-12-31T23:58:59.999Z",
       {"2025-12-31T23:59:00Z", "2026-12-31T23:59:00Z"}},
      {"30 4 * * *", "+05:30", "2025-06-01T00:00:00Z", {"2025-06-02T04:30:00+05:30"}},
      {"30 4 * * *", "", "2025-06-01T00:00:00Z", {"2025-06-01T04:30:00Z"}},
  });
}

TEST_CASE("cron: macros") {
  check_rows({
      {"@hourly", "UTC", "2025-06-01T12:30:00Z", {"2025-06-01T13:00:00Z"}},
      {"@daily", berlin, "2025-06-01T12:30:00Z", {"2025-06-02T00:00:00+02:00"}},
      {"@midnight", berlin, "2025-06-01T12:30:00Z", {"2025-06-02T00:00:00+02:00"}},
      {"@weekly", berlin, "2025-06-02T12:30:00Z", {"2025-06-08T00:00:00+02:00"}},
      {"@Monthly", new_york, "2025-06-02T12:30:00Z", {"2025-07-01T00:00:00-04:00"}},
      {"@yearly", kathmandu, "2025-06-02T12:30:00Z", {"2026-01-01T00:00:00+05:45"}},
      {"@annually", kathmandu, "2025-12-31T18:15:00Z", {"2027-01-01T00:00:00+05:45"}},
  });
}

TEST_CASE("cron: ends of months and years, leap years, the two day fields") {
  check_rows({
      {"0 0 29 2 *",
       "UTC",
       "2025-01-01T00:00:00Z",
       {"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
      {"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", {"2104-02-29T00:00:00Z"}},
      {"0 0 29 2 *", "UTC", "1996-03-01T00:00:00Z", {"2000-02-29T00:00:00Z"}},
      {"0 0 31 * *",
       "UTC",
       "2025-01-31T00:00:00Z",
       {"2025-03-31T00:00:00Z", "2025-05-31T00:00:00Z", "2025-07-31T00:00:00Z",
        "2025-08-31T00:00:00Z"}},
      {"0 0 30 * *", "UTC", "2025-01-30T00:00:00Z", {"2025-03-30T00:00:00Z"}},
      {"0 0 L * *",
       "UTC",
       "2024-01-31T00:00:00Z",
       {"2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"}},
      {"0 0 l 2 *",
       "UTC",
       "2024-03-01T00:00:00Z",
       {"2025-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z",
        "2028-02-29T00:00:00Z"}},
      {"0 0 15,L * ?",
       "UTC",
       "2025-02-01T00:00:00Z",
       {"2025-02-15T00:00:00Z", "2025-02-28T00:00:00Z", "2025-03-15T00:00:00Z"}},
      {"0 0 L 2 *", "UTC", "2099-12-31T00:00:00Z", {"2100-02-28T00:00:00Z"}},
      {"0 0 1 1 *", "UTC", "2025-12-31T23:59:59Z", {"2026-01-01T00:00:00Z"}},
      {"0 0 1 1 *", kathmandu, "2025-12-31T18:14:00Z", {"2025-12-31T18:15:00Z"}},
      {"59 23 31 12 *",
       new_york,
       "2026-01-01T04:00:00Z",
       {"2025-12-31T23:59:00-05:00", "2026-12-31T23:59:00-05:00"}},
      {"* * 31 12 *",
       lord_howe,
       "2025-12-31T12:58:00Z",
       {"2025-12-31T23:59:00+11:00", "2026-12-31T00:00:00+11:00"}},
      // Neither begins with `*`: either is enough.
      {"0 0 13 * FRI",
       "UTC",
       "2025-06-01T00:00:00Z",
       {"2025-06-06T00:00:00Z", "2025-06-13T00:00:00Z", "2025-06-20T00:00:00Z",
        "2025-06-27T00:00:00Z", "2025-07-04T00:00:00Z", "2025-07-11T00:00:00Z",
        "2025-07-13T00:00:00Z"}},
      {"0 0 L * MON",
       "UTC",
       "2025-06-24T00:00:00Z",
       {"2025-06-30T00:00:00Z", "2025-07-07T00:00:00Z"}},
      {"0 0 30 2 MON",
       "UTC",
       "2025-02-20T00:00:00Z",
       {"2025-02-24T00:00:00Z", "2026-02-02T00:00:00Z"}},
      // One does: both must match, also when it has a step.
      {"0 0 */10 * FRI",
       "UTC",
       "2025-06-01T00:00:00Z",
       {"2025-07-11T00:00:00Z", "2025-08-01T00:00:00Z"}},
      {"0 0 13 * */5",
       "UTC",
       "2025-06-01T00:00:00Z",
       {"2025-06-13T00:00:00Z", "2025-07-13T00:00:00Z", "2026-02-13T00:00:00Z"}},
      {"0 0 29 2 */7",
       "UTC",
       "2025-01-01T00:00:00Z",
       {"2032-02-29T00:00:00Z", "2060-02-29T00:00:00Z"}},
  });
}

TEST_CASE("cron: a local time that is skipped fires once, at the end of the gap") {
  check_rows({
      // Berlin, 30 March 2025: 02:00 → 03:00. New York, 9 March: 02:00 → 03:00. Lord Howe, 5
      // October: 02:00 → 02:30.
      {"30 2 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"}},
      {"0 2 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T01:00:00Z", "2025-03-31T00:00:00Z"}},
      {"59 1 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T01:59:00+01:00", "2025-03-31T01:59:00+02:00"}},
      {"0 3 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-03-31T03:00:00+02:00"}},
      {"*/15 2 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-03-31T02:00:00+02:00"}},
      {"30 2,3 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-03-30T03:30:00+02:00", "2025-03-31T02:30:00+02:00"}},
      {"0 2,3 * * *",
       berlin,
       "2025-03-29T12:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-03-31T02:00:00+02:00"}},
      {"30 2 30 3 *",
       berlin,
       "2025-01-01T00:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
      {"30 2 * * SUN",
       berlin,
       "2025-03-24T00:00:00Z",
       {"2025-03-30T03:00:00+02:00", "2025-04-06T02:30:00+02:00"}},
      {"*/15 * * * *",
       berlin,
       "2025-03-30T00:30:00Z",
       {"2025-03-30T01:45:00+01:00", "2025-03-30T03:00:00+02:00", "2025-03-30T03:15:00+02:00"}},
      {"30 * * * *",
       berlin,
       "2025-03-30T00:00:00Z",
       {"2025-03-30T01:30:00+01:00", "2025-03-30T03:00:00+02:00", "2025-03-30T03:30:00+02:00"}},
      {"30 2 * * *", berlin, "2025-03-30T01:00:00Z", {"2025-03-31T02:30:00+02:00"}},
      {"30 2 * * *", berlin, "2025-03-30T00:59:59.999Z", {"2025-03-30T03:00:00+02:00"}},
      {"30 2 * * *",
       new_york,
       "2025-03-08T12:00:00Z",
       {"2025-03-09T03:00:00-04:00", "2025-03-10T02:30:00-04:00"}},
      {"0 2 9 3 *",
       new_york,
       "2025-01-01T00:00:00Z",
       {"2025-03-09T07:00:00Z", "2026-03-09T02:00:00-04:00"}},
      {"*/20 1-3 * * *",
       new_york,
       "2025-03-09T06:30:00Z",
       {"2025-03-09T01:40:00-05:00", "2025-03-09T03:00:00-04:00", "2025-03-09T03:20:00-04:00"}},
      {"15 2 * * *",
       lord_howe,
       "2025-10-04T12:00:00Z",
       {"2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"}},
      {"0,15,45 2 * * *",
       lord_howe,
       "2025-10-04T12:00:00Z",
       {"2025-10-05T02:30:00+11:00", "2025-10-05T02:45:00+11:00", "2025-10-06T02:00:00+11:00"}},
      {"*/10 * * * *",
       lord_howe,
       "2025-10-04T15:15:00Z",
       {"2025-10-05T01:50:00+10:30", "2025-10-05T02:30:00+11:00", "2025-10-05T02:40:00+11:00"}},
      // Samoa had no 30 December 2011.
      {"0 9 * * *",
       "Pacific/Apia",
       "2011-12-29T20:00:00Z",
       {"2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"}},
      {"0 9 30 12 *",
       "Pacific/Apia",
       "2011-12-01T00:00:00Z",
       {"2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"}},
      // Midnight itself is skipped where the clock jumps then.
      {"@daily",
       "America/Santiago",
       "2025-09-06T12:00:00Z",
       {"2025-09-07T01:00:00-03:00", "2025-09-08T00:00:00-03:00"}},
  });
}

TEST_CASE("cron: a local time that is repeated fires once, or twice if every hour counts") {
  check_rows({
      // Berlin, 26 October: 03:00 → 02:00. New York, 2 November: 02:00 → 01:00. Lord Howe, 6
      // April: 02:00 → 01:30.
      {"30 2 * * *",
       berlin,
       "2025-10-25T12:00:00Z",
       {"2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"}},
      {"0 2 * * *",
       berlin,
       "2025-10-25T12:00:00Z",
       {"2025-10-26T02:00:00+02:00", "2025-10-27T02:00:00+01:00"}},
      {"0 3 * * *",
       berlin,
       "2025-10-25T12:00:00Z",
       {"2025-10-26T03:00:00+01:00", "2025-10-27T03:00:00+01:00"}},
      {"30 1-3 * * *",
       berlin,
       "2025-10-25T12:00:00Z",
       {"2025-10-26T01:30:00+02:00", "2025-10-26T02:30:00+02:00", "2025-10-26T03:30:00+01:00"}},
      {"30 2 * * *", berlin, "2025-10-26T01:15:00Z", {"2025-10-27T02:30:00+01:00"}},
      {"30 2 * * *", berlin, "2025-10-26T00:15:00Z", {"2025-10-26T02:30:00+02:00"}},
      {"30 2 26 10 *", berlin, "2025-10-26T00:30:00Z", {"2026-10-26T02:30:00+01:00"}},
      {"30 * * * *",
       berlin,
       "2025-10-26T00:00:00Z",
       {"2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00", "2025-10-26T03:30:00+01:00"}},
      {"*/30 * * * *",
       berlin,
       "2025-10-26T00:15:00Z",
       {"2025-10-26T02:30:00+02:00", "2025-10-26T02:00:00+01:00", "2025-10-26T02:30:00+01:00",
        "2025-10-26T03:00:00+01:00"}},
      {"0 */2 * * *",
       berlin,
       "2025-10-25T23:00:00Z",
       {"2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00", "2025-10-26T04:00:00+01:00"}},
      {"0 0-23 * * *",
       berlin,
       "2025-10-25T23:30:00Z",
       {"2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00", "2025-10-26T03:00:00+01:00"}},
      {"30 * 26 10 *", berlin, "2025-10-26T00:30:00Z", {"2025-10-26T02:30:00+01:00"}},
      {"30 1 * * *",
       new_york,
       "2025-11-01T12:00:00Z",
       {"2025-11-02T01:30:00-04:00", "2025-11-03T01:30:00-05:00"}},
      {"0 1 * * *", new_york, "2025-11-02T05:30:00Z", {"2025-11-03T01:00:00-05:00"}},
      {"@hourly",
       new_york,
       "2025-11-02T04:30:00Z",
       {"2025-11-02T01:00:00-04:00", "2025-11-02T01:00:00-05:00", "2025-11-02T02:00:00-05:00"}},
      {"45 1 * * *",
       lord_howe,
       "2025-04-05T12:00:00Z",
       {"2025-04-06T01:45:00+11:00", "2025-04-07T01:45:00+10:30"}},
      {"15,45 1,2 * * *",
       lord_howe,
       "2025-04-05T12:00:00Z",
       {"2025-04-06T01:15:00+11:00", "2025-04-06T01:45:00+11:00", "2025-04-06T02:15:00+10:30",
        "2025-04-06T02:45:00+10:30"}},
      {"*/20 * * * *",
       lord_howe,
       "2025-04-05T14:30:00Z",
       {"2025-04-06T01:40:00+11:00", "2025-04-06T01:40:00+10:30", "2025-04-06T02:00:00+10:30"}},
      {"0 2 * * *",
       lord_howe,
       "2025-04-05T12:00:00Z",
       {"2025-04-06T02:00:00+10:30", "2025-04-07T02:00:00+10:30"}},
      {"0 0 * * *",
       kathmandu,
       "2025-10-25T12:00:00Z",
       {"2025-10-25T18:15:00Z", "2025-10-26T18:15:00Z"}},
      {"*/15 * * * *", kathmandu, "2025-10-26T00:01:00Z", {"2025-10-26T00:15:00Z"}},
      {"10 2 * * *", "UTC", "2025-10-26T00:00:00Z", {"2025-10-26T02:10:00Z"}},
  });
}

// The zone tables of the system end in 2037; the rules by which they were made go on.
TEST_CASE("cron: jumps of the clock beyond 2037") {
  check_rows({
      {"30 2 * * *",
       berlin,
       "2050-03-26T12:00:00Z",
       {"2050-03-27T03:00:00+02:00", "2050-03-28T02:30:00+02:00"}},
      {"30 2 * * *",
       berlin,
       "2050-10-29T12:00:00Z",
       {"2050-10-30T02:30:00+02:00", "2050-10-31T02:30:00+01:00"}},
      {"0 9 1 * *",
       berlin,
       "2038-02-28T00:00:00Z",
       {"2038-03-01T09:00:00+01:00", "2038-04-01T09:00:00+02:00"}},
      {"0 9 1 1,7 *",
       new_york,
       "2098-12-31T00:00:00Z",
       {"2099-01-01T09:00:00-05:00", "2099-07-01T09:00:00-04:00"}},
      {"0 2 * * *",
       new_york,
       "2050-03-12T12:00:00Z",
       {"2050-03-13T03:00:00-04:00", "2050-03-14T02:00:00-04:00"}},
      {"30 1 * * *",
       new_york,
       "2050-11-05T12:00:00Z",
       {"2050-11-06T01:30:00-04:00", "2050-11-07T01:30:00-05:00"}},
      {"0 0 29 2 *",
       lord_howe,
       "2040-01-01T00:00:00Z",
       {"2040-02-29T00:00:00+11:00", "2044-02-29T00:00:00+11:00"}},
      {"15 2 * * *",
       lord_howe,
       "2050-10-01T12:00:00Z",
       {"2050-10-02T02:30:00+11:00", "2050-10-03T02:15:00+11:00"}},
      {"0 9 * * *", kathmandu, "2050-07-01T12:00:00Z", {"2050-07-02T09:00:00+05:45"}},
      {"0 9 1 7 *", "Europe/Istanbul", "2050-01-01T00:00:00Z", {"2050-07-01T09:00:00+03:00"}},
  });
}

TEST_CASE("cron: no such zone, no such time") {
  const auto cron = parse_cron("* * * * *");
  REQUIRE(cron);
  CHECK_FALSE(next_after(*cron, "Mars/Olympus", 0));
  CHECK_FALSE(next_after(*cron, "CEST", 0));
  CHECK_FALSE(next_after(*cron, "UTC", INT64_MAX));
  CHECK_FALSE(next_after(*cron, "UTC", INT64_MIN));
  CHECK_FALSE(next_after(Cron{}, "UTC", 0));
  CHECK(next_after(*cron, "UTC", -1) == 0);
  CHECK(next_after(*cron, "UTC", -60'000) == 0);
  CHECK(next_after(*cron, "UTC", -60'001) == -60'000);
  CHECK(next_after(*cron, berlin, ms_of("0001-01-01T00:00:00Z")));
  CHECK(next_after(*cron, "UTC", ms_of("9999-12-31T23:58:00Z")) == ms_of("9999-12-31T23:59:00Z"));
  CHECK_FALSE(next_after(*cron, "UTC", ms_of("9999-12-31T23:59:00Z")));
}

TEST_CASE("zones: which exist, and their spans") {
  for (const std::string_view zone :
       {"", "UTC", "Z", "+02:00", "-09:30", "Europe/Berlin", "US/Eastern", "Etc/GMT+5"})
    CHECK(cel::zone_exists(zone));
  for (const std::string_view zone :
       {"CEST", "Berlin", "europe/berlin", "+2", "Europe/", "../UTC", " UTC"})
    CHECK_FALSE(cel::zone_exists(zone));
  const auto summer = cel::zone_span(ms_of("2025-07-01T00:00:00Z") / 1000, berlin);
  REQUIRE(summer);
  CHECK(summer->begin == ms_of("2025-03-30T01:00:00Z") / 1000);
  CHECK(summer->end == ms_of("2025-10-26T01:00:00Z") / 1000);
  CHECK(summer->offset_seconds == 7200);
  CHECK(cel::zone_span(summer->begin, berlin)->offset_seconds == 7200);
  CHECK(cel::zone_span(summer->begin - 1, berlin)->offset_seconds == 3600);
  CHECK(cel::zone_span(summer->end, berlin)->offset_seconds == 3600);
  CHECK(cel::zone_span(ms_of("2050-07-01T00:00:00Z") / 1000, "Europe/Istanbul")->end == INT64_MAX);
  const auto fixed = cel::zone_span(0, "-09:30");
  REQUIRE(fixed);
  CHECK(fixed->offset_seconds == -34'200);
  CHECK(fixed->begin == INT64_MIN);
  CHECK(fixed->end == INT64_MAX);
}

TEST_CASE("cron: what is refused, and how") {
  struct Bad {
    std::string_view expression;
    std::string_view message;
  };
  const std::vector<Bad> rows{
      {"", "0 fields; cron takes five (minute hour day-of-month month day-of-week)"},
      {"   ", "0 fields; cron takes five (minute hour day-of-month month day-of-week)"},
      {"*", "1 field; cron takes five (minute hour day-of-month month day-of-week)"},
      {"0 9 * *", "4 fields; cron takes five (minute hour day-of-month month day-of-week)"},
      {"0 0 9 * * MON",
       "six fields; cron takes five (minute hour day-of-month month day-of-week), a field for "
       "seconds is not supported: leave out the first"},
      {"0 0 9 * * MON 2025",
       "7 fields; cron takes five (minute hour day-of-month month day-of-week)"},
      {"TZ=UTC 0 9 * * *", "a zone is not part of the expression; give it as `tz:`"},
      {"CRON_TZ=UTC 0 9 * * *", "a zone is not part of the expression; give it as `tz:`"},
      {"60 9 * * *", "`60` in the minute field; it takes 0-59"},
      {"0 24 * * *", "`24` in the hour field; it takes 0-23"},
      {"0 9 0 * *", "`0` in the day-of-month field; it takes 1-31, or L for the last day"},
      {"0 9 32 * *", "`32` in the day-of-month field; it takes 1-31, or L for the last day"},
      {"0 9 LW * *", "`LW` in the day-of-month field; it takes 1-31, or L for the last day"},
      {"0 9 * 13 *", "`13` in the month field; it takes 1-12 or JAN-DEC"},
      {"0 9 * 0 *", "`0` in the month field; it takes 1-12 or JAN-DEC"},
      {"0 9 * MAY-JANUARY *", "`MAY-JANUARY` in the month field; it takes 1-12 or JAN-DEC"},
      {"0 9 * * 8", "`8` in the day-of-week field; it takes 0-7 (0 and 7 are Sunday) or MON-SUN"},
      {"0 9 * * MONDAY",
       "`MONDAY` in the day-of-week field; it takes 0-7 (0 and 7 are Sunday) or MON-SUN"},
      {"0 9 * * L", "`L` in the day-of-week field; it takes 0-7 (0 and 7 are Sunday) or MON-SUN"},
      {"MON 9 * * *", "`MON` in the minute field; it takes 0-59"},
      {"? 9 * * *", "`?` in the minute field; it takes 0-59"},
      {"0 9 ?,1 * *", "`?` in the day-of-month field; it takes 1-31, or L for the last day"},
      {"-1 9 * * *", "`-1` in the minute field; it takes 0-59"},
      {"1- 9 * * *", "`1-` in the minute field; it takes 0-59"},
      {"1-2-3 9 * * *", "`1-2-3` in the minute field; it takes 0-59"},
      {"001 9 * * *", "`001` in the minute field; it takes 0-59"},
      {"1.5 9 * * *", "`1.5` in the minute field; it takes 0-59"},
      {"/5 9 * * *", "`/5` in the minute field; it takes 0-59"},
      {"*-5 9 * * *", "`*-5` in the minute field; it takes 0-59"},
      {"0 22-2 * * *",
       "range `22-2` in the hour field runs backwards; write it as two, `22-23,0-2`"},
      {"0 9 * NOV-FEB *",
       "range `NOV-FEB` in the month field runs backwards; write it as two, `11-12,1-2`"},
      {"0 9 * * FRI-MON",
       "range `FRI-MON` in the day-of-week field runs backwards; write it as two, `5-6,0-1`"},
      {"1,,2 9 * * *", "an empty entry in the minute field; it takes 0-59"},
      {"1, 9 * * *", "an empty entry in the minute field; it takes 0-59"},
      {"*/0 * * * *", "step `/0` in the minute field; a step is 1-60, counted within the field"},
      {"*/90 * * * *", "step `/90` in the minute field; a step is 1-60, counted within the field"},
      {"*/ * * * *", "step `/` in the minute field; a step is 1-60, counted within the field"},
      {"*/2/2 * * * *",
       "step `/2/2` in the minute field; a step is 1-60, counted within the field"},
      {"0 0 15W * *",
       "`15W` in the day-of-month field: `#`, `W` and `L` with a number are not supported"},
      {"0 0 * * 5L",
       "`5L` in the day-of-week field: `#`, `W` and `L` with a number are not supported"},
      {"0 0 * * MON#1",
       "`MON#1` in the day-of-week field: `#`, `W` and `L` with a number are not supported"},
      {"0 0 30 2 *", "`0 0 30 2 *` never fires: none of its months has such a day"},
      {"0 0 30,31 2 ?", "`0 0 30,31 2 ?` never fires: none of its months has such a day"},
      {"0 0 31 4,JUN,9,11 *",
       "`0 0 31 4,JUN,9,11 *` never fires: none of its months has such a day"},
      {"0 0 31 2 */2", "`0 0 31 2 */2` never fires: none of its months has such a day"},
      {"@reboot",
       "there is no `@reboot`; the short forms are @hourly @daily @midnight @weekly @monthly "
       "@yearly @annually"},
      {"@every 5m", "2 fields; cron takes five (minute hour day-of-month month day-of-week)"},
      {"0 9 * * M\xc3\xb6n",
       "`M??n` in the day-of-week field; it takes 0-7 (0 and 7 are Sunday) or MON-SUN"},
  };
  for (const Bad& row : rows) {
    INFO(row.expression);
    const auto cron = parse_cron(row.expression);
    REQUIRE_FALSE(cron);
    CHECK(cron.error().code == ErrorCode::invalid_argument);
    CHECK(cron.error().message == row.message);
  }
  CHECK_FALSE(parse_cron(std::string(max_cron_length + 1, ' ')));
  CHECK_FALSE(parse_cron(std::string_view("0 9 * * *\0", 10)));
}

TEST_CASE("cron: equal sets are equal expressions") {
  CHECK(*parse_cron("0 9 * * MON-FRI") == *parse_cron("0 9 ? * 1,2,3,4,5"));
  CHECK(*parse_cron("@weekly") == *parse_cron("0 0 * * 7"));
  CHECK_FALSE(*parse_cron("0 9 1 * *") == *parse_cron("0 9 L * *"));
  CHECK_FALSE(*parse_cron("0 9 * * *") ==
              *parse_cron("0 9 1-31 * *"));  // the second restricts the day of the month
}

}  // namespace kflow::ir
