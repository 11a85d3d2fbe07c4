// Rows: round trips, and that no damaged row is taken for a good one.
#include "runtime/store/record.hpp"

#include "runtime/store/keys.hpp"
#include "tests/support/catch.hpp"

namespace kflow::store {
namespace {

RunRow sample() {
  RunRow run{.due = 123456};
  RunHeader& h = run.header;
  h.key = 7;
  h.id = "0190";
  h.workflow = "w";
  h.program = sha256("p");
  h.status = RunStatus::error;
  h.created_at = -5;
  h.attempt = 3;
  h.tags = {"a", ""};
  h.error = "it broke";
  h.owner = 9;
  h.epoch = 11;
  return run;
}

// Every row with one bit flipped, and every shorter one, must be refused by `decode`.
template <typename Decode>
void check_damage(const std::string& row, Decode decode) {
  REQUIRE(decode(row));
  size_t accepted = 0;
  for (size_t i = 0; i < row.size() * 8; ++i) {
    std::string bad = row;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << (i % 8)));
    accepted += decode(bad) ? 1 : 0;
  }
  for (size_t n = 0; n < row.size(); ++n) accepted += decode(row.substr(0, n)) ? 1 : 0;
  CHECK(accepted == 0);
}

}  // namespace

TEST_CASE("keys sort as their numbers") {
  CHECK(std::string_view(Key(1, 255)) < std::string_view(Key(1, 256)));
  CHECK(std::string_view(Key(255, 9)) < std::string_view(Key(256, 0)));
  CHECK(number_at(Key(3, 4), 8) == 4);
  CHECK(number_at(Key::of_byte(2, 5), 1) == 5);
  CHECK(number_at("short", 0) == UINT64_MAX);
}

TEST_CASE("the row of a run comes back as it was") {
  const Key key(7);
  const RunRow run = sample();
  const auto back = decode_run(key, encode_run(key, run));
  REQUIRE(back);
  CHECK(back->due == run.due);
  CHECK(back->header.id == run.header.id);
  CHECK(back->header.tags == run.header.tags);
  CHECK(back->header.created_at == -5);
  CHECK(back->header.error == "it broke");
  const auto fence = decode_fence(key, encode_run(key, run));
  REQUIRE(fence);
  CHECK(fence->epoch == 11);
  CHECK(fence->owner == 9);
  CHECK(fence->status == RunStatus::error);
}

TEST_CASE("damaged rows are refused") {
  const Key key(7, 3);
  check_damage(encode_run(key, sample()),
               [&](const std::string& row) { return decode_run(key, row).has_value(); });
  const std::string events = "some events";
  const EventChunk head{.first_seq = 3,
                        .first_public = 2,
                        .event_count = 4,
                        .public_count = 1,
                        .format = 1,
                        .events = {}};
  check_damage(encode_chunk_head(key, head, xxh3(events)) + events,
               [&](const std::string& row) { return decode_chunk(key, row).has_value(); });
  check_damage(encode_message(key, {.body = "b"}),
               [&](const std::string& row) { return decode_message(key, row).has_value(); });
  check_damage(encode_snapshot(key, 5, "state"),
               [&](const std::string& row) { return decode_snapshot(key, row).has_value(); });
  check_damage(encode_owner(key, {.id = 7, .pid = 5, .doorbell = "d"}),
               [&](const std::string& row) { return decode_owner(key, row).has_value(); });
  check_damage(encode_number(key, 5),
               [&](const std::string& row) { return decode_number(key, row).has_value(); });
  check_damage(encode_description(Durability::process),
               [&](const std::string& row) { return decode_description(row).has_value(); });
}

TEST_CASE("a row at the place of another is refused") {
  const RunRow run = sample();
  CHECK(!decode_run(Key(8), encode_run(Key(7), run)));
}

}  // namespace kflow::store
