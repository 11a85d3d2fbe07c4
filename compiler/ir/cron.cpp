// Parsing of cron expressions, and the search for the next firing: field by field in local time,
// span by span of a zone.
#include "compiler/ir/cron.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "compiler/cel/time.hpp"

namespace kflow::ir {
namespace {

// ---- parsing ----

constexpr std::array<std::string_view, 12> month_names{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                       "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> weekday_names{"SUN", "MON", "TUE", "WED",
                                                        "THU", "FRI", "SAT"};

struct Field {
  std::string_view name;
  unsigned first;
  unsigned last;      ///< of `*` and `a/n`
  unsigned greatest;  ///< that may be written: 7 in the day-of-week field
  std::span<const std::string_view> names;
  std::string_view takes;
};
constexpr size_t day_field = 2;
constexpr size_t weekday_field = 4;
constexpr std::array<Field, 5> cron_fields{{
    {"minute", 0, 59, 59, {}, "0-59"},
    {"hour", 0, 23, 23, {}, "0-23"},
    {"day-of-month", 1, 31, 31, {}, "1-31, or L for the last day"},
    {"month", 1, 12, 12, month_names, "1-12 or JAN-DEC"},
    {"day-of-week", 0, 6, 7, weekday_names, "0-7 (0 and 7 are Sunday) or MON-SUN"},
}};
constexpr std::string_view field_order = "minute hour day-of-month month day-of-week";

struct Macro {
  std::string_view name;
  std::string_view expression;
};
constexpr std::array<Macro, 7> macros{{{"@hourly", "0 * * * *"},
                                       {"@daily", "0 0 * * *"},
                                       {"@midnight", "0 0 * * *"},
                                       {"@weekly", "0 0 * * 0"},
                                       {"@monthly", "0 0 1 * *"},
                                       {"@yearly", "0 0 1 1 *"},
                                       {"@annually", "0 0 1 1 *"}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return upper(x) == upper(y); });
}

// A piece of the author's text for a message: short and printable, whatever it is.
std::string shown(std::string_view text) {
  constexpr size_t longest = 40;
  std::string out(text.substr(0, longest));
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.size() > longest ? out + "…" : out;
}

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::invalid_argument, std::move(message));
}
std::unexpected<Error> bad_value(const Field& field, std::string_view text) {
  return bad(
      fmt::format("`{}` in the {} field; it takes {}", shown(text), field.name, field.takes));
}

// One or two digits.
std::optional<unsigned> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 2 || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  unsigned number = 0;
  for (const char c : text) number = number * 10 + static_cast<unsigned>(c - '0');
  return number;
}

struct Value {
  unsigned number = 0;
  bool named = false;
};

// `entry`: what it is part of, for the message.
Result<Value> parse_value(const Field& field, std::string_view text, std::string_view entry) {
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (same_word(text, field.names[i])) return Value{static_cast<unsigned>(i) + field.first, true};
  }
  const auto number = parse_number(text);
  if (!number || *number < field.first || *number > field.greatest) return bad_value(field, entry);
  return Value{*number, false};
}

Result<unsigned> parse_step(const Field& field, std::string_view text) {
  const unsigned size = field.last - field.first + 1;
  const auto step = parse_number(text);
  if (step && *step >= 1 && *step <= size) return *step;
  return bad(fmt::format("step `/{}` in the {} field; a step is 1-{}, counted within the field",
                         shown(text), field.name, size));
}

// `a-b`. Runs forwards; only a week may end in SUN.
Result<std::pair<unsigned, unsigned>> parse_range(const Field& field, std::string_view text,
                                                  size_t dash) {
  auto from = parse_value(field, text.substr(0, dash), text);
  KFLOW_TRY(from);
  auto to = parse_value(field, text.substr(dash + 1), text);
  KFLOW_TRY(to);
  if (field.greatest > field.last) {  // Sunday begins a week or ends it
    if (to->named && to->number == 0 && from->number > 0) to->number = 7;
    if (from->number == 7 && to->number < 7) from->number = 0;
  }
  if (from->number > to->number) {
    return bad(
        fmt::format("range `{}` in the {} field runs backwards; write it as two, `{}-{},{}-{}`",
                    shown(text), field.name, from->number, field.last, field.first, to->number));
  }
  return std::pair{from->number, to->number};
}

// One entry of a list, as bits first…greatest.
Result<uint64_t> parse_entry(const Field& field, std::string_view text) {
  if (text.empty()) {
    return bad(fmt::format("an empty entry in the {} field; it takes {}", field.name, field.takes));
  }
  if (text.find('#') != std::string_view::npos ||
      (text.size() > 1 && (upper(text.back()) == 'W' || upper(text.back()) == 'L') &&
       is_digit(text.front()))) {
    return bad(fmt::format("`{}` in the {} field: `#`, `W` and `L` with a number are not supported",
                           shown(text), field.name));
  }
  const size_t slash = text.find('/');
  const std::string_view base = text.substr(0, slash);
  unsigned step = 1;
  if (slash != std::string_view::npos) {
    auto parsed = parse_step(field, text.substr(slash + 1));
    KFLOW_TRY(parsed);
    step = *parsed;
  }
  unsigned from = field.first;
  unsigned to = field.last;
  if (const size_t dash = base.find('-'); dash != std::string_view::npos) {
    auto range = parse_range(field, base, dash);
    KFLOW_TRY(range);
    std::tie(from, to) = *range;
  } else if (base != "*") {
    auto value = parse_value(field, base, text);
    KFLOW_TRY(value);
    from = value->number;
    to = slash == std::string_view::npos ? from : std::max(from, field.last);
  }
  uint64_t bits = 0;
  for (unsigned v = from; v <= to; v += step) bits |= uint64_t{1} << v;
  return bits;
}

