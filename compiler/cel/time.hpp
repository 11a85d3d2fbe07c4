// Timestamps and durations: text forms, calendar fields in a time zone, ranges. The only users of
// the zone database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "compiler/base/result.hpp"
#include "compiler/cel/value.hpp"

namespace kflow::cel {

inline constexpr int64_t min_timestamp_seconds = -62'135'596'800;  ///< 0001-01-01T00:00:00Z
inline constexpr int64_t max_timestamp_seconds = 253'402'300'799;  ///< 9999-12-31T23:59:59Z

/// RFC 3339 in UTC, fraction only if there is one, without trailing zeros.
std::string format_timestamp(Timestamp t);
/// RFC 3339 with a zone; nullopt if malformed or out of range.
std::optional<Timestamp> parse_timestamp(std::string_view text);

/// Decimal seconds and `s`: `60.001s`, `-3.5s`.
std::string format_duration(Duration d);
/// As the language writes literals: `1h30m`, `250ms`, `0s`.
std::string format_duration_literal(Duration d);
/// `[-+]?(number unit)+` with units h m s ms us µs ns, or `0`; nullopt if malformed or beyond ±292
/// years.
std::optional<Duration> parse_duration(std::string_view text);
/// A duration literal of the language: as above, also `d`, no sign, no fractions.
std::optional<Duration> parse_duration_literal(std::string_view text);

/// Calendar fields of a moment in a zone. Months, days of month and year count from 0 where CEL
/// says so.
struct CivilTime {
  int64_t year = 0;
  int month = 1;  ///< 1…12
  int day = 1;    ///< 1…31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int day_of_week = 0;  ///< 0 = Sunday
  int day_of_year = 0;  ///< from 0
  int32_t offset_seconds = 0;
  std::string abbreviation;
};
/// `zone`: an IANA name or `[+-]HH:MM`; "" is UTC.
Result<CivilTime> civil_time(Timestamp t, std::string_view zone);

/// Whether the functions here accept `zone`. An abbreviation such as `CEST` is none.
bool zone_exists(std::string_view zone);

/// A stretch of time in which a zone keeps one offset, in seconds since 1970: `begin` ≤ t < `end`.
/// Where two of them meet, local time jumps by the difference of their offsets: it skips an hour,
/// or repeats one. Two that meet may have the same offset.
struct ZoneSpan {
  int64_t begin = INT64_MIN;  ///< INT64_MIN: since ever
  int64_t end = INT64_MAX;    ///< INT64_MAX: for good
  int32_t offset_seconds = 0;
};
/// The span that contains `seconds` (of the range of timestamps); nullopt if there is no such zone.
std::optional<ZoneSpan> zone_span(int64_t seconds, std::string_view zone);

/// strftime-like text of `t` in `zone` (%Y %m %d %H %M %S %j %a %A %b %B %e %I %p %y %F %T %Z %z %s
/// %%).
Result<std::string> format_time(Timestamp t, std::string_view pattern, std::string_view zone);

/// Nanoseconds since 1970 do not fit 64 bits; these check the ranges and give nullopt beyond them.
std::optional<Timestamp> add(Timestamp t, Duration d);
std::optional<Duration> difference(Timestamp a, Timestamp b);

}  // namespace kflow::cel
