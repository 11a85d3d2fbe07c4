// ByteWriter and ByteReader: round trips and malformed input.
#include "compiler/base/bytes.hpp"

#include "tests/support/catch.hpp"

using namespace kflow;

TEST_CASE("what is written is read back") {
  ByteWriter w;
  w.varint(0), w.varint(UINT64_MAX), w.svarint(INT64_MIN), w.svarint(-1), w.u32(7),
      w.u64(1ULL << 63), w.f64(-0.5);
  w.boolean(true), w.string("héllo"), w.raw("xy");
  ByteReader r(w.buffer());
  CHECK(r.varint() == 0);
  CHECK(r.varint() == UINT64_MAX);
  CHECK(r.svarint() == INT64_MIN);
  CHECK(r.svarint() == -1);
  CHECK(r.u32() == 7);
  CHECK(r.u64() == 1ULL << 63);
  CHECK(r.f64() == -0.5);
  CHECK(r.boolean());
  CHECK(r.string() == "héllo");
  CHECK(r.raw(2) == "xy");
  CHECK(r.done());
}

TEST_CASE("malformed input fails once and stays failed") {
  ByteReader past_end(
      "\x05"
      "ab");
  CHECK(past_end.string().empty());
  CHECK(past_end.failed());
  CHECK(past_end.u64() == 0);
  ByteReader endless(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
  endless.varint();
  CHECK(endless.failed());
  ByteReader huge_count("\xff\xff\x03");
  huge_count.count();
  CHECK(huge_count.failed());
}
