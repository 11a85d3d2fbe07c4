// Cron expressions: what they may say, and when they fire next in a time zone. Pure: nothing here
// looks at a clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "compiler/base/result.hpp"

namespace kflow::ir {

/// The longest expression that is read; one that lists every value of every field has about 400
/// characters.
inline constexpr size_t max_cron_length = 1000;

/// A parsed expression: for each field the set of its values, as bits. A value type, made by
/// parse_cron.
struct Cron {
  uint64_t minutes = 0;        ///< bits 0…59
  uint32_t hours = 0;          ///< bits 0…23
  uint32_t days = 0;           ///< days of the month, bits 1…31
  uint16_t months = 0;         ///< bits 1…12
  uint8_t weekdays = 0;        ///< bits 0 (Sunday)…6
  bool last_day = false;       ///< `L`: also the last day of the month, whichever that is
  bool open_days = false;      ///< the day-of-month field begins with `*` or is `?`
  bool open_weekdays = false;  ///< the same of the day-of-week field
  bool every_hour = false;     ///< the hour field begins with `*`, or names every hour
  bool operator==(const Cron&) const = default;
};

/// Reads `minute hour day-of-month month day-of-week`, or one of @hourly @daily @midnight @weekly
/// @monthly @yearly @annually.
///
/// A field is a comma-separated list of `*`, a value, a range `a-b`, each of these with a step `/n`
/// (`a/n` means from `a` to the end). Months and days of the week also have names (JAN, MON; any
/// case), Sunday is 0 or 7, and a range may end in SUN. In the two day fields `?` means `*`; in the
/// day-of-month field `L` is the last day of the month.
///
/// The day fields follow Vixie cron: if neither begins with `*`, a day matches when either of them
/// does (`0 0 13 * FRI` fires on each 13th and on each Friday); otherwise both must match.
///
/// Error invalid_argument names the field and what it takes. One that can never fire (`0 0 30 2 *`)
/// is an error too.
Result<Cron> parse_cron(std::string_view text);

/// The first moment after `after_ms` (strictly) at which `cron` fires in `zone`; milliseconds since
/// 1970, whole minutes of local time. nullopt: no such zone (see cel::zone_exists), or nothing
/// before the year 10000.
///
/// Where the zone's clock jumps:
/// - A local time that is skipped fires once, at the first moment after the gap. Several that fall
///   into one gap, and what is due at its end anyway, are one firing.
/// - A local time that is repeated fires once, the first time, if the expression names its hours
///   (`30 2 * * *`, `0 1-5 * * *`). It fires both times if the hour field begins with `*` or names
///   every hour (`0 */2 * * *`, `30 0-23 * * *`): there the time that has passed is what counts.
std::optional<int64_t> next_after(const Cron& cron, std::string_view zone, int64_t after_ms);

}  // namespace kflow::ir