struct ParsedField {
  uint64_t bits = 0;
  bool open = false;  ///< begins with `*`, or is `?`
  bool last_day = false;
};

Result<ParsedField> parse_field(size_t index, std::string_view text) {
  const Field& field = cron_fields[index];
  const bool of_days = index == day_field || index == weekday_field;
  ParsedField out;
  out.open = text.starts_with('*');
  if (text == "?" && of_days) {
    out.open = true;
    text = "*";
  }
  for (bool more = true; more;) {
    const size_t comma = text.find(',');
    const std::string_view entry = text.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
    if (index == day_field && same_word(entry, "L")) {
      out.last_day = true;
      continue;
    }
    auto bits = parse_entry(field, entry);
    KFLOW_TRY(bits);
    out.bits |= *bits;
  }
  return out;
}

// Days in a month of a leap year.
constexpr std::array<unsigned, 13> longest_month{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

// Bits 0…last, last ≤ 31.
constexpr uint32_t bits_to(unsigned last) { return (uint32_t{2} << last) - 1; }

bool either_day(const Cron& c) { return !c.open_days && !c.open_weekdays; }

// Every day of a month falls on every weekday in some year, 29 February too: only days of the month
// can be impossible.
bool can_fire(const Cron& c) {
  if (either_day(c) || c.last_day) return true;
  for (unsigned month = 1; month <= 12; ++month) {
    if ((c.months >> month & 1) != 0 && (c.days & bits_to(longest_month[month])) != 0) return true;
  }
  return false;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    if (i > begin) out.push_back(text.substr(begin, i - begin));
    if (i == begin) ++i;
  }
  return out;
}

Result<std::string_view> expand_macro(std::string_view text) {
  for (const Macro& m : macros) {
    if (same_word(text, m.name)) return m.expression;
  }
  return bad(
      fmt::format("there is no `{}`; the short forms are @hourly @daily @midnight @weekly @monthly "
                  "@yearly @annually",
                  shown(text)));
}

std::unexpected<Error> bad_count(const std::vector<std::string_view>& parts) {
  if (!parts.empty() && (parts[0].starts_with("TZ=") || parts[0].starts_with("CRON_TZ="))) {
    return bad("a zone is not part of the expression; give it as `tz:`");
  }
  if (parts.size() == 6) {
    return bad(
        fmt::format("six fields; cron takes five ({}), a field for seconds is not supported: leave "
                    "out the first",
                    field_order));
  }
  return bad(fmt::format("{} field{}; cron takes five ({})", parts.size(),
                         parts.size() == 1 ? "" : "s", field_order));
}

// ---- the next local time ----

using std::chrono::days;
using std::chrono::sys_days;

constexpr int64_t minute_seconds = 60;
constexpr int64_t day_seconds = 86'400;

// The lowest bit ≥ `from`; -1 if there is none.
int bit_from(uint64_t bits, unsigned from) {
  if (from > 63) return -1;
  const uint64_t rest = bits >> from << from;
  return rest == 0 ? -1 : std::countr_zero(rest);
}

bool month_matches(const Cron& c, std::chrono::month month) {
  return (c.months >> static_cast<unsigned>(month) & 1) != 0;
}

// The days of a month that match, bits 1…31.
uint32_t matching_days(const Cron& c, std::chrono::year_month month) {
  const auto length = static_cast<unsigned>((month / std::chrono::last).day());
  uint32_t of_month = c.days;
  if (c.last_day) of_month |= uint32_t{1} << length;
  // The week repeated from day 1 on: bit 7k+w of the pattern is weekday w, shifted so that bit 1 is
  // the first of the month.
  uint64_t pattern = 0;
  for (unsigned week = 0; week < 6; ++week) pattern |= uint64_t{c.weekdays} << (7 * week);
  const unsigned first = std::chrono::weekday(sys_days(month / 1)).c_encoding();
  const auto of_week = static_cast<uint32_t>(pattern >> first << 1);
  const uint32_t matching = either_day(c) ? of_month | of_week : of_month & of_week;
  return matching & bits_to(length) & ~uint32_t{1};
}

// The first matching minute of a day ≥ `from`.
std::optional<unsigned> next_minute_of_day(const Cron& c, unsigned from) {
  int hour = bit_from(c.hours, from / 60);
  int minute = bit_from(c.minutes, hour == static_cast<int>(from / 60) ? from % 60 : 0);
  if (minute < 0) {
    hour = bit_from(c.hours, from / 60 + 1);
    minute = bit_from(c.minutes, 0);
  }
  if (hour < 0 || minute < 0) return std::nullopt;
  return static_cast<unsigned>(hour * 60 + minute);
}

