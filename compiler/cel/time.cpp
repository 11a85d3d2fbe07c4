// Calendar arithmetic and zones by Howard Hinnant's date library.
#include "compiler/cel/time.hpp"

#include <date/tz.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace kflow::cel {
namespace {

constexpr int64_t giga = 1'000'000'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads exactly `n` digits.
std::optional<int> digits(std::string_view& in, size_t n) {
  if (in.size() < n) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!is_digit(in[i])) return std::nullopt;
    value = value * 10 + (in[i] - '0');
  }
  in.remove_prefix(n);
  return value;
}

bool take(std::string_view& in, char c) {
  if (in.empty() || in.front() != c) return false;
  in.remove_prefix(1);
  return true;
}

bool in_range(Timestamp t) {
  return t.seconds >= min_timestamp_seconds && t.seconds <= max_timestamp_seconds;
}

std::string fraction(int64_t nanos) {
  if (nanos == 0) return "";
  std::string text = fmt::format(".{:09}", nanos);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

// `[+-]?HH:MM` in seconds.
std::optional<int32_t> fixed_offset(std::string_view zone) {
  bool negative = false;
  if (!zone.empty() && (zone.front() == '+' || zone.front() == '-')) {
    negative = zone.front() == '-';
    zone.remove_prefix(1);
  }
  const auto hours = digits(zone, 2);
  if (!hours || !take(zone, ':')) return std::nullopt;
  const auto minutes = digits(zone, 2);
  if (!minutes || !zone.empty() || *hours > 23 || *minutes > 59) return std::nullopt;
  const int32_t offset = *hours * 3600 + *minutes * 60;
  return negative ? -offset : offset;
}

bool is_utc(std::string_view zone) { return zone.empty() || zone == "UTC" || zone == "Z"; }

struct Offset {
  int32_t seconds = 0;
  std::string abbreviation;
};

// It is loaded when first needed; some small systems have none.
bool has_zone_database() {
  try {
    return !date::get_tzdb().zones.empty();
  } catch (const std::exception&) {
    return false;
  }
}

using date::sys_days;
using date::sys_seconds;

// What the library knows about a zone ends in 2037 (it leaves out the rule at the end of a zone
// file). If the clock was still changed in that year, it is changed by the same rule after it, and
// rules go by month and weekday. So a year counted from March, which keeps leap days at its end, is
// like any other whose first of March falls on the same weekday, and the years 2027 to 2037 have
// all seven.
constexpr date::year last_known_year{2037};
constexpr date::year first_model_year{2027};

bool is_last(const date::sys_info& info) {
  return info.end > sys_seconds(std::chrono::seconds(max_timestamp_seconds));
}

date::sys_info info_by_rule(const date::time_zone& zone, sys_seconds t,
                            const date::sys_info& last) {
  const sys_days known_until(date::year(last_known_year + date::years(1)) / date::March / 1);
  const sys_days new_year(last_known_year / date::January / 1);
  if (last.begin < new_year || last.begin >= known_until) return last;
  date::year year = date::year_month_day(date::floor<date::days>(t)).year();
  if (t < sys_days(year / date::March / 1)) --year;
  const sys_days begin(year / date::March / 1);
  const sys_days end((year + date::years(1)) / date::March / 1);
  sys_days model = known_until;
  for (date::year y = last_known_year; y >= first_model_year; --y) {
    model = sys_days(y / date::March / 1);
    if (date::weekday(model) == date::weekday(begin)) break;
  }
  const auto shift = begin - model;
  date::sys_info info = zone.get_info(t - shift);
  info.begin = std::max<sys_seconds>(info.begin + shift, begin);
  info.end = is_last(info) ? sys_seconds(end) : std::min<sys_seconds>(info.end + shift, end);
  return info;
}

// Throws what the library throws if there is no such zone.
date::sys_info zone_info(std::string_view name, int64_t seconds) {
  const date::time_zone* zone = date::locate_zone(std::string(name));
  const sys_seconds t{std::chrono::seconds(seconds)};
  const date::sys_info info = zone->get_info(t);
  return is_last(info) ? info_by_rule(*zone, t, info) : info;
}

Result<Offset> offset_at(Timestamp t, std::string_view zone) {
  if (is_utc(zone)) return Offset{0, "UTC"};
  if (const auto fixed = fixed_offset(zone)) return Offset{*fixed, fmt::format("{}", zone)};
  if (!has_zone_database()) {
    return fail(
        ErrorCode::unavailable,
        fmt::format("no time zone `{}`: this system has no time zone database; install tzdata",
                    zone));
  }
  try {
    const auto info = zone_info(zone, t.seconds);
    return Offset{static_cast<int32_t>(info.offset.count()), info.abbrev};
  } catch (const std::exception&) {
    return fail(ErrorCode::invalid_argument, fmt::format("unknown time zone `{}`", zone));
  }
}

struct Unit {
  std::string_view name;
  int64_t nanos;
};
constexpr std::array<Unit, 8> units{{{"ns", 1},
                                     {"us", 1'000},
                                     {"µs", 1'000},
                                     {"μs", 1'000},
                                     {"ms", 1'000'000},
                                     {"h", 3600 * giga},
                                     {"m", 60 * giga},
                                     {"s", giga}}};

// One `number unit` of a duration in nanoseconds, which must fit 64 bits.
std::optional<int64_t> duration_part(std::string_view& in, bool allow_fraction, bool allow_days) {
  size_t length = 0;
  bool dot = false;
  size_t digit_count = 0;
  while (length < in.size() &&
         (is_digit(in[length]) || (in[length] == '.' && !dot && allow_fraction))) {
    dot |= in[length] == '.';
    digit_count += in[length] != '.';
    ++length;
  }
  if (digit_count == 0) return std::nullopt;
  const std::string_view number = in.substr(0, length);
  in.remove_prefix(length);
  int64_t unit = 0;
  if (allow_days && in.starts_with('d')) {
    unit = 24 * 3600 * giga;
    in.remove_prefix(1);
  } else {
    for (const Unit& u : units) {
      if (!in.starts_with(u.name)) continue;
      unit = u.nanos;
      in.remove_prefix(u.name.size());
      break;
    }
  }
  if (unit == 0) return std::nullopt;
  __extension__ using wide = __int128;
  const size_t point = number.find('.');
  wide total = 0;
  for (const char c : number.substr(0, point)) {
    total = total * 10 + (c - '0');
    if (total > INT64_MAX) return std::nullopt;
  }
  total *= unit;
  if (point != std::string_view::npos) {
    // The k-th digit is worth unit / 10^k; what is below a nanosecond is cut off.
    wide numerator = 0;
    wide divisor = 1;
    for (const char c : number.substr(point + 1)) {
      if (divisor > giga * 3600) break;
      numerator = numerator * 10 + (c - '0');
      divisor *= 10;
    }
    total += numerator * unit / divisor;
  }
  if (total > INT64_MAX) return std::nullopt;
  return static_cast<int64_t>(total);
}

std::optional<Duration> parse_parts(std::string_view in, bool negative, bool allow_fraction,
                                    bool allow_days) {
  if (in.empty()) return std::nullopt;
  int64_t total = 0;
  while (!in.empty()) {
    const auto part = duration_part(in, allow_fraction, allow_days);
    if (!part || __builtin_add_overflow(total, *part, &total)) return std::nullopt;
  }
  return Duration{negative ? -total : total};
}

constexpr std::array<std::string_view, 7> day_names{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                    "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> month_names{
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

// One conversion of format_time; false if it is unknown.
bool append_field(std::string& out, char conversion, Timestamp t, const CivilTime& c) {
  const int hour12 = c.hour % 12 == 0 ? 12 : c.hour % 12;
  const int32_t offset_minutes = std::abs(c.offset_seconds) / 60;
  switch (conversion) {
    case 'Y':
      out += fmt::format("{:04}", c.year);
      return true;
    case 'y':
      out += fmt::format("{:02}", c.year % 100);
      return true;
    case 'm':
      out += fmt::format("{:02}", c.month);
      return true;
    case 'd':
      out += fmt::format("{:02}", c.day);
      return true;
    case 'e':
      out += fmt::format("{:2}", c.day);
      return true;
    case 'H':
      out += fmt::format("{:02}", c.hour);
      return true;
    case 'I':
      out += fmt::format("{:02}", hour12);
      return true;
    case 'M':
      out += fmt::format("{:02}", c.minute);
      return true;
    case 'S':
      out += fmt::format("{:02}", c.second);
      return true;
    case 'p':
      out += c.hour < 12 ? "AM" : "PM";
      return true;
    case 'j':
      out += fmt::format("{:03}", c.day_of_year + 1);
      return true;
    case 'a':
      out += day_names[static_cast<size_t>(c.day_of_week)].substr(0, 3);
      return true;
    case 'A':
      out += day_names[static_cast<size_t>(c.day_of_week)];
      return true;
    case 'b':
      out += month_names[static_cast<size_t>(c.month - 1)].substr(0, 3);
      return true;
    case 'B':
      out += month_names[static_cast<size_t>(c.month - 1)];
      return true;
    case 'F':
      out += fmt::format("{:04}-{:02}-{:02}", c.year, c.month, c.day);
      return true;
    case 'T':
      out += fmt::format("{:02}:{:02}:{:02}", c.hour, c.minute, c.second);
      return true;
    case 'Z':
      out += c.abbreviation;
      return true;
    case 'z':
      out += fmt::format("{}{:02}{:02}", c.offset_seconds < 0 ? '-' : '+', offset_minutes / 60,
                         offset_minutes % 60);
      return true;
    case 's':
      out += std::to_string(t.seconds);
      return true;
    case '%':
      out += '%';
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string format_timestamp(Timestamp t) {
  const auto days = date::floor<date::days>(date::sys_seconds(std::chrono::seconds(t.seconds)));
  const date::year_month_day ymd(days);
  const int64_t second_of_day =
      t.seconds - std::chrono::duration_cast<std::chrono::seconds>(days.time_since_epoch()).count();
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", static_cast<int>(ymd.year()),
                     static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()),
                     second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60,
                     fraction(t.nanos));
}

std::optional<Timestamp> parse_timestamp(std::string_view in) {
  const auto year = digits(in, 4);
  if (!year || !take(in, '-')) return std::nullopt;
  const auto month = digits(in, 2);
  if (!month || !take(in, '-')) return std::nullopt;
  const auto day = digits(in, 2);
  if (!day || in.empty() || (in.front() != 'T' && in.front() != 't')) return std::nullopt;
  in.remove_prefix(1);
  const auto hour = digits(in, 2);
  if (!hour || !take(in, ':')) return std::nullopt;
  const auto minute = digits(in, 2);
  if (!minute || !take(in, ':')) return std::nullopt;
  const auto second = digits(in, 2);
  if (!second || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  int64_t nanos = 0;
  if (take(in, '.')) {
    size_t n = 0;
    int64_t scale = giga / 10;
    for (; n < in.size() && is_digit(in[n]); ++n) {
      nanos += (in[n] - '0') * scale;
      scale /= 10;
    }
    if (n == 0) return std::nullopt;
    in.remove_prefix(n);
  }
  int64_t offset = 0;
  if (in != "Z" && in != "z") {
    if (in.empty() || (in.front() != '+' && in.front() != '-')) return std::nullopt;
    const auto fixed = fixed_offset(in);
    if (!fixed) return std::nullopt;
    offset = *fixed;
  }
  const date::year_month_day ymd{date::year(*year), date::month(static_cast<unsigned>(*month)),
                                 date::day(static_cast<unsigned>(*day))};
  if (!ymd.ok()) return std::nullopt;
  const int64_t days = date::sys_days(ymd).time_since_epoch().count();
  const Timestamp t{days * 86400 + *hour * 3600 + *minute * 60 + *second - offset,
                    static_cast<int32_t>(nanos)};
  if (!in_range(t)) return std::nullopt;
  return t;
}

std::string format_duration(Duration d) {
  const uint64_t magnitude =
      d.nanos < 0 ? ~static_cast<uint64_t>(d.nanos) + 1 : static_cast<uint64_t>(d.nanos);
  return fmt::format("{}{}{}s", d.nanos < 0 ? "-" : "", magnitude / static_cast<uint64_t>(giga),
                     fraction(static_cast<int64_t>(magnitude % static_cast<uint64_t>(giga))));
}

std::string format_duration_literal(Duration d) {
  if (d.nanos == 0) return "0s";
  std::string out = d.nanos < 0 ? "-" : "";
  uint64_t rest =
      d.nanos < 0 ? ~static_cast<uint64_t>(d.nanos) + 1 : static_cast<uint64_t>(d.nanos);
  constexpr std::array<Unit, 7> parts{{{"d", 86400 * giga},
                                       {"h", 3600 * giga},
                                       {"m", 60 * giga},
                                       {"s", giga},
                                       {"ms", 1'000'000},
                                       {"us", 1'000},
                                       {"ns", 1}}};
  for (const Unit& part : parts) {
    const auto unit = static_cast<uint64_t>(part.nanos);
    if (rest < unit) continue;
    out += fmt::format("{}{}", rest / unit, part.name);
    rest %= unit;
  }
  return out;
}

std::optional<Duration> parse_duration(std::string_view in) {
  const bool negative = in.starts_with('-');
  if (negative || in.starts_with('+')) in.remove_prefix(1);
  if (in == "0") return Duration{0};
  return parse_parts(in, negative, true, false);
}

std::optional<Duration> parse_duration_literal(std::string_view in) {
  return parse_parts(in, false, false, true);
}

Result<CivilTime> civil_time(Timestamp t, std::string_view zone) {
  auto offset = offset_at(t, zone);
  if (!offset) return std::unexpected(std::move(offset).error());
  const date::sys_seconds local(std::chrono::seconds(t.seconds + offset->seconds));
  const auto days = date::floor<date::days>(local);
  const date::year_month_day ymd(days);
  const auto of_day = static_cast<int>((local - days).count());
  const date::sys_days new_year(ymd.year() / date::January / 1);
  return CivilTime{.year = static_cast<int>(ymd.year()),
                   .month = static_cast<int>(static_cast<unsigned>(ymd.month())),
                   .day = static_cast<int>(static_cast<unsigned>(ymd.day())),
                   .hour = of_day / 3600,
                   .minute = of_day / 60 % 60,
                   .second = of_day % 60,
                   .day_of_week = static_cast<int>(date::weekday(days).c_encoding()),
                   .day_of_year = static_cast<int>((days - new_year).count()),
                   .offset_seconds = offset->seconds,
                   .abbreviation = std::move(offset->abbreviation)};
}

bool zone_exists(std::string_view zone) { return zone_span(0, zone).has_value(); }

std::optional<ZoneSpan> zone_span(int64_t seconds, std::string_view zone) {
  if (is_utc(zone)) return ZoneSpan{};
  if (const auto fixed = fixed_offset(zone)) return ZoneSpan{.offset_seconds = *fixed};
  if (!has_zone_database()) return std::nullopt;
  try {
    const auto info = zone_info(zone, seconds);
    // Beyond its first and last change the library gives bounds of its own, far outside the range
    // of timestamps.
    const int64_t begin = info.begin.time_since_epoch().count();
    const int64_t end = info.end.time_since_epoch().count();
    return ZoneSpan{.begin = begin < min_timestamp_seconds ? INT64_MIN : begin,
                    .end = end > max_timestamp_seconds ? INT64_MAX : end,
                    .offset_seconds = static_cast<int32_t>(info.offset.count())};
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

Result<std::string> format_time(Timestamp t, std::string_view pattern, std::string_view zone) {
  auto civil = civil_time(t, zone);
  if (!civil) return std::unexpected(std::move(civil).error());
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out.push_back(pattern[i]);
      continue;
    }
    const char conversion = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (!append_field(out, conversion, t, *civil)) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("unknown conversion `%{}` in a time pattern",
                              conversion == '\0' ? std::string() : std::string(1, conversion)));
    }
    ++i;
  }
  return out;
}

std::optional<Timestamp> add(Timestamp t, Duration d) {
  int64_t nanos = t.nanos + d.nanos % giga;
  int64_t seconds = t.seconds + d.nanos / giga;
  if (nanos < 0) {
    nanos += giga;
    --seconds;
  } else if (nanos >= giga) {
    nanos -= giga;
    ++seconds;
  }
  const Timestamp sum{seconds, static_cast<int32_t>(nanos)};
  if (!in_range(sum)) return std::nullopt;
  return sum;
}

std::optional<Duration> difference(Timestamp a, Timestamp b) {
  int64_t nanos = 0;
  if (__builtin_mul_overflow(a.seconds - b.seconds, giga, &nanos)) return std::nullopt;
  if (__builtin_add_overflow(nanos, static_cast<int64_t>(a.nanos) - b.nanos, &nanos))
    return std::nullopt;
  return Duration{nanos};
}

}  // namespace kflow::cel
