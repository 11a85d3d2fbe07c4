// Random cron expressions against a search minute by minute, around jumps of the clock; and texts
// that are no cron at all.
#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "compiler/cel/time.hpp"
#include "compiler/ir/cron.hpp"
#include "tests/support/catch.hpp"

namespace kflow::ir {
namespace {

using Random = std::mt19937;

size_t pick(Random& random, size_t n) {
  return std::uniform_int_distribution<size_t>(0, n - 1)(random);
}

// A field as text, and by itself which values it has: nothing here goes through the parser.
struct RandomField {
  std::string text;
  std::vector<bool> has;
  bool star = false;
};

RandomField random_field(Random& random, size_t first, size_t last, size_t star_odds) {
  RandomField f{.text = "", .has = std::vector<bool>(last + 1)};
  const auto add = [&](size_t from, size_t to, size_t step) {
    for (size_t v = from; v <= to; v += step) f.has[v] = true;
  };
  if (pick(random, 10) < star_odds) {
    f.star = true;
    const size_t step = pick(random, 3) == 0 ? 1 + pick(random, last - first + 1) : 1;
    f.text = step == 1 ? "*" : "*/" + std::to_string(step);
    add(first, last, step);
    return f;
  }
  for (size_t entries = 1 + pick(random, 3); entries > 0; --entries) {
    if (!f.text.empty()) f.text += ',';
    const size_t from = first + pick(random, last - first + 1);
    const size_t to = from + pick(random, last - from + 1);
    const size_t step = 1 + pick(random, last - first + 1);
    f.text += std::to_string(from);
    switch (pick(random, 4)) {
      case 0:
        add(from, to, 1), f.text += "-" + std::to_string(to);
        break;
      case 1:
        add(from, to, step), f.text += "-" + std::to_string(to) + "/" + std::to_string(step);
        break;
      case 2:
        add(from, last, step), f.text += "/" + std::to_string(step);
        break;
      default:
        add(from, from, 1);
        break;
    }
  }
  return f;
}

struct RandomCron {
  std::array<RandomField, 5> fields;
  bool last_day = false;
  bool every_hour = false;
  std::string text;
};

RandomCron random_cron(Random& random) {
  RandomCron c{.fields = {random_field(random, 0, 59, 3), random_field(random, 0, 23, 4),
                          random_field(random, 1, 31, 6), random_field(random, 1, 12, 8),
                          random_field(random, 0, 6, 6)}};
  // Times near the jumps are what is looked for.
  if (!c.fields[1].star && pick(random, 2) == 0) {
    const size_t hour = pick(random, 4);
    c.fields[1].has[hour] = true;
    c.fields[1].text += "," + std::to_string(hour);
  }
  if (pick(random, 8) == 0 && !c.fields[2].star) {
    c.last_day = true;
    c.fields[2].text += ",L";
  }
  c.every_hour = c.fields[1].star || std::ranges::all_of(c.fields[1].has, [](bool b) { return b; });
  for (const RandomField& f : c.fields) c.text += (c.text.empty() ? "" : " ") + f.text;
  return c;
}

struct LocalMinute {
  int64_t seconds = 0;  ///< local, as if it were UTC
  cel::CivilTime civil;
  bool last_of_month = false;
};

LocalMinute local_minute(int64_t seconds) {
  return {seconds, *cel::civil_time({seconds, 0}, "UTC"),
          cel::civil_time({seconds + 86'400, 0}, "UTC")->day == 1};
}

bool matches(const RandomCron& c, const LocalMinute& m) {
  const auto has = [&](size_t i, int v) { return bool{c.fields[i].has[static_cast<size_t>(v)]}; };
  if (!has(0, m.civil.minute) || !has(1, m.civil.hour) || !has(3, m.civil.month)) return false;
  const bool day = has(2, m.civil.day) || (c.last_day && m.last_of_month);
  const bool weekday = has(4, m.civil.day_of_week);
  return c.fields[2].star || c.fields[4].star ? day && weekday : day || weekday;
}

// One minute of real time: what the clock shows, and what it has just skipped.
struct Moment {
  int64_t utc = 0;
  LocalMinute shown;
  bool repeated = false;
  std::vector<LocalMinute> skipped;
};

std::vector<Moment> moments(std::string_view zone, int64_t begin, int64_t end) {
  std::vector<Moment> out;
  std::unordered_set<int64_t> seen;
  int64_t before = begin - 60 + cel::civil_time({begin - 60, 0}, zone)->offset_seconds;
  for (int64_t t = begin; t < end; t += 60) {
    const int64_t local = t + cel::civil_time({t, 0}, zone)->offset_seconds;
    Moment m{.utc = t,
             .shown = local_minute(local),
             .repeated = !seen.insert(local).second,
             .skipped = {}};
    for (int64_t s = before + 60; s < local; s += 60) m.skipped.push_back(local_minute(s));
    out.push_back(std::move(m));
    before = local;
  }
  return out;
}

std::vector<int64_t> firings(const RandomCron& c, const std::vector<Moment>& all) {
  std::vector<int64_t> out;
  for (const Moment& m : all) {
    const bool now = matches(c, m.shown) && (c.every_hour || !m.repeated);
    if (now || std::ranges::any_of(m.skipped, [&](const LocalMinute& s) { return matches(c, s); }))
      out.push_back(m.utc * 1000);
  }
  return out;
}

struct Window {
  std::string_view zone;
  std::string_view middle;
  int days;
};

}  // namespace

TEST_CASE("cron: random expressions fire as a search minute by minute says") {
  constexpr std::array<Window, 15> windows{
      {{"Europe/Berlin", "2025-03-30T01:00:00Z", 20},
       {"Europe/Berlin", "2025-10-26T01:00:00Z", 20},
       {"America/New_York", "2026-03-08T07:00:00Z", 14},
       {"America/New_York", "2026-11-01T06:00:00Z", 14},
       {"Australia/Lord_Howe", "2025-10-04T15:30:00Z", 14},
       {"Australia/Lord_Howe", "2025-04-05T15:00:00Z", 14},
       {"Asia/Kathmandu", "2024-02-29T00:00:00Z", 14},
       {"UTC", "2023-12-31T12:00:00Z", 14},
       {"Pacific/Apia", "2011-12-30T10:00:00Z", 14},
       {"America/Santiago", "2025-04-06T03:00:00Z", 10},
       {"Africa/Casablanca", "2025-03-15T00:00:00Z", 60},    // two jumps, around Ramadan
       {"Australia/Lord_Howe", "2038-04-01T00:00:00Z", 70},  // where the zone tables end
       {"Europe/Berlin", "2060-03-28T01:00:00Z", 14},
       {"America/New_York", "2044-11-06T06:00:00Z", 14},
       {"-03:30", "2025-02-28T12:00:00Z", 10}}};
  constexpr int expressions = 60;
  constexpr int starts = 20;
  Random random(20'250'330);
  int fired = 0;
  for (const Window& w : windows) {
    const int64_t middle = cel::parse_timestamp(w.middle)->seconds;
    const int64_t begin = middle - w.days * 43'200;
    const int64_t end = middle + w.days * 43'200;
    const std::vector<Moment> all = moments(w.zone, begin, end);
    for (int i = 0; i < expressions; ++i) {
      const RandomCron c = random_cron(random);
      INFO(c.text << " in " << w.zone << " around " << w.middle);
      const auto cron = parse_cron(c.text);
      const std::vector<int64_t> expected = firings(c, all);
      if (!cron) {
        CHECK(cron.error().message.find("never fires") != std::string::npos);
        CHECK(expected.empty());
        continue;
      }
      std::vector<int64_t> found;
      for (auto t = next_after(*cron, w.zone, begin * 1000 - 1); t && *t < end * 1000;
           t = next_after(*cron, w.zone, *t)) {
        found.push_back(*t);
      }
      CHECK(found == expected);
      fired += static_cast<int>(found.size());
      for (int k = 0; k < starts; ++k) {
        // Every other one within two hours of the jump.
        const int64_t from = k % 2 == 0 ? begin : middle - 7'200;
        const int64_t to = k % 2 == 0 ? end : middle + 7'200;
        const int64_t after =
            std::uniform_int_distribution<int64_t>(from * 1000, to * 1000 - 1)(random);
        const auto next = next_after(*cron, w.zone, after);
        REQUIRE(next);
        const auto it = std::ranges::upper_bound(expected, after);
        CHECK((it == expected.end() ? *next >= end * 1000 : *next == *it));
      }
    }
  }
  CHECK(fired > 10'000);
}

TEST_CASE("cron: random bytes are refused or read, never more") {
  Random random(7);
  constexpr std::string_view alphabet = "0123456789 */,-?LW#@JANmonSUNdaily\t";
  size_t read = 0;
  for (int i = 0; i < 200'000; ++i) {
    const size_t length = pick(random, 24);
    std::string text;
    while (text.size() < length) {
      switch (i % 3) {
        case 0:
          text += static_cast<char>(pick(random, 256));
          break;
        case 1:
          text += alphabet[pick(random, alphabet.size())];
          break;
        default:
          text += {"0123456789***?L"[pick(random, 15)], ' '};
          break;
      }
    }
    const auto cron = parse_cron(text);
    if (!cron) {
      if (cron.error().message.empty()) FAIL("no message for " << text);
      continue;
    }
    ++read;
    if (!next_after(*cron, "Europe/Berlin", 1'750'000'000'000))
      FAIL(text << " is read but does not fire");
  }
  CHECK(read > 100);
}

TEST_CASE("cron: damaged expressions are refused or fire") {
  Random random(11);
  constexpr std::array<std::string_view, 6> seeds{
      "*/15 0-23/2 1,15,L * MON-FRI",   "0 9 * * MON", "30 2 29 2 ?", "@monthly", "59 23 31 12 7",
      "0-59/7,3 */5 */10 JAN-DEC/3 sun"};
  size_t read = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string text(seeds[pick(random, seeds.size())]);
    for (size_t edits = 1 + pick(random, 3); edits > 0; --edits) {
      const size_t at = pick(random, text.size() + 1);
      const char c = static_cast<char>(pick(random, 256));
      switch (pick(random, 4)) {
        case 0:
          text.insert(at, 1, c);
          break;
        case 1:
          text.erase(std::min(at, text.size() - 1), 1);
          break;
        case 2:
          text.insert(at, 1, seeds[pick(random, seeds.size())][pick(random, 8)]);
          break;
        default:
          text[std::min(at, text.size() - 1)] = static_cast<char>('0' + pick(random, 10));
          break;
      }
      if (text.empty()) text = " ";
    }
    const auto cron = parse_cron(text);
    if (!cron) continue;
    ++read;
    const auto first = next_after(*cron, "Australia/Lord_Howe", 1'750'000'000'000);
    if (!first || *first <= 1'750'000'000'000) FAIL(text << " is read but does not fire");
    const auto second = next_after(*cron, "Australia/Lord_Howe", *first);
    if (!second || *second <= *first) FAIL(text << " does not move on");
  }
  CHECK(read > 1'000);
}

}  // namespace kflow::ir