// The first matching day > `date`; nullopt beyond the year 9999.
std::optional<sys_days> next_day(const Cron& c, std::chrono::year_month_day date) {
  unsigned from = static_cast<unsigned>(date.day()) + 1;
  for (auto month = date.year() / date.month(); month.year() <= std::chrono::year(9999);
       month += std::chrono::months(1)) {
    if (month_matches(c, month.month())) {
      const int day = bit_from(matching_days(c, month), from);
      if (day >= 0) return sys_days(month / day);
    }
    from = 1;
  }
  return std::nullopt;
}

// The first matching local time ≥ `from`, in seconds since 1970 as if local time were UTC; nullopt
// beyond the year 9999.
std::optional<int64_t> next_local(const Cron& c, int64_t from) {
  const int64_t minute = from / minute_seconds + (from % minute_seconds > 0 ? 1 : 0);  // rounded up
  const auto seconds_at = [](sys_days day, unsigned of_day) {
    return day.time_since_epoch().count() * day_seconds + of_day * minute_seconds;
  };
  const auto today = std::chrono::floor<days>(
      std::chrono::sys_time<std::chrono::minutes>(std::chrono::minutes(minute)));
  const std::chrono::year_month_day date(today);
  const auto day_bit = uint32_t{1} << static_cast<unsigned>(date.day());
  if (month_matches(c, date.month()) &&
      (matching_days(c, date.year() / date.month()) & day_bit) != 0) {
    const int64_t of_day = minute - seconds_at(today, 0) / minute_seconds;
    const auto found = next_minute_of_day(c, static_cast<unsigned>(of_day));
    if (found) return seconds_at(today, *found);
  }
  const auto day = next_day(c, date);
  const auto first = next_minute_of_day(c, 0);
  if (!day || !first) return std::nullopt;
  return seconds_at(*day, *first);
}

}  // namespace

Result<Cron> parse_cron(std::string_view text) {
  if (text.size() > max_cron_length) {
    return bad(fmt::format("a cron expression of {} characters; the limit is {}", text.size(),
                           max_cron_length));
  }
  std::vector<std::string_view> parts = words(text);
  if (parts.size() == 1 && parts[0].starts_with('@')) {
    auto expression = expand_macro(parts[0]);
    KFLOW_TRY(expression);
    parts = words(*expression);
  }
  if (parts.size() != cron_fields.size()) return bad_count(parts);
  std::array<ParsedField, cron_fields.size()> parsed;
  for (size_t i = 0; i < parts.size(); ++i) {
    auto field = parse_field(i, parts[i]);
    KFLOW_TRY(field);
    parsed[i] = *field;
  }
  const auto& [minute, hour, day, month, weekday] = parsed;
  constexpr uint32_t all_hours = bits_to(23);
  const Cron cron{.minutes = minute.bits,
                  .hours = static_cast<uint32_t>(hour.bits),
                  .days = static_cast<uint32_t>(day.bits),
                  .months = static_cast<uint16_t>(month.bits),
                  .weekdays = static_cast<uint8_t>((weekday.bits | weekday.bits >> 7) & bits_to(6)),
                  .last_day = day.last_day,
                  .open_days = day.open,
                  .open_weekdays = weekday.open,
                  .every_hour = hour.open || hour.bits == all_hours};
  if (!can_fire(cron)) {
    return bad(fmt::format("`{}` never fires: none of its months has such a day", shown(text)));
  }
  return cron;
}

std::optional<int64_t> next_after(const Cron& cron, std::string_view zone, int64_t after_ms) {
  const int64_t after = after_ms / 1000 - (after_ms % 1000 < 0 ? 1 : 0);
  if (after < cel::min_timestamp_seconds || after >= cel::max_timestamp_seconds)
    return std::nullopt;
  auto span = cel::zone_span(after, zone);
  if (!span) return std::nullopt;
  int64_t from = after + 1 + span->offset_seconds;  // local
  if (!cron.every_hour && span->begin > cel::min_timestamp_seconds) {
    // Local times before the last jump are past: those that it repeats have fired.
    from = std::max(from, span->begin + cel::zone_span(span->begin - 1, zone)->offset_seconds);
  }
  auto local = next_local(cron, from);
  while (local) {
    const int64_t fires = *local - span->offset_seconds;
    if (fires < span->end) {
      if (fires > cel::max_timestamp_seconds) return std::nullopt;
      return fires * 1000;
    }
    const auto next = *cel::zone_span(span->end, zone);
    // What the clock shows at the jump, by either offset.
    const int64_t old_local = span->end + span->offset_seconds;
    const int64_t new_local = span->end + next.offset_seconds;
    if (*local < new_local) return span->end * 1000;  // it was skipped
    span = next;
    // Times from new_local to old_local come again; `local`, not before old_local, is none of them.
    if (cron.every_hour && new_local < old_local) local = next_local(cron, new_local);
  }
  return std::nullopt;
}

}  // namespace kflow::ir
