// kflow.yaml: what it says, and what is wrong with it.
#include "runtime/config/settings.hpp"

#include "tests/support/catch.hpp"

using namespace kflow;
using namespace kflow::config;

TEST_CASE("settings are read") {
  const auto s = read_settings(
      "retention: { age: 30d, error: 90d, keep: 5 }\nfiles:\n  roots: [., ../data]\nstore: "
      "{max_mib: 64}\n",
      "kflow.yaml");
  REQUIRE(s);
  CHECK(s->retention.age_ms == 30LL * 86'400'000);
  REQUIRE(s->retention.by_status.size() == 1);
  CHECK(s->retention.by_status[0].first == "ERROR");
  CHECK(s->retention.keep == 5);
  CHECK(s->file_roots == std::vector<std::string>{".", "../data"});
  CHECK(s->store_max_mib == 64);
  CHECK(read_settings("", "x").has_value());
  CHECK(load_settings("/nowhere").has_value());
}

TEST_CASE("each wrong key is named with its line") {
  const auto s = read_settings(
      "retention:\n  age: soon\n  ages: 3d\nfiles: 5\nstor: {}\nstore: {max_mib: -1}\n",
      "kflow.yaml");
  REQUIRE_FALSE(s);
  CHECK(s.error().message ==
        "kflow.yaml:2: `age` is a duration such as 12h or 30d\n"
        "kflow.yaml:3: `retention` has no key `ages`; it takes age, completed, error, cancelled, "
        "keep, deltas\n"
        "kflow.yaml:4: `files` is a record of keys and values\n"
        "kflow.yaml:5: `kflow.yaml` has no key `stor`; it takes retention, files, store, models, "
        "secrets\n"
        "kflow.yaml:6: `max_mib` is a number of at least 1");
  CHECK_FALSE(read_settings("a: [", "kflow.yaml"));
  CHECK_FALSE(read_settings("- 1", "kflow.yaml"));
}
